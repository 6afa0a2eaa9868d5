"""Speed by oneself and behind others: limits, bends, and the Intelligent Driver Model."""

import math

import numpy as np

from fleetloop.core.kernels import device
from fleetloop.core.types import UPCOMING_LANES, VEHICLE_SIZES, AgentKind
from fleetloop.sim import behaviour
from fleetloop.sim.occupancy import first_entry
from fleetloop.sim.paths import FAR_M

_PEDESTRIAN, _CHILD, _CYCLIST = int(AgentKind.PEDESTRIAN), int(AgentKind.CHILD), int(AgentKind.CYCLIST)
_TRUCK, _BUS = int(AgentKind.TRUCK), int(AgentKind.BUS)


@device
def front_m(kind):
    """From the rear axle to the front bumper."""
    return VEHICLE_SIZES[kind, 0] - VEHICLE_SIZES[kind, 3]


@device
def is_on_foot(kind):
    """Whether a road user walks."""
    return kind in (_PEDESTRIAN, _CHILD)


@device
def top_speed(kind, factor):
    """The highest speed that a road user wants, whatever the limit; `factor` tells the calm from the hurried."""
    if is_on_foot(kind):
        return behaviour.WALKING_SPEED_MPS * factor
    if kind == _CYCLIST:
        return behaviour.CYCLING_SPEED_MPS * factor
    if kind == _TRUCK:
        return behaviour.TRUCK_SPEED_MPS * factor
    if kind == _BUS:
        return behaviour.BUS_SPEED_MPS * factor
    return behaviour.CAR_SPEED_MPS * factor


@device
def temperament(draw):
    """(share of the limit that a driver wants, time headway in seconds) by a number in [0, 1): calm to hurried."""
    low, high = behaviour.DESIRED_SPEED_FACTOR
    return low + (high - low) * draw, behaviour.TIME_HEADWAY_S[1] - 0.6 * (1.0 - draw)


@device
def idm(speed, desired, gap, lead_speed, headway):
    """Acceleration of the Intelligent Driver Model (Treiber et al. 2000)."""
    product = math.sqrt(behaviour.MAXIMUM_ACCELERATION_MPS2 * behaviour.COMFORTABLE_DECELERATION_MPS2)
    wished = behaviour.STANDSTILL_GAP_M + max(
        speed * headway + speed * (speed - lead_speed) / (2.0 * product), 0.0
    )
    ratio = wished / max(gap, 0.1)
    # Bounded: someone slightly too fast for a bend lifts the foot, and does not brake hard.
    square = (speed / max(desired, 0.1)) ** 2
    free = max(1.0 - square * square, -1.25)
    return behaviour.MAXIMUM_ACCELERATION_MPS2 * (free - ratio * ratio)


@device
def stop_at(speed, desired, distance, headway):
    """IDM for a standstill `distance` metres ahead, without braking much harder than that takes."""
    needed = speed * speed / (2.0 * max(distance + 0.5, 0.2))
    wished = idm(speed, desired, distance + behaviour.STANDSTILL_GAP_M, 0.0, headway)
    return max(wished, -1.2 * needed - 0.5)


@device
def desired_speed(world, state, w, a, factor):
    """The speed wished for now, so that every limit and bend ahead is met in comfort."""
    lane, along = state.path[w, a, 0], np.float64(state.along[w, a])
    speed = np.float64(state.speed[w, a])
    horizon = min(
        speed * speed / (2.0 * behaviour.BEND_DECELERATION_MPS2) + 6.0, behaviour.look_ahead_m(speed)
    )
    top = top_speed(state.kind[w, a], factor)
    point = min(max(int(along / world.lane_spacing_m[lane]), 0), world.lane_point_count[lane] - 1)
    bend = np.float64(world.bend_speed_mps[world.lane_first_point[lane] + point])
    desired = min(bend, min(world.lane_speed_limit_mps[lane] * factor, top))
    ahead = world.lane_length_m[lane] - along
    for i in range(1, UPCOMING_LANES):
        lane = state.path[w, a, i]
        if lane < 0 or ahead > horizon:
            break
        limit = min(world.lane_speed_limit_mps[lane] * factor, top)
        here = min(limit, np.float64(world.bend_speed_mps[world.lane_first_point[lane]]))
        square = here * here + 2.0 * behaviour.BEND_DECELERATION_MPS2 * max(ahead, 0.0)
        if square < desired * desired:
            desired = math.sqrt(square)
        ahead += world.lane_length_m[lane]
    return desired


@device
def leader_on(state, occupancy, w, a, lane, start, front):
    """(gap, agent) of the nearest other whose rear axle is on `lane`, ahead of a's at -start along it; or agent -1."""
    best, who = np.float64(FAR_M), -1
    entry = first_entry(occupancy, w, lane)
    while entry >= 0:
        position = np.float64(occupancy.position[w, entry])
        if occupancy.lane[w, entry] == lane and position >= 0.0:
            b = np.int64(occupancy.agent[w, entry])
            ahead = start + position
            if b != a and (ahead > 0.0 or (ahead == 0.0 and b < a)):
                gap = ahead - front - VEHICLE_SIZES[state.kind[w, b], 3]
                if gap < best:
                    best, who = gap, b
        entry = np.int64(occupancy.following[w, entry])
    return best, who


@device
def leader(world, state, occupancy, w, a):
    """(gap, agent) of the nearest other ahead on the path of agent a, in both lanes while it changes; or agent -1."""
    front = np.float64(front_m(state.kind[w, a]))
    start = -np.float64(state.along[w, a])
    reach = behaviour.look_ahead_m(np.float64(state.speed[w, a]))
    best, who = np.float64(FAR_M), -1
    left = state.changing_from[w, a]
    if left >= 0:
        share = start / world.lane_length_m[state.path[w, a, 0]]
        best, who = leader_on(state, occupancy, w, a, left, share * world.lane_length_m[left], front)
    for i in range(UPCOMING_LANES):
        lane = state.path[w, a, i]
        if lane < 0 or start > reach:
            break
        gap, b = leader_on(state, occupancy, w, a, lane, start, front)
        if b >= 0:
            # The lanes come in order, so nobody on a later one is nearer.
            return (gap, b) if gap < best else (best, who)
        start += world.lane_length_m[lane]
    return best, who
