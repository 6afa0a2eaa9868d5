"""Fine-tuning a part of a network: experts, or low-rank adapters."""

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fleetloop.core.errors import ConfigError
from fleetloop.policy.adapters import Adapt, freeze_all_but, merge_adapters
from fleetloop.policy.features import inputs_from
from fleetloop.policy.heads import Outputs
from fleetloop.policy.network import DriverNetwork, NetworkConfig, build_network
from fleetloop.train.batch import Batch
from fleetloop.train.imitate import train
from test_train import RIG, SMALL, same, square_batches, weights

CONFIG = dataclasses.replace(SMALL, samples=32 * 8, warmup_samples=0, save_every_samples=32 * 5)
EXPERT_PREFIX = "blocks."
ADAPTED = ("encoder.project", "enter", "blocks.0.up", "blocks.0.down", "blocks.1.up", "blocks.1.down")


def fresh() -> DriverNetwork:
    torch.manual_seed(3)
    return build_network(NetworkConfig(), RIG)


def outputs_of(network: DriverNetwork) -> Outputs:
    batch = next(square_batches(0))
    inputs = inputs_from(batch.observation, RIG)
    assert batch.earlier_images is not None
    with torch.no_grad():
        earlier, valid = torch.from_numpy(batch.earlier_images), torch.from_numpy(batch.earlier_valid)
        return network.forward_pair(inputs, earlier, valid)


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


class TestAdapters:
    def test_new_ones_change_nothing(self):
        network = fresh()
        expected = outputs_of(network)
        freeze_all_but(network, Adapt.ADAPTERS, 4)
        assert all(map(torch.equal, outputs_of(network), expected))

    def test_merged_equals_unmerged(self):
        network = fresh()
        names = list(network.state_dict())
        freeze_all_but(network, Adapt.ADAPTERS, 4)
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.05 * torch.randn_like(parameter))
        expected = outputs_of(network)
        merged = copy.deepcopy(network)
        merge_adapters(merged)
        assert sorted(merged.state_dict()) == sorted(names)
        for left, right in zip(outputs_of(merged), expected, strict=True):
            assert torch.allclose(left, right, atol=1e-5)
        assert not all(map(torch.equal, outputs_of(fresh()), expected))

    @pytest.mark.parametrize("part", [Adapt.EXPERTS, Adapt.ADAPTERS])
    def test_what_is_frozen_keeps_its_bits(self, part: Adapt):
        start = weights(fresh())
        config = dataclasses.replace(CONFIG, adapt=part)
        after = weights(train(config, NetworkConfig(), RIG, square_batches, initial=start).network)
        if part == Adapt.EXPERTS:
            expected = {name for name in start if name.startswith(EXPERT_PREFIX)}
        else:
            expected = {f"{layer}.weight" for layer in ADAPTED if f"{layer}.weight" in start}
        assert changed(start, after) == expected

    @pytest.mark.parametrize("part", [Adapt.EXPERTS, Adapt.ADAPTERS])
    def test_they_learn_and_a_killed_run_goes_on_to_the_bit(self, tmp_path: Path, part: Adapt):
        start, state = weights(fresh()), tmp_path / "partial.safetensors"
        config = dataclasses.replace(CONFIG, samples=32 * 24, adapt=part, learning_rate=3e-3)
        seen: list[dict[str, float]] = []
        whole = train(
            config,
            NetworkConfig(),
            RIG,
            square_batches,
            initial=start,
            progress=lambda _, figures: seen.append(figures),
        )
        assert whole.losses["total"] < 0.95 * seen[0]["total"]

        def ending(first: int) -> Iterator[Batch]:
            for number, batch in enumerate(square_batches(first), start=first):
                if number == 12:
                    return
                yield batch

        with pytest.raises(ConfigError, match="ended after 12"):
            train(config, NetworkConfig(), RIG, ending, initial=start, partial_state=state)
        assert state.exists()
        rest = train(config, NetworkConfig(), RIG, square_batches, initial=start, partial_state=state)
        assert same(weights(rest.network), weights(whole.network))

    def test_what_cannot_be_adapted_is_named(self):
        adapters = dataclasses.replace(CONFIG, adapt=Adapt.ADAPTERS)
        with pytest.raises(ConfigError, match="start from"):
            train(adapters, NetworkConfig(), RIG, square_batches)
        with pytest.raises(ConfigError, match="adapter_rank is 0"):
            freeze_all_but(fresh(), Adapt.ADAPTERS, 0)
        with pytest.raises(ConfigError, match="adapt is 'heads'"):
            freeze_all_but(fresh(), "heads", 4)
