"""Triggers: rules that decide on board that a moment is worth its bytes."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Bool, Float32, Int32

from fleetloop.core.checks import check_shares
from fleetloop.core.types import Plan


class Trigger(StrEnum):
    """Why a clip is uploaded."""

    INTERVENTION = "intervention"
    HARD_BRAKING = "hard_braking"
    NEAR_MISS = "near_miss"
    DISAGREEMENT = "disagreement"
    UNCERTAINTY = "uncertainty"
    NETWORK_FAULT = "network_fault"
    CAMERA_LOST = "camera_lost"
    SAMPLED = "sampled"
    """Chosen at random, whatever happened: what a trigger must beat."""


RULES = tuple(trigger for trigger in Trigger if trigger is not Trigger.SAMPLED)
"""Triggers that fire for what happens."""

_NEVER_PAUSES = (Trigger.NETWORK_FAULT, Trigger.CAMERA_LOST)
"""They fire when something begins to be wrong, and each time is to be known."""


@dataclass(frozen=True)
class TriggerConfig:
    """Thresholds; a trigger that has fired in a world keeps still for `pause_s`, but those of faults."""

    hard_braking_mps2: float = 4.0
    """Insurers' telematics call 0.3 to 0.45 g a harsh brake."""
    near_miss_s: float = 1.5
    """Time to collision; below 1.5 s counts as a conflict in traffic-conflict studies (Hydén 1987)."""
    disagreement_m: float = 5.0
    """Between where the plan and the shadowing demonstrator would be in two seconds."""
    uncertainty_m: float = 0.75
    """Spread of the plan's last pose."""
    pause_s: float = 6.0
    enabled: tuple[Trigger, ...] = RULES
    sampled_probability: float = 0.0
    """Of each step, that it is chosen by SAMPLED."""

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        check_shares("triggers", self, ["sampled_probability"])


@dataclass(frozen=True)
class Moment:
    """What the triggers look at in one step; arrays over worlds."""

    take_over: Bool[np.ndarray, " W"]
    acceleration_mps2: Float32[np.ndarray, " W"]
    speed_mps: Float32[np.ndarray, " W"]
    lead_gap_m: Float32[np.ndarray, " W"]
    lead_speed_mps: Float32[np.ndarray, " W"]
    plan: Plan
    shadow: Plan
    """What the driver that only watches would have done."""
    fault: Int32[np.ndarray, " W"]
    """What began to be wrong with the plan or its inputs in this step (`safety.watchdog.Fault`), else 0."""
    cameras_lost: Int32[np.ndarray, " W"]
    """How many cameras are lost where one was lost in this step, else 0."""
    drawn: Float32[np.ndarray, " W"]
    """A random number in [0, 1) for each vehicle and step."""


def time_to_collision_s(moment: Moment) -> Float32[np.ndarray, " W"]:
    """Seconds until the vehicle ahead is met at present speeds; 1e6 when it is not."""
    closing = moment.speed_mps - moment.lead_speed_mps
    met = closing > 0.1
    return np.where(met, moment.lead_gap_m / np.where(met, closing, 1.0), 1e6).astype(np.float32)


class TriggerSet:
    """Evaluates all triggers each step and holds back those that have just fired."""

    def __init__(self, config: TriggerConfig, worlds: int, step_s: float) -> None:
        self._config = config
        self._pause_steps = round(config.pause_s / step_s)
        self._quiet_steps = {trigger: np.zeros(worlds, np.int32) for trigger in Trigger}
        self.counts = dict.fromkeys(Trigger, 0)

    def reset(self, mask: Bool[np.ndarray, " W"]) -> None:
        """Forget what fired in the worlds of `mask`: the vehicle was put on another route."""
        for quiet in self._quiet_steps.values():
            quiet[mask] = 0

    def fire(
        self, moment: Moment, active: Bool[np.ndarray, " W"]
    ) -> dict[Trigger, tuple[Bool[np.ndarray, " W"], Float32[np.ndarray, " W"]]]:
        """For each trigger: in which of the active worlds it fires now, and the value that made it.

        A plan whose numbers are not finite disagrees and is uncertain.
        """
        config = self._config
        apart = np.linalg.norm(
            moment.plan.poses_in_ego[:, -1, :2] - moment.shadow.poses_in_ego[:, -1, :2], axis=-1
        )
        collision_s = time_to_collision_s(moment)
        measured = {
            Trigger.INTERVENTION: (moment.take_over, moment.take_over.astype(np.float32)),
            Trigger.HARD_BRAKING: (
                moment.acceleration_mps2 < -config.hard_braking_mps2,
                moment.acceleration_mps2,
            ),
            Trigger.NEAR_MISS: (collision_s < config.near_miss_s, collision_s),
            Trigger.DISAGREEMENT: (~(apart <= config.disagreement_m), apart),
            Trigger.UNCERTAINTY: (~(moment.plan.spread_m <= config.uncertainty_m), moment.plan.spread_m),
            Trigger.NETWORK_FAULT: (moment.fault != 0, moment.fault.astype(np.float32)),
            Trigger.CAMERA_LOST: (moment.cameras_lost > 0, moment.cameras_lost.astype(np.float32)),
            Trigger.SAMPLED: (moment.drawn < config.sampled_probability, moment.drawn),
        }
        fired = {}
        for trigger, (rule, value) in measured.items():
            quiet = self._quiet_steps[trigger]
            now = rule & active & (quiet == 0) & (trigger in config.enabled)
            pause_steps = 0 if trigger in _NEVER_PAUSES else self._pause_steps
            quiet[:] = np.where(now, pause_steps, np.maximum(quiet - 1, 0))
            self.counts[trigger] += int(now.sum())
            fired[trigger] = (now, value)
        return fired
