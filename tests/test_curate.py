"""Curation: what becomes a sample, what it weighs, and that nothing counts twice."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetloop.artifacts.dataset import dataset_versions, read_samples
from fleetloop.artifacts.episode import Driver, Episode, EpisodeEvent
from fleetloop.artifacts.episode_reader import read_episode
from fleetloop.core.errors import ConfigError, DatasetError, EpisodeError
from fleetloop.core.types import CameraRig
from fleetloop.curate.curate import EARLIER_STEPS, CurateConfig, curate, cut_episode, dataset_size
from fleetloop.vehicle.drive import DriveConfig, drive
from fleetloop.vehicle.recorder import RecorderConfig
from toy_world import toy_world

CONFIG = CurateConfig()
RIG = CameraRig(groups=())
STEPS = 40


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three Episodes of the demonstrator."""
    folder = tmp_path_factory.mktemp("drives") / "drive"
    config = DriveConfig(
        vehicles=3,
        steps=STEPS,
        agents=3,
        camera_interval_steps=STEPS + 1,
        recorder=RecorderConfig(everything=True),
    )
    # No cameras: the first step, which would record them, has nothing to render.
    summary = drive(toy_world(), ["toy-0"], None, RIG, folder, config, seed=1)
    return [folder / name for name in summary.episodes]


@pytest.fixture(scope="module")
def episode(drives: list[Path]) -> Episode:
    return read_episode(drives[0])


def moving(episode: Episode) -> Episode:
    """The same, but straight ahead at 8 m/s without braking: every weight is its base."""
    teacher = episode.teacher._replace(
        curvature_1pm=np.zeros(STEPS, np.float32),
        acceleration_mps2=np.zeros(STEPS, np.float32),
    )
    history = np.tile(np.array([8.0, 0.0, 0.0], np.float32), (STEPS, 8, 1))
    return replace(episode, teacher=teacher, speed_mps=np.full(STEPS, 8.0, np.float32), ego_history=history)


def test_every_step_with_a_past_is_a_sample(episode: Episode):
    samples = cut_episode(moving(episode), "e" * 64, CONFIG)
    chosen = np.arange(EARLIER_STEPS, STEPS)
    assert len(samples) == len(chosen)
    assert np.array_equal(samples.scene, episode.scenes[chosen])
    assert np.array_equal(samples.earlier_scene, episode.scenes[chosen - EARLIER_STEPS])
    assert np.array_equal(samples.labels.poses, episode.teacher.poses[chosen])
    assert np.array_equal(samples.timestamp_ns, episode.timestamp_ns[chosen])
    assert len(set(samples.sample_id)) == len(samples) and set(samples.episode_id) == {"e" * 64}
    assert set(samples.reasons) == {("demonstration",)} and set(samples.town) == {"toy-0"}


def test_steps_without_label_or_scene_teach_nothing(episode: Episode):
    has_teacher, has_scene = episode.has_teacher.copy(), episode.has_scene.copy()
    has_teacher[10], has_scene[20] = False, False
    samples = cut_episode(replace(moving(episode), has_teacher=has_teacher, has_scene=has_scene), "e", CONFIG)
    assert set(range(EARLIER_STEPS, STEPS)) - {int(id[-4:]) for id in samples.sample_id} == {10, 20}


def test_standing_is_thinned_but_not_starting(episode: Episode):
    still = moving(episode)
    still.speed_mps[:] = 0.0
    still.ego_history[:] = 0.0
    acceleration = np.zeros(STEPS, np.float32)
    acceleration[25:28] = 1.0
    standing = replace(still, teacher=still.teacher._replace(acceleration_mps2=acceleration))
    kept = [int(id[-4:]) for id in cut_episode(standing, "e", replace(CONFIG, standing_stride=10)).sample_id]
    assert kept == [10, 20, 25, 26, 27, 30]


def test_a_stride_keeps_every_so_many(episode: Episode):
    kept = [int(id[-4:]) for id in cut_episode(moving(episode), "e", replace(CONFIG, stride=8)).sample_id]
    assert kept == [8, 16, 24, 32]


def test_turning_and_braking_weigh_more(episode: Episode):
    plain = moving(episode)
    curvature, acceleration = np.zeros(STEPS, np.float32), np.zeros(STEPS, np.float32)
    curvature[10], curvature[11], acceleration[12], acceleration[13] = -0.05, 0.9, -2.0, 3.0
    teacher = plain.teacher._replace(curvature_1pm=curvature, acceleration_mps2=acceleration)
    weight = cut_episode(replace(plain, teacher=teacher), "e", CONFIG).weight
    assert weight[[5, *range(6, 10)]].tolist() == pytest.approx([1.0, 1.5, 3.0, 2.0, 1.0])


def test_pulling_away_weighs_more(episode: Episode):
    still = moving(episode)
    still.speed_mps[10:20] = 0.5
    acceleration = np.zeros(STEPS, np.float32)
    acceleration[15:25] = 1.0
    pulling = replace(still, teacher=still.teacher._replace(acceleration_mps2=acceleration))
    weight = cut_episode(pulling, "e", replace(CONFIG, starting_weight=3.0)).weight
    assert np.flatnonzero(weight == 4.0).tolist() == [index - EARLIER_STEPS for index in range(15, 20)]
    assert set(weight) == {1.0, 4.0}


def triggered(episode: Episode) -> Episode:
    driver = np.full(STEPS, Driver.NETWORK, np.uint8)
    driver[35:] = Driver.SAFETY_DRIVER
    event = EpisodeEvent(int(episode.timestamp_ns[12]), "near_miss", 1.0, "")
    metadata = replace(episode.metadata, triggers=("intervention",), driver=Driver.NETWORK)
    return replace(moving(episode), metadata=metadata, driver=driver, events=(event,))


def test_what_led_to_a_take_over_weighs_most_and_says_so(episode: Episode):
    config = replace(CONFIG, before_take_over_s=1.0)
    samples = cut_episode(triggered(episode), "e", config)
    early = np.arange(25, 36) - EARLIER_STEPS
    others = np.setdiff1d(np.arange(len(samples)), early)
    assert set(samples.weight[early]) == {3.0} and set(samples.weight[others]) == {1.5}
    names = ("intervention", "near_miss")
    assert {samples.reasons[index] for index in early.tolist()} == {(*names, "before_take_over")}
    assert {samples.reasons[index] for index in others.tolist()} == {names}


def test_each_call_appends_a_version_with_its_lineage(drives: list[Path], tmp_path: Path):
    dataset = tmp_path / "dataset"
    first = curate(dataset, drives[:1], CONFIG, seed=0)
    second = curate(dataset, drives[1:], CONFIG, seed=0)
    assert (first, second) == (1, 2)
    assert dataset_size(dataset, 1) == len(read_samples(dataset, 1)) < dataset_size(dataset, 2)
    records = [entry.artifact for entry in dataset_versions(dataset)]
    assert len(records[0].parents) == 1 and len(records[1].parents) == 3
    assert records[1].parents[0] == records[0].id


def test_an_episode_counts_once(drives: list[Path], tmp_path: Path):
    dataset = tmp_path / "dataset"
    curate(dataset, [drives[0], drives[0], drives[1]], CONFIG, seed=0)
    samples = read_samples(dataset)
    assert len(set(samples.sample_id)) == len(samples)
    assert curate(dataset, drives[:2], CONFIG, seed=0) == 1
    assert curate(dataset, drives, CONFIG, seed=0) == 2
    assert len(set(read_samples(dataset).episode_id)) == 3


def test_the_same_episodes_give_the_same_data_set(drives: list[Path], tmp_path: Path):
    for name in ("first", "again"):
        curate(tmp_path / name, drives, CONFIG, seed=0)
    first, again = (dataset_versions(tmp_path / name)[-1].artifact for name in ("first", "again"))
    assert first.id == again.id


def test_no_episodes_leave_the_data_set_as_it_is(drives: list[Path], tmp_path: Path):
    with pytest.raises(DatasetError, match="no usable sample; drive longer"):
        curate(tmp_path / "dataset", [], CONFIG, seed=0)
    assert not (tmp_path / "dataset").exists()
    curate(tmp_path / "dataset", drives, CONFIG, seed=0)
    assert curate(tmp_path / "dataset", [], CONFIG, seed=0) == 1


def test_a_broken_episode_appends_nothing(drives: list[Path], tmp_path: Path):
    broken = tmp_path / "broken.mcap"
    broken.write_bytes(drives[0].read_bytes()[:5000])
    record = drives[0].with_name(drives[0].name + ".artifact.json")
    (tmp_path / "broken.mcap.artifact.json").write_bytes(record.read_bytes())
    with pytest.raises(EpisodeError, match=r"broken\.mcap: is truncated"):
        curate(tmp_path / "dataset", [*drives[1:], broken], CONFIG, seed=0)
    assert not (tmp_path / "dataset").exists()


def test_an_unknown_version_is_one_sentence(drives: list[Path], tmp_path: Path):
    curate(tmp_path / "dataset", drives, CONFIG, seed=0)
    with pytest.raises(DatasetError, match="has no version 7; choose one of 1"):
        dataset_size(tmp_path / "dataset", 7)


@pytest.mark.parametrize("field", ["stride", "standing_stride"])
def test_a_stride_of_nothing_names_its_field(field: str):
    with pytest.raises(ConfigError, match=f"curate: {field} is 0; use 1 or more"):
        CurateConfig(**{field: 0})


def test_progress_ends_at_one(drives: list[Path], tmp_path: Path):
    shares: list[float] = []
    curate(tmp_path / "dataset", drives, CONFIG, 0, shares.append)
    assert shares == pytest.approx([1 / 3, 2 / 3, 1.0])
