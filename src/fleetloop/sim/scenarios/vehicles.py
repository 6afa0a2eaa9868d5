"""Scenario families about other vehicles on the same road."""

from fleetloop.core.types import AgentKind, Script
from fleetloop.sim.behaviour import BAY_MIDDLE_M
from fleetloop.sim.scenarios.family import Family, Parameters, Range
from fleetloop.sim.scenarios.stage import Stage

_NEVER_M = 0.01
"""Nobody comes this near: an actor with this trigger does not begin."""
_SPEED = Range(7.0, 12.0, "m/s")


def _start(stage: Stage, parameters: Parameters, length_m: float, has_neighbour: bool = False) -> int | None:
    """Put the learner at the beginning of a straight lane; that lane, or None."""
    lanes = stage.straight_lanes(length_m, has_neighbour)
    if not len(lanes):
        return None
    lane = int(stage.random.choice(lanes))
    stage.put_learner([lane], 6.0, parameters["speed_mps"])
    return lane


def _hard_braking_lead(stage: Stage, parameters: Parameters) -> bool:
    lane = _start(stage, parameters, 60.0)
    if lane is None:
        return False
    speed, gap = parameters["speed_mps"], parameters["gap_m"]
    # The learner follows at about this distance, so the lead soon brakes.
    stage.add(
        AgentKind.CAR, [lane], 10.0 + gap, speed, Script.BRAKE, parameters["deceleration_mps2"], gap + 5.5
    )
    return True


def _cut_in(stage: Stage, parameters: Parameters) -> bool:
    lane = _start(stage, parameters, 80.0, has_neighbour=True)
    if lane is None:
        return False
    ahead = 10.6 + parameters["gap_m"]
    speed = parameters["speed_mps"] - parameters["slower_mps"]
    stage.add(
        AgentKind.CAR, [stage.neighbour(lane)], ahead, speed, Script.CUT_IN, 0.0, parameters["gap_m"] + 6.0
    )
    return True


def _stopped_vehicle(stage: Stage, parameters: Parameters) -> bool:
    lane = _start(stage, parameters, 80.0, has_neighbour=True)
    if lane is None:
        return False
    kind = AgentKind.VAN if stage.random.random() < 0.5 else AgentKind.CAR
    stage.add(kind, [lane], parameters["ahead_m"], 0.0, Script.STAND, 0.0, _NEVER_M)
    return True


def _closed_lane(stage: Stage, parameters: Parameters) -> bool:
    lane = _start(stage, parameters, 80.0, has_neighbour=True)
    if lane is None:
        return False
    for number in range(3):
        stage.add(AgentKind.BARRIER, [lane], parameters["ahead_m"] + 4.0 * number)
    return True


def _debris(stage: Stage, parameters: Parameters) -> bool:
    lane = _start(stage, parameters, 80.0, has_neighbour=True)
    if lane is None:
        return False
    stage.add(AgentKind.DEBRIS, [lane], parameters["ahead_m"], offset_m=parameters["offset_m"])
    return True


def _slow_vehicle(stage: Stage, parameters: Parameters) -> bool:
    lane = _start(stage, parameters, 60.0)
    if lane is None:
        return False
    stage.add(AgentKind.TRUCK, [lane], parameters["ahead_m"], 4.0, Script.SLOW, parameters["truck_speed_mps"])
    return True


def _slow_cyclist(stage: Stage, parameters: Parameters) -> bool:
    lane = _start(stage, parameters, 60.0)
    if lane is None:
        return False
    stage.add(
        AgentKind.CYCLIST, [lane], parameters["ahead_m"], 3.0, Script.SLOW, parameters["cyclist_speed_mps"]
    )
    return True


def _pulling_out(stage: Stage, parameters: Parameters) -> bool:
    lane = _start(stage, parameters, 70.0)
    if lane is None:
        return False
    half = float(stage.world.lane_width_m[lane]) / 2.0
    offset = stage.outer_side() * (half + BAY_MIDDLE_M)
    stage.add(
        *(AgentKind.CAR, [lane], parameters["ahead_m"], 0.0, Script.STAND, 0.0, parameters["trigger_m"]),
        offset_m=offset,
    )
    return True


_AHEAD = Range(35.0, 60.0, "m")

FAMILIES = (
    Family(
        "hard_braking_lead",
        "The car ahead brakes hard to a standstill for no visible reason, and drives on after two seconds.",
        "Stops behind it, and drives on when it does.",
        {"speed_mps": _SPEED, "gap_m": Range(10.0, 22.0, "m"), "deceleration_mps2": Range(3.0, 7.0, "m/s^2")},
        _hard_braking_lead,
    ),
    Family(
        "cut_in",
        "A slower car from the neighbouring lane changes into the learner's lane close ahead.",
        "Lets it in without touching it.",
        {"speed_mps": _SPEED, "gap_m": Range(6.0, 14.0, "m"), "slower_mps": Range(0.0, 3.0, "m/s")},
        _cut_in,
    ),
    Family(
        "stopped_vehicle",
        "A vehicle has broken down in the learner's lane; there is a lane beside.",
        "Passes it in the other lane.",
        {"speed_mps": _SPEED, "ahead_m": _AHEAD},
        _stopped_vehicle,
    ),
    Family(
        "closed_lane",
        "Barriers close the learner's lane; there is a lane beside.",
        "Passes them in the other lane.",
        {"speed_mps": _SPEED, "ahead_m": _AHEAD},
        _closed_lane,
    ),
    Family(
        "debris",
        "Something lies on the learner's lane; there is a lane beside.",
        "Passes it in the other lane.",
        {"speed_mps": _SPEED, "ahead_m": _AHEAD, "offset_m": Range(-0.6, 0.6, "m")},
        _debris,
    ),
    Family(
        "slow_vehicle",
        "A lorry crawls ahead.",
        "Follows it at a safe distance, or passes it.",
        {"speed_mps": _SPEED, "ahead_m": Range(25.0, 45.0, "m"), "truck_speed_mps": Range(2.5, 6.0, "m/s")},
        _slow_vehicle,
    ),
    Family(
        "slow_cyclist",
        "A cyclist rides ahead in the same lane.",
        "Follows at a safe distance, or passes.",
        {"speed_mps": _SPEED, "ahead_m": Range(25.0, 45.0, "m"), "cyclist_speed_mps": Range(3.0, 6.0, "m/s")},
        _slow_cyclist,
    ),
    Family(
        "pulling_out",
        "A car parked beside the road pulls out when the learner is near.",
        "Lets it in without touching it.",
        {"speed_mps": _SPEED, "ahead_m": _AHEAD, "trigger_m": Range(18.0, 30.0, "m")},
        _pulling_out,
    ),
)
