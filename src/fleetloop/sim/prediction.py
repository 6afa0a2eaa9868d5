"""Where road users will be in the next seconds, and whether their bodies touch."""

import math

import numpy as np

from fleetloop.core.kernels import device
from fleetloop.core.types import VEHICLE_SIZES, AgentKind, Script
from fleetloop.sim.behaviour import CHANGING_MPS, EMERGENCY_DECELERATION_MPS2
from fleetloop.sim.following import front_m
from fleetloop.sim.paths import on_one_level, rail_pose, remaining_m, wrap
from fleetloop.sim.spawn import body_centre

_NOBODY, _PULL_OUT = int(AgentKind.NONE), int(Script.PULL_OUT)


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
def travelled_m(speed, acceleration, time, halt):
    """Metres covered in `time` with constant acceleration, standing at `halt` at the latest."""
    if acceleration < 0.0:
        time = min(time, speed / -acceleration)
    return min(speed * time + 0.5 * acceleration * time * time, max(halt, 0.0))


@device
def follows(state, w, a, b):
    """Whether b is behind a now, in its track and of its direction: keeping clear is b's duty."""
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
def predicted_pose(world, state, w, b, distance):
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
        share = 0.25 if state.script[w, b] == _PULL_OUT else 0.09
        drifted = min(share, CHANGING_MPS / max(np.float64(state.speed[w, b]), 0.1)) * distance
        offset = math.copysign(max(abs(offset) - drifted, 0.0), offset)
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
def runs_into(world, state, decision, w, a, b, time, gone, x, y, yaw, margin, braking):
    """Whether a, its rear axle at (x, y, yaw) in `time` seconds, `gone` metres on, runs into b's predicted place.

    b goes on along its path with a share `braking` (0 or 1) of its present braking, and stops where it means to, or
    where it can. If b runs into a from behind, a is not to blame. a counts as longer and wider by `margin` metres on
    each side.
    """
    ego_kind, kind = state.kind[w, a], state.kind[w, b]
    length, width = np.float64(VEHICLE_SIZES[ego_kind, 0]), np.float64(VEHICLE_SIZES[ego_kind, 1])
    ahead = 0.5 * length - VEHICLE_SIZES[ego_kind, 3]
    cosine, sine = math.cos(yaw), math.sin(yaw)
    centre_x, centre_y = x + ahead * cosine, y + ahead * sine
    acceleration = braking * min(np.float64(state.acceleration[w, b]), 0.0)
    speed = np.float64(state.speed[w, b])
    hardest = travelled_m(speed, -EMERGENCY_DECELERATION_MPS2, time, 1e6)
    halt = max(np.float64(decision.halt_m[w, b]), hardest)
    distance = travelled_m(speed, acceleration, time, halt)
    if _leaves(world, state, w, b, distance):
        return False
    px, py, heading = predicted_pose(world, state, w, b, distance)
    other_length, other_width = np.float64(VEHICLE_SIZES[kind, 0]), np.float64(VEHICLE_SIZES[kind, 1])
    other_ahead = 0.5 * other_length - VEHICLE_SIZES[kind, 3]
    bx, by = px + other_ahead * math.cos(heading), py + other_ahead * math.sin(heading)
    if not boxes_touch(
        *(centre_x, centre_y, yaw, length + 2.0 * margin, width + 2.0 * margin),
        *(bx, by, heading, other_length, other_width),
    ):
        return False
    forward = cosine * (bx - centre_x) + sine * (by - centre_y)
    from_behind = forward < -0.25 * length and abs(wrap(heading - yaw)) < 1.0
    if from_behind or follows(state, w, a, b):
        return False
    return on_one_level(world, state, w, a, b, gone, distance)
