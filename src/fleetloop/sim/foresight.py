"""Foresight: whose body will come into one's way through bends and junctions, and the braking that avoids it.

Lanes keep bodies apart on straight roads, and conflicts tell who goes first where ways meet. But a lorry that turns
sweeps over more than its lane, somebody who waits in a junction may stand in the way, and people walk close to a
bend. A careful driver sees that coming.
"""

import math

import numpy as np

from fleetloop.core.kernels import device
from fleetloop.core.types import UPCOMING_LANES, AgentKind, LaneKind
from fleetloop.sim.paths import FAR_M, path_point
from fleetloop.sim.prediction import runs_into, travelled_m

_ROAD, _NOBODY = int(LaneKind.ROAD), int(AgentKind.NONE)
_INTERVAL_S, _INTERVALS = 0.3, 9
"""Looks 2.7 s ahead."""
_MARGIN_M, _WARY_MARGIN_M = 0.25, 0.5
"""To either side of one's own body; the larger one while one brakes already, so that one does not waver."""
_WARY_MPS2 = -1.0
_BODIES_M = 14.0
"""Rear axles farther apart than this are those of bodies that do not touch."""
_SLOWS_MPS2 = 0.3
_RETURN_M = 6.0
"""One comes back to the middle of the lane within about this distance."""
_FIRST_BRAKING_MPS2, _BRAKINGS = -1.5, 4
"""The gentlest braking that is tried, and how many are: each is so much harder than the one before."""


@device
def _turns(world, state, w, a, speed):
    """Whether there is a bend or junction within the distance looked at."""
    start, reach = -np.float64(state.along[w, a]), max(2.0 * speed, 6.0)
    for i in range(UPCOMING_LANES):
        lane = state.path[w, a, i]
        if lane < 0 or start > reach:
            return False
        if world.lane_kind[lane] != _ROAD:
            return True
        start += world.lane_length_m[lane]
    return False


@device
def _meets(world, state, decision, w, a, acceleration):
    """Whether a, with this acceleration, comes too near to anybody."""
    speed, along = np.float64(state.speed[w, a]), np.float64(state.along[w, a])
    margin = _WARY_MARGIN_M if state.acceleration[w, a] < _WARY_MPS2 else _MARGIN_M
    before = 0.0
    for i in range(_INTERVALS):
        time = (i + 1) * _INTERVAL_S
        ahead = travelled_m(speed, acceleration, time, np.float64(FAR_M))
        if ahead - before < 0.05:
            # Who stands touches nobody.
            return False
        before = ahead
        x, y, yaw, _ = path_point(world, state.path[w, a], along + ahead)
        left = np.float64(state.offset[w, a]) * math.exp(-ahead / _RETURN_M)
        x, y = x - left * math.sin(yaw), y + left * math.cos(yaw)
        for b in range(state.kind.shape[1]):
            if b == a or state.kind[w, b] == _NOBODY:
                continue
            near = _BODIES_M + np.float64(state.speed[w, b]) * time
            if abs(state.pose[w, b, 0] - x) > near or abs(state.pose[w, b, 1] - y) > near:
                continue
            # Who slows down for a bend soon drives on.
            for braking in range(2 if state.acceleration[w, b] < -_SLOWS_MPS2 else 1):
                if runs_into(
                    *(world, state, decision, w, a, b, time, ahead, x, y, yaw, margin, np.float64(braking))
                ):
                    return True
    return False


@device
def foreseen(world, state, decision, w, a, wanted):
    """The acceleration of agent a, at most `wanted`, that keeps it clear of everybody's foreseeable ways.

    The gentlest braking that does; `wanted` where none does.
    """
    speed = np.float64(state.speed[w, a])
    if not _turns(world, state, w, a, speed) or not _meets(world, state, decision, w, a, wanted):
        return wanted
    for i in range(_BRAKINGS):
        braking = (i + 1) * _FIRST_BRAKING_MPS2
        if braking < wanted and not _meets(world, state, decision, w, a, braking):
            return braking
    return wanted
