"""Observation and action spaces of a learner."""

import numpy as np
from gymnasium import spaces

from fleetloop.core.types import HISTORY_STEPS, HISTORY_VALUES, NAVIGATION_VALUES
from fleetloop.sim.cameras import image_shapes
from fleetloop.sim.environments.learner_worlds import EnvironmentConfig, Sees
from fleetloop.sim.environments.views import CAMERAS, HISTORY, NAVIGATION, STATE
from fleetloop.sim.state_view import LARGEST, STATE_FIELDS

_FASTEST = 100.0
_FARTHEST_M = 1000.0


def action_space() -> spaces.Box:
    """Steering (1: as far to the left as speed allows) and acceleration (1: full, -1: full braking)."""
    return spaces.Box(-1.0, 1.0, (2,), np.float32)


def observation_space(config: EnvironmentConfig) -> spaces.Space:
    """A Box for `state`, a Dict for `cameras` and `both`."""
    state = spaces.Box(-LARGEST, LARGEST, (STATE_FIELDS,), np.float32)
    if config.sees is Sees.STATE:
        return state
    parts: dict[str, spaces.Space] = {}
    shapes = image_shapes(config.rig, 1)
    for number, shape in enumerate(shapes):
        name = CAMERAS if len(shapes) == 1 else f"{CAMERAS}_{number}"
        parts[name] = spaces.Box(0, 255, shape[1:], np.uint8)
    parts[HISTORY] = spaces.Box(-_FASTEST, _FASTEST, (HISTORY_STEPS, HISTORY_VALUES), np.float32)
    parts[NAVIGATION] = spaces.Box(-_FARTHEST_M, _FARTHEST_M, (NAVIGATION_VALUES,), np.float32)
    if config.sees is Sees.BOTH:
        parts[STATE] = state
    return spaces.Dict(parts)
