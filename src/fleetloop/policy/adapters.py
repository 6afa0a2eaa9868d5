"""What of a trained network goes on learning: everything, its experts, or low-rank adapters put on its layers.

Hu et al., "LoRA: Low-rank adaptation of large language models", ICLR 2022: the weight W of a linear layer
becomes W + U D with U [outputs, rank] and D [rank, inputs], and only U and D learn. Merged into W afterwards
they cost nothing at run time.
"""

import math
from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fleetloop.core.errors import ConfigError
from fleetloop.policy.experts import ExpertBlock
from fleetloop.policy.model import DriverModel


class Adapt(StrEnum):
    """The part of a network that learns."""

    ALL = "all"
    EXPERTS = "experts"
    ADAPTERS = "adapters"


class LowRank(nn.Module):
    """A weight and what its adapter adds to it: nothing at first."""

    def __init__(self, weight: Float[Tensor, "outputs inputs"], rank: int) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        self.raise_rank = nn.Parameter(weight.new_zeros(outputs, rank))
        self.lower_rank = nn.Parameter(weight.new_empty(rank, inputs))
        nn.init.normal_(self.lower_rank, std=1.0 / math.sqrt(inputs))

    def forward(self, weight: Float[Tensor, "outputs inputs"]) -> Float[Tensor, "outputs inputs"]:
        """The adapted weight."""
        return weight + self.raise_rank @ self.lower_rank


def freeze_all_but(network: DriverModel, part: Adapt | str, rank: int) -> None:
    """Let only a part of `network` learn; for adapters, put new ones of this rank on its `adaptable_layers`.

    Raises:
        ConfigError: there is no part of this name, the network has no such part, or the rank is below 1.
    """
    if part not in set(Adapt):
        raise ConfigError(f"imitation: adapt is {part!r}; use {', '.join(Adapt)}")
    if part == Adapt.ALL:
        return
    network.requires_grad_(False)
    if part == Adapt.EXPERTS:
        learning = [module for module in network.modules() if isinstance(module, ExpertBlock)]
        for block in learning:
            block.requires_grad_(True)
    else:
        if rank < 1:
            raise ConfigError(f"imitation: adapter_rank is {rank}; use 1 or more")
        learning = network.adaptable_layers()
        for layer in learning:
            parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank))
    if not learning:
        raise ConfigError(f"imitation: the network has no {part} to adapt; use adapt all")


def merge_adapters(network: nn.Module) -> None:
    """Put adapted weights in place of weights and adapters; parameters are named as before."""
    with torch.no_grad():
        for module in list(network.modules()):
            if isinstance(module, nn.Linear) and parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
