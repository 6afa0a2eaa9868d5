"""What learning by imitation minimises: how far a network's outputs are from what the demonstrator did and saw."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fleetloop.core.labels import Labels
from fleetloop.policy import heads
from fleetloop.policy.features import control_from_curvature
from fleetloop.policy.heads import Outputs
from fleetloop.policy.planner import Intention
from fleetloop.train.batch import BIRDS_EYE_UNKNOWN, Batch
from fleetloop.train.processes import ALONE, Processes

if TYPE_CHECKING:
    # It trains with these losses, and its configuration weighs them.
    from fleetloop.train.imitate import ImitationConfig

_SOMEBODY_EMPHASIS = (2.0, 4.0)
"""How much more a cell with somebody in it weighs than an empty one, by SightingLayer: people are few and small."""


def loss_parts(
    outputs: Outputs, batch: Batch, config: "ImitationConfig", processes: Processes = ALONE
) -> dict[str, Tensor]:
    """Weighted mean of each loss over the batch; `total` is what is minimised.

    Of several processes each has its rows of the batch; the mean of their results is that of the whole batch.

    The mean of a pose is learned from its absolute error and the spread from the Laplace likelihood of that
    error, held fixed: the plain likelihood would let confident samples drown out the rest (Seitzer et al.,
    "On the pitfalls of heteroscedastic uncertainty estimation", ICLR 2022).
    """

    tensor = _to_device_of(outputs)
    weight = tensor(batch.weight)
    weight = weight / processes.mean(weight.sum()).clamp_min(1e-6)

    def mean(loss: Tensor) -> Tensor:
        return (weight * loss).sum()

    poses = tensor(batch.labels.poses)
    held_error = _pose_errors(outputs.poses_in_ego, poses)[0].detach()
    spread = held_error / outputs.spread_m + torch.log(outputs.spread_m)
    losses = {
        **plan_losses(outputs, batch.labels, config),
        "spread": torch.where(_known(poses), spread, 0.0).mean(dim=1),
        "situation": _situation_loss(outputs, batch),
        **_reading_losses(outputs, batch.labels, tensor),
        "sightings": _sightings_if_told(outputs, batch),
        "birds_eye": _birds_eye_loss(outputs.birds_eye_logits, tensor(batch.birds_eye)),
    }
    parts = {name: mean(loss) for name, loss in losses.items()}
    parts["balance"] = outputs.balance_loss
    parts["total"] = _total(parts, config)
    return parts


def plan_losses(plan: Outputs | Intention, labels: Labels, config: "ImitationConfig") -> dict[str, Tensor]:
    """Losses of what is to drive, [B] each."""
    tensor = _to_device_of(plan)
    curvature = control_from_curvature(tensor(labels.curvature_1pm))
    acceleration = tensor(labels.acceleration_mps2) / heads.ACCELERATION_SCALE_MPS2
    emphasis = 1.0 + config.turning_emphasis * curvature.abs()
    emphasis = emphasis + config.braking_emphasis * (-acceleration).clamp(0.0, 1.0)
    position_error, yaw_error = _pose_errors(plan.poses_in_ego, tensor(labels.poses))
    return {
        "curvature": emphasis * _huber(plan.curvature_control - curvature, 0.05),
        "acceleration": emphasis
        * _quantile(plan.acceleration - acceleration, config.acceleration_quantile)
        * _huber(plan.acceleration - acceleration, 0.1),
        "poses": (position_error + 5.0 * yaw_error).mean(dim=1),
    }


def plan_loss(plan: Outputs | Intention, labels: Labels, config: "ImitationConfig") -> Tensor:
    """Mean of what drives, weighted as in `total`: all that a planner by itself can be taught."""
    losses = plan_losses(plan, labels, config)
    loss = losses["curvature"] + config.acceleration_weight * losses["acceleration"]
    return (loss + config.poses_weight * losses["poses"]).mean()


def _to_device_of(plan: Outputs | Intention) -> Callable[[np.ndarray], Tensor]:
    return lambda array: torch.from_numpy(array).to(plan.acceleration.device)


def _situation_loss(outputs: Outputs, batch: Batch) -> Tensor:
    """Mean square error over the numbers of a situation, [B]; 0 where what the coach makes of it is not known, or where
    several networks drive as one: each of them learns by itself."""
    if batch.situation is None or outputs.situation.shape[1] != batch.situation.shape[1]:
        return torch.zeros_like(outputs.acceleration)
    coached = _to_device_of(outputs)(batch.situation)
    known = torch.isfinite(coached).all(dim=-1, keepdim=True)
    return torch.where(known, outputs.situation.float() - coached, 0.0).square().mean(dim=1)


def _total(parts: dict[str, Tensor], config: "ImitationConfig") -> Tensor:
    return (
        parts["curvature"]
        + config.acceleration_weight * parts["acceleration"]
        + config.poses_weight * parts["poses"]
        + config.spread_weight * parts["spread"]
        + config.signal_weight * parts["signal"]
        + config.distance_weight * parts["distance"]
        + config.right_of_way_weight * parts["right_of_way"]
        + config.birds_eye_weight * parts["birds_eye"]
        + config.situation_weight * parts["situation"]
        + config.sightings_weight * parts["sightings"]
        + config.balance_weight * parts["balance"]
    )


def _reading_losses(
    outputs: Outputs, labels: Labels, tensor: Callable[[np.ndarray], Tensor]
) -> dict[str, Tensor]:
    """Losses of what the auxiliary heads read, [B] each."""
    signal = tensor(labels.signal_colour).long() + 1
    signal = torch.where(signal < heads.SIGNAL_CLASSES, signal, 0)
    stop_line = heads.scaled_distance(tensor(labels.stop_line_m))
    lead_gap = heads.scaled_distance(tensor(labels.lead_gap_m))
    lead_speed = tensor(labels.lead_speed_mps).nan_to_num(0.0, 0.0, 0.0) / heads.SPEED_SCALE_MPS
    control = tensor(labels.junction_control).long() + 1
    halt = heads.scaled_distance(tensor(labels.halt_m))
    return {
        "signal": functional.cross_entropy(outputs.signal_logits, signal, reduction="none"),
        "distance": _huber(outputs.stop_line - stop_line, 0.1)
        + _huber(outputs.lead_gap - lead_gap, 0.1)
        + _huber(outputs.lead_speed - lead_speed, 0.1) * (lead_gap < 1.0),
        "right_of_way": functional.cross_entropy(outputs.junction_logits, control, reduction="none")
        + _huber(outputs.halt - halt, 0.1),
    }


def _birds_eye_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the cells, [B]; 0 where they are not known."""
    known = (labels != BIRDS_EYE_UNKNOWN).float()
    losses = functional.binary_cross_entropy_with_logits(logits, labels * known, reduction="none")
    return (known * losses).flatten(1).mean(dim=1)


def _sightings_if_told(outputs: Outputs, batch: Batch) -> Tensor:
    """`sightings_loss`, [B]; 0 of a network that does not tell who is in its cells, or where nobody knows."""
    if batch.sightings is None or outputs.sightings.shape[1] == 0:
        return torch.zeros_like(outputs.acceleration)
    return sightings_loss(outputs.sightings, _to_device_of(outputs)(batch.sightings))


def sightings_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of who is in each cell [B, cells, 2], the mean over cells, [B]; 0 where it is not known."""
    losses = functional.binary_cross_entropy_with_logits(
        logits, truth.nan_to_num(0.0), reduction="none", pos_weight=logits.new_tensor(_SOMEBODY_EMPHASIS)
    )
    return torch.where(truth.isnan(), 0.0, losses).sum(dim=-1).mean(dim=1)


def _huber(error: Tensor, delta: float) -> Tensor:
    """Absolute error, rounded off within `delta` of zero."""
    return functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=delta) / delta


def _quantile(error: Tensor, quantile: float) -> Tensor:
    """Factor on the loss of an error with which its minimum is a quantile of the labels and not their median.

    Koenker, Bassett, "Regression quantiles", Econometrica 46 (1978), scaled so that the median's is 1.
    """
    return torch.where(error > 0.0, 2.0 * (1.0 - quantile), 2.0 * quantile)


def _known(poses: Tensor) -> Tensor:
    """Which poses of labels [..., 3] are known."""
    return torch.isfinite(poses).all(dim=-1)


def _pose_errors(poses: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean absolute error of x and y (m) and of yaw (rad), [B, 8] each; 0 where the label is not finite."""
    error = torch.where(_known(labels)[..., None], poses - labels, 0.0)
    yaw_error = torch.remainder(error[..., 2] + math.pi, 2.0 * math.pi) - math.pi
    return error[..., :2].abs().mean(dim=-1), yaw_error.abs()
