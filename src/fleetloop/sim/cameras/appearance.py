"""How a scene is lit and coloured: weather, hour, surfaces, sky, sun, haze, paint, and the camera's own faults."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, UInt64
from numba import njit

from fleetloop.core.random import Stream, uniform
from fleetloop.core.types import Surface
from fleetloop.sim.daytime import NOON_H, sun_height

_STREAM = int(Stream.APPEARANCE)


class Appearance(NamedTuple):
    """One row for each scene of a batch B. Colours are RGB from 0 to 255 in full light; light is a factor.

    A face with unit normal n has its colour times (ambient + sun * max(n . sun_direction, 0)) times exposure;
    the ground is a face that looks up. Lit lamps are not shaded. In the dark the light of lamps is added to
    that of the sun; by day they are not computed.
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
    darkness: Float32[np.ndarray, " B"]
    """0 by day, 1 in the night. From `gather.LIT_FROM` on lamps burn, from `gather.LAMPS_FROM` on they light
    what is near them, windows are lit, and head lights shine ahead. It does not dim anything by itself."""
    wetness: Float32[np.ndarray, " B"]
    """Of the ground, 0 to 1: it is darker and mirrors the sky and, in the dark, the lamps."""
    rain: Float32[np.ndarray, " B"]
    """0 to 1: falling drops as streaks, and drops on the camera's glass."""
    glare: Float32[np.ndarray, " B"]
    """Halo around lit lamps in the dark, 0 (none) to 1."""
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
_NIGHT_AMBIENT, _NIGHT_SUN = np.array([0.085, 0.09, 0.115]), np.array([0.035, 0.04, 0.055])
_NIGHT_HORIZON, _NIGHT_ZENITH = np.array([30.0, 31.0, 40.0]), np.array([7.0, 9.0, 18.0])
_MOON_ELEVATION_RAD = np.radians(40.0)
_RAIN_DARKER = 0.3
_RAIN_FOG_M = np.array([20.0, 190.0])
_DUSK_DARKNESS = 0.6
"""Dusk is not dark enough for lamps to light the road: they only burn."""
_RAIN_SHARE = 0.1
"""Of all rows at full variety."""
_LOW_SUN, _NO_SUN, _DARK, _LOWEST_SUN = 0.25, -0.05, -0.18, 0.2
"""Heights of the sun (daytime.sun_height): where dusk begins, where night does, where it is as dark as it gets (civil
twilight ends 6 degrees below the horizon, nautical at 12); and the lowest that shadows follow."""


class Weather(StrEnum):
    """Weathers and hours with a name."""

    CLEAR = "clear"
    OVERCAST = "overcast"
    DUSK = "dusk"
    NIGHT = "night"
    RAIN = "rain"
    FOG = "fog"
    NIGHT_RAIN = "night_rain"
    NIGHT_FOG = "night_fog"


@dataclass(frozen=True)
class _Conditions:
    """Weather and hour of a batch B, each a share from 0 to 1 unless it says otherwise."""

    overcast: Float[np.ndarray, " B"]
    dusk: Float[np.ndarray, " B"]
    night: Float[np.ndarray, " B"]
    fog: Float[np.ndarray, " B"]
    rain: Float[np.ndarray, " B"]
    azimuth_rad: Float[np.ndarray, " B"]
    elevation_rad: Float[np.ndarray, " B"]


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


def _sky_and_light(conditions: _Conditions) -> dict[str, np.ndarray]:
    """The fields of an Appearance that follow from weather and hour."""
    dusk, night, fog, rain = conditions.dusk, conditions.night, conditions.fog, conditions.rain
    overcast = np.maximum(conditions.overcast, rain)
    ambient = _mix(_mix(_CLEAR_AMBIENT, _OVERCAST_AMBIENT, overcast), _DUSK_AMBIENT, dusk)
    sun = _mix(
        _mix(_CLEAR_SUN, 0.1 * _CLEAR_SUN, overcast), _DUSK_SUN * (1.0 - 0.9 * overcast[:, None]), dusk
    )
    grey = _mix(_OVERCAST_SKY, 0.45 * _OVERCAST_SKY, dusk)
    cover = np.maximum(overcast, fog)
    dimmed = (1.0 - _RAIN_DARKER * rain)[:, None]
    night_cover = np.array([1.5, 1.4, 1.3])
    horizon = _mix(_mix(_CLEAR_HORIZON, _DUSK_HORIZON, dusk), grey, cover) * dimmed
    horizon = _mix(horizon, _mix(_NIGHT_HORIZON, night_cover * _NIGHT_HORIZON, cover), night)
    zenith = _mix(_mix(_CLEAR_ZENITH, _DUSK_ZENITH, dusk), grey, cover) * dimmed
    zenith = _mix(zenith, _mix(_NIGHT_ZENITH, _NIGHT_HORIZON, cover), night)
    range_m = np.exp(_mix(_mix(np.log(_CLEAR_FOG_M), np.log(_RAIN_FOG_M), rain), np.log(_DENSE_FOG_M), fog))
    elevation = conditions.elevation_rad * (1.0 - 0.85 * dusk)
    elevation += night * (_MOON_ELEVATION_RAD - elevation)
    azimuth = conditions.azimuth_rad
    direction = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    return {
        "ambient": _mix(ambient * dimmed, _NIGHT_AMBIENT, night),
        "sun": _mix(sun, _NIGHT_SUN * (1.0 - overcast[:, None]), night),
        "sun_direction": np.stack(direction, axis=-1),
        "sky_horizon": horizon,
        "sky_zenith": zenith,
        "fog_start_m": range_m[:, 0],
        "fog_end_m": range_m[:, 1],
        "darkness": np.maximum(_DUSK_DARKNESS * dusk, night),
        "wetness": rain,
        "rain": rain,
    }


def _appearance(arrays: dict[str, np.ndarray], seeds: UInt64[np.ndarray, " B"]) -> Appearance:
    contiguous = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
    return Appearance(noise_seed=seeds.copy(), **contiguous)


def light_of(hour: Float[np.ndarray, " B"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of dusk and of night, 0 to 1, and the factor on the sun's highest elevation at an hour of the day."""
    height = sun_height(hour)
    dusk = np.clip((_LOW_SUN - height) / (_LOW_SUN - _NO_SUN), 0.0, 1.0)
    night = np.clip((_NO_SUN - height) / (_NO_SUN - _DARK), 0.0, 1.0)
    return dusk, night, np.clip(height, _LOWEST_SUN, 1.0)


def appearances(
    seeds: UInt64[np.ndarray, " B"],
    variety: float,
    hours: Float[np.ndarray, " B"] | None = None,
    rain: bool = False,
) -> Appearance:
    """One appearance for each seed, always the same for the same seed, variety and hour of the day.

    `variety` goes from 0 (nominal colours under a clear sky) to 1 (the sun in any direction, overcast, fog, at times
    rain, faded or bright surfaces and paint, wrong exposure, a noisy sensor). `hours` says how light it is, whatever
    the variety: noon without it. With `rain` it rains in every row, more in one than in another.

    Raises:
        ValueError: variety is outside [0, 1].
    """
    if not 0.0 <= variety <= 1.0:
        raise ValueError(f"variety must be between 0 and 1, got {variety}")
    seeds = np.ascontiguousarray(seeds, np.uint64)
    colours = len(_NOMINAL_SURFACES) + len(_NOMINAL_PAINT)
    last = 11 + 4 * colours
    drawn = _uniforms(seeds, last + 4)
    dusk, night, elevation = light_of(np.full(len(seeds), NOON_H) if hours is None else hours)
    rains = np.full(len(seeds), True) if rain else drawn[:, last + 1] < _RAIN_SHARE * variety
    conditions = _Conditions(
        overcast=variety * drawn[:, 0],
        dusk=dusk,
        night=night,
        fog=variety * np.clip(3.0 * drawn[:, 2] - 2.0, 0.0, 1.0) * np.where(rains, 0.3, 1.0),
        rain=np.where(rains, 0.35 + 0.65 * drawn[:, last + 2], 0.0),
        azimuth_rad=_CLEAR_AZIMUTH_RAD + variety * 2.0 * np.pi * drawn[:, 3],
        elevation_rad=elevation * _CLEAR_ELEVATION_RAD * (1.0 + variety * 0.7 * (drawn[:, 4] - 0.5)),
    )
    jitter = 2.0 * drawn[:, 11:last].reshape(len(seeds), colours, 4) - 1.0
    factors = (1.0 + 0.22 * variety * jitter[..., :1]) * (1.0 + 0.07 * variety * jitter[..., 1:])
    listed = np.clip(np.concatenate([_NOMINAL_SURFACES, _NOMINAL_PAINT]) * factors, 0.0, 255.0)
    arrays = _sky_and_light(conditions) | {
        "surfaces": listed[:, : len(_NOMINAL_SURFACES)],
        "paint": listed[:, len(_NOMINAL_SURFACES) :],
        "static_tint": 1.0 + 0.2 * variety * (2.0 * drawn[:, 5:8] - 1.0),
        "exposure": np.exp(0.35 * variety * (2.0 * drawn[:, 8] - 1.0)),
        "glare": 0.7 + 0.3 * variety * (2.0 * drawn[:, last + 3] - 1.0),
        "noise": variety * _STRONGEST_NOISE * drawn[:, 9] ** 2,
    }
    return _appearance(arrays, seeds)


# Shares of overcast, dusk, night, fog and rain.
_NAMED = {
    Weather.CLEAR: (0.0, 0.0, 0.0, 0.0, 0.0),
    Weather.OVERCAST: (0.9, 0.0, 0.0, 0.0, 0.0),
    Weather.DUSK: (0.1, 0.85, 0.0, 0.0, 0.0),
    Weather.NIGHT: (0.0, 0.0, 1.0, 0.0, 0.0),
    Weather.RAIN: (1.0, 0.0, 0.0, 0.0, 0.8),
    Weather.FOG: (0.6, 0.0, 0.0, 0.8, 0.0),
    Weather.NIGHT_RAIN: (1.0, 0.0, 1.0, 0.0, 0.8),
    Weather.NIGHT_FOG: (0.5, 0.0, 1.0, 0.6, 0.0),
}


def appearance_of(weather: Weather | str, batch: int) -> Appearance:
    """`batch` rows of a named weather, with nominal colours and a faultless camera; all alike.

    Raises:
        ValueError: there is no weather of this name.
    """
    shares = np.tile(np.array(_NAMED[Weather(weather)]), (batch, 1))
    sun = np.full(batch, _CLEAR_AZIMUTH_RAD), np.full(batch, _CLEAR_ELEVATION_RAD)
    overcast, dusk, night, fog, rain = shares.T
    seeds = np.zeros(batch, np.uint64)
    nominal = appearances(seeds, 0.0)
    return nominal._replace(
        **{
            name: np.ascontiguousarray(array, np.float32)
            for name, array in _sky_and_light(
                _Conditions(overcast, dusk, night, fog, rain, sun[0], sun[1])
            ).items()
        }
    )
