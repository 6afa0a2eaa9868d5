"""Checkpoints of networks that learnt apart -> one of an ensemble."""

from collections.abc import Sequence
from pathlib import Path

from fleetloop.artifacts.lineage import Artifact
from fleetloop.core.errors import ConfigError
from fleetloop.policy.ensemble import Ensemble
from fleetloop.policy.network import DriverNetwork, EnsembleConfig, InspectableNetwork
from fleetloop.stages.workspace import network_of, write_network


def join_checkpoints(path: Path, checkpoints: Sequence[Path]) -> Artifact:
    """Write the ensemble of the networks of `checkpoints`, whose members join one by one where they are ensembles.

    Raises:
        CheckpointError: one of them cannot be read, was altered, or does not fit its config.
        ConfigError: they are fewer than two, are not all of fleetloop's own, or see by other cameras.
        StorageError: the folder cannot be written.
    """
    if len(checkpoints) < 2:
        raise ConfigError(f"join: {len(checkpoints)} checkpoints; give 2 or more")
    members: list[DriverNetwork] = []
    parents: list[str] = []
    for checkpoint in checkpoints:
        network, checkpoint_id = network_of(checkpoint)
        if not isinstance(network, InspectableNetwork):
            raise ConfigError(f"{checkpoint}: is no network of fleetloop's own; only those can be joined")
        if members and network.rig != members[0].rig:
            raise ConfigError(
                f"{checkpoint}: was trained around other cameras than {checkpoints[0]}; join networks of one rig"
            )
        members += network.learners()
        parents.append(checkpoint_id)
    config = EnsembleConfig(tuple(member.config for member in members))
    return write_network(path, Ensemble(config, members), parents, {"members": len(members)})
