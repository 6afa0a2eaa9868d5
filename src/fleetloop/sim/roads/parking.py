"""Bays for parked cars beside streets, and the cars in them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.spatial import KDTree

from fleetloop.core.types import LaneUse, Surface
from fleetloop.sim.roads import curves
from fleetloop.sim.roads.boxes import Boxes
from fleetloop.sim.roads.carriageways import Carriageway
from fleetloop.sim.roads.lane_field import LaneField
from fleetloop.sim.roads.lanes import LaneTable
from fleetloop.sim.roads.paint import LINE_M, Paint
from fleetloop.sim.roads.tracks import Track
from fleetloop.sim.roads.walks import Walks

BAY_DEPTH_M = 2.2
BAY_LENGTH_M = 6.0
SLOPE_M = 4.0
"""Along which the kerb moves out before a row of bays, and back after it."""

_SHARE = 0.22
"""Of the street sides that have room."""
_TOWN_LIMITS_KMH = (20, 60)
_FROM_START_M, _BEFORE_END_M = 22.0, 26.0
_FEWEST_BAYS = 2
_MAX_CURVATURE_1PM = 1.0 / 60.0
_CLEARANCE_M = 1.0
_FROM_CROSSING_M = 12.0
_OCCUPIED = 0.75
"""Share of the bays with a car."""
# Half sizes and heights of the middle of a car's body, windows and roof, for a car of length 4.4 m.
_BODY, _WINDOWS, _ROOF = (2.2, 0.9, 0.33), (1.25, 0.8, 0.27), (1.1, 0.76, 0.04)
_BODY_Z, _WINDOWS_Z, _ROOF_Z = 0.58, 1.16, 1.46
_GLASS = (38, 44, 52)
# White, black, greys, silver, blue, red, green, sand: what is parked.
_PAINT = np.array(
    [
        [228, 228, 226],
        [44, 44, 50],
        [118, 120, 124],
        [172, 176, 180],
        [38, 66, 136],
        [158, 32, 34],
        [40, 86, 60],
        [196, 172, 126],
    ]
)
_SHIFT_RANGE_M = 5.0
"""Sidewalks whose middle is this near to a row of bays go round it."""


@dataclass(frozen=True)
class Bays:
    """A row of parking bays at the kerb of a carriageway."""

    way: Carriageway
    from_m: float
    """Metres along the track of the outermost lane."""
    count: int

    @property
    def to_m(self) -> float:
        """Where the row ends."""
        return self.from_m + self.count * BAY_LENGTH_M

    @property
    def free_m(self) -> float:
        """Middle of the last bay, where nobody is parked for good: who pulls out has room ahead."""
        return self.to_m - BAY_LENGTH_M / 2.0

    def depth(self, along_m: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
        """How far the kerb is moved out, by metres along the lane."""
        inside = np.minimum(along_m - self.from_m, self.to_m - along_m)
        return BAY_DEPTH_M * np.clip(1.0 + inside / SLOPE_M, 0.0, 1.0)


def plan_bays(
    ways: tuple[Carriageway, ...], lanes: LaneTable, field: LaneField, random: np.random.Generator
) -> tuple[Bays, ...]:
    """Rows of bays where streets are slow, straight enough, and nothing else is beside them."""
    middles = [crossing.source.shape.mean(axis=0) for crossing in lanes.walks.crossings]
    crossings = KDTree(np.array(middles)) if middles else None
    result = []
    for way, draw in zip(ways, random.random(len(ways)), strict=True):
        track = way.tracks[0]
        count = int((track.length_m - _FROM_START_M - _BEFORE_END_M) / BAY_LENGTH_M)
        slow = _TOWN_LIMITS_KMH[0] < way.speed_limit_kmh < _TOWN_LIMITS_KMH[1]
        if (
            draw > _SHARE
            or not slow
            or count < _FEWEST_BAYS
            or way.uses[0] is not LaneUse.MOTOR
            or way.in_roundabout
        ):
            continue
        bays = Bays(way, _FROM_START_M, count)
        along = np.arange(bays.from_m - SLOPE_M, bays.to_m + SLOPE_M, 1.0)
        outside = track.places(along, way.kerb_m + way.outer * (BAY_DEPTH_M + _CLEARANCE_M))
        if crossings is not None and crossings.query(outside)[0].min() < _FROM_CROSSING_M:
            continue
        straight = np.abs(track.line.curvatures).max() < _MAX_CURVATURE_1PM
        if straight and np.all(field.from_lanes_m(outside) > BAY_DEPTH_M):
            result.append(bays)
    return tuple(result)


def paint_bay_surface(paint: Paint, bays: Bays, surface: Surface, margin_m: float) -> None:
    """The bays' ground, wider by `margin_m` to the outside, with its slopes."""
    along = np.arange(bays.from_m - SLOPE_M, bays.to_m + SLOPE_M + 0.5, 1.0)
    track, kerb, outer = bays.way.tracks[0], bays.way.kerb_m, bays.way.outer
    inside = track.places(along, kerb - outer * 0.1)
    outside = track.places(along, kerb + outer * (bays.depth(along) + margin_m))
    for first in range(0, len(along) - 1, 12):
        piece = slice(first, first + 13)
        paint.add(surface, np.concatenate([inside[piece], outside[piece][::-1]]))


def paint_bay_lines(paint: Paint, bays: Bays) -> None:
    """White lines between the bays."""
    along = bays.from_m + BAY_LENGTH_M * np.arange(bays.count + 1) - LINE_M / 2.0
    sides = bays.way.kerb_m, bays.way.kerb_m + bays.way.outer * (BAY_DEPTH_M - 0.1)
    paint.extend(Surface.WHITE_LINE, bays.way.tracks[0].quads(along, along + LINE_M, min(sides), max(sides)))


def lead_walks_round(walks: Walks, bays: tuple[Bays, ...]) -> None:
    """Move the lanes for people on foot that run where bays will be, in place."""
    if not bays or not walks.lines:
        return
    counts = [len(line.points) for line in walks.lines]
    owners = np.repeat(np.arange(len(counts)), counts)
    tree = KDTree(np.concatenate([line.points for line in walks.lines]))
    for row in bays:
        near = tree.query_ball_point(row.way.tracks[0].line.points, _SHIFT_RANGE_M)
        for number in np.unique(owners[[point for points in near for point in points]]).tolist():
            line = walks.lines[number]
            moved = _led_round(row, line.points)
            if moved is not None:
                dense = curves.resample(moved, curves.DENSE_SPACING_M)
                walks.move(number, curves.centre_line(dense, line.headings[0], line.headings[-1]))


def _led_round(row: Bays, points: Float64[np.ndarray, "N 2"]) -> Float64[np.ndarray, "N 2"] | None:
    """The points moved out as far as the kerb is; None where they stay."""
    track = row.way.tracks[0]
    distance, nearest = KDTree(track.line.points).query(points)
    along = np.asarray(nearest, np.float64) * track.line.spacing_m
    # Only what is on the kerb's side.
    beside = (distance < _SHIFT_RANGE_M) & (
        _left_of(track, along, points) * row.way.outer > abs(row.way.kerb_m) - 0.1
    )
    depth = np.where(beside, row.depth(along), 0.0)
    if not depth.any():
        return None
    heading = track.headings(along)
    normal = np.stack([-np.sin(heading), np.cos(heading)], axis=1)
    return points + (row.way.outer * depth)[:, None] * normal


def _left_of(
    track: Track, along_m: Float64[np.ndarray, " N"], points: Float64[np.ndarray, "N 2"]
) -> Float64[np.ndarray, " N"]:
    """Metres to the left of the track."""
    heading = track.headings(along_m)
    delta = points - track.places(along_m, 0.0)
    return np.cos(heading) * delta[:, 1] - np.sin(heading) * delta[:, 0]


def add_parked_cars(boxes: Boxes, rows: tuple[Bays, ...], random: np.random.Generator) -> None:
    """Cars of three boxes (body, windows, roof) in most of the bays; some larger, none quite straight."""
    for row in rows:
        count = row.count
        along = row.from_m + BAY_LENGTH_M * (np.arange(count) + 0.5) + random.uniform(-0.4, 0.4, count)
        across = row.way.kerb_m + row.way.outer * (BAY_DEPTH_M / 2.0 + random.uniform(0.0, 0.1, count))
        yaw = row.way.tracks[0].headings(along) + random.normal(0.0, 0.02, count)
        scale = random.choice([0.9, 1.0, 1.0, 1.08], count)
        paint = _PAINT[random.integers(len(_PAINT), size=count)]
        parked = random.random(count) < _OCCUPIED
        parked[-1] = False
        centres, yaw = row.way.tracks[0].places(along, across)[parked], yaw[parked]
        direction = np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
        size = np.stack([scale, np.ones(count), np.ones(count)], axis=1)[parked]
        rear = centres - 0.15 * direction
        glass = np.tile(_GLASS, (len(yaw), 1))
        for half, height, at, colour in (
            (_BODY, _BODY_Z, centres, paint[parked]),
            (_WINDOWS, _WINDOWS_Z, rear, glass),
            (_ROOF, _ROOF_Z, rear, paint[parked]),
        ):
            boxes.extend(at, np.full(len(yaw), height), yaw, size * half, colour)
