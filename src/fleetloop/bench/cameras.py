"""Camera frames per second: pictures of the full scene, drawn on all cores."""

from dataclasses import dataclass

import numpy as np

from fleetloop.bench.measure import REPEATS, Measurement, median_of, time_repeats
from fleetloop.core.types import Scene, World
from fleetloop.sim.cameras import appearances, equal_rig, image_shapes, render
from fleetloop.sim.cameras.samples import benchmark_scene

_MOMENTS = 8
"""Different scenes of each world, in turn, so that the ground in view does not simply stay in the cache."""


@dataclass(frozen=True)
class CamerasSize:
    """How much is drawn."""

    width: int = 96
    height: int = 64
    worlds: int = 64
    renders: int = 64
    """Of all cameras of all worlds, in a repeat."""
    repeats: int = REPEATS


def dense_moments(world: World, worlds: int) -> list[Scene]:
    """Several scenes of dense traffic for each of a batch of worlds."""
    scenes = benchmark_scene(world, worlds * _MOMENTS)
    return [
        Scene(*(array[first : first + worlds] for array in scenes))
        for first in range(0, worlds * _MOMENTS, worlds)
    ]


def measure_cameras(name: str, world: World, size: CamerasSize) -> Measurement:
    """Frames of eight equal cameras in dense traffic, weather and light of full variety."""
    rig = equal_rig(size.width, size.height)
    moments = dense_moments(world, size.worlds)
    looks = appearances(np.arange(size.worlds, dtype=np.uint64), 1.0)
    images = tuple(np.empty(shape, np.uint8) for shape in image_shapes(rig, size.worlds))

    def work() -> None:
        for number in range(size.renders):
            render(world, rig, moments[number % _MOMENTS], looks, images)

    seconds = time_repeats(name, work, size.repeats)
    frames = size.renders * size.worlds * len(rig.cameras)
    batch = f"{size.worlds} worlds x {len(rig.cameras)} cameras"
    return median_of(
        name,
        [frames / taken for taken in seconds],
        "camera frames/s",
        f"{size.width}x{size.height}, {batch}, full scene, all cores",
        width=size.width,
        height=size.height,
        worlds=size.worlds,
        cameras=len(rig.cameras),
        frames_per_repeat=frames,
    )
