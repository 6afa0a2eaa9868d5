"""Take in what vehicles uploaded: salvage cut recordings, check every Episode against its id, drop what is not one."""

from collections.abc import Callable
from pathlib import Path

from fleetloop.artifacts.episode_reader import recover_episode
from fleetloop.artifacts.lineage import ArtifactKind, verify_artifact, write_artifact
from fleetloop.core.errors import FleetloopError, InputError
from fleetloop.core.files import PARTIAL_SUFFIX


def ingest(
    folder: Path, progress: Callable[[float], None] | None = None
) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Episodes below `folder` that may be used, sorted, and those refused with the reason.

    A recording that was cut (NAME.mcap.partial) is recovered as far as it goes. Nothing is deleted.
    """
    for partial in sorted(folder.rglob(f"*.mcap{PARTIAL_SUFFIX}")):
        try:
            recovered = recover_episode(partial)
        except InputError:
            continue
        write_artifact(recovered, ArtifactKind.EPISODE, [], {"recovered": True}, 0, {})
    accepted: list[Path] = []
    refused: list[tuple[Path, str]] = []
    found = sorted(folder.rglob("*.mcap"))
    for number, path in enumerate(found):
        try:
            verify_artifact(path)
            accepted.append(path)
        except FleetloopError as error:
            refused.append((path, str(error)))
        if progress is not None:
            progress((number + 1) / len(found))
    return accepted, refused
