"""Benchmarks at a tiny size: they run, count what they say they count, and print what was asked for."""

import math
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest

from fleetloop.artifacts.episode import Driver, EpisodeMetadata
from fleetloop.artifacts.episode_reader import read_episode
from fleetloop.bench import figures, run_benchmark
from fleetloop.bench.cameras import CamerasSize, measure_cameras
from fleetloop.bench.closed_loop import ClosedLoopSize, measure_closed_loop
from fleetloop.bench.demonstrator import measure_demonstrator
from fleetloop.bench.figures import FIGURES, Setup
from fleetloop.bench.killed_writer import seconds_lost
from fleetloop.bench.measure import Measurement, environment, median_of, readable, time_repeats
from fleetloop.bench.peer import PeerMissingError
from fleetloop.bench.recording import RATE_HZ, RecordingSize, at_rate, driven_steps, measure_recording
from fleetloop.bench.traffic import TrafficSize, measure_traffic
from fleetloop.bench.training import TrainingSize, measure_training
from fleetloop.bench.vehicle import VehicleSize, measure_vehicle
from fleetloop.core.errors import ConfigError
from fleetloop.evaluate.closed_loop import EvaluateConfig
from fleetloop.policy.network import NetworkConfig
from fleetloop.sim.cameras import equal_rig
from fleetloop.train.imitate import ImitationConfig
from fleetloop.vehicle.drive import DriveConfig
from fleetloop.vehicle.recorder import RecorderConfig
from toy_world import toy_world

TRAINING = TrainingSize(
    drive=DriveConfig(
        vehicles=2, steps=20, agents=6, camera_interval_steps=10, recorder=RecorderConfig(everything=True)
    ),
    imitate=ImitationConfig(batch_size=8, compile=False, warmup_samples=8),
    batches_per_repeat=2,
    repeats=2,
)
SUITE = EvaluateConfig(routes=3, route_m=60.0, vehicles=2, agents=6)
TINY: dict[str, Callable[[], Measurement]] = {
    "cameras": lambda: measure_cameras(
        "cameras", toy_world(), CamerasSize(width=24, height=16, worlds=2, renders=2, repeats=3)
    ),
    "world": lambda: measure_traffic(
        "world", toy_world(), TrafficSize(worlds=2, agents=8, settle_steps=3, steps=5, repeats=3)
    ),
    "closed-loop": lambda: measure_closed_loop(
        "closed-loop", toy_world(), ClosedLoopSize(vehicles=2, agents=6, steps=2, repeats=2)
    ),
    "train": lambda: measure_training("train", toy_world(), ["toy-0"], TRAINING),
    "vehicle": lambda: measure_vehicle(
        "vehicle",
        toy_world(),
        NetworkConfig(),
        VehicleSize(warm_up_plans=1, plans=5, observations=2, repeats=2),
    ),
    "record": lambda: measure_recording(
        "record",
        toy_world(),
        RecordingSize(width=48, height=32, seconds=1, kill_after=(25,), different_steps=4, repeats=2),
    ),
}
UNITS = {
    "cameras": "camera frames/s",
    "world": "agent-steps/s",
    "closed-loop": "vehicle-steps/s",
    "train": "samples/s",
    "vehicle": "ms",
    "record": "% of one core",
}


@pytest.mark.parametrize("name", TINY)
def test_every_figure_is_positive_and_says_what_it_is(name: str) -> None:
    measurement = TINY[name]()
    assert measurement.name == name and measurement.unit == UNITS[name]
    low, high = measurement.details["spread"]
    assert 0.0 < low <= measurement.value <= high < math.inf
    assert measurement.details["repeats"] >= 2 and measurement.details["note"]
    line = orjson.loads(measurement.json_line())
    assert list(line)[:3] == ["name", "value", "unit"]
    assert line["value"] == measurement.value
    assert 0.0 <= line.get("waiting_share", 0.0) <= 1.0
    assert {"cores", "processor", "python", "numba", "torch", "onnxruntime"} <= set(line)


def test_the_names_measured_here_are_those_of_the_table() -> None:
    checks = {"peers", "picture-geometry", "vehicle-model", "ring-road", "queue-discharge"}
    assert set(TINY) | {
        "cameras-320x192",
        "vehicle-base",
        "vehicle-int8",
        "vehicle-pair",
        "demonstrator",
        "memory",
    } | checks == set(FIGURES)


def test_traffic_counts_only_road_users_that_exist() -> None:
    size = TrafficSize(worlds=2, agents=400, settle_steps=1, steps=2, repeats=2)
    details = measure_traffic("world", toy_world(), size).details
    assert 1.0 < details["agents_present"] < 400.0


def test_demonstrator_gives_an_interval_and_the_same_counts_again() -> None:
    first = measure_demonstrator("demonstrator", toy_world(), ["toy-0"], SUITE)
    low, high = first.details["interval95"]
    assert 0.0 < low <= first.value <= high
    assert first.details["routes"] == 3 and 0.0 <= first.details["finished_share"] <= 1.0
    assert first.details["km"] > 0.0 and 0.0 < first.details["mean_speed_mps"] < 20.0
    assert first == measure_demonstrator("demonstrator", toy_world(), ["toy-0"], SUITE)


def test_infinite_values_are_null_in_json() -> None:
    measurement = Measurement("demonstrator", math.inf, "km", {"note": "", "interval95": [3.0, math.inf]})
    line = orjson.loads(measurement.json_line())
    assert line["value"] is None and line["interval95"] == [3.0, None]


def test_killed_writer_loses_at_most_a_second_and_leaves_an_episode(tmp_path: Path) -> None:
    rig = equal_rig(48, 32)
    metadata = EpisodeMetadata("bench", "", "toy-0", 0, 0, Driver.DEMONSTRATOR, rig, ())
    steps = at_rate(driven_steps(toy_world(), rig, 3), 5 * RATE_HZ)
    path = tmp_path / "killed.mcap"
    assert 0.0 <= seconds_lost(path, metadata, steps, kill_after=30) <= 1.0
    recovered = read_episode(path)
    assert len(recovered.timestamp_ns) >= 30 - RATE_HZ
    np.testing.assert_array_equal(np.diff(recovered.timestamp_ns), 1_000_000_000 // RATE_HZ)


def test_killed_writer_that_fails_by_itself_is_noticed(tmp_path: Path) -> None:
    rig = equal_rig(48, 32)
    metadata = EpisodeMetadata("bench", "", "toy-0", 0, 0, Driver.DEMONSTRATOR, equal_rig(32, 32), ())
    steps = at_rate(driven_steps(toy_world(), rig, 2), 10)
    with pytest.raises(RuntimeError, match="ended by itself after 0 steps"):
        seconds_lost(tmp_path / "killed.mcap", metadata, steps, kill_after=5)


def test_repeats_warm_up_first_and_the_median_has_a_spread() -> None:
    calls: list[int] = []
    seconds = time_repeats("nothing", lambda: calls.append(1), 4)
    assert len(calls) == 5 and len(seconds) == 4 and min(seconds) >= 0.0
    values = [3.0, 1.0, 2.0, 9.0, 4.0]
    measurement = median_of("figure", values, "m", "a note", worlds=2)
    assert measurement.value == statistics.median(values)
    assert measurement.details["spread"] == [1.0, 9.0] and measurement.details["worlds"] == 2
    assert measurement.text_line() == "figure: 3 m (1 to 9 in 5 repeats); a note"
    assert [readable(value) for value in (70_912.3, 0.4757, 12.0)] == ["70,912", "0.476", "12"]


def test_environment_is_known() -> None:
    found = environment()
    assert isinstance(found["cores"], int) and found["cores"] >= 1
    assert all(found.values())


@pytest.fixture
def two_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of two figures that also print what nobody asked for."""

    def measure(name: str) -> Callable[[Setup], Measurement]:
        def noisy(setup: Setup) -> Measurement:
            print("progress")
            return median_of(name, [1.0, 2.0, 3.0], "m", f"{setup.routes} routes")

        return noisy

    monkeypatch.setattr(
        figures, "FIGURES", {"first": measure("first"), "demonstrator": measure("demonstrator")}
    )


def test_json_is_the_only_thing_on_stdout(
    two_figures: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_benchmark("first", json=True, workspace=tmp_path)
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 1 and printed.err == "progress\n"
    assert orjson.loads(printed.out)["value"] == 2.0


def test_all_prints_a_line_for_each_figure(
    two_figures: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_benchmark("all", json=True, routes=7, workspace=tmp_path)
    lines = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["name"] for line in lines] == ["first", "demonstrator"]
    assert lines[1]["note"] == "7 routes"
    run_benchmark("demonstrator", json=False, workspace=tmp_path)
    assert f"demonstrator: 2 m (1 to 3 in 3 repeats); {figures.ROUTES} routes" in capsys.readouterr().out


def test_all_leaves_out_what_needs_an_absent_program(
    two_figures: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(setup: Setup) -> Measurement:
        raise PeerMissingError("mujoco: is not installed; run pip install 'fleetloop[peers]'")

    monkeypatch.setitem(figures.FIGURES, "first", absent)
    run_benchmark("all", json=True, workspace=tmp_path)
    printed = capsys.readouterr()
    assert [orjson.loads(line)["name"] for line in printed.out.splitlines()] == ["demonstrator"]
    assert "left out: mujoco: is not installed" in printed.err
    with pytest.raises(PeerMissingError, match="mujoco: is not installed"):
        run_benchmark("first", json=True, workspace=tmp_path)


def test_unknown_names_and_wrong_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'frames' is unknown; use cameras, .*queue-discharge or all"):
        run_benchmark("frames", json=False, workspace=tmp_path)
    with pytest.raises(
        ConfigError, match="towns: the figure cameras has its own; use them with demonstrator"
    ):
        run_benchmark("cameras", json=True, towns=["suburb-1"])
    with pytest.raises(ConfigError, match="routes: the figure cameras drives none"):
        run_benchmark("cameras", json=False, routes=5, workspace=tmp_path)
    with pytest.raises(ConfigError, match="routes: 0 is less than 1"):
        run_benchmark("demonstrator", json=False, routes=0, workspace=tmp_path)
