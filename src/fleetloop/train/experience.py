"""What is kept of driving to learn from it by reinforcement, and how good every step was."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fleetloop.train.batch import Batch, map_batches


@dataclass(frozen=True)
class Experience:
    """One step of all vehicles; labels as in a Batch."""

    batch: Batch
    memory: Float[Tensor, "W width"]
    memory_valid: Bool[Tensor, " W"]
    state: Float[Tensor, "W fields"]
    action: Float[Tensor, "W 2"]
    log_probability: Float[Tensor, " W"]
    value: Float[Tensor, " W"]
    reward: Float[Tensor, " W"]
    ended: Bool[Tensor, " W"]
    critical: Bool[Tensor, " W"]
    """A critical intervention began."""
    counts: Bool[Tensor, " W"]
    """The network drove; else the safety driver did, or nobody."""
    situation: Float[Tensor, "W situation"]
    """What the network's planner was given; of no width where it has none."""


def advantages_of(
    steps: list[Experience], last_value: Float[Tensor, " W"], discount: float, trace: float
) -> Float[Tensor, "T W"]:
    """Generalised advantage estimation (Schulman et al., 2016), backwards in time.

    Args:
        last_value: expected after the last step.
        discount, trace: gamma and lambda, for each step.
    """
    values = torch.stack([step.value for step in steps] + [last_value])
    advantages, following = torch.zeros(len(steps), len(last_value)), torch.zeros(len(last_value))
    for number in reversed(range(len(steps))):
        goes_on = (~steps[number].ended).float()
        surprise = steps[number].reward + discount * goes_on * values[number + 1] - values[number]
        following = surprise + discount * trace * goes_on * following
        advantages[number] = following
    return advantages


@dataclass(frozen=True)
class TaughtSteps:
    """The steps of a round laid end to end, those that teach nothing left out."""

    batch: Batch
    memory: Tensor
    memory_valid: Tensor
    state: Tensor
    action: Tensor
    log_probability: Tensor
    situation: Tensor
    advantage: Tensor
    returns: Tensor

    def select(self, chosen: Tensor) -> "TaughtSteps":
        """The samples `chosen`."""
        rows = chosen.numpy()
        batch = map_batches(lambda arrays: arrays[0][rows], [self.batch])
        return TaughtSteps(batch, *(getattr(self, name)[chosen] for name in _TAUGHT_TENSORS))


_TAUGHT_TENSORS = tuple(field.name for field in dataclasses.fields(TaughtSteps))[1:]


def end_to_end(steps: list[Experience], advantages: Float[Tensor, "T W"]) -> TaughtSteps:
    """All steps that count as samples to learn from; the advantages are scaled to mean 0 and deviation 1.

    There may be none: the safety driver can be at the wheel of every vehicle.
    """
    counts = torch.stack([step.counts for step in steps]).flatten()
    chosen = torch.nonzero(counts).squeeze(-1)
    whole = map_batches(np.concatenate, [step.batch for step in steps])
    flat = {
        name: torch.cat([getattr(step, name) for step in steps])
        for name in ("memory", "memory_valid", "state", "action", "log_probability", "situation", "value")
    }
    value, advantage = flat.pop("value"), advantages.flatten()
    taught = TaughtSteps(whole, **flat, advantage=advantage, returns=advantage + value).select(chosen)
    if len(chosen) < 2:
        return dataclasses.replace(taught, advantage=torch.zeros_like(taught.advantage))
    spread = taught.advantage.std().clamp_min(1e-6)
    return dataclasses.replace(taught, advantage=(taught.advantage - taught.advantage.mean()) / spread)
