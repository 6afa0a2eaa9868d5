"""Closes what no car can drive on real maps: bends that are too sharp, and lanes that run through each other."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64
from scipy.spatial import KDTree

from fleetloop.core.types import LaneKind
from fleetloop.sim.paths import LEVEL_M
from fleetloop.sim.roads.conflicts import Conflict
from fleetloop.sim.roads.lanes import LaneTable, reach_of_users

SHARPEST_1PM = 0.205
"""A car's turning circle of about 10 m, and what rounding adds."""
OVERLAP_M = 1.9
"""Centre lines this near leave no room for two cars side by side."""


def close_undrivable(
    lanes: LaneTable, conflicts: Sequence[Conflict], heights: Sequence[Float64[np.ndarray, " points"]]
) -> LaneTable:
    """The same lanes; those that cannot be driven are open to nobody, and no way counts on them."""
    closed = np.array([np.abs(line.curvatures).max() > SHARPEST_1PM for line in lanes.lines])
    for first, second in _overlaps(lanes, conflicts, heights):
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


def _lesser(lanes: LaneTable, first: int, second: int) -> int:
    """Which of two to close: a connector before a road, the slower, the shorter, the later."""
    rank = [
        (lanes.kind[n] == LaneKind.ROAD, lanes.speed_limit_mps[n], lanes.lines[n].length_m, -n)
        for n in (first, second)
    ]
    return first if rank[0] < rank[1] else second


def _overlaps(
    lanes: LaneTable, conflicts: Sequence[Conflict], heights: Sequence[Float64[np.ndarray, " points"]]
) -> list[tuple[int, int]]:
    """Pairs of lanes that run through each other on one level, where no rule says who goes first."""
    points = np.concatenate([line.points for line in lanes.lines])
    levels = np.concatenate(heights[: len(lanes.lines)])
    lane = np.repeat(np.arange(len(lanes.lines)), [len(line.points) for line in lanes.lines])
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
