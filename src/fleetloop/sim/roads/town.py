"""From a SUMO network file to the World of that one town."""

import hashlib
from itertools import accumulate
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from fleetloop.core.errors import MapError
from fleetloop.core.random import Stream, generator
from fleetloop.core.types import BOX_CELL_M, SIGN_PIXELS, TILE_M, Control, World
from fleetloop.sim.roads.boxes import Boxes
from fleetloop.sim.roads.bus_stops import BusStop, plan_bus_stops
from fleetloop.sim.roads.carriageways import make_carriageways
from fleetloop.sim.roads.checks import check_network
from fleetloop.sim.roads.conflicts import (
    Conflict,
    approach_controls,
    crossing_control,
    entry_control,
    find_conflicts,
)
from fleetloop.sim.roads.curves import bend_speeds
from fleetloop.sim.roads.drivable import close_undrivable, close_unwalkable
from fleetloop.sim.roads.ground import make_ground
from fleetloop.sim.roads.lane_field import LaneField
from fleetloop.sim.roads.lanes import MIN_ROUTE_M, LaneTable, make_lanes
from fleetloop.sim.roads.network import read_network
from fleetloop.sim.roads.paint import Ground
from fleetloop.sim.roads.parking import Bays, lead_walks_round, plan_bays
from fleetloop.sim.roads.regions import BUS_LANE_TIMES, Region, region_of
from fleetloop.sim.roads.scenery import make_scenery
from fleetloop.sim.roads.sign_places import Signs
from fleetloop.sim.roads.signals import Signal, make_signals
from fleetloop.sim.roads.signs import sign_face
from fleetloop.sim.roads.walks import WALKING_LIMIT_MPS

MARGIN_M = 40.0
"""Ground beyond the outermost lane."""


def make_town(network_file: Path, key: str, subject: str) -> World:
    """The World of the one town in `network_file`; `key` seeds its scenery, `subject` names it in errors.

    Raises:
        MapError: the file is not a SUMO network, or no car could drive in it.
    """
    network = read_network(network_file, subject)
    check_network(network, subject)
    lanes = make_lanes(network, subject)
    signals, signal_of = make_signals(network, lanes)
    conflicts = find_conflicts(network, lanes, signals, signal_of)
    lanes = close_undrivable(lanes, conflicts)
    if lanes.reach_m.max() < MIN_ROUTE_M:
        raise MapError(
            f"{subject}: its bends are too sharp for a car, or its lanes run through each other, and without "
            f"those the longest route is {lanes.reach_m.max():.0f} m; give another map"
        )
    controls = entry_control(lanes, conflicts, signal_of)
    approaches = approach_controls(lanes, controls)
    origin, tiles_shape = _extent(lanes)
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "little")
    region = region_of(lanes.left_hand)
    field = LaneField(lanes)
    ways = make_carriageways(network, lanes, approaches)
    bays = plan_bays(ways, lanes, field, generator(seed, Stream.APPEARANCE, 1))
    stops = plan_bus_stops(ways, lanes, bays, generator(seed, Stream.APPEARANCE, 2))
    ground = make_ground(network, lanes, field, ways, bays, stops, region, origin, tiles_shape)
    lead_walks_round(lanes.walks, bays)
    lanes = close_unwalkable(lanes, conflicts)
    boxes, signs = make_scenery(
        network, lanes, field, ways, bays, stops, signals, signal_of, region, ground, origin, seed
    )
    return World(
        **_kerb_fields(lanes, bays, stops),
        **_lane_fields(lanes, controls, crossing_control(lanes, signal_of), signal_of),
        heights_m=np.concatenate([*lanes.heights, *lanes.walks.heights]).astype(np.float32),
        **_conflict_fields(lanes, conflicts),
        **_signal_fields(signals),
        **_ground_fields(ground, origin, len(lanes.lines) + len(lanes.walks.lines)),
        **_box_fields(boxes, origin, tiles_shape),
        **_sign_fields(signs, origin, tiles_shape),
        town_left_hand=np.array([lanes.left_hand], np.uint8),
        town_bus_lane_hours=_bus_lane_hours(region),
    )


def _extent(lanes: LaneTable) -> tuple[Float64[np.ndarray, " 2"], tuple[int, int]]:
    points = np.concatenate([line.points for line in (*lanes.lines, *lanes.walks.lines)])
    origin = np.floor(points.min(axis=0) - MARGIN_M)
    columns, rows = np.ceil((points.max(axis=0) + MARGIN_M - origin) / TILE_M).astype(int)
    return origin, (int(rows), int(columns))


def _bus_lane_hours(region: Region) -> np.ndarray:
    hours = np.zeros((1, BUS_LANE_TIMES, 2), np.float32)
    for number, times in enumerate(region.bus_lane_hours or ((0, 24),)):
        hours[0, number] = times
    return hours


def _starts(counts: list[int]) -> np.ndarray:
    return np.array([0, *accumulate(counts)], np.int32)


def _lane_fields(
    lanes: LaneTable, controls: list[Control], crossing_controls: list[Control], signal_of: list[int]
) -> dict[str, np.ndarray]:
    walks, roads = lanes.walks, len(lanes.road_lanes)
    lines = (*lanes.lines, *walks.lines)
    successors = (*lanes.successors, *walks.successors)
    counts, on_foot = [len(line.points) for line in lines], len(walks.lines)
    nobody = np.full(on_foot, -1, np.int32)
    control = np.array([Control.NONE] * roads + controls + [Control.NONE] * on_foot, np.uint8)
    signal = np.array([-1] * roads + signal_of[: len(controls)] + [-1] * on_foot, np.int32)
    ends = np.zeros(len(lines), np.uint8)
    ends[[connector.from_lane for connector in lanes.connectors if connector.lane_ends]] = 1
    for number, crossing in enumerate(walks.crossings):
        both = slice(crossing.lane, crossing.lane + 2)
        control[both], signal[both] = crossing_controls[number], signal_of[len(controls) + number]
    return {
        "points": np.concatenate([line.points for line in lines]).astype(np.float32),
        "headings": np.concatenate([line.headings for line in lines]).astype(np.float32),
        "curvatures": np.concatenate([line.curvatures for line in lines]).astype(np.float32),
        "bend_speed_mps": np.concatenate(
            [bend_speeds(line.curvatures, line.spacing_m) for line in lines]
        ).astype(np.float32),
        "lane_first_point": _starts(counts)[:-1],
        "lane_point_count": np.array(counts, np.int32),
        "lane_spacing_m": np.array([line.spacing_m for line in lines], np.float32),
        "lane_length_m": np.array([line.length_m for line in lines], np.float32),
        "lane_width_m": np.array([*lanes.width_m, *walks.widths_m], np.float32),
        "lane_speed_limit_mps": np.array(
            [*lanes.speed_limit_mps, *[WALKING_LIMIT_MPS] * on_foot], np.float32
        ),
        "lane_kind": np.array([*lanes.kind, *walks.kinds], np.uint8),
        "lane_ends": ends,
        "lane_use": np.array([*lanes.use, *lanes.walk_use], np.uint8),
        "lane_reach_m": np.array([*lanes.reach_m, *lanes.walk_reach_m], np.float32),
        "lane_left": np.concatenate([lanes.left, nobody]),
        "lane_right": np.concatenate([lanes.right, nobody]),
        "successor_start": _starts([len(following) for following in successors]),
        "successors": np.array([lane for following in successors for lane in following], np.int32),
        "lane_control": control,
        "lane_signal": signal,
    }


def _kerb_fields(
    lanes: LaneTable, bays: tuple[Bays, ...], stops: tuple[BusStop, ...]
) -> dict[str, np.ndarray]:
    """Where, along each lane, buses stop and where a car may pull out."""
    fields = {
        name: np.full(len(lanes.lines) + len(lanes.walks.lines), -1.0, np.float32)
        for name in ("lane_bus_stop_m", "lane_bay_m")
    }
    for stop in stops:
        fields["lane_bus_stop_m"][stop.lane] = stop.along_m
    for row in bays:
        if row.way.numbers[0] >= 0:
            fields["lane_bay_m"][row.way.numbers[0]] = row.free_m
    return fields


def _conflict_fields(lanes: LaneTable, conflicts: list[Conflict]) -> dict[str, np.ndarray]:
    rows: list[list[tuple[float, ...]]] = [[] for _ in (*lanes.lines, *lanes.walks.lines)]
    for conflict in conflicts:
        first, second = conflict.first, conflict.second
        one, two = conflict.first_stretch_m, conflict.second_stretch_m
        rows[first].append((second, conflict.kind, *one, *two, conflict.first_yields))
        rows[second].append((first, conflict.kind, *two, *one, conflict.second_yields))
    table = np.array([row for lane in rows for row in sorted(lane)], np.float64).reshape(-1, 7)
    return {
        "conflict_start": _starts([len(lane) for lane in rows]),
        "conflict_lane": table[:, 0].astype(np.int32),
        "conflict_kind": table[:, 1].astype(np.uint8),
        "conflict_from_m": table[:, 2].astype(np.float32),
        "conflict_to_m": table[:, 3].astype(np.float32),
        "conflict_other_from_m": table[:, 4].astype(np.float32),
        "conflict_other_to_m": table[:, 5].astype(np.float32),
        "conflict_yield": table[:, 6].astype(np.uint8),
    }


def _signal_fields(signals: list[Signal]) -> dict[str, np.ndarray]:
    return {
        "signal_cycle_s": np.array([sum(signal.durations_s) for signal in signals], np.float32),
        "signal_offset_s": np.array([signal.offset_s for signal in signals], np.float32),
        "phase_start": _starts([len(signal.colours) for signal in signals]),
        "phase_end_s": np.array([end for s in signals for end in accumulate(s.durations_s)], np.float32),
        "phase_colour": np.array([colour for signal in signals for colour in signal.colours], np.uint8),
    }


def _ground_fields(
    ground: Ground, origin: Float64[np.ndarray, " 2"], lane_count: int
) -> dict[str, np.ndarray]:
    return {
        "town_first_lane": np.array([0, lane_count], np.int32),
        "town_origin_m": origin.astype(np.float32)[None],
        "town_tiles_shape": np.array([ground.tile_index.shape], np.int32),
        "town_first_tile": np.zeros(1, np.int32),
        "tile_index": ground.tile_index.ravel(),
        "tiles": ground.tiles,
    }


def _cells(
    places: Float64[np.ndarray, "N 2"], origin: Float64[np.ndarray, " 2"], tiles_shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shape of the grid of cells, the order that sorts `places` by cell, and CSR offsets of the cells."""
    cells = np.ceil(np.array(tiles_shape) * TILE_M / BOX_CELL_M).astype(np.int32)
    column, row = np.floor((places - origin) / BOX_CELL_M).astype(int).T
    cell = np.clip(row, 0, cells[0] - 1) * cells[1] + np.clip(column, 0, cells[1] - 1)
    counts = np.bincount(cell, minlength=int(cells.prod()))
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return cells, np.argsort(cell, kind="stable"), start


def _box_fields(
    boxes: Boxes, origin: Float64[np.ndarray, " 2"], tiles_shape: tuple[int, int]
) -> dict[str, np.ndarray]:
    rows, signals, lamps = boxes.arrays()
    cells, order, start = _cells(rows[:, :2], origin, tiles_shape)
    return {
        "town_cells_shape": cells[None],
        "town_first_cell": np.zeros(1, np.int32),
        "cell_start": start,
        "boxes": rows[order].astype(np.float32),
        "box_signal": signals[order],
        "box_lamp": lamps[order],
    }


def _sign_fields(
    signs: Signs, origin: Float64[np.ndarray, " 2"], tiles_shape: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Signs by cell; equal faces are kept once."""
    rows = np.array(signs.rows, np.float64).reshape(-1, 6)
    _, order, start = _cells(rows[:, :2], origin, tiles_shape)
    shown = sorted(set(signs.keys))
    faces = [sign_face(key) for key in shown]
    number = {key: index for index, key in enumerate(shown)}
    images = np.array([number[key] for key in signs.keys], np.int32).reshape(-1)
    return {
        "sign_start": start,
        "signs": rows[order].astype(np.float32),
        "sign_image": images[order],
        "sign_images": np.array(faces, np.uint8).reshape(-1, SIGN_PIXELS, SIGN_PIXELS, 4),
    }
