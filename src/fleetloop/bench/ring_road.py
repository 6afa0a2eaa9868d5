"""Flow and speed over density on a ring road of one lane, ours and SUMO's: the fundamental diagram."""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from fleetloop.bench.measure import Measurement
from fleetloop.bench.sumo_runs import (
    OurTraffic,
    cars_at_rest,
    drivers,
    elements,
    make_network,
    run_sumo,
    vehicle_types,
)
from fleetloop.core.types import STEP_S, LaneKind, World
from fleetloop.progress import stage
from fleetloop.sim.roads import TownLibrary

_ARCS = 4
_SHAPE_POINTS = 64


@dataclass(frozen=True)
class RingSize:
    """What is driven."""

    length_m: float = 1000.0
    limit_mps: float = 13.9
    cars: tuple[int, ...] = (5, 10, 20, 30, 40, 50, 60, 75, 90, 105, 120)
    seeds: tuple[int, ...] = (1, 2, 3)
    """Each gives other drivers."""
    settle_s: float = 300.0
    measure_s: float = 300.0


def ring_network(folder: Path, length_m: float, limit_mps: float) -> Path:
    """A circle of one lane, counter-clockwise, in four arcs "arc0" to "arc3"."""
    radius = length_m / (2.0 * math.pi)
    angle = 2.0 * math.pi / _ARCS

    def place(turn: float) -> str:
        return f"{radius * math.cos(turn):.4f},{radius * math.sin(turn):.4f}"

    nodes, edges = [], []
    for arc in range(_ARCS):
        x, y = place(arc * angle).split(",")
        nodes.append(f'<node id="node{arc}" x="{x}" y="{y}" type="priority"/>')
        shape = " ".join(place((arc + i / _SHAPE_POINTS) * angle) for i in range(_SHAPE_POINTS + 1))
        edges.append(
            f'<edge id="arc{arc}" from="node{arc}" to="node{(arc + 1) % _ARCS}" numLanes="1" priority="1" '
            f'spreadType="center" speed="{limit_mps}" shape="{shape}"/>'
        )
    plain = {
        "node-files": f"<nodes>{''.join(nodes)}</nodes>",
        "edge-files": f"<edges>{''.join(edges)}</edges>",
    }
    return make_network(folder, "ring", plain)


def lanes_around(world: World) -> list[int]:
    """The lanes of a ring, one after the other, from its first road lane on."""
    lane = int(np.flatnonzero(world.lane_kind == LaneKind.ROAD)[0])
    found = [lane]
    while True:
        first, end = world.successor_start[lane], world.successor_start[lane + 1]
        if end - first != 1:
            raise ValueError(f"ring: lane {lane} has {end - first} successors; it must have one")
        lane = int(world.successors[first])
        if lane == found[0]:
            return found
        found.append(lane)


def our_speed(world: World, count: int, size: RingSize) -> tuple[Float64[np.ndarray, " seeds"], float]:
    """Mean speed of all cars in m/s, for each seed, and the length of the ring in m."""
    path = lanes_around(world)
    length = float(world.lane_length_m[path].astype(np.float64).sum())
    state = cars_at_rest(world, size.seeds, path, np.arange(count) * length / count, endless=True)
    traffic = OurTraffic(world, state)
    traffic.run(round(size.settle_s / STEP_S))
    before = state.odometer_m.astype(np.float64)
    traffic.run(round(size.measure_s / STEP_S))
    return (state.odometer_m - before).mean(axis=1) / size.measure_s, length


def sumo_speed(network: Path, count: int, seed: int, size: RingSize) -> tuple[float, float]:
    """SUMO's mean speed of the same drivers from the same places, and its length of the ring, within junctions too."""
    lanes = [row for row in elements(network, "lane") if float(row["length"]) > 0.0]
    length = sum(float(row["length"]) for row in lanes)
    edge_length = {row["id"].rsplit("_", 1)[0]: float(row["length"]) for row in lanes}
    rounds = math.ceil((size.settle_s + size.measure_s) * size.limit_mps / size.length_m) + 2
    routes = []
    for arc in range(_ARCS):
        edges = " ".join(f"arc{(arc + i) % _ARCS}" for i in range(_ARCS))
        routes.append(f'<route id="from{arc}" edges="{edges}" repeat="{rounds}"/>')
    whole = sum(edge_length[f"arc{arc}"] for arc in range(_ARCS))
    for car in range(count):
        # Measured at the front bumper; spread over the arcs alone, for nobody may start within a junction.
        along, arc = car * whole / count, 0
        while along > edge_length[f"arc{arc}"]:
            along -= edge_length[f"arc{arc}"]
            arc += 1
        routes.append(
            f'<vehicle id="{car}" type="driver{car}" route="from{arc}" depart="0" departPos="{along:.2f}" '
            f'departSpeed="0" insertionChecks="none"/>'
        )
    output = network.with_name("ring.fcd.xml")
    end = size.settle_s + size.measure_s
    # Where everybody is at the start and at the end of the measurement.
    options = ("--fcd-output", str(output), "--fcd-output.attributes", "odometer", "--device.fcd.begin")
    run_sumo(
        network,
        vehicle_types(drivers(seed, count)) + "".join(routes),
        end + STEP_S,
        options=(*options, str(size.settle_s), "--device.fcd.period", str(size.measure_s)),
    )
    odometers = np.array([float(row["odometer"]) for row in elements(output, "vehicle")])
    if len(odometers) != 2 * count:
        raise RuntimeError(f"sumo: {len(odometers) / 2} of {count} cars were on the ring")
    return float(odometers[count:].sum() - odometers[:count].sum()) / count / size.measure_s, length


def measure_ring_road(name: str, size: RingSize) -> Measurement:
    """The largest difference in flow (which at equal density is that in speed), in per cent of SUMO's.

    The details have, for every number of cars, density, speed and flow of both, as means over the seeds. Every run
    gives the same figures.

    Raises:
        PeerMissingError: SUMO cannot be run.
    """
    rows = []
    with tempfile.TemporaryDirectory() as scratch, stage(name) as progress:
        folder = Path(scratch)
        network = ring_network(folder, size.length_m, size.limit_mps)
        library = TownLibrary(folder / "towns")
        world = library.world([library.add_file(network)])
        for number, count in enumerate(size.cars):
            ours, length = our_speed(world, count, size)
            theirs = [sumo_speed(network, count, seed, size) for seed in size.seeds]
            speed, their_speed = float(ours.mean()), float(np.mean([found[0] for found in theirs]))
            density, their_density = count / length, count / theirs[0][1]
            rows.append(
                {
                    "density_per_km": 1e3 * density,
                    "speed_mps": speed,
                    "sumo_speed_mps": their_speed,
                    "flow_per_h": 3600.0 * density * speed,
                    "sumo_flow_per_h": 3600.0 * their_density * their_speed,
                    "difference_percent": 100.0 * (density * speed / (their_density * their_speed) - 1.0),
                }
            )
            progress((number + 1) / len(size.cars))
    worst = max(rows, key=lambda row: abs(row["difference_percent"]))
    ours_best, sumos_best = (max(row[key] for row in rows) for key in ("flow_per_h", "sumo_flow_per_h"))
    note = (
        f"largest difference in flow from SUMO's IDM with the same drivers, at {worst['density_per_km']:.0f} cars/km; "
        f"{len(rows)} densities to {rows[-1]['density_per_km']:.0f} cars/km, {len(size.seeds)} sets of drivers; "
        f"largest flow {ours_best:.0f} cars/h, SUMO's {sumos_best:.0f}"
    )
    return Measurement(
        name, abs(worst["difference_percent"]), "%", {"repeats": 1, "note": note, "diagram": rows}
    )
