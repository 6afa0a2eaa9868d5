"""Scenario families at junctions: others who come when it is not their turn."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fleetloop.core.types import AgentKind, ConflictKind, Control, LaneKind, Script, SignalColour
from fleetloop.sim.scenarios.family import Family, Parameters, Range
from fleetloop.sim.scenarios.stage import Stage
from fleetloop.sim.signals import signal_colour

_GREENS = (SignalColour.GREEN, SignalColour.GREEN_YIELD)
_FRONT_M = 3.7
"""From a car's rear axle to its front bumper."""
_SHORTEST_APPROACH_M = 32.0
_GREEN_S = 8.0
"""The learner's signal stays green this long: until it has crossed."""
_SPEED = Range(7.0, 11.0, "m/s")
_LATE = Range(-1.0, 1.2, "s")


@dataclass(frozen=True)
class _Meeting:
    """The learner's way across a junction and another that crosses it."""

    approach: int
    connector: int
    other_approach: int
    other_connector: int
    from_m: float
    """Where the two ways meet: metres along the learner's connector, and along the other's."""
    other_from_m: float


def _turn(stage: Stage, lane: int) -> float:
    first = stage.world.lane_first_point[lane]
    last = first + stage.world.lane_point_count[lane] - 1
    return float((stage.world.headings[last] - stage.world.headings[first] + np.pi) % (2 * np.pi) - np.pi)


def _heading_at_start(stage: Stage, lane: int) -> float:
    return float(stage.world.headings[stage.world.lane_first_point[lane]])


def _meetings(stage: Stage) -> Iterator[_Meeting]:
    """Every straight way across a junction with a way that crosses it."""
    world = stage.world
    approach_of = {
        following: int(lane) for lane in stage.lanes(LaneKind.ROAD) for following in stage.successors(lane)
    }
    for connector in stage.lanes(LaneKind.JUNCTION):
        approach = approach_of.get(int(connector), -1)
        if (
            approach < 0
            or world.lane_length_m[approach] < _SHORTEST_APPROACH_M
            or abs(_turn(stage, connector)) > 0.4
        ):
            continue
        if world.lane_reach_m[connector] < 200.0:
            continue
        for k in range(world.conflict_start[connector], world.conflict_start[connector + 1]):
            other = int(world.conflict_lane[k])
            other_approach = approach_of.get(other, -1)
            is_far = other_approach >= 0 and world.lane_length_m[other_approach] >= _SHORTEST_APPROACH_M
            if (
                world.conflict_kind[k] == ConflictKind.CROSS
                and is_far
                and world.lane_kind[other] == LaneKind.JUNCTION
            ):
                yield _Meeting(
                    *(approach, int(connector), other_approach, other),
                    *(float(world.conflict_from_m[k]), float(world.conflict_other_from_m[k])),
                )


def _choose(stage: Stage, fits: Callable[[_Meeting], bool]) -> _Meeting | None:
    meetings = stage.once_in_town("meetings", lambda: tuple(_meetings(stage)))
    found = [meeting for meeting in meetings if fits(meeting)]
    return found[int(stage.random.integers(len(found)))] if found else None


def _let_green(stage: Stage, meeting: _Meeting, others_red: bool = False) -> bool:
    """Turn the clock to when the learner's signal stays green for long enough, and if asked for the other's red."""
    world, mine = stage.world, stage.world.lane_signal[meeting.connector]
    other = world.lane_signal[meeting.other_connector]
    start = float(stage.state.clock_s[stage.w])
    for clock in start + stage.random.permutation(int(world.signal_cycle_s[mine])):
        moments = [np.float32(clock + t) for t in np.arange(0.0, _GREEN_S, 1.0)]
        if all(
            signal_colour(world, mine, moment) in _GREENS
            and not (others_red and signal_colour(world, other, moment) != SignalColour.RED)
            for moment in moments
        ):
            stage.state.clock_s[stage.w] = clock
            return True
    return False


def _both_arrive(
    stage: Stage, meeting: _Meeting, parameters: Parameters, kind: AgentKind, script: Script
) -> None:
    """Place learner and actor so that they would meet, but for what is `late`."""
    world = stage.world
    length = float(world.lane_length_m[meeting.approach])
    back = min(length - 2.0, 45.0)
    speed = parameters["speed_mps"]
    time = (back - _FRONT_M + meeting.from_m) / speed
    stage.put_learner([meeting.approach, meeting.connector], length - back, speed)
    other_speed = parameters["other_speed_mps"]
    other_length = float(world.lane_length_m[meeting.other_approach])
    other_back = other_speed * (time + parameters["late_s"]) - meeting.other_from_m + _FRONT_M
    along = max(other_length - other_back, 1.0)
    stage.add(kind, [meeting.other_approach, meeting.other_connector], along, other_speed, script)


def _is_signalled(stage: Stage) -> Callable[[_Meeting], bool]:
    """The learner's signal is never green together with the other's, which comes from the side."""

    def fits(meeting: _Meeting) -> bool:
        world = stage.world
        side = _heading_at_start(stage, meeting.connector) - _heading_at_start(stage, meeting.other_connector)
        return (
            world.lane_control[meeting.connector] == Control.SIGNAL
            and world.lane_signal[meeting.other_connector] >= 0
            and abs(np.sin(side)) > 0.5
        )

    return fits


def _against_red(kind: AgentKind) -> Callable[[Stage, Parameters], bool]:
    def set_up(stage: Stage, parameters: Parameters) -> bool:
        for _ in range(8):
            meeting = _choose(stage, _is_signalled(stage))
            if meeting is None:
                return False
            if _let_green(stage, meeting, others_red=True):
                _both_arrive(stage, meeting, parameters, kind, Script.INSIST)
                return True
        return False

    return set_up


def _yields_to(stage: Stage, first: int, second: int) -> bool:
    """Whether connector `first` must give way to `second`."""
    world = stage.world
    for k in range(world.conflict_start[first], world.conflict_start[first + 1]):
        if world.conflict_lane[k] == second:
            return bool(world.conflict_yield[k])
    return False


def _right_of_way_ignored(stage: Stage, parameters: Parameters) -> bool:
    world = stage.world
    meeting = _choose(
        stage,
        lambda m: (
            world.lane_control[m.connector] in (Control.NONE, Control.RIGHT_BEFORE_LEFT)
            and world.lane_signal[m.connector] < 0
            and _yields_to(stage, m.other_connector, m.connector)
            and not _yields_to(stage, m.connector, m.other_connector)
        ),
    )
    if meeting is None:
        return False
    _both_arrive(stage, meeting, parameters, AgentKind.CAR, Script.INSIST)
    return True


def _left_turn_across(stage: Stage, parameters: Parameters) -> bool:
    """Somebody from the opposite side turns across the learner's way."""
    side = stage.outer_side()

    def fits(meeting: _Meeting) -> bool:
        angle = _heading_at_start(stage, meeting.connector) - _heading_at_start(
            stage, meeting.other_connector
        )
        return np.cos(angle) < -0.7 and -side * _turn(stage, meeting.other_connector) > 0.9

    for _ in range(8):
        meeting = _choose(stage, fits)
        if meeting is None:
            return False
        signalled = stage.world.lane_signal[meeting.connector] >= 0
        if not signalled or _let_green(stage, meeting):
            _both_arrive(stage, meeting, parameters, AgentKind.CAR, Script.INSIST)
            return True
    return False


def _blocked_junction(stage: Stage, parameters: Parameters) -> bool:
    world = stage.world
    meeting = _choose(stage, lambda m: world.lane_length_m[m.other_connector] > m.other_from_m + 2.0)
    if meeting is None:
        return False
    if world.lane_signal[meeting.connector] >= 0 and not _let_green(stage, meeting):
        return False
    length = float(world.lane_length_m[meeting.approach])
    stage.put_learner([meeting.approach, meeting.connector], max(length - 45.0, 1.0), parameters["speed_mps"])
    path = [meeting.other_connector, *stage.successors(meeting.other_connector)[:1]]
    # It stands across the learner's way until the learner is about to wait, up to 30 m from it: wide junctions are.
    stage.add(AgentKind.VAN, path, meeting.other_from_m, 0.0, Script.STAND, 0.0, parameters["trigger_m"])
    return True


_OTHER = Range(7.0, 12.0, "m/s")

FAMILIES = (
    Family(
        "red_light_runner",
        "The learner has green; a car from the side runs its red light.",
        "Does not collide with it.",
        {"speed_mps": _SPEED, "other_speed_mps": _OTHER, "late_s": _LATE},
        _against_red(AgentKind.CAR),
    ),
    Family(
        "emergency_vehicle",
        "The learner has green; an ambulance with blue lights crosses against its red light.",
        "Lets it pass.",
        {"speed_mps": _SPEED, "other_speed_mps": _OTHER, "late_s": _LATE},
        _against_red(AgentKind.EMERGENCY),
    ),
    Family(
        "right_of_way_ignored",
        "A car from the side, which would have to give way, does not.",
        "Does not collide with it.",
        {"speed_mps": _SPEED, "other_speed_mps": _OTHER, "late_s": _LATE},
        _right_of_way_ignored,
    ),
    Family(
        "left_turn_across",
        "An oncoming car turns across the learner's way without waiting.",
        "Does not collide with it.",
        {"speed_mps": _SPEED, "other_speed_mps": Range(5.0, 8.0, "m/s"), "late_s": _LATE},
        _left_turn_across,
    ),
    Family(
        "blocked_junction",
        "A van stands across the learner's way in the junction, and drives on later.",
        "Waits before it, and drives on when it has gone.",
        {"speed_mps": _SPEED, "trigger_m": Range(34.0, 40.0, "m")},
        _blocked_junction,
    ),
)
