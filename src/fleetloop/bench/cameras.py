"""Camera frames per second: pictures of the full scene, drawn on all cores."""

import statistics
from dataclasses import dataclass
from functools import partial

import numpy as np

from fleetloop.bench.measure import REPEATS, Measurement, median_of, readable, time_repeats
from fleetloop.core.types import Scene, World
from fleetloop.sim.cameras import (
    Appearance,
    Weather,
    appearance_of,
    appearances,
    equal_rig,
    image_shapes,
    render,
)
from fleetloop.sim.cameras.samples import benchmark_scene

_MOMENTS = 8
"""Different scenes of each world, in turn, so that the ground in view does not simply stay in the cache."""

_WEATHERS = (Weather.NIGHT, Weather.RAIN, Weather.NIGHT_RAIN)
"""Measured by themselves as well: lamps and drops cost the most, and are rare in the mixture."""


@dataclass(frozen=True)
class CamerasSize:
    """How much is drawn."""

    width: int = 96
    height: int = 64
    worlds: int = 64
    renders: int = 64
    """Of all cameras of all worlds, in a repeat."""
    repeats: int = REPEATS
    weather_repeats: int = 3
    """Of each weather that is measured by itself."""


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

    def work(appearance: Appearance = looks) -> None:
        for number in range(size.renders):
            render(world, rig, moments[number % _MOMENTS], appearance, images)

    seconds = time_repeats(name, work, size.repeats)
    frames = size.renders * size.worlds * len(rig.cameras)
    by_weather = {}
    for weather in _WEATHERS:
        uniform = appearance_of(weather, size.worlds)
        taken = time_repeats(f"{name}: {weather}", partial(work, uniform), size.weather_repeats)
        by_weather[str(weather)] = frames / statistics.median(taken)
    told = ", ".join(f"{weather} alone {readable(rate)}" for weather, rate in by_weather.items())
    batch = f"{size.worlds} worlds x {len(rig.cameras)} cameras"
    return median_of(
        name,
        [frames / taken for taken in seconds],
        "camera frames/s",
        f"{size.width}x{size.height}, {batch}, full scene, all cores; {told}",
        width=size.width,
        height=size.height,
        worlds=size.worlds,
        cameras=len(rig.cameras),
        frames_per_repeat=frames,
        by_weather=by_weather,
    )
