"""Scenario families about people who come where they are not expected."""

import functools
import math
from collections.abc import Callable

from fleetloop.core.types import AgentKind, Script
from fleetloop.sim.scenarios.family import Family, Parameters, Range
from fleetloop.sim.scenarios.stage import Stage

_SPEED = Range(6.0, 11.0, "m/s")
_PARKED_M = 1.15
"""Middle of a parked car beyond the lane's edge."""
_KERB_M = 0.9


def _beside_the_kerb(
    set_the_scene: Callable[[Stage, Parameters, int], None],
) -> Callable[[Stage, Parameters], bool]:
    """Puts the learner at the beginning of a straight lane at the kerb, then sets the scene on it.

    The result returns False, as `Family.set_up` does, where the town has no such lane.
    """

    @functools.wraps(set_the_scene)
    def set_up(stage: Stage, parameters: Parameters) -> bool:
        at_kerb = stage.world.lane_right if stage.outer_side() < 0 else stage.world.lane_left
        lanes = stage.straight_lanes(75.0)
        lanes = lanes[at_kerb[lanes] < 0]
        if not len(lanes):
            return False
        lane = int(stage.random.choice(lanes))
        stage.put_learner([lane], 6.0, parameters["speed_mps"])
        set_the_scene(stage, parameters, lane)
        return True

    return set_up


def _edge(stage: Stage, lane: int) -> float:
    return float(stage.world.lane_width_m[lane]) / 2.0


def _run_across(
    stage: Stage, lane: int, kind: AgentKind, along_m: float, beyond_m: float, speed: float, trigger_m: float
) -> None:
    """From the kerb straight across the road."""
    side = stage.outer_side()
    offset = side * (_edge(stage, lane) + beyond_m)
    across = -side * math.pi / 2.0
    stage.add_beside(kind, lane, along_m, offset, across, Script.RUN, speed, trigger_m)


@_beside_the_kerb
def _child_behind_parked_car(stage: Stage, parameters: Parameters, lane: int) -> None:
    ahead, side = parameters["ahead_m"], stage.outer_side()
    kind = AgentKind.VAN if stage.random.random() < 0.5 else AgentKind.CAR
    stage.add_beside(kind, lane, ahead - 3.4, side * (_edge(stage, lane) + _PARKED_M))
    _run_across(
        *(stage, lane, AgentKind.CHILD, ahead, _PARKED_M),
        *(parameters["child_speed_mps"], parameters["trigger_m"]),
    )


@_beside_the_kerb
def _jaywalker(stage: Stage, parameters: Parameters, lane: int) -> None:
    _run_across(
        *(stage, lane, AgentKind.PEDESTRIAN, parameters["ahead_m"], _KERB_M),
        *(parameters["walking_mps"], parameters["trigger_m"]),
    )


@_beside_the_kerb
def _group_crossing(stage: Stage, parameters: Parameters, lane: int) -> None:
    for number in range(4):
        pace = parameters["walking_mps"] * (1.0 - 0.08 * number)
        along, beyond = parameters["ahead_m"] + 0.9 * number, _KERB_M + 0.3 * (number % 2)
        _run_across(
            stage, lane, AgentKind.PEDESTRIAN, along, beyond, pace, parameters["trigger_m"] + 0.9 * number
        )


@_beside_the_kerb
def _bus_at_stop(stage: Stage, parameters: Parameters, lane: int) -> None:
    ahead, side = parameters["ahead_m"], stage.outer_side()
    stage.add_beside(AgentKind.BUS, lane, ahead - 7.2, side * (_edge(stage, lane) + 1.45))
    _run_across(
        *(stage, lane, AgentKind.PEDESTRIAN, ahead, 1.4, parameters["walking_mps"], parameters["trigger_m"])
    )


@_beside_the_kerb
def _crossing_cyclist(stage: Stage, parameters: Parameters, lane: int) -> None:
    _run_across(
        *(stage, lane, AgentKind.CYCLIST, parameters["ahead_m"], 6.0),
        *(parameters["cyclist_speed_mps"], parameters["trigger_m"]),
    )


_AHEAD = Range(40.0, 62.0, "m")
_WALKING = Range(1.0, 1.9, "m/s")

FAMILIES = (
    Family(
        "child_behind_parked_car",
        "A child runs onto the road from behind a parked car.",
        "Stops before the child, and drives on when it has gone.",
        {
            "speed_mps": _SPEED,
            "ahead_m": _AHEAD,
            "child_speed_mps": Range(1.5, 3.0, "m/s"),
            "trigger_m": Range(18.0, 28.0, "m"),
        },
        _child_behind_parked_car,
    ),
    Family(
        "jaywalker",
        "Somebody crosses the road where there is no crossing.",
        "Stops or slows down for them.",
        {
            "speed_mps": _SPEED,
            "ahead_m": _AHEAD,
            "walking_mps": _WALKING,
            "trigger_m": Range(20.0, 34.0, "m"),
        },
        _jaywalker,
    ),
    Family(
        "group_crossing",
        "Four people cross the road one after the other.",
        "Waits until the last of them has gone.",
        {
            "speed_mps": _SPEED,
            "ahead_m": _AHEAD,
            "walking_mps": _WALKING,
            "trigger_m": Range(24.0, 36.0, "m"),
        },
        _group_crossing,
    ),
    Family(
        "bus_at_stop",
        "Somebody steps out in front of a bus that stands at its stop.",
        "Stops or slows down for them.",
        {
            "speed_mps": _SPEED,
            "ahead_m": _AHEAD,
            "walking_mps": _WALKING,
            "trigger_m": Range(20.0, 30.0, "m"),
        },
        _bus_at_stop,
    ),
    Family(
        "crossing_cyclist",
        "A cyclist rides across the road from a side path.",
        "Stops or slows down for the cyclist.",
        {
            "speed_mps": _SPEED,
            "ahead_m": _AHEAD,
            "cyclist_speed_mps": Range(2.5, 4.5, "m/s"),
            "trigger_m": Range(26.0, 36.0, "m"),
        },
        _crossing_cyclist,
    ),
)
