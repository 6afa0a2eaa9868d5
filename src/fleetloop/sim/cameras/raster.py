"""Second half of rendering: pictures of the gathered boxes and signs, the ground and the sky."""

import numpy as np
from numba import njit, prange

from fleetloop.core.random import Stream, bits
from fleetloop.sim.cameras.boxes import draw_boxes
from fleetloop.sim.cameras.fields import LightField
from fleetloop.sim.cameras.glare import add_glare
from fleetloop.sim.cameras.ground import clear, draw_ground
from fleetloop.sim.cameras.kernels import device
from fleetloop.sim.cameras.night import light_by_lamps
from fleetloop.sim.cameras.pixels import add_noise, unpack
from fleetloop.sim.cameras.rain import add_drops, add_streaks
from fleetloop.sim.cameras.signs import draw_signs

_NOISE, _RAIN, _GLARE = int(LightField.NOISE), int(LightField.RAIN), int(LightField.GLARE)
_LAMPS, _STREAM = int(LightField.LAMPS), int(Stream.APPEARANCE)
_CLOCK_TICKS_PER_S = np.float32(100.0)
_DROPS_PER_S = np.float32(0.4)
"""How often other drops are on the glass."""
_STREAKS, _DROPS = 1, 2
_ZERO, _HALF = np.float32(0.0), np.float32(0.5)


@device
def streaks_key(noise_seed, number, clock_s):
    """64 random bits for a picture's falling rain; `number` is the camera's in the rig."""
    return bits(noise_seed, number, np.int64(clock_s * _CLOCK_TICKS_PER_S + _HALF), _STREAM, _STREAKS)


@device
def drops_key(noise_seed, number, clock_s):
    """64 random bits for the drops on a camera's glass, the same for a while."""
    return bits(noise_seed, number, np.int64(clock_s * _DROPS_PER_S), _STREAM, _DROPS)


@device
def noise_key(noise_seed, number, clock_s):
    """64 random bits for the noise of a picture."""
    return bits(noise_seed, number, np.int64(clock_s * _CLOCK_TICKS_PER_S + _HALF), _STREAM, 0)


@njit(cache=True, fastmath=True, error_model="numpy")
def _draw_frame(camera, number, b, scene, noise_seed, gathered, counts, light, ground, grid, pictures, out):
    """One picture, out [height, width, 3]. `number` is the camera's in the rig; `gathered` are the scene's."""
    town, row = scene.town[b], light[b]
    boxes, signs, lamps = gathered[0][b], gathered[1][b], gathered[2][b]
    image = np.empty(out.shape[:2], np.uint64)
    clear(camera, row, image, (0, 0, out.shape[0], out.shape[1]))
    draw_boxes(camera, boxes, counts[b, 0], row, image)
    draw_signs(camera, signs, counts[b, 1], pictures, row, lamps, counts[b, 2], image)
    index = grid[3][grid[2][town] :]
    draw_ground(
        camera, scene.ego_pose[b], row, ground[b], grid[0][town], grid[1][town], index, grid[4], image
    )
    if row[_LAMPS] > _ZERO:
        light_by_lamps(camera, row, boxes, lamps, counts[b, 2], image)
    unpack(image, out)
    if row[_GLARE] > _ZERO:
        add_glare(camera, row, boxes, counts[b, 0], image, out)
    seed, clock_s = noise_seed[b], scene.clock_s[b]
    if row[_RAIN] > _ZERO:
        add_streaks(row, streaks_key(seed, number, clock_s), out, (0, 0, out.shape[0], out.shape[1]))
        add_drops(row, drops_key(seed, number, clock_s), out)
    if row[_NOISE] > _ZERO:
        add_noise(out, row[_NOISE], noise_key(seed, number, clock_s))


@njit(cache=True, fastmath=True, error_model="numpy", parallel=True, nogil=True)
def draw(cameras, scene, noise_seed, gathered, counts, light, ground, grid, pictures, first_camera, out):
    """Fill out [B, cameras, height, width, 3] from what `gather` found.

    `cameras` has a row of CameraField for each; `gathered` are boxes, signs and lamps; `grid` is (town_origin_m,
    town_tiles_shape, town_first_tile, tile_index, tiles flat) of World; `pictures` are those of its signs;
    `first_camera` is the number of the group's first camera in the rig, so that no two cameras share their noise.
    """
    count = out.shape[1]
    for frame in prange(out.shape[0] * count):
        b, c = np.int64(frame) // count, np.int64(frame) % count
        _draw_frame(
            cameras[c],
            first_camera + c,
            b,
            scene,
            noise_seed,
            gathered,
            counts,
            light,
            ground,
            grid,
            pictures,
            out[b, c],
        )
