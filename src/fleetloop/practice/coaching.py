"""The coach practises: it learns to drive from the demonstrator as the network does, but from where everybody is.

Nothing is drawn, so that a minute of it is worth an hour of the network's practice; see `train.coach` for what it is
and what it is good for.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64

from fleetloop.core.checks import check_at_least, check_shares
from fleetloop.core.random import Stream, generator
from fleetloop.core.types import CameraRig, World
from fleetloop.curate.curate import CurateConfig
from fleetloop.policy.model import DriverModel
from fleetloop.policy.planner import planners_of
from fleetloop.practice.collector import Collector
from fleetloop.practice.moments import MomentBuffer
from fleetloop.practice.rounds import prepared_ahead
from fleetloop.sim.privileged_view import PRIVILEGED_FIELDS
from fleetloop.sim.routes import Route, make_routes
from fleetloop.sim.scenarios import FAMILIES
from fleetloop.train.batches import Moments, draw_by_weight
from fleetloop.train.coach import Coach, CoachDriver, coach_inputs, fresh_coach
from fleetloop.train.imitate import ImitationConfig, average_in, descend
from fleetloop.train.losses import plan_loss
from fleetloop.train.saved_state import read_state, write_state
from fleetloop.vehicle.drive import DriveConfig

_SHARE = 8
"""The coach learns from at most so many times the samples of the network."""


@dataclass(frozen=True)
class CoachConfig:
    """How the coach learns; what it minimises is ImitationConfig's."""

    samples: int = 2_000_000
    """From nothing."""
    further_samples: int = 4_000_000
    """Of a coach that goes on, in a later turn."""
    batch_size: int = 512
    learning_rate: float = 1e-3
    warmup_samples: int = 20_000
    drive: DriveConfig = field(
        default_factory=lambda: DriveConfig(vehicles=128, steps=500, scenario_share=0.3)
    )
    """Of the demonstrator first, `steps` steps, and of the coach: a step for each batch."""
    overlooking: float = 0.1
    """Share of the time in which it sees nobody else when it drives to learn (`CoachDriver`; docs/adr/0018)."""
    batches_per_round: int = 8
    capacity: int = 700_000
    """Moments kept, 1.5 kB each."""
    threads: int = 2
    """That learn; the one that drives beside them has little to do."""

    def __post_init__(self) -> None:
        check_at_least(
            "coach",
            self,
            ("samples", "further_samples", "batch_size", "batches_per_round", "capacity", "threads"),
        )
        check_shares("coach", self, ["overlooking"], whole=False)


class Coaching:
    """The coach, its average that drives, and what they learn from."""

    def __init__(
        self,
        config: CoachConfig,
        imitation: ImitationConfig,
        curate: CurateConfig,
        begins_as: Coach,
        world: World,
        rig: CameraRig,
        towns: int,
    ) -> None:
        """It practises in the first `towns` of `world`; `begins_as` is copied."""
        self.config, self.curate, self.world, self.rig, self.towns = config, curate, world, rig, towns
        self.imitation = replace(
            imitation,
            samples=config.samples,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            warmup_samples=config.warmup_samples,
        )
        torch.manual_seed(imitation.seed)
        self.coach = copy.deepcopy(begins_as).requires_grad_(True).train()
        self.averaged = copy.deepcopy(self.coach).requires_grad_(False).eval()
        # What drives is a copy: the average changes while it does.
        self.driver = copy.deepcopy(self.averaged)
        self.optimiser = torch.optim.AdamW(
            self.coach.parameters(), lr=config.learning_rate, weight_decay=imitation.weight_decay, fused=True
        )
        self.buffer = MomentBuffer(config.capacity)
        self.batches_seen = 0

    def collector(self, number: int, driver: CoachDriver | None) -> Collector:
        """The number-th drive; None is the demonstrator."""
        drive, seed = self.config.drive, self.imitation.seed * 1_000 + 999 - number
        routes: Iterator[Route] = make_routes(
            seed, range(self.towns), 10**9, drive.route_m, tuple(FAMILIES), drive.scenario_share
        )
        return Collector(self.world, self.rig, routes, driver, drive, self.curate)

    def draw(self, numbers: range) -> list[Moments]:
        """The batches of these numbers."""
        moments = self.buffer.moments
        cumulative = np.cumsum(moments.weight, dtype=np.float64)
        cumulative /= cumulative[-1]
        drawn: list[Int64[np.ndarray, " B"]] = [
            draw_by_weight(
                cumulative, generator(self.imitation.seed, Stream.SAMPLE, number), self.config.batch_size
            )
            for number in numbers
        ]
        return [moments.select(rows) for rows in drawn]

    def update(self, moments: Moments) -> None:
        """One step of the optimiser and of the average."""
        config = self.imitation
        intention = self.coach(coach_inputs(moments))
        loss = plan_loss(intention, moments.labels, config) + config.balance_weight * intention.balance_loss
        loss.backward()
        descend(self.optimiser, [self.coach], self.batches_seen, config)
        average_in(self.averaged, self.coach, config.ema_decay, self.batches_seen)
        self.batches_seen += 1

    def run(self, progress: Callable[[float], None]) -> None:
        """Practise from the beginning to the end."""
        demonstrated = self.collector(0, None)
        for _ in range(self.config.drive.steps):
            demonstrated.step()
        self.buffer.append(demonstrated.take_all())
        vehicles, overlooking = self.config.drive.vehicles, self.config.overlooking
        driver = CoachDriver(self.driver, vehicles, self.imitation.seed, overlooking=overlooking)
        collector = self.collector(1, driver)
        total = max(self.config.samples // self.config.batch_size, 1)

        def prepare(numbers: range) -> list[Moments]:
            for _ in numbers:
                collector.step()
            self.buffer.append(collector.take())
            return self.draw(numbers)

        def renew_driver(trained: int) -> None:
            self.driver.load_state_dict(self.averaged.state_dict())

        for numbers, batches in prepared_ahead(
            range(total), self.config.batches_per_round, prepare, renew_driver
        ):
            for moments in batches:
                self.update(moments)
            progress(numbers.stop / total)

    def finish(self, path: Path, progress: Callable[[float], None] | None = None) -> Coach:
        """The coach when it has practised, ready to be asked; from `path` if it is there.

        Args:
            path: where its weights are kept for a run that goes on.
            progress: called with the share done.

        Raises:
            StorageError: the disk is full.
        """
        made_with = repr((self.config, self.imitation, self.curate, self.towns, PRIVILEGED_FIELDS))
        found = read_state(path, made_with)
        if found is None:
            before = torch.get_num_threads()
            torch.set_num_threads(self.config.threads)
            try:
                self.run(progress or (lambda _: None))
            finally:
                torch.set_num_threads(before)
            write_state(path, self.averaged.state_dict(), self.batches_seen, made_with)
        else:
            self.averaged.load_state_dict(found[0])
        return self.averaged


def coach_for(
    network: DriverModel,
    earlier: Coach | None,
    config: CoachConfig,
    imitation: ImitationConfig,
    curate: CurateConfig,
    world: World,
    towns: int,
    path: Path,
    progress: Callable[[float], None],
) -> Coach | None:
    """A coach for this network, each planner of which becomes its; `earlier` if the network has none.

    One that taught it earlier goes on: it speaks of situations as it did, and another one's language would have to be
    learnt anew. For `path` and `progress` see `Coaching.finish`.
    """
    planners, begins_as = planners_of(network), earlier or fresh_coach(network)
    if begins_as is None or not planners:
        return earlier
    asked = config.samples if earlier is None else config.further_samples
    # Who only tries it out shall not wait for minutes.
    settings = replace(config, samples=min(asked, _SHARE * imitation.samples))
    coach = Coaching(settings, imitation, curate, begins_as, world, network.rig, towns).finish(path, progress)
    for planner in planners:
        planner.load_state_dict(coach.planner.state_dict())
    return coach
