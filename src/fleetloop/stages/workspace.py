"""The folders of a run, and what is loaded from them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fleetloop.artifacts.checkpoint import read_checkpoint, write_checkpoint
from fleetloop.artifacts.episode import rig_from_json, rig_to_json
from fleetloop.artifacts.lineage import (
    Artifact,
    verify_artifact,
)
from fleetloop.core.errors import CheckpointError
from fleetloop.core.types import World
from fleetloop.policy.model import DriverModel
from fleetloop.policy.network import build_network, config_from_dict, config_to_dict
from fleetloop.progress import stage
from fleetloop.sim import traffic
from fleetloop.sim.compiling import compile_kernels
from fleetloop.sim.roads.library import TownLibrary


class Workspace:
    """The folders of a run, and what is loaded from them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.library = TownLibrary(folder / "towns")
        self.dataset = folder / "dataset"
        self.repository = folder / "repository"
        self.keys = folder / "keys"
        self.vehicle = folder / "vehicle"
        self.page = folder / "report.html"

    def turn(self, number: int) -> Path:
        """The folder of a turn."""
        return self.folder / "turns" / f"{number:02d}"


def make_world(library: TownLibrary, towns: Sequence[str]) -> World:
    """Load or make towns, and the kernels that drive in them, with bars."""
    with stage(f"towns ({len(towns)})") as progress:
        world = library.world(towns, progress)
    if not traffic.decide.signatures:
        with stage("kernels (compiled once)") as progress:
            compile_kernels(world, library, towns[0], progress)
    return world


def network_of(checkpoint: Path) -> tuple[DriverModel, str]:
    """Build the network of a checkpoint; returns it with the checkpoint's id.

    Raises:
        CheckpointError: it cannot be read, was altered, or does not fit its config.
    """
    tensors, config, artifact = read_verified(checkpoint)
    try:
        network = build_network(config_from_dict(config["network"]), rig_from_json(config["rig"]))
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{checkpoint}: the weights do not fit the config beside them; train again"
        ) from error
    return network.eval(), artifact.id


def write_network(
    path: Path,
    network: DriverModel,
    parents: Sequence[str],
    figures: Mapping[str, float],
    coach: Mapping[str, torch.Tensor] | None = None,
) -> Artifact:
    """Write a checkpoint of a network that was made of others, without training: the inverse of `network_of`.

    Args:
        coach: weights of who taught it.

    Raises:
        StorageError: the folder cannot be written.
    """
    content = {"network": config_to_dict(network.config), "rig": rig_to_json(network.rig)}
    return write_checkpoint(path, network.state_dict(), content, list(parents), 0, dict(figures), coach)


def read_verified(checkpoint: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any], Artifact]:
    # Read first: what cannot be read at all is named more closely than what was changed.
    content = read_checkpoint(checkpoint)
    verify_artifact(checkpoint)
    return content
