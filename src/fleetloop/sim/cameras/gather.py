"""First half of rendering: what stands around the learner, as boxes, signs and lamps, and how it is lit."""

import math

import numpy as np
from numba import njit, prange

from fleetloop.core.types import Surface
from fleetloop.sim.cameras.fields import LightField
from fleetloop.sim.cameras.kernels import device
from fleetloop.sim.cameras.lamps import start_lamps
from fleetloop.sim.cameras.statics import gather_static
from fleetloop.sim.cameras.users import gather_user_lamps, gather_users

MAX_BOXES = 1024
"""Most boxes of one scene; road users come first, then static ones, the nearest cells first."""
MAX_SIGNS = 96
"""Most signs of one scene, the nearest cells first."""
LIT_FROM, LAMPS_FROM = 0.3, 0.7
"""Darkness from which lamps burn, and from which they light the scene."""
WET_DARKER = 0.42
"""Share of its colour that a surface loses when wet."""
WETTED = {
    Surface.GRASS: 0.25,
    Surface.WHITE_LINE: 0.3,
    Surface.YELLOW_LINE: 0.3,
    Surface.CROSSING: 0.3,
    Surface.STOP_LINE: 0.3,
}
"""How much of that other surfaces than asphalt and stone lose."""

_AMBIENT, _SUN = int(LightField.AMBIENT), int(LightField.SUN)
_HORIZON, _ZENITH = int(LightField.HORIZON), int(LightField.ZENITH)
_FOG_START, _FOG_PER_M, _NOISE = int(LightField.FOG_START_M), int(LightField.FOG_PER_M), int(LightField.NOISE)
_LAMPS, _WETNESS, _RAIN = int(LightField.LAMPS), int(LightField.WETNESS), int(LightField.RAIN)
_GLARE, _EXPOSURE = int(LightField.GLARE), int(LightField.EXPOSURE)
_SURFACES = len(Surface)
_WETTED = np.array([WETTED.get(surface, 1.0) for surface in Surface], np.float32)
_WET_DARKER, _LIT_FROM, _LAMPS_FROM = np.float32(WET_DARKER), np.float32(LIT_FROM), np.float32(LAMPS_FROM)
_ZERO, _ONE, _WHITE = np.float32(0.0), np.float32(1.0), np.float32(255.0)


@device
def lamp_strength(darkness):
    """How strongly lamps light the scene: 0 (not at all) in daylight and dusk, 1 in the darkest night."""
    return min(max((darkness - _LAMPS_FROM) / (_ONE - _LAMPS_FROM), _ZERO), _ONE)


@device
def _light(b, yaw, look, light, ground):
    """Fill the row of light of scene b, and `ground` [surfaces, 3] with the colours of level ground.

    These are lit, except where lamps will light them pixel by pixel.
    """
    cosine, sine = math.cos(yaw), math.sin(yaw)
    sun_direction, exposure = look.sun_direction[b], look.exposure[b]
    lamps, wetness = lamp_strength(look.darkness[b]), look.wetness[b]
    light[0] = cosine * sun_direction[0] + sine * sun_direction[1]
    light[1] = cosine * sun_direction[1] - sine * sun_direction[0]
    light[2] = sun_direction[2]
    for channel in range(3):
        light[_AMBIENT + channel] = look.ambient[b, channel]
        light[_SUN + channel] = look.sun[b, channel]
        light[_HORIZON + channel] = min(look.sky_horizon[b, channel] * exposure, _WHITE)
        light[_ZENITH + channel] = min(look.sky_zenith[b, channel] * exposure, _WHITE)
        shade = exposure
        if lamps == _ZERO:
            shade *= look.ambient[b, channel] + look.sun[b, channel] * max(sun_direction[2], _ZERO)
        for surface in range(_SURFACES):
            wet = _ONE - wetness * _WET_DARKER * _WETTED[surface]
            ground[surface, channel] = min(look.surfaces[b, surface, channel] * shade * wet, _WHITE)
    light[_FOG_START] = look.fog_start_m[b]
    light[_FOG_PER_M] = _ONE / max(look.fog_end_m[b] - look.fog_start_m[b], np.float32(0.1))
    light[_NOISE] = look.noise[b]
    light[_LAMPS] = lamps
    light[_WETNESS] = wetness
    light[_RAIN] = look.rain[b]
    light[_EXPOSURE] = exposure
    light[_GLARE] = look.glare[b] if look.darkness[b] >= _LIT_FROM else _ZERO


@device(entry=False)
def gather_scene(b, scene, grid, statics, signals, signs, look, detail, out, counts, light, ground):
    """`gather` for one scene; `out`, `counts`, `light` and `ground` are its rows."""
    ego, clock_s, exposure = scene.ego_pose[b], scene.clock_s[b], look.exposure[b]
    _light(b, ego[2], look, light, ground)
    dark, strength = look.darkness[b] >= _LIT_FROM, light[_LAMPS]
    poses, kinds = scene.agent_pose[b], scene.agent_kind[b]
    counts[0] = gather_users(
        ego,
        clock_s,
        poses,
        kinds,
        scene.agent_colour[b],
        scene.agent_lights[b],
        look.paint[b],
        exposure,
        dark,
        detail,
        out[0],
    )
    counts[1] = 0
    counts[2] = start_lamps(strength, out[2])
    if strength > _ZERO:
        counts[2] = gather_user_lamps(ego, poses, kinds, strength, out[2], counts[2])
    tint = (
        look.static_tint[b, 0] * exposure,
        look.static_tint[b, 1] * exposure,
        look.static_tint[b, 2] * exposure,
    )
    town = scene.town[b]
    gather_static(ego, clock_s, town, grid, statics, signals, signs, tint, dark, strength, out, counts)


@njit(cache=True, fastmath=True, error_model="numpy", parallel=True, nogil=True)
def gather(scene, grid, statics, signals, signs, appearance, detail, out, counts, light, ground):
    """Fill, for each scene, `out` (boxes, signs, lamps), `counts` [B, 3] of them, light and ground.

    `grid` is (town_origin_m, town_cells_shape, town_first_cell, cell_start, sign_start), `statics` (boxes,
    box_signal, box_lamp), `signs` (signs, sign_image) and `signals` the arrays that phase_colour_at takes, all
    of World. `detail` is a factor on the range of the finer parts of road users. `ground` [B, surfaces, 3]
    becomes the colours of the ground.
    """
    for b in prange(len(scene.town)):
        scene_index = np.int64(b)
        gather_scene(
            scene_index,
            scene,
            grid,
            statics,
            signals,
            signs,
            appearance,
            detail,
            (out[0][scene_index], out[1][scene_index], out[2][scene_index]),
            counts[scene_index],
            light[scene_index],
            ground[scene_index],
        )
