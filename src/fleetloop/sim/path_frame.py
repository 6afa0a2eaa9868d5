"""Others in the frame of the learner's path: how far along it, how far beside it, and where their ways meet it.

A car in a bend has the one ahead to its side, and who waits at the corner straight ahead; of two that come from the
side one will cross and the other turn off before. Told where somebody is along and beside the way that it will take,
and where their ways meet, a driver by numbers need not work that out by itself.
"""

import math

import numpy as np
from jaxtyping import Float32
from numba import njit, prange

from fleetloop.core.kernels import device
from fleetloop.core.types import EGO, VEHICLE_SIZES, AgentKind, State, World
from fleetloop.sim.observe import next_nearest
from fleetloop.sim.paths import on_one_level, path_point, wrap
from fleetloop.sim.prediction import predicted_pose
from fleetloop.sim.spawn import body_centre
from fleetloop.sim.state_view import OTHERS

_BESIDE_FIELDS, _MEETING_FIELDS = 7, 7
PATH_FIELDS = _BESIDE_FIELDS + _MEETING_FIELDS
"""Of each of the nearest OTHERS road users: metres along the path to its middle, from the learner's rear axle, and to
the left of it; cosine and sine of its heading to that of the path there; its speed along and across; and how far to the
left it would be when the learner gets there, both going on as they do. Then 1 if the way that it will take comes into
the path ahead, and of the place where it does metres along the path and along its way, until when the learner and it
are there at their present speeds, and cosine and sine of its heading to the path's. Metres are on logarithmic scales.
"""

_NOBODY = int(AgentKind.NONE)
_BEHIND_M, _SPACING_M, _POINTS = 10.0, 2.0, 41
_ARRIVES_S, _SLOWEST_MPS = 4.0, 1.0
"""Nobody's way is foreseen for longer than this; and who stands is taken to go on, slowly."""
_ALONG_UNIT_M, _ALONG_MOST_M = 5.0, 60.0
_ASIDE_UNIT_M, _ASIDE_MOST_M = 1.0, 20.0
_SPEED_MPS = 15.0
_MEETS_M = 1.8
"""Whose middle comes so near to the path is in its way."""
_WAY_STEP_M, _WAY_MOST_M, _WAY_STEPS = 2.0, 60.0, 30
_MEETS_S = 10.0
_HERE = int(_BEHIND_M / _SPACING_M)
"""The point of the path where the learner is."""


@device
def _logarithmic(metres, unit, most):
    """0 at 0 m, 1 at `most`, with the sign of `metres`; steepest near 0, within about `unit`."""
    return math.copysign(math.log1p(abs(metres) / unit) / math.log1p(most / unit), metres)


@device
def _describe(state, row, w, a, b, points):
    """Agent b in the frame of the path of a, that goes through these points."""
    x, y = body_centre(state, w, b)
    nearest, best = 0, 1e18
    for i in range(_POINTS):
        square = (points[i, 0] - x) ** 2 + (points[i, 1] - y) ** 2
        if square < best:
            nearest, best = i, square
    heading = points[nearest, 2]
    cosine, sine = math.cos(heading), math.sin(heading)
    dx, dy = x - points[nearest, 0], y - points[nearest, 1]
    along = nearest * _SPACING_M - _BEHIND_M + cosine * dx + sine * dy
    aside = -sine * dx + cosine * dy
    turned = wrap(np.float64(state.pose[w, b, 2]) - heading)
    speed = np.float64(state.speed[w, b])
    arrives = min(max(along, 0.0) / max(np.float64(state.speed[w, a]), _SLOWEST_MPS), _ARRIVES_S)
    row[0] = _logarithmic(along, _ALONG_UNIT_M, _ALONG_MOST_M)
    row[1] = _logarithmic(aside, _ASIDE_UNIT_M, _ASIDE_MOST_M)
    row[2], row[3] = math.cos(turned), math.sin(turned)
    row[4], row[5] = speed * math.cos(turned) / _SPEED_MPS, speed * math.sin(turned) / _SPEED_MPS
    row[6] = _logarithmic(aside + speed * math.sin(turned) * arrives, _ASIDE_UNIT_M, _ASIDE_MOST_M)


@device
def _describe_meeting(world, state, row, w, a, b, points):
    """Where the way of agent b comes into the path of a ahead, that goes through these points; nothing if nowhere."""
    middle = 0.5 * VEHICLE_SIZES[state.kind[w, b], 0] - VEHICLE_SIZES[state.kind[w, b], 3]
    gone = 0.0
    for _ in range(_WAY_STEPS):
        x, y, yaw = predicted_pose(world, state, w, b, gone)
        x, y = x + middle * math.cos(yaw), y + middle * math.sin(yaw)
        nearest, best = _HERE, 1e18
        for i in range(_HERE, _POINTS):
            square = (points[i, 0] - x) ** 2 + (points[i, 1] - y) ** 2
            if square < best:
                nearest, best = i, square
        heading = points[nearest, 2]
        dx, dy = x - points[nearest, 0], y - points[nearest, 1]
        forward = math.cos(heading) * dx + math.sin(heading) * dy
        aside = -math.sin(heading) * dx + math.cos(heading) * dy
        if abs(aside) < _MEETS_M and abs(forward) < _SPACING_M:
            along = max((nearest - _HERE) * _SPACING_M + forward, 0.0)
            if on_one_level(world, state, w, a, b, along, gone):
                own, other = np.float64(state.speed[w, a]), np.float64(state.speed[w, b])
                turned = wrap(yaw - heading)
                row[0] = 1.0
                row[1] = _logarithmic(along, _ALONG_UNIT_M, _ALONG_MOST_M)
                row[2] = _logarithmic(gone, _ALONG_UNIT_M, _ALONG_MOST_M)
                row[3] = min(along / max(own, _SLOWEST_MPS), _MEETS_S) / _MEETS_S
                row[4] = min(gone / max(other, _SLOWEST_MPS), _MEETS_S) / _MEETS_S
                row[5], row[6] = math.cos(turned), math.sin(turned)
            return
        # No way is shorter than straight on.
        gone += max(_WAY_STEP_M, math.sqrt(best) - _MEETS_M - _SPACING_M)
        if gone > _WAY_MOST_M:
            return


@device
def _describe_world(world, state, points, out, w):
    out[w] = 0.0
    if state.kind[w, EGO] == _NOBODY or state.path[w, EGO, 0] < 0:
        return
    along = np.float64(state.along[w, EGO]) - _BEHIND_M
    for i in range(_POINTS):
        x, y, heading, _ = path_point(world, state.path[w, EGO], along + i * _SPACING_M)
        points[i, 0], points[i, 1], points[i, 2] = x, y, heading
    square, b = -1.0, -1
    for i in range(OTHERS):
        square, b = next_nearest(world, state, w, np.int64(EGO), square, b)
        if b < 0:
            break
        _describe(state, out[w, i], w, np.int64(EGO), b, points)
        _describe_meeting(world, state, out[w, i, _BESIDE_FIELDS:], w, np.int64(EGO), b, points)


@njit(cache=True, parallel=True)
def _fill(world: World, state: State, points, out):
    for index in prange(state.seed.shape[0]):
        # One call with a signed index: prange counts in uint64, for which all callees would be compiled again.
        _describe_world(world, state, points[index], out, np.int64(index))


def beside_path(world: World, state: State) -> Float32[np.ndarray, "W others fields"]:
    """PATH_FIELDS of each of the nearest OTHERS of the learner of every world; zeros where there is nobody."""
    worlds = len(state.seed)
    out = np.zeros((worlds, OTHERS, PATH_FIELDS), np.float32)
    # Functions that kernels call cannot allocate.
    _fill(world, state, np.zeros((worlds, _POINTS, 3)), out)
    return out
