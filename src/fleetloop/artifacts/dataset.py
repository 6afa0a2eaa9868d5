"""Dataset: the curated samples in a Lance folder; each turn of the loop appends a version with its lineage.

A version counts once its record stands in lineage/. A version that Lance has but lineage lacks is what a
killed writer left: it is never read, and the next append goes back behind it.
"""

import contextlib
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import lance
import numpy as np
import orjson
import pyarrow as pa
from jaxtyping import Float32, Int64, Shaped

from fleetloop.artifacts.lineage import (
    ARTIFACT_FILE,
    LINEAGE_FOLDER,
    Artifact,
    ArtifactKind,
    Figure,
    make_artifact,
    read_record,
    version_records,
    write_record,
)
from fleetloop.core.errors import DatasetError, StorageError
from fleetloop.core.labels import Labels, empty_labels, with_label_columns, without_label_columns
from fleetloop.core.scene import SCENE_BYTES, SCENE_DTYPE
from fleetloop.core.types import HISTORY_STEPS, HISTORY_VALUES, NAVIGATION_VALUES

Frames = tuple[bytes, ...]
"""JPEG pictures of all cameras of a rig at one moment."""


@dataclass(frozen=True)
class Samples:
    """N samples, a struct of arrays. A sample from simulation has scenes, one from a real drive frames."""

    sample_id: Shaped[np.ndarray, " N"]
    """Text."""
    episode_id: Shaped[np.ndarray, " N"]
    """Text: the id of the Episode it was cut from."""
    timestamp_ns: Int64[np.ndarray, " N"]
    town: Shaped[np.ndarray, " N"]
    """Text: the town's key."""
    reasons: Sequence[tuple[str, ...]]
    """Why it is here: names of triggers, or of ways to sample."""
    weight: Float32[np.ndarray, " N"]
    scene: Shaped[np.ndarray, " N"]
    """Records of SCENE_DTYPE; zeros where the sample has frames."""
    earlier_scene: Shaped[np.ndarray, " N"]
    """The scene 0.4 s before, for the network's memory."""
    ego_history: Float32[np.ndarray, "N 8 4"]
    navigation: Float32[np.ndarray, "N 10"]
    time_of_day_h: Float32[np.ndarray, " N"]
    labels: Labels
    """What the demonstrator would do; distances are infinite where there is nothing."""
    frames: Sequence[Frames | None]

    def __len__(self) -> int:
        return len(self.sample_id)

    def select(self, indices: Int64[np.ndarray, " M"]) -> "Samples":
        """The samples at `indices`, in that order."""
        chosen = np.asarray(indices).tolist()
        picked: dict[str, Any] = {}
        for name, values in _columns(self).items():
            is_array = isinstance(values, np.ndarray)
            picked[name] = values[indices] if is_array else [values[index] for index in chosen]
        return Samples(**without_label_columns(picked))


def concatenate_samples(parts: Sequence[Samples]) -> Samples:
    """All samples of `parts`, one part after the other; at least one part."""
    joined: dict[str, Any] = {}
    columns = [_columns(part) for part in parts]
    for name, first in columns[0].items():
        values = [of_part[name] for of_part in columns]
        is_array = isinstance(first, np.ndarray)
        joined[name] = np.concatenate(values) if is_array else [row for rows in values for row in rows]
    return Samples(**without_label_columns(joined))


@dataclass(frozen=True)
class DatasetVersion:
    """One version of a Dataset and its lineage."""

    version: int
    artifact: Artifact


def _arrow_type(values: np.ndarray) -> pa.DataType:
    """Of a column with these rows."""
    kind = pa.from_numpy_dtype(values.dtype)
    return kind if values.ndim == 1 else pa.list_(kind, math.prod(values.shape[1:]))


_LABELS = with_label_columns({"labels": empty_labels(0)})
_SCENE = pa.binary(SCENE_BYTES)
_ARROW_TYPES: dict[str, pa.DataType] = {
    "sample_id": pa.string(),
    "episode_id": pa.string(),
    "timestamp_ns": pa.int64(),
    "town": pa.string(),
    "reasons": pa.list_(pa.string()),
    "weight": pa.float32(),
    "scene": _SCENE,
    "earlier_scene": _SCENE,
    "ego_history": pa.list_(pa.float32(), HISTORY_STEPS * HISTORY_VALUES),
    "navigation": pa.list_(pa.float32(), NAVIGATION_VALUES),
    "time_of_day_h": pa.float32(),
    **{name: _arrow_type(values) for name, values in _LABELS.items()},
    "frames": pa.list_(pa.binary()),
}
_ROW_SHAPES = {
    "ego_history": (HISTORY_STEPS, HISTORY_VALUES),
    "navigation": (NAVIGATION_VALUES,),
    **{name: values.shape[1:] for name, values in _LABELS.items() if values.ndim > 1},
}
_SCHEMA = pa.schema(list(_ARROW_TYPES.items()), metadata={"fleetloop": "dataset"})
_LANCE_FOLDERS = {"data", "_transactions", "_versions", "_deletions", "_indices", LINEAGE_FOLDER}


def append_samples(
    path: Path,
    samples: Samples,
    parents: Iterable[str],
    config: Any = None,
    seed: int = 0,
    figures: Mapping[str, Figure] | None = None,
) -> int:
    """Append samples as a new version, all of them or none; the folder is made when it is not there.

    Args:
        parents: ids of the Episodes the samples were cut from. The id of the version before is added.
        config: what chose the samples, as JSON can hold it.
        figures: further key figures of this version.

    Returns:
        The number of the version.

    Raises:
        DatasetError: the samples do not fit, or the folder holds something else.
        StorageError: the disk is full; the versions before stay as they were.
    """
    _check_samples(path, samples)
    table = _to_table(samples)
    versions = version_records(path)
    before = read_record(versions[max(versions)], DatasetError) if versions else None
    with _lance_errors(path):
        if before is None:
            mode = _mode_of_first_version(path)
        else:
            mode = "append"
            recorded = _open(path, max(versions))
            if recorded.latest_version != recorded.version:
                recorded.restore()
        version = lance.write_dataset(table, path, mode=mode).version
    total = len(samples) + (int(before.figures["samples"]) if before else 0)
    artifact = make_artifact(
        ArtifactKind.DATASET,
        _chained_id(before.id if before else "", samples),
        [*([before.id] if before else []), *parents],
        config,
        seed,
        {"version": version, "samples": total, "samples_added": len(samples), **(figures or {})},
    )
    write_record(path / LINEAGE_FOLDER / f"{version}.{ARTIFACT_FILE}", artifact)
    return version


def dataset_versions(path: Path) -> tuple[DatasetVersion, ...]:
    """All complete versions, oldest first.

    Raises:
        DatasetError: there is no Dataset at `path`, or a record is broken.
    """
    records = version_records(path)
    if not records:
        mend = "check the path" if not path.exists() else "give the folder of a Dataset, or curate again"
        raise DatasetError(f"{path}: holds no Dataset of fleetloop; {mend}")
    return tuple(
        DatasetVersion(version, read_record(record, DatasetError)) for version, record in records.items()
    )


def dataset_version(path: Path, version: int | None = None) -> DatasetVersion:
    """One complete version, by default the newest.

    Raises:
        DatasetError: there is no Dataset at `path`, it has no such version, or a record is broken.
    """
    versions = {entry.version: entry for entry in dataset_versions(path)}
    version = max(versions) if version is None else version
    if version not in versions:
        known = ", ".join(map(str, versions))
        raise DatasetError(f"{path}: has no version {version}; choose one of {known}")
    return versions[version]


def read_samples(path: Path, version: int | None = None) -> Samples:
    """Read all samples of a version, by default of the newest one, in the order they were appended.

    Raises:
        DatasetError: missing, empty, truncated, foreign, of another schema, or without that version.
    """
    entry = dataset_version(path, version)
    with _lance_errors(path):
        dataset = _open(path, entry.version)
        table = dataset.to_table()
    return _from_table(table)


def dataset_content_id(path: Path, version: int | None = None) -> str:
    """Recompute the id of a version, by default of the newest one, from its rows.

    Lance names its files at random, so the id is a chain over the rows: sha256 of the id of the version
    before and the rows that were added.

    Raises:
        DatasetError: as `read_samples`.
    """
    entries = dataset_versions(path)
    version = entries[-1].version if version is None else version
    samples = read_samples(path, version)
    id, first = "", 0
    for entry in entries:
        if entry.version <= version:
            last = first + int(entry.artifact.figures["samples_added"])
            id = _chained_id(id, samples.select(np.arange(first, min(last, len(samples)))))
            first = last
    # Rows that no record speaks of must change the id too.
    return id if first == len(samples) else _chained_id(id, samples)


def _open(path: Path, version: int) -> lance.LanceDataset:
    dataset = lance.dataset(path, version=version)
    if not dataset.schema.equals(_SCHEMA):
        raise DatasetError(f"{path}: has another schema than this version of fleetloop; curate again")
    return dataset


def _mode_of_first_version(path: Path) -> str:
    """How to write where there is no lineage yet.

    Raises:
        DatasetError: something else is there, which is never overwritten.
    """
    if not path.exists():
        return "create"
    foreign = DatasetError(f"{path}: holds something else than a Dataset of fleetloop; choose another folder")
    if not path.is_dir() or {entry.name for entry in path.iterdir()} - _LANCE_FOLDERS:
        raise foreign
    if not any((path / "_versions").glob("*.manifest")):
        return "create"
    if lance.dataset(path).schema.metadata != _SCHEMA.metadata:
        raise foreign
    return "overwrite"


@contextlib.contextmanager
def _lance_errors(path: Path) -> Iterator[None]:
    """Lance raises OSError, ValueError and Arrow's errors with a Rust trace as text; say it in a sentence."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
        if "No space left" in str(error) or "quota" in str(error).lower():
            raise StorageError(
                f"{path}: the disk is full; free some space and run the same command again, "
                "it continues from what is complete"
            ) from error
        if "denied" in str(error) or "Read-only" in str(error):
            raise StorageError(f"{path}: cannot be written or read; choose another folder") from error
        raise DatasetError(f"{path}: is truncated or damaged; restore it or curate again") from error


def _columns(samples: Samples) -> dict[str, Any]:
    return with_label_columns({field.name: getattr(samples, field.name) for field in fields(samples)})


def _check_samples(path: Path, samples: Samples) -> None:
    if not len(samples):
        raise DatasetError(f"{path}: there is no sample to append; record more Episodes")
    for name, values in _columns(samples).items():
        expected = (len(samples), *_ROW_SHAPES.get(name, ()))
        shape = values.shape if isinstance(values, np.ndarray) else (len(values),)
        if shape != expected:
            raise DatasetError(f"{path}: field {name} has shape {shape}, not {expected}; reshape it")
        if _ARROW_TYPES[name] == _SCENE and values.dtype != SCENE_DTYPE:
            raise DatasetError(
                f"{path}: field {name} does not hold records of SCENE_DTYPE; pack the scenes anew"
            )


def _to_table(samples: Samples) -> pa.Table:
    arrays = []
    for name, values in _columns(samples).items():
        kind = _ARROW_TYPES[name]
        if kind == _SCENE:
            array = pa.FixedSizeBinaryArray.from_buffers(
                kind, len(values), [None, pa.py_buffer(values.tobytes())]
            )
        elif name in _ROW_SHAPES:
            flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
            array = pa.FixedSizeListArray.from_arrays(flat, kind.list_size)
        elif _is_number(kind):
            array = pa.array(np.ascontiguousarray(values, _numpy_dtype(name)))
        else:
            array = pa.array(values.tolist() if isinstance(values, np.ndarray) else values, kind)
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=_SCHEMA)


def _from_table(table: pa.Table) -> Samples:
    columns: dict[str, Any] = {}
    for name, kind in _ARROW_TYPES.items():
        column = table[name].combine_chunks()
        if kind == _SCENE:
            buffer = column.buffers()[1]
            columns[name] = np.frombuffer(buffer, SCENE_DTYPE, len(column), column.offset * SCENE_BYTES)
        elif name in _ROW_SHAPES:
            columns[name] = column.flatten().to_numpy().reshape(len(column), *_ROW_SHAPES[name])
        elif kind == pa.string():
            columns[name] = np.array(column.to_pylist(), np.str_)
        elif name in ("reasons", "frames"):
            columns[name] = [None if row is None else tuple(row) for row in column.to_pylist()]
        else:
            columns[name] = column.to_numpy()
    return Samples(**without_label_columns(columns))


def _chained_id(before: str, samples: Samples) -> str:
    """sha256 over the id of the version before and the rows' content, column by column."""
    digest = hashlib.sha256(f"{before}\0{len(samples)}\0".encode())
    for name, values in _columns(samples).items():
        digest.update(f"{name}\0".encode())
        if name == "frames":
            for frames in values:
                sizes = None if frames is None else [len(frame) for frame in frames]
                digest.update(orjson.dumps(sizes))
                digest.update(b"".join(frames or ()))
        elif _ARROW_TYPES[name] == _SCENE:
            digest.update(values.tobytes())
        elif name in _ROW_SHAPES or _is_number(_ARROW_TYPES[name]):
            digest.update(np.ascontiguousarray(values, _numpy_dtype(name)).tobytes())
        else:
            digest.update(orjson.dumps(values.tolist() if isinstance(values, np.ndarray) else list(values)))
    return digest.hexdigest()


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _numpy_dtype(name: str) -> np.dtype:
    kind = _ARROW_TYPES[name]
    return np.dtype((kind.value_type if name in _ROW_SHAPES else kind).to_pandas_dtype()).newbyteorder("<")
