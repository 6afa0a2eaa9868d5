"""From a SUMO network to the lanes of the World: road lanes, and a connector for every permitted way."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.spatial import KDTree

from fleetloop.core.errors import MapError
from fleetloop.core.geometry import wrap_angle
from fleetloop.core.types import LaneKind, LaneUse
from fleetloop.sim.roads import curves
from fleetloop.sim.roads.curves import CentreLine
from fleetloop.sim.roads.network import NetLane, Network
from fleetloop.sim.roads.walks import Walks, make_walks

REACH_CAP_M = 5000.0
MIN_ROUTE_M = 200.0
"""A town in which nobody can drive this far is refused."""

MAX_TURN_RAD = np.deg2rad(135.0)
MAX_CONNECTOR_CURVATURE_1PM = 0.25
"""Sharper ways (a radius below 4 m) are left out unless they are the only one."""

MAX_BUS_CURVATURE_1PM = 0.1
"""Buses turn within 12 m (UN R107 asks for an outer radius of 12.5 m); with their overhang they need this much."""

U_TURN_RAD = np.deg2rad(150.0)
"""Sharper ways are left out even then: the lane is a dead end."""

_WIDE = LaneUse.MOTOR | LaneUse.BUS
_VEHICLES = (LaneUse.MOTOR, LaneUse.BUS, LaneUse.BICYCLE)
_TRIM_STEP_M = 1.0
_MAX_TRIM_M = 10.0
_MAX_TRIM_SHARE = 0.4
_MIN_CONNECTOR_M = 0.5
_MAX_KINK_RAD = 0.08
_MAX_DETOUR_M = 2.0
"""A joining curve that leaves the surveyed way by more is replaced by that way."""


@dataclass(frozen=True)
class Connector:
    """A way across a junction; indices are of lanes in the LaneTable."""

    from_lane: int
    to_lane: int
    junction: str
    link: int
    """Index into the junction's right of way, or -1."""
    signal: tuple[str, int] | None
    state: str
    turn_rad: float
    """Signed angle between its ends; positive is to the left."""
    users: LaneUse


@dataclass(frozen=True)
class LaneTable:
    """Lanes of one town: first the road lanes, then the connectors, then those of `walks`.

    The arrays and `lines` are of the L lanes for vehicles.
    """

    road_lanes: tuple[NetLane, ...]
    connectors: tuple[Connector, ...]
    lines: tuple[CentreLine, ...]
    width_m: Float64[np.ndarray, " L"]
    speed_limit_mps: Float64[np.ndarray, " L"]
    kind: np.ndarray
    left: np.ndarray
    right: np.ndarray
    successors: tuple[tuple[int, ...], ...]
    reach_m: Float64[np.ndarray, " L"]
    use: np.ndarray
    """Bits of LaneUse."""
    walks: Walks
    walk_reach_m: Float64[np.ndarray, " walks"]
    junction_names: frozenset[str]
    """Junctions with something to decide."""
    left_hand: bool

    def connector_lane(self, index: int) -> int:
        """Lane number of connectors[index]."""
        return len(self.road_lanes) + index


@dataclass
class _Way:
    """A connector in the making."""

    connection: int
    from_lane: int
    to_lane: int
    via: tuple[str, ...]
    users: LaneUse

    @property
    def for_bicycles_only(self) -> bool:
        """Whether no car or bus has to get round it."""
        return not self.users & _WIDE


def make_lanes(network: Network, subject: str) -> LaneTable:
    """Lanes of `network`, moved so that all coordinates are positive and small.

    Raises:
        MapError: no car could drive MIN_ROUTE_M in it.
    """
    road_lanes = tuple(
        lane
        for edge in network.edges.values()
        for lane in edge.lanes
        if lane.users & (LaneUse.MOTOR | LaneUse.BUS | LaneUse.BICYCLE)
    )
    if not any(lane.users & LaneUse.MOTOR for lane in road_lanes):
        raise MapError(f"{subject}: has no lane that a car may use; give a map with roads")
    index = {(lane.edge, lane.index): number for number, lane in enumerate(road_lanes)}
    ways = _permitted_ways(network, road_lanes, index)
    dense = [_DenseLine(lane.shape) for lane in road_lanes]
    trims, shares, peaks = _trim_for_curves(road_lanes, dense, ways)
    starts, ends = _end_poses(dense, trims)
    turns = np.array([_turn(ends[way.from_lane], starts[way.to_lane]) for way in ways])
    kept = _choose_ways(ways, turns, peaks)
    lines = [
        curves.centre_line(line.cut(*trims[lane]), starts[lane][2], ends[lane][2])
        for lane, line in enumerate(dense)
    ]
    deciding = _deciding_junctions(network)
    connectors, kinds = [], [LaneKind.ROAD] * len(road_lanes)
    widths = [lane.width_m for lane in road_lanes]
    speeds = [lane.speed_mps for lane in road_lanes]
    for number in kept:
        way = ways[number]
        start, end = ends[way.from_lane], starts[way.to_lane]
        line = curves.joining_curve(start, end, shares[number])
        line = _surveyed_way(network, way.via, line, start, end, peaks[number])
        lines.append(curves.centre_line(line, start[2], end[2]))
        connectors.append(_connector(network, way, float(turns[number])))
        kinds.append(LaneKind.JUNCTION if connectors[-1].junction in deciding else LaneKind.CONNECTOR)
        widths.append(min(widths[way.from_lane], widths[way.to_lane]))
        limits = [network.internal_lanes[name].speed_mps for name in way.via]
        speeds.append(min([speeds[way.from_lane], speeds[way.to_lane], *limits]))
    successors = _successors(len(road_lanes), connectors)
    use = np.array([*(lane.users for lane in road_lanes), *(way.users for way in connectors)], np.uint8)
    # Of lanes that cars use too: through tighter bends a bus would sweep over the lane beside.
    tight = np.array([np.abs(line.curvatures).max() > MAX_BUS_CURVATURE_1PM for line in lines])
    use[tight & (use & LaneUse.MOTOR > 0)] &= 0xFF ^ int(LaneUse.BUS)
    reach = _reach_of_users(np.array([line.length_m for line in lines]), successors, use)
    walks = make_walks(network, len(lines))
    inner = tuple(tuple(lane - len(lines) for lane in following) for following in walks.successors)
    if reach.max() < MIN_ROUTE_M:
        raise MapError(
            f"{subject}: the longest drivable route is {reach.max():.0f} m, at least {MIN_ROUTE_M:.0f} m "
            "are needed; give a map with connected roads for cars"
        )
    left, right = _neighbours(road_lanes, index, len(lines), network.left_hand)
    return LaneTable(
        road_lanes=road_lanes,
        connectors=tuple(connectors),
        lines=tuple(lines),
        width_m=np.array(widths),
        speed_limit_mps=np.array(speeds),
        kind=np.array(kinds, np.uint8),
        left=left,
        right=right,
        successors=successors,
        reach_m=reach,
        use=use,
        walks=walks,
        walk_reach_m=_reach(np.array([line.length_m for line in walks.lines]), inner),
        junction_names=frozenset(deciding),
        left_hand=network.left_hand,
    )


def _connector(network: Network, way: _Way, turn_rad: float) -> Connector:
    connection = network.connections[way.connection]
    junction = network.junctions[network.edges[connection.from_edge].to_junction]
    # Where an internal junction splits the way, it is the last part that has the link's index.
    links = [junction.link_of_internal_lane.get(name, -1) for name in connection.via]
    link = max(links, default=-1)
    return Connector(
        from_lane=way.from_lane,
        to_lane=way.to_lane,
        junction=junction.name,
        link=link if link < len(junction.response) else -1,
        signal=connection.signal,
        state=connection.state,
        turn_rad=turn_rad,
        users=way.users,
    )


def _permitted_ways(
    network: Network, road_lanes: tuple[NetLane, ...], index: dict[tuple[str, int], int]
) -> list[_Way]:
    """Every connection between lanes, for those who may use all of it; a lane that just ends merges into its
    neighbour's way."""
    ways: dict[tuple[int, int], _Way] = {}
    of_lane: dict[int, list[_Way]] = {}
    for number, connection in enumerate(network.connections):
        start = index.get((connection.from_edge, connection.from_lane))
        end = index.get((connection.to_edge, connection.to_lane))
        if start is None or end is None or (start, end) in ways:
            continue
        users = connection.users & road_lanes[start].users & road_lanes[end].users
        if users:
            ways[start, end] = _Way(number, start, end, connection.via, users)
            of_lane.setdefault(start, []).append(ways[start, end])
    for (edge, lane), number in index.items():
        mine = _main_user(road_lanes[number].users)
        if any(way.users & mine for way in of_lane.get(number, ())):
            continue
        for side, choice in ((-1, -1), (1, 0)):
            neighbour = index.get((edge, lane + side), -1)
            beside = [way for way in of_lane.get(neighbour, ()) if way.users & mine]
            if beside and (number, beside[choice].to_lane) not in ways:
                way, users = beside[choice], beside[choice].users & road_lanes[number].users
                ways[number, way.to_lane] = _Way(way.connection, number, way.to_lane, (), users)
                break
    return list(ways.values())


def _main_user(users: int) -> LaneUse:
    """For whom a lane is made: the first of motor vehicles, buses and bicycles that may use it."""
    return next(use for use in _VEHICLES if users & use)


class _DenseLine:
    """A smoothed road lane before it is cut and sampled."""

    def __init__(self, shape: np.ndarray) -> None:
        self.points = curves.smooth(shape)
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


def _end_poses(dense: list[_DenseLine], trims: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Poses [lanes, 3] at the two ends of every road lane after trimming."""
    starts = [line.pose_at(trim[0]) for line, trim in zip(dense, trims, strict=True)]
    ends = [line.pose_at(line.length_m - trim[1]) for line, trim in zip(dense, trims, strict=True)]
    return np.array(starts), np.array(ends)


def _turn(start: np.ndarray, end: np.ndarray) -> float:
    return float(wrap_angle(end[2] - start[2]))


def _trim_for_curves(
    road_lanes: tuple[NetLane, ...], dense: list[_DenseLine], ways: list[_Way]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shorten roads where the junction leaves too little room for a curve that a car can drive.

    All lanes of an edge are cut alike. Returns metres cut [lanes, 2 ends] and the curves' shares and peaks.
    """
    edges = {name: number for number, name in enumerate(dict.fromkeys(lane.edge for lane in road_lanes))}
    edge_of = np.array([edges[lane.edge] for lane in road_lanes])
    lengths = np.array([line.length_m for line in dense])
    shortest = np.full(len(edges), np.inf)
    np.minimum.at(shortest, edge_of, lengths)
    most = np.minimum(_MAX_TRIM_M, _MAX_TRIM_SHARE * shortest)
    cuts = np.zeros((len(edges), 2))
    leaving = np.array([way.from_lane for way in ways], np.int64)
    entering = np.array([way.to_lane for way in ways], np.int64)
    shares, peaks = np.zeros((len(ways), 2)), np.zeros(len(ways))
    wide = np.array([not way.for_bicycles_only for way in ways], bool)
    todo = np.arange(len(ways))
    for _ in range(int(_MAX_TRIM_M / _TRIM_STEP_M) + 1):
        starts, ends = _end_poses(dense, cuts[edge_of])
        shares[todo], peaks[todo] = curves.fit_joining_curves(ends[leaving[todo]], starts[entering[todo]])
        turns = np.abs(wrap_angle(starts[entering, 2] - ends[leaving, 2]))
        gaps = np.hypot(*(starts[entering, :2] - ends[leaving, :2]).T)
        tight = (peaks > curves.TARGET_CURVATURE_1PM) & (turns < MAX_TURN_RAD) & wide | (
            gaps < _MIN_CONNECTOR_M
        )
        grown = cuts.copy()
        np.maximum.at(grown[:, 1], edge_of[leaving[tight]], cuts[edge_of[leaving[tight]], 1] + _TRIM_STEP_M)
        np.maximum.at(grown[:, 0], edge_of[entering[tight]], cuts[edge_of[entering[tight]], 0] + _TRIM_STEP_M)
        grown = np.minimum(grown, most[:, None])
        changed = np.abs(grown - cuts) > 1e-6
        if not changed.any():
            break
        cuts = grown
        todo = np.flatnonzero(changed[edge_of[leaving], 1] | changed[edge_of[entering], 0])
    else:
        starts, ends = _end_poses(dense, cuts[edge_of])
        shares[todo], peaks[todo] = curves.fit_joining_curves(ends[leaving[todo]], starts[entering[todo]])
    return cuts[edge_of], shares, peaks


def _choose_ways(ways: list[_Way], turns: np.ndarray, peaks: np.ndarray) -> list[int]:
    """Leave out what is too sharp to drive, unless a lane would end there."""
    bicycles = np.array([way.for_bicycles_only for way in ways], bool)
    fine = (np.abs(turns) <= MAX_TURN_RAD) & (bicycles | (peaks <= MAX_CONNECTOR_CURVATURE_1PM))
    kept = set(np.flatnonzero(fine).tolist())
    served = {(ways[number].from_lane, use) for number in kept for use in ways[number].users}
    spare: dict[tuple[int, LaneUse], int] = {}
    for number, way in enumerate(ways):
        key = (way.from_lane, _main_user(way.users))
        if key in served or abs(turns[number]) > U_TURN_RAD:
            continue
        if key not in spare or peaks[number] < peaks[spare[key]]:
            spare[key] = number
    return sorted(kept | set(spare.values()))


def _surveyed_way(
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


def _deciding_junctions(network: Network) -> set[str]:
    """Junctions with three neighbours or more, counting only roads for cars."""
    neighbours: dict[str, set[str]] = {}
    for edge in network.edges.values():
        if any(lane.users & LaneUse.MOTOR for lane in edge.lanes):
            neighbours.setdefault(edge.from_junction, set()).add(edge.to_junction)
            neighbours.setdefault(edge.to_junction, set()).add(edge.from_junction)
    return {name for name, others in neighbours.items() if len(others) >= 3}


def _neighbours(
    road_lanes: tuple[NetLane, ...], index: dict[tuple[str, int], int], count: int, left_hand: bool
) -> tuple[np.ndarray, np.ndarray]:
    left, right = np.full(count, -1, np.int32), np.full(count, -1, np.int32)
    inner, outer = (right, left) if left_hand else (left, right)
    for number, lane in enumerate(road_lanes):
        inner[number] = index.get((lane.edge, lane.index + 1), -1)
        outer[number] = index.get((lane.edge, lane.index - 1), -1)
    return left, right


def _successors(road_count: int, connectors: list[Connector]) -> tuple[tuple[int, ...], ...]:
    following: list[list[int]] = [[] for _ in range(road_count)]
    for number, connector in enumerate(connectors):
        following[connector.from_lane].append(road_count + number)
    return (*map(tuple, following), *((connector.to_lane,) for connector in connectors))


def _reach_of_users(
    lengths: np.ndarray, successors: tuple[tuple[int, ...], ...], use: np.ndarray
) -> np.ndarray:
    """Longest drive from each lane's start for those that the lane is made for, on lanes that they may use."""
    reach = np.zeros(len(lengths))
    main = np.array([_main_user(users) for users in use.tolist()])
    for user in _VEHICLES:
        permitted = use & user != 0
        allowed = tuple(
            tuple(other for other in following if permitted[other]) if permitted[lane] else ()
            for lane, following in enumerate(successors)
        )
        mine = main == user
        if mine.any():
            reach[mine] = _reach(lengths, allowed)[mine]
    return reach


def _reach(lengths: np.ndarray, successors: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """Longest drive from each lane's start, by relaxation; a lane that leads into a circle gets the cap."""
    source = np.array([lane for lane, following in enumerate(successors) for _ in following], np.int64)
    target = np.array([other for following in successors for other in following], np.int64)
    reach = np.minimum(lengths, REACH_CAP_M)
    while True:
        best = np.zeros(len(lengths))
        np.maximum.at(best, source, reach[target])
        relaxed = np.minimum(lengths + best, REACH_CAP_M)
        if np.array_equal(relaxed, reach):
            return reach
        reach = relaxed
