"""Kernels that draw pictures: a thread for each row of a picture, or for each pixel, and what comes after drawing.

Both designs give every thread a window of the picture that is its own (`cameras.pixels`), so that no two threads
write to one pixel and the CPU's functions draw as they are:

- rows: a block for each band of rows of a picture, its z-buffer in shared memory, a thread for each row;
- pixels: a block for each tile of a picture, a thread for each pixel, which it keeps to itself.

The threads of a block share the search for the boxes in sight.
"""

import functools
import math
from typing import Any

import numpy as np

from fleetloop.core.types import Surface
from fleetloop.sim.cameras.boxes import draw_box, is_in_sight, sight_of
from fleetloop.sim.cameras.fields import BoxField, CameraField, LightField
from fleetloop.sim.cameras.gather import MAX_BOXES, gather_scene
from fleetloop.sim.cameras.glare import add_halo, is_behind, lamp_pixel
from fleetloop.sim.cameras.ground import clear, draw_ground_window
from fleetloop.sim.cameras.kernels import device
from fleetloop.sim.cameras.lamps import MAX_LAMPS
from fleetloop.sim.cameras.night import LINE_ROWS, lamp_span, light_row
from fleetloop.sim.cameras.pixels import low_bits, noise_scale, noisy, rgb_bytes
from fleetloop.sim.cameras.polygons import EDGES, to_camera
from fleetloop.sim.cameras.rain import DROPS, add_streaks, drop_on_glass, mirror_rows
from fleetloop.sim.cameras.raster import drops_key, noise_key, streaks_key
from fleetloop.sim.cameras.signs import draw_sign
from fleetloop.sim.gpu.arrays import cuda

SHARED_BYTES = 44 * 1024
"""For the z-buffer of a block: what every GPU has, 48 KiB, less the lists of boxes and lamps."""
MOST_ROWS = 32
"""Of a band: the threads of a warp."""
TILE_ROWS, TILE_COLUMNS = 8, 16

_LAMPS, _GLARE = int(LightField.LAMPS), int(LightField.GLARE)
_RAIN, _NOISE = int(LightField.RAIN), int(LightField.NOISE)
_FOCAL, _RADIUS = int(CameraField.FOCAL_PX), int(BoxField.RADIUS)
_SURFACES = len(Surface)
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)


def rows_of_band(height: int, width: int) -> int:
    """Rows of the bands of equal height that a picture is cut into.

    Raises:
        ValueError: not even one row fits.
    """
    fitting = min(SHARED_BYTES // (8 * (width + 1)), MOST_ROWS)
    if fitting < 1:
        raise ValueError(
            f"camera: a picture {width} pixels wide does not fit a GPU's shared memory; make it smaller"
        )
    bands = -(-height // fitting)
    return -(-height // bands)


@cuda.jit(fastmath=True)
def gather_scenes(
    scene, grid, statics, signals, signs, look, detail, boxes, plates, lamps, counts, light, ground
):
    """A thread for each scene; arguments as of `cameras.gather.gather`."""
    b = np.int64(cuda.grid(1))
    if b < scene.town.shape[0]:
        gather_scene(
            *(b, scene, grid, statics, signals, signs, look, detail),
            *((boxes[b], plates[b], lamps[b]), counts[b], light[b], ground[b]),
        )


@device(entry=False)
def _meets_tile(camera, boxes, index, left, top, right, bottom):
    """Whether the bounding ball of a box touches the pyramid over a tile, rims in pixels from the picture's middle."""
    focal, radius = camera[_FOCAL], boxes[index, _RADIUS]
    x, y, z = to_camera(camera, boxes[index, 0], boxes[index, 1], boxes[index, 2])
    return (
        (x * focal - z * right < radius * math.sqrt(focal * focal + right * right))
        & (z * left - x * focal < radius * math.sqrt(focal * focal + left * left))
        & (y * focal - z * bottom < radius * math.sqrt(focal * focal + bottom * bottom))
        & (z * top - y * focal < radius * math.sqrt(focal * focal + top * top))
    )


@device(entry=False)
def _draw(camera, ego, light, ground, boxes, lamps, lamp_count, found, sights, spans, plates, plate_count, pictures,
          origin, tiles_shape, index, tiles, image, view, rooms, seen):  # fmt: skip
    """Draw a window: sky, the found boxes, signs, ground, the light of lamps. Fill `seen` [boxes] for lamps in it."""
    box_room, sign_room, palette, line = rooms
    clear(camera, light, image, view)
    for k in range(sights):
        draw_box(camera, boxes, found[k], light, image, view, box_room)
    for k in range(plate_count):
        draw_sign(camera, plates[k], pictures, light, lamps, lamp_count, image, view, sign_room)
    draw_ground_window(camera, ego, light, ground, origin, tiles_shape, index, tiles, image, view, palette)
    if light[_GLARE] > _ZERO:
        for k in range(sights):
            column, row, depth = lamp_pixel(camera, boxes[found[k]], view)
            i, j = int(row) - view[0], int(column) - view[1]
            if depth > _ZERO and i >= 0 and j >= 0 and i < image.shape[0] and j < image.shape[1]:
                seen[found[k]] = np.uint8(not is_behind(boxes[found[k]], depth, image[i, j]))
    if light[_LAMPS] > _ZERO:
        for i in range(image.shape[0]):
            for j in range(image.shape[1]):
                pixel = (view[0] + i, view[1] + j, view[2], view[3])
                light_row(
                    *(camera, light, boxes, lamps, lamp_count, spans, view[0] + i, pixel),
                    *(image[i, j : j + 1], line),
                )


@device(entry=False)
def _unpack(image, view, out):
    """Write a window to its place in the picture, out [height, width, 3]."""
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            red, green, blue = rgb_bytes(image[i, j])
            row, column = view[0] + i, view[1] + j
            out[row, column, 0], out[row, column, 1], out[row, column, 2] = red, green, blue


@cuda.jit(device=True, inline="always")
def _rooms():
    """What `_draw` needs for scratch, in the thread's own memory."""
    box_room = (
        cuda.local.array(3, np.float32),
        cuda.local.array((3, 3), np.float32),
        cuda.local.array((8, 3), np.float32),
        cuda.local.array((8, 2), np.float32),
        cuda.local.array(4, np.uint64),
        cuda.local.array((6, 2), np.float32),
        cuda.local.array((2, EDGES, 2), np.float32),
        cuda.local.array(3, np.float32),
    )
    order = cuda.local.array(4, np.uint64)
    for k in range(4):
        order[k] = np.uint64(k)
    sign_room = (
        cuda.local.array(3, np.float32),
        cuda.local.array((3, 3), np.float32),
        cuda.local.array((4, 3), np.float32),
        order,
        cuda.local.array((6, 2), np.float32),
        cuda.local.array((2, EDGES, 2), np.float32),
        cuda.local.array(3, np.float32),
        cuda.local.array((2, 3), np.float32),
        cuda.local.array(3, np.float32),
        cuda.local.array(4, np.float32),
    )
    palette = cuda.local.array((2, _SURFACES), np.uint32)
    line = cuda.local.array((LINE_ROWS, 1), np.float32)
    return box_room, sign_room, palette, line


@functools.cache
def row_drawer(rows: int, width: int) -> Any:
    """The kernel of the design "rows" for bands of so many rows; grid (pictures, bands), `rows` threads a block."""
    # One pixel more in a row, so that the pixels of a column lie in different banks of the memory.
    stride = width + 1

    @cuda.jit(fastmath=True)
    def draw_rows(cameras, scene, boxes, plates, lamps, counts, light, ground, grid, pictures, seen, out):
        picture, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.threadIdx.x)
        buffer = cuda.shared.array((rows, stride), np.uint64)
        found = cuda.shared.array(MAX_BOXES, np.int16)
        sights = cuda.shared.array(1, np.int32)
        spans = cuda.shared.array((MAX_LAMPS, 4), np.int32)
        b, camera = picture // out.shape[1], cameras[picture % out.shape[1]]
        height = np.int64(out.shape[2])
        row = np.int64(cuda.blockIdx.y) * rows + thread
        view = (row, np.int64(0), height, np.int64(width))
        if thread == 0:
            sights[0] = 0
        cuda.syncthreads()
        sight = sight_of(camera, view)
        for index in range(thread, counts[b, 0], cuda.blockDim.x):
            if is_in_sight(camera, sight, boxes[b], index):
                found[cuda.atomic.add(sights, 0, 1)] = index
        if light[b, _LAMPS] > _ZERO:
            for index in range(thread, counts[b, 2], cuda.blockDim.x):
                lamp_span(camera, lamps[b], index, view, spans)
        cuda.syncthreads()
        if row < height:
            town = scene.town[b]
            image = buffer[thread : thread + 1, :width]
            _draw(
                *(camera, scene.ego_pose[b], light[b], ground[b], boxes[b], lamps[b], counts[b, 2]),
                *(found, sights[0], spans, plates[b], counts[b, 1], pictures),
                *(grid[0][town], grid[1][town], grid[3][grid[2][town] :], grid[4]),
                *(image, view, _rooms(), seen[picture]),
            )
            _unpack(image, view, out[b, picture % out.shape[1]])

    return draw_rows


@functools.cache
def pixel_drawer() -> Any:
    """The kernel of the design "pixels"; grid (pictures, tiles down, tiles across), a thread for each of a tile's."""

    @cuda.jit(fastmath=True)
    def draw_pixels(cameras, scene, boxes, plates, lamps, counts, light, ground, grid, pictures, seen, out):
        picture, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.threadIdx.x)
        found = cuda.shared.array(MAX_BOXES, np.int16)
        sights = cuda.shared.array(1, np.int32)
        spans = cuda.shared.array((MAX_LAMPS, 4), np.int32)
        pixel = cuda.local.array((1, 1), np.uint64)
        b, camera = picture // out.shape[1], cameras[picture % out.shape[1]]
        height, width = np.int64(out.shape[2]), np.int64(out.shape[3])
        top, left = np.int64(cuda.blockIdx.y) * TILE_ROWS, np.int64(cuda.blockIdx.z) * TILE_COLUMNS
        row, column = top + thread // TILE_COLUMNS, left + thread % TILE_COLUMNS
        view = (row, column, height, width)
        if thread == 0:
            sights[0] = 0
        cuda.syncthreads()
        sight = sight_of(camera, view)
        west, north = np.float32(left) - sight[1], np.float32(top) - sight[2]
        for index in range(thread, counts[b, 0], cuda.blockDim.x):
            if is_in_sight(camera, sight, boxes[b], index) and _meets_tile(
                *(camera, boxes[b], index, west, north),
                *(west + np.float32(TILE_COLUMNS), north + np.float32(TILE_ROWS)),
            ):
                found[cuda.atomic.add(sights, 0, 1)] = index
        if light[b, _LAMPS] > _ZERO:
            for index in range(thread, counts[b, 2], cuda.blockDim.x):
                lamp_span(camera, lamps[b], index, view, spans)
        cuda.syncthreads()
        if row < height and column < width:
            town = scene.town[b]
            _draw(
                *(camera, scene.ego_pose[b], light[b], ground[b], boxes[b], lamps[b], counts[b, 2]),
                *(found, sights[0], spans, plates[b], counts[b, 1], pictures),
                *(grid[0][town], grid[1][town], grid[3][grid[2][town] :], grid[4]),
                *(pixel, view, _rooms(), seen[picture]),
            )
            _unpack(pixel, view, out[b, picture % out.shape[1]])

    return draw_pixels


@cuda.jit(fastmath=True)
def finish_pictures(cameras, scene, noise_seed, boxes, counts, light, seen, first_camera, out):
    """A block for each picture: halos, rain and noise, which look beyond one thread's window."""
    picture, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.threadIdx.x)
    b, c = picture // out.shape[1], picture % out.shape[1]
    camera, row_light, image = cameras[c], light[b], out[b, c]
    height, width = np.int64(image.shape[0]), np.int64(image.shape[1])
    whole = (np.int64(0), np.int64(0), height, width)
    seed, number, clock_s = noise_seed[b], first_camera + c, scene.clock_s[b]
    if row_light[_GLARE] > _ZERO:
        for index in range(counts[b, 0]):
            column, line, depth = lamp_pixel(camera, boxes[b, index], whole)
            if depth > _ZERO and seen[picture, index]:
                for row in range(thread, height, cuda.blockDim.x):
                    view = (np.int64(row), np.int64(0), height, width)
                    add_halo(
                        *(camera, row_light, boxes[b, index], column, line, depth),
                        *(image[row : row + 1], view),
                    )
    cuda.syncthreads()
    if row_light[_RAIN] > _ZERO:
        key = streaks_key(seed, number, clock_s)
        for row in range(thread, height, cuda.blockDim.x):
            add_streaks(row_light, key, image[row : row + 1], (np.int64(row), np.int64(0), height, width))
        key = drops_key(seed, number, clock_s)
        for drop in range(DROPS):
            cuda.syncthreads()
            column, line, radius = drop_on_glass(row_light, key, drop, height, width)
            if radius > _ZERO:
                for i in range(thread, int(radius) + 1, cuda.blockDim.x):
                    mirror_rows(column, line, radius, i, image)
    cuda.syncthreads()
    if row_light[_NOISE] > _ZERO:
        scale, hashed = noise_scale(row_light[_NOISE]), low_bits(noise_key(seed, number, clock_s))
        for index in range(thread, 3 * height * width, cuda.blockDim.x):
            row, column, channel = index // (3 * width), index // 3 % width, index % 3
            image[row, column, channel] = noisy(image[row, column, channel], index, hashed, scale)
