"""What training, export and vehicles ask of a network. Ours is `network.DriverNetwork`; bring one of your own."""

import abc
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor, nn

from fleetloop.core.errors import ConfigError
from fleetloop.core.types import CameraRig
from fleetloop.policy.features import Inputs
from fleetloop.policy.heads import Outputs


class DriverModel(nn.Module, abc.ABC):
    """A network that drives: `fleetloop train` teaches it, `export_onnx` writes it, `OnnxDriver` runs it.

    All of it must be exportable to ONNX by tracing: no branch on a tensor's value. The batch is open, the
    images are of the rig's sizes; where the cameras are (`Inputs.geometry`) may be used or left aside.
    """

    config: Any
    """A dataclass that says how to build it again; set for networks of your own by `build_network`."""
    rig: CameraRig
    """It fixes how many images there are and their sizes."""
    memory_width: int | None = None
    """Width of what `forward` wants to be given back MEMORY_DELAY_STEPS later; None for no memory."""

    @abc.abstractmethod
    def forward(
        self,
        inputs: Inputs,
        earlier: Float[Tensor, "B width"] | None = None,
        earlier_valid: Bool[Tensor, " B"] | None = None,
    ) -> tuple[Outputs, Float[Tensor, "B width"]]:
        """Outputs, and what to remember of this step: `encode_forward` of the first group's images.

        Without memory the second is not looked at. `earlier` is what this returned MEMORY_DELAY_STEPS ago.
        """

    def encode_forward(
        self,
        images: UInt8[Tensor, "B cameras height width 3"],
        geometry: Float32[Tensor, "cells features"],
    ) -> Float[Tensor, "B width"]:
        """What is remembered of the first group's images. Only a network with memory needs it."""
        raise NotImplementedError

    def forward_pair(
        self,
        inputs: Inputs,
        earlier_images: UInt8[Tensor, "B cameras height width 3"] | None,
        earlier_valid: Bool[Tensor, " B"] | None,
    ) -> Outputs:
        """The form used in training: earlier forward images instead of the memory that they would have left.

        No gradient flows into the earlier embedding: it is a memory, and that saves two thirds of its cost.
        """
        earlier = None
        if self.memory_width is not None:
            assert earlier_images is not None
            with torch.no_grad():
                earlier = self.encode_forward(earlier_images, inputs.geometry[0])
        return self(inputs, earlier, earlier_valid)[0]

    def learners(self) -> "Sequence[DriverModel]":
        """The networks that learn each by itself: this one, if it is no ensemble."""
        return [self]

    def adaptable_layers(self) -> list[nn.Linear]:
        """The layers on which low-rank adapters are put: all linear ones but the heads', if not overridden."""
        return [
            module
            for name, module in self.named_modules()
            if isinstance(module, nn.Linear) and not name.startswith("heads")
        ]


@dataclass(frozen=True)
class OwnNetwork:
    """A network whose code is not fleetloop's."""

    builder: str
    """package.module:function; called with a CameraRig, it returns a DriverModel with fresh weights."""
    memory: bool
    """Whether it has memory, and training batches therefore earlier images."""


_allowed: set[str] = set()


def allow_builder(builder: str) -> None:
    """Let networks be built by this function. Nothing is imported on a checkpoint's word alone.

    Raises:
        ConfigError: it does not name a function.
    """
    module, _, function = builder.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), function]):
        raise ConfigError(f"network: {builder!r} names no function; use package.module:function")
    _allowed.add(builder)


def own_network(builder: str, rig: CameraRig) -> OwnNetwork:
    """Allow a builder and ask the network that it builds for `rig` whether it has memory.

    Raises:
        ConfigError: it cannot be imported, or does not build a DriverModel.
    """
    allow_builder(builder)
    return OwnNetwork(builder, _call(builder, rig).memory_width is not None)


def build_own_network(config: OwnNetwork, rig: CameraRig) -> DriverModel:
    """A network of the user's own with fresh weights.

    Raises:
        ConfigError: the user did not allow its builder, it cannot be imported, or does not build what it
            should.
    """
    if config.builder not in _allowed:
        raise ConfigError(
            f"network: it is built by {config.builder}, code that is not fleetloop's; "
            f"if you trust it, say --network {config.builder}"
        )
    network = _call(config.builder, rig)
    if (network.memory_width is not None) != config.memory:
        raise ConfigError(
            f"network: {config.builder} builds one {'without' if config.memory else 'with'} memory, "
            "unlike when it was trained; use the code it was trained with"
        )
    network.config = config
    return network


def _call(builder: str, rig: CameraRig) -> DriverModel:
    module, _, name = builder.partition(":")
    try:
        function: Callable[[CameraRig], object] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"network: {builder} cannot be imported ({error}); install its package or set PYTHONPATH"
        ) from error
    if not callable(function):
        raise ConfigError(f"network: {builder} is no function; name one that returns a DriverModel")
    network = function(rig)
    if not isinstance(network, DriverModel):
        raise ConfigError(
            f"network: {builder} returned {type(network).__name__}; return a fleetloop.policy.model.DriverModel"
        )
    if network.rig != rig:
        raise ConfigError(f"network: {builder} built one for another rig; keep the rig that it is given")
    return network
