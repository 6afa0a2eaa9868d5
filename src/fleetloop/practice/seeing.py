"""Learning to see: before a network drives, its encoder learns who is in each cell of the pictures.

Driving alone teaches it little of that: somebody on foot is a few pixels in few of the moments, and what they are to
blame for reaches the encoder through one embedding for all cameras. Asked of each cell it learns in minutes what it
would not in hours (docs/adr/0011).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from fleetloop.core.checks import check_at_least
from fleetloop.core.types import CameraRig, World
from fleetloop.policy.network import DriverNetwork
from fleetloop.policy.precision import autocast
from fleetloop.train.batches import BatchConfig, BatchSource, Moments, batches_ahead
from fleetloop.train.imitate import ImitationConfig, descend
from fleetloop.train.losses import sightings_loss
from fleetloop.train.optimiser import Optimiser
from fleetloop.train.saved_state import read_state, write_state
from fleetloop.train.side_by_side import SideBySide, learner_threads


@dataclass(frozen=True)
class SeeingConfig:
    """How the encoder learns; the rest is ImitationConfig's."""

    samples: int = 100_000
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_samples: int = 3_000

    def __post_init__(self) -> None:
        check_at_least("seeing", self, ("samples", "batch_size"))


def learn_to_see(
    config: SeeingConfig,
    imitation: ImitationConfig,
    networks: Sequence[DriverNetwork],
    world: World,
    rig: CameraRig,
    moments: Moments,
    batches: BatchConfig,
    path: Path,
    progress: Callable[[float], None],
) -> None:
    """Let the encoder of each network learn from the same `moments`.

    Each from its own first weights, so that they overlook different people.

    Args:
        networks: they tell who is in their cells, and are alike; wherever they are.
        path: where their weights are kept for a run that goes on; from there if they are.
        progress: called with the share done.

    Raises:
        StorageError: the disk is full.
    """
    eyes = nn.ModuleList(map(_eye_of, networks))
    made_with = repr((config, imitation, batches, [network.config for network in networks]))
    found = read_state(path, made_with)
    if found is None:
        source = BatchSource(moments, world, rig, _drawn(config, batches), imitation.seed)
        _train(config, imitation, networks, eyes, source, progress)
        write_state(path, _weights(eyes), config.samples // config.batch_size, made_with)
    else:
        eyes.load_state_dict(found[0])


def _eye_of(network: DriverNetwork) -> nn.ModuleList:
    """What of a network looks at pictures, and tells who is in their cells."""
    assert network.sightings is not None
    return nn.ModuleList([network.encoder.convolutions, network.sightings])


def _weights(eyes: nn.ModuleList) -> dict[str, Tensor]:
    return {name: value.cpu().contiguous() for name, value in eyes.state_dict().items()}


def _drawn(config: SeeingConfig, batches: BatchConfig) -> BatchConfig:
    """How its batches are drawn: only what is now is looked at."""
    return replace(batches, batch_size=config.batch_size, memory=False, sightings=True)


def _train(
    config: SeeingConfig,
    imitation: ImitationConfig,
    networks: Sequence[DriverNetwork],
    eyes: nn.ModuleList,
    source: BatchSource,
    progress: Callable[[float], None],
) -> None:
    learning = replace(
        imitation,
        samples=config.samples,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        warmup_samples=config.warmup_samples,
    )
    device = next(eyes.parameters()).device
    optimiser = Optimiser(dict(eyes.named_parameters()), config.learning_rate, imitation.weight_decay)
    side_by_side = SideBySide(learner_threads(len(networks), device), imitation.threads)
    total = max(config.samples // config.batch_size, 1)
    batches = batches_ahead(source.batch, 0, 1)
    for number in range(total):
        batch = next(batches)
        assert batch.sightings is not None
        images = [torch.from_numpy(group).to(device) for group in batch.observation.images]
        truth = torch.from_numpy(batch.sightings).to(device)

        def learn(network: DriverNetwork, images: list[Tensor] = images, truth: Tensor = truth) -> None:
            with autocast(device, imitation.bfloat16):
                logits = network.see(list(map(network.encoder.cells, images)))
            sightings_loss(logits, truth).mean().backward()

        list(side_by_side.map(learn, networks))
        descend(optimiser, eyes, number, learning)
        progress((number + 1) / total)
    del batches  # ends their thread
