"""Recordings for people: one drive as MP4, MCAP and Rerun, each read back; of rollouts and of environments."""

import importlib
import importlib.util
import math
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mcap.reader import make_reader
from scipy.spatial.transform import Rotation

from fleetloop.artifacts import channels
from fleetloop.artifacts.episode import Driver
from fleetloop.artifacts.episode_reader import read_episode
from fleetloop.artifacts.episode_view import camera_rotation
from fleetloop.cli import main
from fleetloop.core.errors import ConfigError, InputError
from fleetloop.core.pinhole import camera_axes
from fleetloop.core.types import (
    EGO,
    PLAN_POSE_INTERVAL_S,
    STEP_S,
    AgentKind,
    Camera,
    LaneKind,
    Observation,
    Plan,
)
from fleetloop.policy.inside import InspectedDriver
from fleetloop.policy.network import NetworkConfig, build_network
from fleetloop.recording import FORMATS, RecordConfig, Recording, look, record_drive
from fleetloop.recording.moment import arc
from fleetloop.recording.scenery import lane_lines
from fleetloop.sim.cameras import DEFAULT_RIG, Weather, equal_rig
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import make_routes
from toy_world import toy_world

RIG = equal_rig(48, 32)
STEPS = 12
needs_rerun = pytest.mark.skipif(
    importlib.util.find_spec("rerun") is None, reason="rerun is absent: pip install 'fleetloop[rerun]'"
)


def rollout_of(worlds: int = 1, route_m: float = 100.0) -> Rollout:
    return Rollout(toy_world(), make_routes(1, [0], 100, route_m), worlds, agents=8)


def record(
    path: Path, rollout: Rollout, steps: int = STEPS, w: int = 0
) -> tuple[list[np.ndarray], Recording]:
    """Drive and record; the learner's pose, curvature and acceleration after each step."""
    driven = []
    with Recording(path, ["toy"], rig=RIG, w=w) as recording:
        for _ in range(steps + 1):
            rollout.decide()
            recording.add(rollout, rollout.teaching.plan())
            rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
            state = rollout.state
            after = (*state.pose[w, EGO], state.curvature[w, EGO], state.acceleration[w, EGO])
            driven.append(np.array(after))
    return driven, recording


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == round(1.0 / STEP_S)
        return [image.to_ndarray(format="rgb24") for image in container.decode(video=0)]


def test_looking_sees_what_the_learner_sees_and_changes_nothing():
    rollout = rollout_of(worlds=3)
    rollout.decide()
    before = [array.copy() for array in (*rollout.state, *rollout.decision)]
    moment = look(rollout, RIG, w=2, variety=0.7)
    for array, kept in zip((*rollout.state, *rollout.decision), before, strict=True):
        np.testing.assert_array_equal(array, kept)
    observation = rollout.observe(RIG, 0.7)
    for seen, expected in zip(moment.images, observation.images, strict=True):
        np.testing.assert_array_equal(seen, expected[2])
    np.testing.assert_array_equal(moment.observation.navigation[0], observation.navigation[2])
    for told, expected in zip(moment.teaching, rollout.teaching, strict=True):
        np.testing.assert_array_equal(told[0], expected[2])


def test_an_mp4_has_a_frame_for_each_step(tmp_path: Path):
    _, recording = record(tmp_path / "drive.mp4", rollout_of())
    frames = frames_of(tmp_path / "drive.mp4")
    assert len(frames) == STEPS and recording.paths == [tmp_path / "drive.mp4"]
    # The road from above, square, beside the cameras; a bar with the caption above.
    height, width = frames[0].shape[:2]
    assert abs(width - (height - 28 + 960)) <= 2
    assert not np.array_equal(frames[0], frames[-1])


def test_the_same_drive_gives_the_same_mp4(tmp_path: Path):
    for name in ("a.mp4", "b.mp4"):
        record(tmp_path / name, rollout_of())
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_an_mcap_is_an_episode_with_what_was_carried_out(tmp_path: Path):
    path = tmp_path / "drive.mcap"
    driven, _ = record(path, rollout_of(worlds=2), w=1)
    episode = read_episode(path, with_images=True)
    assert episode.metadata.town == "toy" and len(episode.timestamp_ns) == STEPS
    np.testing.assert_array_equal(np.diff(episode.timestamp_ns).round(-6), round(STEP_S * 1e9))
    np.testing.assert_array_equal(episode.ego_pose[1:], [row[:3] for row in driven[: STEPS - 1]])
    np.testing.assert_array_equal(episode.control_curvature_1pm, [row[3] for row in driven[:STEPS]])
    np.testing.assert_array_equal(episode.control_acceleration_mps2, [row[4] for row in driven[:STEPS]])
    np.testing.assert_array_equal(episode.plan_poses, episode.teacher.poses)
    assert set(episode.driver) == {Driver.DEMONSTRATOR}
    assert episode.images is not None and episode.images[0].shape == (STEPS, 8, 32, 48, 3)


def test_an_mcap_shows_lanes_cameras_and_everybody(tmp_path: Path):
    path = tmp_path / "drive.mcap"
    record(path, rollout_of())
    with path.open("rb") as file:
        topics = [(channel.topic, message.data) for _, channel, message in make_reader(file).iter_messages()]
    named = dict(topics)
    assert {f"{channels.CALIBRATION_PREFIX}{camera.name}" for camera in RIG.cameras} <= set(named)
    assert [topic for topic, _ in topics].count(channels.LANES_VIEW.topic) == 1
    assert len(named[channels.CAMERA_FRAMES.topic]) > 0
    count = sum(map(len, lane_lines(toy_world(), 0).values()))
    assert count == len(toy_world().lane_kind)
    # At least four numbers of a point of each line.
    assert len(named[channels.LANES_VIEW.topic]) > 32 * count


def test_routes_and_minutes_go_on_in_further_mcaps(tmp_path: Path):
    """An Episode is one route; where it ends the next file begins."""
    rollout = rollout_of(route_m=6.0)
    _, recording = record(tmp_path / "drive.mcap", rollout, steps=60)
    assert len(recording.paths) >= 2 and recording.paths[1] == tmp_path / "drive-2.mcap"
    episodes = [read_episode(path) for path in recording.paths]
    assert len({episode.metadata.seed for episode in episodes}) == len(episodes)
    assert sum(len(episode.timestamp_ns) for episode in episodes) == recording.steps


@needs_rerun
def test_a_rerun_recording_holds_cameras_boxes_lanes_and_curves(tmp_path: Path):
    read = importlib.import_module("rerun.chunk").RrdReader
    path = tmp_path / "drive.rrd"
    rollout = rollout_of()
    others = int((rollout.state.kind[0] != AgentKind.NONE).sum()) - 1
    driven, recording = record(path, rollout)
    assert recording.paths == [path]
    reader = read(path)
    assert len(reader.recordings()) == 1 and len(reader.blueprints()) == 1
    chunks: dict[str, list] = {}
    for chunk in reader.stream():
        chunks.setdefault(chunk.entity_path.lstrip("/"), []).append(chunk)

    def column(entity: str, component: str, static: bool = False) -> list:
        parts = [chunk.to_record_batch() for chunk in chunks[entity] if chunk.is_static == static]
        name = next(name for part in parts for name in part.schema.names if name.endswith(component))
        return [value for part in parts if name in part.schema.names for value in part[name].to_pylist()]

    for camera in RIG.cameras:
        entity = f"town/ego/cameras/{camera.name}"
        assert sum(value is not None for value in column(entity, "EncodedImage:blob")) == STEPS
        (resolution,) = column(entity, "Pinhole:resolution", static=True)
        assert resolution == [[camera.width, camera.height]]
    curves = [value[0] for value in column("acceleration/carried_out", "Scalars:scalars")]
    np.testing.assert_allclose(curves, [row[4] for row in driven[:STEPS]])
    assert all(len(centres) == others for centres in column("town/road_users", "Boxes3D:centers"))
    for kind, lines in lane_lines(toy_world(), 0).items():
        (drawn,) = column(f"town/map/{kind.name.lower()}", "LineStrips3D:strips")
        assert len(drawn) == len(lines)


def test_without_rerun_a_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ConfigError, match=r"not installed, which the viewer and \.rrd need; run pip install"):
        Recording(tmp_path / "drive.rrd")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(
    not all(importlib.util.find_spec(module) for module in ("gymnasium", "pettingzoo")),
    reason="gymnasium or pettingzoo is absent: pip install 'fleetloop[environments]'",
)
def test_environments_are_recorded_as_they_are_stepped(tmp_path: Path):
    from fleetloop.sim.environments import (
        DrivingEnv,
        DrivingParallelEnv,
        DrivingVectorEnv,
        EnvironmentConfig,
    )

    short = EnvironmentConfig(agents=8, episode_steps=6)
    vector = DrivingVectorEnv(2, toy_world(), short)
    vector.reset(seed=1)
    with Recording(tmp_path / "vector.mcap", rig=RIG, driver=Driver.NETWORK, w=1) as recording:
        for _ in range(10):
            recording.add(vector)
            vector.step(vector.demonstrate())
    first = read_episode(recording.paths[0])
    # The sixth step ends the episode: what it led to is in the next one.
    assert len(first.timestamp_ns) == 5 and len(recording.paths) == 2
    assert set(first.driver) == {Driver.NETWORK}
    np.testing.assert_array_equal(first.plan_curvature_1pm, first.control_curvature_1pm)

    single = DrivingEnv(toy_world(), short)
    single.reset(seed=1)
    parallel = DrivingParallelEnv(toy_world(), EnvironmentConfig(learners=3, agents=8))
    parallel.reset(seed=1)
    with (
        Recording(tmp_path / "single.mp4", rig=RIG) as one,
        Recording(tmp_path / "parallel.mp4", rig=RIG, agent=2) as three,
    ):
        for _ in range(4):
            one.add(single)
            three.add(parallel)
            single.step(np.zeros(2, np.float32))
            parallel.step(parallel.demonstrate())
    assert len(frames_of(tmp_path / "single.mp4")) == len(frames_of(tmp_path / "parallel.mp4")) == 3


def test_a_failed_recording_leaves_no_file(tmp_path: Path):
    for ending in (".mp4", ".mcap"):
        path = tmp_path / f"drive{ending}"
        with pytest.raises(KeyError), Recording(path, rig=RIG) as recording:
            rollout = rollout_of()
            for _ in range(3):
                rollout.decide()
                recording.add(rollout)
                rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
            raise KeyError
        assert not path.exists()


def test_bad_input_is_named(tmp_path: Path):
    with pytest.raises(
        ConfigError, match=r"drive\.avi: its ending names no format; use \.mp4, \.mcap, \.rrd"
    ):
        Recording(tmp_path / "drive.avi")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        Recording(tmp_path / "folder.mp4")
    for ending in (".mp4", ".mcap"):
        with pytest.raises(InputError, match="no step was recorded"), Recording(tmp_path / f"empty{ending}"):
            pass
    with (
        pytest.raises(ConfigError, match="int is neither a Rollout nor an environment"),
        Recording(tmp_path / "a.mp4") as recording,
    ):
        recording.add(3)
    with pytest.raises(ConfigError, match=r"seconds is 0\.0; use 1 or more"):
        RecordConfig(seconds=0.0)
    with pytest.raises(ConfigError, match="scenario: 'cutin' is unknown"):
        RecordConfig(scenario="cutin")
    with pytest.raises(ConfigError, match="name the scenario as well"):
        RecordConfig(parameters=(("speed_mps", 9.5),))
    assert set(FORMATS) == {".mp4", ".mcap", ".rrd"}


def test_a_network_may_drive(tmp_path: Path):
    class Standing:
        """Wants to stand still."""

        def __init__(self) -> None:
            self.resets = 0

        def reset(self, mask: np.ndarray) -> None:
            self.resets += 1

        def plan(self, observation):
            assert [group.shape[2:4] for group in observation.images] == [(64, 96), (32, 48)]
            rows = np.zeros(1, np.float32)
            return Plan(rows, rows - 3.0, np.zeros((1, 8, 3), np.float32), rows)

    path = tmp_path / "drive.mcap"
    outcome, paths = record_drive(
        toy_world(), ["toy"], path, RecordConfig(seconds=2.0, agents=4, rig=RIG), 1, Standing()
    )
    episode = read_episode(path)
    assert paths == [path] and outcome.startswith("drove")
    assert set(episode.driver) == {Driver.NETWORK} and (episode.plan_acceleration_mps2 == -3.0).all()


def test_the_verb_records(tmp_path: Path):
    workspace = ["--workspace", str(tmp_path / "workspace"), "--key", "grid-1000", "--seconds", "1"]
    for name, more in (("traffic", ()), ("scenario", ("--scenario", "hard_braking_lead"))):
        path = tmp_path / f"{name}.mcap"
        main(["world", "record", "--out", str(path), *more, *workspace])
        assert len(read_episode(path).timestamp_ns) == 10


@pytest.mark.slow
def test_a_scenario_is_recorded_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path, workspace = tmp_path / "scenario.mp4", str(tmp_path / "workspace")
    main(["world", "scenario", "hard_braking_lead", "--out", str(path), "--workspace", workspace])
    assert "passed" in capsys.readouterr().out and len(frames_of(path)) > 50


@given(st.floats(0.0, 30.0), st.floats(-0.2, 0.2), st.floats(-8.0, 4.0))
def test_an_arc_is_where_small_steps_lead(speed: float, curvature: float, acceleration: float):
    poses = arc(speed, curvature, acceleration)
    x = y = yaw = 0.0
    small = 1e-3
    for number in range(1, len(poses) + 1):
        for _ in range(round(PLAN_POSE_INTERVAL_S / small)):
            moved = max(speed + 0.5 * acceleration * small, 0.0) * small
            x, y = (
                x + moved * math.cos(yaw + 0.5 * curvature * moved),
                y + moved * math.sin(yaw + 0.5 * curvature * moved),
            )
            yaw, speed = yaw + curvature * moved, max(speed + acceleration * small, 0.0)
        np.testing.assert_allclose(poses[number - 1], [x, y, yaw], atol=0.02)


@given(st.floats(-math.pi, math.pi), st.floats(-1.0, 1.0))
def test_a_viewers_camera_looks_where_ours_does(yaw: float, pitch: float):
    camera = Camera("any", (1.0, 0.5, 1.5), yaw, pitch, 1.0, 96, 64)
    matrix = Rotation.from_quat(camera_rotation(camera)).as_matrix()
    np.testing.assert_allclose(matrix, camera_axes(camera).T, atol=1e-6)


def test_lines_of_lanes_keep_their_ends_and_their_shape():
    world = toy_world()
    lines = lane_lines(world, 0)
    assert set(lines) <= set(LaneKind)
    road = [lane for lane in range(len(world.lane_kind)) if world.lane_kind[lane] == LaneKind.ROAD]
    for lane, line in zip(road, lines[LaneKind.ROAD], strict=True):
        first, count = int(world.lane_first_point[lane]), int(world.lane_point_count[lane])
        points = world.points[first : first + count]
        np.testing.assert_array_equal(line[[0, -1]], points[[0, -1]])
        assert len(line) <= count
        steps = np.diff(line, axis=0)
        assert np.hypot(*steps.T).sum() == pytest.approx(np.hypot(*np.diff(points, axis=0).T).sum(), rel=1e-3)


# What goes on inside a network


def drive_a_network(path: Path) -> InspectedDriver:
    torch.manual_seed(2)
    driver = InspectedDriver(build_network(NetworkConfig(), DEFAULT_RIG), DEFAULT_RIG)
    config = RecordConfig(seconds=1.0, weather=Weather.NIGHT, agents=6)
    record_drive(toy_world(), ["toy"], path, config, 3, driver)
    return driver


def test_an_mp4_shows_what_goes_on_inside(tmp_path: Path):
    driver = drive_a_network(tmp_path / "inside.mp4")
    record(tmp_path / "plain.mp4", rollout_of())
    assert driver.inside is not None
    shown, plain = (frames_of(tmp_path / name)[0] for name in ("inside.mp4", "plain.mp4"))
    # The panel with the numbers makes it higher.
    assert shown.shape[0] > plain.shape[0]


def test_a_network_sees_the_weather_and_the_hour_that_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = []

    class Watching:
        def reset(self, mask: np.ndarray) -> None:
            pass

        def plan(self, observation: Observation) -> Plan:
            seen.append(observation)
            zeros = np.zeros(1, np.float32)
            return Plan(zeros, zeros, np.zeros((1, 8, 3), np.float32), zeros)

    for weather in (Weather.CLEAR, Weather.NIGHT):
        config = RecordConfig(seconds=1.0, weather=weather, agents=4)
        record_drive(toy_world(), ["toy"], tmp_path / f"{weather}.mp4", config, 3, Watching())
    day, night = seen[0], seen[-1]
    assert day.images[0].mean() > 2.0 * night.images[0].mean()
    assert day.time_of_day_h[0] == pytest.approx(13.0, abs=0.1) and night.time_of_day_h[0] < 0.1


@needs_rerun
def test_a_rerun_recording_holds_what_goes_on_inside(tmp_path: Path):
    path = tmp_path / "inside.rrd"
    drive_a_network(path)
    read = importlib.import_module("rerun.chunk").RrdReader
    chunks = list(read(str(path)).stream())
    entities = {str(chunk.entity_path).strip("/") for chunk in chunks}
    cameras = {f"town/ego/cameras/{camera.name}/attention" for camera in DEFAULT_RIG.cameras}
    numbers = {"inside/panel", "inside/signal/red", "inside/lead_gap_m", "inside/experts/1"}
    assert cameras | numbers | {"town/ego/plan_spread", "town/ego/ahead/predicted"} <= entities


def test_without_a_display_a_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="there is no display to show it on; use --view-file"):
        Recording(None)
