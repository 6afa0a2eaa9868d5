"""Ways from lane to lane across junctions: which there are, and room for curves that a car can drive."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from scipy.spatial import KDTree

from fleetloop.core.geometry import wrap_angle
from fleetloop.core.types import LaneUse
from fleetloop.sim.roads import curves
from fleetloop.sim.roads.network import NetLane, Network

MAX_TURN_RAD = np.deg2rad(135.0)
MAX_CONNECTOR_CURVATURE_1PM = 0.25
"""Sharper ways (a radius below 4 m) are left out unless they are the only one."""

U_TURN_RAD = np.deg2rad(150.0)
"""Sharper ways are left out even then: the lane is a dead end."""

_WIDE = LaneUse.MOTOR | LaneUse.BUS
VEHICLE_USES = (LaneUse.MOTOR, LaneUse.BUS, LaneUse.BICYCLE)
_FAST_MPS = 20.0
_SHIFT_ACCELERATION_MPS2 = 1.2
"""To the side, while a car moves over on a fast road."""

_TRIM_STEP_M, _FAST_TRIM_STEP_M = 1.0, 6.0
_MAX_FAST_TRIM_M = 70.0
_MAX_TRIM_M = 10.0
_MAX_TRIM_SHARE = 0.4
_MIN_CONNECTOR_M = 0.5
_MAX_KINK_RAD = 0.08
_MAX_DETOUR_M = 2.0
"""A joining curve that leaves the surveyed way by more is replaced by that way."""


@dataclass
class Way:
    """A connector in the making."""

    connection: int
    from_lane: int
    to_lane: int
    via: tuple[str, ...]
    users: LaneUse
    lane_ends: bool = False
    """Its lane just ends, and it moves over into its neighbour's way."""

    @property
    def for_bicycles_only(self) -> bool:
        """Whether no car or bus has to get round it."""
        return not self.users & _WIDE


def permitted_ways(
    network: Network, road_lanes: tuple[NetLane, ...], index: dict[tuple[str, int], int]
) -> list[Way]:
    """Every connection between lanes, for those who may use all of it; a lane that just ends merges into its
    neighbour's way."""
    ways: dict[tuple[int, int], Way] = {}
    of_lane: dict[int, list[Way]] = {}
    for number, connection in enumerate(network.connections):
        start = index.get((connection.from_edge, connection.from_lane))
        end = index.get((connection.to_edge, connection.to_lane))
        if start is None or end is None or (start, end) in ways:
            continue
        users = connection.users & road_lanes[start].users & road_lanes[end].users
        if users:
            ways[start, end] = Way(number, start, end, connection.via, users)
            of_lane.setdefault(start, []).append(ways[start, end])
    for (edge, lane), number in index.items():
        mine = main_user(road_lanes[number].users)
        if any(way.users & mine for way in of_lane.get(number, ())):
            continue
        for side, choice in ((-1, -1), (1, 0)):
            neighbour = index.get((edge, lane + side), -1)
            beside = [way for way in of_lane.get(neighbour, ()) if way.users & mine]
            if beside and (number, beside[choice].to_lane) not in ways:
                way, users = beside[choice], beside[choice].users & road_lanes[number].users
                ways[number, way.to_lane] = Way(
                    way.connection, number, way.to_lane, (), users, lane_ends=True
                )
                break
    return list(ways.values())


def main_user(users: int) -> LaneUse:
    """For whom a lane is made: the first of motor vehicles, buses and bicycles that may use it."""
    return next(use for use in VEHICLE_USES if users & use)


class DenseLine:
    """A smoothed road lane before it is cut and sampled."""

    def __init__(self, lane: NetLane) -> None:
        # On a fast road the corners of a surveyed polyline would feel like bends.
        limit = curves.TARGET_CURVATURE_1PM
        if lane.speed_mps > _FAST_MPS:
            limit = _SHIFT_ACCELERATION_MPS2 / lane.speed_mps**2
        self.points = curves.smooth(lane.shape, limit)
        self.along = curves.arc_lengths(self.points)
        self.headings = curves.tangents(self.points)

    @property
    def length_m(self) -> float:
        return float(self.along[-1])

    def pose_at(self, along_m: float) -> tuple[float, float, float]:
        x, y = (float(np.interp(along_m, self.along, self.points[:, axis])) for axis in (0, 1))
        return x, y, float(np.interp(along_m, self.along, self.headings))

    def cut(self, from_start_m: float, from_end_m: float) -> np.ndarray:
        """The points without the first and last metres."""
        first, last = from_start_m, self.length_m - from_end_m
        inside = self.points[(self.along > first + 1e-3) & (self.along < last - 1e-3)]
        return np.concatenate([[self.pose_at(first)[:2]], inside, [self.pose_at(last)[:2]]])


def end_poses(dense: list[DenseLine], trims: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Poses [lanes, 3] at the two ends of every road lane after trimming."""
    starts = [line.pose_at(trim[0]) for line, trim in zip(dense, trims, strict=True)]
    ends = [line.pose_at(line.length_m - trim[1]) for line, trim in zip(dense, trims, strict=True)]
    return np.array(starts), np.array(ends)


def turn_between(start: np.ndarray, end: np.ndarray) -> float:
    return float(wrap_angle(end[2] - start[2]))


def drawn_out(
    road_lanes: tuple[NetLane, ...], ways: list[Way], decides: Bool[np.ndarray, " ways"]
) -> tuple[Bool[np.ndarray, " ways"], Float64[np.ndarray, " ways"]]:
    """Which ways change lanes on a fast road with nothing to decide, and the lower limit of both lanes in m/s."""
    limits = np.array([lane.speed_mps for lane in road_lanes])
    slower = np.minimum(limits[[way.from_lane for way in ways]], limits[[way.to_lane for way in ways]])
    return ~decides & (slower > _FAST_MPS), slower


def trim_for_curves(
    road_lanes: tuple[NetLane, ...],
    dense: list[DenseLine],
    ways: list[Way],
    decides: Bool[np.ndarray, " ways"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shorten roads where the junction leaves too little room for a curve that a car can drive.

    All lanes of an edge are cut alike. Where there is nothing to decide on a fast road (`decides` is False for
    the way), a change of lanes is drawn out so that it can be driven at its limit. Returns metres cut
    [lanes, 2 ends] and the curves' shares and peaks.
    """
    edges = {name: number for number, name in enumerate(dict.fromkeys(lane.edge for lane in road_lanes))}
    edge_of = np.array([edges[lane.edge] for lane in road_lanes])
    shortest = np.full(len(edges), np.inf)
    np.minimum.at(shortest, edge_of, [line.length_m for line in dense])
    leaving = np.array([way.from_lane for way in ways], np.int64)
    entering = np.array([way.to_lane for way in ways], np.int64)
    wide = np.array([not way.for_bicycles_only for way in ways], bool)
    fast, slower = drawn_out(road_lanes, ways, decides)
    target = np.where(
        fast, _SHIFT_ACCELERATION_MPS2 / np.maximum(slower, 1.0) ** 2, curves.TARGET_CURVATURE_1PM
    )
    most = np.repeat(np.minimum(_MAX_TRIM_M, _MAX_TRIM_SHARE * shortest)[:, None], 2, axis=1)
    longer = np.minimum(_MAX_FAST_TRIM_M, _MAX_TRIM_SHARE * shortest)
    most[edge_of[leaving[fast]], 1] = longer[edge_of[leaving[fast]]]
    most[edge_of[entering[fast]], 0] = longer[edge_of[entering[fast]]]
    step = np.where(fast, _FAST_TRIM_STEP_M, _TRIM_STEP_M)
    cuts = np.zeros((len(edges), 2))
    shares, peaks = np.zeros((len(ways), 2)), np.zeros(len(ways))
    todo = np.arange(len(ways))
    while len(todo):
        starts, ends = end_poses(dense, cuts[edge_of])
        shares[todo], peaks[todo] = curves.fit_joining_curves(ends[leaving[todo]], starts[entering[todo]])
        turns = np.abs(wrap_angle(starts[entering, 2] - ends[leaving, 2]))
        gaps = np.hypot(*(starts[entering, :2] - ends[leaving, :2]).T)
        tight = (peaks > target) & (turns < MAX_TURN_RAD) & wide | (gaps < _MIN_CONNECTOR_M)
        grown = cuts.copy()
        before, after = edge_of[leaving[tight]], edge_of[entering[tight]]
        np.maximum.at(grown[:, 1], before, cuts[before, 1] + step[tight])
        np.maximum.at(grown[:, 0], after, cuts[after, 0] + step[tight])
        grown = np.minimum(grown, most)
        changed = np.abs(grown - cuts) > 1e-6
        cuts = grown
        todo = np.flatnonzero(changed[edge_of[leaving], 1] | changed[edge_of[entering], 0])
    return cuts[edge_of], shares, peaks


def choose_ways(ways: list[Way], turns: np.ndarray, peaks: np.ndarray) -> list[int]:
    """Leave out what is too sharp to drive, unless a lane would end there."""
    bicycles = np.array([way.for_bicycles_only for way in ways], bool)
    fine = (np.abs(turns) <= MAX_TURN_RAD) & (bicycles | (peaks <= MAX_CONNECTOR_CURVATURE_1PM))
    kept = set(np.flatnonzero(fine).tolist())
    served = {(ways[number].from_lane, use) for number in kept for use in ways[number].users}
    spare: dict[tuple[int, LaneUse], int] = {}
    for number, way in enumerate(ways):
        key = (way.from_lane, main_user(way.users))
        if key in served or abs(turns[number]) > U_TURN_RAD:
            continue
        if key not in spare or peaks[number] < peaks[spare[key]]:
            spare[key] = number
    return sorted(kept | set(spare.values()))


def surveyed_way(
    network: Network, via: tuple[str, ...], line: np.ndarray, start: np.ndarray, end: np.ndarray, peak: float
) -> np.ndarray:
    """`line`, or SUMO's own way across the junction where `line` strays from it and it can be driven."""
    if not via:
        return line
    shape = np.concatenate([network.internal_lanes[name].shape for name in via])
    way = curves.resample(shape, curves.DENSE_SPACING_M)
    if KDTree(line).query(way)[0].max() <= _MAX_DETOUR_M:
        return line
    reach = np.linspace(4.0, 0.0, 17)[:, None]
    before = start[:2] - reach * [np.cos(start[2]), np.sin(start[2])]
    after = end[:2] + reach[::-1] * [np.cos(end[2]), np.sin(end[2])]
    inner = way[(np.hypot(*(way - start[:2]).T) > 0.5) & (np.hypot(*(way - end[:2]).T) > 0.5)]
    smoothed = curves.smooth(np.concatenate([before, inner, after]))
    first = int(np.argmin(np.hypot(*(smoothed - start[:2]).T)))
    last = int(np.argmin(np.hypot(*(smoothed - end[:2]).T)))
    if last - first < 4:
        return line
    middle = smoothed[first : last + 1]
    share = np.linspace(0.0, 1.0, len(middle))[:, None]
    middle = middle + (1 - share) * (start[:2] - middle[0]) + share * (end[:2] - middle[-1])
    headings = curves.tangents(middle)[[0, -1]]
    kink = np.abs(wrap_angle(headings - [start[2], end[2]])).max()
    limit = min(max(peak, curves.TARGET_CURVATURE_1PM), MAX_CONNECTOR_CURVATURE_1PM)
    return middle if kink < _MAX_KINK_RAD and curves.peak_curvature(middle) <= limit else line
