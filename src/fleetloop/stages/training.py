"""Data set or practice -> Checkpoint."""

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch

from fleetloop.artifacts.checkpoint import read_coach, write_checkpoint
from fleetloop.artifacts.dataset import dataset_version, read_samples
from fleetloop.artifacts.episode import rig_to_json
from fleetloop.policy.network import build_network, config_to_dict, tells_sightings
from fleetloop.policy.planner import planners_of
from fleetloop.practice.practise import PractiseConfig, practise
from fleetloop.presets import Preset
from fleetloop.progress import stage
from fleetloop.sim.cameras import DEFAULT_RIG
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.sim.routes import Route, make_routes
from fleetloop.sim.scenarios import FAMILIES
from fleetloop.stages.workspace import make_world, network_of, read_verified
from fleetloop.train.batches import sample_batches
from fleetloop.train.coach import coach_from
from fleetloop.train.imitate import Progress, TrainingResult, train
from fleetloop.train.metrics import metrics_to
from fleetloop.train.processes import joined_processes
from fleetloop.train.reinforce import reinforce
from fleetloop.train.replay import Replay


def train_checkpoint(
    path: Path,
    dataset: Path,
    version: int,
    library: TownLibrary,
    preset: Preset,
    seed: int,
    initial: Path | None = None,
    title: str = "train",
    *,
    replay: Replay | None = None,
    mirrored: bool = False,
    tensorboard: Path | None = None,
) -> None:
    """Train on a version of the data set and write the checkpoint to `path`; killed, it goes on midway.

    Started by `torchrun` in several processes, they train it together, and the first one writes it.

    Args:
        initial: the checkpoint to start from.
        replay: samples to mix in.
        mirrored: let the network see the samples in a mirror, but not those mixed in: for a `MirroredDriver`.
        tensorboard: folder for figures of the training, as TensorBoard reads them.

    Raises:
        DatasetError, CheckpointError: the data set or `initial` cannot be used.
        MapError: a town of the data set is not in the library.
        ConfigError: a part of the network to adapt is not there, or a package for figures is not installed.
        StorageError: the disk is full.
    """
    samples = read_samples(dataset, version)
    own = len(samples)
    if replay is not None:
        samples = replay.mixed_with(samples)
    in_mirror = mirrored & (np.arange(len(samples)) < own)
    towns = sorted(set(samples.town.tolist()))
    config = replace(preset.imitation(initial is not None), seed=seed)
    batches = replace(
        preset.batches,
        batch_size=config.batch_size,
        memory=preset.network.memory,
        sightings=tells_sightings(preset.network),
    )
    parents = [dataset_version(dataset, version).artifact.id]
    if replay is not None:
        parents.append(dataset_version(replay.dataset, replay.version).artifact.id)
    tensors = None
    if initial is not None:
        tensors, _, artifact = read_verified(initial)
        parents.append(artifact.id)
    content = {
        "network": config_to_dict(preset.network),
        "rig": rig_to_json(DEFAULT_RIG),
        "imitate": asdict(config),
        "batches": asdict(batches),
        "replay_share": 0.0 if replay is None else replay.share,
        "mirrored": mirrored,
    }
    partial = _partial_state(path, parents, content, "training.safetensors")
    with joined_processes(config.gpu) as processes:
        with processes.first_goes_first():
            world = library.world(towns)
        watched = _watched(title, config.samples, content, tensorboard, processes.is_first)
        with watched as progress:
            result = train(
                config,
                preset.network,
                DEFAULT_RIG,
                lambda first: sample_batches(
                    samples, world, towns, DEFAULT_RIG, batches, seed, first, processes, in_mirror
                ),
                initial=tensors,
                partial_state=partial,
                progress=progress,
                processes=processes,
            )
        if processes.is_first:
            figures = {**_figures(result), "processes": processes.count}
            write_checkpoint(path, result.network.state_dict(), content, parents, seed, figures)
            partial.unlink(missing_ok=True)


def _partial_state(path: Path, parents: list[str], content: dict[str, Any], ending: str) -> Path:
    """Where a training that is to become `path` keeps its state meanwhile.

    It is named for all that it depends on, so that no other training goes on from it.
    """
    made_from = hashlib.sha256(orjson.dumps([parents, content])).hexdigest()[:12]
    return path.with_name(f"{path.name}.{made_from}.{ending}")


def _figures(result: TrainingResult) -> dict[str, float]:
    """Those that a checkpoint is written with."""
    losses = {f"loss_{name}": value for name, value in result.losses.items()}
    waiting_share = round(result.waiting_share or 0.0, 3)
    return {"samples_seen": result.samples_seen, **losses, "waiting_share": waiting_share}


@contextlib.contextmanager
def _watched(
    title: str, samples: int, settings: dict[str, Any], tensorboard: Path | None, speaks: bool
) -> Iterator[Progress | None]:
    """What a training tells of itself, on the screen and where its figures are asked for."""
    if not speaks:
        yield None
        return
    with stage(title) as show_share, metrics_to(title, settings, tensorboard) as log:
        yield _told(samples, show_share, log)


def _told(samples: int, show_share: Callable[[float], None], log: Progress, before: float = 0.0) -> Progress:
    """Shows the share of `samples` that are learned from, the rest of the bar after `before`, and logs the figures."""

    def report(samples_seen: int, figures: dict[str, float]) -> None:
        show_share(before + (1.0 - before) * samples_seen / samples)
        log(samples_seen, figures)

    return report


def practise_checkpoint(
    path: Path,
    towns: Sequence[str],
    library: TownLibrary,
    preset: Preset,
    seed: int,
    initial: Path | None = None,
    title: str = "practise",
    tensorboard: Path | None = None,
    unseen: Sequence[str] = (),
) -> None:
    """Train a network by practice in `towns` and write the checkpoint to `path`; killed, it goes on midway.

    Args:
        initial: the checkpoint to start from; its coach, if it has one, goes on.
        tensorboard: as for `train_checkpoint`.
        unseen: towns that it does not practise in, in which its losses are watched.

    Raises:
        CheckpointError: `initial` cannot be used.
        ConfigError: a package for figures is not installed.
        StorageError: the disk is full.
    """
    config = preset.practise or PractiseConfig()
    imitate = replace(preset.imitation(initial is not None), seed=seed)
    parents: list[str] = []
    coach = None
    if initial is None:
        torch.manual_seed(seed)
        network = build_network(preset.network, DEFAULT_RIG)
    else:
        network, parent = network_of(initial)
        parents.append(parent)
        kept = read_coach(initial)
        coach = None if kept is None else coach_from(kept, network)
        # A new coach's language the network would have to learn.
        config = replace(config, seeing=None, coach=None if coach is None else config.coach)
    memory = network.memory_width is not None
    batches = replace(
        preset.batches,
        batch_size=imitate.batch_size,
        memory=memory,
        sightings=tells_sightings(network.config),
    )
    content = {
        "network": config_to_dict(network.config),
        "rig": rig_to_json(network.rig),
        "practise": asdict(config),
        "imitate": asdict(imitate),
        "batches": asdict(batches),
        "towns": list(towns),
    }
    partial = _partial_state(path, parents, content, "practice")
    world = make_world(library, [*towns, *unseen])
    learns_first = config.coach is not None and bool(planners_of(network))
    before = 0.25 if learns_first else 0.05  # the share of the first drives, and of the coach and the eye
    with stage(title) as show_share, metrics_to(title, content, tensorboard) as log:
        result = practise(
            config,
            imitate,
            network,
            world,
            len(towns),
            batches,
            partial,
            _told(imitate.samples, show_share, log, before),
            lambda share: show_share(before * share),
            range(len(towns), len(towns) + len(unseen)),
            coach,
        )
    figures = _figures(result)
    told = None if result.coach is None else result.coach.state_dict()
    write_checkpoint(path, result.network.state_dict(), content, parents, seed, figures, told)
    shutil.rmtree(partial, ignore_errors=True)


def reinforce_checkpoint(
    path: Path,
    checkpoint: Path,
    towns: Sequence[str],
    library: TownLibrary,
    preset: Preset,
    seed: int,
    title: str = "reinforce",
    *,
    tensorboard: Path | None = None,
) -> dict[str, float]:
    """Let the network of a checkpoint learn by reinforcement in `towns`; write what it became to `path`; killed, it
    goes on midway.

    Returns:
        The figures of the last tenth of the rounds.

    Raises:
        CheckpointError: the checkpoint cannot be read, was altered, or does not fit its config.
        StorageError: the disk is full.
    """
    network, checkpoint_id = network_of(checkpoint)
    world = make_world(library, towns)
    quantile = preset.imitation(goes_on=True).acceleration_quantile
    config, drive = replace(preset.reinforce, seed=seed, acceleration_quantile=quantile), preset.drive
    content = {
        "network": config_to_dict(network.config),
        "rig": rig_to_json(network.rig),
        "reinforce": asdict(config),
        "towns": list(towns),
        "routes": {"route_m": drive.route_m, "scenario_share": drive.scenario_share},
    }
    partial = _partial_state(path, [checkpoint_id], content, "reinforcement.safetensors")

    def routes(number: int) -> Iterator[Route]:
        return make_routes(
            seed * 1_000 + number,
            range(len(towns)),
            10**9,
            drive.route_m,
            tuple(FAMILIES),
            drive.scenario_share,
        )

    with _watched(title, config.samples, content, tensorboard, speaks=True) as progress:
        taught = reinforce(config, network, network.rig, world, routes, progress, partial)
    figures = {"samples_seen": taught.samples, **taught.figures}
    write_checkpoint(path, taught.network.state_dict(), content, [checkpoint_id], seed, figures)
    partial.unlink(missing_ok=True)
    return taught.figures
