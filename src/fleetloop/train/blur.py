"""What cameras cannot tell: noise on what the coach sees while it learns.

A driver that is told its place in the lane to the millimetre steers by millimetres, and its situation says little else:
an earlier coach's changed more when the car stood 0.1 m beside its path than when everybody else was taken away. A
network that sees a lane of 96 pixels cannot tell such a situation, and learns little from trying. So the coach learns
with an uncertainty like that of the pictures.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fleetloop.sim.privileged_view import LINE_FIELD, PRIVILEGED_OTHER, PRIVILEGED_OWN
from fleetloop.sim.state_view import (
    HEADING_FIELDS,
    LEAD_FIELDS,
    NEAR_SCALE_M,
    OFFSET_FIELD,
    OFFSET_SCALE_M,
    OTHERS,
    OWN_FIELDS,
    PREVIEW_FIELDS,
    PREVIEW_M,
    SPEED_SCALE_MPS,
)


@dataclass(frozen=True)
class Blur:
    """Standard deviations."""

    offset_m: float = 0.1
    """Of the place across the lane; the path ahead is moved with it."""
    heading_rad: float = 0.02
    """Of the angle to the lane; the path ahead is turned with it."""
    range_share: float = 0.08
    """Of the distance to others, to the vehicle ahead and to the stop line, in proportion to it."""
    bearing_rad: float = 0.01
    """Of the direction in which others are."""
    speed_mps: float = 0.7
    """Of others' speeds."""


def blurred(privileged: Float[Tensor, "B fields"], blur: Blur) -> Float[Tensor, "B fields"]:
    """Rows of `privileged_view` as one might guess them from pictures."""
    own, rest = privileged.split([PRIVILEGED_OWN, OTHERS * PRIVILEGED_OTHER], dim=-1)
    others = rest.reshape(-1, OTHERS, PRIVILEGED_OTHER)
    return torch.cat([_blur_own(own.clone(), blur), _blur_others(others.clone(), blur).flatten(1)], dim=-1)


def _blur_own(own: Float[Tensor, "B fields"], blur: Blur) -> Float[Tensor, "B fields"]:
    """In place."""

    def noise(deviation: float) -> Float[Tensor, " B"]:
        return deviation * torch.randn(len(own))

    left_m, turned = noise(blur.offset_m), noise(blur.heading_rad)
    own[:, OFFSET_FIELD] += left_m / OFFSET_SCALE_M
    sine, cosine = own[:, HEADING_FIELDS[0]].clone(), own[:, HEADING_FIELDS[1]].clone()
    own[:, HEADING_FIELDS[0]], own[:, HEADING_FIELDS[1]] = sine + turned * cosine, cosine - turned * sine
    path = own[:, OWN_FIELDS : OWN_FIELDS + len(PREVIEW_M) * PREVIEW_FIELDS]
    points = path.reshape(len(own), len(PREVIEW_M), PREVIEW_FIELDS)
    ahead, left = points[:, :, 0].clone(), points[:, :, 1] - left_m[:, None] / NEAR_SCALE_M
    points[:, :, 0], points[:, :, 1] = ahead + turned[:, None] * left, left - turned[:, None] * ahead
    own[:, OWN_FIELDS : OWN_FIELDS + len(PREVIEW_M) * PREVIEW_FIELDS] = points.flatten(1)
    gap, speed = LEAD_FIELDS
    there = (own[:, gap] < 1.0).to(own.dtype)
    own[:, gap] *= 1.0 + there * noise(blur.range_share)
    own[:, speed] += there * noise(blur.speed_mps) / SPEED_SCALE_MPS
    own[:, LINE_FIELD] *= 1.0 + noise(blur.range_share)
    return own


def _blur_others(others: Float[Tensor, "B others fields"], blur: Blur) -> Float[Tensor, "B others fields"]:
    """In place."""
    there = others[:, :, 0]
    nearer, turned = (
        deviation * torch.randn(there.shape) for deviation in (blur.range_share, blur.bearing_rad)
    )
    ahead, left = others[:, :, 1].clone(), others[:, :, 2].clone()
    others[:, :, 1] = (1.0 + nearer) * (ahead - turned * left)
    others[:, :, 2] = (1.0 + nearer) * (left + turned * ahead)
    others[:, :, 5:7] += (
        there[:, :, None] * blur.speed_mps / SPEED_SCALE_MPS * torch.randn_like(others[:, :, 5:7])
    )
    return others
