"""Changing lanes: MOBIL (Kesting, Treiber, Helbing, TRR 1999, 2007), and leaving a lane that is closed."""

import numpy as np

from fleetloop.core.kernels import device
from fleetloop.core.types import VEHICLE_SIZES, AgentKind, LaneKind
from fleetloop.sim import behaviour
from fleetloop.sim.daytime import bus_lanes_open
from fleetloop.sim.following import front_m, idm, is_on_foot, leader_on
from fleetloop.sim.occupancy import PULLS_OUT_MPS, first_entry
from fleetloop.sim.paths import FAR_M
from fleetloop.sim.scripts import blocks, has_begun, is_obstacle
from fleetloop.sim.spawn import NEEDED_M, may_use

_ROAD = int(LaneKind.ROAD)
_CYCLIST, _NOBODY = int(AgentKind.CYCLIST), int(AgentKind.NONE)
_EMERGENCY = int(AgentKind.EMERGENCY)
_ARRIVING_LANES = 4
"""How many lanes ahead somebody on a fast road counts as arriving."""
_ENTRY_M = 30.0
"""Nearer to the start of a lane than this, those who will come onto it from a junction count."""
_BESIDE_M = 2.0
"""Gaps shorter than this count as somebody beside."""
_MUST_MPS2 = -4.0
"""What staying in a lane that is closed or ends is worth."""
_PULL_OUT_GAP_M = 6.0
"""Nobody pulls out with somebody this near, ahead or behind."""


@device
def _arriving_on(world, state, w, a, lane, rear):
    """(gap, agent) of the nearest who will soon be on `lane`, behind a's rear at `rear` metres along it; or -1."""
    best, who = np.float64(FAR_M), -1
    for b in range(state.kind.shape[1]):
        if b == a or state.kind[w, b] == _NOBODY or state.path[w, b, 0] < 0:
            continue
        before = world.lane_length_m[state.path[w, b, 0]] - np.float64(state.along[w, b])
        for i in range(1, _ARRIVING_LANES):
            if state.path[w, b, i] < 0:
                break
            if state.path[w, b, i] == lane:
                gap = rear + before - front_m(state.kind[w, b])
                if gap < best:
                    best, who = gap, np.int64(b)
                break
            before += world.lane_length_m[state.path[w, b, i]]
    return best, who


@device
def _follower_on(world, state, occupancy, w, a, lane, along):
    """(gap, agent) of the nearest whose front bumper is behind a's rear, were a `along` metres along lane; or -1."""
    rear = along - VEHICLE_SIZES[state.kind[w, a], 3]
    best, who = np.float64(FAR_M), -1
    if world.lane_speed_limit_mps[lane] > behaviour.BRISK_MPS or along < _ENTRY_M:
        best, who = _arriving_on(world, state, w, a, lane, rear)
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
    gap, ahead = leader_on(state, occupancy, w, a, lane, -along, np.float64(front_m(state.kind[w, a])))
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
def may_pull_out(world, state, occupancy, w, a, headway):
    """Whether somebody parked at the kerb drives off: it has indicated, and nobody behind has to brake hard."""
    lane, along = state.path[w, a, 0], np.float64(state.along[w, a])
    if not has_begun(state, w, a) or state.wait_s[w, a] < behaviour.INDICATING_S:
        return state.speed[w, a] > PULLS_OUT_MPS
    gap, _ = leader_on(state, occupancy, w, a, lane, -along, np.float64(front_m(state.kind[w, a])))
    behind_gap, behind = _follower_on(world, state, occupancy, w, a, lane, along)
    if gap < _PULL_OUT_GAP_M or behind_gap < _PULL_OUT_GAP_M:
        return False
    if behind < 0:
        return True
    speed = np.float64(state.speed[w, behind])
    pressed = idm(speed, max(speed, 5.0), behind_gap, np.float64(PULLS_OUT_MPS), headway)
    return pressed > -behaviour.SAFE_DECELERATION_MPS2


@device
def is_allowed(world, state, w, a, lane):
    """Whether agent a may use `lane` now."""
    kind = state.kind[w, a]
    # The hour is only looked up where it matters.
    return may_use(world, lane, kind, False) or (
        may_use(world, lane, kind, True) and bus_lanes_open(world, state, w)
    )


@device
def is_open(world, state, w, a, lane):
    """Whether `lane` is one that a may use and that leads on."""
    return lane >= 0 and world.lane_reach_m[lane] >= NEEDED_M and is_allowed(world, state, w, a, lane)


@device
def _makes_way(world, state, occupancy, w, a, lane):
    """Whether an emergency vehicle is close behind in a's lane; looked for once a second."""
    if (state.step[w] + a) % behaviour.CHANGE_EVERY_STEPS != 0 or state.kind[w, a] == _EMERGENCY:
        return False
    if world.lane_left[lane] < 0 and world.lane_right[lane] < 0:
        return False
    gap, behind = _follower_on(world, state, occupancy, w, a, lane, np.float64(state.along[w, a]))
    return behind >= 0 and state.kind[w, behind] == _EMERGENCY and gap < behaviour.MAKING_WAY_M


@device
def choose_lane(world, state, occupancy, w, a, gap, ahead, desired, headway):
    """The neighbouring lane that agent a, `gap` metres behind agent `ahead` (or -1), changes to now; or -1.

    A learner changes only for what will never move, where its lane ends or is closed to it, and for an emergency
    vehicle behind: what it gains otherwise could not be seen.
    """
    lane = state.path[w, a, 0]
    if world.lane_kind[lane] != _ROAD or state.changing_from[w, a] >= 0:
        return -1
    # In towns those whose lane ends take turns at its end.
    ends = world.lane_ends[lane] and world.lane_speed_limit_mps[lane] > behaviour.BRISK_MPS
    ends = ends or not is_allowed(world, state, w, a, lane)
    blocked = ahead >= 0 and blocks(state, w, ahead)
    makes_way = _makes_way(world, state, occupancy, w, a, lane)
    if ahead < 0 and not ends and not makes_way:
        return -1
    must = blocked or ends or makes_way
    kind = state.kind[w, a]
    if is_on_foot(kind) or kind == _CYCLIST or is_obstacle(kind) or (state.learner[w, a] and not must):
        return -1
    if not must and (state.step[w] + a) % behaviour.CHANGE_EVERY_STEPS != 0:
        return -1
    speed = np.float64(state.speed[w, a])
    left_m = world.lane_length_m[lane] - state.along[w, a]
    seconds = behaviour.HURRIED_CHANGE_S if ends else behaviour.CHANGE_ROOM_S
    room = max(behaviour.CHANGE_ROOM_M + seconds * speed, behaviour.SETTLED_M)
    if not blocked and (speed < 3.0 or left_m < room):
        return -1
    now = _MUST_MPS2 if must else _following(state, w, a, gap, ahead, desired, headway)
    best, chosen = behaviour.CHANGE_THRESHOLD_MPS2, -1
    for side in range(2):
        target = world.lane_left[lane] if side == 0 else world.lane_right[lane]
        if is_open(world, state, w, a, target) and not (ends and world.lane_ends[target]):
            gain = _gain(world, state, occupancy, w, a, target, desired, headway, now)
            if gain > best:
                best, chosen = gain, np.int64(target)
    return chosen
