"""Right of way: where connectors of a junction meet, and which of the two gives way."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from fleetloop.core.types import ConflictKind, Control, LaneKind, LaneUse, SignalColour
from fleetloop.sim.roads import curves
from fleetloop.sim.roads.curves import CentreLine
from fleetloop.sim.roads.lanes import Connector, LaneTable
from fleetloop.sim.roads.network import NetCrossing, Network
from fleetloop.sim.roads.signals import Signal, go_together

MEETING_DISTANCE_M = 2.3
"""Centre lines nearer than this: two vehicles would touch."""

BICYCLE_HALF_WIDTH_M = 0.4
VEHICLE_HALF_WIDTH_M = 1.25
"""Half of the widest vehicle's width."""

PERSON_HALF_WIDTH_M = 0.3
BESIDE_PERSON_M = 0.2
"""Nearer than this, a vehicle would brush against somebody on foot."""

_SAMPLE_M = 0.5
_LEFT_TURN_RAD = 0.5


@dataclass(frozen=True)
class Conflict:
    """Where lane `first`, a connector, meets `second`, a connector or a crossing; numbers are of World lanes."""

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
    """Every pair of connectors of one junction that meet, once, first < second, and each with crossings.

    Of a crossing or merging pair exactly one yields, unless signals never let both go, or both take turns where a lane
    of their road ends. A signal that shows an unprotected green against a conflict it must yield to is turned into
    GREEN_YIELD in place. Only ways of one junction meet: roads that cross on a bridge do not.
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
                ends = lanes.connector_lane(first), lanes.connector_lane(second)
                conflicts.append(Conflict(*ends, kind, *stretches, *yields))
    for number in range(len(lanes.walks.crossings)):
        members = by_junction.get(lanes.walks.crossings[number].source.junction, [])
        conflicts += _crossing_conflicts(network, lanes, members, number, signals, signal_of)
    return conflicts


def entry_control(lanes: LaneTable, conflicts: list[Conflict], signal_of: list[int]) -> list[Control]:
    """What rules the entry into each connector."""
    gives_way = [False] * len(lanes.connectors)
    roads, vehicles = len(lanes.road_lanes), len(lanes.lines)
    for conflict in conflicts:
        if conflict.second >= vehicles:
            continue
        ends = conflict.first - roads, conflict.second - roads
        edges = [lanes.road_lanes[lanes.connectors[n].from_lane].edge for n in ends]
        if edges[0] != edges[1]:
            gives_way[ends[0]] |= conflict.first_yields
            gives_way[ends[1]] |= conflict.second_yields
    return [
        _control(connector, signal_of[number] >= 0, gives_way[number], _decides(lanes, number))
        for number, connector in enumerate(lanes.connectors)
    ]


def crossing_control(lanes: LaneTable, signal_of: list[int]) -> list[Control]:
    """What rules the entry into each crossing."""
    controls = []
    for number, crossing in enumerate(lanes.walks.crossings):
        if signal_of[len(lanes.connectors) + number] >= 0:
            controls.append(Control.SIGNAL)
        else:
            controls.append(Control.YIELD if crossing.source.people_wait else Control.NONE)
    return controls


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
    one, two = lanes.connectors[first], lanes.connectors[second]
    apart = _half_width_m(one) + _half_width_m(two)
    square = (a[:, None, 0] - b[None, :, 0]) ** 2 + (a[:, None, 1] - b[None, :, 1]) ** 2
    near = square < apart**2
    kind = ConflictKind.CROSS
    if one.from_lane == two.from_lane:
        kind = ConflictKind.DIVERGE
    elif one.to_lane == two.to_lane:
        kind = ConflictKind.MERGE
    elif not near.any():
        return None
    first_m, second_m = (lanes.lines[lanes.connector_lane(number)].length_m for number in (first, second))
    return kind, (_stretch(near, first_m, kind), _stretch(near.T, second_m, kind))


def _half_width_m(connector: Connector) -> float:
    wide = connector.users & (LaneUse.MOTOR | LaneUse.BUS)
    return MEETING_DISTANCE_M / 2.0 if wide else BICYCLE_HALF_WIDTH_M


def _crossing_conflicts(
    network: Network,
    lanes: LaneTable,
    members: list[int],
    number: int,
    signals: list[Signal],
    signal_of: list[int],
) -> list[Conflict]:
    """Where both lanes of one crossing meet the connectors `members` of its junction."""
    crossing, walks = lanes.walks.crossings[number], lanes.walks
    response = network.junctions[crossing.source.junction].response
    signal = signal_of[len(lanes.connectors) + number]
    conflicts = []
    for member in members:
        connector = lanes.connectors[member]
        line = lanes.lines[lanes.connector_lane(member)]
        vehicle_yields = _vehicle_yields(connector, crossing.source, response)
        yields = vehicle_yields, not vehicle_yields
        if signal >= 0 and signal_of[member] >= 0:
            yields = _yield_at_green(signals[signal_of[member]], signals[signal])
        for lane in (crossing.lane, crossing.lane + 1):
            half = (
                VEHICLE_HALF_WIDTH_M
                if _half_width_m(connector) > BICYCLE_HALF_WIDTH_M
                else BICYCLE_HALF_WIDTH_M
            )
            stretches = touching_stretches(line, walks.lines[lane - walks.first_lane], half)
            if stretches is not None:
                ends = lanes.connector_lane(member), lane
                conflicts.append(Conflict(*ends, ConflictKind.CROSS, *stretches, *yields))
    return conflicts


def _vehicle_yields(connector: Connector, crossing: NetCrossing, response: np.ndarray) -> bool:
    """At a zebra crossing everybody does; where people wait, only those who turn, as the network says."""
    if not crossing.people_wait or connector.link < 0 or crossing.link < 0:
        return not crossing.people_wait
    return bool(response[connector.link, crossing.link]) and not response[crossing.link, connector.link]


def _yield_at_green(vehicle: Signal, people: Signal) -> tuple[bool, bool]:
    """Who turns while people have green lets them cross; where that never happens nobody yields."""
    together = go_together(vehicle, people)
    for phase, both in enumerate(together[: len(vehicle.colours)]):
        if both and vehicle.colours[phase] is SignalColour.GREEN:
            vehicle.colours[phase] = SignalColour.GREEN_YIELD
    return bool(together.any()), False


def touching_stretches(
    way: CentreLine, crossing: CentreLine, half_width_m: float
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Metres (from, to) along a vehicle's way and along a crossing's lane where the two bodies would touch.

    A vehicle is a bar `half_width_m` to either side of its way, a person a disc; None if they never meet.
    """
    a, b = curves.resample(way.points, _SAMPLE_M), curves.resample(crossing.points, _SAMPLE_M)
    reach = half_width_m + PERSON_HALF_WIDTH_M + BESIDE_PERSON_M
    if np.any(a.min(0) - reach > b.max(0)) or np.any(b.min(0) - reach > a.max(0)):
        return None
    heading = curves.tangents(a)
    normal = np.stack([-np.sin(heading), np.cos(heading)], axis=1)
    bars = a[:, None] + np.linspace(-half_width_m, half_width_m, 5)[:, None] * normal[:, None]
    square = np.sum((bars[:, :, None] - b) ** 2, axis=3).min(axis=1)
    meets = square < (PERSON_HALF_WIDTH_M + BESIDE_PERSON_M + _SAMPLE_M / 2.0) ** 2
    if not meets.any():
        return None
    return (
        _stretch(meets, way.length_m, ConflictKind.CROSS),
        _stretch(meets.T, crossing.length_m, ConflictKind.CROSS),
    )


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
    if _take_turns(lanes, first, second):
        return False, False
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


def _take_turns(lanes: LaneTable, first: int, second: int) -> bool:
    """Whether a lane of the same road ends here, with nothing else to decide: like the teeth of a zip."""
    one, two = lanes.connectors[first], lanes.connectors[second]
    same = lanes.road_lanes[one.from_lane].edge == lanes.road_lanes[two.from_lane].edge
    return same and one.to_lane == two.to_lane and not _decides(lanes, first)


def _is_minor(lanes: LaneTable, first: int, second: int) -> bool:
    """Where the network is silent: whose lane ends or who turns more gives way, then who has the other on the right."""
    one, two = lanes.connectors[first], lanes.connectors[second]
    if one.lane_ends != two.lane_ends:
        return one.lane_ends
    turn_one, turn_two = abs(one.turn_rad), abs(two.turn_rad)
    if abs(turn_one - turn_two) > 0.2:
        return turn_one > turn_two
    heading_one = lanes.lines[one.from_lane].headings[-1]
    heading_two = lanes.lines[two.from_lane].headings[-1]
    from_right = np.sin(heading_two - heading_one)
    if abs(from_right) > 0.2:
        return bool(from_right > 0.0)
    return first > second
