"""Ways for people on foot: sidewalks and crossings, each with a lane for either direction, and what joins them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from fleetloop.core.types import LaneKind, LaneUse
from fleetloop.sim.roads import curves
from fleetloop.sim.roads.curves import CentreLine
from fleetloop.sim.roads.heights import spread_heights
from fleetloop.sim.roads.network import NetCrossing, Network
from fleetloop.sim.roads.traffic_space import CLEAR_OF_TRAFFIC_M, TrafficSpace, cut

WALKING_LIMIT_MPS = 1.5
"""About the speed of a brisk walk; LaneTable's speed limit on all of these lanes."""

MAX_WALK_CURVATURE_1PM = 2.0
"""People turn within half a metre."""

_STROLL_1PM = 1.2
_SHARP_1PM = 0.25
_FINE_SPACING_M = 0.25
"""Between the points of lanes that turn more sharply than _SHARP_1PM."""

_SHORTEST_M = 0.1
_SHORTEST_SIDEWALK_M = 2.0
_TURN_M = 1.2
_NOSE_M, _SPARE_M = 3.7, 0.4
"""Of a car: from its rear axle to its front; from its side to the edge of its lane, less a margin."""
_SWUNG_M = 2.5
"""So far from the ends of a bend the nose has swung out, and the sidewalk makes room."""
_TRIM_M = 0.4
"""Sidewalks end this far before their corner, which leaves room for a curve even where two meet end to end."""


@dataclass(frozen=True)
class Crossing:
    """Two lanes of the LaneTable, `lane` along the network's shape and `lane + 1` against it."""

    lane: int
    source: NetCrossing


@dataclass
class Walks:
    """Lanes for people on foot in the making: crossings first; numbers count from `first_lane`."""

    first_lane: int
    crossings: list[Crossing] = field(default_factory=list)
    lines: list[CentreLine] = field(default_factory=list)
    widths_m: list[float] = field(default_factory=list)
    kinds: list[LaneKind] = field(default_factory=list)
    heights: list[Float64[np.ndarray, " points"]] = field(default_factory=list)
    """Metres of every point of `lines`."""
    successors: list[list[int]] = field(default_factory=list)
    corners: list[Float64[np.ndarray, "N 2"]] = field(default_factory=list)
    """Outlines of where people walk about between sidewalks and crossings."""

    def add(
        self, line: CentreLine, width_m: float, kind: LaneKind, heights_m: Float64[np.ndarray, " N"]
    ) -> int:
        """Append a lane and return its number; its heights are spread evenly along it."""
        self.lines.append(line)
        self.heights.append(_stretched(heights_m, len(line.points)))
        self.widths_m.append(width_m)
        self.kinds.append(kind)
        self.successors.append([])
        return self.first_lane + len(self.lines) - 1

    def move(self, number: int, line: CentreLine) -> None:
        """Let the lane `lines[number]` run along `line`, as high as it was."""
        self.lines[number] = line
        self.heights[number] = _stretched(self.heights[number], len(line.points))


def _stretched(heights_m: Float64[np.ndarray, " N"], count: int) -> Float64[np.ndarray, " count"]:
    return np.interp(np.linspace(0.0, 1.0, count), np.linspace(0.0, 1.0, len(heights_m)), heights_m)


@dataclass(frozen=True)
class _Terminal:
    """Where a sidewalk or crossing meets a corner: the lane that comes from it and the one that goes there."""

    incoming: int
    outgoing: int


def make_walks(
    network: Network,
    vehicle_lines: Sequence[CentreLine],
    widths_m: Sequence[float],
    heights: Sequence[Float64[np.ndarray, " points"]],
    outermost: Mapping[tuple[str, str], int],
) -> Walks:
    """Lanes for everybody on foot in `network`, numbered after those for vehicles, which have these `heights`.

    `outermost` is the vehicles' lane that joins two edges on the outer side, by the names of the edges.

    A path of lanes leads on wherever a person can go on: sidewalk, corner, crossing, corner, sidewalk; where a
    sidewalk just ends, people turn round.
    """
    first_lane = len(vehicle_lines)
    walks = Walks(first_lane)
    site = TrafficSpace.of(vehicle_lines, widths_m, heights, network.left_hand)
    at_start, at_end = _terminals(network, walks, site)
    pairs: list[tuple[int, int]] = []
    for area in network.walking_areas:
        sidewalks = [at_end[name] for name in area.arriving if name in at_end]
        sidewalks += [at_start[name] for name in area.leaving if name in at_start]
        crossings = [
            (at_start if _starts_at(network.crossings[name], area.shape) else at_end)[name]
            for name in area.crossings
        ]
        beside = outermost.get((_edge_of(area.arriving), _edge_of(area.leaving)))
        if len(sidewalks) == 2 and beside is not None and site.has_room_in(vehicle_lines[beside]):
            way, half = vehicle_lines[beside], widths_m[beside] / 2.0
            pairs += _join_beside(walks, site, way, half, sidewalks, crossings)
        else:
            walks.corners.append(area.shape)
            ends = [*sidewalks, *crossings]
            pairs += [(a.incoming, b.outgoing) for a in ends for b in ends if a is not b]
    joined = {incoming for incoming, _ in pairs}
    for terminal in (*at_start.values(), *at_end.values()):
        if terminal.incoming not in joined and not walks.successors[terminal.incoming - first_lane]:
            pairs.append((terminal.incoming, terminal.outgoing))
    _join(walks, site, pairs)
    return walks


def _terminals(
    network: Network, walks: Walks, site: TrafficSpace
) -> tuple[dict[str, _Terminal], dict[str, _Terminal]]:
    """Add the lanes of crossings, then of sidewalks; returns their first and last ends by the names of the lanes."""
    at_start: dict[str, _Terminal] = {}
    at_end: dict[str, _Terminal] = {}
    for crossing in network.crossings.values():
        longer = site.lengthened(crossing.shape, crossing.heights_m, crossing.width_m / 4.0)
        there, back = _pair(walks, site, *longer, crossing.width_m, LaneKind.CROSSING)
        walks.crossings.append(Crossing(there, crossing))
        at_start[crossing.name] = _Terminal(back, there)
        at_end[crossing.name] = _Terminal(there, back)
    for edge in network.edges.values():
        for lane in edge.lanes:
            if lane.users == LaneUse.PEDESTRIAN:
                name = f"{lane.edge}_{lane.index}"
                trimmed = _trimmed(*site.shortened(lane.shape, lane.heights_m, lane.width_m / 4.0))
                there, back = _pair(walks, site, *trimmed, lane.width_m, LaneKind.WALK)
                at_start[name], at_end[name] = _Terminal(back, there), _Terminal(there, back)
    return at_start, at_end


def _edge_of(lanes: tuple[str, ...]) -> str:
    """The edge of the only lane of `lanes`, whose name ends in its number."""
    return lanes[0].rsplit("_", 1)[0] if len(lanes) == 1 else ""


def _trimmed(
    shape: Float64[np.ndarray, "N 2"], heights_m: Float64[np.ndarray, " N"]
) -> tuple[Float64[np.ndarray, "M 2"], Float64[np.ndarray, " M"]]:
    if curves.arc_lengths(shape)[-1] < _SHORTEST_SIDEWALK_M:
        return shape, heights_m
    return cut(shape, heights_m, _TRIM_M, _TRIM_M)


def _pair(
    walks: Walks,
    site: TrafficSpace,
    shape: Float64[np.ndarray, "N 2"],
    heights_m: Float64[np.ndarray, " N"],
    width_m: float,
    kind: LaneKind,
) -> tuple[int, int]:
    """Add a lane along `shape` and one against it, side by side; people keep to the side that traffic keeps to."""
    middle = curves.smooth(shape)
    heights = spread_heights(shape, heights_m, len(middle))
    headings = curves.tangents(middle)
    normal = np.stack([-np.sin(headings), np.cos(headings)], axis=1)
    aside = (width_m / 4.0 if site.left_hand else -width_m / 4.0) * normal
    numbers = []
    for points, levels in ((middle + aside, heights), ((middle - aside)[::-1], heights[::-1])):
        clear = site.off_the_road(points, levels) if kind is LaneKind.WALK else points
        numbers.append(walks.add(_line(clear), width_m / 2.0, kind, levels))
    return numbers[0], numbers[1]


def _line(
    points: Float64[np.ndarray, "N 2"], start_heading: float | None = None, end_heading: float | None = None
) -> CentreLine:
    if curves.arc_lengths(points)[-1] < _SHORTEST_M:
        # Two sidewalks that meet end to end.
        heading = 0.0 if start_heading is None else start_heading
        points = points[0] + _SHORTEST_M * np.array([[0.0, 0.0], [np.cos(heading), np.sin(heading)]])
    line = curves.centre_line(points, start_heading, end_heading)
    if len(line.points) < 3 or np.abs(line.curvatures).max() > _SHARP_1PM:
        line = curves.centre_line(points, start_heading, end_heading, _FINE_SPACING_M)
    curvatures = np.clip(line.curvatures, -MAX_WALK_CURVATURE_1PM, MAX_WALK_CURVATURE_1PM)
    return CentreLine(line.points, line.headings, curvatures, line.spacing_m)


def _starts_at(crossing: NetCrossing, area: Float64[np.ndarray, "N 2"]) -> bool:
    """Whether it is the first end of a crossing's shape that touches the corner."""
    first, last = (float(np.hypot(*(area - end).T).min()) for end in crossing.shape[[0, -1]])
    return first <= last


def _join_beside(
    walks: Walks,
    site: TrafficSpace,
    way: CentreLine,
    half_width_m: float,
    sidewalks: list[_Terminal],
    crossings: list[_Terminal],
) -> list[tuple[int, int]]:
    """Lanes between two sidewalks, and the crossings between, beside the outermost way for vehicles.

    Returns the pairs of lanes that lie too close together for that.
    """
    first = walks.first_lane
    width = walks.widths_m[sidewalks[0].incoming - first]
    outer = 1.0 if site.left_hand else -1.0
    normal = outer * np.stack([-np.sin(way.headings), np.cos(way.headings)], axis=1)
    lateral = _lateral(walks, way, normal, sidewalks)
    # In a tight bend the nose of a car swings out of its lane, by about half the square of what is ahead of its rear
    # axle over the radius; its lane is wider than it by some.
    bend = np.max(way.curvatures if not site.left_hand else -way.curvatures)
    swing = max(_NOSE_M**2 / 2.0 * float(bend) - _SPARE_M, 0.0)
    from_end = np.minimum(np.arange(len(way.points)), np.arange(len(way.points))[::-1]) * way.spacing_m
    swing *= np.clip(from_end / _SWUNG_M, 0.0, 1.0)
    lateral = np.maximum(lateral, half_width_m + CLEAR_OF_TRAFFIC_M + width / 2.0 + swing)
    strips = [way.points + (lateral + side * width)[:, None] * normal for side in (-1.0, -0.5, 0.5, 1.0)]
    walks.corners.append(np.concatenate([strips[0], strips[3][::-1]]))
    left: list[tuple[int, int]] = []
    terminals = [*sidewalks, *crossings]
    for origin in terminals:
        for target in terminals:
            if origin is target:
                continue
            before, after = walks.lines[origin.incoming - first], walks.lines[target.outgoing - first]
            at = [
                int(np.argmin(np.hypot(*(way.points + lateral[:, None] * normal - end).T)))
                for end in (before.points[-1], after.points[0])
            ]
            # Who goes the vehicles' way keeps to the far side, as on the sidewalk.
            beside = strips[2][at[0] : at[1] + 1] if at[0] < at[1] else strips[1][at[1] : at[0] + 1][::-1]
            apart = np.hypot(*(beside - before.points[-1]).T) > _TURN_M
            apart &= np.hypot(*(beside - after.points[0]).T) > _TURN_M
            if np.count_nonzero(apart) < 2:
                left.append((origin.incoming, target.outgoing))
                continue
            points = np.concatenate([before.points[-1:], beside[apart], after.points[:1]])
            line = _line(curves.smooth(points, _STROLL_1PM), before.headings[-1], after.headings[0])
            levels = _levels(walks, origin.incoming - first, target.outgoing - first)
            lane = walks.add(line, width, LaneKind.WALK, levels)
            walks.successors[origin.incoming - first].append(lane)
            walks.successors[lane - first].append(target.outgoing)
    return left


def _lateral(
    walks: Walks, way: CentreLine, normal: Float64[np.ndarray, "N 2"], sidewalks: list[_Terminal]
) -> Float64[np.ndarray, " N"]:
    """Distance of the middle of the sidewalk from `way`, from that at its start to that at its end.

    They differ where a lane for vehicles begins or ends.
    """
    away = []
    for at, terminal in zip((0, -1), sidewalks, strict=True):
        ends = (
            walks.lines[terminal.incoming - walks.first_lane].points[-1],
            walks.lines[terminal.outgoing - walks.first_lane].points[0],
        )
        away.append(float((np.mean(ends, axis=0) - way.points[at]) @ normal[at]))
    return np.linspace(away[0], away[1], len(way.points))


def _join(walks: Walks, site: TrafficSpace, pairs: list[tuple[int, int]]) -> None:
    """Curves from the end of one lane to the start of another, as lanes of their own."""
    if not pairs:
        return
    first = walks.first_lane
    starts = np.array([_pose(walks.lines[incoming - first], -1) for incoming, _ in pairs])
    ends = np.array([_pose(walks.lines[outgoing - first], 0) for _, outgoing in pairs])
    shares = _shares(starts, ends)
    for (incoming, outgoing), start, end, share in zip(pairs, starts, ends, shares, strict=True):
        points = curves.joining_curve(start, end, share)
        levels = _levels(walks, incoming - first, outgoing - first)
        points = site.beside_traffic(points, _stretched(levels, len(points)))
        line = _line(points, start[2], end[2])
        width = min(walks.widths_m[incoming - first], walks.widths_m[outgoing - first])
        number = walks.add(line, width, LaneKind.WALK, levels)
        walks.successors[incoming - first].append(number)
        walks.successors[number - first].append(outgoing)


def _levels(walks: Walks, before: int, after: int) -> Float64[np.ndarray, " 2"]:
    """Heights at the two ends of a lane that joins the ends of two others."""
    return np.array([walks.heights[before][-1], walks.heights[after][0]])


def _shares(
    starts: Float64[np.ndarray, "N 3"], ends: Float64[np.ndarray, "N 3"]
) -> Float64[np.ndarray, "N 2"]:
    """Control lengths of Bezier curves as people walk: an arc where there is one, else straight across.

    An end that points along the chord gets the control length of a quarter circle, 0.39 of the chord; one that
    points across it turns within _TURN_M.
    """
    chord = ends[:, :2] - starts[:, :2]
    length = np.maximum(np.hypot(*chord.T), 1e-3)
    bearing = np.arctan2(chord[:, 1], chord[:, 0])
    along = np.cos(np.stack([starts[:, 2], ends[:, 2]], axis=1) - bearing[:, None])
    arc = 0.39 * np.clip(along / np.cos(np.pi / 4.0), 0.0, 1.0)
    return np.maximum(arc, np.minimum(_TURN_M / length, 0.39)[:, None])


def _pose(line: CentreLine, point: int) -> tuple[float, float, float]:
    return float(line.points[point, 0]), float(line.points[point, 1]), float(line.headings[point])
