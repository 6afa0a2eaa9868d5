"""Right of way: where connectors of a junction meet, and which of the two gives way."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from fleetloop.core.types import ConflictKind, Control, LaneKind, SignalColour
from fleetloop.sim.roads import curves
from fleetloop.sim.roads.lanes import Connector, LaneTable
from fleetloop.sim.roads.network import Network
from fleetloop.sim.roads.signals import Signal, go_together

MEETING_DISTANCE_M = 2.3
"""Centre lines nearer than this: two vehicles would touch."""

_SAMPLE_M = 0.5
_LEFT_TURN_RAD = 0.5


@dataclass(frozen=True)
class Conflict:
    """Where connector `first` meets `second`; both by number in LaneTable.connectors."""

    first: int
    second: int
    kind: ConflictKind
    first_stretch_m: tuple[float, float]
    second_stretch_m: tuple[float, float]
    first_yields: bool
    second_yields: bool


def find_conflicts(
    network: Network, lanes: LaneTable, signals: list[Signal], signal_of: list[int]
) -> list[Conflict]:
    """Every pair of connectors of one junction that meet, once, first < second.

    Of a crossing or merging pair exactly one yields, unless signals never let both go. A signal that shows an
    unprotected green against a conflict it must yield to is turned into GREEN_YIELD in place.
    """
    by_junction: dict[str, list[int]] = {}
    for number, connector in enumerate(lanes.connectors):
        by_junction.setdefault(connector.junction, []).append(number)
    conflicts = []
    for name, members in by_junction.items():
        response = network.junctions[name].response
        samples = [_samples(lanes, number) for number in members]
        for position, first in enumerate(members):
            for other in range(position + 1, len(members)):
                second = members[other]
                met = _meet(lanes, first, second, samples[position], samples[other])
                if met is None:
                    continue
                kind, stretches = met
                yields = (False, False)
                if kind is not ConflictKind.DIVERGE:
                    yields = _right_of_way(lanes, first, second, response, signals, signal_of)
                conflicts.append(Conflict(first, second, kind, *stretches, *yields))
    return conflicts


def entry_control(lanes: LaneTable, conflicts: list[Conflict], signal_of: list[int]) -> list[Control]:
    """What rules the entry into each connector."""
    gives_way = [False] * len(lanes.connectors)
    for conflict in conflicts:
        edges = [
            lanes.road_lanes[lanes.connectors[n].from_lane].edge for n in (conflict.first, conflict.second)
        ]
        if edges[0] != edges[1]:
            gives_way[conflict.first] |= conflict.first_yields
            gives_way[conflict.second] |= conflict.second_yields
    return [
        _control(connector, signal_of[number] >= 0, gives_way[number], _decides(lanes, number))
        for number, connector in enumerate(lanes.connectors)
    ]


def approach_controls(lanes: LaneTable, controls: list[Control]) -> dict[str, Control]:
    """What the sign or marking at the end of each edge shows, by edge name.

    A left turn that gives way to oncoming traffic alone does not make its road a minor one.
    """
    by_edge: dict[str, list[int]] = {}
    for number, connector in enumerate(lanes.connectors):
        by_edge.setdefault(lanes.road_lanes[connector.from_lane].edge, []).append(number)
    side = -1.0 if lanes.left_hand else 1.0
    result = {}
    for edge, members in by_edge.items():
        shown = {controls[number] for number in members}
        straight_on = [n for n in members if side * lanes.connectors[n].turn_rad < _LEFT_TURN_RAD] or members
        if Control.SIGNAL in shown:
            result[edge] = Control.SIGNAL
        elif Control.STOP in shown:
            result[edge] = Control.STOP
        elif any(controls[number] is Control.YIELD and _decides(lanes, number) for number in straight_on):
            result[edge] = Control.YIELD
        else:
            result[edge] = Control.RIGHT_BEFORE_LEFT if Control.RIGHT_BEFORE_LEFT in shown else Control.NONE
    return result


def _decides(lanes: LaneTable, number: int) -> bool:
    return lanes.kind[lanes.connector_lane(number)] == LaneKind.JUNCTION


def _control(connector: Connector, signalled: bool, gives_way: bool, decides: bool) -> Control:
    if signalled:
        return Control.SIGNAL
    if connector.state in ("s", "w"):
        return Control.STOP
    if connector.state == "=" and decides:
        return Control.RIGHT_BEFORE_LEFT
    return Control.YIELD if gives_way else Control.NONE


def _samples(lanes: LaneTable, number: int) -> Float64[np.ndarray, "N 2"]:
    return curves.resample(lanes.lines[lanes.connector_lane(number)].points, _SAMPLE_M)


def _meet(
    lanes: LaneTable, first: int, second: int, a: Float64[np.ndarray, "N 2"], b: Float64[np.ndarray, "M 2"]
) -> tuple[ConflictKind, tuple[tuple[float, float], tuple[float, float]]] | None:
    if np.any(a.min(0) - MEETING_DISTANCE_M > b.max(0)) or np.any(b.min(0) - MEETING_DISTANCE_M > a.max(0)):
        return None
    square = (a[:, None, 0] - b[None, :, 0]) ** 2 + (a[:, None, 1] - b[None, :, 1]) ** 2
    near = square < MEETING_DISTANCE_M**2
    one, two = lanes.connectors[first], lanes.connectors[second]
    kind = ConflictKind.CROSS
    if one.from_lane == two.from_lane:
        kind = ConflictKind.DIVERGE
    elif one.to_lane == two.to_lane:
        kind = ConflictKind.MERGE
    elif not near.any():
        return None
    first_m, second_m = (lanes.lines[lanes.connector_lane(number)].length_m for number in (first, second))
    return kind, (_stretch(near, first_m, kind), _stretch(near.T, second_m, kind))


def _stretch(meets: Bool[np.ndarray, "N M"], length_m: float, kind: ConflictKind) -> tuple[float, float]:
    """Metres along a connector where the other is near; DIVERGE: the run from 0, MERGE: that to the end."""
    near = np.max(meets, axis=1)
    step = length_m / (len(near) - 1)
    if kind is ConflictKind.DIVERGE:
        first, last = 0, (len(near) - 1 if near.all() else max(int(np.argmin(near)) - 1, 0))
    elif kind is ConflictKind.MERGE:
        apart = int(np.argmin(near[::-1]))
        first, last = (0 if near.all() else len(near) - max(apart, 1)), len(near) - 1
    else:
        touching = np.flatnonzero(near)
        first, last = int(touching[0]), int(touching[-1])
    start, end = max((first - 0.5) * step, 0.0), min((last + 0.5) * step, length_m)
    return (start, length_m if kind is ConflictKind.MERGE else end)


def _right_of_way(
    lanes: LaneTable,
    first: int,
    second: int,
    response: np.ndarray,
    signals: list[Signal],
    signal_of: list[int],
) -> tuple[bool, bool]:
    """Whether (first, second) yields."""
    one, two = lanes.connectors[first], lanes.connectors[second]
    first_yields = second_yields = False
    if one.link >= 0 and two.link >= 0:
        first_yields, second_yields = bool(response[one.link, two.link]), bool(response[two.link, one.link])
    if first_yields == second_yields:
        first_yields = _is_minor(lanes, first, second)
        second_yields = not first_yields
    signal_one, signal_two = signal_of[first], signal_of[second]
    if signal_one < 0 or signal_two < 0 or signal_one == signal_two:
        return first_yields, second_yields
    shown_one, shown_two = signals[signal_one], signals[signal_two]
    together = go_together(shown_one, shown_two)
    if not together.any():
        return False, False
    # Where only one of the two greens is a protected one, the lamps decide.
    protected_one = any(
        c is SignalColour.GREEN for c, both in zip(shown_one.colours, together, strict=False) if both
    )
    protected_two = any(
        c is SignalColour.GREEN for c, both in zip(shown_two.colours, together, strict=False) if both
    )
    if protected_one != protected_two:
        first_yields, second_yields = protected_two, protected_one
    yielding = shown_one if first_yields else shown_two
    for phase, both in enumerate(together[: len(yielding.colours)]):
        if both and yielding.colours[phase] is SignalColour.GREEN:
            yielding.colours[phase] = SignalColour.GREEN_YIELD
    return first_yields, second_yields


def _is_minor(lanes: LaneTable, first: int, second: int) -> bool:
    """Where the network is silent: who turns more gives way, then who has the other on the right."""
    one, two = lanes.connectors[first], lanes.connectors[second]
    turn_one, turn_two = abs(one.turn_rad), abs(two.turn_rad)
    if abs(turn_one - turn_two) > 0.2:
        return turn_one > turn_two
    heading_one = lanes.lines[one.from_lane].headings[-1]
    heading_two = lanes.lines[two.from_lane].headings[-1]
    from_right = np.sin(heading_two - heading_one)
    if abs(from_right) > 0.2:
        return bool(from_right > 0.0)
    return first > second
