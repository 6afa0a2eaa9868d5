"""Runs of SUMO, the traffic simulator, with our drivers in its own Intelligent Driver Model, on a network of ours.

Everything about a driver that both know is handed over: desired speed, headway, acceleration, deceleration and
standstill gap, driver by driver. What SUMO does with them is its own.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numba
import numpy as np
import sumo
from jaxtyping import Float64

from fleetloop.bench.peer import PeerMissingError
from fleetloop.core.random import Stream, uniform
from fleetloop.core.types import STEP_S, UPCOMING_LANES, VEHICLE_SIZES, AgentKind, Script, State, World
from fleetloop.sim import behaviour
from fleetloop.sim.following import temperament
from fleetloop.sim.motion import advance
from fleetloop.sim.occupancy import empty_occupancy
from fleetloop.sim.paths import path_point, rail_pose
from fleetloop.sim.roads.programs import run_sumo_program
from fleetloop.sim.rollout import empty_state
from fleetloop.sim.spawn import LEARNER_NEEDED_M
from fleetloop.sim.traffic import decide, empty_decision

TIMEOUT_S = 300.0
CAR_LENGTH_M = float(VEHICLE_SIZES[AgentKind.CAR, 0])
REAR_OVERHANG_M = float(VEHICLE_SIZES[AgentKind.CAR, 3])
_NO_LIMIT_MPS = 100.0


class Driver(NamedTuple):
    """What differs between drivers of cars."""

    speed_factor: float
    """Of the limit."""
    headway_s: float


def drivers(seed: int, count: int) -> list[Driver]:
    """The drivers that our traffic gives to agents 0 to `count` - 1 of a world of this seed."""
    draws = (uniform(np.uint64(seed), 0, 0, int(Stream.DRIVER), agent) for agent in range(count))
    return [Driver(*temperament(float(draw))) for draw in draws]


def make_network(folder: Path, name: str, plain: dict[str, str]) -> Path:
    """A SUMO network from plain XML: `plain` maps netconvert's options, such as "node-files", to documents.

    Raises:
        MapError: netconvert refuses it.
    """
    options, output = [], folder / f"{name}.net.xml"
    for option, document in plain.items():
        file = folder / f"{name}.{option}.xml"
        file.write_text(document, encoding="utf-8")
        options += [f"--{option}", str(file)]
    run_sumo_program("netconvert", options, output, name)
    return output


def vehicle_types(population: Sequence[Driver]) -> str:
    """A vType "driver<i>" for each driver, with the numbers of our car-following model."""
    rows = [
        f'<vType id="driver{i}" carFollowModel="IDM" accel="{behaviour.MAXIMUM_ACCELERATION_MPS2}" '
        f'decel="{behaviour.COMFORTABLE_DECELERATION_MPS2}" emergencyDecel="{behaviour.EMERGENCY_DECELERATION_MPS2}" '
        f'tau="{driver.headway_s:.6f}" minGap="{behaviour.STANDSTILL_GAP_M}" length="{CAR_LENGTH_M:.3f}" '
        f'speedFactor="{driver.speed_factor:.6f}" speedDev="0" maxSpeed="55"/>'
        for i, driver in enumerate(population)
    ]
    return "\n".join(rows)


def default_types(count: int) -> str:
    """As many vTypes "driver<i>" with SUMO's own defaults for passenger cars (the model of Krauss), but our length."""
    return "\n".join(f'<vType id="driver{i}" length="{CAR_LENGTH_M:.3f}"/>' for i in range(count))


def run_sumo(
    network: Path, routes: str, end_s: float, options: Sequence[str] = (), additional: str = ""
) -> None:
    """Run SUMO on `network` to `end_s`, in our time step.

    Args:
        network: the routes and the additional file are written beside it.
        routes: content of a route file, without its root element.
        options: more of them, for the outputs.
        additional: content of an additional file, without its root element; output files named in it are taken
            relative to the network's folder.

    Raises:
        PeerMissingError: SUMO cannot be run.
        RuntimeError: SUMO failed, or vehicles collided, which makes a comparison worthless.
    """
    route_file, more_file = network.with_suffix(".rou.xml"), network.with_suffix(".add.xml")
    route_file.write_text(f"<routes>{routes}</routes>", encoding="utf-8")
    more_file.write_text(f"<additional>{additional}</additional>", encoding="utf-8")
    home = Path(sumo.SUMO_HOME)
    command = [
        *(str(home / "bin" / "sumo"), "-n", str(network), "-r", str(route_file), "-a", str(more_file)),
        *("--step-length", str(STEP_S), "--step-method.ballistic", "--end", str(end_s)),
        *(
            "--time-to-teleport",
            "-1",
            "--collision.action",
            "warn",
            "--no-step-log",
            "--xml-validation",
            "never",
        ),
        *options,
    ]
    try:
        finished = subprocess.run(
            command,
            env={**os.environ, "SUMO_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissingError(f"sumo: cannot be run ({error}); install eclipse-sumo again") from error
    if finished.returncode != 0 or "collision" in finished.stderr:
        raise RuntimeError(f"sumo: {network.name}: {finished.stderr.strip()[:300]}")


def elements(file: Path, tag: str) -> list[dict[str, str]]:
    """The attributes of all elements of a name in one of SUMO's outputs."""
    return [dict(element.attrib) for _, element in ElementTree.iterparse(file) if element.tag == tag]


def cars_at_rest(
    world: World,
    seeds: Sequence[int],
    path: Sequence[int],
    along_m: Sequence[float] | Float64[np.ndarray, " cars"],
    endless: bool,
) -> State:
    """A State of as many worlds as seeds, in each the same cars at rest, and none of them a learner.

    Args:
        path: lanes, one after the other.
        along_m: of the rear axles, counted from the start of the path's first lane, all within the path.
        endless: the path closes a ring.
    """
    state = empty_state(len(seeds), len(along_m))
    state.seed[:] = seeds
    lengths = world.lane_length_m[list(path)].astype(np.float64)
    ends = np.cumsum(lengths)
    for agent, along in enumerate(along_m):
        at = int(np.searchsorted(ends, along, side="right"))
        lanes = [*path[at:], *path[:at]] if endless else list(path[at:])
        lanes = (lanes * UPCOMING_LANES if endless else lanes)[:UPCOMING_LANES]
        rest = along - (ends[at] - lengths[at])
        row = np.full(UPCOMING_LANES, -1, np.int32)
        row[: len(lanes)] = lanes
        state.kind[:, agent], state.path[:, agent] = AgentKind.CAR, row
        state.pose[:, agent] = rail_pose(world, row, np.float64(rest), np.uint8(AgentKind.CAR))
        state.along[:, agent] = rest
        state.curvature[:, agent] = path_point(world, row, np.float64(rest))[3]
    # An actor that may go as fast as it likes drives as everybody does, but is never moved elsewhere.
    state.script[:], state.script_value[:] = Script.SLOW, _NO_LIMIT_MPS
    return state


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run Numba's kernels on one thread: starting several costs more than a step of a few worlds takes."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(before)


class OurTraffic:
    """Our traffic, step by step, with nobody steered from outside."""

    def __init__(self, world: World, state: State) -> None:
        self.world, self.state = world, state
        self.decision, self._occupancy = empty_decision(*state.kind.shape), empty_occupancy(*state.kind.shape)
        self._curvature = np.zeros_like(state.speed)

    def run(self, steps: int) -> None:
        """Everybody decides and moves, so many times."""
        with one_thread():
            for _ in range(steps):
                self._step()

    def _step(self) -> None:
        decide(self.world, self.state, self.decision, self._occupancy)
        decision = self.decision
        advance(
            self.world,
            self.state,
            decision.acceleration,
            self._curvature,
            decision.target_lane,
            LEARNER_NEEDED_M,
        )
