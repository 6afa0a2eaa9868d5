"""A tiny synthetic World for tests: a straight two-way road, one crossing with signals, some buildings.

Right-hand traffic. The main road runs along x from -200 m to 200 m, its centre line at y = 0; the side road
runs along y from -100 m to 100 m, its centre line at x = CROSSING_X_M. Every arm has one lane in and one out.
Lanes: 2 * arm is the lane in, 2 * arm + 1 the lane out (arms: Arm), then twelve connectors, three for each
arm: `connector(arm, turn)`. Signals: 2 * arm rules right and straight, 2 * arm + 1 the left turn.
"""

import functools
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from fleetloop.core.types import (
    BOX_CELL_M,
    METRES_PER_PIXEL,
    SIGN_PIXELS,
    TILE_M,
    TILE_PIXELS,
    ConflictKind,
    Control,
    LaneKind,
    LaneUse,
    SignalColour,
    Surface,
    World,
)
from fleetloop.sim.roads.curves import bend_speeds

CROSSING_X_M = 100.0
JUNCTION_HALF_M = 12.0
LANE_WIDTH_M = 3.5
ORIGIN_M = (-224.0, -128.0)
SIZE_M = (448.0, 256.0)
CYCLE_S = 60.0
LANE_COUNT = 20


class Arm(IntEnum):
    """Where an arm of the crossing lies, counter-clockwise, so that the arm to the right is arm + 1."""

    WEST = 0
    SOUTH = 1
    EAST = 2
    NORTH = 3


class Turn(IntEnum):
    """Where a connector leads: to arm + 1, arm + 2 and arm + 3."""

    RIGHT = 0
    STRAIGHT = 1
    LEFT = 2


def lane_in(arm: Arm) -> int:
    """The road lane that leads to the crossing."""
    return 2 * arm


def lane_out(arm: Arm) -> int:
    """The road lane that leads away from the crossing; it ends at the rim of the town."""
    return 2 * arm + 1


def connector(arm: Arm, turn: Turn) -> int:
    """The junction lane that starts at the end of `lane_in(arm)`."""
    return 8 + 3 * arm + turn


class _Lane(NamedTuple):
    points: np.ndarray
    headings: np.ndarray
    curvature: float
    length: float


def _rotate(points: np.ndarray, quarter_turns: int) -> np.ndarray:
    cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarter_turns % 4]
    return points @ np.array([[cosine, sine], [-sine, cosine]], dtype=np.float64)


def _line(start: tuple[float, float], end: tuple[float, float]) -> _Lane:
    delta = np.subtract(end, start)
    length = float(np.hypot(*delta))
    share = np.linspace(0.0, 1.0, max(round(length), 1) + 1)[:, None]
    heading = np.arctan2(delta[1], delta[0])
    return _Lane(np.asarray(start) + share * delta, np.full(len(share), heading), 0.0, length)


def _quarter(start: tuple[float, float], radius: float, left: bool) -> _Lane:
    """A quarter circle that starts eastward."""
    side = 1.0 if left else -1.0
    length = radius * np.pi / 2.0
    angle = np.linspace(0.0, np.pi / 2.0, round(length) + 1)
    points = np.stack([start[0] + radius * np.sin(angle), start[1] + side * radius * (1 - np.cos(angle))], 1)
    return _Lane(points, side * angle, side / radius, length)


def _lanes() -> list[_Lane]:
    """All lanes, first as if the arm lay in the west of a crossing at the origin, then turned and moved."""
    half, edge = LANE_WIDTH_M / 2.0, JUNCTION_HALF_M
    road: list[_Lane] = []
    junction: list[_Lane] = []
    reaches = {Arm.WEST: 200 + CROSSING_X_M, Arm.SOUTH: 100.0, Arm.EAST: 200 - CROSSING_X_M, Arm.NORTH: 100.0}
    for arm in Arm:
        here: list[_Lane] = [
            _line((-reaches[arm], -half), (-edge, -half)),
            _line((-edge, half), (-reaches[arm], half)),
            _quarter((-edge, -half), edge - half, left=False),
            _line((-edge, -half), (edge, -half)),
            _quarter((-edge, -half), edge + half, left=True),
        ]
        turned = []
        for lane in here:
            points = _rotate(lane.points, int(arm)) + np.array([CROSSING_X_M, 0.0])
            headings = (lane.headings + arm * np.pi / 2.0 + np.pi) % (2 * np.pi) - np.pi
            turned.append(_Lane(points, headings, lane.curvature, lane.length))
        road += turned[:2]
        junction += turned[2:]
    return road + junction


class _Conflict(NamedTuple):
    other: int
    kind: ConflictKind
    from_m: float
    to_m: float
    other_from_m: float
    other_to_m: float
    must_yield: bool


def _must_yield(arm: Arm, turn: Turn, other_arm: Arm, other_turn: Turn) -> bool:
    """A left turn yields to the opposite arm; otherwise (never green together) right before left."""
    if (other_arm - arm) % 4 == 2:
        if (turn is Turn.LEFT) != (other_turn is Turn.LEFT):
            return turn is Turn.LEFT
        return arm > other_arm
    return (other_arm - arm) % 4 == 1


def _stretch(lane: _Lane, hits: np.ndarray) -> tuple[float, float]:
    """From and to, in metres along the lane, half a spacing beyond the points that were hit."""
    spacing = lane.length / (len(lane.points) - 1)
    return max((hits[0] - 0.5) * spacing, 0.0), min((hits[-1] + 0.5) * spacing, lane.length)


def _conflicts(lanes: list[_Lane], vehicle_width_m: float = 2.0) -> list[list[_Conflict]]:
    """For each lane, the other connectors whose swept paths touch its own."""
    found: list[list[_Conflict]] = [[] for _ in lanes]
    pairs = [(arm, turn) for arm in Arm for turn in Turn]
    for arm, turn in pairs:
        for other_arm, other_turn in pairs:
            mine, other = connector(arm, turn), connector(other_arm, other_turn)
            if mine == other:
                continue
            gap = np.linalg.norm(lanes[mine].points[:, None] - lanes[other].points[None], axis=-1)
            near, other_near = (np.flatnonzero((gap < vehicle_width_m).any(axis)) for axis in (1, 0))
            if not len(near):
                continue
            kind = ConflictKind.CROSS
            must_yield = _must_yield(arm, turn, other_arm, other_turn)
            if arm == other_arm:
                kind, must_yield = ConflictKind.DIVERGE, False
            elif (arm + turn) % 4 == (other_arm + other_turn) % 4:
                kind = ConflictKind.MERGE
            stretches = _stretch(lanes[mine], near) + _stretch(lanes[other], other_near)
            found[mine].append(_Conflict(other, kind, *stretches, must_yield))
    return found


def _signals() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """phase_start, phase_end_s, phase_colour: the main road is green till 25 s, the side from 30 to 55 s."""
    start, ends, colours = [0], [], []
    for arm in Arm:
        for green in (SignalColour.GREEN, SignalColour.GREEN_YIELD):
            if arm in (Arm.WEST, Arm.EAST):
                ends += [25.0, 28.0, CYCLE_S]
                colours += [green, SignalColour.YELLOW, SignalColour.RED]
            else:
                ends += [30.0, 55.0, 58.0, CYCLE_S]
                colours += [SignalColour.RED, green, SignalColour.YELLOW, SignalColour.RED]
            start.append(len(ends))
    return np.array(start, np.int32), np.array(ends, np.float32), np.array(colours, np.uint8)


def _ground() -> np.ndarray:
    """The whole town by Surface, [row (y up), column (x)]."""
    columns, rows = (round(size / METRES_PER_PIXEL) for size in SIZE_M)
    x = ORIGIN_M[0] + (np.arange(columns)[None, :] + 0.5) * METRES_PER_PIXEL
    y = ORIGIN_M[1] + (np.arange(rows)[:, None] + 0.5) * METRES_PER_PIXEL
    ground = np.full((rows, columns), Surface.GRASS, np.uint8)
    dx = x - CROSSING_X_M
    main, side = np.abs(x) <= 200.0, np.abs(y) <= 100.0
    for width, surface in ((5.9, Surface.SIDEWALK), (3.9, Surface.CURB), (3.7, Surface.ASPHALT)):
        ground[main & (np.abs(y) <= width)] = surface
        ground[side & (np.abs(dx) <= width)] = surface
    junction = (np.abs(dx) <= 8.0) & (np.abs(y) <= 8.0) & (np.abs(dx) + np.abs(y) <= 11.7)
    ground[junction] = Surface.JUNCTION
    outside = (np.abs(dx) > JUNCTION_HALF_M) & (np.abs(y) > -1)
    outside_side = (np.abs(y) > JUNCTION_HALF_M) & (np.abs(dx) > -1)
    ground[main & outside & (np.abs(y) <= 0.1)] = Surface.YELLOW_LINE
    ground[side & outside_side & (np.abs(dx) <= 0.1)] = Surface.YELLOW_LINE
    ground[main & outside & (np.abs(np.abs(y) - 3.5) <= 0.075)] = Surface.WHITE_LINE
    ground[side & outside_side & (np.abs(np.abs(dx) - 3.5) <= 0.075)] = Surface.WHITE_LINE
    for along, across, sign in ((dx, y, 1.0), (y, dx, -1.0)):
        zebra = (
            (np.abs(np.abs(along) - 9.5) <= 1.5) & (np.abs(across) <= 3.5) & (np.floor(across + 4) % 2 == 0)
        )
        ground[zebra] = Surface.CROSSING
        for end in (-1.0, 1.0):
            lane = end * sign * across
            stop = (np.abs(end * along - JUNCTION_HALF_M) <= 0.25) & (lane > 0.1) & (lane < 3.5)
            ground[stop] = Surface.STOP_LINE
    return ground


def _tiles() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """town_tiles_shape, tile_index, tiles: equal tiles are stored once and tile 0 is all grass."""
    ground = _ground()
    rows, columns = (length // TILE_PIXELS for length in ground.shape)
    cut = ground.reshape(rows, TILE_PIXELS, columns, TILE_PIXELS).transpose(0, 2, 1, 3)
    flat = cut.reshape(rows * columns, TILE_PIXELS**2)
    grass = np.full((1, TILE_PIXELS**2), Surface.GRASS, np.uint8)
    tiles, index = np.unique(np.concatenate([grass, flat]), axis=0, return_inverse=True)
    assert int(Surface.GRASS) == 0 and index.ravel()[0] == 0
    shape = np.array([[rows, columns]], np.int32)
    return shape, index.ravel()[1:].astype(np.int32), tiles.reshape(-1, TILE_PIXELS, TILE_PIXELS)


def _boxes() -> list[tuple[list[float], int, int]]:
    """Static boxes as (row of World.boxes, signal, lamp)."""
    boxes: list[tuple[list[float], int, int]] = []

    def add(*row: float, signal: int = -1, lamp: int = 0) -> None:
        boxes.append((list(row), signal, lamp))

    for number, x in enumerate(range(-185, 75, 35)):
        height = 3.0 + 1.5 * (number % 4)
        add(x, 22.0, height, 0.0, 12.0, 9.0, height, 190 - 12 * number, 150, 110 + 10 * number)
        add(x + 5, -20.0, height, 0.1, 9.0, 7.0, height, 140, 120 + 8 * number, 150)
        add(x + 17, 8.0, 1.2, 0.0, 0.2, 0.2, 1.2, 90, 60, 40)  # A tree: trunk and crown.
        add(x + 17, 8.0, 3.6, 0.4, 1.4, 1.4, 1.4, 50, 110, 45)
    for dx in (-30.0, 30.0):
        for y in (-40.0, 40.0):
            add(CROSSING_X_M + dx, y, 6.0, 0.0, 12.0, 14.0, 6.0, 170, 90, 80)
    for arm in Arm:
        yaw = arm * np.pi / 2.0
        toward = np.array([np.cos(yaw), np.sin(yaw)])
        right = np.array([np.sin(yaw), -np.cos(yaw)])
        base = (
            np.array([CROSSING_X_M, 0.0]) + 9.0 * toward + 4.6 * right
        )  # Beyond the junction, on the right.
        add(*base, 1.5, yaw, 0.08, 0.08, 1.5, 80, 80, 80)
        add(*base, 3.6, yaw, 0.12, 0.25, 0.7, 25, 25, 25)
        lamps = ((SignalColour.RED, 4.02), (SignalColour.YELLOW, 3.6), (SignalColour.GREEN, 3.18))
        for (lamp, z), colour in zip(lamps, ((255, 40, 30), (255, 190, 0), (40, 255, 120)), strict=True):
            add(*(base - 0.15 * toward), z, yaw, 0.06, 0.17, 0.17, *colour, signal=2 * arm, lamp=int(lamp))
    return boxes


def _box_arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """town_cells_shape, cell_start, boxes, box_signal, box_lamp, sorted by cell."""
    columns, rows = (round(size / BOX_CELL_M) for size in SIZE_M)
    boxes, signals, lamps = zip(*_boxes(), strict=True)
    rows_of_boxes = np.array(boxes, np.float32)
    cells = np.floor((rows_of_boxes[:, :2] - np.array(ORIGIN_M)) / BOX_CELL_M).astype(np.int64)
    cell = cells[:, 1] * columns + cells[:, 0]
    order = np.argsort(cell, kind="stable")
    start = np.searchsorted(cell[order], np.arange(rows * columns + 1)).astype(np.int32)
    signal, lamp = np.array(signals, np.int32)[order], np.array(lamps, np.uint8)[order]
    return np.array([[rows, columns]], np.int32), start, rows_of_boxes[order], signal, lamp


@functools.lru_cache
def toy_world() -> World:
    """The town of this module's docstring. The arrays are shared between callers: do not write to them."""
    lanes = _lanes()
    conflicts = _conflicts(lanes)
    listed = [conflict for of_lane in conflicts for conflict in of_lane]
    counts = np.array([len(lane.points) for lane in lanes], np.int32)
    lengths = np.array([lane.length for lane in lanes], np.float32)
    kinds = np.array([LaneKind.ROAD] * 8 + [LaneKind.JUNCTION] * 12, np.uint8)
    followers: list[list[int]] = [[] for _ in lanes]
    signals = np.full(LANE_COUNT, -1, np.int32)
    for arm in Arm:
        for turn in Turn:
            lane = connector(arm, turn)
            followers[lane_in(arm)].append(lane)
            followers[lane].append(lane_out(Arm((arm + turn + 1) % 4)))
            signals[lane] = 2 * arm + (1 if turn is Turn.LEFT else 0)
    reach = lengths.copy()
    for lane in [*range(8, LANE_COUNT), *(lane_in(arm) for arm in Arm)]:
        reach[lane] += max(reach[follower] for follower in followers[lane])
    phase_start, phase_end_s, phase_colour = _signals()
    tiles_shape, tile_index, tiles = _tiles()
    cells_shape, cell_start, boxes, box_signal, box_lamp = _box_arrays()

    def starts(groups: list) -> np.ndarray:
        return np.concatenate([[0], np.cumsum([len(group) for group in groups])]).astype(np.int32)

    def column(name: str, dtype: type) -> np.ndarray:
        return np.array([getattr(conflict, name) for conflict in listed], dtype)

    return World(
        points=np.concatenate([lane.points for lane in lanes]).astype(np.float32),
        headings=np.concatenate([lane.headings for lane in lanes]).astype(np.float32),
        heights_m=np.zeros(counts.sum(), np.float32),
        curvatures=np.repeat(np.array([lane.curvature for lane in lanes], np.float32), counts),
        bend_speed_mps=np.concatenate(
            [
                bend_speeds(np.full(len(lane.points), lane.curvature), lane.length / (len(lane.points) - 1))
                for lane in lanes
            ]
        ).astype(np.float32),
        lane_first_point=(np.cumsum(counts) - counts).astype(np.int32),
        lane_point_count=counts,
        lane_spacing_m=(lengths / (counts - 1)).astype(np.float32),
        lane_length_m=lengths,
        lane_width_m=np.full(LANE_COUNT, LANE_WIDTH_M, np.float32),
        lane_speed_limit_mps=np.full(LANE_COUNT, 13.9, np.float32),
        lane_kind=kinds,
        lane_use=np.full(LANE_COUNT, LaneUse.MOTOR | LaneUse.BUS | LaneUse.BICYCLE, np.uint8),
        lane_reach_m=reach,
        lane_ends=np.zeros(LANE_COUNT, np.uint8),
        lane_bus_stop_m=np.full(LANE_COUNT, -1.0, np.float32),
        lane_bay_m=np.full(LANE_COUNT, -1.0, np.float32),
        lane_left=np.full(LANE_COUNT, -1, np.int32),
        lane_right=np.full(LANE_COUNT, -1, np.int32),
        successor_start=starts(followers),
        successors=np.array([lane for group in followers for lane in group], np.int32),
        lane_control=np.where(signals >= 0, Control.SIGNAL, Control.NONE).astype(np.uint8),
        lane_signal=signals,
        conflict_start=starts(conflicts),
        conflict_lane=column("other", np.int32),
        conflict_kind=column("kind", np.uint8),
        conflict_from_m=column("from_m", np.float32),
        conflict_to_m=column("to_m", np.float32),
        conflict_other_from_m=column("other_from_m", np.float32),
        conflict_other_to_m=column("other_to_m", np.float32),
        conflict_yield=column("must_yield", np.uint8),
        signal_cycle_s=np.full(8, CYCLE_S, np.float32),
        signal_offset_s=np.zeros(8, np.float32),
        phase_start=phase_start,
        phase_end_s=phase_end_s,
        phase_colour=phase_colour,
        town_first_lane=np.array([0, LANE_COUNT], np.int32),
        town_origin_m=np.array([ORIGIN_M], np.float32),
        town_tiles_shape=tiles_shape,
        town_first_tile=np.zeros(1, np.int32),
        tile_index=tile_index,
        tiles=tiles,
        town_cells_shape=cells_shape,
        town_first_cell=np.zeros(1, np.int32),
        cell_start=cell_start,
        boxes=boxes,
        box_signal=box_signal,
        box_lamp=box_lamp,
        town_left_hand=np.zeros(1, np.uint8),
        town_bus_lane_hours=np.zeros((1, 2, 2), np.float32),
        sign_start=np.zeros_like(cell_start),
        signs=np.zeros((0, 6), np.float32),
        sign_image=np.zeros(0, np.int32),
        sign_images=np.zeros((0, SIGN_PIXELS, SIGN_PIXELS, 4), np.uint8),
    )


assert round(TILE_M / METRES_PER_PIXEL) == TILE_PIXELS
