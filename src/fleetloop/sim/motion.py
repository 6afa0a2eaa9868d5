"""A step of time: the learner moves as a bicycle model says, the others along their lanes."""

import math

import numpy as np
from numba import njit, prange

from fleetloop.core.types import (
    EGO,
    HISTORY_STEPS,
    STEP_S,
    UPCOMING_LANES,
    AgentKind,
    State,
    World,
)
from fleetloop.sim import behaviour
from fleetloop.sim.paths import project, rail_pose
from fleetloop.sim.spawn import extend_path, place

_NOBODY = int(AgentKind.NONE)


@njit(cache=True)
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


@njit(cache=True)
def _bicycle(state, w, curvature, acceleration):
    """Kinematic bicycle, reference at the rear axle: yaw rate = speed * curvature; midpoint rule over the step."""
    speed = state.speed[w, EGO]
    after = max(speed + acceleration * STEP_S, 0.0)
    distance = 0.5 * (speed + after) * STEP_S
    middle = state.pose[w, EGO, 2] + 0.5 * distance * curvature
    state.pose[w, EGO, 0] += distance * math.cos(middle)
    state.pose[w, EGO, 1] += distance * math.sin(middle)
    state.pose[w, EGO, 2] += distance * curvature
    state.acceleration[w, EGO] = (after - speed) / STEP_S
    state.speed[w, EGO] = after
    state.curvature[w, EGO] = curvature
    return distance


@njit(cache=True)
def _move_learner(world, state, w, curvature, acceleration, needed_m):
    distance = _bicycle(state, w, curvature, acceleration)
    along, offset, _, _ = project(
        world,
        state.path[w, EGO],
        np.float64(state.along[w, EGO] + distance),
        np.float64(state.pose[w, EGO, 0]),
        np.float64(state.pose[w, EGO, 1]),
    )
    # The projection may neither jump ahead nor fall back when the car is far off its path.
    before = state.along[w, EGO]
    along = min(max(along, before - 0.5), before + distance + 1.0)
    state.odometer_m[w, EGO] += along - before
    state.along[w, EGO], state.offset[w, EGO] = along, offset
    _next_lanes(world, state, w, np.int64(EGO), needed_m)
    for i in range(HISTORY_STEPS - 1):
        for j in range(3):
            state.history[w, i, j] = state.history[w, i + 1, j]
    state.history[w, HISTORY_STEPS - 1, 0] = state.speed[w, EGO]
    state.history[w, HISTORY_STEPS - 1, 1] = state.acceleration[w, EGO]
    state.history[w, HISTORY_STEPS - 1, 2] = state.curvature[w, EGO]


@njit(cache=True)
def _move_other(world, state, w, a, acceleration):
    speed = state.speed[w, a]
    after = max(speed + acceleration * STEP_S, 0.0)
    distance = 0.5 * (speed + after) * STEP_S
    state.acceleration[w, a] = (after - speed) / STEP_S
    state.speed[w, a] = after
    state.along[w, a] += distance
    state.odometer_m[w, a] += distance
    if not _next_lanes(world, state, w, a, np.float32(200.0)):
        state.kind[w, a] = _NOBODY
        return
    x, y, yaw = rail_pose(world, state.path[w, a], np.float64(state.along[w, a]), state.kind[w, a])
    state.pose[w, a, 0], state.pose[w, a, 1], state.pose[w, a, 2] = x, y, yaw


@njit(cache=True)
def _keep_traffic_near(world, state, w, a):
    """Move somebody who is gone, far from the learner or stuck for good to another place, out of sight."""
    agents = state.kind.shape[1]
    if state.kind[w, a] != _NOBODY:
        distance = math.hypot(
            state.pose[w, a, 0] - state.pose[w, EGO, 0], state.pose[w, a, 1] - state.pose[w, EGO, 1]
        )
        stuck = state.wait_s[w, a] > behaviour.PATIENCE_S and distance > 40.0
        if distance < behaviour.BUBBLE_RADIUS_M + 60.0 and not stuck:
            return
    elif (state.step[w] + a) % 10 != 0:
        return
    place(world, state, w, a, agents, 90.0, behaviour.BUBBLE_RADIUS_M, np.float32(200.0))


@njit(cache=True)
def _advance_world(world, state, acceleration, ego_curvature, ego_acceleration, needed_m, w):
    if state.kind[w, EGO] == _NOBODY:
        return
    for a in range(state.kind.shape[1]):
        if state.kind[w, a] == _NOBODY:
            continue
        if a == EGO:
            _move_learner(world, state, w, ego_curvature[w], ego_acceleration[w], needed_m)
        else:
            _move_other(world, state, w, a, acceleration[w, a])
    for a in range(state.kind.shape[1]):
        if state.kind[w, a] != _NOBODY:
            if state.speed[w, a] < 0.1:
                state.wait_s[w, a] += STEP_S
            elif state.speed[w, a] > behaviour.CREEP_SPEED_MPS:
                state.wait_s[w, a] = 0.0
    state.step[w] += 1
    state.clock_s[w] += STEP_S
    for a in range(1, state.kind.shape[1]):
        _keep_traffic_near(world, state, w, a)


@njit(cache=True, parallel=True)
def advance(world: World, state: State, acceleration, ego_curvature, ego_acceleration, needed_m):
    """One step of every world.

    Args:
        acceleration: [W, A] what the other road users decided.
        ego_curvature, ego_acceleration: [W] the learner's controls, already limited.
        needed_m: how far the learner's path must be drivable ahead, where the network allows it.
    """
    for index in prange(state.seed.shape[0]):
        # One call with a signed index: prange counts in uint64, for which all callees would be compiled again.
        _advance_world(world, state, acceleration, ego_curvature, ego_acceleration, needed_m, np.int64(index))
