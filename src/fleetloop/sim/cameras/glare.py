"""Halos around lit lamps in the dark."""

import math

import numpy as np

from fleetloop.sim.cameras.fields import BoxField, CameraField, LightField
from fleetloop.sim.cameras.kernels import device
from fleetloop.sim.cameras.pixels import DEPTH_SHIFT, DRAWN
from fleetloop.sim.cameras.polygons import to_camera

GLARE_M, GLARE_LIGHT = 0.6, 0.75
"""Radius of a lamp's halo at full glare, and its brightness in the middle, of the lamp's."""
NEAREST_GLARE_M = 1.0
WIDEST_GLARE = 0.08
"""Largest radius, as a share of the picture's width."""

_RADIUS, _GLOW, _BOX_RED = int(BoxField.RADIUS), int(BoxField.GLOW), int(BoxField.RED)
_FOCAL, _GLARE = int(CameraField.FOCAL_PX), int(LightField.GLARE)
_GLARE_M, _GLARE_LIGHT = np.float32(GLARE_M), np.float32(GLARE_LIGHT)
_NEAREST_GLARE, _WIDEST_GLARE = np.float32(NEAREST_GLARE_M), np.float32(WIDEST_GLARE)
_SEEN_THROUGH = np.float32(1.001)
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_LEAST = np.float32(1e-4)


@device
def lamp_pixel(camera, box, view):
    """(column, row, depth) where a lit lamp is in the picture; depth 0 where none is to be seen."""
    height, width = view[2], view[3]
    if box[_GLOW] == _ZERO:
        return _ZERO, _ZERO, _ZERO
    x, y, z = to_camera(camera, box[0], box[1], box[2])
    if z < _NEAREST_GLARE:
        return _ZERO, _ZERO, _ZERO
    focal = camera[_FOCAL]
    column = np.float32(width) * _HALF + focal * x / z
    row = np.float32(height) * _HALF + focal * y / z
    if column < _ZERO or row < _ZERO or column >= np.float32(width) or row >= np.float32(height):
        return _ZERO, _ZERO, _ZERO
    return column, row, z


@device
def is_behind(box, depth, there):
    """Whether a lamp at a depth is hidden by what the pixel `there` shows."""
    nearest = _SEEN_THROUGH / max(depth - box[_RADIUS], _LEAST)
    return there >= DRAWN and np.uint32(there >> DEPTH_SHIFT).view(np.float32) > nearest


@device
def add_halo(camera, light, box, column, row, depth, out, view):
    """A disc of light that fades to its rim; sums saturate, so that their order does not matter."""
    top, left, _, width = view
    radius = max(min(camera[_FOCAL] * _GLARE_M / depth, _WIDEST_GLARE * np.float32(width)), _ONE)
    strength = light[_GLARE] * _GLARE_LIGHT
    last_row, last_column = top + out.shape[0], left + out.shape[1]
    for i in range(max(int(row - radius), top), min(int(row + radius) + 1, last_row)):
        for j in range(max(int(column - radius), left), min(int(column + radius) + 1, last_column)):
            dx, dy = np.float32(j) + _HALF - column, np.float32(i) + _HALF - row
            share = _ONE - math.sqrt(dx * dx + dy * dy) / radius
            if share > _ZERO:
                for channel in range(3):
                    added = np.int32(box[_BOX_RED + channel] * strength * share * share)
                    level = np.int32(out[i - top, j - left, channel]) + added
                    out[i - top, j - left, channel] = np.uint8(min(level, np.int32(255)))


@device
def add_glare(camera, light, boxes, count, image, out):
    """Brighten a whole picture around every lit lamp that is seen. `image` still has the depths."""
    view = (0, 0, image.shape[0], image.shape[1])
    for index in range(count):
        box = boxes[index]
        column, row, depth = lamp_pixel(camera, box, view)
        if depth > _ZERO and not is_behind(box, depth, image[int(row), int(column)]):
            add_halo(camera, light, box, column, row, depth, out, view)
