"""Datasets: versions with lineage, ids that follow the rows, and nothing half-written."""

import dataclasses
import shutil
import time
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetloop.artifacts import dataset
from fleetloop.artifacts.dataset import (
    Samples,
    append_samples,
    concatenate_samples,
    dataset_content_id,
    dataset_versions,
    read_samples,
)
from fleetloop.artifacts.describe import describe_artifact
from fleetloop.artifacts.lineage import ArtifactKind, read_artifact, verify_artifact
from fleetloop.core.errors import DatasetError, StorageError
from fleetloop.core.labels import Labels, with_label_columns
from fleetloop.core.scene import SCENE_DTYPE
from fleetloop.core.types import NAVIGATION_VALUES


def make_samples(count: int, seed: int = 0, frames: bool = False) -> Samples:
    random = np.random.default_rng(seed)

    def numbers(*shape: int) -> np.ndarray:
        return random.normal(size=(count, *shape)).astype(np.float32)

    def scenes() -> np.ndarray:
        return np.frombuffer(random.bytes(count * SCENE_DTYPE.itemsize), SCENE_DTYPE)

    return Samples(
        sample_id=np.array([f"{seed}-{index}" for index in range(count)], np.str_),
        episode_id=np.full(count, "e" * 64),
        timestamp_ns=np.arange(count, dtype=np.int64) * 10**8,
        town=np.array([f"generated-{index % 3}" for index in range(count)], np.str_),
        reasons=[("near_miss",) * (index % 3) for index in range(count)],
        weight=numbers(), scene=scenes(), earlier_scene=scenes(), ego_history=numbers(8, 4),
        navigation=numbers(NAVIGATION_VALUES),
        time_of_day_h=numbers(),
        labels=Labels(
            curvature_1pm=numbers(), acceleration_mps2=numbers(), poses=numbers(8, 3),
            signal_colour=random.integers(-1, 5, count).astype(np.int8),
            stop_line_m=np.full(count, np.inf, np.float32), lead_gap_m=numbers(), lead_speed_mps=numbers(),
            junction_control=random.integers(-1, 5, count).astype(np.int8), halt_m=numbers(),
        ),
        frames=[(b"jpeg", bytes([index % 256])) if frames and index % 2 else None for index in range(count)],
    )  # fmt: skip


def assert_equal(actual: Samples, expected: Samples) -> None:
    found, wanted = (with_label_columns(vars(samples)) for samples in (actual, expected))
    for name, second in wanted.items():
        first = found[name]
        if isinstance(second, np.ndarray) and second.dtype == SCENE_DTYPE:
            assert first.dtype == SCENE_DTYPE and first.tobytes() == second.tobytes(), name
        elif isinstance(second, np.ndarray):
            np.testing.assert_array_equal(first, second, name)
            assert first.dtype.kind == second.dtype.kind
        else:
            assert list(first) == list(second), name


def assert_one_sentence(error: BaseException, path: Path) -> None:
    assert str(path) in str(error)
    assert "\n" not in str(error) and ";" in str(error)


def test_every_version_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "dataset"
    first, second = make_samples(5), make_samples(4, 1, frames=True)
    versions = [append_samples(path, first, ("a",), {"n": 1}, 3), append_samples(path, second, ("b",), {}, 3)]
    assert_equal(read_samples(path, versions[0]), first)
    assert_equal(read_samples(path), concatenate_samples([first, second]))
    entries = dataset_versions(path)
    assert [entry.version for entry in entries] == versions
    assert entries[0].artifact.parents == ("a",)
    assert entries[1].artifact.parents == (entries[0].artifact.id, "b")
    assert entries[1].artifact.figures["samples"] == 9
    assert read_artifact(path, ArtifactKind.DATASET) == entries[1].artifact == verify_artifact(path)
    assert dataset_content_id(path, versions[0]) == entries[0].artifact.id


def test_ids_follow_the_rows_alone(tmp_path: Path) -> None:
    ids = []
    for name in ("a", "b"):
        append_samples(tmp_path / name, make_samples(3), ())
        append_samples(tmp_path / name, make_samples(2, 1, frames=True), ())
        ids.append(read_artifact(tmp_path / name).id)
    assert ids[0] == ids[1]
    changed = make_samples(2, 1, frames=True)
    changed.weight[1] += 1
    append_samples(tmp_path / "c", make_samples(3), ())
    append_samples(tmp_path / "c", changed, ())
    assert read_artifact(tmp_path / "c").id != ids[0]


def test_changed_rows_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "dataset"
    version = append_samples(path, make_samples(3), ())
    record = next((path / "lineage").iterdir())
    shutil.copytree(path / "lineage", tmp_path / "lineage")
    shutil.rmtree(path)
    append_samples(path, make_samples(3, 9), ())
    shutil.copy(tmp_path / "lineage" / record.name, path / "lineage" / f"{version}.artifact.json")
    with pytest.raises(DatasetError, match="changed after it was made"):
        verify_artifact(path)


def test_what_a_killed_writer_left_is_passed_over(tmp_path: Path) -> None:
    """The rows stand in Lance but their record does not: as if killed between the two."""
    path = tmp_path / "dataset"
    versions = [append_samples(path, make_samples(4, seed), ()) for seed in range(3)]
    (path / "lineage" / f"{versions[2]}.artifact.json").unlink()
    assert len(read_samples(path)) == 8
    version = append_samples(path, make_samples(2, 5), ())
    assert_equal(
        read_samples(path), concatenate_samples([make_samples(4, 0), make_samples(4, 1), make_samples(2, 5)])
    )
    assert read_artifact(path).figures["version"] == version
    verify_artifact(path)


def test_a_first_version_without_record_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "dataset"
    append_samples(path, make_samples(4), ())
    shutil.rmtree(path / "lineage")
    with pytest.raises(DatasetError, match="holds no Dataset"):
        read_samples(path)
    append_samples(path, make_samples(2, 5), ())
    assert_equal(read_samples(path), make_samples(2, 5))
    shutil.rmtree(path / "lineage")
    shutil.rmtree(path / "_versions")
    append_samples(path, make_samples(3, 6), ())
    assert_equal(read_samples(path), make_samples(3, 6))


def test_a_failed_append_leaves_the_versions_before(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "dataset"
    append_samples(path, make_samples(4), ())

    def full(*arguments, **options):
        raise OSError("LanceError(IO): No space left on device (os error 28), /src/writer.rs:190")

    with monkeypatch.context() as patched:
        patched.setattr(dataset.lance, "write_dataset", full)
        with pytest.raises(StorageError) as caught:
            append_samples(path, make_samples(4, 1), ())
    assert_one_sentence(caught.value, path)
    assert_equal(read_samples(path), make_samples(4))
    verify_artifact(path)


def test_missing_foreign_and_truncated_datasets_end_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "photo.jpg").write_bytes(b"x")
    lance.write_dataset(pa.table({"a": [1]}), tmp_path / "lance")
    for name in ("missing", "empty", "file", "folder", "lance"):
        for read in (read_samples, dataset_versions):
            with pytest.raises(DatasetError) as caught:
                read(tmp_path / name)
            assert_one_sentence(caught.value, tmp_path / name)
    for name in ("file", "folder", "lance"):
        with pytest.raises(DatasetError, match="something else"):
            append_samples(tmp_path / name, make_samples(1), ())
    assert lance.dataset(tmp_path / "lance").to_table().to_pydict() == {"a": [1]}

    path = tmp_path / "dataset"
    for broken in ("data/*", "_versions/*.manifest", "lineage/*"):
        shutil.rmtree(path, ignore_errors=True)
        version = append_samples(path, make_samples(500), ())
        for file in path.glob(broken):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(DatasetError) as caught:
            read_samples(path, version)
        assert_one_sentence(caught.value, path)


def test_an_unknown_version_names_those_there_are(tmp_path: Path) -> None:
    append_samples(tmp_path / "dataset", make_samples(1), ())
    with pytest.raises(DatasetError, match="has no version 9; choose one of 1"):
        read_samples(tmp_path / "dataset", 9)


def test_another_schema_is_refused(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "dataset"
    append_samples(path, make_samples(2), ())
    with monkeypatch.context() as patched:
        patched.setattr(dataset, "_SCHEMA", dataset._SCHEMA.append(pa.field("new", pa.int8())))
        with pytest.raises(DatasetError, match="another schema"):
            read_samples(path)


def test_samples_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    good = make_samples(2)
    for change in (
        {"navigation": np.zeros((2, 3), np.float32)},
        {"weight": np.zeros(3, np.float32)},
        {"frames": [None]},
        {"scene": np.zeros(2, np.uint8)},
    ):
        with pytest.raises(DatasetError, match=next(iter(change))):
            append_samples(tmp_path / "dataset", dataclasses.replace(good, **change), ())
    with pytest.raises(DatasetError, match="no sample"):
        append_samples(tmp_path / "dataset", good.select(np.arange(0)), ())
    assert not (tmp_path / "dataset").exists()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(1, 7), min_size=1, max_size=4), frames=st.booleans())
def test_appending_is_concatenation(tmp_path: Path, counts: list[int], frames: bool) -> None:
    path = tmp_path / "dataset"
    shutil.rmtree(path, ignore_errors=True)
    parts = [make_samples(count, seed, frames) for seed, count in enumerate(counts)]
    for part in parts:
        append_samples(path, part, ())
    assert_equal(read_samples(path), concatenate_samples(parts))
    verify_artifact(path)


@given(indices=st.lists(st.integers(0, 9), max_size=20))
def test_select_is_indexing(indices: list[int]) -> None:
    samples = make_samples(10, frames=True)
    chosen = samples.select(np.array(indices, np.int64))
    assert len(chosen) == len(indices)
    assert chosen.sample_id.tolist() == [samples.sample_id[index] for index in indices]
    assert list(chosen.frames) == [samples.frames[index] for index in indices]


def test_describe_lists_the_versions(tmp_path: Path) -> None:
    path = tmp_path / "dataset"
    for seed in range(2):
        append_samples(path, make_samples(3, seed), (), figures={"dropped": 4})
    rows = dict(describe_artifact(path))
    assert rows["samples"] == "6" and rows["dropped"] == "4"
    assert "3 samples added" in rows["version 1"] and "3 samples added" in rows["version 2"]


def test_hundred_thousand_rows_are_read_quickly(tmp_path: Path) -> None:
    append_samples(tmp_path / "dataset", make_samples(100_000), ())
    began = time.perf_counter()
    samples = read_samples(tmp_path / "dataset")
    assert len(samples) == 100_000
    assert time.perf_counter() - began < 4.0
