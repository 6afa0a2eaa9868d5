"""Training by several processes: the same result as by one."""

import dataclasses
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.multiprocessing.spawn import spawn

from fleetloop.core.errors import ConfigError
from fleetloop.policy.network import NetworkConfig
from fleetloop.train.batch import Batch, map_batches
from fleetloop.train.batches import BatchConfig, sample_batches
from fleetloop.train.imitate import ImitationConfig, train
from fleetloop.train.optimiser import is_hidden
from fleetloop.train.processes import ALONE, Processes, joined_processes
from test_train import RIG, SMALL, made_up_samples, same, square_batches, weights
from toy_world import toy_world

CONFIG = dataclasses.replace(SMALL, samples=32 * 10, save_every_samples=32 * 4, ema_decay=0.5)


def rows_of(batch: Batch, rows: slice) -> Batch:
    """Some rows of a batch."""
    return map_batches(lambda arrays: arrays[0][rows], [batch])


def uneven_batches(first: int) -> Iterator[Batch]:
    """Batches whose two halves weigh differently."""
    for number, batch in enumerate(square_batches(first), start=first):
        yield dataclasses.replace(batch, weight=(1.0 + np.arange(32) % (3 + number)).astype(np.float32))


def train_share(rank: int, count: int, port: int, folder: Path, config: ImitationConfig, stop: int) -> None:
    """One process; what it learned goes into a file of its own."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    with joined_processes(gpu=False) as processes:
        rows = processes.rows(config.batch_size)

        def batches(first: int) -> Iterator[Batch]:
            for number, batch in enumerate(uneven_batches(first), start=first):
                if number == stop:
                    return
                yield rows_of(batch, rows)

        try:
            result = train(
                config,
                NetworkConfig(),
                RIG,
                batches,
                partial_state=folder / "partial.safetensors",
                processes=processes,
            )
        except ConfigError:
            return
        learned = {name: value.contiguous() for name, value in weights(result.network).items()}
        save_file(learned, folder / f"{rank}.safetensors")


def train_together(
    count: int, folder: Path, config: ImitationConfig = CONFIG, stop: int = 10**9
) -> list[dict[str, torch.Tensor]]:
    """The weights that each process ended with."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(exist_ok=True)
    spawn(train_share, (count, port, folder, config, stop), nprocs=count)
    return [load_file(path) for path in sorted(folder.glob("?.safetensors"))]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, torch.Tensor]]:
    """What two processes learn when nobody disturbs them."""
    return train_together(2, tmp_path_factory.mktemp("two"))


class TestProcesses:
    def test_two_learn_what_one_does(self, together: list[dict[str, torch.Tensor]]):
        first, second = together
        assert same(first, second)
        alone = train(CONFIG, NetworkConfig(), RIG, uneven_batches).network
        one = weights(alone)
        start = weights(
            train(
                dataclasses.replace(CONFIG, learning_rate=1e-12), NetworkConfig(), RIG, uneven_batches
            ).network
        )
        moved = max(float((one[name] - start[name]).abs().max()) for name in one)
        difference = {name: float((one[name] - first[name]).abs().max()) for name in one}
        # Muon lifts directions that no sample points in, which are rounding errors alone.
        allowed = {
            name: moved * (0.1 if is_hidden(name, parameter) else 0.03)
            for name, parameter in alone.named_parameters()
        }
        assert {name: apart for name, apart in difference.items() if apart >= allowed[name]} == {}

    def test_killed_together_they_go_on_to_the_bit(
        self, together: list[dict[str, torch.Tensor]], tmp_path: Path
    ):
        assert train_together(2, tmp_path / "killed", stop=7) == []
        rest, other = train_together(2, tmp_path / "killed")
        assert same(rest, together[0]) and same(other, together[0])

    def test_rows_of_a_batch(self):
        assert ALONE.rows(7) == slice(0, 7)
        assert Processes(1, 4).rows(8) == slice(2, 4)
        with pytest.raises(ConfigError, match="batch_size: 7 cannot be shared"):
            Processes(1, 2).rows(7)

    def test_shares_of_a_drawn_batch_are_its_rows(self):
        samples, config = made_up_samples(30), BatchConfig(batch_size=8)

        def drawn(processes: Processes) -> Batch:
            batches = sample_batches(samples, toy_world(), ["toy"], RIG, config, 5, 3, processes)
            batch = next(batches)
            batches.close()  # type: ignore[attr-defined]
            return batch

        whole, halves = drawn(ALONE), [drawn(Processes(rank, 2)) for rank in range(2)]
        for half, rows in zip(halves, (slice(0, 4), slice(4, 8)), strict=True):
            expected = rows_of(whole, rows)
            assert half.rig == whole.rig
            assert np.array_equal(half.labels.curvature_1pm, expected.labels.curvature_1pm)
            assert np.array_equal(half.earlier_valid, expected.earlier_valid)
            assert half.earlier_images is not None and expected.earlier_images is not None
            assert np.array_equal(half.earlier_images, expected.earlier_images)
            for left, right in zip(half.observation.images, expected.observation.images, strict=True):
                assert np.array_equal(left, right)
