"""How a queue leaves a signal, ours and SUMO's: saturation flow and start-up lost time."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from fleetloop.bench.measure import Measurement
from fleetloop.bench.sumo_runs import (
    CAR_LENGTH_M,
    REAR_OVERHANG_M,
    OurTraffic,
    cars_at_rest,
    default_types,
    drivers,
    elements,
    make_network,
    run_sumo,
    vehicle_types,
)
from fleetloop.core.types import STEP_S, Control, LaneKind, World
from fleetloop.progress import stage
from fleetloop.sim.roads import TownLibrary

_FIRST_M, _APART_M = 4.0, 8.0
"""At the start: the first front bumper before the line, and from front bumper to front bumper. In red they close up."""
_COUNTED_FROM = 4
"""Cars that still start up; headways count as saturated from the next on (Highway Capacity Manual)."""


@dataclass(frozen=True)
class QueueSize:
    """What is driven."""

    limit_mps: float = 13.9
    cars: int = 20
    seeds: tuple[int, ...] = tuple(range(1, 13))
    """Each gives other drivers."""
    red_s: float = 60.0
    green_s: float = 90.0


class Discharge(NamedTuple):
    """What the Highway Capacity Manual says of a queue."""

    saturation_flow_per_h: float
    """3,600 over the mean headway from the fifth car on; headways are those of front bumpers at the line."""
    lost_time_s: float
    """By how much the first four headways, the first from the start of green, exceed that mean."""


def discharge(passed_s: Float64[np.ndarray, "seeds cars"]) -> Discharge:
    """Saturation flow and start-up lost time.

    Args:
        passed_s: when each front bumper passed the line, after the start of green.
    """
    headways = np.diff(passed_s, axis=1, prepend=0.0).mean(axis=0)
    saturated = float(headways[_COUNTED_FROM:].mean())
    return Discharge(3600.0 / saturated, float((headways[:_COUNTED_FROM] - saturated).sum()))


def signal_network(folder: Path, size: QueueSize) -> Path:
    """A road of one lane, "in" and "out", with a signal where an empty road crosses it."""
    places = {"west": (-400, 0), "middle": (0, 0), "east": (800, 0), "north": (0, 150), "south": (0, -150)}
    nodes = "".join(
        f'<node id="{name}" x="{x}" y="{y}" type="{"traffic_light" if name == "middle" else "priority"}"/>'
        for name, (x, y) in places.items()
    )
    ends = {"in": "west middle", "out": "middle east", "down": "north middle", "off": "middle south"}
    edges = "".join(
        f'<edge id="{name}" from="{pair.split()[0]}" to="{pair.split()[1]}" numLanes="1" speed="{size.limit_mps}"/>'
        for name, pair in ends.items()
    )
    joints = {"in": "out", "down": "off"}
    connections = "".join(
        f'<connection from="{source}" to="{target}" fromLane="0" toLane="0"/>'
        for source, target in joints.items()
    )
    ruled = "".join(
        f'<connection from="{source}" to="{target}" fromLane="0" toLane="0" tl="middle" linkIndex="{index}"/>'
        for index, (source, target) in enumerate(joints.items())
    )
    phases = ((size.red_s, "rG"), (size.green_s, "Gr"), (3.0, "yr"))
    program = "".join(f'<phase duration="{seconds}" state="{state}"/>' for seconds, state in phases)
    signals = f'<tlLogic id="middle" type="static" programID="0" offset="0">{program}</tlLogic>'
    plain = {
        "node-files": f"<nodes>{nodes}</nodes>",
        "edge-files": f"<edges>{edges}</edges>",
        "connection-files": f"<connections>{connections}</connections>",
        "tllogic-files": f"<tlLogics>{signals}{ruled}</tlLogics>",
    }
    return make_network(folder, "signal", plain)


def way_through(world: World) -> list[int]:
    """The lanes "in", over the junction, and "out": those along the x axis that begin with the longer way in."""
    for lane in np.flatnonzero(world.lane_kind == LaneKind.ROAD):
        followers = world.successors[world.successor_start[lane] : world.successor_start[lane + 1]]
        if len(followers) != 1 or world.lane_control[followers[0]] != Control.SIGNAL:
            continue
        if abs(float(world.headings[world.lane_first_point[lane]])) < 0.1:
            over = int(followers[0])
            return [int(lane), over, int(world.successors[world.successor_start[over]])]
    raise ValueError("signal: the network has no lane along x that a signal ends")


def our_passings(world: World, size: QueueSize) -> Float64[np.ndarray, "seeds cars"]:
    """When each of our cars passes the line, in seconds after the start of green."""
    path = way_through(world)
    line = float(world.lane_length_m[path[0]])
    front = CAR_LENGTH_M - REAR_OVERHANG_M
    fronts = _FIRST_M + _APART_M * np.arange(size.cars)
    # The first learner's place is that of the last car: others are kept near it.
    state = cars_at_rest(world, size.seeds, path, line - fronts - front, endless=False)
    traffic = OurTraffic(world, state)
    passed = np.full(state.kind.shape, np.nan)
    beyond = -np.tile(fronts, (len(size.seeds), 1))
    for step in range(round((size.red_s + size.green_s) / STEP_S)):
        traffic.run(1)
        before, beyond = beyond, state.odometer_m - fronts
        now = np.isnan(passed) & (beyond >= 0.0)
        share = -before[now] / (beyond[now] - before[now])
        passed[now] = (step + share) * STEP_S - size.red_s
    return passed


def sumo_passings(
    network: Path, seed: int, size: QueueSize, types: str | None = None
) -> Float64[np.ndarray, " cars"]:
    """When each of SUMO's cars passes the line, in seconds after the start of green.

    Args:
        seed: of our drivers, and of SUMO's random numbers.
        types: of the cars, instead of our drivers.
    """
    lengths = {row["id"]: float(row["length"]) for row in elements(network, "lane")}
    route = '<route id="through" edges="in out"/>'
    cars = "".join(
        f'<vehicle id="{car}" type="driver{car}" route="through" depart="0" departSpeed="0" '
        f'departPos="{lengths["in_0"] - _FIRST_M - _APART_M * car:.3f}" insertionChecks="none"/>'
        for car in range(size.cars)
    )
    output = network.with_name("line.xml")
    loop = (
        f'<instantInductionLoop id="line" lane="in_0" pos="{lengths["in_0"] - 0.01}" file="{output.name}"/>'
    )
    types = vehicle_types(drivers(seed, size.cars)) if types is None else types
    options = ("--seed", str(seed))
    run_sumo(network, types + route + cars, size.red_s + size.green_s, options, loop)
    passed = np.full(size.cars, np.nan)
    for row in elements(output, "instantOut"):
        if row["state"] == "enter":
            passed[int(row["vehID"])] = float(row["time"]) - size.red_s
    return passed


def measure_queue_discharge(name: str, size: QueueSize) -> Measurement:
    """Our saturation flow's difference from SUMO's, in per cent of SUMO's.

    The details have both flows, both start-up lost times and all headways. Every run gives the same figures.

    Raises:
        PeerMissingError: SUMO cannot be run.
    """
    with tempfile.TemporaryDirectory() as scratch, stage(name) as progress:
        folder = Path(scratch)
        network = signal_network(folder, size)
        library = TownLibrary(folder / "towns")
        ours = our_passings(library.world([library.add_file(network)]), size)
        progress(0.5)
        theirs = np.array([sumo_passings(network, seed, size) for seed in size.seeds])
        plain = default_types(size.cars)
        default = np.array([sumo_passings(network, seed, size, plain) for seed in size.seeds])
    for who, passed in (("ours", ours), ("SUMO", theirs), ("SUMO's default", default)):
        if np.isnan(passed).any():
            raise RuntimeError(f"{who}: {int(np.isnan(passed).sum())} cars did not pass the line in green")
    our, their = discharge(ours), discharge(theirs)
    difference = 100.0 * (our.saturation_flow_per_h / their.saturation_flow_per_h - 1.0)
    note = (
        f"difference in saturation flow from SUMO's IDM with the same drivers: {our.saturation_flow_per_h:.0f} cars/h "
        f"against {their.saturation_flow_per_h:.0f} (SUMO's default drivers: "
        f"{discharge(default).saturation_flow_per_h:.0f}); start-up lost time {our.lost_time_s:.2f} s against "
        f"{their.lost_time_s:.2f} s; queues of {size.cars} cars, {len(size.seeds)} sets of drivers"
    )
    details = {
        "difference_percent": difference,
        "ours": our._asdict(),
        "sumo": their._asdict(),
        "sumo_default": discharge(default)._asdict(),
        "headways_s": np.diff(ours, axis=1, prepend=0.0).mean(axis=0).tolist(),
        "sumo_headways_s": np.diff(theirs, axis=1, prepend=0.0).mean(axis=0).tolist(),
    }
    return Measurement(name, abs(difference), "%", {"repeats": 1, "note": note, **details})
