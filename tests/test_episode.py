"""Episodes: read back as written, the same bytes for the same drive, and little lost with a killed writer."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader

from fleetloop.artifacts import episode_writer
from fleetloop.artifacts.channels import CHANNELS
from fleetloop.artifacts.describe import describe_artifact
from fleetloop.artifacts.episode import (
    Driver,
    EpisodeEvent,
    EpisodeMetadata,
    EpisodeStep,
    rig_from_json,
    rig_to_json,
)
from fleetloop.artifacts.episode_reader import decode_frames, read_episode, read_frames, recover_episode
from fleetloop.artifacts.episode_writer import EpisodeWriter
from fleetloop.artifacts.lineage import ArtifactKind, verify_artifact, write_artifact
from fleetloop.core.errors import EpisodeError, StorageError
from fleetloop.core.labels import empty_labels
from fleetloop.core.scene import SCENE_DTYPE
from fleetloop.core.types import NAVIGATION_VALUES, AgentKind, Camera, CameraRig

STEP_NS = 100_000_000
POSES = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3)


def make_rig() -> CameraRig:
    def camera(name: str, height: int, width: int) -> Camera:
        return Camera(name, (1.5, 0.1, 1.4), 0.1, -0.05, 1.2, width, height)

    front = tuple(camera(f"front_{index}", 64, 96) for index in range(3))
    return CameraRig((front, tuple(camera(f"side_{index}", 32, 48) for index in range(5))))


METADATA = EpisodeMetadata(
    vehicle="simulated-3", release="ab" * 32, town="generated-5", seed=7, world=2, driver=Driver.NETWORK,
    rig=make_rig(), triggers=("hard_braking", "near_miss"),
)  # fmt: skip


def make_step(index: int, images: bool = False) -> EpisodeStep:
    random = np.random.default_rng(index)
    scene = np.zeros(1, SCENE_DTYPE)
    scene["clock_s"] = index * 0.1
    scene["agent_pose"] = random.normal(size=(24, 3)) * 50
    scene["agent_kind"] = [AgentKind.CAR, AgentKind.PEDESTRIAN, AgentKind.NONE] * 8

    def numbers(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    teacher = empty_labels(1)._replace(
        curvature_1pm=np.full(1, 0.01, np.float32), acceleration_mps2=np.full(1, -0.5, np.float32),
        poses=numbers(1, 8, 3), lead_gap_m=np.full(1, 12.5, np.float32),
        lead_speed_mps=np.full(1, 8.0, np.float32), junction_control=np.full(1, 2, np.int8),
    ).select(0)  # fmt: skip
    shade = np.arange(96, dtype=np.uint8)[None, :, None] + np.uint8(index % 100)
    front, side = np.broadcast_to(shade, (3, 64, 96, 3)), np.broadcast_to(shade[:, :48], (5, 32, 48, 3))
    return EpisodeStep(
        timestamp_ns=index * STEP_NS, ego_pose=numbers(3), speed_mps=float(numbers()),
        acceleration_mps2=0.25, curvature_1pm=0.1, control_curvature_1pm=0.01, control_acceleration_mps2=-1.0,
        driver=Driver(index % 3), plan_curvature_1pm=0.02, plan_acceleration_mps2=-2.0,
        plan_poses=numbers(8, 3),
        plan_spread_m=0.3, ego_history=numbers(8, 4), navigation=numbers(NAVIGATION_VALUES), time_of_day_h=17.5,
        scene=scene.tobytes(), teacher=teacher, images=(front, side) if images else None,
    )  # fmt: skip


def write_steps(path: Path, steps: list[EpisodeStep], events: list[EpisodeEvent] | None = None) -> Path:
    with EpisodeWriter(path, METADATA) as writer:
        for step in steps:
            writer.write_step(step)
            for event in events or []:
                if event.timestamp_ns == step.timestamp_ns:
                    writer.write_event(event)
    return path


def assert_one_sentence(error: BaseException, path: Path) -> None:
    assert str(path) in str(error)
    assert "\n" not in str(error) and ";" in str(error)


def test_round_trip(tmp_path: Path) -> None:
    steps = [make_step(index) for index in range(25)]
    events = [EpisodeEvent(500_000_000, "hard_braking", -4.5, "braked at 4.5 m/s²")]
    episode = read_episode(write_steps(tmp_path / "e.mcap", steps, events))
    assert episode.metadata == METADATA
    assert episode.events == tuple(events)
    skipped = {"driver", "scene", "teacher", "images"}
    for field in dataclasses.fields(EpisodeStep):
        if field.name not in skipped:
            expected = np.array([getattr(step, field.name) for step in steps])
            actual = getattr(episode, field.name)
            np.testing.assert_array_equal(actual, expected.astype(actual.dtype), field.name)
    assert episode.driver.tolist() == [step.driver for step in steps]
    assert episode.scenes.dtype == SCENE_DTYPE
    assert episode.scenes.tobytes() == b"".join(step.scene or b"" for step in steps)
    assert episode.has_scene.all() and episode.has_teacher.all()
    for name, actual in episode.teacher._asdict().items():
        expected = np.array([getattr(step.teacher, name) for step in steps])
        np.testing.assert_array_equal(actual, expected, name)
        assert actual.dtype == expected.dtype
    assert episode.images is None and not len(episode.image_step)
    assert episode.duration_s == pytest.approx(2.4)


def test_steps_without_scene_or_teacher(tmp_path: Path) -> None:
    steps = [dataclasses.replace(make_step(0), scene=None, teacher=None), make_step(1)]
    episode = read_episode(write_steps(tmp_path / "e.mcap", steps))
    assert episode.has_scene.tolist() == episode.has_teacher.tolist() == [False, True]
    assert episode.scenes[0].tobytes() == bytes(SCENE_DTYPE.itemsize)
    assert episode.teacher.lead_gap_m.tolist() == [np.inf, 12.5]


def test_pictures_come_at_their_own_rate(tmp_path: Path) -> None:
    steps = [make_step(index, images=index % 2 == 0) for index in range(5)]
    path = write_steps(tmp_path / "e.mcap", steps)
    episode = read_episode(path, with_images=True)
    assert episode.image_step.tolist() == [0, 2, 4]
    assert episode.images is not None
    for group, index in ((0, 0), (1, 2)):
        original = steps[index * 2].images
        assert original is not None
        error = np.abs(episode.images[group][index].astype(int) - original[group])
        assert error.mean() < 2.0
    frames = read_frames(path)
    assert [time_ns for time_ns, _ in frames] == [0, 2 * STEP_NS, 4 * STEP_NS]
    decoded = decode_frames(METADATA.rig, frames[1][1])
    for group in range(2):
        np.testing.assert_array_equal(decoded[group], episode.images[group][1])
    with pytest.raises(ValueError, match="7 pictures for 8 cameras"):
        decode_frames(METADATA.rig, frames[0][1][:7])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.floats(width=32), pose=POSES)
def test_every_float32_survives(tmp_path: Path, value: float, pose: list[float]) -> None:
    step = dataclasses.replace(
        make_step(0), plan_spread_m=value, ego_pose=np.array(pose, np.float32), plan_curvature_1pm=value
    )
    episode = read_episode(write_steps(tmp_path / "e.mcap", [step]))
    np.testing.assert_array_equal(episode.ego_pose[0], np.array(pose, np.float32))
    # What is not finite is null in JSON, and NaN when it comes back.
    assert (
        episode.plan_spread_m[0] == np.float32(value)
        if np.isfinite(value)
        else np.isnan(episode.plan_spread_m[0])
    )


def test_the_same_drive_makes_the_same_bytes(tmp_path: Path) -> None:
    ids = []
    for name in ("a.mcap", "b.mcap"):
        path = write_steps(tmp_path / name, [make_step(index, images=index == 3) for index in range(30)])
        ids.append(write_artifact(path, ArtifactKind.EPISODE, (), {}, 7, read_episode(path).figures).id)
        verify_artifact(path)
    assert ids[0] == ids[1]


def test_opens_with_the_ordinary_reader_and_foxglove_schemas(tmp_path: Path) -> None:
    path = write_steps(
        tmp_path / "e.mcap",
        [make_step(index, images=True) for index in range(11)],
        [EpisodeEvent(0, "novelty", 1.0, "")],
    )
    with path.open("rb") as stream:
        reader = make_reader(stream)
        summary = reader.get_summary()
        assert summary is not None
        counts = Counter(channel.topic for _, channel, _ in reader.iter_messages())
        names = {schema.name for schema in summary.schemas.values()}
    assert {channel.topic for channel in CHANNELS} < set(counts)
    assert counts["/ego"] == counts["/tf"] == counts["/camera/front_0"] == counts["/camera/side_4"] == 11
    assert counts["/scene/road_users"] == counts["/plan/poses"] == 3
    assert {"foxglove.CompressedImage", "foxglove.FrameTransform", "foxglove.PosesInFrame"} <= names
    assert "foxglove.SceneUpdate" in names


def test_a_killed_writer_loses_a_second_at_most(tmp_path: Path) -> None:
    """A process is killed with -9 while it records; what it had recorded a second before is still there."""
    path = tmp_path / "e.mcap"
    program = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "import test_episode as t\n"
        "writer = t.EpisodeWriter(Path(sys.argv[2]), t.METADATA)\n"
        "for index in range(57): writer.write_step(t.make_step(index, images=index % 2 == 0))\n"
        "print('written', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(Path(__file__).parent), str(path)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"written\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    partial = path.with_name("e.mcap.partial")
    assert partial.exists() and not path.exists()
    with pytest.raises(EpisodeError, match="recover_episode"):
        read_episode(partial)
    assert recover_episode(partial) == path
    assert not partial.exists()
    episode = read_episode(path, with_images=True)
    assert 47 <= len(episode.timestamp_ns) <= 57
    steps = [make_step(index, images=index % 2 == 0) for index in range(len(episode.timestamp_ns))]
    fresh = write_steps(tmp_path / "fresh.mcap", steps)
    assert path.read_bytes() == fresh.read_bytes()


def test_every_cut_is_noticed_and_yields_a_prefix(tmp_path: Path) -> None:
    steps = [make_step(index) for index in range(25)]
    whole = write_steps(tmp_path / "whole.mcap", steps).read_bytes()
    path = tmp_path / "cut.mcap"
    longest = 0
    for size in [*range(1, len(whole), len(whole) // 40), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(EpisodeError) as caught:
            read_episode(path)
        assert_one_sentence(caught.value, path)
        try:
            episode = read_episode(recover_episode(path))
        except EpisodeError as error:
            assert_one_sentence(error, path)
            assert path.read_bytes() == whole[:size]
            continue
        count = len(episode.timestamp_ns)
        assert episode.timestamp_ns.tolist() == [index * STEP_NS for index in range(count)]
        assert count >= longest
        longest = count
    assert longest == 25
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cut.mcap", "whole.mcap"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_flipped_byte_never_ends_in_another_error(tmp_path: Path, position: float, flip: int) -> None:
    path = tmp_path / "e.mcap"
    source = tmp_path / "source.mcap"
    if not source.exists():
        write_steps(source, [make_step(index, images=index == 1) for index in range(3)])
    content = bytearray(source.read_bytes())
    content[int(position * len(content))] ^= flip
    path.write_bytes(content)
    for read in (
        lambda: read_episode(path, with_images=True),
        lambda: read_frames(path),
        lambda: recover_episode(path),
    ):
        try:
            read()
        except EpisodeError as error:
            assert_one_sentence(error, path)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 a zip", b"\x89MCAP0\r\n", b"\x89MCAP0\r\n" + bytes(100)]
)
def test_empty_and_foreign_files_end_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "e.mcap"
    path.write_bytes(content)
    for read in (read_episode, read_frames, recover_episode, describe_artifact):
        with pytest.raises(EpisodeError) as caught:
            read(path)
        assert_one_sentence(caught.value, path)
    assert path.read_bytes() == content


def test_another_mcap_is_refused(tmp_path: Path) -> None:
    import foxglove

    path = tmp_path / "other.mcap"
    context = foxglove.Context()
    with foxglove.open_mcap(path, context=context):
        foxglove.Channel("/x", message_encoding="json", context=context).log({"a": 1}, log_time=1)
    with pytest.raises(EpisodeError, match="recording of something else"):
        read_episode(path)
    with pytest.raises(EpisodeError, match="cannot be read"):
        read_episode(tmp_path / "missing.mcap")
    with pytest.raises(EpisodeError, match="cannot be read"):
        read_episode(tmp_path)


def test_steps_that_do_not_fit_are_refused_and_the_rest_is_kept(tmp_path: Path) -> None:
    good = make_step(0)
    wrong = {
        "after": good,
        "longer than 60 s": dataclasses.replace(good, timestamp_ns=61_000_000_000),
        "navigation": dataclasses.replace(make_step(1), navigation=np.zeros(3, np.float32)),
        "bytes": dataclasses.replace(make_step(1), scene=b"short"),
        "rig": dataclasses.replace(make_step(1), images=(np.zeros((3, 9, 9, 3), np.uint8),)),
    }
    for text, step in wrong.items():
        path = tmp_path / "e.mcap"
        with pytest.raises(EpisodeError, match=text), EpisodeWriter(path, METADATA) as writer:
            writer.write_step(good)
            writer.write_step(step)
        assert not path.exists()
        recover_episode(writer.partial)
        assert len(read_episode(path).timestamp_ns) == 1
        path.unlink()


def test_what_nobody_can_have_recorded_is_refused(tmp_path: Path) -> None:
    """It would be drawn or taught much later, by code that does not ask."""
    good = make_step(0)
    assert good.teacher is not None and good.scene is not None
    scenes = {
        "unknown kind": ("agent_kind", (0, 3), 77),
        "not finite": ("agent_pose", (0, 0, 1), np.nan),
    }
    wrong = {
        "signal_colour is no SignalColour": good.teacher._replace(signal_colour=np.int8(7)),
        "junction_control is no Control": good.teacher._replace(junction_control=np.int8(-3)),
        "curvature_1pm is not finite": good.teacher._replace(curvature_1pm=np.float32(np.nan)),
    }
    steps = {text: dataclasses.replace(good, teacher=teacher) for text, teacher in wrong.items()}
    for text, (field, place, value) in scenes.items():
        scene = np.frombuffer(bytearray(good.scene), SCENE_DTYPE)
        scene[field][place] = value
        steps[text] = dataclasses.replace(good, scene=scene.tobytes())
    for text, step in steps.items():
        path = write_steps(tmp_path / "e.mcap", [step])
        with pytest.raises(EpisodeError, match=text) as caught:
            read_episode(path)
        assert_one_sentence(caught.value, path)
    nowhere = np.frombuffer(bytearray(good.scene), SCENE_DTYPE)
    nowhere["agent_pose"][0, 2] = np.nan  # of an empty place
    assert read_episode(
        write_steps(tmp_path / "e.mcap", [dataclasses.replace(good, scene=nowhere.tobytes())])
    )


def test_an_episode_without_steps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EpisodeError, match="no step"), EpisodeWriter(tmp_path / "e.mcap", METADATA):
        pass
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_a_sentence_and_keeps_what_was_recorded(tmp_path: Path, monkeypatch) -> None:
    class Full:
        """A file on a disk with room for some bytes."""

        def __init__(self, file, room: int) -> None:
            self.file, self.room = file, room

        def write(self, data: bytes) -> int:
            self.room -= len(data)
            if self.room < 0:
                raise OSError(28, "No space left on device")
            return self.file.write(data)

        def __getattr__(self, name: str):
            return getattr(self.file, name)

    path = tmp_path / "e.mcap"
    opened = episode_writer._RememberingFile.__init__

    def open_on_a_small_disk(self, path: Path) -> None:
        opened(self, path)
        self._file = Full(self._file, 60_000)

    with monkeypatch.context() as patched:
        patched.setattr(episode_writer._RememberingFile, "__init__", open_on_a_small_disk)
        with pytest.raises(StorageError, match="disk is full"), EpisodeWriter(path, METADATA) as writer:
            for index in range(300):
                writer.write_step(make_step(index))
    assert not path.exists()
    recover_episode(writer.partial)
    assert len(read_episode(path).timestamp_ns) > 10


def test_rig_round_trip_and_errors() -> None:
    rig = make_rig()
    assert rig_from_json(rig_to_json(rig)) == rig
    broken = rig_to_json(rig)
    broken[0][0]["width"] = -1
    nameless = rig_to_json(rig)
    nameless[0][0]["name"] = 7
    for groups in (None, {}, [1], [[{}]], broken, nameless):
        with pytest.raises(ValueError, match="rig"):
            rig_from_json(groups)


def test_describe_with_and_without_a_record(tmp_path: Path) -> None:
    path = write_steps(tmp_path / "e.mcap", [make_step(index) for index in range(3)])
    rows = dict(describe_artifact(path))
    assert rows["steps"] == "3" and rows["lineage"] == "none recorded"
    written = write_artifact(path, ArtifactKind.EPISODE, ("c" * 64,), {}, 1, read_episode(path).figures)
    rows = dict(describe_artifact(path))
    assert (
        rows["id"] == written.id
        and rows["town"] == "generated-5"
        and rows["triggers"] == "hard_braking, near_miss"
    )


def test_recording_without_pictures_is_fast(tmp_path: Path) -> None:
    """1,000 steps take about 0.1 s to write and to read; the bounds allow for a busy machine."""
    steps = [make_step(index) for index in range(500)]
    began = time.perf_counter()
    path = write_steps(tmp_path / "e.mcap", steps)
    written = time.perf_counter()
    read_episode(path)
    assert written - began < 0.75
    assert time.perf_counter() - written < 0.75
