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
    AgentKind,
    Control,
    LaneKind,
    SignalColour,
    State,
    Surface,
    World,
)
from fleetloop.sim.behaviour import ENTRY_M, beyond_brisk
from fleetloop.sim.demonstrator import lookahead_m, pursuit_curvature
from fleetloop.sim.following import front_m
from fleetloop.sim.paths import locate, project, surface_at, wrap
from fleetloop.sim.prediction import runs_into, travelled_m
from fleetloop.sim.signals import signal_colour
from fleetloop.sim.traffic import Decision

HORIZON_S = 2.0
HOLD_S = 0.5
INTERVAL_S = 0.1
_NEAR_M = 45.0
"""Who is farther away cannot be met within HORIZON_S at the speeds of towns."""
JUNCTION_BOUND_M = 3.5
"""Farther from its path than this inside a junction the rear axle is on the way to somewhere else."""
PATH_M = 1.0
"""Nearer to its path than this it is on the road, whatever is painted there."""
CONNECTOR_BOUND_M = 2.1
"""How far the rear axle may be from its path in a bend that joins two roads."""
EDGE_M = 0.3
"""The rear axle's middle keeps this far from the lane's edge: then the body is a good half metre over it."""
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


_NOBODY, _ROAD, _JUNCTION = int(AgentKind.NONE), int(LaneKind.ROAD), int(LaneKind.JUNCTION)
_UNPAVED = np.isin(np.arange(len(Surface)), [Surface.GRASS, Surface.SIDEWALK, Surface.CURB, Surface.PARKING])
"""By Surface: what is no road."""
_SIGNAL, _RED = int(Control.SIGNAL), int(SignalColour.RED)
_SAFE, _COLLISION, _OFF_ROAD = int(Danger.NONE), int(Danger.COLLISION), int(Danger.OFF_ROAD)
_WRONG_WAY, _RED_LIGHT = int(Danger.WRONG_WAY), int(Danger.RED_LIGHT)


@device
def _hits(world, state, decision, w, a, time, along, x, y, yaw):
    """Whether the learner at (x, y, yaw), `along` its path, hits anybody in `time` seconds, by its own doing."""
    for b in range(state.kind.shape[1]):
        if b == a or state.kind[w, b] == _NOBODY:
            continue
        near = _NEAR_M + HORIZON_S * beyond_brisk(np.float64(state.speed[w, b]))
        if abs(state.pose[w, b, 0] - x) > near or abs(state.pose[w, b, 1] - y) > near:
            continue
        if runs_into(world, state, decision, w, a, b, time, along - state.along[w, a], x, y, yaw, 0.0, 1.0):
            return True
    return False


@device
def _leaves_junction(world, town, offset, x, y):
    """Whether the rear axle at (x, y), `offset` metres left of its path through a junction, is off the road."""
    if abs(offset) > JUNCTION_BOUND_M:
        return True
    return abs(offset) > PATH_M and _UNPAVED[surface_at(world, town, x, y)]


@device
def _out_of_bounds(world, town, path, along, offset, heading, x, y, yaw):
    """The danger of being at (x, y), `offset` metres left of the path there, or none."""
    index, _ = locate(world, path, along)
    lane = path[index]
    if world.lane_kind[lane] == _JUNCTION:
        return _OFF_ROAD if _leaves_junction(world, town, offset, x, y) else _SAFE
    if world.lane_kind[lane] != _ROAD:
        return _OFF_ROAD if abs(offset) > CONNECTOR_BOUND_M else _SAFE
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
    travelled = travelled_m(speed, acceleration, HORIZON_S, 1e6)
    if _runs_red(world, state, w, a, travelled):
        return _RED_LIGHT
    steps = round(HORIZON_S / INTERVAL_S)
    for i in range(steps):
        time = (i + 1) * INTERVAL_S
        after = max(speed + acceleration * INTERVAL_S, 0.0)
        distance = 0.5 * (speed + after) * INTERVAL_S
        steering = curvature
        if time > HOLD_S + 1e-6:
            look = lookahead_m(speed)
            steering = pursuit_curvature(world, path, along, offset, x, y, yaw, speed, look)
        middle = yaw + 0.5 * distance * steering
        x += distance * math.cos(middle)
        y += distance * math.sin(middle)
        yaw += distance * steering
        speed = after
        along, offset, heading, _ = project(world, path, along + distance, x, y)
        danger = _out_of_bounds(world, state.town[w], path, along, offset, heading, x, y, yaw)
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
