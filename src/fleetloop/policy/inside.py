"""Looking inside a network: what it attends to, what it predicts, and which experts it asks, for one observation.

Attention is the product of gradient and activation at the cells of the encoder's feature map, summed over channels:
what each cell contributes to the controls, to first order. Grad-CAM (Selvaraju et al., "Grad-CAM: Visual explanations
from deep networks via gradient-based localization", ICCV 2017) averages the gradient over the map first, which blurs
who is meant where the layers behind are no mean; left where it is, as in HiResCAM (Draelos and Carin, "Use HiResCAM
instead of Grad-CAM for faithful explanations of convolutional neural networks", arXiv:2011.08891, 2020), the map tells
how the controls change when a cell is dimmed a little. It says nothing of what would happen if a cell were gone.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from fleetloop.core.types import CameraRig, Observation
from fleetloop.policy.experts import mixture
from fleetloop.policy.export import TorchDriver
from fleetloop.policy.features import Inputs, inputs_from
from fleetloop.policy.heads import Outputs, decode
from fleetloop.policy.network import InspectableNetwork
from fleetloop.policy.runtime import OUTPUT_NAMES, Readings


@dataclass(frozen=True)
class Inside:
    """What goes on in a network that looks at one observation of one vehicle."""

    readings: Readings
    """What the auxiliary heads say, SI units; arrays have one row."""
    poses_in_ego: Float32[np.ndarray, "8 3"]
    """Of the plan: x, y (m), yaw (rad)."""
    spread_m: Float32[np.ndarray, " 8"]
    """Of each pose: scale of the Laplace distribution of its position."""
    experts: Float32[np.ndarray, "blocks experts"]
    """Weight of each expert in each block; the weights of a block add up to 1."""
    attention: Mapping[str, Float32[np.ndarray, "rows columns"]]
    """By name of the camera: what each cell (encoder.STRIDE pixels wide and high) contributes to the controls, in the
    scales in which they are trained (cube-spaced curvature, acceleration over 3 m/s^2); absolute values, added up."""


def look_inside(
    network: InspectableNetwork,
    observation: Observation,
    rig: CameraRig,
    earlier: Float[Tensor, "1 width"] | None = None,
    earlier_valid: Bool[Tensor, " 1"] | None = None,
) -> Inside:
    """All of it, for an observation of one vehicle with these cameras.

    Args:
        earlier, earlier_valid: what the network remembers; without it, nothing.
    """
    if network.memory_width is not None and earlier is None:
        earlier = torch.zeros(1, network.memory_width)
        earlier_valid = torch.zeros(1, dtype=torch.bool)
    return inspect(network, rig, inputs_from(observation, rig), earlier, earlier_valid)[0]


def inspect(
    network: InspectableNetwork,
    rig: CameraRig,
    inputs: Inputs,
    earlier: Float[Tensor, "1 width"] | None,
    earlier_valid: Bool[Tensor, " 1"] | None,
) -> tuple[Inside, Outputs, Float[Tensor, "1 width"]]:
    """`look_inside` of tensors; also the outputs, and what to remember."""
    cells: list[Tensor] = []

    def keep_cells(_: nn.Module, __: Any, output: Tensor) -> None:
        cells.append(output)

    with gates_of(network) as gates, torch.enable_grad():
        hooks = [
            encoder.convolutions.register_forward_hook(keep_cells) for encoder in network.camera_encoders()
        ]
        try:
            outputs, current = network(inputs, earlier, earlier_valid)
        finally:
            for hook in hooks:
                hook.remove()
        # One after the other the encoders saw all groups of cameras.
        groups = len(rig.groups)
        contributions = [torch.zeros_like(part[:, 0]) for part in cells[:groups]]
        for control in (outputs.curvature_control, outputs.acceleration):
            gradients = torch.autograd.grad(control.sum(), cells, retain_graph=True)
            for index, (part, gradient) in enumerate(zip(cells, gradients, strict=True)):
                contributions[index % groups] += (part.detach() * gradient).sum(dim=1).abs()
    decoded = decode(Outputs(*(value.detach() for value in outputs)))
    inside = Inside(
        readings=Readings(**{name: getattr(decoded, name).numpy() for name in OUTPUT_NAMES[4:]}),
        poses_in_ego=outputs.poses_in_ego[0].detach().numpy(),
        spread_m=outputs.spread_m[0].detach().numpy(),
        experts=np.stack([gate[0].numpy() for gate in gates]).astype(np.float32),
        attention={
            camera.name: part.numpy().astype(np.float32)
            for group, parts in zip(rig.groups, contributions, strict=True)
            for camera, part in zip(group, parts, strict=True)
        },
    )
    return inside, outputs, current.detach()


@contextmanager
def gates_of(network: InspectableNetwork) -> Iterator[list[Float[Tensor, "B experts"]]]:
    """A list that the weights of the experts are appended to, block by block, whenever the network runs."""
    gates: list[Tensor] = []

    def keep(_: nn.Module, __: Any, logits: Tensor) -> None:
        gates.append(mixture(logits.detach())[2])

    hooks = [block.router.register_forward_hook(keep) for block in network.expert_blocks()]
    try:
        yield gates
    finally:
        for hook in hooks:
            hook.remove()


class InspectedDriver(TorchDriver):
    """A network that drives one vehicle and is looked into at every step."""

    def __init__(self, network: InspectableNetwork, rig: CameraRig) -> None:
        super().__init__(network, rig, vehicles=1)
        self._inspected = network
        self.inside: Inside | None = None
        """Of the last plan."""

    def _run(self, inputs: Inputs) -> tuple[Outputs, Float[Tensor, "W width"]]:
        self.inside, outputs, current = inspect(
            self._inspected, self.rig, inputs, self._memory[:, 0], self._valid[:, 0]
        )
        return Outputs(*(value.detach() for value in outputs)), current
