"""From a release back to a checkpoint, to go on learning from it: a Bundle holds every weight of its network."""

from pathlib import Path

from fleetloop.artifacts.checkpoint import read_coach
from fleetloop.artifacts.lineage import Artifact
from fleetloop.releases.find import FoundDriver
from fleetloop.stages.workspace import write_network


def restore_checkpoint(found: FoundDriver, path: Path) -> Artifact:
    """Write the network of a release as a Checkpoint, whose parent is what was found.

    Its plans are compared with the Bundle's. The coach that taught it is there again if it lay beside the Bundle.
    Optimisers begin anew: their state is in no release.

    Raises:
        InputError: it is a network of somebody's own.
        CheckpointError: the coach is damaged.
        BundleError: the Bundle was made by an earlier version, or it computes in 8-bit integers.
        StorageError: the folder cannot be written.
    """
    coach = None if found.taught_by is None else read_coach(found.taught_by)
    return write_network(path, found.for_inspection(), [found.id], {}, coach)
