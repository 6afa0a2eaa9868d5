"""Changing lanes: MOBIL (Kesting, Treiber, Helbing, TRR 1999, 2007), and leaving a lane that is closed."""

import numpy as np

from fleetloop.core.kernels import device
from fleetloop.core.types import VEHICLE_SIZES, AgentKind, LaneKind
from fleetloop.sim import behaviour
from fleetloop.sim.following import front_m, idm, is_on_foot, leader_on
from fleetloop.sim.occupancy import first_entry
from fleetloop.sim.paths import FAR_M
from fleetloop.sim.scripts import blocks, is_obstacle
from fleetloop.sim.spawn import NEEDED_M, may_use

_ROAD = int(LaneKind.ROAD)
_CYCLIST = int(AgentKind.CYCLIST)
_BESIDE_M = 2.0
"""Gaps shorter than this count as somebody beside."""


@device
def _follower_on(world, state, occupancy, w, a, lane, along):
    """(gap, agent) of the nearest whose front bumper is behind a's rear, were a `along` metres along lane; or -1."""
    rear = along - VEHICLE_SIZES[state.kind[w, a], 3]
    best, who = np.float64(FAR_M), -1
    entry = first_entry(occupancy, w, lane)
    while entry >= 0:
        b = np.int64(occupancy.agent[w, entry])
        position = np.float64(occupancy.position[w, entry])
        if occupancy.lane[w, entry] == lane and b != a and position <= along:
            gap = rear - position - front_m(state.kind[w, b])
            if gap < best:
                best, who = gap, b
        entry = np.int64(occupancy.following[w, entry])
    return best, who


@device
def _following(state, w, a, gap, b, desired, headway):
    """Acceleration of a behind b; of a alone where b is -1."""
    speed = np.float64(state.speed[w, a])
    lead_speed = np.float64(state.speed[w, b]) if b >= 0 else speed
    return idm(speed, desired, gap, lead_speed, headway)


@device
def _gain(world, state, occupancy, w, a, lane, desired, headway, now):
    """What changing to `lane` brings, m/s^2, others' losses weighed in; negative where it may not be done."""
    share = np.float64(state.along[w, a]) / world.lane_length_m[state.path[w, a, 0]]
    along = share * world.lane_length_m[lane]
    gap, ahead = leader_on(world, state, occupancy, w, a, lane, -along, np.float64(front_m(state.kind[w, a])))
    if gap < _BESIDE_M:
        return -1.0
    behind_gap, behind = _follower_on(world, state, occupancy, w, a, lane, along)
    after = _following(state, w, a, gap, ahead, desired, headway)
    cost = 0.0
    if behind >= 0:
        if behind_gap < _BESIDE_M:
            return -1.0
        speed = np.float64(state.speed[w, behind])
        wished = max(speed, 5.0)
        pressed = idm(speed, wished, behind_gap, np.float64(state.speed[w, a]), headway)
        if pressed < -behaviour.SAFE_DECELERATION_MPS2:
            return -1.0
        length = VEHICLE_SIZES[state.kind[w, a], 0]
        free_gap = gap + behind_gap + length if ahead >= 0 else np.float64(FAR_M)
        cost = max(_following(state, w, behind, free_gap, ahead, wished, headway) - pressed, 0.0)
    return after - now - behaviour.POLITENESS * cost


@device
def _is_open(world, state, w, a, lane):
    """Whether `lane` is one that a may use and that leads on."""
    return lane >= 0 and may_use(world, lane, state.kind[w, a]) and world.lane_reach_m[lane] >= NEEDED_M


@device
def choose_lane(world, state, occupancy, w, a, gap, ahead, desired, headway):
    """The neighbouring lane that agent a, `gap` metres behind agent `ahead` (or -1), changes to now; or -1.

    A learner changes only for what will never move: what it gains otherwise could not be seen.
    """
    lane = state.path[w, a, 0]
    if world.lane_kind[lane] != _ROAD or state.changing_from[w, a] >= 0 or ahead < 0:
        return -1
    blocked = blocks(state, w, ahead)
    kind = state.kind[w, a]
    if is_on_foot(kind) or kind == _CYCLIST or is_obstacle(kind) or (state.learner[w, a] and not blocked):
        return -1
    if not blocked and (state.step[w] + a) % behaviour.CHANGE_EVERY_STEPS != 0:
        return -1
    speed = np.float64(state.speed[w, a])
    left_m = world.lane_length_m[lane] - state.along[w, a]
    room = max(behaviour.CHANGE_ROOM_M + behaviour.CHANGE_ROOM_S * speed, behaviour.SETTLED_M)
    if not blocked and (speed < 3.0 or left_m < room):
        return -1
    now = -4.0 if blocked else _following(state, w, a, gap, ahead, desired, headway)
    best, chosen = behaviour.CHANGE_THRESHOLD_MPS2, -1
    for side in range(2):
        target = world.lane_left[lane] if side == 0 else world.lane_right[lane]
        if _is_open(world, state, w, a, target):
            gain = _gain(world, state, occupancy, w, a, target, desired, headway, now)
            if gain > best:
                best, chosen = gain, np.int64(target)
    return chosen
