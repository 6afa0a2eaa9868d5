"""Which signs stand where: they face the traffic that they rule, at the kerb."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from fleetloop.core.types import Control, LaneUse
from fleetloop.sim.roads.boxes import POLE_COLOUR, Boxes, Site
from fleetloop.sim.roads.carriageways import Carriageway
from fleetloop.sim.roads.lanes import LaneTable
from fleetloop.sim.roads.network import Network
from fleetloop.sim.roads.regions import Region

POST_FROM_KERB_M = 0.6
YARD_LIMIT_KMH = 20
"""Up to this limit it is a factory's ground, without signs for one-way streets."""

_HEIGHT_M = 2.5
"""Of the middle of the highest sign of a post."""

_GAP_M = 0.06
_BEAM_M = 4.6
"""Height of what hangs over a lane: its lower edge clears a truck."""

_POST_HALF_M = 0.035
_IN_FRONT_M = 0.06
_CLEARANCE_M = 0.25
_AFTER_START_M = 10.0
_BEFORE_END_M = 1.0
_WARNING_BEFORE_M = 25.0
_SHORTEST_M = 30.0
_SHARP_RAD = 0.35
_FEW_LANES = 2

_HALF_SIZE_M = {
    "stop": 0.45,
    "yield": 0.5,
    "speed": 0.42,
    "no_entry": 0.38,
    "bus": 0.5,
    "right_before_left": 0.48,
    "construction": 0.5,
    "crossing": 0.4,
    "highway": 0.6,
    "number": 0.6,
}
_USUAL_HALF_SIZE_M = 0.36


@dataclass
class Signs:
    """Signs in the making."""

    rows: list[tuple[float, ...]] = field(default_factory=list)
    """As in World.signs."""
    keys: list[str] = field(default_factory=list)
    """What each shows."""


@dataclass
class SignPosts:
    """Puts signs on posts, a box each, where there is room."""

    boxes: Boxes
    signs: Signs
    site: Site
    posts: set[tuple[float, float]] = field(default_factory=set)
    """Where they stand: a second sign may hang on the other side of the same one."""

    def put(self, way: Carriageway, along_m: float, keys: tuple[str, ...], against: bool = False) -> bool:
        """Beside the outermost lane, for its traffic or `against` it; returns whether there was room."""
        away = way.outer * POST_FROM_KERB_M
        return self._put(way.tracks[0].pose(along_m, way.kerb_m + away), keys, against)

    def put_inside(
        self, way: Carriageway, along_m: float, keys: tuple[str, ...], against: bool = False
    ) -> bool:
        """The same on the side of the innermost lane."""
        away = -way.outer * POST_FROM_KERB_M
        return self._put(way.tracks[-1].pose(along_m, way.inner_m + away), keys, against)

    def put_over(self, way: Carriageway, along_m: float, keys: tuple[str, ...]) -> None:
        """One sign over each lane, outermost first, hung from a beam between two posts."""
        outside = way.outer * POST_FROM_KERB_M
        ends = [
            track.pose(along_m, left)
            for track, left in (
                (way.tracks[0], way.kerb_m + outside),
                (way.tracks[-1], way.inner_m - outside),
            )
        ]
        heading = ends[0][2]
        for x, y, _ in ends:
            self.boxes.add((x, y, _BEAM_M / 2.0), heading, (0.07, 0.07, _BEAM_M / 2.0), POLE_COLOUR)
        (x, y, _), (other_x, other_y, _) = ends
        length = float(np.hypot(other_x - x, other_y - y))
        middle = ((x + other_x) / 2.0, (y + other_y) / 2.0, _BEAM_M)
        self.boxes.add(middle, heading, (0.06, length / 2.0, 0.06), POLE_COLOUR)
        for track, key in zip(way.tracks, keys, strict=True):
            x, y, heading = track.pose(along_m - 2.0 * _IN_FRONT_M, 0.0)
            half = half_size(key)
            self.signs.rows.append((x, y, _BEAM_M, float(heading + np.pi), half, half))
            self.signs.keys.append(key)

    def _put(self, pose: tuple[float, float, float], keys: tuple[str, ...], against: bool) -> bool:
        x, y, heading = pose
        if self.site.from_lanes_m(np.array([[x, y]]))[0] < _CLEARANCE_M:
            return False
        facing = heading if against else heading + np.pi
        ahead_x, ahead_y = np.cos(facing), np.sin(facing)
        z = _HEIGHT_M
        top = z + half_size(keys[0]) * 0.8
        post = (round(x, 2), round(y, 2))
        if post not in self.posts:
            self.posts.add(post)
            self.boxes.add((x, y, top / 2.0), heading, (_POST_HALF_M, _POST_HALF_M, top / 2.0), POLE_COLOUR)
        for number, key in enumerate(keys):
            half = half_size(key)
            if number:
                z -= half_size(keys[number - 1]) + _GAP_M + half
            place = (x + _IN_FRONT_M * ahead_x, y + _IN_FRONT_M * ahead_y, z)
            self.signs.rows.append((*place, float(facing), half, half))
            self.signs.keys.append(key)
        return True


def half_size(key: str) -> float:
    """Half the edge of a sign's picture, m."""
    return _HALF_SIZE_M.get(key.partition(":")[0], _USUAL_HALF_SIZE_M)


def bus_lane_key(region: Region) -> str:
    """Content key of the sign of a bus lane with the region's hours, as in "bus:7-9,16-19"."""
    hours = ",".join(f"{start}-{end}" for start, end in region.bus_lane_hours)
    return f"bus:{hours}" if hours else "bus"


def place_signs(
    posts: SignPosts,
    network: Network,
    lanes: LaneTable,
    ways: tuple[Carriageway, ...],
    region: Region,
) -> None:
    """All signs of a town."""
    limits = _limits_before(lanes, ways)
    yielding = {
        way.edge.to_junction
        for way in ways
        if way.control in (Control.YIELD, Control.STOP) and way.ends_at_junction
    }
    circles = {
        network.edges[name].from_junction for name in network.roundabout_edges if name in network.edges
    }
    entered_by = _entries(ways)
    for way in ways:
        for along, keys in (
            *_along(way, region, limits[way.edge.name]),
            *_before_junction(way, yielding, circles),
        ):
            posts.put(way, along, keys)
        if way.first_number:
            numbers = range(way.first_number, way.first_number + len(way.lines))
            posts.put_over(way, 1.0, tuple(f"number:{number}" for number in numbers))
        if _wrong_way_possible(way, entered_by):
            end = max(way.tracks[0].length_m - _BEFORE_END_M, 0.0)
            if posts.put(way, end, ("no_entry",), against=True) and len(way.lines) <= _FEW_LANES:
                posts.put_inside(way, end, ("no_entry",), against=True)
    _place_crossing_signs(posts, lanes, ways)


def _along(
    way: Carriageway,
    region: Region,
    limit_before: frozenset[int],
) -> Iterator[tuple[float, tuple[str, ...]]]:
    """Places along a carriageway and the signs there."""
    length = way.tracks[0].length_m
    in_roundabout = way.in_roundabout
    at_start: list[str] = []
    if way.one_way and way.starts_at_junction and not in_roundabout and way.speed_limit_kmh < 80:
        at_start.append("one_way")
    if way.speed_limit_kmh >= 100 and min(limit_before, default=0) < 80 and way.one_way:
        yield min(_AFTER_START_M, length / 2.0), ("highway",)
    changed = limit_before != frozenset({way.speed_limit_kmh})
    long_enough = way.starts_at_junction and length > _SHORTEST_M and not in_roundabout
    if way.speed_limit_kmh > 0 and (changed or long_enough):
        at_start.insert(0, f"speed:{way.speed_limit_kmh}")
    if at_start and length > 8.0:
        yield min(_AFTER_START_M, length / 2.0), tuple(at_start)
    if LaneUse.BUS in way.uses and length > 12.0:
        yield min(_AFTER_START_M + 4.0, 0.7 * length), (bus_lane_key(region),)
    if LaneUse.BICYCLE in way.uses and length > 20.0:
        yield min(_AFTER_START_M + 8.0, 0.8 * length), ("cycle_lane",)


def _in_yard(way: Carriageway) -> bool:
    return way.speed_limit_kmh <= YARD_LIMIT_KMH


def _before_junction(
    way: Carriageway, yielding: set[str], circles: set[str]
) -> Iterator[tuple[float, tuple[str, ...]]]:
    """What tells who may go first at the end of a carriageway."""
    length = way.tracks[0].length_m
    if way.control in (Control.STOP, Control.YIELD):
        keys = ["stop" if way.control is Control.STOP else "yield"]
        if way.edge.to_junction in circles and not way.in_roundabout:
            keys.append("roundabout:left" if way.outer > 0.0 else "roundabout")
        yield max(length - _BEFORE_END_M, 0.0), tuple(keys)
    elif way.control is Control.RIGHT_BEFORE_LEFT and length > _SHORTEST_M:
        yield length - min(_WARNING_BEFORE_M, length / 2.0), ("right_before_left",)
    elif way.control is Control.NONE and way.edge.to_junction in yielding:
        if not way.in_roundabout:
            yield max(length - 3.0, 0.0), ("priority",)
    elif way.control is Control.SIGNAL and way.speed_limit_kmh >= 70 and length > 150.0:
        yield length - 100.0, ("signals",)


def _limits_before(lanes: LaneTable, ways: tuple[Carriageway, ...]) -> dict[str, frozenset[int]]:
    """Speed limits, km/h, of the carriageways from which each one can be entered."""
    limit_of = {way.edge.name: way.speed_limit_kmh for way in ways}
    before: dict[str, set[int]] = {way.edge.name: set() for way in ways}
    for connector in lanes.connectors:
        start, end = lanes.road_lanes[connector.from_lane].edge, lanes.road_lanes[connector.to_lane].edge
        before[end].add(limit_of[start])
    return {name: frozenset(limits) for name, limits in before.items()}


def _entries(ways: tuple[Carriageway, ...]) -> dict[str, list[Carriageway]]:
    """The carriageways that arrive at each junction."""
    result: dict[str, list[Carriageway]] = {}
    for way in ways:
        result.setdefault(way.edge.to_junction, []).append(way)
    return result


def _wrong_way_possible(way: Carriageway, entered_by: dict[str, list[Carriageway]]) -> bool:
    """Whether somebody who arrives at its end by another road could turn into it against its traffic."""
    if not way.one_way or not way.ends_at_junction or way.in_roundabout or _in_yard(way):
        return False
    heading = way.lines[0].headings[-1]
    others = (other for other in entered_by[way.edge.to_junction] if other is not way)
    # From the opposite or from the side; not who merges beside it.
    return any(np.cos(other.lines[0].headings[-1] - heading) < np.cos(_SHARP_RAD) for other in others)


def _place_crossing_signs(posts: SignPosts, lanes: LaneTable, ways: tuple[Carriageway, ...]) -> None:
    """Before the network's crossings that no signal rules."""
    by_edge = {way.edge.name: way for way in ways}
    for crossing in lanes.walks.crossings:
        if crossing.source.signal is not None:
            continue
        middle = crossing.source.shape.mean(axis=0)
        for name in crossing.source.edges:
            way = by_edge.get(name)
            if way is None:
                continue
            if way.edge.to_junction == crossing.source.junction and way.control is Control.NONE:
                end = way.lines[0].points[-1]
                if np.hypot(*(middle - end)) < 15.0:
                    posts.put(way, max(way.tracks[0].length_m - 8.0, 0.0), ("crossing",))
