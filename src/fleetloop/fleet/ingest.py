"""Take in what vehicles uploaded: salvage cut recordings, check every Episode, leave out the rest."""

from collections.abc import Callable
from pathlib import Path

from fleetloop.artifacts.episode_reader import read_episode, recover_episode
from fleetloop.artifacts.lineage import ArtifactKind, record_path, verify_artifact, write_artifact
from fleetloop.core.errors import InputError
from fleetloop.core.files import PARTIAL_SUFFIX

Refused = tuple[Path, str]
"""A recording that cannot be used, and a sentence that says why."""


def ingest(path: Path, progress: Callable[[float], None] | None = None) -> tuple[list[Path], list[Refused]]:
    """Episodes below the folder `path`, or the one at it: those that may be used, and those refused with why.

    A recording that was cut (NAME.mcap.partial) is recovered as far as it goes, and takes its name. One with
    a record of lineage is checked against its id; one without gets a record. Nothing is deleted.

    Raises:
        StorageError: the disk is full.
    """
    refused: list[Refused] = []
    for partial in sorted(path.rglob(f"*.mcap{PARTIAL_SUFFIX}")):
        try:
            recover_episode(partial)
        except InputError as error:
            refused.append((partial, str(error)))
    accepted: list[Path] = []
    found = sorted(path.rglob("*.mcap")) if path.is_dir() else [path]
    for number, episode in enumerate(found):
        try:
            if record_path(episode).exists():
                verify_artifact(episode)
            else:
                _record(episode)
            accepted.append(episode)
        except InputError as error:
            refused.append((episode, str(error)))
        if progress is not None:
            progress((number + 1) / len(found))
    return accepted, refused


def _record(path: Path) -> None:
    episode = read_episode(path)
    metadata = episode.metadata
    parents = [metadata.release] if metadata.release else []
    config = {"ingested": True, "vehicle": metadata.vehicle}
    write_artifact(path, ArtifactKind.EPISODE, parents, config, metadata.seed, episode.figures)
