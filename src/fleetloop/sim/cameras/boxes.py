"""Scan conversion of boxes that stand upright, nearest first by depth whatever their order."""

import math

import numpy as np
from numba import njit

from fleetloop.sim.cameras.fields import BoxField, CameraField, LightField
from fleetloop.sim.cameras.kernels import device
from fleetloop.sim.cameras.pixels import FINISHED, FULL, fog_share, packed, window_bounds
from fleetloop.sim.cameras.polygons import (
    EDGES,
    bounds_of,
    ceiling,
    clip_near,
    face_plane,
    fill,
    split_edges,
    to_camera,
)
from fleetloop.sim.cameras.project import NEAR_M
from fleetloop.sim.cameras.windows import DARK_GLASS, GLASS_MIRROR, fill_wall, glass_share

_RIGHT, _DOWN, _FORWARD = int(CameraField.RIGHT), int(CameraField.DOWN), int(CameraField.FORWARD)
_FOCAL = int(CameraField.FOCAL_PX)
_COSINE, _SINE, _RADIUS = int(BoxField.COSINE), int(BoxField.SINE), int(BoxField.RADIUS)
_HALF_SIZE, _COLOUR, _GLOW = int(BoxField.HALF_LENGTH), int(BoxField.RED), int(BoxField.GLOW)
_AMBIENT, _SUN, _HORIZON = int(LightField.AMBIENT), int(LightField.SUN), int(LightField.HORIZON)
_LAMPS, _ZENITH = int(LightField.LAMPS), int(LightField.ZENITH)
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_NEAR, _FULL = np.float32(NEAR_M), np.float32(FULL)
_WHITE = np.float32(255.0)
_DARK_GLASS, _GLASS_MIRROR = np.float32(DARK_GLASS), np.float32(GLASS_MIRROR)
_GLOW_THROUGH_FOG = np.float32(0.25)
SMALLEST_PX = 0.35
"""Boxes whose bounding ball has a smaller radius in the picture would only flicker; lit lamps are drawn."""
_SMALLEST_PX = np.float32(SMALLEST_PX)
_CUT, _HIDDEN, _WHOLE = 0, 1, 2


@device
def sight_of(camera, view):
    """What `is_in_sight` needs of a camera: focal length, half the picture's size, and the lengths of its rims."""
    focal, half_width, half_height = camera[_FOCAL], np.float32(view[3]) * _HALF, np.float32(view[2]) * _HALF
    return (
        focal,
        half_width,
        half_height,
        math.sqrt(focal * focal + half_width * half_width),
        math.sqrt(focal * focal + half_height * half_height),
    )


@device
def is_in_sight(camera, sight, boxes, index):
    """Whether the bounding ball of a box touches the view and is large enough."""
    focal, half_width, half_height, width_reach, height_reach = sight
    x, y, z = to_camera(camera, boxes[index, 0], boxes[index, 1], boxes[index, 2])
    radius = boxes[index, _RADIUS]
    # Without branches, since none of them could be foreseen: six times as fast.
    return (
        (z > _NEAR - radius)
        & (abs(x) * focal - z * half_width < radius * width_reach)
        & (abs(y) * focal - z * half_height < radius * height_reach)
        & ((radius * focal > z * _SMALLEST_PX) | (boxes[index, _GLOW] > _ZERO))
    )


@device
def _place(camera, box, centre, axes, corners):
    """Fill the box's centre [3], axes (length, width, height) [3, 3] and corners [8, 3], all in camera axes.

    Bit a of a corner's index is set on the positive side of axis a.
    """
    centre[0], centre[1], centre[2] = to_camera(camera, box[0], box[1], box[2])
    cosine, sine = box[_COSINE], box[_SINE]
    for k in range(3):
        row = _RIGHT + 3 * k
        axes[0, k] = cosine * camera[row] + sine * camera[row + 1]
        axes[1, k] = cosine * camera[row + 1] - sine * camera[row]
        axes[2, k] = camera[row + 2]
        u = axes[0, k] * box[_HALF_SIZE]
        v = axes[1, k] * box[_HALF_SIZE + 1]
        w = axes[2, k] * box[_HALF_SIZE + 2]
        low, high = centre[k] - w, centre[k] + w
        corners[0, k], corners[1, k] = low - u - v, low + u - v
        corners[2, k], corners[3, k] = low - u + v, low + u + v
        corners[4, k], corners[5, k] = high - u - v, high + u - v
        corners[6, k], corners[7, k] = high - u + v, high + u + v


@device
def _project_corners(corners, focal, half_width, half_height, window, pixels):
    """Fill pixels [8, 2]; returns one of _CUT (and nothing is filled), _HIDDEN and _WHOLE.

    _CUT: a corner is nearer than the near plane. _HIDDEN: no centre of a pixel of the window lies between them.
    """
    nearest = corners[0, 2]
    for corner in range(1, 8):
        nearest = min(nearest, corners[corner, 2])
    if nearest < _NEAR:
        return _CUT
    for corner in range(8):
        scale = focal / corners[corner, 2]
        pixels[corner, 0] = half_width + scale * corners[corner, 0]
        pixels[corner, 1] = half_height + scale * corners[corner, 1]
    left, right, top, bottom = pixels[0, 0], pixels[0, 0], pixels[0, 1], pixels[0, 1]
    for corner in range(1, 8):
        left, right = min(left, pixels[corner, 0]), max(right, pixels[corner, 0])
        top, bottom = min(top, pixels[corner, 1]), max(bottom, pixels[corner, 1])
    left, right = max(left - _HALF, window[0]), min(right - _HALF, window[2])
    top, bottom = max(top - _HALF, window[1]), min(bottom - _HALF, window[3])
    hidden = ceiling(left) >= right or ceiling(top) >= bottom
    return _HIDDEN if hidden else _WHOLE


@device
def _face_light(box, light, axis, sign):
    """Light by channel on the face whose normal is sign times the box's axis (0 length, 1 width, 2 height)."""
    if axis == 0:
        facing = box[_COSINE] * light[0] + box[_SINE] * light[1]
    elif axis == 1:
        facing = box[_COSINE] * light[1] - box[_SINE] * light[0]
    else:
        facing = light[2]
    facing, glow = max(facing * sign, _ZERO), box[_GLOW]
    red = light[_AMBIENT] + light[_SUN] * facing
    green = light[_AMBIENT + 1] + light[_SUN + 1] * facing
    blue = light[_AMBIENT + 2] + light[_SUN + 2] * facing
    return red + glow * (_ONE - red), green + glow * (_ONE - green), blue + glow * (_ONE - blue)


@device
def _channel(colour, shade, sky, horizon, glass, fog):
    """One channel of a face, a share of which is glass, behind haze."""
    colour = min(colour * shade, _WHITE)
    colour += glass * (min(_DARK_GLASS * colour + _GLASS_MIRROR * sky, _WHITE) - colour)
    return colour + fog * (horizon - colour)


@device
def _face_colour(box, light, axis, sign, depth, glass):
    """Packed colour of a face (see `_face_light`) at a depth; `glass` is the share of it that is windows."""
    red, green, blue = _face_light(box, light, axis, sign)
    fog = fog_share(light, depth) * (_ONE - box[_GLOW] * (_ONE - _GLOW_THROUGH_FOG))
    return packed(
        _channel(box[_COLOUR], red, light[_ZENITH], light[_HORIZON], glass, fog),
        _channel(box[_COLOUR + 1], green, light[_ZENITH + 1], light[_HORIZON + 1], glass, fog),
        _channel(box[_COLOUR + 2], blue, light[_ZENITH + 2], light[_HORIZON + 2], glass, fog),
        _FULL,
    )


@device
def face_number(index, axis, positive):
    """The face of a box as the low half of a pixel; its bit FINISHED is not set."""
    return np.uint64((index << 3) | (axis << 1) | int(positive))


@device
def draw_box(camera, boxes, index, light, image, view, scratch):
    """Draw the faces of a box that look at the camera; from inside, a box cannot be seen.

    Where lamps light the scene, pixels get the number of their face instead of a colour, to be lit later.
    `scratch`: float32 arrays of the shapes [3], [3, 3], [8, 3], [8, 2], then uint64 [4], then [6, 2], [2, EDGES, 2]
    and [3], for the caller to keep: device functions do not allocate.
    """
    centre, axes, corners, pixels, order, polygon, edges, plane = scratch
    half_width, half_height = np.float32(view[3]) * _HALF, np.float32(view[2]) * _HALF
    window = window_bounds(image, view)
    focal, lit_later = camera[_FOCAL], light[_LAMPS] > _ZERO
    box = boxes[index]
    _place(camera, box, centre, axes, corners)
    shown = _project_corners(corners, focal, half_width, half_height, window, pixels)
    if shown == _HIDDEN:
        return
    for axis in range(3):
        half = box[_HALF_SIZE + axis]
        middle = axes[axis, 0] * centre[0] + axes[axis, 1] * centre[1] + axes[axis, 2] * centre[2]
        if abs(middle) <= half:
            continue
        positive = middle < _ZERO
        reach = half if positive else -half
        base = (1 << axis) if positive else 0
        first, second = 1 << ((axis + 1) % 3), 1 << ((axis + 2) % 3)
        order[0], order[1], order[2], order[3] = base, base + first, base + first + second, base + second
        size = 4
        if shown == _WHOLE:
            for corner in range(4):
                polygon[corner, 0] = pixels[order[corner], 0]
                polygon[corner, 1] = pixels[order[corner], 1]
        else:
            size = clip_near(corners, order, focal, half_width, half_height, polygon)
            if size < 3:
                continue
        bounds = bounds_of(polygon, size, window)
        if bounds[0] >= bounds[2] or ceiling(bounds[1]) >= ceiling(bounds[3]):
            continue
        face_plane(axes[axis], middle + reach, focal, half_width, half_height, plane)
        depth = centre[2] + reach * axes[axis, 2]
        split_edges(polygon, size, positive, bounds, edges)
        if lit_later and box[_GLOW] == _ZERO:
            fill(edges, bounds, plane, face_number(index, axis, positive), image, view)
            continue
        sign, glass = _ONE if positive else -_ONE, glass_share(camera, box, axis, depth)
        if glass == _ONE:
            wall = np.uint64(_face_colour(box, light, axis, sign, depth, _ZERO)) | FINISHED
            colour = np.uint64(_face_colour(box, light, axis, sign, depth, _ONE)) | FINISHED
            fill_wall(camera, box, axis, edges, bounds, plane, wall, colour, image, view)
        else:
            colour = np.uint64(_face_colour(box, light, axis, sign, depth, glass)) | FINISHED
            fill(edges, bounds, plane, colour, image, view)


@njit(cache=True, fastmath=True, error_model="numpy")
def draw_boxes(camera, boxes, count, light, image):
    """`draw_box` for those of the first `count` that are in sight, into a whole picture."""
    view = (0, 0, image.shape[0], image.shape[1])
    scratch = (
        np.empty(3, np.float32),
        np.empty((3, 3), np.float32),
        np.empty((8, 3), np.float32),
        np.empty((8, 2), np.float32),
        np.empty(4, np.uint64),
        np.empty((6, 2), np.float32),
        np.empty((2, EDGES, 2), np.float32),
        np.empty(3, np.float32),
    )
    found = np.empty(len(boxes) + 1, np.int32)
    sight, sights = sight_of(camera, view), 0
    for index in range(count):
        found[sights] = index
        sights += is_in_sight(camera, sight, boxes, index)
    for place in range(sights):
        draw_box(camera, boxes, found[place], light, image, view, scratch)
