"""Learning by practice: the network drives while it trains, and trains on what it gets into.

Aggregation of data sets (Ross, Gordon, Bagnell, "A reduction of imitation learning to no-regret online learning",
AISTATS 2011) without turns: the demonstrator drives first; then the present network does, in many worlds at once, and
every moment that it gets into goes, with the demonstrator's answer, into the memory that batches are drawn from. Of
several networks that are to drive as one each learns from batches of its own.

While one thread trains on the batches of a round, another drives with the network as it was when the round began, and
draws the next round's batches (`practice.rounds`). A run is cut into stages of its own seeds, and its state is written
after each but the last: one that was killed goes on from there.
"""

import copy
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import torch

from fleetloop.core.checks import check_at_least, check_shares
from fleetloop.core.errors import CheckpointError, ConfigError
from fleetloop.core.files import storage_errors, write_bytes
from fleetloop.core.random import Stream, generator
from fleetloop.core.types import World
from fleetloop.curate.curate import CurateConfig
from fleetloop.policy.export import TorchDriver
from fleetloop.policy.model import DriverModel
from fleetloop.policy.network import DriverNetwork
from fleetloop.practice.coaching import CoachConfig, coach_for
from fleetloop.practice.collector import Collector
from fleetloop.practice.moments import MomentBuffer, join_moments, read_moments, thinned, write_moments
from fleetloop.practice.rounds import prepared_ahead
from fleetloop.practice.seeing import SeeingConfig, learn_to_see
from fleetloop.sim.routes import Route, make_routes
from fleetloop.sim.scenarios import FAMILIES
from fleetloop.train.batch import Batch
from fleetloop.train.batches import BatchConfig, BatchSource, Moments
from fleetloop.train.coach import Coach, CoachDriver
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

_SETTINGS, _STATE, _COACH = "practice.json", "state.safetensors", "coach.safetensors"
_COUNTS = "moments.json"
_WATCHED = 16
"""Batches of what the network gets into in unseen towns."""


@dataclass(frozen=True)
class PractiseConfig:
    """How the network drives while it trains; how it trains is ImitationConfig's."""

    drive: DriveConfig = field(default_factory=lambda: DriveConfig(scenario_share=0.2))
    """Of the demonstrator first, `steps` steps, and of the network."""
    curate: CurateConfig = field(default_factory=lambda: CurateConfig(stride=2))
    coach: CoachConfig | None = field(default_factory=CoachConfig)
    """How who tells the network what situations are learns first; None for not at all."""
    seeing: SeeingConfig | None = field(default_factory=SeeingConfig)
    """How the encoder learns to see before the network drives; None for not at all."""
    misled: tuple[float, ...] = (0.0, 0.4, 0.8, 1.2)
    """How far the coach is misled when it drives for the network to learn from (`CoachDriver`)."""
    overlooking: float = 0.25
    """Share of the time in which the misled coach sees nobody else. Left alone it hardly ever comes to close in on
    somebody ahead, and a network that seldom saw that does not brake (docs/adr/0018)."""
    misled_steps_per_batch: int = 8
    """Of all vehicles, driven by the misled coach for each batch trained on."""
    misled_kept: float = 0.375
    """Share of the moments that the misled coach gets into that are kept, those that weigh more rather than others:
    nothing is drawn while it drives, so it can drive farther than is remembered."""
    first_misled_steps: int = 1_500
    """Of all vehicles, driven by the misled coach before the network learns anything."""
    capacity: int = 700_000
    """Moments kept, 1.5 kB each."""
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
        check_at_least(
            "practise",
            self,
            ("capacity", "batches_per_round", "steps_per_batch", "stage_samples", "watch_steps"),
        )
        check_shares("practise", self, ["misled_kept"])
        check_shares("practise", self, ["overlooking"], whole=False)


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
        coach: Coach | None = None,
    ) -> None:
        self.config, self.imitation, self.batches = config, imitation, batches
        self.world, self.towns, self.folder, self.rig = world, towns, folder, network.rig
        self.coach = coach
        # What drives is a copy: the trained one changes while it does.
        self.driver = copy.deepcopy(network)
        self.trainer = Trainer(imitation, network)
        self.buffer = MomentBuffer(config.capacity)
        self.collector: Collector | None = None
        self.misled: Collector | None = None
        """Where the coach drives; new in each stage, as the network's is."""
        self.counts: list[int] = []
        """Moments of each stage that was written."""
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

    def demonstrate(self, progress: Callable[[float], None]) -> None:
        """Let the demonstrator drive, then the misled coach if there is one."""
        for begun, collector, steps in (
            (0.0, self.collect(0, None), self.config.drive.steps),
            (0.5, self.mislead(0), self.config.first_misled_steps),
        ):
            if collector is None:
                continue
            for step in range(steps):
                collector.step()
                progress(begun + 0.5 * (step + 1) / steps)
            self.learn_from(collector.take_all())

    def see(self, network: DriverModel, progress: Callable[[float], None]) -> None:
        """Let a network that tells who is in its cells learn that first, from what was driven so far."""
        if self.config.seeing is None:
            return
        alike: dict[object, list[DriverNetwork]] = {}
        for learner in network.learners():
            if isinstance(learner, DriverNetwork) and learner.sightings is not None:
                alike.setdefault(learner.config, []).append(learner)
        # Who only tries it out shall not wait for minutes.
        config = replace(self.config.seeing, samples=min(self.config.seeing.samples, self.imitation.samples))
        moments, batches = self.buffer.moments, self.batches
        for number, networks in enumerate(alike.values()):
            path = self.folder / f"eye-{number}.safetensors"
            learn_to_see(
                config, self.imitation, networks, self.world, self.rig, moments, batches, path, progress
            )

    def mislead(self, stage: int) -> Collector | None:
        """A collector for a stage in which the coach drives, misled; it thins out nothing but waiting."""
        if self.coach is None or not self.config.misled_steps_per_batch:
            return None
        drive, seed = self.config.drive, self.imitation.seed * 1_000 + stage
        driver = CoachDriver(self.coach, drive.vehicles, seed, self.config.misled, self.config.overlooking)
        curate = replace(self.config.curate, stride=1)
        return Collector(
            self.world, self.rig, self.routes(500 + stage, range(self.towns)), driver, drive, curate
        )

    def thinned(self, moments: Moments, number: int) -> Moments:
        """What is kept of moments that the misled coach got into before the batch of this number."""
        random = generator(self.imitation.seed, Stream.THINNED, number)
        return thinned(moments, self.config.misled_kept, random)

    def prepare(self, numbers: range) -> list[list[Batch]]:
        """Drive, then draw the batches of these numbers, for each one of every learner."""
        if self.misled is not None:
            for _ in range(len(numbers) * self.config.misled_steps_per_batch):
                self.misled.step()
            self.learn_from(self.thinned(self.misled.take(), numbers.stop))
        if self.collector is not None:
            for _ in range(len(numbers) * self.config.steps_per_batch):
                self.collector.step()
            self.learn_from(self.collector.take())
        source = self.source(self.buffer.moments, self.imitation.seed)
        learners = len(self.trainer.learners)
        return [
            [source.batch(number * learners + learner) for learner in range(learners)] for number in numbers
        ]

    def source(self, moments: Moments, seed: int) -> BatchSource:
        """Batches of moments."""
        return BatchSource(moments, self.world, self.rig, self.batches, seed, coach=self.coach)

    @property
    def stage_batches(self) -> int:
        """Batches of a stage; the last one may have fewer."""
        return max(self.config.stage_samples // self.imitation.batch_size, 1)

    def train(
        self, stage: int, first: int, end: int, clock: WaitingClock, progress: Progress | None
    ) -> dict[str, float]:
        """Train on the batches [first, end) of a stage; the mean loss parts."""
        batch_size = self.imitation.batch_size
        parts: list[dict[str, torch.Tensor]] = []
        self.collector, self.misled = None, self.mislead(stage)

        def renew_driver(trained: int) -> None:
            if self.collector is None and trained * batch_size >= self.config.first_drive_samples:
                self.collector = self.collect(stage, self.driver)
            self.driver.load_state_dict(self.trainer.averaged.state_dict())

        rounds = prepared_ahead(range(first, end), self.config.batches_per_round, self.prepare, renew_driver)
        for numbers, batches in rounds:
            clock.works()
            parts += [self.trainer.update(*own) for own in batches]
            clock.waits()
            figures = mean_parts(parts[-len(numbers) :]) | clock.lap(len(numbers) * batch_size)
            figures["learning_rate"] = learning_rate_at((numbers.stop - 1) * batch_size, self.imitation)
            if progress is not None:
                progress(numbers.stop * batch_size, figures)
        if self.misled is not None:
            self.learn_from(self.thinned(self.misled.take_all(), end + 1))
        if self.collector is not None:
            self.learn_from(self.collector.take_all())
        return mean_parts(parts)

    @torch.no_grad()
    def watch(self, stage: int, towns: range) -> dict[str, float]:
        """Mean loss parts of the averaged network on what it gets into in towns that it does not learn from."""
        self.driver.load_state_dict(self.trainer.averaged.state_dict())
        collector = self.collect(stage, self.driver, towns)
        for _ in range(self.config.watch_steps):
            collector.step()
        source = self.source(collector.take_all(), self.imitation.seed + stage)
        parts = [self.trainer.losses_of_average(source.batch(number)) for number in range(_WATCHED)]
        return {f"unseen_{name}": value for name, value in mean_parts(parts).items()}

    def save(self, stage: int) -> None:
        """Write the state at the end of a stage; moments that others have overwritten are not kept."""
        fresh = join_moments(self.fresh)
        write_moments(self._moments_path(stage), fresh)
        self.fresh.clear()
        self.counts.append(len(fresh.town))
        write_bytes(self.folder / _COUNTS, orjson.dumps(self.counts))
        if stage > 0:
            save_state(self.trainer, self.folder / _STATE)
        for earlier in range(stage):
            if self._overwritten(earlier, stage + 1):
                self._moments_path(earlier).unlink(missing_ok=True)

    def _moments_path(self, stage: int) -> Path:
        return self.folder / f"moments-{stage:04d}.npz"

    def _overwritten(self, stage: int, stages: int) -> bool:
        """Whether after so many stages nothing of this one is left in memory."""
        return sum(self.counts[stage + 1 : stages]) >= self.config.capacity

    def resume(self) -> int:
        """Load what was written; the number of stages done, that of the demonstrator included.

        Raises:
            CheckpointError: what was written is damaged.
        """
        path = self.folder / _COUNTS
        if not path.is_file():
            return 0
        resume_state(self.trainer, self.folder / _STATE)
        done = 1 + self.trainer.batches_seen // self.stage_batches
        self.counts = _read_counts(path)[:done]
        for stage, count in enumerate(self.counts):
            if self._overwritten(stage, done):
                self.buffer.skip(count)
            else:
                self.buffer.append(read_moments(self._moments_path(stage)))
        return done


def _read_counts(path: Path) -> list[int]:
    try:
        counts = orjson.loads(path.read_bytes())
    except ValueError:
        counts = None
    if not isinstance(counts, list) or not all(isinstance(count, int) and count >= 0 for count in counts):
        raise CheckpointError(f"{path}: is damaged; delete its folder and begin again")
    return counts


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
    preparing: Callable[[float], None] | None = None,
    unseen: range | None = None,
    coach: Coach | None = None,
) -> TrainingResult:
    """Train the network on `imitation.samples` samples of what it and the demonstrator get into.

    Args:
        network: its weights are changed.
        towns: the first so many of `world` are driven in to learn.
        folder: holds the state between stages; for the caller to remove once the weights are safe.
        progress: called after each round.
        preparing: called with the share done of what comes before: the coach's practice, first drives, learning to see.
        unseen: towns of `world` to drive in after each stage, not to learn from; the losses there are told as
            further figures, unseen_total and so on.
        coach: who told the network what situations are before; it goes on learning first. Without it, a new one does.

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
    prepared = preparing or (lambda _: None)
    if config.coach is not None:
        coach = coach_for(
            network,
            coach,
            config.coach,
            imitation,
            config.curate,
            world,
            towns,
            folder / _COACH,
            lambda share: prepared(0.5 * share),
        )
    practice = _Practice(config, imitation, network, world, towns, batches, folder, coach)
    stage = practice.resume()
    if stage == 0:
        practice.demonstrate(lambda share: prepared(0.5 + 0.1 * share))
        practice.save(stage)
        stage = 1
    if practice.trainer.batches_seen == 0:
        practice.see(network, lambda share: prepared(0.6 + 0.4 * share))
        practice.trainer.begin_average()
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
    return TrainingResult(trainer.averaged.cpu().eval(), samples_seen, losses, waiting_share, coach)
