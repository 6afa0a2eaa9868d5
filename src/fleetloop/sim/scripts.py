"""Actors of scenarios: what they do besides driving, and when they begin."""

import math

import numpy as np

from fleetloop.core.kernels import device
from fleetloop.core.types import EGO, STEP_S, VEHICLE_SIZES, AgentKind, Script
from fleetloop.sim import behaviour

_BARRIER, _DEBRIS = int(AgentKind.BARRIER), int(AgentKind.DEBRIS)
_NONE, _STAND, _RUN = int(Script.NONE), int(Script.STAND), int(Script.RUN)
_BRAKE, _CUT_IN, _SLOW = int(Script.BRAKE), int(Script.CUT_IN), int(Script.SLOW)
_INSIST, _EMERGENCY = int(Script.INSIST), int(AgentKind.EMERGENCY)
_PULL_AWAY_MPS2 = 3.0
BRAKED_S = 2.0
"""An actor that braked to a standstill drives on after this time."""


@device
def is_obstacle(kind):
    """Whether this will never move by itself."""
    return kind in (_BARRIER, _DEBRIS)


@device
def insists(state, w, a):
    """Whether an agent heeds neither signals nor right of way."""
    return state.script[w, a] == _INSIST or state.kind[w, a] == _EMERGENCY


@device
def has_begun(state, w, a):
    """Whether an actor acts: the first learner is near enough, or once was."""
    trigger = state.script_trigger_m[w, a]
    if state.script[w, a] == _NONE or trigger <= 0.0:
        return True
    dx, dy = state.pose[w, a, 0] - state.pose[w, EGO, 0], state.pose[w, a, 1] - state.pose[w, EGO, 1]
    return dx * dx + dy * dy < trigger * trigger


@device
def blocks(state, w, a):
    """Whether somebody will not move in any time worth waiting for."""
    return is_obstacle(state.kind[w, a]) or (state.script[w, a] == _STAND and not has_begun(state, w, a))


@device
def has_stood(state, w, a):
    """Whether an actor that had to brake has stood long enough."""
    return state.script[w, a] == _BRAKE and state.wait_s[w, a] > BRAKED_S


@device
def _towards(speed, wished):
    """Acceleration that reaches a speed soon."""
    return min(max((wished - speed) / STEP_S, -behaviour.EMERGENCY_DECELERATION_MPS2), _PULL_AWAY_MPS2)


@device
def act(world, state, acceleration, target_lane, w, a):
    """Let an actor do what its script says instead of what it decided."""
    script = state.script[w, a]
    if script == _NONE:
        return
    speed, value = np.float64(state.speed[w, a]), np.float64(state.script_value[w, a])
    begun = has_begun(state, w, a)
    if script == _STAND and not begun:
        acceleration[w, a] = _towards(speed, 0.0)
    elif script == _RUN:
        acceleration[w, a] = _towards(speed, value if begun else 0.0)
    elif script == _BRAKE and begun and not has_stood(state, w, a):
        acceleration[w, a] = max(-value, -speed / STEP_S)
    elif script == _SLOW:
        acceleration[w, a] = min(np.float64(acceleration[w, a]), _towards(speed, value))
    elif script == _CUT_IN and begun and state.changing_from[w, a] < 0:
        lane, wanted = state.path[w, a, 0], state.path[w, EGO, 0]
        if wanted >= 0 and (world.lane_left[lane] == wanted or world.lane_right[lane] == wanted):
            target_lane[w, a] = wanted


@device
def corridor_gap(state, w, a, b, front):
    """(gap, speed) that somebody off the lanes leaves agent a; (1e6, 0) if its way does not cross that of a.

    Looked at from a, straight ahead: whoever is, or by the time a is there will be, within a's width and a margin.
    """
    yaw = np.float64(state.pose[w, a, 2])
    cosine, sine = math.cos(yaw), math.sin(yaw)
    dx = np.float64(state.pose[w, b, 0] - state.pose[w, a, 0])
    dy = np.float64(state.pose[w, b, 1] - state.pose[w, a, 1])
    ahead, left = cosine * dx + sine * dy, -sine * dx + cosine * dy
    if ahead <= front or ahead > behaviour.look_ahead_m(np.float64(state.speed[w, a])):
        return 1.0e6, 0.0
    turned = np.float64(state.pose[w, b, 2]) - yaw
    speed = np.float64(state.speed[w, b])
    # Who has begun to walk will soon walk on.
    brisk = max(speed, behaviour.WALKING_SPEED_MPS) if speed > 0.1 else 0.0
    along, across = speed * math.cos(turned), brisk * math.sin(turned)
    gone = ahead + VEHICLE_SIZES[state.kind[w, a], 3] + 1.0
    time = min(gone / max(np.float64(state.speed[w, a]) - along, 1.0), 4.0)
    there = left + across * time
    reach = behaviour.CORRIDOR_M
    if min(left, there) > reach or max(left, there) < -reach:
        return 1.0e6, 0.0
    return ahead - front - 0.5, max(along, 0.0)
