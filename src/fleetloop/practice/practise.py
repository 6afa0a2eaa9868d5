"""Learning by practice: the network drives while it trains, and trains on what it gets into.

Aggregation of data sets (Ross, Gordon, Bagnell, "A reduction of imitation learning to no-regret online learning",
AISTATS 2011) without turns: the demonstrator drives first; then the present network does, in many worlds at once, and
every moment that it gets into goes, with the demonstrator's answer, into the memory that batches are drawn from.

While one thread trains on the batches of a round, another drives with the network as it was when the round began, and
draws the next round's batches. Neither waits for the other within a round, so the same seed gives the same bits. A run
is cut into stages of its own seeds, and its state is written after each but the last: one that was killed goes on
from there.
"""

import copy
import math
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numba
import orjson
import torch

from fleetloop.core.errors import ConfigError
from fleetloop.core.files import storage_errors, write_bytes
from fleetloop.core.types import World
from fleetloop.curate.curate import CurateConfig
from fleetloop.policy.export import TorchDriver
from fleetloop.policy.model import DriverModel
from fleetloop.practice.collector import Collector
from fleetloop.practice.moments import MomentBuffer, join_moments, read_moments, write_moments
from fleetloop.sim.rollout import Route, make_routes
from fleetloop.sim.scenarios import FAMILIES
from fleetloop.train.batch import Batch
from fleetloop.train.batches import BatchConfig, BatchSource, Moments
from fleetloop.train.imitate import (
    ImitationConfig,
    Progress,
    Trainer,
    TrainingResult,
    learning_rate_at,
    mean_parts,
    resume_state,
    save_state,
)
from fleetloop.train.waiting import WaitingClock
from fleetloop.vehicle.drive import DriveConfig

_SETTINGS, _STATE = "practice.json", "state.safetensors"
_WATCHED = 16
"""Batches of what the network gets into in unseen towns."""


@dataclass(frozen=True)
class PractiseConfig:
    """How the network drives while it trains; how it trains is ImitationConfig's."""

    drive: DriveConfig = field(default_factory=lambda: DriveConfig(scenario_share=0.1))
    """Of the demonstrator first, `steps` steps, and of the network."""
    curate: CurateConfig = field(default_factory=lambda: CurateConfig(stride=2))
    capacity: int = 700_000
    """Moments kept, 1.1 kB each."""
    first_drive_samples: int = 32_000
    """Trained on the demonstrator's drives before the network drives itself."""
    batches_per_round: int = 8
    steps_per_batch: int = 1
    """Of all vehicles, driven for each batch trained on."""
    stage_samples: int = 200_000
    """Trained on between two saved states."""
    watch_steps: int = 200
    """Driven in unseen towns, if there are any to watch, after each stage."""

    def __post_init__(self) -> None:
        for name in ("capacity", "batches_per_round", "steps_per_batch", "stage_samples", "watch_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"practise: {name} is {getattr(self, name)}; use 1 or more")


class _Practice:
    """A run of practice: what is kept between its rounds."""

    def __init__(
        self,
        config: PractiseConfig,
        imitation: ImitationConfig,
        network: DriverModel,
        world: World,
        towns: int,
        batches: BatchConfig,
        folder: Path,
    ) -> None:
        self.config, self.imitation, self.batches = config, imitation, batches
        self.world, self.towns, self.folder, self.rig = world, towns, folder, network.rig
        # What drives is a copy: the trained one changes while it does.
        self.driver = copy.deepcopy(network)
        self.trainer = Trainer(imitation, network)
        self.buffer = MomentBuffer(config.capacity)
        self.collector: Collector | None = None
        self.fresh: list[Moments] = []
        """Of this stage; not yet written."""

    def routes(self, stage: int, towns: range) -> Iterator[Route]:
        """Routes of a stage, as many as are asked for."""
        drive, seed = self.config.drive, self.imitation.seed * 1_000 + stage
        return make_routes(seed, towns, 10**9, drive.route_m, tuple(FAMILIES), drive.scenario_share)

    def collect(self, stage: int, network: DriverModel | None, towns: range | None = None) -> Collector:
        """A collector for a stage, in the towns to practise in if no others are named; None is the demonstrator."""
        drive, routes = self.config.drive, self.routes(stage, towns or range(self.towns))
        policy = None
        if network is not None:
            policy = TorchDriver(network, self.rig, drive.vehicles, self.imitation.bfloat16)
        return Collector(self.world, self.rig, routes, policy, drive, self.config.curate)

    def learn_from(self, moments: Moments) -> None:
        """Keep moments, in memory and for the file of the stage."""
        self.buffer.append(moments)
        self.fresh.append(moments)

    def demonstrate(self, progress: Callable[[float], None] | None) -> None:
        """Let the demonstrator drive."""
        collector = self.collect(0, None)
        for number in range(self.config.drive.steps):
            collector.step()
            if progress is not None:
                progress((number + 1) / self.config.drive.steps)
        self.learn_from(collector.take_all())

    def prepare(self, numbers: range) -> list[Batch]:
        """Drive, then draw the batches of these numbers."""
        if self.collector is not None:
            for _ in range(len(numbers) * self.config.steps_per_batch):
                self.collector.step()
            self.learn_from(self.collector.take())
        source = BatchSource(self.buffer.moments, self.world, self.rig, self.batches, self.imitation.seed)
        return [source.batch(number) for number in numbers]

    @property
    def stage_batches(self) -> int:
        """Batches of a stage; the last one may have fewer."""
        return max(self.config.stage_samples // self.imitation.batch_size, 1)

    def train(
        self, stage: int, first: int, end: int, clock: WaitingClock, progress: Progress | None
    ) -> dict[str, float]:
        """Train on the batches [first, end) of a stage; the mean loss parts."""
        size, drive_after = self.config.batches_per_round, self.config.first_drive_samples
        batch_size = self.imitation.batch_size
        parts: list[dict[str, torch.Tensor]] = []
        self.collector = None
        with ThreadPoolExecutor(1, "practice", _use_one_thread) as pool:
            rounds = [range(start, min(start + size, end)) for start in range(first, end, size)]
            batches = pool.submit(self.prepare, rounds[0])
            for number, following in zip(rounds, [*rounds[1:], None], strict=True):
                drawn = batches.result()
                clock.works()
                if following is not None:
                    if self.collector is None and number.start * batch_size >= drive_after:
                        self.collector = self.collect(stage, self.driver)
                    self.driver.load_state_dict(self.trainer.averaged.state_dict())
                    batches = pool.submit(self.prepare, following)
                parts += [self.trainer.update(batch) for batch in drawn]
                clock.waits()
                figures = mean_parts(parts[-len(number) :]) | clock.lap(len(number) * batch_size)
                figures["learning_rate"] = learning_rate_at((number.stop - 1) * batch_size, self.imitation)
                if progress is not None:
                    progress(number.stop * batch_size, figures)
        if self.collector is not None:
            self.learn_from(self.collector.take_all())
        return mean_parts(parts)

    @torch.no_grad()
    def watch(self, stage: int, towns: range) -> dict[str, float]:
        """Mean loss parts of the averaged network on what it gets into in towns that it does not learn from."""
        collector = self.collect(stage, self.trainer.averaged, towns)
        for _ in range(self.config.watch_steps):
            collector.step()
        source = BatchSource(
            collector.take_all(), self.world, self.rig, self.batches, self.imitation.seed + stage
        )
        parts = [self.trainer.losses(source.batch(number), averaged=True) for number in range(_WATCHED)]
        return {f"unseen_{name}": value for name, value in mean_parts(parts).items()}

    def save(self, stage: int) -> None:
        """Write the state at the end of a stage."""
        write_moments(self.folder / f"moments-{stage:04d}.npz", join_moments(self.fresh))
        self.fresh.clear()
        if stage > 0:
            save_state(self.trainer, self.folder / _STATE)

    def resume(self) -> int:
        """Load what was written; the number of stages done, that of the demonstrator included."""
        if not (self.folder / "moments-0000.npz").is_file():
            return 0
        resume_state(self.trainer, self.folder / _STATE)
        done = 1 + self.trainer.batches_seen // self.stage_batches
        for stage in range(done):
            self.buffer.append(read_moments(self.folder / f"moments-{stage:04d}.npz"))
        return done


def _use_one_thread() -> None:
    """Of the two cores, one trains and one drives and draws; both settings hold for this thread alone."""
    numba.set_num_threads(1)
    torch.set_num_threads(1)


def _open(folder: Path, settings: dict[str, Any]) -> None:
    """Make the folder ready for a run with these settings; what another one left is removed."""
    content = orjson.dumps(settings, option=orjson.OPT_INDENT_2)
    path = folder / _SETTINGS
    if not path.is_file() or path.read_bytes() != content:
        with storage_errors(folder):
            shutil.rmtree(folder, ignore_errors=True)
        write_bytes(path, content)


def practise(
    config: PractiseConfig,
    imitation: ImitationConfig,
    network: DriverModel,
    world: World,
    towns: int,
    batches: BatchConfig,
    folder: Path,
    progress: Progress | None = None,
    demonstrating: Callable[[float], None] | None = None,
    unseen: range | None = None,
) -> TrainingResult:
    """Train the network on `imitation.samples` samples of what it and the demonstrator get into.

    Args:
        network: its weights are changed.
        towns: the first so many of `world` are driven in to learn.
        folder: holds the state between stages; for the caller to remove once the weights are safe.
        progress: called after each round.
        demonstrating: called with the share of the demonstrator's drive that is done, before any training.
        unseen: towns of `world` to drive in after each stage, not to learn from; the losses there are told as
            further figures, unseen_total and so on.

    Raises:
        ConfigError: the loss is not finite.
        CheckpointError: what is in `folder` is damaged.
        StorageError: the disk is full.
    """
    total = imitation.samples // imitation.batch_size
    _open(folder, {"practise": asdict(config), "imitate": asdict(imitation), "batches": asdict(batches)})
    torch.manual_seed(imitation.seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(imitation.threads)
    practice = _Practice(config, imitation, network, world, towns, batches, folder)
    stage = practice.resume()
    if stage == 0:
        practice.demonstrate(demonstrating)
        practice.save(stage)
        stage = 1
    losses: dict[str, float] = {}
    trainer = practice.trainer
    clock = WaitingClock(trainer.device)
    while trainer.batches_seen < total:
        first = trainer.batches_seen
        end = min(first + practice.stage_batches, total)
        losses = practice.train(stage, first, end, clock, progress)
        if not math.isfinite(losses["total"]):
            raise ConfigError(
                f"practise: the loss is not finite after {trainer.batches_seen} batches; "
                f"lower learning_rate ({imitation.learning_rate})"
            )
        if trainer.batches_seen < total:
            practice.save(stage)
        if unseen and progress is not None:
            progress(end * imitation.batch_size, practice.watch(stage, unseen))
        stage += 1
    samples_seen, waiting_share = trainer.batches_seen * imitation.batch_size, clock.waiting_share
    return TrainingResult(trainer.averaged.cpu().eval(), samples_seen, losses, waiting_share)
