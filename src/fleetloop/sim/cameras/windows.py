"""Windows of buildings: the same by day and in the dark."""

import numpy as np

from fleetloop.sim.cameras.fields import BoxField, CameraField
from fleetloop.sim.cameras.ground import row_ray
from fleetloop.sim.cameras.kernels import device
from fleetloop.sim.cameras.pixels import DEPTH_SHIFT
from fleetloop.sim.cameras.polygons import LEAST_INVERSE_DEPTH, ceiling, edges_in_registers, span_of_row

WINDOW_CELL_M = (2.6, 3.0)
"""Width and height of the part of a wall that one window has to itself."""
WINDOW_FROM, WINDOW_TO = (0.24, 0.34), (0.76, 0.8)
"""Where the window is in it, as shares across and up."""
GLASS_SHARE = (WINDOW_TO[0] - WINDOW_FROM[0]) * (WINDOW_TO[1] - WINDOW_FROM[1])
"""Of a wall."""
SMALLEST_CELL_PX = 10.0
"""By day, walls whose windows would have less room across are drawn in the mean of wall and glass, which costs less."""
LIT_WINDOWS = 72
"""Of 256 windows."""
WINDOW_COLOUR = (255.0, 206.0, 128.0)
DIMMEST_WINDOW = 0.35
DARK_GLASS = 0.45
"""Factor on the colour of the wall where a window is not lit."""
GLASS_MIRROR = 0.16
"""By day: share of the sky's zenith in the colour of glass."""

_COSINE, _SINE = int(BoxField.COSINE), int(BoxField.SINE)
_HALF_HEIGHT, _WINDOWS = int(BoxField.HALF_HEIGHT), int(BoxField.WINDOWS)
_FOCAL, _RIGHT, _DOWN = int(CameraField.FOCAL_PX), int(CameraField.RIGHT), int(CameraField.DOWN)
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_CELL_WIDTH, _CELL_HEIGHT = np.float32(WINDOW_CELL_M[0]), np.float32(WINDOW_CELL_M[1])
_FROM_ACROSS, _FROM_UP = np.float32(WINDOW_FROM[0]), np.float32(WINDOW_FROM[1])
_TO_ACROSS, _TO_UP = np.float32(WINDOW_TO[0]), np.float32(WINDOW_TO[1])
_GLASS_SHARE, _SMALLEST_CELL_PX = np.float32(GLASS_SHARE), np.float32(SMALLEST_CELL_PX)
# Windows are counted from far beside the wall, so that their numbers are positive.
_MIDDLE = np.float32(128.0)
# Beyond its top, a wall goes on this far behind the roof.
_EAVES_M = np.float32(0.49)


@device
def is_glass(across, up, floors):
    """Whether a place of a wall, in cells of windows from far beside it and from its foot, is a window."""
    share_across, share_up = across - np.float32(np.int32(across)), up - np.float32(np.int32(up))
    # Without branches, for vector instructions.
    return (
        (share_across > _FROM_ACROSS)
        & (share_across < _TO_ACROSS)
        & (share_up > _FROM_UP)
        & (share_up < _TO_UP)
        & (up < floors)
    )


@device
def window(pattern, face, across, up, floors):
    """0: this place of a building is wall; 1: dark glass; above 1: a lit window, up to 2 for the brightest.

    Args:
        pattern: of the building, from 1.
        face: 0 to 3.
        across, up, floors: as of `is_glass`.

    Which windows are lit is a hash of the window, by Wellons' "lowbias32".
    """
    # Numba widens products of 32 bits to 64.
    value = np.uint32(
        np.uint32(pattern) * np.uint32(262144)
        + np.uint32(np.int32(across)) * np.uint32(512)
        + np.uint32(np.int32(up)) * np.uint32(4)
        + np.uint32(face)
    )
    value = np.uint32(np.uint32(value ^ (value >> np.uint32(16))) * np.uint32(0x7FEB352D))
    value = np.uint32(np.uint32(value ^ (value >> np.uint32(15))) * np.uint32(0x846CA68B))
    bits = np.int32((value >> np.uint32(16)) & np.uint32(255))
    lit = np.float32(max(np.int32(LIT_WINDOWS) - bits, np.int32(0))) * np.float32(1.0 / LIT_WINDOWS)
    return _ONE + lit if is_glass(across, up, floors) else _ZERO


@device
def glass_share(camera, box, axis, depth):
    """What a face of a box shows by day: 0 is wall alone, 1 separate windows, between them their mean."""
    if box[_WINDOWS] == _ZERO or axis == 2:
        return _ZERO
    return _GLASS_SHARE if camera[_FOCAL] * _CELL_WIDTH < _SMALLEST_CELL_PX * depth else _ONE


@device
def ways_on_wall(camera, box, axis, view):
    """Where pixels show a wall of a box, by their depth and place in the picture: eight numbers.

    At depth z, in column c and row r (the pixel's middle, of the whole picture), a place of the wall is
    across + z (deep + c right + r down) cells of windows across and up + z (up_deep + r up_down) up, as `is_glass`
    takes them; the last number is how many floors have windows.
    """
    along_x, along_y = box[_COSINE] / _CELL_WIDTH, box[_SINE] / _CELL_WIDTH
    if axis == 0:
        along_x, along_y = -along_y, along_x
    focal, width = camera[_FOCAL], np.float32(view[3])
    right = (camera[_RIGHT] * along_x + camera[_RIGHT + 1] * along_y) / focal
    down = (camera[_DOWN] * along_x + camera[_DOWN + 1] * along_y) / focal
    ray_x, ray_y, ray_z = row_ray(camera, _ZERO, view[2])
    return (
        (camera[0] - box[0]) * along_x + (camera[1] - box[1]) * along_y + _MIDDLE,
        ray_x * along_x + ray_y * along_y - width * _HALF * right,
        right,
        down,
        (camera[2] - box[2] + box[_HALF_HEIGHT]) / _CELL_HEIGHT,
        ray_z / _CELL_HEIGHT,
        camera[_DOWN + 2] / (focal * _CELL_HEIGHT),
        np.float32(np.int32((np.float32(2.0) * box[_HALF_HEIGHT] + _EAVES_M) / _CELL_HEIGHT)),
    )


@device
def fill_wall(camera, box, axis, edges, bounds, plane, wall, glass, image, view):
    """`polygons.fill` for a wall with separate windows, in their two colours."""
    above, before = view[0], view[1]
    left, top, right, bottom = bounds
    rims = edges_in_registers(edges)
    across_start, deep, across_right, across_down, up_start, up_deep, up_down, floors = ways_on_wall(
        camera, box, axis, view
    )
    by_column, by_row, corner = plane[1], plane[2], plane[0] + plane[1] * _HALF
    for row in range(ceiling(top), ceiling(bottom)):
        y = np.float32(row) + _HALF
        start, stop = span_of_row(rims, left, right, y)
        if start >= stop:
            continue
        first = ceiling(start)
        base = corner + by_row * y + by_column * np.float32(first)
        across_deep = deep + (np.float32(first) + _HALF) * across_right + y * across_down
        row_up = up_deep + y * up_down
        span = image[row - above, first - before : ceiling(stop) - before]
        for k in range(len(span)):
            column = np.float32(np.int32(k))
            inverse_depth = np.float32(max(base + by_column * column, LEAST_INVERSE_DEPTH))
            depth = _ONE / inverse_depth
            across = across_start + depth * (across_deep + column * across_right)
            colour = glass if is_glass(across, up_start + depth * row_up, floors) else wall
            span[k] = max(span[k], (np.uint64(inverse_depth.view(np.uint32)) << DEPTH_SHIFT) | colour)
