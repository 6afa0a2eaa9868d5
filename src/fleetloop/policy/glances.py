"""What each cell of the pictures means for the way ahead: the coach's own form, for those who must look."""

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional

from fleetloop.core.types import SightingLayer
from fleetloop.policy.encoder import GEOMETRY_FEATURES

_SUM_SCALE = 0.05


class Glances(nn.Module):
    """Cells -> who is in each, and answers to what is asked of all cells alike.

    A road user matters by where it is, how it moves and where the car wants to go, all three together. Pooling
    cells first and thinking afterwards loses which cell it was; so each is thought about by itself, beside the
    same cell of 0.4 s ago, its ray and the context, by the same layers. What counts of all answers is the largest
    and the sum. The coach (`train.coach`) looks at road users in this form (max pooling over sets: Qi et al.,
    "PointNet", CVPR 2017). Who is in a cell is learnt from the cell alone.
    """

    def __init__(self, channels: int, context: int, width: int) -> None:
        super().__init__()
        self.sightings = nn.Linear(channels, len(SightingLayer))
        self.seen = nn.Linear(channels, width)
        self.earlier = nn.Linear(channels, width, bias=False)
        self.where = nn.Sequential(nn.Linear(GEOMETRY_FEATURES, 128), nn.ReLU(), nn.Linear(128, width))
        self.context = nn.Linear(context, width)
        self.think = nn.Linear(width, width)

    def forward(
        self,
        cells: Float[Tensor, "B cells channels"],
        geometry: Float32[Tensor, "cells features"],
        earlier: Float[Tensor, "B earlier channels"] | None,
        context: Float[Tensor, "B context"],
    ) -> tuple[Float[Tensor, "B answers"], Float[Tensor, "B cells layers"]]:
        """Answers of all cells, and logits and a scaled distance of each by SightingLayer.

        `earlier` are the first of the cells as they were, where they are remembered.
        """
        x = self.seen(cells) + self.where(geometry) + self.context(context)[:, None]
        if earlier is not None:
            count = earlier.shape[1]
            x = torch.cat([x[:, :count] + self.earlier(earlier), x[:, count:]], dim=1)
        answers = functional.relu(self.think(functional.relu(x)))
        pooled = torch.cat([answers.amax(dim=1), _SUM_SCALE * answers.sum(dim=1)], dim=-1)
        return pooled, self.sightings(cells)
