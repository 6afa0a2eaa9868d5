"""From a SUMO network to the lanes of the World: road lanes, and a connector for every permitted way."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from fleetloop.core.errors import MapError
from fleetloop.core.types import LaneKind, LaneUse
from fleetloop.sim.roads import curves
from fleetloop.sim.roads.curves import CentreLine
from fleetloop.sim.roads.heights import vehicle_heights
from fleetloop.sim.roads.network import NetLane, Network
from fleetloop.sim.roads.walks import Walks, make_walks
from fleetloop.sim.roads.ways import (
    VEHICLE_USES,
    DenseLine,
    Way,
    choose_ways,
    drawn_out,
    end_poses,
    main_user,
    permitted_ways,
    surveyed_way,
    trim_for_curves,
    turn_between,
)

REACH_CAP_M = 5000.0
MIN_ROUTE_M = 100.0
"""A town in which nobody can drive this far is refused."""

MAX_BUS_CURVATURE_1PM = 0.1
"""Buses turn within 12 m (UN R107 asks for an outer radius of 12.5 m); with their overhang they need this much."""


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
    lane_ends: bool
    """Its lane just ends, and it moves over into its neighbour's way."""


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
    heights: tuple[Float64[np.ndarray, " points"], ...]
    """Metres of every point of `lines`."""
    walks: Walks
    walk_use: np.ndarray
    walk_reach_m: Float64[np.ndarray, " walks"]
    junction_names: frozenset[str]
    """Junctions with something to decide."""
    left_hand: bool

    def connector_lane(self, index: int) -> int:
        """Lane number of connectors[index]."""
        return len(self.road_lanes) + index


def make_lanes(network: Network, subject: str) -> LaneTable:
    """Lanes of `network`, in its coordinates.

    Raises:
        MapError: no car could drive MIN_ROUTE_M in it. The network has a lane for cars.
    """
    road_lanes = tuple(
        lane
        for edge in network.edges.values()
        for lane in edge.lanes
        if lane.users & (LaneUse.MOTOR | LaneUse.BUS | LaneUse.BICYCLE)
    )
    index = {(lane.edge, lane.index): number for number, lane in enumerate(road_lanes)}
    ways = permitted_ways(network, road_lanes, index)
    deciding = _deciding_junctions(network)
    lines, connectors, kinds, widths, speeds = _lines(network, road_lanes, ways, deciding)
    successors = _successors(len(road_lanes), connectors)
    use = np.array([*(lane.users for lane in road_lanes), *(way.users for way in connectors)], np.uint8)
    use &= ~_too_tight_for_buses(lines, use, len(road_lanes), connectors)
    use |= _open_off_hours(road_lanes, use, connectors)
    lengths = np.array([line.length_m for line in lines])
    reach = reach_of_users(lengths, successors, use)
    use &= ~_traps_for_buses(lengths, successors, use, reach)
    joined = [(connector.from_lane, connector.to_lane) for connector in connectors]
    heights = vehicle_heights(road_lanes, joined, lines)
    walks = make_walks(network, lines, widths, heights, _outermost(road_lanes, connectors))
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
        heights=tuple(heights),
        walks=walks,
        walk_use=np.full(len(walks.lines), LaneUse.PEDESTRIAN, np.uint8),
        walk_reach_m=longest_drives(np.array([line.length_m for line in walks.lines]), inner),
        junction_names=frozenset(deciding),
        left_hand=network.left_hand,
    )


def _lines(
    network: Network, road_lanes: tuple[NetLane, ...], ways: list[Way], deciding: set[str]
) -> tuple[list[CentreLine], list[Connector], list[LaneKind], list[float], list[float]]:
    """Centre lines of road lanes and of the connectors between, those connectors, and of all: kinds, widths, limits."""
    dense = [DenseLine(lane) for lane in road_lanes]
    ends_at = {name: edge.to_junction for name, edge in network.edges.items()}
    decides = np.array([ends_at[road_lanes[way.from_lane].edge] in deciding for way in ways], bool)
    trims, shares, peaks = trim_for_curves(road_lanes, dense, ways, decides)
    fast, _ = drawn_out(road_lanes, ways, decides)
    starts, ends = end_poses(dense, trims)
    turns = np.array([turn_between(ends[way.from_lane], starts[way.to_lane]) for way in ways])
    kept = choose_ways(ways, turns, peaks)
    lines = [
        curves.centre_line(line.cut(*trims[lane]), starts[lane][2], ends[lane][2])
        for lane, line in enumerate(dense)
    ]
    connectors, kinds = [], [LaneKind.ROAD] * len(road_lanes)
    widths = [lane.width_m for lane in road_lanes]
    speeds = [lane.speed_mps for lane in road_lanes]
    for number in kept:
        way = ways[number]
        start, end = ends[way.from_lane], starts[way.to_lane]
        line = curves.joining_curve(start, end, shares[number])
        if not fast[number]:
            line = surveyed_way(network, way.via, line, start, end, peaks[number])
        lines.append(curves.centre_line(line, start[2], end[2]))
        connectors.append(_connector(network, way, float(turns[number])))
        kinds.append(LaneKind.JUNCTION if connectors[-1].junction in deciding else LaneKind.CONNECTOR)
        widths.append(min(widths[way.from_lane], widths[way.to_lane]))
        limits = [network.internal_lanes[name].speed_mps for name in way.via]
        speeds.append(min([speeds[way.from_lane], speeds[way.to_lane], *limits]))
    return lines, connectors, kinds, widths, speeds


def _connector(network: Network, way: Way, turn_rad: float) -> Connector:
    connection = network.connections[way.connection]
    junction = network.junctions[network.edges[connection.from_edge].to_junction]
    # Where an internal junction splits the way, it is the last part that has the link's index.
    links = [junction.link_of_internal_lane.get(name, -1) for name in connection.via]
    link = max(links, default=-1)
    return Connector(
        from_lane=way.from_lane,
        to_lane=way.to_lane,
        junction=junction.name,
        link=link if link < len(junction.response) and not way.lane_ends else -1,
        signal=connection.signal,
        state=connection.state,
        turn_rad=turn_rad,
        users=way.users,
        lane_ends=way.lane_ends,
    )


def _deciding_junctions(network: Network) -> set[str]:
    """Junctions with three neighbours or more, or three ways in or out, counting only roads for cars."""
    neighbours: dict[str, set[str]] = {}
    arriving, leaving = Counter[str](), Counter[str]()
    for edge in network.edges.values():
        if any(lane.users & LaneUse.MOTOR for lane in edge.lanes):
            neighbours.setdefault(edge.from_junction, set()).add(edge.to_junction)
            neighbours.setdefault(edge.to_junction, set()).add(edge.from_junction)
            leaving[edge.from_junction] += 1
            arriving[edge.to_junction] += 1
    return {
        name
        for name, others in neighbours.items()
        if len(others) >= 3 or (arriving[name] >= 3 and leaving[name] >= 3)
    }


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


def _outermost(road_lanes: tuple[NetLane, ...], connectors: list[Connector]) -> dict[tuple[str, str], int]:
    """The lane of the outermost connector between two edges."""
    best: dict[tuple[str, str], tuple[int, int, int]] = {}
    for number, connector in enumerate(connectors):
        start, end = road_lanes[connector.from_lane], road_lanes[connector.to_lane]
        candidate = (start.index, end.index, len(road_lanes) + number)
        best[start.edge, end.edge] = min(best.get((start.edge, end.edge), candidate), candidate)
    return {edges: lane for edges, (_, _, lane) in best.items()}


def _too_tight_for_buses(
    lines: list[CentreLine], use: np.ndarray, road_count: int, connectors: list[Connector]
) -> np.ndarray:
    """LaneUse.BUS where buses must stay out: of lanes that cars use too, and of the ways from and to them.

    Through tighter bends a bus would sweep over the lane beside.
    """
    tight = np.array([np.abs(line.curvatures).max() > MAX_BUS_CURVATURE_1PM for line in lines])
    tight &= use & LaneUse.MOTOR > 0
    for number, connector in enumerate(connectors):
        if connector.users & LaneUse.MOTOR:
            tight[road_count + number] |= tight[connector.from_lane] | tight[connector.to_lane]
    return np.where(tight, LaneUse.BUS, 0).astype(np.uint8)


def _traps_for_buses(
    lengths: np.ndarray, successors: tuple[tuple[int, ...], ...], use: np.ndarray, reach: np.ndarray
) -> np.ndarray:
    """LaneUse.BUS where cars can drive on and on, but buses would come to an end."""
    allowed = tuple(tuple(lane for lane in following if use[lane] & LaneUse.BUS) for following in successors)
    trapped = (
        (longest_drives(lengths, allowed) < REACH_CAP_M) & (reach >= REACH_CAP_M) & (use & LaneUse.MOTOR > 0)
    )
    return np.where(trapped, LaneUse.BUS, 0).astype(np.uint8)


def _open_off_hours(
    road_lanes: tuple[NetLane, ...], use: np.ndarray, connectors: list[Connector]
) -> np.ndarray:
    """LaneUse.MOTOR_OFF_HOURS for bus lanes beside lanes for cars, and for the ways from and to them.

    A road for buses alone stays theirs.
    """
    with_cars = {
        lane.edge
        for lane, users in zip(road_lanes, use[: len(road_lanes)], strict=True)
        if users & LaneUse.MOTOR
    }
    opened = np.zeros(len(use), bool)
    for number, lane in enumerate(road_lanes):
        is_bus_lane = use[number] & LaneUse.BUS and not use[number] & LaneUse.MOTOR
        opened[number] = is_bus_lane and lane.edge in with_cars
    for number, connector in enumerate(connectors):
        ends = np.array([connector.from_lane, connector.to_lane])
        cars = opened[ends] | (use[ends] & LaneUse.MOTOR > 0)
        opened[len(road_lanes) + number] = cars.all() and opened[ends].any() and connector.users & LaneUse.BUS
    return np.where(opened & (use & LaneUse.MOTOR == 0), LaneUse.MOTOR_OFF_HOURS, 0).astype(np.uint8)


def reach_of_users(
    lengths: np.ndarray, successors: tuple[tuple[int, ...], ...], use: np.ndarray
) -> np.ndarray:
    """Longest drive from each lane's start for those that the lane is made for, on lanes that they may use."""
    reach = np.zeros(len(lengths))
    main = np.array([main_user(users) for users in use.tolist()])
    for user in VEHICLE_USES:
        permitted = use & user != 0
        allowed = tuple(
            tuple(other for other in following if permitted[other]) if permitted[lane] else ()
            for lane, following in enumerate(successors)
        )
        mine = main == user
        if mine.any():
            reach[mine] = longest_drives(lengths, allowed)[mine]
    return reach


def longest_drives(lengths: np.ndarray, successors: tuple[tuple[int, ...], ...]) -> np.ndarray:
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
