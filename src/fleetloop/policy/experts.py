"""A feed-forward layer made of experts, of which the router picks two for each sample."""

import math
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

ACTIVE_EXPERTS = 2


def mixture(
    logits: Float[Tensor, "B experts"],
) -> tuple[Float[Tensor, "B experts"], Float[Tensor, "B experts"], Float[Tensor, "B experts"]]:
    """What a router's logits come to: probabilities, 1 for each expert that is chosen, and the weights of these."""
    probabilities = torch.softmax(logits.float(), dim=-1)
    threshold = torch.topk(probabilities, ACTIVE_EXPERTS, dim=-1).values[:, -1:]
    chosen = (probabilities >= threshold).to(probabilities.dtype)
    gates = probabilities * chosen
    return probabilities, chosen, gates / gates.sum(dim=-1, keepdim=True)


class ExpertBlock(nn.Module):
    """Residual block: x + mixture of experts of LayerNorm(x).

    All experts are computed and those not chosen multiplied by zero: at this size that is two dense matrix
    products, which run and export better than gathering samples by expert.
    """

    def __init__(self, width: int, hidden: int, experts: int) -> None:
        super().__init__()
        self.experts = experts
        self.hidden = hidden
        self.normalise = nn.LayerNorm(width)
        self.router = nn.Linear(width, experts)
        self.up = nn.Linear(width, experts * hidden)
        self.down = nn.Linear(experts * hidden, width)
        self.mean_share: Callable[[Tensor], Tensor] = _as_it_is
        nn.init.normal_(self.router.weight, std=0.02)
        nn.init.zeros_(self.router.bias)
        nn.init.normal_(self.down.weight, std=0.5 / math.sqrt(ACTIVE_EXPERTS * hidden))

    def forward(self, x: Float[Tensor, "B width"]) -> tuple[Float[Tensor, "B width"], Float[Tensor, ""]]:
        """The block's output, and the load-balancing loss (1 when the experts are used evenly)."""
        normalised = self.normalise(x)
        probabilities, chosen, gates = mixture(self.router(normalised))
        hidden = functional.relu(self.up(normalised)).reshape(-1, self.experts, self.hidden)
        mixed = (hidden * gates[:, :, None].to(hidden.dtype)).flatten(1)
        return x + self.down(mixed), self._balance(probabilities, chosen)

    def _balance(
        self, probabilities: Float[Tensor, "B experts"], chosen: Float[Tensor, "B experts"]
    ) -> Float[Tensor, ""]:
        """experts x sum(share of samples x mean probability).

        Fedus, Zoph, Shazeer, "Switch transformers", JMLR 2022, equation 4.
        """
        # Over the whole batch, also where several processes have their rows of it each.
        share = self.mean_share(chosen.mean(dim=0) / ACTIVE_EXPERTS)
        return self.experts * (share * probabilities.mean(dim=0)).sum()


def through_blocks(
    blocks: Iterable[nn.Module], x: Float[Tensor, "B width"]
) -> tuple[Float[Tensor, "B width"], Float[Tensor, ""]]:
    """What comes of `x` after all ExpertBlocks, and the mean of their load-balancing losses."""
    balances: list[Tensor] = []
    for block in blocks:
        x, balance = block(x)
        balances.append(balance)
    return x, torch.stack(balances).mean()


def _as_it_is(share: Tensor) -> Tensor:
    return share
