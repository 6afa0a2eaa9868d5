"""What a driver would know who saw everything around it: the numbers that the coach drives by (`train.coach`).

A row is the observation `state` (`state_view`) without what the rules of right of way ask for and what the car just
did, and with what signs, lamps and indicators show: who drives by it must find out who goes first as a driver with
cameras must. Nobody is hidden, and there is no weather.
"""

import math

import numpy as np
from jaxtyping import Float, Float16

from fleetloop.core.types import Control, SignalColour
from fleetloop.sim.behaviour import LOOKAHEAD_M
from fleetloop.sim.path_frame import PATH_FIELDS, beside_path
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.state_view import (
    OTHER_FIELDS,
    OTHERS,
    OWN_FIELDS,
    PREVIEW_FIELDS,
    PREVIEW_M,
    STATE_FIELDS,
    UNSEEN_FIELDS,
    describe,
)

_STATE_OWN = OWN_FIELDS + len(PREVIEW_M) * PREVIEW_FIELDS
_COLOURS, _CONTROLS, _LIGHTS = 1 + len(SignalColour), 1 + len(Control), 3
PRIVILEGED_OWN = _STATE_OWN + _COLOURS + 1 + _CONTROLS
"""Numbers of the vehicle itself, its path and the next junction: as in `state`, but the gap to the vehicle ahead on a
logarithmic scale; one for each SignalColour at the next signal, or none, the distance to its line; one for each Control
of the next junction, or none."""
_SEEN_FIELDS = OTHER_FIELDS + _LIGHTS + 1
PRIVILEGED_OTHER = _SEEN_FIELDS + PATH_FIELDS
"""Numbers of each of OTHERS road users: as in `state`; 1 for brake light, left and right indicator; nearness; as in
`path_frame`."""
PRIVILEGED_FIELDS = PRIVILEGED_OWN + OTHERS * PRIVILEGED_OTHER
_NEARNESS = 5.0
_LEAD_GAP, _LEAD_SPEED = 9, 10


def privileged_view(rollout: Rollout) -> Float16[np.ndarray, "W fields"]:
    """A row for the learner of each world, after `decide` and `look` or `observe` of this step."""
    worlds, labels = len(rollout.active), rollout.teaching
    state = np.zeros((worlds, 1, STATE_FIELDS), np.float32)
    describe(rollout.world, rollout.state, rollout.decision, state)
    rows = np.zeros((worlds, PRIVILEGED_FIELDS), np.float16)
    rows[:, :_STATE_OWN] = state[:, 0, :_STATE_OWN]
    # Whether a metre or three are left decides whether it may roll on.
    rows[:, _LEAD_GAP] = _scaled(np.maximum(labels.lead_gap_m, 0.0))
    rows[:, UNSEEN_FIELDS] = 0.0
    every = np.arange(worlds)
    rows[every, _STATE_OWN + 1 + labels.signal_colour] = 1.0
    rows[:, _STATE_OWN + _COLOURS] = _scaled(labels.stop_line_m)
    rows[every, _STATE_OWN + _COLOURS + 2 + labels.junction_control] = 1.0
    others = rows[:, PRIVILEGED_OWN:].reshape(worlds, OTHERS, PRIVILEGED_OTHER)
    others[:, :, :OTHER_FIELDS] = state[:, 0, _STATE_OWN:].reshape(worlds, OTHERS, OTHER_FIELDS)
    # The scene has them in the same order: by distance.
    lights = rollout.scene.agent_lights[:, :OTHERS, None] >> np.arange(_LIGHTS, dtype=np.uint8) & 1
    there = others[:, :, 0]
    others[:, :, OTHER_FIELDS : _SEEN_FIELDS - 1] = lights * there[:, :, None]
    others[:, :, _SEEN_FIELDS - 1] = there / (1.0 + _NEARNESS * np.hypot(others[:, :, 1], others[:, :, 2]))
    others[:, :, _SEEN_FIELDS:] = beside_path(rollout.world, rollout.state) * there[:, :, None]
    return rows


def seeing_nobody(rows: Float16[np.ndarray, "N fields"]) -> Float16[np.ndarray, "N fields"]:
    """The same rows for somebody who overlooks all other road users, but neither signs nor lamps."""
    rows = rows.copy()
    rows[:, _LEAD_GAP], rows[:, _LEAD_SPEED] = 1.0, 0.0
    rows[:, PRIVILEGED_OWN:] = 0.0
    return rows


def _scaled(distance_m: Float[np.ndarray, " W"]) -> Float[np.ndarray, " W"]:
    """Distances on a logarithmic scale: 0 at 0 m, 1 at LOOKAHEAD_M and beyond."""
    return np.log1p(np.minimum(distance_m, LOOKAHEAD_M) / 5.0) / math.log1p(LOOKAHEAD_M / 5.0)
