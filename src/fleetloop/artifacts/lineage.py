"""The small artifact.json of every artifact: what it is, its id, its parents and what made it."""

import functools
import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

import fleetloop
from fleetloop.core.errors import (
    BundleError,
    CheckpointError,
    DatasetError,
    EpisodeError,
    InputError,
    ReportError,
)
from fleetloop.core.files import storage_errors, write_bytes

ARTIFACT_FILE = "artifact.json"
"""In a folder; beside a file it is named FILE.artifact.json."""

LINEAGE_FOLDER = "lineage"
"""In a versioned artifact (a Dataset): VERSION.artifact.json for each version, instead of artifact.json."""

Figure = float | int | str


class ArtifactKind(StrEnum):
    """The five artifacts of the loop."""

    EPISODE = "episode"
    DATASET = "dataset"
    CHECKPOINT = "checkpoint"
    REPORT = "report"
    BUNDLE = "bundle"


ERROR_OF_KIND: dict[ArtifactKind, type[InputError]] = {
    ArtifactKind.EPISODE: EpisodeError,
    ArtifactKind.DATASET: DatasetError,
    ArtifactKind.CHECKPOINT: CheckpointError,
    ArtifactKind.REPORT: ReportError,
    ArtifactKind.BUNDLE: BundleError,
}


@dataclass(frozen=True)
class Artifact:
    """Where an artifact comes from. Holds no date: the same content has the same record, but for figures of speed."""

    kind: ArtifactKind
    id: str
    """sha256 of the content, 64 hexadecimal digits."""
    parents: tuple[str, ...]
    """Ids of the artifacts it was made from."""
    made_by: dict[str, Any]
    """code_version, config (as JSON) and seed."""
    figures: dict[str, Figure]
    """Key figures, as `fleetloop show` prints them."""


@functools.cache
def code_version() -> str:
    """The package's version and twelve digits of the sha256 of its source.

    The source is hashed, rather than a commit named, so that an installed package and an edited checkout
    are told apart too.
    """
    root = Path(fleetloop.__file__).parent
    digest = hashlib.sha256()
    _hash_folder(digest, root, (file for file in root.rglob("*.py")))
    return f"{fleetloop.__version__}+source.{digest.hexdigest()[:12]}"


def content_id(path: Path) -> str:
    """sha256 of a file, or of a folder's relative names and bytes in sorted order; 64 hexadecimal digits.

    Every artifact.json is left out, so an id does not depend on the record that holds it.

    Raises:
        InputError: there is nothing at `path`.
    """
    digest = hashlib.sha256()
    if path.is_file():
        _hash_file(digest, path)
    elif path.is_dir():
        files = (file for file in path.rglob("*") if file.is_file() and not file.name.endswith(ARTIFACT_FILE))
        _hash_folder(digest, path, files)
    else:
        raise InputError(f"{path}: there is no such file or folder; check the path")
    return digest.hexdigest()


def write_artifact(
    path: Path,
    kind: ArtifactKind,
    parents: Iterable[str],
    config: Any,
    seed: int,
    figures: Mapping[str, Figure],
) -> Artifact:
    """Record the lineage of the finished artifact at `path`, in the folder or beside the file.

    Args:
        parents: ids of the artifacts this one was made from.
        config: anything JSON can hold, or a dataclass of such.
        figures: key figures to show.

    Raises:
        InputError: there is nothing at `path`.
        StorageError: the record cannot be written.
    """
    artifact = make_artifact(kind, content_id(path), parents, config, seed, figures)
    name = path / ARTIFACT_FILE if path.is_dir() else path.with_name(f"{path.name}.{ARTIFACT_FILE}")
    write_record(name, artifact)
    return artifact


def make_artifact(
    kind: ArtifactKind, id: str, parents: Iterable[str], config: Any, seed: int, figures: Mapping[str, Figure]
) -> Artifact:
    """An Artifact whose config and figures are already as they will be read back."""
    made_by = {"code_version": code_version(), "config": config, "seed": int(seed)}
    plain = orjson.loads(_to_json({"made_by": made_by}))
    # JSON has no infinities, and an interval may well be open.
    finite = {name: value if _is_finite(value) else str(value) for name, value in figures.items()}
    return Artifact(kind, id, tuple(parents), plain["made_by"], orjson.loads(_to_json(finite)))


def write_record(record: Path, artifact: Artifact) -> None:
    """Write `artifact` as JSON to the file `record`."""
    write_bytes(record, _to_json(asdict(artifact)) + b"\n")


def read_artifact(path: Path, kind: ArtifactKind | None = None) -> Artifact:
    """Read the record of the artifact at `path`; of a Dataset, that of the newest version.

    Args:
        kind: what it must be; None takes any.

    Raises:
        InputError: missing, truncated or foreign; the subclass of `kind` if one is given.
    """
    error = ERROR_OF_KIND[kind] if kind else InputError
    if not path.exists():
        raise error(f"{path}: there is no such file or folder; check the path")
    artifact = read_record(record_path(path), error)
    if kind and artifact.kind is not kind:
        raise error(f"{path}: is a {artifact.kind}, not a {kind}; give the path of a {kind}")
    return artifact


def record_path(path: Path) -> Path:
    """Where the record of the artifact at `path` is, whether or not it exists."""
    if not path.is_dir():
        return path.with_name(f"{path.name}.{ARTIFACT_FILE}")
    versions = version_records(path)
    return versions[max(versions)] if versions else path / ARTIFACT_FILE


def version_records(path: Path) -> dict[int, Path]:
    """The records of a versioned artifact, by version in rising order."""
    found = {}
    for record in (path / LINEAGE_FOLDER).glob(f"*.{ARTIFACT_FILE}"):
        version = record.name.removesuffix(f".{ARTIFACT_FILE}")
        if version.isdecimal():
            found[int(version)] = record
    return dict(sorted(found.items()))


def read_record(record: Path, error: type[InputError] = InputError) -> Artifact:
    """Read one artifact.json.

    Raises:
        error: it is missing, truncated or foreign.
    """
    mend = "make the artifact again with this version"
    try:
        fields = orjson.loads(record.read_bytes())
    except FileNotFoundError:
        raise error(f"{record}: the artifact's record is missing; {mend}") from None
    except (orjson.JSONDecodeError, OSError):
        raise error(f"{record}: the artifact's record is empty, truncated or unreadable; {mend}") from None
    if not isinstance(fields, dict) or set(fields) != set(Artifact.__dataclass_fields__):
        raise error(f"{record}: is not the record of an artifact of fleetloop; {mend}")
    wanted = {"id": str, "parents": list, "made_by": dict, "figures": dict}
    wrong = next((name for name, kind in wanted.items() if not isinstance(fields[name], kind)), None)
    # A tuple, for what is compared may be anything that JSON can hold.
    if fields["kind"] not in tuple(ArtifactKind) or wrong:
        raise error(f"{record}: field {wrong or 'kind'} cannot be used; {mend}")
    return Artifact(
        kind=ArtifactKind(fields["kind"]),
        id=fields["id"],
        parents=tuple(fields["parents"]),
        made_by=fields["made_by"],
        figures=fields["figures"],
    )


def verify_artifact(path: Path) -> Artifact:
    """Read the record at `path` and check that the content still has its id.

    Raises:
        InputError: the record cannot be read, or the content was changed; the subclass of its kind.
    """
    artifact = read_artifact(path)
    if artifact.kind is ArtifactKind.DATASET:
        # Here, because dataset.py builds on this module.
        from fleetloop.artifacts.dataset import dataset_content_id

        found = dataset_content_id(path)
    else:
        found = content_id(path)
    if found != artifact.id:
        raise ERROR_OF_KIND[artifact.kind](
            f"{path}: the {artifact.kind} was changed after it was made "
            f"(its id was {artifact.id[:12]}, now {found[:12]}); make it again or restore it"
        )
    return artifact


def _to_json(value: Any) -> bytes:
    options = (
        orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    )
    return orjson.dumps(value, default=str, option=options)


def _is_finite(value: Figure) -> bool:
    return isinstance(value, str) or math.isfinite(value)


def _hash_file(digest: "hashlib._Hash", path: Path) -> None:
    with storage_errors(path), path.open("rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)


def _hash_folder(digest: "hashlib._Hash", folder: Path, files: Iterable[Path]) -> None:
    for name, file in sorted((file.relative_to(folder).as_posix(), file) for file in files):
        # Name and size delimit the files, so that no two folders share a byte stream.
        digest.update(f"{name}\0{file.stat().st_size}\0".encode())
        _hash_file(digest, file)
