"""Samples -> batches: drawn by weight, scenes rendered anew each time, a batch or two ahead of training."""

import io
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
from jaxtyping import Bool, Float, Float16, Float32, Float64, Int32, Int64, Shaped, UInt8
from PIL import Image

from fleetloop.artifacts.dataset import Frames, Samples
from fleetloop.core.errors import DatasetError
from fleetloop.core.labels import Labels, empty_labels
from fleetloop.core.random import Stream, generator
from fleetloop.core.scene import SCENE_DTYPE, unpack_scenes
from fleetloop.core.types import (
    HISTORY_STEPS,
    HISTORY_VALUES,
    NAVIGATION_VALUES,
    CameraRig,
    Observation,
    World,
)
from fleetloop.policy.encoder import FIRST_CENTRE_PX, STRIDE, cell_count
from fleetloop.sim.birds_eye import birds_eye
from fleetloop.sim.cameras import appearances, render, varied_rig
from fleetloop.sim.privileged_view import PRIVILEGED_FIELDS
from fleetloop.sim.sightings import sightings
from fleetloop.train.batch import BIRDS_EYE_UNKNOWN, Batch
from fleetloop.train.camera_faults import add_camera_faults
from fleetloop.train.coach import Coach
from fleetloop.train.mirror import mirrored_batch
from fleetloop.train.processes import ALONE, Processes

_AHEAD = 2


@dataclass(frozen=True)
class BatchConfig:
    """How samples become batches."""

    batch_size: int = 128
    variety: float = 0.7
    """Of weather, light and colours, from 0 (always the same clear day) to 1."""
    rig_variety: float = 0.5
    """Of where the cameras are and look: each batch is seen by a rig of its own (`varied_rig`)."""
    exposure_variety: float = 0.15
    """Each camera of a sample is brighter or darker than the scene's exposure says by up to this share."""
    frame_noise: float = 5.0
    """Strongest noise put on recorded frames, in grey levels; rendered ones have theirs (`appearances`)."""
    camera_dropout: float = 0.02
    """Probability that a camera is black in a sample."""
    memory_dropout: float = 0.05
    """Probability that a sample has no memory, as at the start of a drive."""
    memory: bool = True
    """Whether the network wants the earlier forward images."""
    sightings: bool = False
    """Whether the network tells who is in each cell of the pictures."""
    threads: int = 1
    """Threads that draw: on two cores, one that draws and one that trains beat two that take turns."""


class Moments(NamedTuple):
    """What batches are made of: N moments in simulated towns, with the demonstrator's answers; fields as in Samples."""

    town: Int32[np.ndarray, " N"]
    """Its index in the World."""
    scene: Shaped[np.ndarray, " N"]
    earlier_scene: Shaped[np.ndarray, " N"]
    ego_history: Float32[np.ndarray, "N 8 4"]
    navigation: Float32[np.ndarray, "N 10"]
    time_of_day_h: Float32[np.ndarray, " N"]
    labels: Labels
    weight: Float32[np.ndarray, " N"]
    privileged: Float16[np.ndarray, "N fields"]
    """Rows of `privileged_view` for the coach; not finite where they were not kept."""

    def select(self, rows: Int64[np.ndarray, " M"] | Bool[np.ndarray, " N"] | slice) -> "Moments":
        """The moments at `rows`."""
        parts = self._asdict().items()
        return Moments(
            **{name: part.select(rows) if name == "labels" else part[rows] for name, part in parts}
        )


def empty_moments(count: int) -> Moments:
    """Moments to be filled."""
    return Moments(
        town=np.zeros(count, np.int32),
        scene=np.zeros(count, SCENE_DTYPE),
        earlier_scene=np.zeros(count, SCENE_DTYPE),
        ego_history=np.zeros((count, HISTORY_STEPS, HISTORY_VALUES), np.float32),
        navigation=np.zeros((count, NAVIGATION_VALUES), np.float32),
        time_of_day_h=np.zeros(count, np.float32),
        labels=empty_labels(count),
        weight=np.zeros(count, np.float32),
        privileged=np.zeros((count, PRIVILEGED_FIELDS), np.float16),
    )


def sample_batches(
    samples: Samples,
    world: World,
    towns: Sequence[str],
    rig: CameraRig,
    config: BatchConfig,
    seed: int,
    start_batch: int = 0,
    processes: Processes = ALONE,
    mirrored: Bool[np.ndarray, " N"] | None = None,
) -> Iterator[Batch]:
    """Endless batches from number `start_batch` on; batch number i is the same whenever it is asked for.

    `towns` are the keys of the towns in `world`, in its order. A sample is drawn in proportion to its weight;
    having been drawn by it, each counts the same in the loss. Those that are `mirrored` are seen in a mirror
    (`mirrored_batch`), in batches of their own. Of several processes each makes its own rows of the same batch.
    Batches are made in a thread of their own while the caller trains; closing the iterator ends it.

    Raises:
        DatasetError: there are no samples, a weight is not usable, a town is not in the world, or a frame is
            broken or of another rig.
        ConfigError: the batch cannot be shared out evenly among the processes.
    """
    rows = processes.rows(config.batch_size)
    moments = _moments_of(samples, towns)
    source = BatchSource(moments, world, rig, config, seed, samples.frames, rows, mirrored)
    return batches_ahead(source.batch, start_batch, config.threads)


def _moments_of(samples: Samples, towns: Sequence[str]) -> Moments:
    """Samples with their towns as indices into `towns`."""
    index = {town: number for number, town in enumerate(towns)}
    framed = np.array([frames is not None for frames in samples.frames], bool)
    missing = sorted({str(town) for town in np.unique(samples.town[~framed])} - set(index))
    if missing:
        raise DatasetError(f"data set: town {missing[0]} is not among the towns loaded; load it as well")
    # A sample with frames needs no town; what is rendered in its place is overwritten.
    town = np.array([index.get(str(town), 0) for town in samples.town], np.int32)
    kept = {name: getattr(samples, name) for name in Moments._fields if hasattr(samples, name)}
    unknown = np.full((len(samples), PRIVILEGED_FIELDS), np.nan, np.float16)
    return empty_moments(0)._replace(**{**kept, "town": town, "privileged": unknown})


class BatchSource:
    """Makes the batch of a given number; arguments as in `sample_batches`."""

    def __init__(
        self,
        moments: Moments,
        world: World,
        rig: CameraRig,
        config: BatchConfig,
        seed: int,
        frames: Sequence[Frames | None] | None = None,
        rows: slice = slice(None),
        mirrored: Bool[np.ndarray, " N"] | None = None,
        coach: Coach | None = None,
    ) -> None:
        count = len(moments.town)
        if count == 0:
            raise DatasetError("data set: it has no samples; record and curate some drives first")
        weight = np.asarray(moments.weight, np.float64)
        if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.sum() > 0):
            raise DatasetError(
                "data set: column weight must be finite, not negative and not all zero; curate again"
            )
        self._mirrored_share = 0.0
        self._cumulative = {False: np.cumsum(weight) / weight.sum()}
        if mirrored is not None and mirrored.any():
            self._mirrored_share = float(weight[mirrored].sum() / weight.sum())
            for kind in (False, True):
                cumulative = np.cumsum(weight * (mirrored == kind))
                self._cumulative[kind] = cumulative / max(cumulative[-1], 1e-300)
        self._frames: Sequence[Frames | None] = () if frames is None else frames
        # Practice makes a source of hundreds of thousands of moments every second: none of them is looked at alone.
        self._framed = np.zeros(count, bool)
        if frames is not None:
            self._framed[:] = [pictures is not None for pictures in frames]
        self._moments, self._world, self._rig, self._config, self._seed = moments, world, rig, config, seed
        self._rows, self._coach = rows, coach

    def batch(self, number: int) -> Batch:
        """The rows of batch `number` that are asked for; chance is drawn for all, so that rows do not depend on it."""
        random = generator(self._seed, Stream.SAMPLE, number)
        size, rows = self._config.batch_size, self._rows
        # All of a batch are seen by one rig, so a batch is mirrored as a whole.
        is_mirrored = self._mirrored_share > 0.0 and random.random() < self._mirrored_share
        cumulative = self._cumulative[is_mirrored]
        chosen = draw_by_weight(cumulative, random, size)
        look = random.integers(0, 2**63, size, dtype=np.uint64)
        rig = self._rig
        if not self._framed[chosen].any():  # recorded pictures were taken by the rig as it is
            rig = varied_rig(rig, random, self._config.rig_variety)
        exposure = [self._exposures(random, len(group)) for group in rig.groups]
        noise = self._config.frame_noise * random.random(size) ** 2 * self._framed[chosen]
        lost = [random.random((size, len(group))) < self._config.camera_dropout for group in rig.groups]
        remembers = random.random(size) >= self._config.memory_dropout
        chosen, look, remembers, noise = chosen[rows], look[rows], remembers[rows], noise[rows]
        moments = self._moments.select(chosen)
        scene = unpack_scenes(moments.scene, moments.town)
        looks = appearances(look, self._config.variety, moments.time_of_day_h)
        images = render(self._world, rig, scene, looks)
        earlier_images = None
        if self._config.memory:
            # The same look now and 0.4 s ago, so that only what moved differs.
            earlier_scene = unpack_scenes(moments.earlier_scene, moments.town)
            earlier_images = render(self._world, CameraRig(rig.groups[:1]), earlier_scene, looks)[0]
        for row in np.flatnonzero(self._framed[chosen]):
            self._decode(int(chosen[row]), [image for group in images for image in group[row]])
        for group, of_group, is_lost in zip(images, exposure, lost, strict=True):
            levels = np.repeat(noise[:, None], group.shape[1], axis=1)
            add_camera_faults(group, of_group[rows], levels, look)
            group[is_lost[rows]] = 0
        if earlier_images is not None:
            add_camera_faults(earlier_images, exposure[0][rows], np.zeros_like(exposure[0][rows]), look)
            # A camera that is lost stays lost: but for the first 0.4 s of it nothing else is remembered.
            earlier_images[lost[0][rows]] = 0
        remembered = _has_past(moments) & ~self._framed[chosen] & remembers
        surroundings = birds_eye(self._world, scene)
        surroundings[self._framed[chosen]] = BIRDS_EYE_UNKNOWN
        seen = None
        if self._config.sightings:
            seen = sightings(self._world, rig, scene, STRIDE, FIRST_CENTRE_PX)
            cells = [cell_count(camera) for camera in rig.cameras]
            seen[np.repeat(np.concatenate(lost, axis=1)[rows], cells, axis=1)] = np.nan
            seen[self._framed[chosen]] = np.nan
        batch = Batch(
            observation=Observation(
                images=images,
                ego_history=moments.ego_history,
                navigation=moments.navigation,
                time_of_day_h=moments.time_of_day_h,
            ),
            rig=rig,
            earlier_images=earlier_images,
            earlier_valid=remembered,
            labels=moments.labels,
            birds_eye=surroundings,
            weight=np.ones(len(chosen), np.float32),
            situation=None if self._coach is None else self._coach.situations_of(moments),
            sightings=seen,
        )
        return mirrored_batch(batch) if is_mirrored else batch

    def _exposures(self, random: np.random.Generator, cameras: int) -> Float[np.ndarray, "B cameras"]:
        """How much brighter each camera of a batch makes its pictures; a factor."""
        drawn = 2.0 * random.random((self._config.batch_size, cameras)) - 1.0
        return (1.0 + self._config.exposure_variety) ** drawn

    def _decode(self, index: int, images: Sequence[UInt8[np.ndarray, "height width 3"]]) -> None:
        """Put the recorded pictures of sample `index` in place of the rendered ones."""
        frames = self._frames[index] or ()
        if len(frames) != len(images):
            raise DatasetError(
                f"data set: sample {index} has {len(frames)} frames, the rig "
                f"{len(images)} cameras; record it with this rig"
            )
        for frame, image in zip(frames, images, strict=True):
            height, width, _ = image.shape
            try:
                picture = Image.open(io.BytesIO(frame), formats=("JPEG",))
                image[:] = np.asarray(picture.convert("RGB").resize((width, height)))
            except (OSError, SyntaxError, Image.DecompressionBombError) as error:
                raise DatasetError(
                    f"data set: a frame of sample {index} is not a JPEG picture; curate again"
                ) from error


def draw_by_weight(
    cumulative: Float64[np.ndarray, " N"], random: np.random.Generator, size: int
) -> Int64[np.ndarray, " size"]:
    """Rows drawn in proportion to their weight, given the cumulative share of each.

    Evenly spaced draws: each comes up as often as its weight says.
    """
    draws = (random.permutation(size) + random.random(size)) / size
    return np.minimum(np.searchsorted(cumulative, draws, side="right"), len(cumulative) - 1)


def _has_past(moments: Moments) -> Bool[np.ndarray, " B"]:
    """Whether the earlier scene was recorded: a record of zeros says that it was not."""
    records = moments.earlier_scene
    return (records["clock_s"] != 0.0) | (records["ego_pose"] != 0.0).any(axis=1)


def batches_ahead(make: Callable[[int], Batch], first: int, threads: int) -> Iterator[Batch]:
    """Batches `first`, first + 1, ... made by a thread that stays at most _AHEAD batches ahead."""
    ready: queue.Queue[Batch | BaseException] = queue.Queue(_AHEAD)
    stop = threading.Event()

    def put(item: Batch | BaseException) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        number = first
        numba.set_num_threads(min(threads, numba.get_num_threads()))  # holds for this thread alone
        try:
            while not stop.is_set():
                put(make(number))
                number += 1
        except BaseException as error:  # handed to the caller's thread
            put(error)

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
