"""Placing road users: a world's first moment, and those who left the learner's surroundings."""

import math

import numpy as np
from numba import njit

from fleetloop.core.random import Stream, bits, uniform
from fleetloop.core.types import EGO, UPCOMING_LANES, VEHICLE_SIZES, AgentKind, LaneKind
from fleetloop.sim import behaviour
from fleetloop.sim.paths import lane_point

_ROAD, _NOBODY = int(LaneKind.ROAD), int(AgentKind.NONE)
_CAR, _VAN, _TRUCK = int(AgentKind.CAR), int(AgentKind.VAN), int(AgentKind.TRUCK)
_SPAWN, _ROUTE, _KIND, _COLOUR = int(Stream.SPAWN), int(Stream.ROUTE), int(Stream.KIND), int(Stream.COLOUR)
_EGO_TRIES, _TRIES = 400, 24
SHORTEST_LANE_M = 8.0
COLOURS = 8
"""Number of paints; the cameras' appearance gives each its RGB."""


@njit(cache=True)
def choose_successor(world, town, lane, seed, step, key, needed_m):
    """A random lane after `lane`, among those from which `needed_m` can still be driven if there are any; or -1."""
    first, last = world.successor_start[lane], world.successor_start[lane + 1]
    if last == first:
        return -1
    good = 0
    longest = np.float32(-1.0)
    for k in range(first, last):
        longest = max(longest, world.lane_reach_m[world.successors[k]])
    needed = min(needed_m, longest)
    for k in range(first, last):
        good += world.lane_reach_m[world.successors[k]] >= needed
    # Keyed by the lane's number within its town: the choice does not depend on what other towns are loaded.
    pick = int(uniform(seed, lane - world.town_first_lane[town], step, _ROUTE, key) * good)
    for k in range(first, last):
        if world.lane_reach_m[world.successors[k]] >= needed:
            if pick == 0:
                return world.successors[k]
            pick -= 1
    return -1


@njit(cache=True)
def extend_path(world, state, w, a, first, needed_m):
    """Fill the path of agent a from index `first` on with random successors."""
    for i in range(max(first, 1), UPCOMING_LANES):
        before = state.path[w, a, i - 1]
        if before < 0:
            state.path[w, a, i] = -1
        else:
            state.path[w, a, i] = choose_successor(
                world, state.town[w], before, state.seed[w], state.step[w], a * UPCOMING_LANES + i, needed_m
            )


@njit(cache=True)
def _kind_of(draw):
    if draw < 0.78:
        return _CAR
    if draw < 0.92:
        return _VAN
    return _TRUCK


@njit(cache=True)
def _is_free(state, w, a, lane, x, y, count):
    """Whether a vehicle put there would be clear of all others among the first `count`."""
    for b in range(count):
        if b == a or state.kind[w, b] == _NOBODY:
            continue
        distance = math.hypot(x - state.pose[w, b, 0], y - state.pose[w, b, 1])
        if distance < 7.0:
            return False
        if state.path[w, b, 0] == lane and distance < 18.0:
            return False
        # Somebody who arrives from behind at speed must have room to react.
        for i in range(1, 4):
            if state.path[w, b, i] == lane and distance < 25.0:
                return False
    return True


@njit(cache=True)
def place(world, state, w, a, count, near_m, far_m, needed_m):
    """Put agent a on a random free stretch of road, [near_m, far_m] from the learner; False if none was found."""
    town = state.town[w]
    first, last = world.town_first_lane[town], world.town_first_lane[town + 1]
    tries = _EGO_TRIES if a == EGO else _TRIES
    for attempt in range(tries):
        key = a * 1024 + attempt
        lane = np.int32(first + int(uniform(state.seed[w], 1, state.step[w], _SPAWN, key) * (last - first)))
        length = world.lane_length_m[lane]
        if world.lane_kind[lane] != _ROAD or length < SHORTEST_LANE_M:
            continue
        if world.lane_reach_m[lane] < needed_m and attempt < tries // 2:
            continue
        # Far enough from the next line to stop before it.
        room = max(length - np.float32(20.0), np.float32(0.3) * length)
        along = np.float32(1.0) + uniform(state.seed[w], 2, state.step[w], _SPAWN, key) * (
            room - np.float32(1.0)
        )
        x, y, heading, curvature = lane_point(world, lane, np.float64(along))
        if a != EGO:
            distance = math.hypot(x - state.pose[w, EGO, 0], y - state.pose[w, EGO, 1])
            if distance < near_m or distance > far_m:
                continue
        if not _is_free(state, w, a, lane, x, y, count):
            continue
        kind = _kind_of(uniform(state.seed[w], 3, state.step[w], _KIND, a))
        if a == EGO:
            kind = _CAR
        state.kind[w, a] = kind
        state.colour[w, a] = np.uint8(bits(state.seed[w], 4, state.step[w], _COLOUR, a) % np.uint64(COLOURS))
        state.pose[w, a, 0], state.pose[w, a, 1], state.pose[w, a, 2] = x, y, heading
        state.along[w, a], state.offset[w, a] = along, 0.0
        state.speed[w, a] = np.float32(2.0) + np.float32(4.0) * uniform(
            state.seed[w], 5, state.step[w], _SPAWN, a
        )
        state.acceleration[w, a], state.curvature[w, a] = 0.0, curvature
        state.wait_s[w, a], state.odometer_m[w, a] = 0.0, 0.0
        state.path[w, a, 0] = lane
        extend_path(world, state, w, a, np.int64(1), needed_m)
        return True
    state.kind[w, a] = _NOBODY
    return False


@njit(cache=True)
def spawn_world(world, state, w, needed_m):
    """Fill world w anew; its seed, town, step and clock are set already. False if the learner found no place."""
    agents = state.kind.shape[1]
    for a in range(agents):
        state.kind[w, a] = _NOBODY
        state.path[w, a, :] = -1
    state.history[w] = 0.0
    if not place(world, state, w, np.int64(EGO), np.int64(0), 0.0, 0.0, needed_m):
        return False
    for a in range(1, agents):
        place(world, state, w, a, a, 14.0, behaviour.BUBBLE_RADIUS_M, np.float32(200.0))
    return True


@njit(cache=True)
def body_centre(state, w, a):
    """x, y of the middle of the vehicle, whose pose is that of its rear axle."""
    kind = state.kind[w, a]
    ahead = VEHICLE_SIZES[kind, 0] * 0.5 - VEHICLE_SIZES[kind, 3]
    yaw = state.pose[w, a, 2]
    return state.pose[w, a, 0] + ahead * math.cos(yaw), state.pose[w, a, 1] + ahead * math.sin(yaw)
