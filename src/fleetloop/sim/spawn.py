"""Placing road users: a world's first moment, and those who left the learner's surroundings."""

import math

import numpy as np

from fleetloop.core.kernels import device
from fleetloop.core.random import Stream, bits, uniform
from fleetloop.core.types import EGO, UPCOMING_LANES, VEHICLE_SIZES, AgentKind, LaneKind, LaneUse, Script
from fleetloop.sim import behaviour
from fleetloop.sim.daytime import bus_lanes_open
from fleetloop.sim.paths import lane_point

_ROAD, _WALK, _NOBODY = int(LaneKind.ROAD), int(LaneKind.WALK), int(AgentKind.NONE)
_CAR, _VAN, _TRUCK, _BUS = int(AgentKind.CAR), int(AgentKind.VAN), int(AgentKind.TRUCK), int(AgentKind.BUS)
_EMERGENCY, _PULL_OUT = int(AgentKind.EMERGENCY), int(Script.PULL_OUT)
_CYCLIST, _PEDESTRIAN = int(AgentKind.CYCLIST), int(AgentKind.PEDESTRIAN)
_SPAWN, _ROUTE, _KIND, _COLOUR = int(Stream.SPAWN), int(Stream.ROUTE), int(Stream.KIND), int(Stream.COLOUR)
_EGO_TRIES, _TRIES = 400, 24
SHORTEST_LANE_M, SHORTEST_WALK_M = 8.0, 4.0
NEEDED_M, LEARNER_NEEDED_M = np.float32(200.0), np.float32(1000.0)
"""How far the path of road users who are not followed, and that of a learner on its route, must be drivable, where the
network allows it."""
_USE_OF_KIND = np.zeros(256, np.uint8)
_USE_OF_KIND[[_CAR, _VAN, int(AgentKind.EMERGENCY)]] = int(LaneUse.MOTOR)
# Where a bus does not get round, a truck does not either.
_USE_OF_KIND[_TRUCK] = int(LaneUse.MOTOR | LaneUse.BUS)
_USE_OF_KIND[_BUS] = int(LaneUse.BUS)
_USE_OF_KIND[_CYCLIST] = int(LaneUse.BICYCLE)
_USE_OF_KIND[[_PEDESTRIAN, int(AgentKind.CHILD)]] = int(LaneUse.PEDESTRIAN)
WIDE_M = np.float32(3.15)
"""Where lanes are narrower than this, two that turn would sweep over each other's way, one of them being long."""
_FLOWING_SHARE = np.float32(0.9)
"""Of what a limit is above the speeds of towns, the share that somebody who appears drives at once."""
_FAST_GAP_S = np.float32(2.5)
"""By how much the room around somebody who appears grows with a speed above that of towns."""
_MOTOR, _OFF_HOURS = np.uint8(LaneUse.MOTOR), np.uint8(LaneUse.MOTOR_OFF_HOURS)
COLOURS = 8
"""Number of paints; the cameras' appearance gives each its RGB."""


@device
def may_use(world, lane, kind, bus_lanes_are_open):
    """Whether a road user of this kind may be on a lane; lorries and buses keep out of narrow streets."""
    if kind in (_TRUCK, _BUS) and world.lane_width_m[lane] < WIDE_M:
        return False
    use, wanted = world.lane_use[lane], _USE_OF_KIND[kind]
    if bus_lanes_are_open and use & _OFF_HOURS != 0:
        use |= _MOTOR
    return use & wanted == wanted


@device
def choose_successor(world, town, lane, kind, seed, step, key, needed_m, bus_lanes_are_open):
    """A random lane after `lane` that `kind` may use, one with `needed_m` to drive if there is any; or -1."""
    # Who is in a bus lane when its hours begin drives on.
    is_open = bus_lanes_are_open or not may_use(world, lane, kind, bus_lanes_are_open)
    first, last = world.successor_start[lane], world.successor_start[lane + 1]
    if last == first:
        return -1
    good = 0
    longest = np.float32(-1.0)
    for k in range(first, last):
        if may_use(world, world.successors[k], kind, is_open):
            longest = max(longest, world.lane_reach_m[world.successors[k]])
    if longest < 0.0:
        return -1
    needed = min(needed_m, longest)
    for k in range(first, last):
        following = world.successors[k]
        good += world.lane_reach_m[following] >= needed and may_use(world, following, kind, is_open)
    # Keyed by the lane's number within its town: the choice does not depend on what other towns are loaded.
    pick = int(uniform(seed, lane - world.town_first_lane[town], step, _ROUTE, key) * good)
    for k in range(first, last):
        following = world.successors[k]
        if world.lane_reach_m[following] >= needed and may_use(world, following, kind, is_open):
            if pick == 0:
                return following
            pick -= 1
    return -1


@device
def extend_path(world, state, w, a, first, needed_m):
    """Fill the path of agent a from index `first` on with random successors."""
    is_open = bus_lanes_open(world, state, w)
    for i in range(max(first, 1), UPCOMING_LANES):
        before = state.path[w, a, i - 1]
        if before < 0:
            state.path[w, a, i] = -1
        else:
            state.path[w, a, i] = choose_successor(
                world,
                state.town[w],
                before,
                state.kind[w, a],
                state.seed[w],
                state.step[w],
                a * UPCOMING_LANES + i,
                needed_m,
                is_open,
            )


@device
def _kind_of(draw):
    """Who moves through a town, by a number in [0, 1)."""
    if draw < behaviour.EMERGENCY_SHARE:
        return _EMERGENCY
    if draw < 0.58:
        return _CAR
    if draw < 0.68:
        return _VAN
    if draw < 0.74:
        return _TRUCK
    if draw < 0.78:
        return _BUS
    return _CYCLIST if draw < 0.82 else _PEDESTRIAN


@device
def _is_free(state, w, a, kind, lane, x, y, speed, count):
    """Whether a road user of this kind and speed put there would be clear of all others among the first `count`."""
    for b in range(count):
        if b == a or state.kind[w, b] == _NOBODY:
            continue
        distance = math.hypot(x - state.pose[w, b, 0], y - state.pose[w, b, 1])
        if distance < 2.5 + 0.5 * (VEHICLE_SIZES[kind, 0] + VEHICLE_SIZES[state.kind[w, b], 0]):
            return False
        fast = _FAST_GAP_S * behaviour.beyond_brisk(max(speed, state.speed[w, b]))
        if state.path[w, b, 0] == lane and distance < 18.0 + fast:
            return False
        # Somebody who arrives from behind at speed must have room to react.
        for i in range(1, 4):
            if state.path[w, b, i] == lane and distance < 25.0 + fast:
                return False
    return True


@device
def _first_speed(world, lane, on_foot, draw):
    """What somebody drives when it appears: slow in a town, with the others on a fast road; draw in [0, 1)."""
    if on_foot:
        return np.float32(1.2)
    flowing = _FLOWING_SHARE * behaviour.beyond_brisk(world.lane_speed_limit_mps[lane])
    return np.float32(np.float32(2.0) + np.float32(4.0) * draw + flowing)


@device
def _begins_parked(world, state, w, a, lane):
    """Whether a car that appears on `lane` still stands in a bay beside it."""
    if world.lane_bay_m[lane] < 0.0:
        return False
    return uniform(state.seed[w], 6, state.step[w], _SPAWN, a) < behaviour.PARKED_SHARE


@device
def _bay(world, town, lane, kind, along):
    """(along, offset, speed) of somebody parked beside `lane`; all of the type of `along` but the offset."""
    middle = VEHICLE_SIZES[kind, 0] * np.float32(0.5) - VEHICLE_SIZES[kind, 3]
    side = 1.0 if world.town_left_hand[town] else -1.0
    offset = side * (0.5 * np.float64(world.lane_width_m[lane]) + behaviour.BAY_MIDDLE_M)
    return np.float32(world.lane_bay_m[lane] - middle), offset, np.float32(0.0)


@device
def _settle(state, w, a, kind, lane, speed):
    """Let an agent whose place is set already begin there, parked if that is beside the lane."""
    state.kind[w, a] = kind
    state.colour[w, a] = np.uint8(bits(state.seed[w], 4, state.step[w], _COLOUR, a) % np.uint64(COLOURS))
    state.speed[w, a], state.acceleration[w, a], state.changing_from[w, a] = speed, 0.0, -1
    state.wait_s[w, a], state.odometer_m[w, a], state.script[w, a] = 0.0, 0.0, 0
    state.path[w, a, 0] = lane
    if state.offset[w, a] != 0.0:
        state.script[w, a] = _PULL_OUT
        low, high = behaviour.PULLING_OUT_TRIGGER_M
        draw = uniform(state.seed[w], 7, state.step[w], _SPAWN, a)
        state.script_trigger_m[w, a] = low + (high - low) * draw


@device
def place(world, state, w, a, count, near_m, far_m, needed_m):
    """Put agent a on a random free stretch of road, [near_m, far_m] from the learner; False if none was found."""
    town = state.town[w]
    first, last = world.town_first_lane[town], world.town_first_lane[town + 1]
    tries = _EGO_TRIES if a == EGO else _TRIES
    is_open = bus_lanes_open(world, state, w)
    kind = np.uint8(_kind_of(uniform(state.seed[w], 3, state.step[w], _KIND, a)))
    if state.learner[w, a]:
        kind = np.uint8(_CAR)
    for attempt in range(tries):
        key = a * 1024 + attempt
        lane = np.int32(first + int(uniform(state.seed[w], 1, state.step[w], _SPAWN, key) * (last - first)))
        length = world.lane_length_m[lane]
        if kind in (_PEDESTRIAN, _TRUCK, _BUS) and attempt >= tries // 2:
            # Not every town has sidewalks, or streets that are wide enough.
            kind = np.uint8(_CAR)
        if kind == _CYCLIST and attempt < tries // 2 and world.lane_use[lane] & _MOTOR != 0:
            # On cycle lanes, where a town has some.
            continue
        on_foot = kind == _PEDESTRIAN
        if world.lane_kind[lane] != (_WALK if on_foot else _ROAD) or not may_use(world, lane, kind, is_open):
            continue
        if length < (SHORTEST_WALK_M if on_foot else SHORTEST_LANE_M):
            continue
        speed = _first_speed(world, lane, on_foot, uniform(state.seed[w], 5, state.step[w], _SPAWN, a))
        # Far enough from the next line to stop before it.
        braking = speed * speed / np.float32(2.0 * behaviour.COMFORTABLE_DECELERATION_MPS2)
        room = max(length - max(np.float32(20.0), braking), np.float32(0.3) * length)
        along = np.float32(1.0) + uniform(state.seed[w], 2, state.step[w], _SPAWN, key) * (
            room - np.float32(1.0)
        )
        # Not every map is so large: less and less is asked for.
        asked = needed_m * min(np.float32(1.0), np.float32(2.0) - np.float32(2.0 * attempt / tries))
        if world.lane_reach_m[lane] - along < asked:
            continue
        x, y, heading, curvature = lane_point(world, lane, np.float64(along))
        if a != EGO:
            distance = math.hypot(x - state.pose[w, EGO, 0], y - state.pose[w, EGO, 1])
            # On a fast road people look farther.
            if distance < near_m * (1.0 + 0.03 * behaviour.beyond_brisk(speed)) or distance > far_m:
                continue
        offset = np.float64(0.0)
        if kind == _CAR and not state.learner[w, a] and _begins_parked(world, state, w, a, lane):
            along, offset, speed = _bay(world, town, lane, kind, along)
            x, y, heading, curvature = lane_point(world, lane, np.float64(along))
            x, y = x - offset * math.sin(heading), y + offset * math.cos(heading)
        if not _is_free(state, w, a, kind, lane, x, y, speed, count):
            continue
        state.pose[w, a, 0], state.pose[w, a, 1], state.pose[w, a, 2] = x, y, heading
        state.along[w, a], state.offset[w, a], state.curvature[w, a] = along, offset, curvature
        _settle(state, w, a, kind, lane, speed)
        extend_path(world, state, w, a, np.int64(1), needed_m)
        if kind in (_BUS, _TRUCK) and state.path[w, a, UPCOMING_LANES - 1] < 0:
            # No way round for so long a vehicle here.
            state.kind[w, a] = _VAN
            extend_path(world, state, w, a, np.int64(1), needed_m)
        return True
    state.kind[w, a] = _NOBODY
    return False


@device
def spawn_world(world, state, w, needed_m):
    """Fill world w anew; its seed, town, step, clock and learners are set already.

    False if the first learner found no place.
    """
    agents = state.kind.shape[1]
    for a in range(agents):
        state.kind[w, a] = _NOBODY
        state.script[w, a] = 0
        state.path[w, a, :] = -1
    if not place(world, state, w, np.int64(EGO), np.int64(0), 0.0, 0.0, needed_m):
        return False
    for a in range(1, agents):
        place(world, state, w, a, a, 14.0, behaviour.BUBBLE_RADIUS_M, NEEDED_M)
    for a in range(agents):
        state.history[w, a] = 0.0
        state.history[w, a, :, 0] = state.speed[w, a]
    return True


@device
def body_centre(state, w, a):
    """x, y of the middle of the vehicle, whose pose is that of its rear axle."""
    kind = state.kind[w, a]
    ahead = VEHICLE_SIZES[kind, 0] * 0.5 - VEHICLE_SIZES[kind, 3]
    yaw = state.pose[w, a, 2]
    return state.pose[w, a, 0] + ahead * math.cos(yaw), state.pose[w, a, 1] + ahead * math.sin(yaw)
