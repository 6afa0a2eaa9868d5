"""Training samples per second: drawing, forward, backward, optimiser."""

import statistics
import tempfile
import time
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from fleetloop.artifacts.dataset import Samples, read_samples
from fleetloop.bench.measure import REPEATS, Measurement, median_of
from fleetloop.core.types import World
from fleetloop.curate.curate import CurateConfig, curate
from fleetloop.policy.network import NetworkConfig
from fleetloop.policy.precision import uses_bfloat16
from fleetloop.presets import preset_named
from fleetloop.progress import stage
from fleetloop.sim.cameras import DEFAULT_RIG
from fleetloop.train.batches import BatchConfig, sample_batches
from fleetloop.train.imitate import ImitationConfig, train
from fleetloop.train.processes import ALONE
from fleetloop.vehicle.drive import DriveConfig, drive


@dataclass(frozen=True)
class TrainingSize:
    """What is trained on, how, and how long."""

    drive: DriveConfig = field(default_factory=lambda: preset_named("smoke").demonstrate)
    """Of the demonstrator: where the samples come from."""
    imitate: ImitationConfig = field(default_factory=lambda: preset_named("laptop").imitate)
    batches_per_repeat: int = 8
    repeats: int = REPEATS


def _demonstrate(world: World, towns: list[str], config: DriveConfig) -> Samples:
    """Samples of a short drive."""
    with tempfile.TemporaryDirectory() as folder, stage("train: samples") as progress:
        drives, dataset = Path(folder) / "drive", Path(folder) / "dataset"
        summary = drive(world, towns, None, DEFAULT_RIG, drives, config, seed=0, progress=progress)
        version = curate(dataset, [drives / name for name in summary.episodes], CurateConfig(), seed=0)
        return read_samples(dataset, version)


def measure_training(name: str, world: World, towns: list[str], size: TrainingSize) -> Measurement:
    """Samples of eight cameras that the tiny network learns from in a second, as `fleetloop train` does it.

    A batch's pictures (now, and 0.4 s ago for the memory) are rendered in a thread of their own while the
    batch before is learned from. The first repeat, with all compilation in it, is left out.
    """
    samples = _demonstrate(world, towns, size.drive)
    imitate = replace(
        size.imitate,
        samples=(size.repeats + 1) * size.batches_per_repeat * size.imitate.batch_size,
        report_every_batches=size.batches_per_repeat,
    )
    network = NetworkConfig()
    batches = BatchConfig(batch_size=imitate.batch_size, memory=network.memory)
    ends: list[float] = []
    waiting: list[float] = []
    with stage(name) as progress:

        def note_time(seen: int, figures: dict[str, float]) -> None:
            ends.append(time.perf_counter())
            waiting.append(figures["waiting_share"])
            progress(seen / imitate.samples)

        train(
            imitate,
            network,
            DEFAULT_RIG,
            lambda first: sample_batches(samples, world, towns, DEFAULT_RIG, batches, 0, first),
            progress=note_time,
        )
    count = size.batches_per_repeat * imitate.batch_size
    return median_of(
        name,
        [count / (end - start) for start, end in pairwise(ends)],
        "samples/s",
        f"{len(DEFAULT_RIG.cameras)} cameras of the default rig, tiny network, forward, backward, optimiser, "
        "batches rendered meanwhile",
        cameras=len(DEFAULT_RIG.cameras),
        batch_size=imitate.batch_size,
        samples_per_repeat=count,
        network=str(network.size),
        bfloat16=uses_bfloat16(ALONE.device(imitate.gpu), imitate.bfloat16),
        compiled=imitate.compile,
        torch_threads=imitate.threads,
        render_threads=batches.threads,
        waiting_share=round(statistics.median(waiting[1:]), 3),
    )
