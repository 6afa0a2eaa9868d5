"""What is kept of driving to learn from it by reinforcement, and how good every step was."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fleetloop.core.types import STEP_S
from fleetloop.train.batch import Batch, map_batches


@dataclass(frozen=True)
class Experience:
    """One step of all vehicles; labels as in a Batch."""

    batch: Batch
    memory: Float[Tensor, "W width"]
    memory_valid: Bool[Tensor, " W"]
    state: Float[Tensor, "W fields"]
    leaning: Float[Tensor, "W 2"]
    """By how much what was tried before still moves the mean of the policy."""
    action: Float[Tensor, "W 2"]
    log_probability: Float[Tensor, " W"]
    value: Float[Tensor, " W"]
    reward: Float[Tensor, " W"]
    ended: Bool[Tensor, " W"]
    """The route was over, or something went wrong: what follows is another story."""
    wrong: Bool[Tensor, " W"]
    """The safety driver took over, or it ran into somebody."""
    critical: Bool[Tensor, " W"]
    """A critical intervention began."""
    counts: Bool[Tensor, " W"]
    """The network drove; else the safety driver did, or nobody."""
    situation: Float[Tensor, "W situation"]
    """What the planner was given, or those of several networks, side by side; of no width where there is none."""


def driven(steps: list[Experience]) -> dict[str, float]:
    """How the driving of a round was."""
    metres = sum(
        float((step.batch.observation.ego_history[:, -1, 0] * step.counts.numpy()).sum()) for step in steps
    )
    seconds = sum(int(step.counts.sum()) for step in steps) * STEP_S
    critical = sum(int(step.critical.sum()) for step in steps)
    return {
        "km": metres * STEP_S / 1000.0,
        "critical": float(critical),
        "speed_mps": metres * STEP_S / max(seconds, STEP_S),
    }


def advantages_of(
    steps: list[Experience], last_value: Float[Tensor, " W"], discount: float, trace: float
) -> Float[Tensor, "T W"]:
    """Generalised advantage estimation (Schulman et al., 2016), backwards in time.

    Where something went wrong nothing more is to be expected. A route that is over could have gone on: what would have
    come is taken to be worth as much as before the last step (Pardo et al., "Time limits in reinforcement learning",
    ICML 2018); without that, to arrive would cost as much as to get stuck.

    Args:
        last_value: expected after the last step.
        discount, trace: gamma and lambda, for each step.
    """
    values = torch.stack([step.value for step in steps] + [last_value])
    advantages, following = torch.zeros(len(steps), len(last_value)), torch.zeros(len(last_value))
    for number in reversed(range(len(steps))):
        step, value = steps[number], values[number]
        expected = torch.where(step.ended, torch.where(step.wrong, 0.0, value), values[number + 1])
        surprise = step.reward + discount * expected - value
        following = surprise + discount * trace * (~step.ended).float() * following
        advantages[number] = following
    return advantages


@dataclass(frozen=True)
class TaughtSteps:
    """The steps of a round laid end to end, those that teach nothing left out."""

    batch: Batch
    memory: Tensor
    memory_valid: Tensor
    state: Tensor
    leaning: Tensor
    action: Tensor
    log_probability: Tensor
    situation: Tensor
    advantage: Tensor
    returns: Tensor

    def select(self, chosen: Tensor) -> "TaughtSteps":
        """The samples `chosen`."""
        tensors = {name: getattr(self, name)[chosen] for name in (*_KEPT, "advantage", "returns")}
        rows = chosen.numpy()
        return TaughtSteps(map_batches(lambda arrays: arrays[0][rows], [self.batch]), **tensors)


_KEPT = ("memory", "memory_valid", "state", "leaning", "action", "log_probability", "situation")
"""What a taught step has as it was in the experience."""


def end_to_end(steps: list[Experience], advantages: Float[Tensor, "T W"]) -> TaughtSteps:
    """All steps that count as samples to learn from; the mean of their advantages is 0.

    There may be none: the safety driver can be at the wheel of every vehicle.
    """
    counts = torch.stack([step.counts for step in steps]).flatten()
    chosen = torch.nonzero(counts).squeeze(-1)
    kept = {name: torch.cat([getattr(step, name) for step in steps]) for name in _KEPT}
    advantage, value = advantages.flatten(), torch.cat([step.value for step in steps])
    whole = map_batches(np.concatenate, [step.batch for step in steps])
    taught = TaughtSteps(whole, **kept, advantage=advantage, returns=advantage + value).select(chosen)
    if not len(chosen):
        return taught
    return dataclasses.replace(taught, advantage=taught.advantage - taught.advantage.mean())


class AdvantageScale:
    """How large advantages are, over many rounds.

    Critical interventions are so seldom that most rounds have none. Scaled by its own deviation, as is usual, such a
    round would make as much of a little more speed as another one makes of a collision, and the price of a critical
    intervention would not be what it says.
    """

    def __init__(self, rounds: int = 100) -> None:
        """`rounds` are those remembered, about."""
        self._decay = 1.0 - 1.0 / rounds
        self._mean_square, self._seen = 0.0, 0

    def scaled(self, advantage: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """The same over the root of the mean square so far, of this round too."""
        decay = min(self._decay, self._seen / (self._seen + 1))
        self._mean_square = decay * self._mean_square + (1.0 - decay) * float(advantage.square().mean())
        self._seen += 1
        return advantage / max(math.sqrt(self._mean_square), 1e-6)

    def tensors(self) -> dict[str, Tensor]:
        """What changes, named."""
        return {"advantage.scale": torch.tensor([self._mean_square, self._seen], dtype=torch.float64)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        mean_square, seen = state["advantage.scale"].tolist()
        self._mean_square, self._seen = mean_square, int(seen)
