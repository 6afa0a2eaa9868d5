"""The safety driver: sees the simulator's state and takes over when the plan in force would end badly.

The rule. The learner's steering is held for HOLD_S and then replaced by a return to the path, its acceleration
is held for HORIZON_S: what happens within that time if it goes on like this and is corrected a little later?
Holding the steering for the whole horizon would indict every driver at a bend. Others follow their own paths with
their present acceleration and stop where they mean to stop. Critical is, within HORIZON_S: touching somebody (unless
they run into the learner from behind), leaving the lane's or junction's bounds, being on the wrong side, or
entering a junction on red.
"""

import math
from enum import IntEnum

import numpy as np
from numba import njit, prange

from fleetloop.core.kernels import device
from fleetloop.core.types import (
    UPCOMING_LANES,
    VEHICLE_SIZES,
    AgentKind,
    Control,
    LaneKind,
    SignalColour,
    State,
    World,
)
from fleetloop.sim.behaviour import EMERGENCY_DECELERATION_MPS2
from fleetloop.sim.demonstrator import pursuit_curvature
from fleetloop.sim.following import front_m
from fleetloop.sim.paths import locate, on_one_level, project, rail_pose, remaining_m, wrap
from fleetloop.sim.signals import signal_colour
from fleetloop.sim.spawn import body_centre
from fleetloop.sim.traffic import Decision

HORIZON_S = 2.0
HOLD_S = 0.5
INTERVAL_S = 0.1
JUNCTION_BOUND_M = 2.1
"""How far the rear axle may be from its path inside a junction."""
EDGE_M = 0.3
"""The rear axle's middle keeps this far from the lane's edge: then the body is a good half metre over it."""
ENTRY_M = 2.0
"""A front bumper this far past the line is in the junction; a car that creeps over the line is not."""
RED_GRACE_S = 0.8
"""A line crossed this soon after yellow ended was not run on purpose; police cameras wait similarly."""


class Danger(IntEnum):
    """Why the safety driver takes over."""

    NONE = 0
    COLLISION = 1
    OFF_ROAD = 2
    WRONG_WAY = 3
    RED_LIGHT = 4
    STUCK = 5
    """Not critical: the learner stood still without a reason."""


_NOBODY, _ROAD = int(AgentKind.NONE), int(LaneKind.ROAD)
_SIGNAL, _RED = int(Control.SIGNAL), int(SignalColour.RED)
_SAFE, _COLLISION, _OFF_ROAD = int(Danger.NONE), int(Danger.COLLISION), int(Danger.OFF_ROAD)
_WRONG_WAY, _RED_LIGHT = int(Danger.WRONG_WAY), int(Danger.RED_LIGHT)


@device
def boxes_touch(ax, ay, ayaw, alength, awidth, bx, by, byaw, blength, bwidth):
    """Whether two rectangles overlap (separating axes); centres, headings, lengths and widths in metres."""
    dx, dy = bx - ax, by - ay
    reach = 0.5 * (math.hypot(alength, awidth) + math.hypot(blength, bwidth))
    if dx * dx + dy * dy > reach * reach:
        return False
    relative_cosine, relative_sine = abs(math.cos(byaw - ayaw)), abs(math.sin(byaw - ayaw))
    for turn in range(2):
        yaw = ayaw if turn == 0 else byaw
        own_length, own_width = (alength, awidth) if turn == 0 else (blength, bwidth)
        other_length, other_width = (blength, bwidth) if turn == 0 else (alength, awidth)
        cosine, sine = math.cos(yaw), math.sin(yaw)
        along, across = abs(cosine * dx + sine * dy), abs(-sine * dx + cosine * dy)
        if along > 0.5 * (own_length + other_length * relative_cosine + other_width * relative_sine):
            return False
        if across > 0.5 * (own_width + other_length * relative_sine + other_width * relative_cosine):
            return False
    return True


@device
def touching(world, state, w, a):
    """Index of a road user that agent a touches now, or -1."""
    if state.kind[w, a] == _NOBODY:
        return -1
    x, y = body_centre(state, w, a)
    size = VEHICLE_SIZES[state.kind[w, a]]
    for b in range(state.kind.shape[1]):
        if b == a or state.kind[w, b] == _NOBODY:
            continue
        other = VEHICLE_SIZES[state.kind[w, b]]
        bx, by = body_centre(state, w, b)
        if boxes_touch(
            x, y, state.pose[w, a, 2], size[0], size[1], bx, by, state.pose[w, b, 2], other[0], other[1]
        ) and on_one_level(world, state, w, a, b, 0.0, 0.0):
            return b
    return -1


@device
def _travelled(speed, acceleration, time, halt):
    """Metres covered in `time` with constant acceleration, standing at `halt` at the latest."""
    if acceleration < 0.0:
        time = min(time, speed / -acceleration)
    return min(speed * time + 0.5 * acceleration * time * time, max(halt, 0.0))


@device
def _follows(state, w, a, b):
    """Whether b is behind the learner now, in its track and of its direction: keeping clear is b's duty."""
    x, y = body_centre(state, w, a)
    bx, by = body_centre(state, w, b)
    yaw, kind = np.float64(state.pose[w, a, 2]), state.kind[w, a]
    cosine, sine = math.cos(yaw), math.sin(yaw)
    forward = cosine * (bx - x) + sine * (by - y)
    left = -sine * (bx - x) + cosine * (by - y)
    beside = 0.5 * (VEHICLE_SIZES[kind, 1] + VEHICLE_SIZES[state.kind[w, b], 1])
    same_direction = abs(wrap(np.float64(state.pose[w, b, 2]) - yaw)) < 1.0
    return forward < -0.5 * VEHICLE_SIZES[kind, 0] and abs(left) < beside and same_direction


@device
def _predicted(world, state, w, b, distance):
    """Pose of b after it has gone so far along its path, or straight ahead where it has none."""
    if state.path[w, b, 0] < 0:
        yaw = np.float64(state.pose[w, b, 2])
        x, y = np.float64(state.pose[w, b, 0]), np.float64(state.pose[w, b, 1])
        return x + distance * math.cos(yaw), y + distance * math.sin(yaw), yaw
    along = np.float64(state.along[w, b])
    x, y, yaw = rail_pose(world, state.path[w, b], along + distance, state.kind[w, b])
    # Whoever is changing lanes is not in the middle of one yet.
    offset = np.float64(state.offset[w, b])
    if not state.learner[w, b] and offset != 0.0:
        offset = math.copysign(max(abs(offset) - 0.09 * distance, 0.0), offset)
    elif state.learner[w, b]:
        offset *= math.exp(-distance / 12.0)
    return x - offset * math.sin(yaw), y + offset * math.cos(yaw), yaw


@device
def _leaves(world, state, w, b, distance):
    """Whether b comes to the end of its way within so many metres: there it is gone."""
    path = state.path[w, b]
    left = remaining_m(world, path, np.float64(state.along[w, b])) - front_m(state.kind[w, b])
    return path[0] >= 0 and distance > left and not state.learner[w, b]


@device
def _hits(world, state, decision, w, a, time, along, x, y, yaw):
    """Whether the learner at (x, y, yaw), `along` its path, hits anybody in `time` seconds, by its own doing."""
    ego_kind = state.kind[w, a]
    length, width = VEHICLE_SIZES[ego_kind, 0], VEHICLE_SIZES[ego_kind, 1]
    ahead = 0.5 * length - VEHICLE_SIZES[ego_kind, 3]
    cosine, sine = math.cos(yaw), math.sin(yaw)
    centre_x, centre_y = x + ahead * cosine, y + ahead * sine
    for b in range(state.kind.shape[1]):
        kind = state.kind[w, b]
        if b == a or kind == _NOBODY:
            continue
        if abs(state.pose[w, b, 0] - x) > 45.0 or abs(state.pose[w, b, 1] - y) > 45.0:
            continue
        acceleration = min(np.float64(state.acceleration[w, b]), 0.0)
        speed = np.float64(state.speed[w, b])
        # It stops where it means to, or where it can.
        hardest = _travelled(speed, -EMERGENCY_DECELERATION_MPS2, time, 1e6)
        halt = max(np.float64(decision.halt_m[w, b]), hardest)
        distance = _travelled(speed, acceleration, time, halt)
        if _leaves(world, state, w, b, distance):
            continue
        px, py, heading = _predicted(world, state, w, b, distance)
        other_ahead = 0.5 * VEHICLE_SIZES[kind, 0] - VEHICLE_SIZES[kind, 3]
        bx, by = px + other_ahead * math.cos(heading), py + other_ahead * math.sin(heading)
        if not boxes_touch(
            centre_x,
            centre_y,
            yaw,
            length,
            width,
            bx,
            by,
            heading,
            VEHICLE_SIZES[kind, 0],
            VEHICLE_SIZES[kind, 1],
        ):
            continue
        forward = cosine * (bx - centre_x) + sine * (by - centre_y)
        from_behind = forward < -0.25 * length and abs(wrap(heading - yaw)) < 1.0
        if from_behind or _follows(state, w, a, b):
            continue
        if on_one_level(world, state, w, a, b, along - state.along[w, a], distance):
            return True
    return False


@device
def _out_of_bounds(world, path, along, offset, heading, yaw):
    """The danger of being `offset` metres left of the path there, or none."""
    index, _ = locate(world, path, along)
    lane = path[index]
    if world.lane_kind[lane] != _ROAD:
        return _OFF_ROAD if abs(offset) > JUNCTION_BOUND_M else _SAFE
    bound = 0.5 * world.lane_width_m[lane] - EDGE_M
    left, right = bound, bound
    if world.lane_left[lane] >= 0:
        left += world.lane_width_m[world.lane_left[lane]]
    if world.lane_right[lane] >= 0:
        right += world.lane_width_m[world.lane_right[lane]]
    if offset > left or abs(wrap(yaw - heading)) > 1.6:
        return _WRONG_WAY
    return _OFF_ROAD if offset < -right else _SAFE


@device
def _runs_red(world, state, w, a, travelled):
    """Whether the front bumper enters the junction behind a signal that is red, and was a moment ago."""
    front = front_m(state.kind[w, a])
    start = -np.float64(state.along[w, a])
    for i in range(UPCOMING_LANES):
        lane = state.path[w, a, i]
        if lane < 0 or start - front + ENTRY_M > travelled:
            return False
        if (
            world.lane_kind[lane] != _ROAD
            and start - front > -ENTRY_M
            and world.lane_control[lane] == _SIGNAL
        ):
            signal, clock = world.lane_signal[lane], state.clock_s[w]
            if signal_colour(world, signal, clock) == _RED:
                return signal_colour(world, signal, clock - np.float32(RED_GRACE_S)) == _RED
        start += world.lane_length_m[lane]
    return False


@device
def _danger_of(world, state, decision, w, a, curvature, acceleration):
    x, y, yaw = (
        np.float64(state.pose[w, a, 0]),
        np.float64(state.pose[w, a, 1]),
        np.float64(state.pose[w, a, 2]),
    )
    speed, along = np.float64(state.speed[w, a]), np.float64(state.along[w, a])
    path, offset = state.path[w, a], np.float64(state.offset[w, a])
    travelled = _travelled(speed, acceleration, HORIZON_S, 1e6)
    if _runs_red(world, state, w, a, travelled):
        return _RED_LIGHT
    steps = round(HORIZON_S / INTERVAL_S)
    for i in range(steps):
        time = (i + 1) * INTERVAL_S
        after = max(speed + acceleration * INTERVAL_S, 0.0)
        distance = 0.5 * (speed + after) * INTERVAL_S
        steering = curvature
        if time > HOLD_S + 1e-6:
            steering = pursuit_curvature(world, path, along, offset, x, y, yaw, speed)
        middle = yaw + 0.5 * distance * steering
        x += distance * math.cos(middle)
        y += distance * math.sin(middle)
        yaw += distance * steering
        speed = after
        along, offset, heading, _ = project(world, path, along + distance, x, y)
        danger = _out_of_bounds(world, path, along, offset, heading, yaw)
        if danger != _SAFE:
            return danger
        # Who stands touches nobody.
        if travelled > 0.05 and _hits(world, state, decision, w, a, time, along, x, y, yaw):
            return _COLLISION
    return _SAFE


@device(entry=False)
def watch_one(world, state, decision, curvature, acceleration, danger, w, a):
    """Fill the Danger of the controls of agent a of world w."""
    danger[w] = _SAFE
    if state.kind[w, a] != _NOBODY:
        danger[w] = _danger_of(
            world, state, decision, w, a, np.float64(curvature[w]), np.float64(acceleration[w])
        )


@njit(cache=True, parallel=True)
def watch(world: World, state: State, decision: Decision, curvature, acceleration, danger, agent):
    """Fill `danger` [W] with the Danger of an agent's controls (curvature 1/m, acceleration m/s^2; [W]) in force."""
    for index in prange(state.seed.shape[0]):
        # One call with a signed index: prange counts in uint64, for which all callees would be compiled again.
        watch_one(world, state, decision, curvature, acceleration, danger, np.int64(index), np.int64(agent))
