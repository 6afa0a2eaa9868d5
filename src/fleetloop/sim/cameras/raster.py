"""Second half of rendering: pictures of the gathered boxes, the ground and the sky."""

import numpy as np
from numba import njit, prange

from fleetloop.core.random import Stream, bits
from fleetloop.sim.cameras.boxes import draw_boxes
from fleetloop.sim.cameras.gather import LightField
from fleetloop.sim.cameras.ground import clear, draw_ground
from fleetloop.sim.cameras.pixels import add_noise, unpack

_NOISE, _NOISE_STREAM = int(LightField.NOISE), int(Stream.APPEARANCE)
_CLOCK_TICKS_PER_S = np.float32(100.0)
_ZERO, _HALF = np.float32(0.0), np.float32(0.5)


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def draw(cameras, scene, noise_seed, boxes, box_count, light, ground, grid, first_camera, out):
    """Fill out [B, cameras, height, width, 3] from what `gather` found.

    `cameras` has a row of CameraField for each; `grid` is (town_origin_m, town_tiles_shape, town_first_tile,
    tile_index, tiles flat) of World; `first_camera` is the number of the group's first camera in the rig, so
    that no two cameras share their noise.
    """
    batch, count, height, width, _ = out.shape
    for frame in prange(batch * count):
        b, c = frame // count, frame % count
        town = scene.town[b]
        camera = cameras[c]
        image = np.empty((height, width), np.uint64)
        clear(camera, light[b], image)
        draw_boxes(camera, boxes[b], box_count[b], light[b], image)
        index = grid[3][grid[2][town] :]
        draw_ground(
            camera,
            scene.ego_pose[b],
            light[b],
            ground[b],
            grid[0][town],
            grid[1][town],
            index,
            grid[4],
            image,
        )
        unpack(image, out[b, c])
        if light[b, _NOISE] > _ZERO:
            tick = np.int64(scene.clock_s[b] * _CLOCK_TICKS_PER_S + _HALF)
            key = bits(noise_seed[b], first_camera + c, tick, _NOISE_STREAM, 0)
            add_noise(out[b, c], light[b, _NOISE], key)
