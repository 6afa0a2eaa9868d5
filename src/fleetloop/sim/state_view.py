"""A learner's surroundings as numbers, for those who learn without cameras: the observation `state`.

A row has OWN_FIELDS numbers of the vehicle itself, PREVIEW_FIELDS for each of PREVIEW_M metres ahead on its path, and
OTHER_FIELDS for each of the nearest OTHERS road users. All are in the learner's frame, divided by what is large for
them, so that most lie within -1 and 1, and clipped to LARGEST. It is privileged: it names right of way and the path.
"""

import math

import numpy as np
from numba import njit, prange

from fleetloop.core.kernels import device
from fleetloop.core.types import VEHICLE_SIZES, AgentKind, State, World
from fleetloop.sim.observe import next_nearest
from fleetloop.sim.paths import path_point, wrap
from fleetloop.sim.traffic import Decision

OWN_FIELDS = 12
"""Speed, acceleration, curvature; offset to the left of the path, sine and cosine of the angle to it; lane width,
speed limit; metres to where the rules say to stop, gap to and speed of the vehicle ahead; how long it has stood."""
UNSEEN_FIELDS = (1, 2, 8, 11)
"""Of these numbers, those that the coach is not given here: what it did just now would teach it to go on like that
(`NetworkConfig.past_controls`), where the rules say to stop it has to find out, and how long it has stood the ego
history says more finely."""
PREVIEW_M = (3.0, 6.0, 10.0, 15.0, 21.0, 28.0, 40.0, 55.0)
PREVIEW_FIELDS = 3
"""Forward, left, curvature."""
OTHERS = 12
OTHER_FIELDS = 10
"""1 for somebody, forward, left, cosine and sine of its heading; speed over the ground relative to the learner's,
forward and left; length, width; 1 for those who can be hurt (on foot, on a bicycle)."""
STATE_FIELDS = OWN_FIELDS + len(PREVIEW_M) * PREVIEW_FIELDS + OTHERS * OTHER_FIELDS
LARGEST = 5.0

_PREVIEW_M = np.array(PREVIEW_M)
_NOBODY, _CYCLIST = int(AgentKind.NONE), int(AgentKind.CYCLIST)
_PEDESTRIAN, _CHILD = int(AgentKind.PEDESTRIAN), int(AgentKind.CHILD)
_SPEED, _ACCELERATION, _CURVATURE, _OFFSET, _WIDTH = 15.0, 5.0, 0.2, 2.0, 4.0
_FAR, _WAIT, _NEAR, _LENGTH, _BODY = 60.0, 30.0, 50.0, 10.0, 3.0
_SEEN_M = 100.0


@device
def _bounded(value):
    return min(max(value, -LARGEST), LARGEST)


@device
def _own(world, state, decision, row, w, a):
    """The vehicle itself and what the rules ask of it."""
    lane = state.path[w, a, 0]
    _, _, heading, _ = path_point(world, state.path[w, a], np.float64(state.along[w, a]))
    turned = wrap(np.float64(state.pose[w, a, 2]) - heading)
    row[0] = state.speed[w, a] / _SPEED
    row[1] = _bounded(state.acceleration[w, a] / _ACCELERATION)
    row[2] = state.curvature[w, a] / _CURVATURE
    row[3] = _bounded(state.offset[w, a] / _OFFSET)
    row[4], row[5] = math.sin(turned), math.cos(turned)
    row[6] = world.lane_width_m[lane] / _WIDTH
    row[7] = _bounded(world.lane_speed_limit_mps[lane] / _SPEED)
    row[8] = min(decision.halt_m[w, a], _FAR) / _FAR
    row[9] = min(max(decision.lead_gap_m[w, a], 0.0), _FAR) / _FAR
    row[10] = decision.lead_speed[w, a] / _SPEED
    row[11] = min(state.wait_s[w, a], _WAIT) / _WAIT


@device
def _ahead(world, state, row, first, w, a):
    """Points of the path ahead."""
    x, y, yaw = np.float64(state.pose[w, a, 0]), np.float64(state.pose[w, a, 1]), state.pose[w, a, 2]
    cosine, sine = math.cos(yaw), math.sin(yaw)
    for i in range(len(_PREVIEW_M)):
        px, py, _, bend = path_point(world, state.path[w, a], np.float64(state.along[w, a]) + _PREVIEW_M[i])
        at = first + i * PREVIEW_FIELDS
        row[at] = _bounded((cosine * (px - x) + sine * (py - y)) / _NEAR)
        row[at + 1] = _bounded((-sine * (px - x) + cosine * (py - y)) / _NEAR)
        row[at + 2] = _bounded(bend / _CURVATURE)


@device
def _other(state, row, at, w, a, b):
    """Somebody else."""
    yaw, kind = np.float64(state.pose[w, a, 2]), state.kind[w, b]
    cosine, sine = math.cos(yaw), math.sin(yaw)
    dx = np.float64(state.pose[w, b, 0] - state.pose[w, a, 0])
    dy = np.float64(state.pose[w, b, 1] - state.pose[w, a, 1])
    turned = np.float64(state.pose[w, b, 2]) - yaw
    row[at] = 1.0
    row[at + 1] = _bounded((cosine * dx + sine * dy) / _NEAR)
    row[at + 2] = _bounded((-sine * dx + cosine * dy) / _NEAR)
    row[at + 3], row[at + 4] = math.cos(turned), math.sin(turned)
    row[at + 5] = _bounded((state.speed[w, b] * math.cos(turned) - state.speed[w, a]) / _SPEED)
    row[at + 6] = _bounded(state.speed[w, b] * math.sin(turned) / _SPEED)
    row[at + 7] = VEHICLE_SIZES[kind, 0] / _LENGTH
    row[at + 8] = VEHICLE_SIZES[kind, 1] / _BODY
    row[at + 9] = 1.0 if kind in (_CYCLIST, _PEDESTRIAN, _CHILD) else 0.0


@device
def _describe_world(world, state, decision, out, w):
    for a in range(out.shape[1]):
        row = out[w, a]
        row[:] = 0.0
        if state.kind[w, a] == _NOBODY or state.path[w, a, 0] < 0:
            continue
        _own(world, state, decision, row, w, a)
        _ahead(world, state, row, OWN_FIELDS, w, a)
        square, b = -1.0, -1
        for i in range(OTHERS):
            square, b = next_nearest(world, state, w, a, square, b)
            if b < 0 or square > _SEEN_M * _SEEN_M:
                break
            _other(state, row, OWN_FIELDS + len(_PREVIEW_M) * PREVIEW_FIELDS + i * OTHER_FIELDS, w, a, b)


@njit(cache=True, parallel=True)
def describe(world: World, state: State, decision: Decision, out):
    """Fill `out` [W, learners, STATE_FIELDS] for agents 0 to learners - 1 of every world, from this step's decision."""
    for index in prange(state.seed.shape[0]):
        # One call with a signed index: prange counts in uint64, for which all callees would be compiled again.
        _describe_world(world, state, decision, out, np.int64(index))
