"""The demonstrator: a privileged driver that shows what to do in any state, also in one it would not get into."""

import math

import numpy as np
from numba import njit, prange

from fleetloop.core.kernels import device
from fleetloop.core.labels import Labels, empty_labels
from fleetloop.core.types import (
    PLAN_POSE_INTERVAL_S,
    PLAN_POSES,
    UPCOMING_LANES,
    AgentKind,
    Control,
    LaneKind,
    State,
    World,
)
from fleetloop.sim.behaviour import BRISK_MPS, CHANGING_MPS, ENTRY_M, LOOKAHEAD_M, beyond_brisk
from fleetloop.sim.following import front_m
from fleetloop.sim.foresight import foreseen
from fleetloop.sim.paths import path_point, wrap
from fleetloop.sim.signals import signal_colour
from fleetloop.sim.traffic import Decision

_ROAD, _SIGNAL, _NOBODY = int(LaneKind.ROAD), int(Control.SIGNAL), int(AgentKind.NONE)
_JUNCTION = int(LaneKind.JUNCTION)
_NEAREST_LOOK_M, _FARTHEST_LOOK_M = 3.2, 9.0
MAXIMUM_CURVATURE_1PM = 0.2
"""A car's turning circle of about 10 m."""
SWERVE_MPS2 = 3.0
"""To the side, above the speeds of towns: ISO 11270:2014 (lane keeping) allows no more."""
IN_LANE_M = 1.6
"""Who is farther from the middle of its lane is changing lanes, or lost."""


def empty_teaching(worlds: int) -> Labels:
    """To be filled by `teach`; what is farther away than LOOKAHEAD_M, or nowhere, is said to be at LOOKAHEAD_M."""
    return empty_labels(worlds, LOOKAHEAD_M)


@device
def lookahead_m(speed):
    """How far ahead on its path a driver looks when it steers."""
    # On fast roads about a second ahead: nearer, small offsets would ask for more than tyres hold.
    return max(2.2 + 0.42 * speed, _NEAREST_LOOK_M) + 0.6 * beyond_brisk(speed)


@device
def _calm_lookahead_m(world, path, along, speed):
    """The same, but in a junction as far as its exit.

    No line marks the path through a junction, so nobody can see how far he is from it: what can be seen is where it
    comes out. The circle to there is the path's own where that is a circle, and corrects gently.
    """
    near = lookahead_m(speed)
    lane = path[0]
    if world.lane_kind[lane] != _JUNCTION:
        return near
    return max(near, min(np.float64(world.lane_length_m[lane]) - along, _FARTHEST_LOOK_M))


@device
def pursuit_curvature(world, path, along, offset, x, y, yaw, speed, lookahead):
    """Pure pursuit from the rear axle (Coulter, CMU-RI-TR-92-01): the circle through a point ahead on the path.

    Who is in another lane, `offset` metres to the left of the path, aims at a point that comes closer bit by bit.
    """
    target_x, target_y, heading, _ = path_point(world, path, along + lookahead)
    if abs(offset) > IN_LANE_M:
        left = (abs(offset) - IN_LANE_M) * math.exp(-lookahead / (3.0 + 1.5 * speed))
        # No faster to the side than others change lanes: who comes in too steeply swings over into the next lane.
        left = max(left, abs(offset) - CHANGING_MPS / max(speed, 1.0) * lookahead)
        left = math.copysign(left, offset)
        target_x, target_y = target_x - left * math.sin(heading), target_y + left * math.cos(heading)
    forward = math.cos(yaw) * (target_x - x) + math.sin(yaw) * (target_y - y)
    left = -math.sin(yaw) * (target_x - x) + math.cos(yaw) * (target_y - y)
    curvature = 2.0 * left / max(forward * forward + left * left, 1.0)
    if forward < 0.0:
        curvature = math.copysign(MAXIMUM_CURVATURE_1PM, left)
    # Who is slower may swerve harder, as to come back after a mistake.
    sideways = SWERVE_MPS2 + 0.5 * max(BRISK_MPS - speed, 0.0)
    sharpest = min(MAXIMUM_CURVATURE_1PM, sideways / max(speed * speed, 1.0))
    return min(max(curvature, -sharpest), sharpest)


@device
def _future(world, state, w, a, acceleration, poses):
    """Poses of a car that returns smoothly to its path while it keeps its acceleration."""
    x, y, yaw = state.pose[w, a, 0], state.pose[w, a, 1], state.pose[w, a, 2]
    cosine, sine = math.cos(yaw), math.sin(yaw)
    speed, offset = np.float64(state.speed[w, a]), np.float64(state.offset[w, a])
    stop_s = speed / max(-acceleration, 1e-3) if acceleration < 0.0 else 1e3
    for i in range(PLAN_POSES):
        time = min((i + 1) * PLAN_POSE_INTERVAL_S, stop_s)
        ahead = speed * time + 0.5 * acceleration * time * time
        px, py, heading, _ = path_point(world, state.path[w, a], state.along[w, a] + ahead)
        left = offset * math.exp(-ahead / (6.0 + 3.0 * beyond_brisk(speed)))
        gx, gy = px - left * math.sin(heading), py + left * math.cos(heading)
        poses[i, 0] = cosine * (gx - x) + sine * (gy - y)
        poses[i, 1] = -sine * (gx - x) + cosine * (gy - y)
        poses[i, 2] = wrap(heading - yaw)


@device
def _next_signal(world, state, w, a):
    """(colour, metres from the front bumper to the line) of the next signal ahead; (-1, LOOKAHEAD_M) if none.

    One that the bumper has just passed counts until it is in the junction: it may have to stop there.
    """
    start = -np.float64(state.along[w, a])
    front = front_m(state.kind[w, a])
    for i in range(UPCOMING_LANES):
        lane = state.path[w, a, i]
        if lane < 0 or start - front > LOOKAHEAD_M:
            break
        line = start - front
        if world.lane_kind[lane] != _ROAD and line > -ENTRY_M and world.lane_control[lane] == _SIGNAL:
            colour = signal_colour(world, world.lane_signal[lane], state.clock_s[w])
            return int(colour), max(line, 0.0)
        start += world.lane_length_m[lane]
    return -1, LOOKAHEAD_M


@device
def _next_control(world, state, w, a):
    """Control of the way through the next junction, also while in it; -1 if there is none near."""
    start = -np.float64(state.along[w, a])
    for i in range(UPCOMING_LANES):
        lane = state.path[w, a, i]
        if lane < 0 or start > LOOKAHEAD_M:
            break
        if world.lane_kind[lane] == _JUNCTION:
            return np.int64(world.lane_control[lane])
        start += world.lane_length_m[lane]
    return np.int64(-1)


@device(entry=False)
def teach_one(world, state, decision, teaching, w, a):
    """Fill what the demonstrator would do in the place of agent a of world w."""
    if state.kind[w, a] == _NOBODY:
        return
    teaching.curvature_1pm[w] = pursuit_curvature(
        world,
        state.path[w, a],
        np.float64(state.along[w, a]),
        np.float64(state.offset[w, a]),
        np.float64(state.pose[w, a, 0]),
        np.float64(state.pose[w, a, 1]),
        np.float64(state.pose[w, a, 2]),
        np.float64(state.speed[w, a]),
        _calm_lookahead_m(
            world, state.path[w, a], np.float64(state.along[w, a]), np.float64(state.speed[w, a])
        ),
    )
    acceleration = foreseen(world, state, decision, w, a, np.float64(decision.acceleration[w, a]))
    teaching.acceleration_mps2[w] = acceleration
    _future(world, state, w, a, acceleration, teaching.poses[w])
    colour, line = _next_signal(world, state, w, a)
    teaching.signal_colour[w], teaching.stop_line_m[w] = colour, line
    teaching.lead_gap_m[w] = min(decision.lead_gap_m[w, a], LOOKAHEAD_M)
    teaching.lead_speed_mps[w] = decision.lead_speed[w, a]
    teaching.junction_control[w] = _next_control(world, state, w, a)
    teaching.halt_m[w] = min(decision.halt_m[w, a], LOOKAHEAD_M)


@njit(cache=True, parallel=True)
def teach(world: World, state: State, decision: Decision, teaching: Labels, agent):
    """Fill what the demonstrator would do in the place of an agent of each world, given the decision of this step."""
    for index in prange(state.seed.shape[0]):
        # One call with a signed index: prange counts in uint64, for which all callees would be compiled again.
        teach_one(world, state, decision, teaching, np.int64(index), np.int64(agent))
