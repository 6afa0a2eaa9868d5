"""Closes what cannot be used on real maps: bends too sharp for a car, lanes and sidewalks that run through lanes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64
from scipy.spatial import KDTree

from fleetloop.core.types import VEHICLE_SIZES, WHEELBASE_M, AgentKind, LaneKind
from fleetloop.sim.paths import LEVEL_M
from fleetloop.sim.roads.conflicts import PERSON_HALF_WIDTH_M, VEHICLE_HALF_WIDTH_M, Conflict
from fleetloop.sim.roads.curves import CentreLine
from fleetloop.sim.roads.lanes import LaneTable, longest_drives, reach_of_users

SHARPEST_1PM = 0.205
"""A car's turning circle of about 10 m, and what rounding adds."""
OVERLAP_M = 1.9
"""Centre lines this near leave no room for two cars side by side."""
TOUCHED_M = VEHICLE_HALF_WIDTH_M + PERSON_HALF_WIDTH_M
"""From the middle of a lane: who walks nearer is hit by a wide vehicle."""
BRUSH_M = 0.05
SWINGS_OUT_1PM = 0.03
FRONT_M = WHEELBASE_M
"""From a car's rear axle, which keeps to the middle of the lane, to its front axle, which does not."""
CAR_HALF_WIDTH_M = float(VEHICLE_SIZES[AgentKind.CAR, 1]) / 2.0
ON_CROSSING_M = 0.8
"""The same on a crossing."""


def close_undrivable(lanes: LaneTable, conflicts: Sequence[Conflict]) -> LaneTable:
    """The same lanes; those that cannot be driven are open to nobody, and no way counts on them."""
    closed = np.array([np.abs(line.curvatures).max() > SHARPEST_1PM for line in lanes.lines])
    for first, second in _overlaps(lanes, conflicts):
        if not closed[first] and not closed[second]:
            closed[_lesser(lanes, first, second)] = True
    if not closed.any():
        return lanes
    for number, connector in enumerate(lanes.connectors):
        closed[lanes.connector_lane(number)] |= closed[connector.to_lane]
    open_ways = tuple(
        () if closed[lane] else tuple(other for other in following if not closed[other])
        for lane, following in enumerate(lanes.successors)
    )
    reach = reach_of_users(np.array([line.length_m for line in lanes.lines]), open_ways, lanes.use)
    return replace(
        lanes, use=np.where(closed, 0, lanes.use).astype(np.uint8), reach_m=np.where(closed, 0.0, reach)
    )


def close_unwalkable(lanes: LaneTable, conflicts: Sequence[Conflict]) -> LaneTable:
    """The same lanes; those for people on foot that run where vehicles drive, and no rule says who waits, are closed.

    `lanes` has been through `close_undrivable`.
    """
    walks = lanes.walks
    driven = np.flatnonzero(lanes.use).tolist()
    if not walks.lines or not driven:
        return lanes
    lines, heights = [lanes.lines[n] for n in driven], [lanes.heights[n] for n in driven]
    points, levels, lane, is_front = _swept(lines, heights)
    lane = np.array(driven)[lane]
    places, place_heights, walk = _points(walks.lines, walks.heights)
    pairs = KDTree(places).sparse_distance_matrix(KDTree(points), TOUCHED_M, output_type="ndarray")
    walked, number = walk[pairs["i"]], lane[pairs["j"]]
    on_crossing = np.array(walks.kinds)[walked] == LaneKind.CROSSING
    widest = np.where(is_front[pairs["j"]], CAR_HALF_WIDTH_M, VEHICLE_HALF_WIDTH_M)
    reach = np.minimum(lanes.width_m[number] / 2.0, widest) + PERSON_HALF_WIDTH_M - BRUSH_M
    # A crossing lies close to the ends of the roads that it is a part of.
    near = pairs["v"] < np.where(on_crossing, ON_CROSSING_M, reach)
    near &= np.abs(place_heights[pairs["i"]] - levels[pairs["j"]]) < LEVEL_M
    found = np.unique(np.stack([number[near], walked[near] + walks.first_lane], axis=1), axis=0)
    ruled = {(conflict.first, conflict.second) for conflict in conflicts}
    closed = np.zeros(len(walks.lines), bool)
    closed[[b - walks.first_lane for a, b in found.tolist() if (a, b) not in ruled]] = True
    open_ways = tuple(
        ()
        if closed[n]
        else tuple(b - walks.first_lane for b in following if not closed[b - walks.first_lane])
        for n, following in enumerate(walks.successors)
    )
    reach_m = longest_drives(np.array([line.length_m for line in walks.lines]), open_ways)
    return replace(
        lanes,
        walk_use=np.where(closed, 0, lanes.walk_use).astype(np.uint8),
        walk_reach_m=np.where(closed, 0.0, reach_m),
    )


def _points(
    lines: Sequence[CentreLine], heights: Sequence[Float64[np.ndarray, " points"]]
) -> tuple[Float64[np.ndarray, "N 2"], Float64[np.ndarray, " N"], np.ndarray]:
    """All points of lines, their heights, and the number of the line that each is of."""
    owner = np.repeat(np.arange(len(lines)), [len(line.points) for line in lines])
    return np.concatenate([line.points for line in lines]), np.concatenate(heights), owner


def _swept(
    lines: Sequence[CentreLine], heights: Sequence[Float64[np.ndarray, " points"]]
) -> tuple[Float64[np.ndarray, "N 2"], Float64[np.ndarray, " N"], np.ndarray, np.ndarray]:
    """As `_points`, with the places of a car's front axle, which swings out in bends, and which points those are."""
    points, levels, owner = _points(lines, heights)
    headings = np.concatenate([line.headings for line in lines])
    bends = np.abs(np.concatenate([line.curvatures for line in lines])) > SWINGS_OUT_1PM
    left_m = np.concatenate([line.spacing_m * np.arange(len(line.points))[::-1] for line in lines])
    chosen = np.flatnonzero(bends & (left_m > FRONT_M))
    ahead = np.stack([np.cos(headings[chosen]), np.sin(headings[chosen])], axis=1)
    fronts = points[chosen] + FRONT_M * ahead
    return (
        np.concatenate([points, fronts]),
        np.concatenate([levels, levels[chosen]]),
        np.concatenate([owner, owner[chosen]]),
        np.arange(len(points) + len(fronts)) >= len(points),
    )


def _lesser(lanes: LaneTable, first: int, second: int) -> int:
    """Which of two to close: a connector before a road, the slower, the shorter, the later."""
    rank = [
        (lanes.kind[n] == LaneKind.ROAD, lanes.speed_limit_mps[n], lanes.lines[n].length_m, -n)
        for n in (first, second)
    ]
    return first if rank[0] < rank[1] else second


def _overlaps(lanes: LaneTable, conflicts: Sequence[Conflict]) -> list[tuple[int, int]]:
    """Pairs of lanes that run through each other on one level, where no rule says who goes first."""
    points, levels, lane = _points(lanes.lines, lanes.heights)
    pairs = KDTree(points).query_pairs(OVERLAP_M, output_type="ndarray")
    first, second = lane[pairs[:, 0]], lane[pairs[:, 1]]
    near = (first != second) & (np.abs(levels[pairs[:, 0]] - levels[pairs[:, 1]]) < LEVEL_M)
    found = np.unique(np.sort(np.stack([first[near], second[near]], axis=1), axis=1), axis=0)
    ruled = {tuple(sorted((conflict.first, conflict.second))) for conflict in conflicts}
    akin = _kinship(lanes)
    return [(a, b) for a, b in found.tolist() if (a, b) not in ruled and not akin(a, b)]


def _kinship(lanes: LaneTable):
    """Tells whether two lanes follow each other within two steps, or share a lane before or after."""
    before: list[set[int]] = [set() for _ in lanes.lines]
    for lane, following in enumerate(lanes.successors):
        for other in following:
            before[other].add(lane)
    after = [set(following) for following in lanes.successors]
    beyond = [set().union(*(after[other] for other in following)) for following in after]

    def akin(a: int, b: int) -> bool:
        follow = b in after[a] or a in after[b] or b in beyond[a] or a in beyond[b]
        return follow or bool(before[a] & before[b]) or bool(after[a] & after[b])

    return akin
