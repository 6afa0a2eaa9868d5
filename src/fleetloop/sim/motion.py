"""A step of time: learners move as a bicycle model says, the others along their lanes."""

import math

import numpy as np
from numba import njit, prange

from fleetloop.core.kernels import device
from fleetloop.core.types import (
    EGO,
    HISTORY_STEPS,
    HISTORY_VALUES,
    LONGEST_STOOD_S,
    STEP_S,
    UPCOMING_LANES,
    VEHICLE_SIZES,
    AgentKind,
    LaneKind,
    Script,
    State,
    World,
)
from fleetloop.sim import behaviour
from fleetloop.sim.following import front_m
from fleetloop.sim.lane_change import is_allowed, is_open
from fleetloop.sim.paths import project, rail_pose, remaining_m, turn_of, wrap
from fleetloop.sim.scripts import has_begun, has_stood, is_obstacle
from fleetloop.sim.spawn import NEEDED_M, extend_path, place

_NOBODY, _ROAD = int(AgentKind.NONE), int(LaneKind.ROAD)
_PULL_OUT, _STAND = int(Script.PULL_OUT), int(Script.STAND)
_LEAVES_AFTER_M = 60.0
"""Who runs off the lanes is gone after this distance."""
_FIRMLY_M = 0.25
"""A learner whose rear axle is this far over the line is in the next lane."""
_CHANGED_M = 0.03
"""A lane change ends this far from the middle of the new lane."""


@device
def _next_lanes(world, state, w, a, needed_m):
    """Drop the lanes that are behind and choose as many new ones; False at a dead end."""
    while state.along[w, a] > world.lane_length_m[state.path[w, a, 0]]:
        if state.path[w, a, 1] < 0:
            return False
        state.along[w, a] -= world.lane_length_m[state.path[w, a, 0]]
        for i in range(UPCOMING_LANES - 1):
            state.path[w, a, i] = state.path[w, a, i + 1]
        extend_path(world, state, w, a, UPCOMING_LANES - 1, needed_m)
    return True


@device
def bicycle(state, w, a, curvature, acceleration):
    """Kinematic bicycle, reference at the rear axle: yaw rate = speed * curvature; midpoint rule over the step."""
    speed = state.speed[w, a]
    after = max(speed + acceleration * STEP_S, 0.0)
    distance = 0.5 * (speed + after) * STEP_S
    middle = state.pose[w, a, 2] + 0.5 * distance * curvature
    state.pose[w, a, 0] += distance * math.cos(middle)
    state.pose[w, a, 1] += distance * math.sin(middle)
    state.pose[w, a, 2] += distance * curvature
    state.acceleration[w, a] = (after - speed) / STEP_S
    state.speed[w, a] = after
    state.curvature[w, a] = curvature
    return distance


@device
def _change_lane(world, state, w, a, target, needed_m):
    """Go on along the neighbouring lane `target`; whoever is on rails drifts over, a learner must steer."""
    left = state.path[w, a, 0]
    share = state.along[w, a] / world.lane_length_m[left]
    state.path[w, a, 0] = target
    extend_path(world, state, w, a, np.int64(1), needed_m)
    guess = np.float64(share * world.lane_length_m[target])
    x, y = np.float64(state.pose[w, a, 0]), np.float64(state.pose[w, a, 1])
    along, offset, _, _ = project(world, state.path[w, a], guess, x, y)
    state.along[w, a] = min(max(along, 0.0), np.float64(world.lane_length_m[target]))
    state.offset[w, a] = offset
    state.changing_from[w, a] = left


@device
def _keep_way(world, state, w, a, meant, needed_m):
    """At the end of the lane take, of the ways that lead as far, the one nearest to the angle `meant`."""
    lane, chosen = state.path[w, a, 0], state.path[w, a, 1]
    best = abs(wrap(turn_of(world, chosen) - meant))
    reach = min(needed_m, world.lane_reach_m[chosen])
    for i in range(world.successor_start[lane], world.successor_start[lane + 1]):
        way = world.successors[i]
        differs = abs(wrap(turn_of(world, way) - meant))
        if differs < best and world.lane_reach_m[way] >= reach and is_allowed(world, state, w, a, way):
            state.path[w, a, 1], best = way, differs
    extend_path(world, state, w, a, np.int64(2), needed_m)


@device
def _find_new_route(world, state, w, a, needed_m):
    """Who is firmly in a neighbouring lane goes on along that one: a phone finds another way, and no line or sign tells
    a driver which of two lanes the phone had in mind."""
    lane, offset = state.path[w, a, 0], np.float64(state.offset[w, a])
    if world.lane_kind[lane] != _ROAD or state.changing_from[w, a] >= 0:
        return
    if abs(offset) < 0.5 * world.lane_width_m[lane] + _FIRMLY_M:
        return
    target = world.lane_left[lane] if offset > 0.0 else world.lane_right[lane]
    onward = state.path[w, a, 1]
    if is_open(world, state, w, a, target):
        _change_lane(world, state, w, a, target, needed_m)
        if onward >= 0 and state.path[w, a, 1] >= 0:
            _keep_way(world, state, w, a, turn_of(world, onward), needed_m)


@device
def _move_learner(world, state, w, a, curvature, acceleration, needed_m):
    """False at a dead end."""
    distance = bicycle(state, w, a, curvature, acceleration)
    along, offset, _, _ = project(
        world,
        state.path[w, a],
        np.float64(state.along[w, a] + distance),
        np.float64(state.pose[w, a, 0]),
        np.float64(state.pose[w, a, 1]),
    )
    # The projection may neither jump ahead nor fall back when the car is far off its path.
    before = state.along[w, a]
    along = min(max(along, before - 0.5), before + distance + 1.0)
    state.odometer_m[w, a] += along - before
    state.along[w, a], state.offset[w, a] = along, offset
    _find_new_route(world, state, w, a, needed_m)
    return _next_lanes(world, state, w, a, needed_m)


@device
def _remember(state, w, a):
    """Append how the learner moves to its history."""
    for i in range(HISTORY_STEPS - 1):
        for j in range(HISTORY_VALUES):
            state.history[w, a, i, j] = state.history[w, a, i + 1, j]
    state.history[w, a, HISTORY_STEPS - 1, 0] = state.speed[w, a]
    state.history[w, a, HISTORY_STEPS - 1, 1] = state.acceleration[w, a]
    state.history[w, a, HISTORY_STEPS - 1, 2] = state.curvature[w, a]
    state.history[w, a, HISTORY_STEPS - 1, 3] = min(state.wait_s[w, a], LONGEST_STOOD_S)


@device
def _drift(state, w, a, distance):
    """Bring somebody who changes lanes closer to the middle of the new one; returns the angle to the lane."""
    offset = state.offset[w, a]
    if offset == 0.0:
        return 0.0
    # Three to four seconds for a lane at the speed of town traffic (Toledo and Zohar, TRR 1999, found 4.6 on average).
    moved = min(0.07 * distance * min(abs(offset) + 0.35, 1.6), behaviour.CHANGING_MPS * STEP_S)
    if state.script[w, a] in (_PULL_OUT, _STAND):
        # Out of a parking bay at a steeper angle, into which the wheels are turned on the way.
        steep = min(0.08 + 0.12 * max(abs(offset) - 0.9, 0.0), 0.06 + 0.1 * state.odometer_m[w, a])
        moved = steep * distance
    moved = min(moved, abs(offset))
    state.offset[w, a] = offset - math.copysign(moved, offset)
    if abs(state.offset[w, a]) < _CHANGED_M:
        state.offset[w, a] = 0.0
    return -math.copysign(moved, offset) / max(distance, 0.05)


@device
def _move_other(world, state, w, a, acceleration):
    speed = state.speed[w, a]
    after = max(speed + acceleration * STEP_S, 0.0)
    distance = 0.5 * (speed + after) * STEP_S
    state.acceleration[w, a] = (after - speed) / STEP_S
    state.speed[w, a] = after
    if distance == 0.0:
        return
    state.along[w, a] += distance
    state.odometer_m[w, a] += distance
    leads_on = _next_lanes(world, state, w, a, NEEDED_M)
    left_m = remaining_m(world, state.path[w, a], np.float64(state.along[w, a]))
    # Before its front sticks out of the road.
    if not leads_on or left_m < front_m(state.kind[w, a]):
        state.kind[w, a] = _NOBODY
        return
    turned = _drift(state, w, a, distance)
    x, y, yaw = rail_pose(world, state.path[w, a], np.float64(state.along[w, a]), state.kind[w, a])
    offset = np.float64(state.offset[w, a])
    state.pose[w, a, 0] = x - offset * math.sin(yaw)
    state.pose[w, a, 1] = y + offset * math.cos(yaw)
    state.pose[w, a, 2] = wrap(yaw + turned)


@device
def _leave_old_lane(world, state, w, a):
    """Forget the lane that somebody came from once its whole body is out of it."""
    if state.changing_from[w, a] >= 0:
        half = 0.5 * (world.lane_width_m[state.path[w, a, 0]] - VEHICLE_SIZES[state.kind[w, a], 1])
        if abs(state.offset[w, a]) < half:
            state.changing_from[w, a] = -1


@device
def _move_off_lanes(state, w, a, acceleration):
    """Straight ahead."""
    after = max(state.speed[w, a] + acceleration * STEP_S, 0.0)
    distance = 0.5 * (state.speed[w, a] + after) * STEP_S
    state.acceleration[w, a] = (after - state.speed[w, a]) / STEP_S
    state.speed[w, a] = after
    state.odometer_m[w, a] += distance
    state.pose[w, a, 0] += distance * math.cos(state.pose[w, a, 2])
    state.pose[w, a, 1] += distance * math.sin(state.pose[w, a, 2])
    if state.odometer_m[w, a] > _LEAVES_AFTER_M:
        state.kind[w, a] = _NOBODY


@device
def _keep_traffic_near(world, state, w, a):
    """Move somebody who is gone, far from the learner or stuck for good to another place, out of sight."""
    agents = state.kind.shape[1]
    parked = state.script[w, a] == _PULL_OUT
    if (state.script[w, a] and not parked) or is_obstacle(state.kind[w, a]):
        return
    if state.kind[w, a] != _NOBODY:
        distance = math.hypot(
            state.pose[w, a, 0] - state.pose[w, EGO, 0], state.pose[w, a, 1] - state.pose[w, EGO, 1]
        )
        stuck = state.wait_s[w, a] > behaviour.PATIENCE_S and distance > 40.0 and not parked
        if distance < behaviour.BUBBLE_RADIUS_M + 60.0 and not stuck:
            return
    elif (state.step[w] + a) % 10 != 0:
        return
    place(world, state, w, a, agents, 90.0, behaviour.BUBBLE_RADIUS_M, NEEDED_M)


@device(entry=False)
def move(world, state, acceleration, curvature, target_lane, needed_m, w, a):
    """Move agent a of world w; the first agent must have moved before the others."""
    if state.kind[w, a] == _NOBODY:
        return
    if has_begun(state, w, a):
        if state.script[w, a] == _PULL_OUT and state.script_trigger_m[w, a] > 0.0:
            # From now on it indicates.
            state.wait_s[w, a] = 0.0
        state.script_trigger_m[w, a] = 0.0
    if has_stood(state, w, a) or (state.script[w, a] == _PULL_OUT and state.offset[w, a] == 0.0):
        state.script[w, a] = 0
    if state.path[w, a, 0] < 0:
        _move_off_lanes(state, w, a, acceleration[w, a])
        return
    needed = needed_m if a == EGO else NEEDED_M
    if target_lane[w, a] >= 0:
        _change_lane(world, state, w, a, target_lane[w, a], needed)
    if state.learner[w, a]:
        _move_learner(world, state, w, a, curvature[w, a], acceleration[w, a], needed)
    else:
        _move_other(world, state, w, a, acceleration[w, a])
        if state.kind[w, a] == _NOBODY:
            return
    _leave_old_lane(world, state, w, a)
    if state.speed[w, a] < 0.1:
        state.wait_s[w, a] += STEP_S
    elif state.speed[w, a] > behaviour.CREEP_SPEED_MPS:
        state.wait_s[w, a] = 0.0
    if state.learner[w, a]:
        _remember(state, w, a)


@device(entry=False)
def end_step(world, state, w):
    """Once everybody has moved: the clock goes on, and who left the learner's surroundings comes back elsewhere."""
    state.step[w] += 1
    state.clock_s[w] += STEP_S
    for a in range(1, state.kind.shape[1]):
        if not state.learner[w, a]:
            _keep_traffic_near(world, state, w, a)


@device
def _advance_world(world, state, acceleration, curvature, target_lane, needed_m, w):
    if state.kind[w, EGO] == _NOBODY:
        return
    for a in range(state.kind.shape[1]):
        move(world, state, acceleration, curvature, target_lane, needed_m, w, a)
    end_step(world, state, w)


@njit(cache=True, parallel=True)
def advance(world: World, state: State, acceleration, curvature, target_lane, needed_m):
    """One step of every world.

    Args:
        acceleration: [W, A] m/s^2: what everybody decided; for learners, their controls, already limited.
        curvature: [W, A] 1/m: of learners, already limited; the others follow their lanes.
        target_lane: [W, A] the neighbouring lane to go on along, or -1.
        needed_m: how far the path of the first learner must be drivable ahead, where the network allows it.
    """
    for index in prange(state.seed.shape[0]):
        # One call with a signed index: prange counts in uint64, for which all callees would be compiled again.
        _advance_world(world, state, acceleration, curvature, target_lane, needed_m, np.int64(index))
