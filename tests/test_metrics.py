"""Figures of a training run, sent to TensorBoard and MLflow."""

import builtins
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fleetloop.core.errors import ConfigError
from fleetloop.train.metrics import MLFLOW_VARIABLE, metrics_to

SETTINGS = {"imitate": {"learning_rate": 0.001, "seed": 1}, "network": {"size": "tiny"}}
FIGURES = {"total": 1.5, "learning_rate": 0.001, "samples_per_s": 1200.0, "waiting_share": 0.25}


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MLFLOW_VARIABLE, raising=False)


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """As if the package were not installed."""
    imports = builtins.__import__

    def guarded(name: str, *rest: Any, **more: Any) -> ModuleType:
        if name == package or name.startswith(f"{package}."):
            raise ImportError(name)
        return imports(name, *rest, **more)

    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", guarded)


def test_nothing_is_needed_where_nothing_is_asked(monkeypatch: pytest.MonkeyPatch):
    without(monkeypatch, "mlflow")
    without(monkeypatch, "torch.utils.tensorboard")
    with metrics_to("train", SETTINGS) as log:
        log(128, FIGURES)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    without(monkeypatch, "torch.utils.tensorboard")
    with pytest.raises(ConfigError, match=r"fleetloop\[tensorboard\]"), metrics_to("t", {}, tmp_path):
        pass
    without(monkeypatch, "mlflow")
    monkeypatch.setenv(MLFLOW_VARIABLE, tmp_path.as_uri())
    with pytest.raises(ConfigError, match=r"fleetloop\[mlflow\]"), metrics_to("t", {}):
        pass


def test_tensorboard_reads_them_back(tmp_path: Path):
    pytest.importorskip("tensorboard", reason="pip install 'fleetloop[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import (  # pyright: ignore[reportMissingImports]
        EventAccumulator,
    )

    with metrics_to("train", SETTINGS, tmp_path) as log:
        log(128, FIGURES)
        log(256, FIGURES)
    events = EventAccumulator(str(tmp_path)).Reload()
    for name, value in FIGURES.items():
        read = events.Scalars(f"train/{name}")
        assert [event.step for event in read] == [128, 256]
        assert read[0].value == pytest.approx(value)


def test_mlflow_reads_them_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pytest.importorskip("mlflow", reason="pip install 'fleetloop[mlflow]'")
    import mlflow  # pyright: ignore[reportMissingImports]

    monkeypatch.setenv(MLFLOW_VARIABLE, (tmp_path / "runs").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    with metrics_to("train", SETTINGS) as log:
        log(128, FIGURES)
        run = mlflow.active_run()
        assert run is not None
    kept = mlflow.get_run(run.info.run_id).data
    assert kept.params == {"imitate.learning_rate": "0.001", "imitate.seed": "1", "network.size": "tiny"}
    assert kept.metrics == pytest.approx(FIGURES)
