"""What the network says: the plan, its spread, and auxiliary readings that never drive."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fleetloop.core.types import BIRDS_EYE_SHAPE, PLAN_POSES, Control, SightingLayer
from fleetloop.policy.features import curvature_from_control
from fleetloop.policy.planner import PLAN_OUTPUTS, SITUATION_WIDTH, Planner, PlanScale

ACCELERATION_SCALE_MPS2 = 3.0
SIGNAL_CLASSES = 5
"""No signal ahead, then SignalColour.RED to GREEN, each plus one; a dark signal counts as none."""
JUNCTION_CLASSES = 1 + len(Control)
"""No junction near, then the Control of the way through the next one, each plus one."""

FAR_M = 80.0
"""Distances beyond this read as "nothing there"."""
SPEED_SCALE_MPS = 10.0

_MIN_SPREAD_M = 0.02
_READINGS = (
    PLAN_POSES,
    SIGNAL_CLASSES,
    1,
    1,
    1,
    JUNCTION_CLASSES,
    1,
    math.prod(BIRDS_EYE_SHAPE),
)


class Outputs(NamedTuple):
    """Raw outputs of the network, in the scales in which they are trained."""

    curvature_control: Float[Tensor, " B"]
    """Cube-spaced (`control_from_curvature`)."""
    acceleration: Float[Tensor, " B"]
    """Over ACCELERATION_SCALE_MPS2."""
    poses_in_ego: Float[Tensor, "B 8 3"]
    """Metres and radians."""
    spread_m: Float[Tensor, "B 8"]
    """Scale of the Laplace distribution of each pose's position."""
    signal_logits: Float[Tensor, "B 5"]
    stop_line: Float[Tensor, " B"]
    """`scaled_distance` of the next stop line."""
    lead_gap: Float[Tensor, " B"]
    lead_speed: Float[Tensor, " B"]
    """Over SPEED_SCALE_MPS."""
    junction_logits: Float[Tensor, "B 6"]
    halt: Float[Tensor, " B"]
    """`scaled_distance` to where right of way asks it to stop."""
    birds_eye_logits: Float[Tensor, "B 3 16 24"]
    """Of there being something, by BirdsEyeLayer."""
    balance_loss: Float[Tensor, ""]
    situation: Float[Tensor, "B situation"]
    """What the plan was made from; of no width where it comes straight from the trunk. Those of several networks that
    drive as one are side by side."""
    sightings: Float[Tensor, "B cells 2"]
    """Logits of who is in each cell of the pictures, camera by camera, by SightingLayer; of no cells where a network
    does not tell."""


class Decoded(NamedTuple):
    """Outputs in SI units."""

    curvature_1pm: Float[Tensor, " B"]
    acceleration_mps2: Float[Tensor, " B"]
    poses_in_ego: Float[Tensor, "B 8 3"]
    spread_m: Float[Tensor, " B"]
    signal_probabilities: Float[Tensor, "B 5"]
    stop_line_m: Float[Tensor, " B"]
    lead_gap_m: Float[Tensor, " B"]
    lead_speed_mps: Float[Tensor, " B"]
    junction_probabilities: Float[Tensor, "B 6"]
    halt_m: Float[Tensor, " B"]
    birds_eye: Float[Tensor, "B 3 16 24"]
    """Probabilities."""


def scaled_distance(distance_m: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Log-spaced distance: 0 at 0 m, 1 at FAR_M, beyond, or where nothing is (negative, not finite)."""
    known = torch.isfinite(distance_m) & (distance_m >= 0.0)
    limited = torch.where(known, distance_m, FAR_M).clamp(0.0, FAR_M)
    return torch.log1p(limited / 5.0) / math.log1p(FAR_M / 5.0)


def distance_from_scaled(scaled: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The inverse of `scaled_distance`, metres."""
    # exp and not expm1, which ONNX lacks.
    return 5.0 * (torch.exp(scaled.clamp(0.0, 1.0) * math.log1p(FAR_M / 5.0)) - 1.0)


class Heads(nn.Module):
    """One linear layer, cut into the outputs; the plan may come by way of a situation."""

    def __init__(self, width: int, planner: Planner | None = None) -> None:
        super().__init__()
        self.planner = planner
        self.tell: nn.Module | None = None
        if planner is not None:
            self.tell = nn.Sequential(
                nn.Linear(width, width),
                nn.ReLU(),
                nn.Linear(width, SITUATION_WIDTH),
                nn.LayerNorm(SITUATION_WIDTH, elementwise_affine=False),
            )
        self._parts = [PLAN_OUTPUTS if planner is None else 0, *_READINGS]
        self.linear = nn.Linear(width, sum(self._parts))
        nn.init.normal_(self.linear.weight, std=0.1 / math.sqrt(width))
        nn.init.zeros_(self.linear.bias)
        self.scale = PlanScale()

    def forward(
        self, x: Float[Tensor, "B width"], speed_mps: Float[Tensor, " B"], balance_loss: Float[Tensor, ""]
    ) -> Outputs:
        """Outputs for trunk features `x`."""
        plan, *parts = torch.split(self.linear(x).float(), self._parts, dim=-1)
        situation = x[:, :0]
        if self.planner is not None and self.tell is not None:
            situation = self.tell(x)
            intention = self.planner(situation, speed_mps)
            balance_loss = 0.5 * (balance_loss + intention.balance_loss)
        else:
            intention = self.scale(plan, speed_mps, balance_loss)
        return Outputs(
            curvature_control=intention.curvature_control,
            acceleration=intention.acceleration,
            poses_in_ego=intention.poses_in_ego,
            spread_m=_MIN_SPREAD_M + torch.exp(parts[0].clamp(-6.0, 4.0)),
            signal_logits=parts[1],
            stop_line=parts[2][:, 0],
            lead_gap=parts[3][:, 0],
            lead_speed=parts[4][:, 0],
            junction_logits=parts[5],
            halt=parts[6][:, 0],
            birds_eye_logits=parts[7].reshape(-1, *BIRDS_EYE_SHAPE),
            balance_loss=balance_loss,
            situation=situation,
            sightings=x.new_zeros(len(x), 0, len(SightingLayer)),
        )


def decode(outputs: Outputs) -> Decoded:
    """Outputs in SI units: what a Plan and a person looking inside need."""
    return Decoded(
        curvature_1pm=curvature_from_control(outputs.curvature_control),
        acceleration_mps2=outputs.acceleration * ACCELERATION_SCALE_MPS2,
        poses_in_ego=outputs.poses_in_ego,
        spread_m=outputs.spread_m[:, -1],
        signal_probabilities=torch.softmax(outputs.signal_logits, dim=-1),
        stop_line_m=distance_from_scaled(outputs.stop_line),
        lead_gap_m=distance_from_scaled(outputs.lead_gap),
        lead_speed_mps=outputs.lead_speed * SPEED_SCALE_MPS,
        junction_probabilities=torch.softmax(outputs.junction_logits, dim=-1),
        halt_m=distance_from_scaled(outputs.halt),
        birds_eye=torch.sigmoid(outputs.birds_eye_logits),
    )
