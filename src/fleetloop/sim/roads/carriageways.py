"""What painting, signs and scenery need to know of each edge: its lanes side by side, and what is at its ends."""

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property

import numpy as np
from jaxtyping import Float64
from scipy.spatial import KDTree

from fleetloop.core.types import Control, LaneKind, LaneUse
from fleetloop.sim.roads import curves
from fleetloop.sim.roads.curves import CentreLine
from fleetloop.sim.roads.lanes import LaneTable
from fleetloop.sim.roads.network import NetEdge, Network
from fleetloop.sim.roads.tracks import Track
from fleetloop.sim.roads.yard import PARKING_EDGE

TURN_RAD = 0.5
"""Ways across a junction that turn by less go straight on."""

MAX_FLOWING_TURN_RAD = 0.35
FAST_KMH = 70
"""From this limit on, roads without turns at their ends are like highways."""

_OPPOSITE_DISTANCE_M = 1.0
_MPS_TO_KMH = 3.6


class Turn(IntEnum):
    """Where a way across a junction leads."""

    LEFT = 0
    STRAIGHT = 1
    RIGHT = 2


@dataclass(frozen=True)
class Carriageway:
    """An edge's lanes for vehicles, outermost (next to the kerb) first."""

    edge: NetEdge
    lines: tuple[CentreLine, ...]
    widths_m: tuple[float, ...]
    uses: tuple[LaneUse, ...]
    """For whom each lane is made: MOTOR, BUS or BICYCLE."""
    numbers: tuple[int, ...]
    """Of the lanes in the LaneTable, or -1."""
    turns: tuple[frozenset[Turn], ...]
    """Where each lane may go at the deciding junction at its end; empty elsewhere."""
    speed_limit_kmh: int
    """Of the fastest lane, rounded to 10."""
    outer: float
    """Side of the kerb: -1 right, 1 left."""
    control: Control
    """What rules its end."""
    oncoming: bool
    """Oncoming traffic runs directly beside it."""
    one_way: bool
    """No edge leads back between the same junctions."""
    has_walk: bool
    """The network has a sidewalk along it."""
    starts_at_junction: bool
    """At one with something to decide."""
    ends_at_junction: bool
    in_roundabout: bool
    first_number: int
    """Of the numbered parking lanes of a yard, that of the outermost; 0 elsewhere."""

    @cached_property
    def tracks(self) -> tuple[Track, ...]:
        """The lanes' centre lines."""
        return tuple(Track(line) for line in self.lines)

    @property
    def kerb_m(self) -> float:
        """Lateral place of the outer edge, from the centre line of lane 0; metres to the left."""
        return self.outer * self.widths_m[0] / 2.0

    @property
    def inner_m(self) -> float:
        """Lateral place of the inner edge, from the centre line of the last lane; metres to the left."""
        return -self.outer * self.widths_m[-1] / 2.0


_VEHICLES = (LaneUse.MOTOR, LaneUse.BUS, LaneUse.BICYCLE)


def main_use(users: LaneUse) -> LaneUse:
    """For whom a lane is made: the first of motor vehicles, buses and bicycles that may use it."""
    return next((use for use in _VEHICLES if users & use), LaneUse.PEDESTRIAN)


def make_carriageways(
    network: Network, lanes: LaneTable, approaches: dict[str, Control]
) -> tuple[Carriageway, ...]:
    """All edges that a vehicle may use."""
    known = {(lane.edge, lane.index): number for number, lane in enumerate(lanes.road_lanes)}
    outer = 1.0 if lanes.left_hand else -1.0
    ends = {(edge.from_junction, edge.to_junction) for edge in network.edges.values()}
    drafts = []
    for edge in network.edges.values():
        driven = [lane for lane in edge.lanes if main_use(lane.users) is not LaneUse.PEDESTRIAN]
        if not driven:
            continue
        numbers = tuple(known.get((lane.edge, lane.index), -1) for lane in driven)
        lines = tuple(
            lanes.lines[number] if number >= 0 else curves.centre_line(curves.smooth(lane.shape))
            for number, lane in zip(numbers, driven, strict=True)
        )
        decides = edge.to_junction in lanes.junction_names
        drafts.append(
            Carriageway(
                edge=edge,
                lines=lines,
                widths_m=tuple(lane.width_m for lane in driven),
                uses=tuple(main_use(lane.users) for lane in driven),
                numbers=numbers,
                turns=tuple(_turns(lanes, number) if decides else frozenset() for number in numbers),
                speed_limit_kmh=round(max(lane.speed_mps for lane in driven) * _MPS_TO_KMH / 10.0) * 10,
                outer=outer,
                control=approaches.get(edge.name, Control.NONE),
                oncoming=False,
                one_way=(edge.to_junction, edge.from_junction) not in ends,
                has_walk=any(lane.users == LaneUse.PEDESTRIAN for lane in edge.lanes),
                starts_at_junction=edge.from_junction in lanes.junction_names,
                ends_at_junction=decides,
                in_roundabout=edge.name in network.roundabout_edges,
                first_number=_first_number(edge.name),
            )
        )
    return _with_oncoming(drafts)


def _first_number(edge: str) -> int:
    number = edge.removeprefix(PARKING_EDGE)
    return int(number) if number != edge and number.isdigit() else 0


def _turns(lanes: LaneTable, number: int) -> frozenset[Turn]:
    if number < 0:
        return frozenset()
    road_count = len(lanes.road_lanes)
    return frozenset(turn_of(lanes.connectors[way - road_count].turn_rad) for way in lanes.successors[number])


def turn_of(turn_rad: float) -> Turn:
    """The class of a way that turns by a signed angle (left is positive)."""
    if abs(turn_rad) < TURN_RAD:
        return Turn.STRAIGHT
    return Turn.LEFT if turn_rad > 0.0 else Turn.RIGHT


def _inner_points(way: Carriageway) -> Float64[np.ndarray, "N 2"]:
    """Points on the boundary towards oncoming traffic."""
    line = way.lines[-1]
    normal = np.stack([-np.sin(line.headings), np.cos(line.headings)], axis=1)
    return line.points + way.inner_m * normal


def _with_oncoming(drafts: list[Carriageway]) -> tuple[Carriageway, ...]:
    by_ends: dict[tuple[str, str], list[Carriageway]] = {}
    for way in drafts:
        by_ends.setdefault((way.edge.from_junction, way.edge.to_junction), []).append(way)
    result = []
    for way in drafts:
        middle = _inner_points(way)[len(way.lines[-1].points) // 2]
        opposite = by_ends.get((way.edge.to_junction, way.edge.from_junction), [])
        gaps = [KDTree(_inner_points(other)).query(middle)[0] for other in opposite if other is not way]
        result.append(replace(way, oncoming=bool(gaps) and min(gaps) < _OPPOSITE_DISTANCE_M))
    return tuple(result)


def flowing_junctions(lanes: LaneTable) -> frozenset[str]:
    """Junctions where ways only merge and part at small angles, as at the ramps of a highway."""
    ways: dict[str, list[int]] = {}
    for number, connector in enumerate(lanes.connectors):
        if lanes.kind[lanes.connector_lane(number)] == LaneKind.JUNCTION:
            ways.setdefault(connector.junction, []).append(number)
    result = set()
    for name, members in ways.items():
        gentle = all(abs(lanes.connectors[number].turn_rad) < MAX_FLOWING_TURN_RAD for number in members)
        headings = [lanes.lines[lanes.connector_lane(number)].headings[0] for number in members]
        if gentle and all(
            np.cos(heading - headings[0]) > np.cos(MAX_FLOWING_TURN_RAD) for heading in headings
        ):
            result.add(name)
    return frozenset(result)


def fast_edges(ways: tuple[Carriageway, ...], lanes: LaneTable, flowing: frozenset[str]) -> frozenset[str]:
    """Names of the edges of highways: fast, with nothing to decide at their ends but where to merge; and ramps."""
    fast = [
        way
        for way in ways
        if way.speed_limit_kmh >= FAST_KMH
        and not ({way.edge.from_junction, way.edge.to_junction} & lanes.junction_names) - flowing
    ]
    ends = {way.edge.name: {way.edge.from_junction, way.edge.to_junction} for way in ways}
    joined = set[str]().union(*(ends[way.edge.name] for way in fast)) & flowing
    found = {way.edge.name for way in fast}
    front = joined
    while front:
        ramps = {way.edge.name for way in ways if way.one_way and ends[way.edge.name] & front} - found
        found |= ramps
        # A ramp goes on until there is something to decide.
        front = set[str]().union(*(ends[name] for name in ramps)) - lanes.junction_names - joined
        joined |= front
    return frozenset(found)
