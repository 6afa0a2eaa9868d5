"""The time of day of a world: it rules the bus lanes, the light of its pictures, and what the network is told."""

import numpy as np

from fleetloop.core.kernels import device
from fleetloop.core.random import Stream, bits, uniform
from fleetloop.core.types import STEP_S

NOON_H = 13.0
"""When the sun is highest, with summer time."""
_CLOCK = int(Stream.CLOCK)
_DAY_SHARE, _NIGHT_SHARE = 0.72, 0.08
_DAY_HALF_H, _NIGHT_FROM_H = 5.75, 8.0
"""Hours before and after noon: until the sun is low, and from when it is dark (cameras.appearance)."""


@device
def start_clocks(state, w):
    """Set the clocks of world w by its seed: most begin by day, some at dawn or dusk, few by night."""
    seed = state.seed[w]
    state.clock_s[w] = np.float32(bits(seed, 0, 0, _CLOCK, 1) % np.uint64(600))
    draw = 2.0 * np.float64(uniform(seed, 0, 0, _CLOCK, 0)) - 1.0
    share = abs(draw)
    if share < _DAY_SHARE:
        away = share / _DAY_SHARE * _DAY_HALF_H
    elif share < 1.0 - _NIGHT_SHARE:
        low = (share - _DAY_SHARE) / (1.0 - _NIGHT_SHARE - _DAY_SHARE)
        away = _DAY_HALF_H + low * (_NIGHT_FROM_H - _DAY_HALF_H)
    else:
        away = _NIGHT_FROM_H + (share - 1.0 + _NIGHT_SHARE) / _NIGHT_SHARE * (12.0 - _NIGHT_FROM_H)
    state.started_h[w] = (NOON_H + (away if draw > 0.0 else -away)) % 24.0


@device
def hour_of(state, w):
    """The time of day in world w, 0 to 24."""
    return (state.started_h[w] + state.step[w] * (STEP_S / 3600.0)) % 24.0


@device
def bus_lanes_open(world, state, w):
    """Whether motor vehicles may use the bus lanes of world w's town now."""
    hour, hours = hour_of(state, w), world.town_bus_lane_hours
    town = state.town[w]
    for i in range(hours.shape[1]):  # noqa: SIM110 - kernels have no generators.
        if hours[town, i, 0] <= hour < hours[town, i, 1]:
            return False
    return True


def sun_height(hour):
    """Height of the sun, 1 at its highest, 0 at sunrise (6 h) and sunset (20 h); `hour` is an array or a number."""
    lowest = np.cos(2.0 * np.pi * 7.0 / 24.0)
    return (np.cos(2.0 * np.pi * (np.asarray(hour, np.float64) - NOON_H) / 24.0) - lowest) / (1.0 - lowest)
