"""A driver who sees badly: what the coach takes things for, so that it gets into what a network gets into."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float16, Float32

from fleetloop.core.random import Stream, generator
from fleetloop.core.types import Control, SignalColour
from fleetloop.policy.planner import SITUATION_WIDTH
from fleetloop.sim.privileged_view import CONTROL_FIELDS, PRIVILEGED_OTHER, PRIVILEGED_OWN, SIGNAL_FIELDS
from fleetloop.sim.state_view import LEAD_FIELDS, OTHERS

_PERSISTENCE = 0.95
"""Of noise, from one step to the next: it lasts for two seconds."""
_CHANGE = 0.03
"""Probability, at each step, that a vehicle becomes blind to something else."""
_AHEAD_RAD = 1.2
"""Spread of the directions that are not seen."""
_UNCONTROLLED = CONTROL_FIELDS.start + 1 + int(Control.NONE)
_SIGNAL = CONTROL_FIELDS.start + 1 + int(Control.SIGNAL)


@dataclass(frozen=True)
class Misleading:
    """How badly vehicles see; for each, one of each is drawn at random."""

    situation: tuple[float, ...] = (0.0, 0.4, 0.8, 1.2)
    """Standard deviations of noise on the situation."""
    blind_rad: tuple[float, ...] = (0.0, 0.0, 0.5, 1.0, math.pi)
    """Half widths of the sector in which nobody is seen."""
    unruly: tuple[bool, ...] = (False, False, False, True)
    """Whether the rule of a junction without lamps is taken for the right of way."""


SEES_ALL = Misleading((0.0,), (0.0,), (False,))


class Misled:
    """Many vehicles that are misled; all of it lasts for seconds."""

    def __init__(self, misleading: Misleading, vehicles: int, seed: int) -> None:
        self._misleading = misleading
        self._random = generator(seed, Stream.MISLED, 0)
        self.noise: Float32[np.ndarray, "W situation"] = np.zeros((vehicles, SITUATION_WIDTH), np.float32)
        self.scale: Float32[np.ndarray, " W"] = np.zeros(vehicles, np.float32)
        self._direction_rad = np.zeros(vehicles)
        self._half_width_rad = np.zeros(vehicles)
        self._unruly = np.zeros(vehicles, bool)
        self.reset(np.ones(vehicles, bool))

    def reset(self, mask: Bool[np.ndarray, " W"]) -> None:
        """Draw anew for the vehicles in `mask`, on a new route."""
        self.scale[mask] = self._random.choice(self._misleading.situation, int(mask.sum()))
        self.noise[mask] = 0.0
        self._look_away(mask)

    def _look_away(self, mask: Bool[np.ndarray, " W"]) -> None:
        count = int(mask.sum())
        self._direction_rad[mask] = self._random.normal(0.0, _AHEAD_RAD, count)
        self._half_width_rad[mask] = self._random.choice(self._misleading.blind_rad, count)
        self._unruly[mask] = self._random.choice(self._misleading.unruly, count)

    def step(self) -> None:
        """A step of 0.1 s goes by."""
        fresh = self._random.standard_normal(self.noise.shape).astype(np.float32)
        self.noise = _PERSISTENCE * self.noise + math.sqrt(1.0 - _PERSISTENCE**2) * fresh
        self._look_away(self._random.random(len(self.scale)) < _CHANGE)

    def seen(self, privileged: Float16[np.ndarray, "W fields"]) -> Float16[np.ndarray, "W fields"]:
        """What they see of rows of `privileged_view`."""
        others = others_of(privileged)
        bearing_rad = np.arctan2(others[:, :, 2].astype(np.float32), others[:, :, 1].astype(np.float32))
        ahead_rad = np.zeros((len(others), 1))
        rows = without(privileged, self._unseen(bearing_rad), self._unseen(ahead_rad)[:, 0])
        return ruling(rows, self._unruly)

    def _unseen(self, bearing_rad: Float[np.ndarray, "W N"]) -> Bool[np.ndarray, "W N"]:
        """Whether what is in these directions is not seen."""
        off_rad = np.remainder(bearing_rad - self._direction_rad[:, None] + math.pi, 2.0 * math.pi) - math.pi
        return np.abs(off_rad) < self._half_width_rad[:, None]


def others_of(privileged: Float16[np.ndarray, "N fields"]) -> Float16[np.ndarray, "N others fields"]:
    """The part of the rows that tells of other road users; a view."""
    return privileged[:, PRIVILEGED_OWN:].reshape(len(privileged), OTHERS, PRIVILEGED_OTHER)


def without(
    privileged: Float16[np.ndarray, "N fields"],
    unseen: Bool[np.ndarray, "N others"],
    follows_nobody: Bool[np.ndarray, " N"],
) -> Float16[np.ndarray, "N fields"]:
    """The rows, as they would be without those who are not seen, and without a vehicle ahead."""
    rows = privileged.copy()
    others_of(rows)[unseen] = 0.0
    gap, speed = LEAD_FIELDS
    rows[follows_nobody, gap], rows[follows_nobody, speed] = 1.0, 0.0
    return rows


def unsignalled(privileged: Float16[np.ndarray, "N fields"]) -> Float16[np.ndarray, "N fields"]:
    """The rows, as they would be if the signal ahead were green."""
    rows = privileged.copy()
    ahead = rows[:, SIGNAL_FIELDS.start] == 0.0
    rows[ahead, SIGNAL_FIELDS] = 0.0
    rows[ahead, SIGNAL_FIELDS.start + 1 + int(SignalColour.GREEN)] = 1.0
    return rows


def ruling(
    privileged: Float16[np.ndarray, "N fields"], unruly: Bool[np.ndarray, " N"]
) -> Float16[np.ndarray, "N fields"]:
    """The rows, as they would be if nothing ruled the junction ahead; lamps are believed."""
    rows = privileged.copy()
    takes_way = unruly & (rows[:, _SIGNAL] == 0.0) & (rows[:, CONTROL_FIELDS.start] == 0.0)
    rows[takes_way, CONTROL_FIELDS] = 0.0
    rows[takes_way, _UNCONTROLLED] = 1.0
    return rows
