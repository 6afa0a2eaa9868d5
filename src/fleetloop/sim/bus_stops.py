"""Buses at their stops: they brake for them, stand while people get on and off, and drive on."""

import numpy as np

from fleetloop.core.kernels import device
from fleetloop.core.random import Stream, uniform
from fleetloop.core.types import UPCOMING_LANES, AgentKind
from fleetloop.sim import behaviour
from fleetloop.sim.following import front_m, stop_at
from fleetloop.sim.paths import FAR_M

_BUS, _DWELL = int(AgentKind.BUS), int(Stream.DWELL)
_AT_STOP_M, _PASSED_M = 3.0, -1.0
"""From a bus's front to the stop: near enough to open the doors, and too far beyond."""


@device
def dwell_s(world, state, w, a, lane):
    """How long bus a stands at the stop of `lane`."""
    # Keyed by the lane's number within its town: it does not depend on what other towns are loaded.
    number = lane - world.town_first_lane[state.town[w]]
    low, high = behaviour.DWELL_S
    return low + (high - low) * uniform(state.seed[w], number, 0, _DWELL, a)


@device
def next_stop_m(world, state, w, a):
    """Metres from the front of bus a to the stop where it has to halt; FAR_M where there is none ahead."""
    speed, front = np.float64(state.speed[w, a]), np.float64(front_m(state.kind[w, a]))
    start, reach = -np.float64(state.along[w, a]) - front, behaviour.look_ahead_m(speed)
    for i in range(UPCOMING_LANES):
        lane = state.path[w, a, i]
        if lane < 0 or start > reach:
            break
        stop = np.float64(world.lane_bus_stop_m[lane])
        gap = start + stop
        # Where it appears too near to brake, it does not serve the stop.
        too_late = speed * speed > 2.0 * behaviour.YELLOW_DECELERATION_MPS2 * (gap - _PASSED_M)
        if stop >= 0.0 and gap > _PASSED_M and not too_late:
            served = gap < _AT_STOP_M and state.wait_s[w, a] >= dwell_s(world, state, w, a, lane)
            return np.float64(FAR_M) if served else gap
        start += world.lane_length_m[lane]
    return np.float64(FAR_M)


@device
def serve_stop(world, state, w, a, desired, headway):
    """Acceleration that the next bus stop allows agent a."""
    if state.kind[w, a] != _BUS:
        return 100.0
    gap = next_stop_m(world, state, w, a)
    if gap >= FAR_M:
        return 100.0
    return stop_at(np.float64(state.speed[w, a]), desired, max(gap, 0.0), headway)


@device
def is_dwelling(world, state, w, a):
    """Whether bus a stands at its stop."""
    return (
        state.kind[w, a] == _BUS and state.speed[w, a] < 0.1 and next_stop_m(world, state, w, a) < _AT_STOP_M
    )
