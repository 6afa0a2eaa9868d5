"""Networks that drive as one."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fleetloop.artifacts.checkpoint import read_checkpoint, write_checkpoint
from fleetloop.artifacts.episode import rig_to_json
from fleetloop.core.errors import ConfigError
from fleetloop.core.types import Camera, CameraRig
from fleetloop.policy.compact_weights import rounded
from fleetloop.policy.ensemble import Ensemble, agreed, combined
from fleetloop.policy.export import export_onnx, import_onnx, parity
from fleetloop.policy.features import inputs_from
from fleetloop.policy.heads import Outputs, decode
from fleetloop.policy.memory import MEMORY_DELAY_STEPS
from fleetloop.policy.model import DriverModel, OwnNetwork
from fleetloop.policy.network import (
    AnyNetwork,
    EnsembleConfig,
    NetworkConfig,
    build_network,
    config_from_dict,
    config_to_dict,
)
from fleetloop.policy.planner import SITUATION_WIDTH, planners_of
from fleetloop.presets import preset_named
from fleetloop.stages.joining import join_checkpoints
from fleetloop.stages.workspace import network_of
from fleetloop.train.imitate import train
from test_policy import RIG as WIDE_RIG
from test_policy import random_observation
from test_train import RIG, SMALL, same, square_batches, weights

PAIR = EnsembleConfig((NetworkConfig(), NetworkConfig(planner=True)))


def spoken(config: EnsembleConfig, rig: CameraRig = WIDE_RIG) -> Ensemble:
    """An ensemble whose fresh heads say something."""
    torch.manual_seed(3)
    network = build_network(config, rig)
    for part in (*(member.heads for member in network.learners()), *planners_of(network)):
        torch.nn.init.normal_(part.linear.weight, std=0.05)
    rounded_network = rounded(network).eval()
    assert isinstance(rounded_network, Ensemble)
    return rounded_network


def outputs_of(network: torch.nn.Module, batch: int = 3) -> Outputs:
    width = network.memory_width
    assert isinstance(width, int)
    with torch.no_grad():
        return network(
            inputs_from(random_observation(batch, 5), WIDE_RIG),
            torch.ones(batch, width),
            torch.ones(batch, dtype=torch.bool),
        )[0]


class TestCombined:
    def test_networks_that_agree_say_what_one_of_them_says(self):
        one = outputs_of(spoken(PAIR).learners()[0])
        both = combined([one, one])
        for name, value in decode(one)._asdict().items():
            assert torch.allclose(getattr(decode(both), name), value, atol=1e-4), name

    def test_the_less_they_agree_the_more_the_one_that_brakes_counts(self):
        members = [outputs_of(member) for member in spoken(PAIR).learners()]
        both = combined(members, 0.6)
        lower = torch.minimum(members[0].acceleration, members[1].acceleration)
        mean = (members[0].acceleration + members[1].acceleration) / 2.0
        assert torch.allclose(both.acceleration, mean + 0.6 * (lower - mean), atol=1e-5)
        assert torch.allclose(combined(members, 1.0).acceleration, lower, atol=1e-5)
        curvature = [decode(member).curvature_1pm for member in members]
        assert torch.allclose(decode(both).curvature_1pm, (curvature[0] + curvature[1]) / 2.0, atol=1e-6)

    def test_what_is_planned_again_from_the_situations_is_what_drove(self):
        network = spoken(EnsembleConfig((NetworkConfig(planner=True),) * 2))
        observation = random_observation(3, 5)
        observation.ego_history[:, -1, 0] = (0.0, 1.0, 9.0)
        inputs = inputs_from(observation, WIDE_RIG)
        with torch.no_grad():
            outputs, _ = network(
                inputs, torch.ones(3, network.memory_width or 0), torch.ones(3, dtype=torch.bool)
            )
            speed_mps = inputs.ego_history[:, -1, 0]
            again = network.agreed(network.plans(outputs.situation, speed_mps), speed_mps)
        assert outputs.situation.shape == (3, 2 * SITUATION_WIDTH)
        for name in ("curvature_control", "acceleration", "poses_in_ego"):
            assert torch.allclose(getattr(outputs, name), getattr(again, name), atol=1e-6), name

    def test_where_curvatures_cancel_both_can_learn(self):
        one = outputs_of(spoken(PAIR).learners()[0])
        controls = [
            torch.tensor([0.3, 0.0, 0.2], requires_grad=True),
            torch.tensor([-0.3, 0.0, 0.2], requires_grad=True),
        ]
        plan = agreed([one._replace(curvature_control=control) for control in controls])
        assert torch.allclose(plan.curvature_control, torch.tensor([0.0, 0.0, 0.2]), atol=1e-6)
        plan.curvature_control.sum().backward()
        assert all(
            torch.allclose(control.grad, torch.full((3,), 0.5))
            for control in controls
            if control.grad is not None
        )
        assert all(control.grad is not None for control in controls)

    def test_who_stands_is_not_held_by_doubt(self):
        network = spoken(PAIR)
        both, observation = Ensemble(PAIR, network.learners()).eval(), random_observation(3, 5)
        observation.ego_history[:, -1, 0] = (0.0, 1.0, 9.0)
        inputs = inputs_from(observation, WIDE_RIG)

        def wanted(driver: DriverModel) -> torch.Tensor:
            earlier = torch.ones(3, driver.memory_width or 0)
            with torch.no_grad():
                return driver(inputs, earlier, torch.ones(3, dtype=torch.bool))[0].acceleration

        each = torch.stack([wanted(member) for member in network.learners()])
        told = wanted(both)
        mean = each.mean(dim=0)
        lower = mean + PAIR.caution * (each.amin(dim=0) - mean)
        expected = torch.stack([mean[0], (mean[1] + lower[1]) / 2.0, lower[2]])
        assert torch.allclose(told, expected, atol=1e-4)
        before = Ensemble(dataclasses.replace(PAIR, creeps=False), network.learners()).eval()
        assert torch.allclose(wanted(before), lower, atol=1e-4)

    def test_networks_from_before_do_not_creep(self):
        content = config_to_dict(PAIR)
        assert config_from_dict(content) == PAIR
        del content["creeps"], content["caution"]
        assert config_from_dict(content) == dataclasses.replace(PAIR, creeps=False, caution=1.0)
        assert config_from_dict({**content, "caution": 1}) == config_from_dict(content)
        with pytest.raises(ConfigError, match="use 0 to 10"):
            config_from_dict({**content, "caution": -1.0})
        with pytest.raises(ConfigError, match="not true or false"):
            config_from_dict({**content, "creeps": 1})

    def test_disagreement_is_part_of_the_spread(self):
        one = outputs_of(spoken(PAIR).learners()[0])
        aside = one._replace(poses_in_ego=one.poses_in_ego + torch.tensor([0.0, 3.0, 0.0]))
        assert torch.allclose(combined([one, aside]).spread_m, one.spread_m + 1.5, atol=1e-4)

    def test_probabilities_are_averaged(self):
        one = outputs_of(spoken(PAIR).learners()[0])
        sure = torch.zeros_like(one.signal_logits)
        sure[:, 0] = 50.0
        other = torch.zeros_like(one.signal_logits)
        other[:, 1] = 50.0
        both = combined([one._replace(signal_logits=sure), one._replace(signal_logits=other)])
        expected = torch.tensor([0.5, 0.5, 0.0, 0.0, 0.0]).expand(3, 5)
        assert torch.allclose(decode(both).signal_probabilities, expected, atol=1e-6)


@pytest.mark.parametrize(
    "config",
    [
        PAIR,
        EnsembleConfig(
            (NetworkConfig(memory=False, turn_ends=False, stood=False), NetworkConfig(sightings=True))
        ),
        EnsembleConfig((NetworkConfig(memory=False),) * 3),
    ],
)
def test_onnx_has_the_plans_of_all_members_and_gives_them_back(config: EnsembleConfig, tmp_path: Path):
    network, path = spoken(config), tmp_path / "network.onnx"
    widths = [256 if member.memory else 0 for member in config.members]
    assert network.memory_width == (sum(widths) or None)
    export_onnx(network, path)
    sequence = [random_observation(3, seed) for seed in range(MEMORY_DELAY_STEPS + 2)]
    assert parity(network, path, sequence, 1e-3) < 1e-3
    again = import_onnx(path.read_bytes(), WIDE_RIG, "release")
    assert again.config == config
    assert same(weights(network), weights(again))


def test_streaming_equals_the_batched_form():
    network = spoken(EnsembleConfig((NetworkConfig(memory=False), NetworkConfig())))
    earlier, now = (inputs_from(random_observation(3, seed), WIDE_RIG) for seed in (1, 2))
    valid = torch.tensor([True, False, True])
    width = network.memory_width
    assert width is not None
    with torch.no_grad():
        remembered = network(earlier, torch.zeros(3, width), torch.zeros(3, dtype=torch.bool))[1]
        streamed = network(now, remembered, valid)[0]
        batched = network.forward_pair(now, earlier.images[0], valid)
    for name, value in streamed._asdict().items():
        assert torch.allclose(getattr(batched, name), value, atol=1e-5), name


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_each_member_learns_as_it_would_alone(compiled: bool):
    config = dataclasses.replace(SMALL, compile=compiled, samples=32 * 8)
    start = spoken(EnsembleConfig((NetworkConfig(), NetworkConfig(past_controls=True))), RIG)
    initial = weights(start)
    together = train(config, start.config, RIG, square_batches, initial=initial).network
    losses = []
    for number, member in enumerate(start.config.members):
        prefix = f"members.{number}."
        own = {name.removeprefix(prefix): value for name, value in initial.items() if name.startswith(prefix)}
        alone = train(config, member, RIG, square_batches, initial=own)
        assert same(weights(alone.network), weights(together.learners()[number])), number
        losses.append(alone.losses["total"])
    trained = train(config, start.config, RIG, square_batches, initial=initial)
    assert math.isclose(trained.losses["total"], float(np.mean(losses)), rel_tol=1e-5)


def test_an_interrupted_training_of_members_ends_in_the_same_bits(tmp_path: Path):
    config, pair = dataclasses.replace(SMALL, samples=32 * 14), EnsembleConfig((NetworkConfig(),) * 2)
    state = tmp_path / "state"
    whole = train(config, pair, RIG, square_batches, partial_state=state).network
    assert state.is_file()
    rest = train(config, pair, RIG, square_batches, partial_state=state).network
    assert same(weights(whole), weights(rest))
    first, second = whole.learners()
    assert not same(weights(first), weights(second))


class TestConfig:
    def test_round_trip_through_json(self):
        assert config_from_dict(config_to_dict(PAIR)) == PAIR

    @pytest.mark.parametrize(
        ("members", "message"),
        [
            ([], "2 or more"),
            ([{}], "missing or unknown"),
            (["tiny"] * 2, "no JSON object"),
            (7, "no list"),
            ([config_to_dict(PAIR)] * 2, "missing or unknown"),
            (
                [{**config_to_dict(NetworkConfig()), "experts": count} for count in (2, 4)],
                "different numbers",
            ),
        ],
    )
    def test_what_is_no_ensemble_is_refused(self, members: object, message: str):
        with pytest.raises(ConfigError, match=message):
            config_from_dict({"members": members})

    def test_a_preset_with_more_and_with_fewer_members(self):
        preset = preset_named("laptop")
        three = preset.with_members(3).network
        assert isinstance(three, EnsembleConfig) and three.members == (preset.network,) * 3
        assert preset.with_members(3).with_members(1) == preset
        with pytest.raises(ConfigError, match="leave --members away"):
            dataclasses.replace(preset, network=OwnNetwork("some:network", True)).with_members(2)


class TestJoin:
    def write(self, path: Path, network: torch.nn.Module, config: AnyNetwork, rig: CameraRig) -> str:
        content = {"network": config_to_dict(config), "rig": rig_to_json(rig)}
        return write_checkpoint(path, network.state_dict(), content, [], 0, {}).id

    def test_members_are_those_of_the_checkpoints(self, tmp_path: Path):
        pair = spoken(PAIR)
        ids = [
            self.write(tmp_path / str(number), member, member.config, WIDE_RIG)
            for number, member in enumerate(pair.learners())
        ]
        artifact = join_checkpoints(tmp_path / "pair", [tmp_path / "0", tmp_path / "1"])
        assert artifact.parents == tuple(ids)
        joined, _ = network_of(tmp_path / "pair")
        assert joined.config == PAIR and same(weights(joined), weights(pair))
        three = join_checkpoints(tmp_path / "three", [tmp_path / "pair", tmp_path / "0"])
        assert three.figures == {"members": 3}
        assert config_from_dict(read_checkpoint(tmp_path / "three")[1]["network"]) == EnsembleConfig(
            (*PAIR.members, PAIR.members[0])
        )

    def test_what_cannot_be_joined(self, tmp_path: Path):
        member = NetworkConfig()
        other = CameraRig(((Camera("forward", (1.5, 0.0, 1.4), 0.0, 0.0, 1.2, 48, 32),),))
        for name, rig in (("wide", WIDE_RIG), ("other", other)):
            self.write(tmp_path / name, build_network(member, rig), member, rig)
        with pytest.raises(ConfigError, match="2 or more"):
            join_checkpoints(tmp_path / "out", [tmp_path / "wide"])
        with pytest.raises(ConfigError, match="0 checkpoints"):
            join_checkpoints(tmp_path / "out", [])
        with pytest.raises(ConfigError, match="other cameras"):
            join_checkpoints(tmp_path / "out", [tmp_path / "wide", tmp_path / "other"])
        assert not (tmp_path / "out").exists()
