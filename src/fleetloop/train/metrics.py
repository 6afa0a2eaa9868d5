"""Figures of a training run, sent where people watch them: TensorBoard, and MLflow where it is configured."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fleetloop.core.errors import ConfigError
from fleetloop.train.imitate import Progress

MLFLOW_VARIABLE = "MLFLOW_TRACKING_URI"
"""MLflow's own: where it keeps runs. Training is logged there when it is set."""


@contextlib.contextmanager
def metrics_to(
    title: str, settings: Mapping[str, Any], tensorboard: Path | None = None
) -> Iterator[Progress]:
    """A Progress that logs the figures of a run; it does nothing where nobody asked for them.

    Args:
        title: of the run, in MLflow.
        settings: what the run is made with, nested dictionaries of plain values.
        tensorboard: folder for TensorBoard's event files; none are written without it.

    Raises:
        ConfigError: a package that is needed is not installed.
    """
    with contextlib.ExitStack() as stack:
        sinks: list[Progress] = []
        if tensorboard is not None:
            sinks.append(stack.enter_context(_tensorboard(tensorboard)))
        if os.environ.get(MLFLOW_VARIABLE):
            sinks.append(stack.enter_context(_mlflow(title, settings)))

        def log(samples_seen: int, figures: dict[str, float]) -> None:
            for sink in sinks:
                sink(samples_seen, figures)

        yield log


@contextlib.contextmanager
def _tensorboard(folder: Path) -> Iterator[Progress]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "tensorboard: the package is not installed; pip install 'fleetloop[tensorboard]'"
        ) from error
    with SummaryWriter(str(folder)) as writer:

        def log(samples_seen: int, figures: dict[str, float]) -> None:
            for name, value in figures.items():
                writer.add_scalar(f"train/{name}", value, samples_seen)

        yield log


@contextlib.contextmanager
def _mlflow(title: str, settings: Mapping[str, Any]) -> Iterator[Progress]:
    try:
        import mlflow  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(
            f"mlflow: {MLFLOW_VARIABLE} is set but the package is not installed; "
            "pip install 'fleetloop[mlflow]', or unset it"
        ) from error
    with mlflow.start_run(run_name=title):
        mlflow.log_params(_flat(settings))
        yield lambda samples_seen, figures: mlflow.log_metrics(figures, step=samples_seen)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
