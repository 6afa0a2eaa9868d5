"""The same training as by `torchrun`, with the processes started by Ray on the machines of its cluster."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from fleetloop.core.errors import ConfigError, FleetloopError


def run_on_ray(work: Callable[[], None], workers: int, folder: Path, gpu: bool) -> None:
    """Run `work` in `workers` processes of Ray that are joined as `joined_processes` expects.

    Args:
        work: reads and writes paths that every machine of the cluster sees, and absolute ones.
        folder: for Ray's own records, seen by every machine too.
        gpu: give each worker a GPU.

    Raises:
        ConfigError: Ray is not installed.
        FleetloopError: what `work` raised on purpose in a worker.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    try:
        import ray  # pyright: ignore[reportMissingImports]
        from ray.train import RunConfig, ScalingConfig  # pyright: ignore[reportMissingImports]
        from ray.train.torch import TorchTrainer  # pyright: ignore[reportMissingImports]
        from ray.train.v2.api.exceptions import WorkerGroupError  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(
            "ray: the package is not installed; pip install 'fleetloop[ray]', or start by torchrun"
        ) from error
    if not ray.is_initialized():
        # Workers import what this process can: fleetloop from a checkout, or a network of one's own.
        search = os.pathsep.join(path for path in sys.path if path)
        ray.init(runtime_env={"env_vars": {"PYTHONPATH": search}})
    trainer = TorchTrainer(
        lambda _: work(),
        train_loop_config={},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu),
        run_config=RunConfig(storage_path=str(folder.absolute()), name="ray"),
    )
    try:
        trainer.fit()
    except WorkerGroupError as error:
        for failure in error.worker_failures.values():
            if isinstance(failure, FleetloopError):
                raise failure from error
        raise
