"""Learning by imitation: batches of observations and what the demonstrator did -> the network's weights.

Read from top to bottom: configuration, schedule, saved state, loop. What is minimised is in `losses`.
"""

import copy
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import torch
from torch import Tensor, nn

from fleetloop.core.checks import check_at_least
from fleetloop.core.errors import CheckpointError, ConfigError
from fleetloop.core.types import CameraRig
from fleetloop.policy.adapters import Adapt, freeze_all_but, merge_adapters
from fleetloop.policy.experts import ExpertBlock
from fleetloop.policy.features import Inputs, inputs_from
from fleetloop.policy.heads import Outputs
from fleetloop.policy.model import DriverModel
from fleetloop.policy.network import AnyNetwork, build_network
from fleetloop.policy.precision import autocast
from fleetloop.train.batch import Batch
from fleetloop.train.losses import loss_parts
from fleetloop.train.optimiser import HIDDEN_RATE, Optimiser
from fleetloop.train.processes import ALONE, Processes
from fleetloop.train.saved_state import load_optimiser, optimiser_tensors, read_state, write_state
from fleetloop.train.side_by_side import SideBySide, learner_threads
from fleetloop.train.waiting import WaitingClock


@dataclass(frozen=True)
class ImitationConfig:
    """How to train. All loss weights are relative to the curvature's."""

    samples: int = 300_000
    """Samples to see in all, repeats included."""
    batch_size: int = 128
    """Of all processes together."""
    learning_rate: float = 1e-3
    """At its highest: it rises linearly for `warmup_samples`, then falls as a cosine to a hundredth."""
    warmup_samples: int = 10_000
    weight_decay: float = 0.01
    gradient_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    ema_decay: float = 0.998
    """Per update: the weights kept are an exponential moving average."""
    acceleration_weight: float = 1.0
    acceleration_quantile: float = 0.35
    """Which quantile of what the demonstrator may want is learned: below a half, doubt brakes rather than goes."""
    poses_weight: float = 0.3
    spread_weight: float = 0.05
    signal_weight: float = 1.0
    distance_weight: float = 0.1
    right_of_way_weight: float = 0.5
    birds_eye_weight: float = 0.5
    situation_weight: float = 2.0
    sightings_weight: float = 3.0
    balance_weight: float = 0.01
    turning_emphasis: float = 2.0
    """A sample at the tightest curvature weighs 1 + this, in u-space."""
    braking_emphasis: float = 2.0
    """A sample that brakes with 3 m/s^2 or more weighs 1 + this."""
    adapt: Adapt = Adapt.ALL
    """What learns; all but ALL start from a trained network and leave the rest of it as it is."""
    adapter_rank: int = 8
    bfloat16: bool = True
    """Where the device computes with it (`policy.precision`); elsewhere float32, which is then the faster."""
    compile: bool = True
    """About an eighth faster on one core, after some 10 to 20 s of compilation."""
    gpu: bool = True
    """Train on the GPU where there is one. The same seed gives the same weights on the CPU alone."""
    threads: int = 1
    """Of PyTorch. On two busy cores, one beside one that draws the batches is faster than two that wait for
    each other; and the same number gives the same bits, however many cores there are.
    """
    save_every_samples: int = 50_000
    report_every_batches: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        check_at_least("imitation", self, ("batch_size", "threads", "report_every_batches"))
        if self.samples < self.batch_size:
            raise ConfigError(
                f"imitation: samples is {self.samples}; use at least batch_size ({self.batch_size})"
            )
        if not 0.0 < self.learning_rate < math.inf:
            raise ConfigError(f"imitation: learning_rate is {self.learning_rate}; use a number above 0")


@dataclass(frozen=True)
class TrainingResult:
    """The averaged network, and how its training ended."""

    network: DriverModel
    samples_seen: int
    losses: dict[str, float]
    """Mean of each part over the last tenth of the samples, or since the run went on in it; of practice, over its last
    stage."""
    waiting_share: float | None = None
    """Of the time, spent waiting for batches; None where it was not measured."""
    coach: nn.Module | None = None
    """Who told it what situations are."""


_SQUARES_KEPT = 0.98
"""How much AdamW remembers of squares of gradients from one step to the next: fifty steps, for there are few."""

Progress = Callable[[int, dict[str, float]], None]
"""Called with the samples seen and, since the last call, the mean loss parts and the trainer's own figures:
learning_rate, samples_per_s and waiting_share."""


def learning_rate_at(samples_seen: int, config: ImitationConfig) -> float:
    """Linear warm-up, then a cosine down to a hundredth (Loshchilov, Hutter, "SGDR", ICLR 2017)."""
    if samples_seen < config.warmup_samples:
        return (
            config.learning_rate
            * (samples_seen + config.batch_size)
            / (config.warmup_samples + config.batch_size)
        )
    after = (samples_seen - config.warmup_samples) / max(config.samples - config.warmup_samples, 1)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(after, 1.0))))


@torch.no_grad()
def average_in(averaged: nn.Module, network: nn.Module, decay: float, batches_seen: int) -> None:
    """Move the average of the weights towards those of now.

    Early on it follows quickly, so that it does not remember the random weights.
    """
    decay = min(decay, (1.0 + batches_seen) / (10.0 + batches_seen))
    for average, parameter in zip(averaged.parameters(), network.parameters(), strict=True):
        average.lerp_(parameter, 1.0 - decay)


def descend(
    optimiser: torch.optim.Optimizer,
    learners: Iterable[nn.Module],
    batches_seen: int,
    config: ImitationConfig,
) -> None:
    """A step down the gradients of the learners' parameters, limited for each first and gone afterwards."""
    for learner in learners:
        torch.nn.utils.clip_grad_norm_(learner.parameters(), config.gradient_norm)
    for group in optimiser.param_groups:
        group["lr"] = learning_rate_at(batches_seen * config.batch_size, config)
    optimiser.step()
    optimiser.zero_grad()


class Trainer:
    """All that changes in training: weights, their average, the optimiser's moments and the batch count."""

    def __init__(self, config: ImitationConfig, network: DriverModel, processes: Processes = ALONE) -> None:
        self.config, self.processes = config, processes
        self.device = processes.device(config.gpu)
        self.network = network = network.to(self.device)
        self.averaged = copy.deepcopy(network).requires_grad_(False)
        for module in network.modules():
            if isinstance(module, ExpertBlock):
                module.mean_share = processes.mean
        self.learning = {name: value for name, value in network.named_parameters() if value.requires_grad}
        self.optimiser = Optimiser(self.learning, config.learning_rate, config.weight_decay, _SQUARES_KEPT)
        self.batches_seen = 0
        self.batches_updated = 0
        """Since it was made or resumed."""
        self.learners = network.learners()
        self.forwards: list[Callable[..., Outputs]] = [learner.forward_pair for learner in self.learners]
        if config.compile:
            self.forwards = [torch.compile(forward, dynamic=False) for forward in self.forwards]
        self.side_by_side = SideBySide(self._threads(), config.threads)

    def begin_average(self) -> None:
        """Let the average begin with the weights as they are."""
        self.averaged.load_state_dict(self.network.state_dict())

    def _threads(self) -> int:
        """How many learners learn at the same time."""
        if self.processes.count > 1:
            # Processes speak of one learner after the other.
            return 1
        return learner_threads(len(self.learners), self.device)

    def losses_of_average(self, batch: Batch) -> dict[str, Tensor]:
        """`loss_parts` of the averaged network on a batch."""
        return self._losses(self.averaged.forward_pair, batch, self._seen(batch))

    def _seen(self, batch: Batch) -> tuple[Inputs, Tensor | None, Tensor]:
        """What `forward_pair` is given of a batch, on the device."""
        inputs: Inputs = inputs_from(batch.observation, batch.rig, self.device)
        earlier = (
            None if batch.earlier_images is None else torch.from_numpy(batch.earlier_images).to(self.device)
        )
        return inputs, earlier, torch.from_numpy(batch.earlier_valid).to(self.device)

    def _losses(
        self, forward: Callable[..., Outputs], batch: Batch, seen: tuple[Inputs, Tensor | None, Tensor]
    ) -> dict[str, Tensor]:
        with autocast(self.device, self.config.bfloat16):
            outputs = forward(*seen)
        return loss_parts(outputs, batch, self.config, self.processes)

    def update(self, *batches: Batch) -> dict[str, Tensor]:
        """One step of the optimiser and of the average; mean losses of the learners, each on the whole of its batch.

        Args:
            batches: one for all learners, or one for each.
        """
        seen = [self._seen(batch) for batch in batches]

        def learn(number: int) -> dict[str, Tensor]:
            batch = number % len(batches)
            parts = self._losses(self.forwards[number], batches[batch], seen[batch])
            parts["total"].backward()
            return {name: part.detach() for name, part in parts.items()}

        # What is compiled at the first call is compiled once for all.
        several = self.side_by_side.map if self.batches_updated else map
        parts = list(several(learn, range(len(self.forwards))))
        self.processes.average_gradients(self.learning.values())
        descend(self.optimiser, self.learners, self.batches_seen, self.config)
        average_in(self.averaged, self.network, self.config.ema_decay, self.batches_seen)
        self.batches_seen += 1
        self.batches_updated += 1
        return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}

    def tensors(self) -> dict[str, Tensor]:
        """The whole state, named; the optimiser's moments are those of the parameter of the same name."""
        state = {f"network.{name}": value for name, value in self.network.named_parameters()}
        state |= {f"averaged.{name}": value for name, value in self.averaged.named_parameters()}
        state |= optimiser_tensors(self.optimiser, self.learning)
        return {name: value.detach().contiguous() for name, value in state.items()}

    def load(self, state: dict[str, Tensor], batches_seen: int) -> None:
        """The inverse of `tensors`."""
        with torch.no_grad():
            for prefix, network in (("network", self.network), ("averaged", self.averaged)):
                for name, parameter in network.named_parameters():
                    parameter.copy_(state[f"{prefix}.{name}"])
        load_optimiser(self.optimiser, self.learning, state)
        self.batches_seen = batches_seen


def _fingerprint(config: ImitationConfig, network: DriverModel) -> str:
    """What must agree between a saved state and the run that goes on with it."""
    content = {
        "imitation": dataclasses.asdict(config),
        "network": dataclasses.asdict(network.config),
        "hidden_rate": HIDDEN_RATE,
    }
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS).decode()


def save_state(trainer: Trainer, path: Path) -> None:
    """Write the state of a training that goes on."""
    made_with = _fingerprint(trainer.config, trainer.network)
    write_state(path, trainer.tensors(), trainer.batches_seen, made_with)


def resume_state(trainer: Trainer, path: Path) -> bool:
    """Go on from the state saved in `path`; False when it is of another configuration or cannot be read."""
    found = read_state(path, _fingerprint(trainer.config, trainer.network))
    if found is not None:
        trainer.load(*found)
    return found is not None


def train(
    config: ImitationConfig,
    network_config: AnyNetwork,
    rig: CameraRig,
    batches: Callable[[int], Iterator[Batch]],
    *,
    initial: dict[str, Tensor] | None = None,
    partial_state: Path | None = None,
    progress: Progress | None = None,
    processes: Processes = ALONE,
) -> TrainingResult:
    """Train a network on `config.samples` samples and return its averaged weights.

    `batches(first)` gives the batches from number `first` on, the same ones whenever it is called. `initial`
    are the weights to start from; without them they are drawn from `config.seed`. While training, the state
    is written to `partial_state`; a run that finds it there goes on from it and ends in the same bits as one
    that was never interrupted. The file is left for the caller to remove once the checkpoint is safe.

    Of several processes each calls this with its own rows (`Processes.rows`) of the same batches; all return
    the same weights, those of one process up to the order of sums. The first alone writes and reports.

    Raises:
        ConfigError: the batches end too early, there is nothing to adapt, the loss is not finite, or the processes
            found different states.
        CheckpointError: `initial` does not fit the network.
    """
    torch.manual_seed(config.seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(config.threads)
    network = build_network(network_config, rig)
    if initial is not None:
        _start_from(network, initial)
    elif config.adapt != Adapt.ALL:
        raise ConfigError(
            f"imitation: adapt is {config.adapt}; give the checkpoint to start from (--initial)"
        )
    freeze_all_but(network, config.adapt, config.adapter_rank)
    trainer = Trainer(config, network, processes)
    if partial_state is not None:
        resume_state(trainer, partial_state)
    if not processes.all_have(trainer.batches_seen, trainer.device):
        raise ConfigError(
            f"imitation: not every process can read {partial_state}; give a folder that all machines share"
        )
    clock = WaitingClock(trainer.device)
    losses = _run(trainer, batches, partial_state, progress, clock)
    merge_adapters(trainer.averaged)
    samples_seen = trainer.batches_seen * config.batch_size
    return TrainingResult(trainer.averaged.cpu().eval(), samples_seen, losses, clock.waiting_share)


def _start_from(network: DriverModel, initial: dict[str, Tensor]) -> None:
    try:
        network.load_state_dict(initial)
    except RuntimeError as error:
        raise CheckpointError(
            "initial weights: they do not fit the network's config; "
            "use the checkpoint of a network of this size"
        ) from error


def _run(
    trainer: Trainer,
    batches: Callable[[int], Iterator[Batch]],
    partial_state: Path | None,
    progress: Progress | None,
    clock: WaitingClock,
) -> dict[str, float]:
    """The loop over batches; returns the mean losses of the last tenth."""
    config, processes = trainer.config, trainer.processes
    total = config.samples // config.batch_size
    save_every = max(config.save_every_samples // config.batch_size, 1)
    recent: list[dict[str, Tensor]] = []
    final: list[dict[str, Tensor]] = []
    source = batches(trainer.batches_seen)
    while trainer.batches_seen < total:
        batch = next(source, None)
        if batch is None:
            raise ConfigError(
                f"imitation: the batches ended after {trainer.batches_seen} of {total}; "
                "give more samples or ask for fewer"
            )
        clock.works()
        parts = trainer.update(batch)
        clock.waits()
        recent.append(parts)
        if trainer.batches_seen > total - max(total // 10, 1):
            final.append(parts)
        if len(recent) == config.report_every_batches or trainer.batches_seen == total:
            means = mean_parts(recent, processes)
            speed = clock.lap(len(recent) * config.batch_size)
            recent.clear()
            if not math.isfinite(means["total"]):
                raise ConfigError(
                    f"imitation: the loss is not finite after {trainer.batches_seen} batches; "
                    f"lower learning_rate ({config.learning_rate})"
                )
            if progress is not None and processes.is_first:
                rate = learning_rate_at((trainer.batches_seen - 1) * config.batch_size, config)
                progress(trainer.batches_seen * config.batch_size, {**means, "learning_rate": rate, **speed})
        if (
            partial_state is not None
            and processes.is_first
            and trainer.batches_seen % save_every == 0
            and trainer.batches_seen < total
        ):
            save_state(trainer, partial_state)
    return mean_parts(final, processes)


def mean_parts(parts: list[dict[str, Tensor]], processes: Processes = ALONE) -> dict[str, float]:
    """Mean of each loss part over batches and processes; empty for no batches."""
    if not parts:
        return {}
    means = torch.stack([torch.stack([part[name] for part in parts]).mean() for name in parts[0]])
    return dict(zip(parts[0], processes.mean(means).tolist(), strict=True))
