"""Cut Episodes into samples: thin out what repeats, weigh what is rare, say why each sample is there."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int64

from fleetloop.artifacts.dataset import (
    Samples,
    append_samples,
    concatenate_samples,
    dataset_version,
    dataset_versions,
)
from fleetloop.artifacts.episode import Driver, Episode
from fleetloop.artifacts.episode_reader import read_episode
from fleetloop.artifacts.lineage import ArtifactKind, read_artifact, version_records
from fleetloop.core.checks import check_at_least
from fleetloop.core.errors import DatasetError
from fleetloop.core.labels import Labels
from fleetloop.core.scene import SCENE_DTYPE
from fleetloop.core.types import STEP_S, Control
from fleetloop.curate.road_users import STAYS_MPS2, braked_for, closes_in, gives_way, nears_yellow

EARLIER_STEPS = 4
"""How many steps before a sample its earlier scene lies (0.4 s): the network's memory."""


@dataclass(frozen=True)
class CurateConfig:
    """How Episodes become samples."""

    stride: int = 1
    """Keep every so many steps of an Episode."""
    standing_stride: int = 10
    """Of steps at which the car stands, and stood before, keep every so many: they repeat. Where it gives way they do
    not: it stands for others each time, and without them it would go."""
    starting_weight: float = 2.0
    """Added where the demonstrator pulls away: a moment only, beside long waits that look nearly the same."""
    before_take_over_s: float = 3.0
    before_take_over_weight: float = 3.0
    """Weight of what led to a take-over: the states that the network must learn to get out of."""
    trigger_weight: float = 1.5
    """Weight of other samples that were uploaded for a trigger."""
    turning_weight: float = 1.0
    """Added for steering of 0.1 1/m, in proportion, at most twice."""
    braking_weight: float = 1.0
    """Added for braking with 2 m/s^2, in proportion, at most twice."""
    for_cyclist_weight: float = 10.0
    """Times as much where the demonstrator brakes and somebody on a bicycle is ahead: seldom, but for that the network
    would hit them (docs/adr/0012)."""
    for_pedestrian_weight: float = 4.0
    """The same for people on foot."""
    for_vehicle_weight: float = 2.0
    """The same for vehicles."""
    closing_weight: float = 4.0
    """Times as much where it closes in on somebody ahead in its lane so fast that it has to brake: next to never where
    everybody drives well, and what a network must know that does not (docs/adr/0018)."""
    gives_way_weight: float = 2.0
    """Times as much where it gives way to others, lest it go where it mostly may (docs/adr/0020)."""
    at_green_weight: float = 2.0
    """As much again where it gives way although its lamp is green: mostly there is nobody to let pass, and it goes
    (docs/adr/0019)."""
    at_yellow_weight: float = 8.0
    """Times as much near the line of a yellow lamp: two moments in a thousand, and whoever does not stop then as
    firmly as it has to comes over the line on red (docs/adr/0020)."""

    def __post_init__(self) -> None:
        check_at_least("curate", self, ("stride", "standing_stride"))


def curate(
    dataset: Path,
    episodes: Sequence[Path],
    config: CurateConfig,
    seed: int,
    progress: Callable[[float], None] | None = None,
) -> int:
    """Append the samples of `episodes` to the data set as a new version.

    Episodes that are in the data set already are passed over, so that nothing counts twice.

    Returns:
        The version; when the Episodes add nothing, the first one that has them all.

    Raises:
        EpisodeError: an Episode cannot be read; nothing is appended.
        DatasetError: there is no data set yet, and no sample to begin one.
        StorageError: the disk is full; the versions before stay as they were.
    """
    # A folder without a record is no data set yet, but what a full disk or a kill left of a first version.
    versions = dataset_versions(dataset) if version_records(dataset) else ()
    version_of = {parent: entry.version for entry in versions for parent in entry.artifact.parents}
    ids, parts = [], []
    for number, path in enumerate(episodes):
        episode_id = read_artifact(path, ArtifactKind.EPISODE).id
        if episode_id not in version_of and episode_id not in ids:
            parts.append(cut_episode(read_episode(path), episode_id, config))
        ids.append(episode_id)
        if progress is not None:
            progress((number + 1) / len(episodes))
    if any(len(samples) for samples in parts):
        parents = [id for id in dict.fromkeys(ids) if id not in version_of]
        return append_samples(dataset, concatenate_samples(parts), parents, asdict(config), seed)
    if not versions:
        raise DatasetError(f"{dataset}: the episodes hold no usable sample; drive longer")
    newest = versions[-1].version
    return max((version_of.get(id, newest) for id in ids), default=newest)


def dataset_size(dataset: Path, version: int) -> int:
    """Number of samples in a version of the data set.

    Raises:
        DatasetError: there is no such version.
    """
    return int(dataset_version(dataset, version).artifact.figures["samples"])


def cut_episode(episode: Episode, episode_id: str, config: CurateConfig) -> Samples:
    """The samples of one Episode; steps without a label or an earlier scene teach nothing."""
    usable = episode.has_scene & episode.has_teacher
    usable[:EARLIER_STEPS] = False
    chosen = np.flatnonzero(usable & _kept(episode, config))
    weight, reasons = _weigh(episode, config)
    text = np.dtype(object)
    return Samples(
        sample_id=np.array([f"{episode_id[:16]}-{index:04d}" for index in chosen], text),
        episode_id=np.array([episode_id] * len(chosen), text),
        timestamp_ns=episode.timestamp_ns[chosen],
        town=np.array([episode.metadata.town] * len(chosen), text),
        reasons=[reasons[index] for index in chosen],
        weight=weight[chosen],
        scene=episode.scenes[chosen].astype(SCENE_DTYPE),
        earlier_scene=episode.scenes[chosen - EARLIER_STEPS].astype(SCENE_DTYPE),
        ego_history=episode.ego_history[chosen],
        navigation=episode.navigation[chosen],
        time_of_day_h=episode.time_of_day_h[chosen],
        labels=episode.teacher.select(chosen),
        frames=[None] * len(chosen),
    )


def _kept(episode: Episode, config: CurateConfig) -> Bool[np.ndarray, " T"]:
    """Which steps stay after thinning."""
    number: Int64[np.ndarray, " T"] = np.arange(len(episode.timestamp_ns))
    waits = waiting(episode.ego_history, episode.teacher)
    return number % np.where(waits, config.standing_stride, config.stride) == 0


def waiting(ego_history: Float32[np.ndarray, "N 8 4"], labels: Labels) -> Bool[np.ndarray, " N"]:
    """Moments at which the car stands, stood before, and is to go on standing, but gives way to nobody: they repeat."""
    stands = (ego_history[:, -1, 0] < 0.1) & (ego_history[:, 0, 0] < 0.1)
    return stands & (labels.acceleration_mps2 <= STAYS_MPS2) & ~gives_way(labels)


def label_weight(
    labels: Labels, speed_mps: Float32[np.ndarray, " N"], scenes: np.ndarray, config: CurateConfig
) -> Float32[np.ndarray, " N"]:
    """Weight of moments for what the demonstrator does in them, and for whom; `scenes` are their records."""
    weight = np.ones(len(speed_mps), np.float32)
    weight += config.turning_weight * np.minimum(np.abs(labels.curvature_1pm) / 0.1, 2.0)
    weight += config.braking_weight * np.clip(-labels.acceleration_mps2 / 2.0, 0.0, 2.0)
    weight += config.starting_weight * ((speed_mps < 1.0) & (labels.acceleration_mps2 > 0.5))
    factors = (1.0, config.for_cyclist_weight, config.for_pedestrian_weight, config.for_vehicle_weight)
    weight *= np.array(factors, np.float32)[braked_for(labels.acceleration_mps2, speed_mps, scenes)]
    weight[closes_in(labels, speed_mps)] *= config.closing_weight
    lets_pass = gives_way(labels)
    weight[lets_pass] *= config.gives_way_weight
    # At green, or past the line: nobody gives way at a red or yellow lamp.
    weight[lets_pass & (labels.junction_control == Control.SIGNAL)] *= config.at_green_weight
    weight[nears_yellow(labels)] *= config.at_yellow_weight
    return weight


def _weigh(episode: Episode, config: CurateConfig) -> tuple[Float32[np.ndarray, " T"], list[tuple[str, ...]]]:
    """Weight of every step, and the names of why it is there."""
    weight = label_weight(episode.teacher, episode.speed_mps, episode.scenes, config)
    if not episode.metadata.triggers:
        return weight, [("demonstration",)] * len(weight)
    early = _before_take_over(episode, config)
    weight *= np.where(early, config.before_take_over_weight, config.trigger_weight)
    names = tuple(sorted({*episode.metadata.triggers, *(event.kind for event in episode.events)}))
    return weight, [(*names, "before_take_over") if is_early else names for is_early in early]


def _before_take_over(episode: Episode, config: CurateConfig) -> Bool[np.ndarray, " T"]:
    """Steps that led to a take-over, up to the one in which it began."""
    early = np.zeros(len(episode.timestamp_ns), bool)
    taken = episode.driver == Driver.SAFETY_DRIVER
    for start in np.flatnonzero(taken[1:] & ~taken[:-1]) + 1:
        early[max(start - round(config.before_take_over_s / STEP_S), 0) : start + 1] = True
    return early
