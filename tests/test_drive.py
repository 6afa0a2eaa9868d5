"""Driving and recording: the same seed gives the same Episodes, and clips hold what was asked for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.artifacts.episode import Driver, Episode
from fleetloop.artifacts.episode_reader import read_episode
from fleetloop.artifacts.lineage import verify_artifact
from fleetloop.core.errors import ConfigError, InputError, MapError, StorageError
from fleetloop.core.random import Stream, normal, uniform
from fleetloop.core.scene import SCENE_BYTES
from fleetloop.core.types import STEP_S, Camera, CameraRig, LaneKind, Observation, Plan
from fleetloop.vehicle import recorder as recorder_module
from fleetloop.vehicle.drive import MANIFEST, DriveConfig, DriveSummary, disturb, drive, read_summary
from fleetloop.vehicle.recorder import RecorderConfig
from fleetloop.vehicle.triggers import TriggerConfig
from toy_world import toy_world

RIG = CameraRig(
    groups=(
        (Camera("forward", (1.5, 0.0, 1.4), 0.0, 0.0, 1.2, 32, 16),),
        (Camera("rear", (0.0, 0.0, 1.4), 3.14, 0.0, 1.2, 16, 16),),
    )
)
TOWNS = ["toy-0"]
EVERYTHING = DriveConfig(
    vehicles=3, steps=25, agents=4, camera_interval_steps=10, recorder=RecorderConfig(everything=True)
)
CLIPS = DriveConfig(
    vehicles=3,
    steps=60,
    agents=4,
    recorder=RecorderConfig(before_s=0.5, after_s=0.3),
    triggers=TriggerConfig(pause_s=1.0),
)


class Veering:
    """Drives straight on, then turns the wheel to the left until somebody takes it away."""

    def __init__(self, vehicles: int, after_steps: int = 10) -> None:
        self.vehicles, self.after_steps = vehicles, after_steps
        self.seen = np.zeros(vehicles, int)
        self.resets = 0

    def reset(self, mask: np.ndarray) -> None:
        self.seen[mask] = 0
        self.resets += int(mask.sum())

    def plan(self, observation: Observation) -> Plan:
        assert observation.images[0].shape[0] == self.vehicles
        curvature = np.where(self.seen >= self.after_steps, 0.15, 0.0).astype(np.float32)
        self.seen += 1
        poses = np.zeros((self.vehicles, 8, 3), np.float32)
        poses[:, :, 0] = np.linspace(1.0, 10.0, 8)
        return Plan(
            curvature, np.full(self.vehicles, 0.5, np.float32), poses, np.ones(self.vehicles, np.float32)
        )


def drive_demonstrator(folder: Path, config: DriveConfig = EVERYTHING, seed: int = 3) -> DriveSummary:
    return drive(toy_world(), TOWNS, None, RIG, folder, config, seed)


def drive_network(folder: Path, config: DriveConfig = CLIPS, seed: int = 3) -> DriveSummary:
    return drive(toy_world(), TOWNS, Veering(config.vehicles), RIG, folder, config, seed, release="r" * 64)


def episodes_of(folder: Path, with_images: bool = False) -> list[Episode]:
    return [read_episode(folder / name, with_images) for name in read_summary(folder).episodes]


def test_the_demonstrators_drive_is_recorded_whole(tmp_path: Path):
    summary = drive_demonstrator(tmp_path / "drive")
    episodes = episodes_of(tmp_path / "drive", with_images=True)
    assert sum(len(episode.timestamp_ns) for episode in episodes) == 3 * 25 == summary.recorded_steps
    assert summary.km > 0.02
    for episode in episodes:
        assert episode.metadata.driver is Driver.DEMONSTRATOR
        assert episode.metadata.triggers == () and episode.metadata.release == ""
        assert episode.has_scene.all() and episode.has_teacher.all()
        assert np.array_equal(episode.image_step, np.arange(0, len(episode.timestamp_ns), 10))
        assert np.allclose(np.diff(episode.timestamp_ns), STEP_S * 1e9, atol=1e5)
        assert np.array_equal(episode.ego_history[:, -1, 0], episode.speed_mps)
        assert np.allclose(episode.scenes["ego_pose"], episode.ego_pose)


def test_the_same_seed_gives_the_same_episodes(tmp_path: Path):
    first, again = drive_demonstrator(tmp_path / "first"), drive_demonstrator(tmp_path / "again")
    assert first == again
    assert set(first.episode_ids).isdisjoint(drive_demonstrator(tmp_path / "other", seed=4).episode_ids)


def test_a_network_drive_repeats_too(tmp_path: Path):
    assert drive_network(tmp_path / "first") == drive_network(tmp_path / "again")


def test_records_fit_the_files_and_name_the_release(tmp_path: Path):
    summary = drive_network(tmp_path / "drive")
    for name, id in zip(summary.episodes, summary.episode_ids, strict=True):
        artifact = verify_artifact(tmp_path / "drive" / name)
        assert artifact.id == id and artifact.parents == ("r" * 64,)
    on_disk = sum((tmp_path / "drive" / name).stat().st_size for name in summary.episodes)
    assert on_disk == summary.recorded_bytes
    assert summary.bytes_per_km == pytest.approx(on_disk / summary.km)


def test_clips_hold_the_seconds_around_a_trigger_and_no_step_twice(tmp_path: Path):
    summary = drive_network(tmp_path / "drive")
    assert summary.interventions["wrong_way"] + summary.interventions["off_road"] > 0
    assert summary.trigger_counts["intervention"] == sum(summary.interventions.values())
    seen: set[tuple[int, int]] = set()
    for episode in episodes_of(tmp_path / "drive"):
        assert episode.metadata.driver is Driver.NETWORK and episode.metadata.triggers
        assert {event.kind for event in episode.events} >= set(episode.metadata.triggers)
        times = [event.timestamp_ns for event in episode.events]
        before = np.searchsorted(episode.timestamp_ns, min(times))
        after = len(episode.timestamp_ns) - 1 - np.searchsorted(episode.timestamp_ns, max(times))
        assert before <= 5 and after <= 3
        steps = {(episode.metadata.seed, int(time)) for time in episode.timestamp_ns}
        assert seen.isdisjoint(steps)
        seen |= steps
    assert len(seen) == summary.recorded_steps < CLIPS.vehicles * CLIPS.steps


def test_a_clip_has_all_it_may_have_from_before(tmp_path: Path):
    drive_network(tmp_path / "drive")
    before = []
    for episode in episodes_of(tmp_path / "drive"):
        start = int(np.searchsorted(episode.timestamp_ns, episode.events[0].timestamp_ns))
        before.append(start)
        if episode.events[0].kind == "intervention":
            assert np.flatnonzero(episode.driver == Driver.SAFETY_DRIVER)[0] == start
            assert episode.events[0].text.startswith("the safety driver took over: ")
    assert max(before) == 5


def test_an_episode_stays_on_one_route(tmp_path: Path):
    """Nothing of the route before is in a clip, and the metadata is of the route that was driven."""
    config = replace(CLIPS, route_m=12.0, steps=80)
    policy = Veering(config.vehicles, after_steps=4)
    drive(toy_world(), TOWNS, policy, RIG, tmp_path / "drive", config, seed=5, release="r" * 64)
    episodes = episodes_of(tmp_path / "drive")
    assert policy.resets > 3 and len(episodes) > 3
    for episode in episodes:
        moved = np.linalg.norm(np.diff(episode.ego_pose[:, :2], axis=0), axis=1)
        assert (moved < 2.0).all()
    assert len({episode.metadata.seed for episode in episodes}) > 3


def test_a_long_drive_is_cut_into_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recorder_module, "EPISODE_STEPS", 10)
    drive_demonstrator(tmp_path / "drive")
    by_vehicle: dict[str, list[int]] = {}
    for episode in episodes_of(tmp_path / "drive"):
        by_vehicle.setdefault(episode.metadata.vehicle, []).append(len(episode.timestamp_ns))
    assert all(max(lengths) <= 10 and sum(lengths) == 25 for lengths in by_vehicle.values())


def test_no_clip_when_nothing_happens(tmp_path: Path):
    config = replace(EVERYTHING, recorder=RecorderConfig(), steering_noise_1pm=0.0, agents=1, steps=10)
    summary = drive_demonstrator(tmp_path / "drive", config)
    assert summary.episodes == () and summary.bytes_per_km == 0.0
    assert read_summary(tmp_path / "drive") == summary


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def test_a_killed_drive_is_driven_again_from_its_start(tmp_path: Path):
    folder = tmp_path / "drive"

    def kill(share: float) -> None:
        if share > 0.7:
            raise Killed

    with pytest.raises(Killed):
        drive(toy_world(), TOWNS, None, RIG, folder, EVERYTHING, 3, progress=kill)
    assert not folder.exists()
    partial = folder.with_name("drive.partial")
    assert len(list(partial.glob("*.mcap.partial"))) == 3
    with pytest.raises(InputError, match=r"drive\.json: there is no such file"):
        read_summary(folder)
    assert drive_demonstrator(folder) == drive_demonstrator(tmp_path / "uninterrupted")
    assert not partial.exists()


def test_what_is_there_already_is_not_overwritten(tmp_path: Path):
    drive_demonstrator(tmp_path / "drive")
    before = (tmp_path / "drive" / MANIFEST).read_bytes()
    with pytest.raises(InputError, match="holds something already"):
        drive_demonstrator(tmp_path / "drive", seed=4)
    assert (tmp_path / "drive" / MANIFEST).read_bytes() == before


def test_a_full_disk_keeps_the_episodes_that_were_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recorder_module, "EPISODE_STEPS", 10)
    written = recorder_module.EpisodeWriter.write_step
    count = 0

    def fail_late(self, step) -> None:
        nonlocal count
        count += 1
        if count > 3 * 20:
            raise StorageError(f"{self.path}: the disk is full")
        written(self, step)

    monkeypatch.setattr(recorder_module.EpisodeWriter, "write_step", fail_late)
    with pytest.raises(StorageError):
        drive_demonstrator(tmp_path / "drive")
    kept = sorted((tmp_path / "drive.partial").glob("*.mcap"))
    assert len(kept) == 6
    for path in kept:
        assert verify_artifact(path) and len(read_episode(path).timestamp_ns) == 10


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"release": "x"}'])
def test_a_damaged_manifest_is_one_sentence(tmp_path: Path, content: bytes):
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(InputError, match=r"drive\.json: is damaged; delete the folder"):
        read_summary(tmp_path)


@pytest.mark.parametrize("field", ["vehicles", "steps", "agents", "camera_interval_steps"])
def test_a_config_that_cannot_be_driven_names_its_field(field: str):
    with pytest.raises(ConfigError, match=f"drive: {field} is 0; use 1 or more"):
        replace(EVERYTHING, **{field: 0})


def test_a_town_without_a_place_to_start_is_an_error(tmp_path: Path):
    world = toy_world()
    roadless = world._replace(lane_kind=np.full_like(world.lane_kind, LaneKind.JUNCTION))
    with pytest.raises(MapError, match="no stretch of road"):
        drive(roadless, TOWNS, None, RIG, tmp_path / "drive", EVERYTHING, seed=0)
    assert not (tmp_path / "drive.partial").exists()


def reference_disturbance(seed: int, step: int, speed_mps: float, scale_1pm: float) -> tuple[float, float]:
    stream, key = int(Stream.STEERING_NOISE), np.uint64(seed)
    pull = brake = 0.0
    stretch, within = divmod(step, 15)
    if within < 7 and uniform(key, 0, stretch, stream, 0) < 0.4:
        pull = float(normal(key, 1, stretch, stream, 0)) * scale_1pm * 5.0 / max(speed_mps, 3.0)
    stretch, within = divmod(step, 80)
    if within < 25 and uniform(key, 2, stretch, stream, 0) < 0.35:
        brake = 2.5 * float(uniform(key, 3, stretch, stream, 0))
    return pull, brake


@given(
    seed=st.integers(0, 2**63 - 1),
    step=st.integers(0, 100_000),
    speed_mps=st.floats(0.0, 40.0, width=32),
    scale_1pm=st.floats(0.0, 0.1),
)
def test_disturbances_are_those_of_the_slow_reference(
    seed: int, step: int, speed_mps: float, scale_1pm: float
):
    seeds, steps = np.array([seed], np.uint64), np.array([step], np.int32)
    pull, brake = disturb(seeds, steps, np.array([speed_mps], np.float32), scale_1pm)
    assert pull.dtype == brake.dtype == np.float32
    expected = reference_disturbance(seed, step, speed_mps, scale_1pm)
    assert (pull[0], brake[0]) == pytest.approx(expected, abs=1e-6)


def test_disturbances_come_and_go():
    steps = np.arange(6000, dtype=np.int32)
    pull, brake = disturb(np.full(6000, 9, np.uint64), steps, np.full(6000, 5.0, np.float32), 0.03)
    assert 0.1 < (pull != 0.0).mean() < 0.3
    assert 0.02 < pull[pull != 0.0].std() < 0.045
    assert 0.05 < (brake > 0.0).mean() < 0.2 and brake.min() >= 0.0 and brake.max() <= 2.5


def test_a_scene_is_kept_at_every_step(tmp_path: Path):
    drive_demonstrator(tmp_path / "drive")
    assert all(episode.scenes.nbytes == SCENE_BYTES * 25 for episode in episodes_of(tmp_path / "drive"))


class Failing(Veering):
    """Drives straight on, falls silent for some steps, and is watched with a covered camera."""

    def plan(self, observation: Observation) -> Plan | None:  # type: ignore[override]
        plan = super().plan(observation)
        return (
            None
            if 10 <= self.seen[0] < 20
            else replace(plan, curvature_1pm=np.zeros(self.vehicles, np.float32))
        )


def test_faults_of_the_network_are_events_and_the_drive_repeats(tmp_path: Path):
    config = replace(CLIPS, vehicles=1, steps=30)
    first, again = (
        drive(toy_world(), TOWNS, Failing(1), RIG, tmp_path / name, config, 3) for name in ("first", "again")
    )
    assert first == again
    assert first.trigger_counts["network_fault"] == 2
    events = [
        event
        for episode in episodes_of(tmp_path / "first")
        for event in episode.events
        if event.kind == "network_fault"
    ]
    assert [event.text for event in events] == [
        "the safety layer brakes: the network was late",
        "the safety layer brakes: the network is silent",
    ]
