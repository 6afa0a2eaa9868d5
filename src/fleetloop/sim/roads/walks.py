"""Ways for people on foot: sidewalks and crossings, each with a lane for either direction, and what joins them."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from fleetloop.core.types import LaneKind, LaneUse
from fleetloop.sim.roads import curves
from fleetloop.sim.roads.curves import CentreLine
from fleetloop.sim.roads.network import NetCrossing, Network

WALKING_LIMIT_MPS = 1.5
"""About the speed of a brisk walk; LaneTable's speed limit on all of these lanes."""

MAX_WALK_CURVATURE_1PM = 2.0
"""People turn within half a metre."""

_SHORTEST_SIDEWALK_M = 2.0
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
    successors: list[list[int]] = field(default_factory=list)

    def add(self, line: CentreLine, width_m: float, kind: LaneKind) -> int:
        """Append a lane and return its number."""
        self.lines.append(line)
        self.widths_m.append(width_m)
        self.kinds.append(kind)
        self.successors.append([])
        return self.first_lane + len(self.lines) - 1


@dataclass(frozen=True)
class _Terminal:
    """Where a sidewalk or crossing meets a corner: the lane that comes from it and the one that goes there."""

    incoming: int
    outgoing: int


def make_walks(network: Network, first_lane: int) -> Walks:
    """Lanes for everybody on foot in `network`, numbered from `first_lane`.

    A path of lanes leads on wherever a person can go on: sidewalk, corner, crossing, corner, sidewalk; where a
    sidewalk just ends, people turn round.
    """
    walks = Walks(first_lane)
    at_start: dict[str, _Terminal] = {}
    at_end: dict[str, _Terminal] = {}
    for crossing in network.crossings.values():
        there, back = _pair(walks, crossing.shape, crossing.width_m, LaneKind.CROSSING, network.left_hand)
        walks.crossings.append(Crossing(there, crossing))
        at_start[crossing.name] = _Terminal(back, there)
        at_end[crossing.name] = _Terminal(there, back)
    for edge in network.edges.values():
        for lane in edge.lanes:
            if lane.users == LaneUse.PEDESTRIAN:
                name = f"{lane.edge}_{lane.index}"
                shape = _trimmed(lane.shape)
                there, back = _pair(walks, shape, lane.width_m, LaneKind.WALK, network.left_hand)
                at_start[name], at_end[name] = _Terminal(back, there), _Terminal(there, back)
    pairs: list[tuple[int, int]] = []
    for area in network.walking_areas:
        terminals = [at_end[name] for name in area.arriving if name in at_end]
        terminals += [at_start[name] for name in area.leaving if name in at_start]
        terminals += [
            (at_start if _starts_at(network.crossings[name], area.shape) else at_end)[name]
            for name in area.crossings
        ]
        pairs += [(a.incoming, b.outgoing) for a in terminals for b in terminals if a is not b]
    joined = {incoming for incoming, _ in pairs}
    for terminal in (*at_start.values(), *at_end.values()):
        if terminal.incoming not in joined:
            pairs.append((terminal.incoming, terminal.outgoing))
    _join(walks, pairs)
    return walks


def _trimmed(shape: Float64[np.ndarray, "N 2"]) -> Float64[np.ndarray, "M 2"]:
    along = curves.arc_lengths(shape)
    if along[-1] < _SHORTEST_SIDEWALK_M:
        return shape
    inside = shape[(along > _TRIM_M + 1e-3) & (along < along[-1] - _TRIM_M - 1e-3)]
    first, last = (
        [float(np.interp(at, along, shape[:, axis])) for axis in (0, 1)]
        for at in (_TRIM_M, along[-1] - _TRIM_M)
    )
    return np.concatenate([[first], inside, [last]])


def _pair(
    walks: Walks, shape: Float64[np.ndarray, "N 2"], width_m: float, kind: LaneKind, left_hand: bool
) -> tuple[int, int]:
    """Add a lane along `shape` and one against it, side by side; people keep to the side that traffic keeps to."""
    middle = curves.smooth(shape)
    headings = curves.tangents(middle)
    normal = np.stack([-np.sin(headings), np.cos(headings)], axis=1)
    aside = (width_m / 4.0 if left_hand else -width_m / 4.0) * normal
    there = walks.add(_line(middle + aside), width_m / 2.0, kind)
    back = walks.add(_line((middle - aside)[::-1]), width_m / 2.0, kind)
    return there, back


def _line(
    points: Float64[np.ndarray, "N 2"], start_heading: float | None = None, end_heading: float | None = None
) -> CentreLine:
    line = curves.centre_line(points, start_heading, end_heading)
    curvatures = np.clip(line.curvatures, -MAX_WALK_CURVATURE_1PM, MAX_WALK_CURVATURE_1PM)
    return CentreLine(line.points, line.headings, curvatures, line.spacing_m)


def _starts_at(crossing: NetCrossing, area: Float64[np.ndarray, "N 2"]) -> bool:
    """Whether it is the first end of a crossing's shape that touches the corner."""
    first, last = (float(np.hypot(*(area - end).T).min()) for end in crossing.shape[[0, -1]])
    return first <= last


def _join(walks: Walks, pairs: list[tuple[int, int]]) -> None:
    """Curves from the end of one lane to the start of another, as lanes of their own."""
    if not pairs:
        return
    first = walks.first_lane
    starts = np.array([_pose(walks.lines[incoming - first], -1) for incoming, _ in pairs])
    ends = np.array([_pose(walks.lines[outgoing - first], 0) for _, outgoing in pairs])
    shares, _ = curves.fit_joining_curves(starts, ends)
    for (incoming, outgoing), start, end, share in zip(pairs, starts, ends, shares, strict=True):
        line = _line(curves.joining_curve(start, end, share), start[2], end[2])
        width = min(walks.widths_m[incoming - first], walks.widths_m[outgoing - first])
        number = walks.add(line, width, LaneKind.WALK)
        walks.successors[incoming - first].append(number)
        walks.successors[number - first].append(outgoing)


def _pose(line: CentreLine, point: int) -> tuple[float, float, float]:
    return float(line.points[point, 0]), float(line.points[point, 1]), float(line.headings[point])
