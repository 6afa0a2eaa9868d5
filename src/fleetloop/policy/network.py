"""The driver network: cameras, memory, ego motion, navigation and clock -> trunk of experts -> heads."""

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, overload

import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional

from fleetloop.core.errors import ConfigError
from fleetloop.core.types import CameraRig, SightingLayer
from fleetloop.policy import features
from fleetloop.policy.encoder import STRIDE, CameraEncoder
from fleetloop.policy.ensemble import Ensemble
from fleetloop.policy.experts import ExpertBlock, through_blocks
from fleetloop.policy.features import Inputs
from fleetloop.policy.heads import Heads, Outputs
from fleetloop.policy.memory import Memory
from fleetloop.policy.model import DriverModel, OwnNetwork, build_own_network
from fleetloop.policy.planner import Intention, Planner

GROUP_NAMES = ("forward", "around")
"""Names of a rig's groups: the first looks ahead and is the one that is remembered."""


class NetworkSize(StrEnum):
    """The one dial; everything else follows from it."""

    TINY = "tiny"
    BASE = "base"
    LARGE = "large"


_WIDTH_FACTOR = {NetworkSize.TINY: 1, NetworkSize.BASE: 2, NetworkSize.LARGE: 4}


@dataclass(frozen=True)
class NetworkConfig:
    """What must be known, beside the rig, to build the network again."""

    size: NetworkSize = NetworkSize.TINY
    memory: bool = True
    """Whether the embedding of 0.4 s ago is an input: it shows how others move and costs training time."""
    past_controls: bool = False
    """Whether accelerations and curvatures of the last 0.8 s are inputs, or the present speed alone.

    A network that sees what was just done learns to go on doing it (de Haan, Jayaraman, Levine, "Causal
    confusion in imitation learning", NeurIPS 2019).
    """
    experts: int = 4
    planner: bool = False
    """Whether the plan is made from a situation that a coach can tell, or straight from the trunk."""
    turn_ends: bool = True
    """Whether it reads where the next turns end: the lane beyond a junction need not lie straight ahead."""
    sightings: bool = False
    """Whether it tells who is in each cell of the pictures, with a convolution more for it."""
    stood: bool = True
    """Whether it reads how long it has stood: after a stop at a stop sign it may go, before it not."""

    @property
    def factor(self) -> int:
        """Width relative to tiny."""
        return _WIDTH_FACTOR[self.size]

    @property
    def channels(self) -> tuple[int, ...]:
        """Output channels of the convolutions."""
        channels = (32, 64, 96, 96) if self.sightings else (32, 48, 64)
        return tuple(self.factor * count for count in channels)

    @property
    def basis(self) -> int:
        """Functions of the ray that pool the cells."""
        return 32 * self.factor

    @property
    def embedding_width(self) -> int:
        """Width of an image embedding, and of the memory."""
        return 256 * self.factor

    @property
    def trunk_width(self) -> int:
        """Width of the trunk."""
        return 256 * self.factor

    @property
    def blocks(self) -> int:
        """Blocks of experts in the trunk."""
        return 1 + self.factor


@dataclass(frozen=True)
class EnsembleConfig:
    """Several networks that drive as one (`policy.ensemble`)."""

    members: tuple[NetworkConfig, ...]
    creeps: bool = True
    """Whether doubt brakes who stands or crawls less; those from before brake alike at all speeds."""
    caution: float = 0.6
    """Standard deviations between the members that the acceleration is below their mean. With 1, as those from before
    have it, the lower of two drives: no safer, and more slowly (docs/adr/0020)."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.caution <= 10.0:
            raise ConfigError(f"network config: caution is {self.caution}; use 0 to 10 standard deviations")
        if len(self.members) < 2:
            raise ConfigError(f"network config: {len(self.members)} members; an ensemble has 2 or more")
        if len({member.experts for member in self.members}) > 1:
            raise ConfigError(
                "network config: the members have different numbers of experts; use the same for all"
            )

    @property
    def memory(self) -> bool:
        """Whether any member has one."""
        return any(member.memory for member in self.members)


AnyNetwork = NetworkConfig | EnsembleConfig | OwnNetwork
"""What must be known to build a network, ours or the user's own."""


def tells_sightings(config: AnyNetwork) -> bool:
    """Whether a network, or one of those that drive as one, tells who is in which cell: batches need the truth then."""
    if isinstance(config, EnsembleConfig):
        return any(member.sightings for member in config.members)
    return isinstance(config, NetworkConfig) and config.sightings


def reads_stood(config: AnyNetwork) -> bool:
    """Whether a network may read how long it has stood; so does its coach then."""
    if isinstance(config, EnsembleConfig):
        return all(member.stood for member in config.members)
    return not isinstance(config, NetworkConfig) or config.stood


def config_to_dict(config: AnyNetwork) -> dict[str, Any]:
    """The config as plain JSON values."""
    if isinstance(config, EnsembleConfig):
        return {
            "members": [config_to_dict(member) for member in config.members],
            "creeps": config.creeps,
            "caution": config.caution,
        }
    content = dataclasses.asdict(config)
    return content if isinstance(config, OwnNetwork) else {**content, "size": str(config.size)}


def config_from_dict(content: Any) -> AnyNetwork:
    """The inverse of `config_to_dict`.

    Raises:
        ConfigError: it is no object, or a field is missing, unknown or of another type.
    """
    if not isinstance(content, dict):
        raise ConfigError(
            "network config: is no JSON object; use the config.json that was written with the weights"
        )
    if set(content) == {field.name for field in dataclasses.fields(OwnNetwork)}:
        return OwnNetwork(str(content["builder"]), bool(content["memory"]))
    if "members" in content and set(content) <= {field.name for field in dataclasses.fields(EnsembleConfig)}:
        members, creeps = content["members"], content.get("creeps", False)
        caution = content.get("caution", 1.0)
        is_number = isinstance(caution, int | float) and not isinstance(caution, bool)
        if not (isinstance(members, list) and isinstance(creeps, bool) and is_number):
            raise ConfigError(
                "network config: members is no list, creeps not true or false, or caution no number; "
                "use the config.json beside the weights"
            )
        return EnsembleConfig(tuple(map(_own_config_from_dict, members)), creeps, float(caution))
    return _own_config_from_dict(content)


def _own_config_from_dict(content: Any) -> NetworkConfig:
    """That of one network of ours."""
    if not isinstance(content, dict):
        raise ConfigError(
            "network config: a member is no JSON object; use the config.json beside the weights"
        )
    # Networks from before there was a planner have none, the hint did not say where turns end, and nobody asked
    # who is in a cell or told how long it had stood.
    content = {"planner": False, "turn_ends": False, "sightings": False, "stood": False, **content}
    names = {field.name for field in dataclasses.fields(NetworkConfig)}
    if set(content) != names:
        raise ConfigError(
            f"network config: fields {sorted(set(content) ^ names)} are missing or unknown; "
            "use the config.json that was written with the weights"
        )
    if content["size"] not in tuple(NetworkSize):
        raise ConfigError(f"network config: size is {content['size']!r}; use tiny, base or large")
    experts = content["experts"]
    if not isinstance(experts, int) or isinstance(experts, bool) or experts < 2:
        raise ConfigError(f"network config: experts is {experts!r}; use a whole number of at least 2")
    for name in ("memory", "past_controls", "planner", "turn_ends", "sightings", "stood"):
        if not isinstance(content[name], bool):
            raise ConfigError(f"network config: {name} is {content[name]!r}; use true or false")
    return NetworkConfig(**{**content, "size": NetworkSize(content["size"])})


class DriverNetwork(DriverModel):
    """Photons to plan. Build it with `build_network`."""

    def __init__(self, config: NetworkConfig, rig: CameraRig) -> None:
        super().__init__()
        self.config = config
        self.rig = rig
        width = config.embedding_width
        self.encoder = CameraEncoder(config.channels, config.basis, width)
        self.sightings = nn.Linear(config.channels[-1], len(SightingLayer)) if config.sightings else None
        self.normalise_embedding = nn.LayerNorm(width)
        self.normalise_forward = nn.LayerNorm(width, elementwise_affine=False)
        self.memory = Memory(width) if config.memory else None
        self.memory_width = width if config.memory else None
        measured = features.EGO_FEATURES + features.CLOCK_FEATURES
        measured += features.NAVIGATION_FEATURES if config.turn_ends else features.TURN_FEATURES
        measured += features.PAST_CONTROL_FEATURES if config.past_controls else 0
        measured += features.STOOD_FEATURES if config.stood else 0
        self.measured = nn.Sequential(nn.Linear(measured, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU())
        self.enter = nn.Linear(width + 128 + (width if config.memory else 0), config.trunk_width)
        self.blocks = nn.ModuleList(
            ExpertBlock(config.trunk_width, config.trunk_width, config.experts) for _ in range(config.blocks)
        )
        self.normalise = nn.LayerNorm(config.trunk_width)
        self.heads = Heads(config.trunk_width, Planner(config.experts) if config.planner else None)

    def encode_forward(
        self,
        images: UInt8[Tensor, "B cameras height width 3"],
        geometry: Float32[Tensor, "cells features"],
    ) -> Float[Tensor, "B width"]:
        """The embedding of the forward group that memory keeps."""
        return self.normalise_forward(self.encoder(images, geometry))

    def forward(
        self,
        inputs: Inputs,
        earlier: Float[Tensor, "B width"] | None = None,
        earlier_valid: Bool[Tensor, " B"] | None = None,
    ) -> tuple[Outputs, Float[Tensor, "B width"]]:
        """Outputs, and the embedding of the forward group to remember.

        `earlier` is what this method returned MEMORY_DELAY_STEPS ago; both are needed when the config has
        memory.
        """
        cells = list(map(self.encoder.cells, inputs.images))
        forward, *around = map(self.encoder.pool, cells, inputs.geometry)
        embedding = forward
        for part in around:
            embedding = embedding + part
        measured = torch.cat(
            [
                features.ego_features(inputs.ego_history, self.config.past_controls, self.config.stood),
                features.navigation_features(inputs.navigation, self.config.turn_ends),
                features.clock_features(inputs.time_of_day_h),
            ],
            dim=-1,
        )
        parts = [self.normalise_embedding(embedding), self.measured(measured)]
        if self.memory is not None:
            assert earlier is not None and earlier_valid is not None
            parts.append(self.memory(earlier, earlier_valid))
        x = self.enter(torch.cat([part.to(parts[1].dtype) for part in parts], dim=-1))
        x, balance = through_blocks(self.blocks, x)
        x = functional.relu(self.normalise(x))
        outputs = self.heads(x, inputs.ego_history[:, -1, 0], balance)
        if self.sightings is not None:
            outputs = outputs._replace(sightings=self.see(cells))
        return outputs, self.normalise_forward(forward)

    def see(self, cells: list[Float[Tensor, "B cells channels"]]) -> Float[Tensor, "B cells 2"]:
        """Logits of who is in the cells of all groups."""
        assert self.sightings is not None
        return self.sightings(torch.cat(cells, dim=1)).float()

    def plans(
        self, situation: Float[Tensor, "B situation"], speed_mps: Float[Tensor, " B"]
    ) -> list[Intention]:
        """What its planner makes of a situation; it must have one."""
        assert self.heads.planner is not None
        return [self.heads.planner(situation, speed_mps)]

    def agreed(self, plans: list[Intention], speed_mps: Float[Tensor, " B"]) -> Intention:
        """What drives, of `plans`: the only one."""
        return plans[0]

    def learners(self) -> "list[DriverNetwork]":
        """Itself."""
        return [self]

    def camera_encoders(self) -> list[CameraEncoder]:
        """The one that it has, which is used for each group of cameras in turn."""
        return [self.encoder]

    def expert_blocks(self) -> list[ExpertBlock]:
        """Those of the trunk, then those of the planner."""
        return [module for module in self.modules() if isinstance(module, ExpertBlock)]

    def adaptable_layers(self) -> list[nn.Linear]:
        """Those of the experts, and the ones that project what the cameras saw and enter the trunk."""
        experts = [layer for block in self.expert_blocks() for layer in (block.up, block.down)]
        return [self.encoder.project, self.enter, *experts]  # pyright: ignore[reportReturnType]


InspectableNetwork = DriverNetwork | Ensemble
"""A network of ours, which can be looked into."""


@overload
def build_network(config: NetworkConfig, rig: CameraRig) -> DriverNetwork: ...
@overload
def build_network(config: EnsembleConfig, rig: CameraRig) -> Ensemble: ...
@overload
def build_network(config: AnyNetwork, rig: CameraRig) -> DriverModel: ...
def build_network(config: AnyNetwork, rig: CameraRig) -> DriverModel:
    """A network with fresh weights (from torch's global generator).

    `rig` is the one it is trained around: it fixes how many images there are and their sizes; where the
    cameras are is an input.

    Raises:
        ConfigError: the rig has no groups, more than GROUP_NAMES, unequal images within a group, or an image
            size that is not a multiple of STRIDE; or it is the user's own and cannot be built.
    """
    if isinstance(config, OwnNetwork):
        return build_own_network(config, rig)
    if isinstance(config, EnsembleConfig):
        return Ensemble(config, [build_network(member, rig) for member in config.members])
    if not 1 <= len(rig.groups) <= len(GROUP_NAMES):
        raise ConfigError(
            f"rig: {len(rig.groups)} groups of cameras; use one or two ({', '.join(GROUP_NAMES)})"
        )
    for name, group in zip(GROUP_NAMES, rig.groups, strict=False):
        if len({(camera.height, camera.width) for camera in group}) != 1:
            raise ConfigError(f"rig: the cameras of group {name} differ in image size; give all the same")
        if group[0].height % STRIDE or group[0].width % STRIDE:
            raise ConfigError(
                f"rig: images of group {name} are {group[0].width}x{group[0].height}; "
                f"use multiples of {STRIDE}"
            )
    network = DriverNetwork(config, rig)
    network.encoder.convolutions.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return network
