"""Lineage and checkpoints: ids follow the content alone, and broken input ends in one sentence."""

import math
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.artifacts.checkpoint import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    count_parameters,
    read_checkpoint,
    read_checkpoint_config,
    write_checkpoint,
)
from fleetloop.artifacts.describe import describe_artifact
from fleetloop.artifacts.lineage import (
    ARTIFACT_FILE,
    Artifact,
    ArtifactKind,
    content_id,
    make_artifact,
    read_artifact,
    verify_artifact,
    write_artifact,
)
from fleetloop.core.errors import CheckpointError, InputError, ReportError

CONFIG = {"width": 64, "rate": 0.5, "name": "tiny"}


def write_example(path: Path) -> tuple[dict[str, torch.Tensor], Artifact]:
    tied = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    tensors = {"a.weight": tied, "b.weight": tied.T, "c": torch.ones(4, dtype=torch.bfloat16)}
    return tensors, write_checkpoint(path, tensors, CONFIG, ("f" * 64,), 7, {"loss": 0.25, "steps": 3})


def assert_one_sentence(error: BaseException, path: Path) -> None:
    text = str(error)
    assert str(path) in text
    assert "\n" not in text and ";" in text


def test_file_and_folder_ids_follow_names_and_bytes_only(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"1")
    (tmp_path / "a" / "sub").mkdir()
    (tmp_path / "a" / "sub" / "y").write_bytes(b"2")
    before = content_id(tmp_path / "a")
    write_artifact(tmp_path / "a", ArtifactKind.REPORT, (), {}, 1, {})
    assert content_id(tmp_path / "a") == before
    (tmp_path / "a").rename(tmp_path / "b")
    assert content_id(tmp_path / "b") == before
    (tmp_path / "b" / "x").rename(tmp_path / "b" / "z")
    assert content_id(tmp_path / "b") != before


@given(first=st.binary(max_size=40), second=st.binary(max_size=40))
def test_two_files_have_one_id_only_if_they_are_equal(tmp_path_factory, first: bytes, second: bytes) -> None:
    folder = tmp_path_factory.mktemp("ids")
    (folder / "first").write_bytes(first)
    (folder / "second").write_bytes(second)
    assert (content_id(folder / "first") == content_id(folder / "second")) == (first == second)


def test_a_file_has_its_record_beside_it(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text("{}")
    written = write_artifact(
        report,
        ArtifactKind.REPORT,
        ["a", "b"],
        {"town": Path("x"), "rates": np.arange(2)},
        3,
        {"kpci": math.inf},
    )
    assert (tmp_path / f"report.json.{ARTIFACT_FILE}").exists()
    assert read_artifact(report) == verify_artifact(report) == written
    assert written.made_by["config"] == {"town": "x", "rates": [0, 1]}
    assert written.figures == {"kpci": "inf"}
    assert written.made_by["code_version"].startswith("0.")


def test_a_changed_artifact_is_noticed_by_its_kind(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text("{}")
    write_artifact(report, ArtifactKind.REPORT, (), {}, 0, {})
    report.write_text("{ }")
    with pytest.raises(ReportError) as caught:
        verify_artifact(report)
    assert_one_sentence(caught.value, report)


def test_another_kind_is_refused(tmp_path: Path) -> None:
    write_example(tmp_path / "checkpoint")
    with pytest.raises(ReportError, match="is a checkpoint, not a report"):
        read_artifact(tmp_path / "checkpoint", ArtifactKind.REPORT)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"kind": "cake", "id": "", "parents": [], "made_by": {}, "figures": {}}',
     b'{"kind": ["report"], "id": "", "parents": [], "made_by": {}, "figures": {}}',
     b'{"kind": "report", "id": 3, "parents": [], "made_by": {}, "figures": {}}', b"\xff\xfe"],
)  # fmt: skip
def test_broken_records_end_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ARTIFACT_FILE).write_bytes(content)
    for read in (read_artifact, verify_artifact, describe_artifact):
        with pytest.raises(InputError) as caught:
            read(tmp_path)
        assert_one_sentence(caught.value, tmp_path)


def test_missing_artifacts_end_in_a_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        for read in (read_artifact, describe_artifact):
            with pytest.raises(InputError) as caught:
                read(path)
            assert_one_sentence(caught.value, path)


def test_the_same_making_gives_the_same_record() -> None:
    first = make_artifact(ArtifactKind.BUNDLE, "1", ("p",), {"b": 1, "a": 2}, 0, {"x": 1.5})
    assert first == make_artifact(ArtifactKind.BUNDLE, "1", ["p"], {"a": 2, "b": 1}, 0, {"x": 1.5})


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    tensors, written = write_example(tmp_path / "checkpoint")
    read, config, artifact = read_checkpoint(tmp_path / "checkpoint")
    assert artifact == written == verify_artifact(tmp_path / "checkpoint")
    assert config == CONFIG
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)
    assert count_parameters(tmp_path / "checkpoint") == 16


def test_checkpoint_id_is_reproducible_and_numpy_is_taken(tmp_path: Path) -> None:
    _, first = write_example(tmp_path / "first")
    _, second = write_example(tmp_path / "second")
    assert first == second
    weights = {"w": np.arange(3.0), "v": np.arange(4)}
    one = write_checkpoint(tmp_path / "second", weights, {}, (), 0, {})
    assert read_checkpoint(tmp_path / "second")[0]["w"].tolist() == [0.0, 1.0, 2.0]
    assert one.id != first.id


def test_truncated_and_foreign_checkpoints_end_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    write_example(path)
    content = (path / WEIGHTS_FILE).read_bytes()
    for broken in (b"", content[:4], content[: len(content) // 2], content[:-1], b"not tensors" * 50):
        (path / WEIGHTS_FILE).write_bytes(broken)
        for read in (read_checkpoint, count_parameters, describe_artifact):
            with pytest.raises(CheckpointError) as caught:
                read(path)
            assert_one_sentence(caught.value, path)
    (path / WEIGHTS_FILE).unlink()
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    for broken in (b"", b"[1]", b'{"width": 6'):
        (path / CONFIG_FILE).write_bytes(broken)
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint_config(path)
        assert_one_sentence(caught.value, path)
    (path / CONFIG_FILE).unlink()
    with pytest.raises(CheckpointError):
        read_checkpoint_config(path)
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "nothing")


def test_a_failed_write_keeps_the_old_checkpoint(tmp_path: Path) -> None:
    _, written = write_example(tmp_path / "checkpoint")
    with pytest.raises(orjson.JSONEncodeError):
        write_checkpoint(tmp_path / "checkpoint", {"w": torch.zeros(1)}, {"bad": object()}, (), 0, {})
    assert verify_artifact(tmp_path / "checkpoint") == written
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint"]


def test_describe_a_checkpoint(tmp_path: Path) -> None:
    _, written = write_example(tmp_path / "checkpoint")
    rows = dict(describe_artifact(tmp_path / "checkpoint"))
    assert rows["id"] == written.id
    assert rows["parents"] == "f" * 12
    assert rows["parameters"] == "16"
    assert rows["loss"] == "0.25"
