"""How a scene is lit and coloured: surfaces, sky, sun, haze, paint and the camera's exposure and noise."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt64
from numba import njit

from fleetloop.core.random import Stream, uniform
from fleetloop.core.types import Surface

_STREAM = int(Stream.APPEARANCE)


class Appearance(NamedTuple):
    """One row for each scene of a batch B. Colours are RGB from 0 to 255 in full light; light is a factor.

    A face with unit normal n has its colour times (ambient + sun * max(n . sun_direction, 0)) times exposure;
    the ground is a face that looks up. Lit lamps are not shaded.
    """

    surfaces: Float32[np.ndarray, "B surfaces 3"]
    """Colour of the ground by Surface."""
    paint: Float32[np.ndarray, "B colours 3"]
    """Colours of road users: agent_colour modulo the number of colours."""
    static_tint: Float32[np.ndarray, "B 3"]
    """Factor on the colours of static boxes."""
    ambient: Float32[np.ndarray, "B 3"]
    sun: Float32[np.ndarray, "B 3"]
    sun_direction: Float32[np.ndarray, "B 3"]
    """Unit vector towards the sun in the town's frame."""
    sky_horizon: Float32[np.ndarray, "B 3"]
    """Also the colour of haze."""
    sky_zenith: Float32[np.ndarray, "B 3"]
    fog_start_m: Float32[np.ndarray, " B"]
    fog_end_m: Float32[np.ndarray, " B"]
    """Haze grows linearly with depth between the two; beyond, only haze is left."""
    exposure: Float32[np.ndarray, " B"]
    """Factor on everything but lit lamps, which saturate."""
    noise: Float32[np.ndarray, " B"]
    """Standard deviation of the sensor's noise in grey levels; the noise is keyed by noise_seed and time."""
    noise_seed: UInt64[np.ndarray, " B"]


_SURFACES = {
    Surface.GRASS: (92, 124, 62),
    Surface.ASPHALT: (86, 86, 90),
    Surface.WHITE_LINE: (236, 236, 230),
    Surface.YELLOW_LINE: (236, 190, 46),
    Surface.SIDEWALK: (158, 150, 142),
    Surface.CROSSING: (238, 238, 234),
    Surface.STOP_LINE: (240, 240, 236),
    Surface.CURB: (196, 192, 184),
    Surface.PARKING: (108, 100, 104),
    Surface.BUS_LANE: (138, 70, 60),
    Surface.JUNCTION: (94, 93, 94),
}
_NOMINAL_SURFACES = np.array([_SURFACES[surface] for surface in Surface], np.float64)

# About what is on the road: white, black, greys, silver, blues, reds; then the rarer ones.
_NOMINAL_PAINT = np.array(
    [
        (232, 232, 230),
        (48, 48, 54),
        (120, 122, 126),
        (176, 180, 184),
        (36, 66, 140),
        (164, 30, 32),
        (70, 74, 80),
        (60, 110, 170),
        (34, 92, 58),
        (200, 176, 128),
        (226, 120, 30),
        (230, 200, 50),
    ],
    np.float64,
)

_CLEAR_AMBIENT, _CLEAR_SUN = np.array([0.52, 0.55, 0.60]), np.array([0.68, 0.64, 0.56])
_CLEAR_HORIZON, _CLEAR_ZENITH = np.array([206.0, 218.0, 230.0]), np.array([96.0, 148.0, 214.0])
_OVERCAST_AMBIENT, _OVERCAST_SKY = np.array([0.84, 0.85, 0.87]), np.array([186.0, 190.0, 196.0])
_DUSK_AMBIENT, _DUSK_SUN = np.array([0.30, 0.30, 0.36]), np.array([0.42, 0.27, 0.14])
_DUSK_HORIZON, _DUSK_ZENITH = np.array([196.0, 130.0, 92.0]), np.array([40.0, 52.0, 96.0])
_CLEAR_ELEVATION_RAD, _CLEAR_AZIMUTH_RAD = np.radians(48.0), np.radians(35.0)
_CLEAR_FOG_M, _DENSE_FOG_M = np.array([90.0, 420.0]), np.array([4.0, 55.0])
_STRONGEST_NOISE = 7.0


@njit(cache=True)
def _uniforms(seeds, count):
    """Independent uniforms in [0, 1), shape [seeds, count]; a row depends on its own seed alone."""
    drawn = np.empty((len(seeds), count))
    for row in range(len(seeds)):
        for index in range(count):
            drawn[row, index] = uniform(seeds[row], 0, 0, _STREAM, index)
    return drawn


def _mix(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """From `first` (share 0) to `second` (share 1); `share` has shape [B]."""
    return first + share[:, None] * (second - first)


def appearances(seeds: UInt64[np.ndarray, " B"], variety: float) -> Appearance:
    """One appearance for each seed, always the same for the same seed and variety.

    `variety` goes from 0 (every row is the nominal clear day) to 1 (any sun position, overcast, dusk, fog,
    faded or bright surfaces and paint, wrong exposure, a noisy sensor).

    Raises:
        ValueError: variety is outside [0, 1].
    """
    if not 0.0 <= variety <= 1.0:
        raise ValueError(f"variety must be between 0 and 1, got {variety}")
    seeds = np.ascontiguousarray(seeds, np.uint64)
    colours = len(_NOMINAL_SURFACES) + len(_NOMINAL_PAINT)
    drawn = _uniforms(seeds, 11 + 4 * colours)
    overcast = variety * drawn[:, 0]
    dusk = variety * np.clip(3.0 * drawn[:, 1] - 2.0, 0.0, 1.0)
    fog = variety * np.clip(3.0 * drawn[:, 2] - 2.0, 0.0, 1.0)
    azimuth = _CLEAR_AZIMUTH_RAD + variety * 2.0 * np.pi * drawn[:, 3]
    elevation = _CLEAR_ELEVATION_RAD * (1.0 + variety * 0.7 * (drawn[:, 4] - 0.5)) * (1.0 - 0.85 * dusk)
    jitter = 2.0 * drawn[:, 11:].reshape(len(seeds), colours, 4) - 1.0
    factors = (1.0 + 0.22 * variety * jitter[..., :1]) * (1.0 + 0.07 * variety * jitter[..., 1:])
    listed = np.clip(np.concatenate([_NOMINAL_SURFACES, _NOMINAL_PAINT]) * factors, 0.0, 255.0)

    ambient = _mix(_mix(_CLEAR_AMBIENT, _OVERCAST_AMBIENT, overcast), _DUSK_AMBIENT, dusk)
    sun = _mix(
        _mix(_CLEAR_SUN, 0.1 * _CLEAR_SUN, overcast), _DUSK_SUN * (1.0 - 0.9 * overcast[:, None]), dusk
    )
    grey = _mix(_OVERCAST_SKY, 0.45 * _OVERCAST_SKY, dusk)
    horizon = _mix(_mix(_CLEAR_HORIZON, _DUSK_HORIZON, dusk), grey, np.maximum(overcast, fog))
    zenith = _mix(_mix(_CLEAR_ZENITH, _DUSK_ZENITH, dusk), grey, np.maximum(overcast, fog))
    range_m = np.exp(_mix(np.log(_CLEAR_FOG_M), np.log(_DENSE_FOG_M), fog))
    direction = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    arrays = {
        "surfaces": listed[:, : len(_NOMINAL_SURFACES)],
        "paint": listed[:, len(_NOMINAL_SURFACES) :],
        "static_tint": 1.0 + 0.2 * variety * (2.0 * drawn[:, 5:8] - 1.0),
        "ambient": ambient,
        "sun": sun,
        "sun_direction": np.stack(direction, axis=-1),
        "sky_horizon": horizon,
        "sky_zenith": zenith,
        "fog_start_m": range_m[:, 0],
        "fog_end_m": range_m[:, 1],
        "exposure": np.exp(0.35 * variety * (2.0 * drawn[:, 8] - 1.0)),
        "noise": variety * _STRONGEST_NOISE * drawn[:, 9] ** 2,
    }
    contiguous = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
    return Appearance(noise_seed=seeds.copy(), **contiguous)
