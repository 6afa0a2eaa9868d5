"""Ingest: what vehicles upload is salvaged where it was cut, and checked; the rest is left out."""

import shutil
from pathlib import Path

import pytest

from fleetloop.artifacts.episode_reader import read_episode
from fleetloop.artifacts.lineage import ArtifactKind, read_artifact
from fleetloop.core.types import CameraRig
from fleetloop.fleet.ingest import ingest
from fleetloop.vehicle.drive import DriveConfig, drive
from fleetloop.vehicle.recorder import RecorderConfig
from toy_world import toy_world

STEPS = 60


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "drive"
    config = DriveConfig(
        vehicles=2,
        steps=STEPS,
        agents=2,
        camera_interval_steps=STEPS + 1,
        recorder=RecorderConfig(everything=True),
    )
    drive(toy_world(), ["toy-0"], None, CameraRig(groups=()), folder, config, seed=1)
    return folder


@pytest.fixture
def uploads(recorded: Path, tmp_path: Path) -> list[Path]:
    """A folder for each of two vehicles, an Episode in each."""
    folders = []
    for number, path in enumerate(sorted(recorded.glob("*.mcap"))):
        folder = tmp_path / f"vehicle-{number}"
        folder.mkdir()
        for name in (path.name, f"{path.name}.artifact.json"):
            shutil.copy(recorded / name, folder / name)
        folders.append(folder / path.name)
    return folders


def test_whole_episodes_are_accepted_in_order(uploads: list[Path], tmp_path: Path):
    shares: list[float] = []
    accepted, refused = ingest(tmp_path, shares.append)
    assert accepted == uploads and refused == []
    assert shares == [0.5, 1.0]


def test_one_recording_can_be_named(uploads: list[Path]):
    assert ingest(uploads[1]) == ([uploads[1]], [])


def test_an_empty_folder_has_nothing(tmp_path: Path):
    assert ingest(tmp_path) == ([], [])


def test_a_changed_recording_is_left_out_and_stays(uploads: list[Path], tmp_path: Path):
    content = bytearray(uploads[0].read_bytes())
    content[len(content) // 2] ^= 1
    uploads[0].write_bytes(content)
    accepted, refused = ingest(tmp_path)
    assert accepted == [uploads[1]]
    assert [path for path, _ in refused] == [uploads[0]]
    assert "was changed after it was made" in refused[0][1]
    assert uploads[0].read_bytes() == content


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "is empty"), (b"GIF89a", "is not an MCAP recording"), (None, "is truncated")],
)
def test_what_is_no_episode_is_left_out(
    uploads: list[Path], tmp_path: Path, content: bytes | None, reason: str
):
    foreign = tmp_path / "foreign.mcap"
    foreign.write_bytes(uploads[0].read_bytes()[:4000] if content is None else content)
    accepted, refused = ingest(tmp_path)
    assert accepted == uploads
    assert len(refused) == 1 and reason in refused[0][1] and str(foreign) in refused[0][1]


def test_a_recording_without_a_record_gets_one(uploads: list[Path], tmp_path: Path):
    record = uploads[0].with_name(f"{uploads[0].name}.artifact.json")
    before = read_artifact(uploads[0])
    record.unlink()
    assert ingest(tmp_path)[0] == uploads
    artifact = read_artifact(uploads[0], ArtifactKind.EPISODE)
    assert artifact.id == before.id and artifact.figures["steps"] == STEPS


def test_a_cut_recording_is_salvaged(uploads: list[Path], tmp_path: Path):
    content = uploads[0].read_bytes()
    cut = tmp_path / "vehicle-9" / "cut.mcap.partial"
    cut.parent.mkdir()
    cut.write_bytes(content[: len(content) * 2 // 3])
    accepted, refused = ingest(tmp_path)
    salvaged = cut.with_name("cut.mcap")
    assert accepted == [*uploads, salvaged] and refused == []
    assert not cut.exists()
    steps = len(read_episode(salvaged).timestamp_ns)
    assert STEPS // 4 < steps < STEPS
    assert read_artifact(salvaged).figures["steps"] == steps
    assert ingest(tmp_path) == (accepted, [])


def test_a_cut_recording_with_nothing_in_it_is_refused_and_stays(tmp_path: Path):
    cut = tmp_path / "cut.mcap.partial"
    cut.write_bytes(b"\x89MCAP0\r\n")
    accepted, refused = ingest(tmp_path)
    assert accepted == [] and [path for path, _ in refused] == [cut]
    assert cut.exists()
