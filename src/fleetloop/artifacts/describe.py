"""What `fleetloop show` says of an artifact of any kind."""

from pathlib import Path

from fleetloop.artifacts.checkpoint import WEIGHTS_FILE, count_parameters
from fleetloop.artifacts.dataset import dataset_versions
from fleetloop.artifacts.episode_reader import read_episode
from fleetloop.artifacts.lineage import Artifact, ArtifactKind, Figure, read_artifact, record_path
from fleetloop.core.errors import InputError

_WHAT = {
    ArtifactKind.EPISODE: "Episode, a recorded drive segment (MCAP)",
    ArtifactKind.DATASET: "Dataset, versions of the curated samples (Lance)",
    ArtifactKind.CHECKPOINT: "Checkpoint, a trained network (safetensors)",
    ArtifactKind.REPORT: "Report, closed-loop results",
    ArtifactKind.BUNDLE: "Bundle, what a vehicle runs (ONNX, signed)",
}


def describe_artifact(path: Path) -> list[tuple[str, str]]:
    """What the artifact at `path` is, its id, its parents and its key figures, as rows of a table.

    An Episode without a record (it was recovered, or comes from a vehicle) is described by its content.

    Raises:
        InputError: missing, damaged, or not an artifact; the subclass of its kind where that is known.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder; check the path")
    if not record_path(path).exists():
        if path.suffix != ".mcap":
            raise InputError(f"{path}: is not an artifact of fleetloop; give an Episode (.mcap), a Dataset, "
                             "a Checkpoint, a Report or a Bundle")  # fmt: skip
        return [*_episode_rows(path), ("lineage", "none recorded")]
    artifact = read_artifact(path)
    rows = [("what", _WHAT[artifact.kind]), *_lineage_rows(artifact)]
    if artifact.kind is ArtifactKind.DATASET:
        for entry in dataset_versions(path):
            added = entry.artifact.figures.get("samples_added", "?")
            rows.append((f"version {entry.version}", f"{entry.artifact.id[:12]}, {added} samples added"))
    elif artifact.kind is ArtifactKind.EPISODE:
        rows += [row for row in _episode_rows(path)[1:] if row[0] not in artifact.figures]
    elif artifact.kind is ArtifactKind.CHECKPOINT and (path / WEIGHTS_FILE).exists():
        rows.append(("parameters", f"{count_parameters(path):,}"))
    return rows


def _lineage_rows(artifact: Artifact) -> list[tuple[str, str]]:
    parents = ", ".join(parent[:12] for parent in artifact.parents[:8]) or "none"
    if len(artifact.parents) > 8:
        parents += f" and {len(artifact.parents) - 8} more"
    made_by = artifact.made_by
    return [
        ("id", artifact.id),
        ("parents", parents),
        ("made by", f"fleetloop {made_by.get('code_version', '?')}, seed {made_by.get('seed', '?')}"),
        *((name, _text(value)) for name, value in artifact.figures.items()),
    ]


def _episode_rows(path: Path) -> list[tuple[str, str]]:
    # With pictures, because their number is among the figures.
    episode = read_episode(path, with_images=True)
    triggers = ", ".join(episode.metadata.triggers) or "none"
    rows = [("what", _WHAT[ArtifactKind.EPISODE]), ("vehicle", episode.metadata.vehicle)]
    rows += [("release", episode.metadata.release[:12] or "none"), ("triggers", triggers)]
    return rows + [(name, _text(value)) for name, value in episode.figures.items()]


def _text(value: Figure) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
