"""Samples -> batches: drawn by weight, scenes rendered anew each time, a batch or two ahead of training."""

import io
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Bool, Int64, UInt8, UInt64
from PIL import Image

from fleetloop.artifacts.dataset import Samples
from fleetloop.core.errors import DatasetError
from fleetloop.core.random import Stream, generator
from fleetloop.core.scene import unpack_scenes
from fleetloop.core.types import CameraRig, Observation, World
from fleetloop.sim.cameras import appearances, render, varied_rig
from fleetloop.train.imitate import Batch

_AHEAD = 2


@dataclass(frozen=True)
class BatchConfig:
    """How samples become batches."""

    batch_size: int = 128
    variety: float = 0.7
    """Of weather, light and colours, from 0 (always the same clear day) to 1."""
    rig_variety: float = 0.5
    """Of where the cameras are and look: each batch is seen by a rig of its own (`varied_rig`)."""
    camera_dropout: float = 0.02
    """Probability that a camera is black in a sample."""
    memory_dropout: float = 0.05
    """Probability that a sample has no memory, as at the start of a drive."""
    memory: bool = True
    """Whether the network wants the earlier forward images."""
    threads: int = 1
    """Threads that draw: on two cores, one that draws and one that trains beat two that take turns."""


def sample_batches(
    samples: Samples,
    world: World,
    towns: Sequence[str],
    rig: CameraRig,
    config: BatchConfig,
    seed: int,
    start_batch: int = 0,
) -> Iterator[Batch]:
    """Endless batches from number `start_batch` on; batch number i is the same whenever it is asked for.

    `towns` are the keys of the towns in `world`, in its order. A sample is drawn in proportion to its weight;
    having been drawn by it, each counts the same in the loss. Batches are made in a thread of their own while
    the caller trains; closing the iterator ends it.

    Raises:
        DatasetError: there are no samples, a weight is not usable, a town is not in the world, or a frame is
            broken or of another rig.
    """
    source = _BatchSource(samples, world, towns, rig, config, seed)
    return _ahead(source.batch, start_batch, config.threads)


class _BatchSource:
    """Makes the batch of a given number."""

    def __init__(
        self,
        samples: Samples,
        world: World,
        towns: Sequence[str],
        rig: CameraRig,
        config: BatchConfig,
        seed: int,
    ) -> None:
        if len(samples) == 0:
            raise DatasetError("data set: it has no samples; record and curate some drives first")
        weight = np.asarray(samples.weight, np.float64)
        if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.sum() > 0):
            raise DatasetError(
                "data set: column weight must be finite, not negative and not all zero; curate again"
            )
        self._cumulative = np.cumsum(weight) / weight.sum()
        index = {town: number for number, town in enumerate(towns)}
        self._framed = np.array([frames is not None for frames in samples.frames], bool)
        rendered = samples.town[~self._framed]
        missing = sorted({str(town) for town in np.unique(rendered)} - set(index))
        if missing:
            raise DatasetError(f"data set: town {missing[0]} is not among the towns loaded; load it as well")
        # A sample with frames needs no town; what is rendered in its place is overwritten.
        self._town = np.array([index.get(str(town), 0) for town in samples.town], np.int32)
        self._samples, self._world, self._rig, self._config, self._seed = samples, world, rig, config, seed

    def batch(self, number: int) -> Batch:
        """Batch `number`."""
        random = generator(self._seed, Stream.SAMPLE, number)
        size = self._config.batch_size
        # Evenly spaced draws with one common offset: each sample comes up as often as its weight says.
        draws = (random.permutation(size) + random.random(size)) / size
        chosen = np.minimum(np.searchsorted(self._cumulative, draws, side="right"), len(self._samples) - 1)
        look = random.integers(0, 2**63, size, dtype=np.uint64)
        rig = self._rig
        if not self._framed[chosen].any():  # recorded pictures were taken by the rig as it is
            rig = varied_rig(rig, random, self._config.rig_variety)
        images = self._images(chosen, self._samples.scene, rig, look)
        earlier_images = None
        if self._config.memory:
            forward = CameraRig(rig.groups[:1])
            earlier_images = self._images(chosen, self._samples.earlier_scene, forward, look)[0]
        for row in np.flatnonzero(self._framed[chosen]):
            self._decode(int(chosen[row]), [image for group in images for image in group[row]])
        for group in images:
            group[random.random(group.shape[:2]) < self._config.camera_dropout] = 0
        samples = self._samples
        return Batch(
            observation=Observation(
                images=images,
                ego_history=samples.ego_history[chosen],
                navigation=samples.navigation[chosen],
                time_of_day_h=samples.time_of_day_h[chosen],
            ),
            rig=rig,
            earlier_images=earlier_images,
            earlier_valid=self._has_past(chosen) & (random.random(size) >= self._config.memory_dropout),
            curvature_1pm=samples.label_curvature_1pm[chosen],
            acceleration_mps2=samples.label_acceleration_mps2[chosen],
            poses_in_ego=samples.label_poses[chosen],
            signal_colour=samples.signal_colour[chosen],
            stop_line_m=samples.stop_line_m[chosen],
            lead_gap_m=samples.lead_gap_m[chosen],
            lead_speed_mps=samples.lead_speed_mps[chosen],
            weight=np.ones(size, np.float32),
        )

    def _has_past(self, chosen: Int64[np.ndarray, " B"]) -> Bool[np.ndarray, " B"]:
        """Whether the earlier scene was recorded: a record of zeros says that it was not."""
        clock_s = self._samples.earlier_scene["clock_s"][chosen]
        pose = self._samples.earlier_scene["ego_pose"][chosen]
        return ((clock_s != 0.0) | (pose != 0.0).any(axis=1)) & ~self._framed[chosen]

    def _decode(self, index: int, images: Sequence[UInt8[np.ndarray, "height width 3"]]) -> None:
        """Put the recorded pictures of sample `index` in place of the rendered ones."""
        frames = self._samples.frames[index] or ()
        if len(frames) != len(images):
            raise DatasetError(
                f"data set: sample {self._samples.sample_id[index]} has {len(frames)} frames, the rig "
                f"{len(images)} cameras; record it with this rig"
            )
        for frame, image in zip(frames, images, strict=True):
            height, width, _ = image.shape
            try:
                image[:] = np.asarray(Image.open(io.BytesIO(frame)).convert("RGB").resize((width, height)))
            except OSError as error:
                raise DatasetError(
                    f"data set: a frame of sample {self._samples.sample_id[index]} is not a picture; "
                    "curate again"
                ) from error

    def _images(
        self,
        chosen: Int64[np.ndarray, " B"],
        records: np.ndarray,
        rig: CameraRig,
        look: UInt64[np.ndarray, " B"],
    ) -> tuple[UInt8[np.ndarray, "B cameras height width 3"], ...]:
        """Pictures of the scenes: the same look now and 0.4 s ago, so that only what moved differs."""
        scene = unpack_scenes(records[chosen], self._town[chosen])
        hours = self._samples.time_of_day_h[chosen]
        return render(self._world, rig, scene, appearances(look, self._config.variety, hours))


def _ahead(make: Callable[[int], Batch], first: int, threads: int) -> Iterator[Batch]:
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
