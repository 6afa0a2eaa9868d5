"""Several networks that drive as one: they do not overlook the same things.

Lakshminarayanan, Pritzel, Blundell, "Simple and scalable predictive uncertainty estimation using deep ensembles",
NeurIPS 2017: networks that differ in nothing but their first weights err differently, and where they disagree they do
not know. What it brings here is in docs/adr/0008.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor, nn

from fleetloop.policy.encoder import CameraEncoder
from fleetloop.policy.experts import ExpertBlock
from fleetloop.policy.features import Inputs, control_from_curvature, curvature_from_control
from fleetloop.policy.heads import Outputs
from fleetloop.policy.model import DriverModel
from fleetloop.policy.planner import SITUATION_WIDTH, Intention

if TYPE_CHECKING:
    # It builds ensembles of what it defines.
    from fleetloop.policy.network import DriverNetwork, EnsembleConfig

CREEPS_MPS = 2.0
"""Slower than this doubt brakes less, and who stands not at all: it creeps on until it sees more, instead of standing
where nobody is for as long as one member doubts it (docs/adr/0014)."""


class Ensemble(DriverModel):
    """Drives by the mean of its members' plans, the more cautiously the less they agree. Each learns by itself."""

    members: nn.ModuleList

    def __init__(self, config: "EnsembleConfig", members: Sequence["DriverNetwork"]) -> None:
        super().__init__()
        self.config, self.rig = config, members[0].rig
        self.members = nn.ModuleList(members)
        self._widths = [member.memory_width or 0 for member in members]
        self.memory_width = sum(self._widths) or None

    def learners(self) -> Sequence["DriverNetwork"]:
        """The members."""
        return list(self.members)  # pyright: ignore[reportReturnType]

    def forward(
        self,
        inputs: Inputs,
        earlier: Float[Tensor, "B width"] | None = None,
        earlier_valid: Bool[Tensor, " B"] | None = None,
    ) -> tuple[Outputs, Float[Tensor, "B width"]]:
        """As of any driver; what it remembers is what its members do, side by side."""
        parts: Sequence[Tensor | None] = [None] * len(self._widths)
        if earlier is not None:
            parts = torch.split(earlier, self._widths, dim=-1)
        outputs, current = zip(
            *(
                member(inputs, part if width else None, earlier_valid if width else None)
                for member, part, width in zip(self.members, parts, self._widths, strict=True)
            ),
            strict=True,
        )
        kept = [part[:, :width] for part, width in zip(current, self._widths, strict=True)]
        return combined(outputs, self._caution(inputs.ego_history[:, -1, 0])), torch.cat(kept, dim=-1)

    def plans(
        self, situation: Float[Tensor, "B situation"], speed_mps: Float[Tensor, " B"]
    ) -> list[Intention]:
        """What each member's planner makes of its own situation; they are given side by side."""
        own = situation.split(SITUATION_WIDTH, dim=-1)
        members = zip(self.learners(), own, strict=True)
        return [plan for member, part in members for plan in member.plans(part, speed_mps)]

    def agreed(self, plans: list[Intention], speed_mps: Float[Tensor, " B"]) -> Intention:
        """What drives, of the members' plans."""
        return agreed(plans, self._caution(speed_mps))

    def _caution(self, speed_mps: Float[Tensor, " B"]) -> Float[Tensor, " B"] | float:
        """Standard deviations below the mean that it drives by."""
        if not self.config.creeps:
            return self.config.caution
        return self.config.caution * (speed_mps / CREEPS_MPS).clamp(0.0, 1.0)

    def encode_forward(
        self,
        images: UInt8[Tensor, "B cameras height width 3"],
        geometry: Float32[Tensor, "cells features"],
    ) -> Float[Tensor, "B width"]:
        """What those members that have memory remember of the forward group, side by side."""
        remembering = [member for member in self.learners() if member.memory_width is not None]
        return torch.cat([member.encode_forward(images, geometry) for member in remembering], dim=-1)

    def camera_encoders(self) -> list[CameraEncoder]:
        """One of each member."""
        return [encoder for member in self.learners() for encoder in member.camera_encoders()]

    def expert_blocks(self) -> list[ExpertBlock]:
        """Those of all members."""
        return [block for member in self.learners() for block in member.expert_blocks()]

    def adaptable_layers(self) -> list[nn.Linear]:
        """Those of all members."""
        return [layer for member in self.learners() for layer in member.adaptable_layers()]


def combined(outputs: Sequence[Outputs], caution: Float[Tensor, " B"] | float = 1.0) -> Outputs:
    """What several networks say together.

    What drives they agree on (`agreed`); distances are averaged, and so are probabilities. A spread is the mean one
    plus how far the poses lie apart (the mean distance from their mean: the scale of a Laplace distribution, as the
    spread is). There is no situation that they agree on: theirs are laid side by side; and who is in which cell each
    tells for itself.
    """

    def mean(name: str) -> Tensor:
        return stacked(name).mean(dim=0)

    def stacked(name: str) -> Tensor:
        return torch.stack([getattr(output, name) for output in outputs])

    plan = agreed(outputs, caution)
    apart = (stacked("poses_in_ego") - plan.poses_in_ego)[..., :2]
    apart_m = apart.square().sum(dim=-1).add(1e-12).sqrt().mean(dim=0)
    return Outputs(
        curvature_control=plan.curvature_control,
        acceleration=plan.acceleration,
        poses_in_ego=plan.poses_in_ego,
        spread_m=mean("spread_m") + apart_m,
        signal_logits=_mean_probability(stacked("signal_logits")),
        stop_line=mean("stop_line"),
        lead_gap=mean("lead_gap"),
        lead_speed=mean("lead_speed"),
        junction_logits=_mean_probability(stacked("junction_logits")),
        halt=mean("halt"),
        birds_eye_logits=torch.logit(torch.sigmoid(stacked("birds_eye_logits")).mean(dim=0), 1e-6),
        balance_loss=plan.balance_loss,
        situation=torch.cat([output.situation for output in outputs], dim=-1),
        sightings=outputs[0].sightings[:, :0],
    )


def agreed(
    plans: Sequence[Outputs] | Sequence[Intention], caution: Float[Tensor, " B"] | float = 1.0
) -> Intention:
    """What several networks do together: curvature and poses are their mean, the acceleration is `caution` standard
    deviations below it."""
    accelerations = torch.stack([plan.acceleration for plan in plans])
    doubt = accelerations - accelerations.mean(dim=0)
    controls = torch.stack([plan.curvature_control for plan in plans])
    control = control_from_curvature(curvature_from_control(controls).mean(dim=0))
    # Where curvatures cancel, the slope of the cube root has no bound; learnt is with that of the mean control.
    slope = controls.mean(dim=0)
    return Intention(
        curvature_control=slope + (control - slope).detach(),
        acceleration=accelerations.mean(dim=0) - caution * doubt.square().mean(dim=0).add(1e-12).sqrt(),
        poses_in_ego=torch.stack([plan.poses_in_ego for plan in plans]).mean(dim=0),
        balance_loss=torch.stack([plan.balance_loss for plan in plans]).mean(dim=0),
    )


def _mean_probability(logits: Float[Tensor, "members B classes"]) -> Float[Tensor, "B classes"]:
    """Logits of the mean of the members' probabilities."""
    return torch.log(torch.softmax(logits, dim=-1).mean(dim=0).clamp_min(1e-9))
