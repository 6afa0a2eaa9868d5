"""From the situation to the plan: the part of the network that a coach who sees everything taught to drive.

A situation is what a driver must know to act, in SITUATION_WIDTH numbers of mean 0 and variance 1. The coach
(`train.coach`) makes them from where everybody is, the network from pictures; the planner does not know which.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fleetloop.core.types import PLAN_POSE_INTERVAL_S, PLAN_POSES
from fleetloop.policy.experts import ExpertBlock, through_blocks

SITUATION_WIDTH = 64
PLAN_OUTPUTS = 2 + PLAN_POSES * 3
"""Curvature, acceleration, poses."""
_WIDTH, _BLOCKS = 256, 2


class Intention(NamedTuple):
    """What is to be done, in the scales of `heads.Outputs`."""

    curvature_control: Float[Tensor, " B"]
    acceleration: Float[Tensor, " B"]
    poses_in_ego: Float[Tensor, "B 8 3"]
    balance_loss: Float[Tensor, ""]


class PlanScale(nn.Module):
    """From PLAN_OUTPUTS numbers of a linear layer to an Intention; it learns nothing."""

    times_s: Tensor
    reach: Tensor

    def __init__(self) -> None:
        super().__init__()
        times_s = torch.arange(1, PLAN_POSES + 1) * PLAN_POSE_INTERVAL_S
        # How far poses stray from straight on: 2 m/s^2 along, about as much across, a few tenths of a radian.
        reach = torch.stack([times_s.square(), times_s.square(), 0.5 * times_s], dim=-1)
        self.register_buffer("times_s", times_s, persistent=False)
        self.register_buffer("reach", reach, persistent=False)

    def forward(
        self, raw: Float[Tensor, "B outputs"], speed_mps: Float[Tensor, " B"], balance_loss: Float[Tensor, ""]
    ) -> Intention:
        """Poses are offsets from going straight on at the present speed."""
        curvature, acceleration, rest = torch.split(raw.float(), [1, 1, PLAN_POSES * 3], dim=-1)
        offsets = rest.reshape(-1, PLAN_POSES, 3) * self.reach
        straight_m = speed_mps[:, None] * self.times_s
        poses = torch.cat([offsets[:, :, :1] + straight_m[:, :, None], offsets[:, :, 1:]], dim=-1)
        return Intention(curvature[:, 0], acceleration[:, 0], poses, balance_loss)


class Planner(nn.Module):
    """Situation -> controls and poses. It is of one size in networks of all sizes: the coach's."""

    def __init__(self, experts: int) -> None:
        super().__init__()
        self.enter = nn.Linear(SITUATION_WIDTH, _WIDTH)
        self.blocks = nn.ModuleList(ExpertBlock(_WIDTH, _WIDTH, experts) for _ in range(_BLOCKS))
        self.normalise = nn.LayerNorm(_WIDTH)
        self.linear = nn.Linear(_WIDTH, PLAN_OUTPUTS)
        nn.init.normal_(self.linear.weight, std=0.1 / math.sqrt(_WIDTH))
        nn.init.zeros_(self.linear.bias)
        self.scale = PlanScale()

    def forward(self, situation: Float[Tensor, "B situation"], speed_mps: Float[Tensor, " B"]) -> Intention:
        """What to do in a situation."""
        x, balance = through_blocks(self.blocks, self.enter(situation))
        return self.scale(self.linear(functional.relu(self.normalise(x))), speed_mps, balance)


def planners_of(network: nn.Module) -> list[Planner]:
    """The planners of a network: none, its own, or those of an ensemble's members."""
    return [module for module in network.modules() if isinstance(module, Planner)]
