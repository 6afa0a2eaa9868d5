"""A network that is not fleetloop's: trained, exported, driven, and never imported unasked."""

import contextlib
import dataclasses
from pathlib import Path

import numpy as np
import pytest

import own_network
from fleetloop.artifacts.checkpoint import read_checkpoint
from fleetloop.cli import main
from fleetloop.core.errors import ConfigError
from fleetloop.core.types import CameraRig
from fleetloop.policy import model
from fleetloop.policy.compact_weights import rounded
from fleetloop.policy.export import export_onnx, parity
from fleetloop.policy.model import DriverModel, OwnNetwork, allow_builder
from fleetloop.policy.network import NetworkConfig, build_network, config_from_dict, config_to_dict
from fleetloop.policy.runtime import OnnxDriver
from fleetloop.stages import training
from fleetloop.train.imitate import train
from fleetloop.vehicle.drive import read_summary
from test_train import RIG, SMALL, square_batches
from tiny_loop import ids_of, make_tiny, prepare

BUILDER = "own_network:build"


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "_allowed", set())


def build_forgetful(rig: CameraRig) -> DriverModel:
    network = own_network.build(rig)
    network.memory_width = None
    return network


def build_nothing(rig: CameraRig) -> str:
    return "a network"


def build_for_another(rig: CameraRig) -> DriverModel:
    return own_network.build(CameraRig(rig.groups[:1]))


class TestOwnNetwork:
    def test_trains_exports_and_drives(self, tmp_path: Path):
        config = model.own_network(BUILDER, RIG)
        assert config == OwnNetwork(BUILDER, memory=True)
        seen: list[dict[str, float]] = []
        training = dataclasses.replace(SMALL, learning_rate=3e-3)
        result = train(
            training, config, RIG, square_batches, progress=lambda _, figures: seen.append(figures)
        )
        assert result.losses["total"] < 0.8 * seen[0]["total"]
        observations = [next(square_batches(number)).observation for number in range(6)]
        path = tmp_path / "network.onnx"
        export_onnx(result.network, path)
        assert parity(rounded(result.network), path, observations, 1e-3) < 1e-3
        driver = OnnxDriver(path, RIG, vehicles=32)
        assert driver.contract.memory_shape == (4, own_network.WIDTH)
        for observation in observations:
            plan = driver.plan(observation)
        assert np.isfinite(plan.poses_in_ego).all() and plan.curvature_1pm.shape == (32,)

    def test_a_checkpoint_alone_imports_nothing(self, monkeypatch: pytest.MonkeyPatch):
        content = config_to_dict(OwnNetwork(BUILDER, memory=True))
        config = config_from_dict(content)
        monkeypatch.setattr(model.importlib, "import_module", lambda name: pytest.fail(f"imported {name}"))
        with pytest.raises(ConfigError, match="say --network own_network:build"):
            build_network(config, RIG)

    def test_allowed_it_is_built_as_it_was(self):
        allow_builder(BUILDER)
        network = build_network(OwnNetwork(BUILDER, memory=True), RIG)
        assert network.config == OwnNetwork(BUILDER, memory=True)
        assert [layer.out_features for layer in network.adaptable_layers()] == [own_network.WIDTH, 128]
        with pytest.raises(ConfigError, match="with memory, unlike"):
            build_network(OwnNetwork(BUILDER, memory=False), RIG)

    @pytest.mark.parametrize(
        ("builder", "match"),
        [
            ("own_network", "names no function"),
            ("own network:build", "names no function"),
            ("no_such_module:build", "cannot be imported"),
            ("own_network:no_such_function", "cannot be imported"),
            ("own_network:WIDTH", "is no function"),
            ("test_own_network:build_nothing", "returned str"),
            ("test_own_network:build_for_another", "another rig"),
        ],
    )
    def test_what_is_no_network_is_named(self, builder: str, match: str):
        with pytest.raises(ConfigError, match=match):
            model.own_network(builder, RIG)

    def test_memory_is_asked_for(self):
        assert not model.own_network("test_own_network:build_forgetful", RIG).memory
        assert build_network(NetworkConfig(memory=False), RIG).memory_width is None


class TestLoop:
    def test_the_loop_turns_with_it_and_goes_on_when_killed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ):
        make_tiny(monkeypatch)

        def loop(workspace: Path, *more: str) -> list[str]:
            # As in a process of its own.
            monkeypatch.setattr(model, "_allowed", set())
            return ["loop", "--preset", "smoke", "--workspace", str(workspace), *more]

        whole = prepare(tmp_path / "whole")
        main(loop(whole, "--network", BUILDER))
        config = read_checkpoint(whole / "turns/01/checkpoint")[1]
        assert config["network"]["builder"] == BUILDER and read_summary(whole / "turns/01/drive").release
        assert f"network {BUILDER}" in (whole / "report.html").read_text(encoding="utf-8")

        killed = prepare(tmp_path / "killed")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "stage", lambda title: contextlib.nullcontext(kill_midway))
            with pytest.raises(SystemExit):
                main(loop(killed, "--network", BUILDER))
        assert list(killed.glob("turns/00/*.training.safetensors"))
        capsys.readouterr()
        for other in ((), ("--network", "own_network:SmallDriver")):
            with pytest.raises(SystemExit):
                main(loop(killed, *other))
            assert f"network is '{BUILDER}', not " in capsys.readouterr().err
        main(loop(killed, "--network", BUILDER))
        assert ids_of(killed) == ids_of(whole)

    def test_it_learns_by_driving_where_it_is_allowed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ):
        make_tiny(monkeypatch)
        where = ["--preset", "smoke", "--workspace", str(prepare(tmp_path / "workspace"))]
        practised, taught = tmp_path / "practised", tmp_path / "taught"
        main(["practise", "--out", str(practised), "--samples", "32", "--network", BUILDER, *where])
        monkeypatch.setattr(model, "_allowed", set())
        reinforce = ["reinforce", str(practised), "--out", str(taught), *where]
        with pytest.raises(SystemExit):
            main(reinforce)
        assert f"say --network {BUILDER}" in capsys.readouterr().err
        main([*reinforce, "--network", BUILDER])
        monkeypatch.setattr(model, "_allowed", set())
        drive = ["drive", "--release", str(taught), "--out", str(tmp_path / "drive"), "--steps", "3", *where]
        main([*drive, "--network", BUILDER])
        assert read_summary(tmp_path / "drive").release
        for path in (practised, taught):
            assert read_checkpoint(path)[1]["network"]["builder"] == BUILDER


def kill_midway(share: float) -> None:
    """Stop a training in its middle."""
    if share > 0.5:
        raise KeyboardInterrupt
