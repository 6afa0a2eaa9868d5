"""The same training with processes started by Ray."""

import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from fleetloop.core.errors import ConfigError
from fleetloop.policy.network import NetworkConfig
from fleetloop.train.batch import Batch
from fleetloop.train.imitate import train
from fleetloop.train.on_ray import run_on_ray
from fleetloop.train.processes import joined_processes
from test_processes import CONFIG, rows_of, uneven_batches
from test_train import RIG, weights


def learn(folder: Path) -> None:
    """One process; the first one writes what they learned."""
    with joined_processes(gpu=False) as processes:
        assert processes.count == 2
        rows = processes.rows(CONFIG.batch_size)

        def batches(first: int) -> Iterator[Batch]:
            return (rows_of(batch, rows) for batch in uneven_batches(first))

        result = train(CONFIG, NetworkConfig(), RIG, batches, processes=processes)
        if processes.is_first:
            learned = {name: value.contiguous() for name, value in weights(result.network).items()}
            save_file(learned, folder / "learned.safetensors")


def refuse() -> None:
    """Raises what a user can mend."""
    raise ConfigError("imitation: no such thing; use another")


@pytest.mark.slow
def test_two_workers_learn_what_one_process_does(tmp_path: Path):
    pytest.importorskip("ray.train", reason="pip install 'fleetloop[ray]'")
    run_on_ray(functools.partial(learn, tmp_path), 2, tmp_path / "records", gpu=False)
    together = load_file(tmp_path / "learned.safetensors")
    one = weights(train(CONFIG, NetworkConfig(), RIG, uneven_batches).network)
    assert max(float((one[name] - together[name]).abs().max()) for name in one) < 1e-3
    with pytest.raises(ConfigError, match="no such thing"):
        run_on_ray(refuse, 1, tmp_path / "refused", gpu=False)


def test_without_ray_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray.train", None)
    with pytest.raises(ConfigError, match=r"fleetloop\[ray\]"):
        run_on_ray(lambda: None, 2, tmp_path, gpu=False)
