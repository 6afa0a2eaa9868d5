"""Scan conversion of boxes that stand upright, nearest first by depth whatever their order."""

import math

import numpy as np
from numba import njit

from fleetloop.sim.cameras.gather import BoxField, LightField
from fleetloop.sim.cameras.pixels import DEPTH_SHIFT, FULL, CameraField, fog_share, packed
from fleetloop.sim.cameras.project import NEAR_M

_RIGHT, _DOWN, _FORWARD = int(CameraField.RIGHT), int(CameraField.DOWN), int(CameraField.FORWARD)
_FOCAL = int(CameraField.FOCAL_PX)
_COSINE, _SINE, _RADIUS = int(BoxField.COSINE), int(BoxField.SINE), int(BoxField.RADIUS)
_HALF_SIZE, _COLOUR, _GLOW = int(BoxField.HALF_LENGTH), int(BoxField.RED), int(BoxField.GLOW)
_AMBIENT, _SUN, _HORIZON = int(LightField.AMBIENT), int(LightField.SUN), int(LightField.HORIZON)
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_NEAR, _FULL = np.float32(NEAR_M), np.float32(FULL)
_WHITE = np.float32(255.0)
_GLOW_THROUGH_FOG = np.float32(0.25)
# Rounding may turn an inverse depth negative at the far end of a face; its bits must stay above the ground's.
_LEAST = np.float32(1e-6)
# Edges that span fewer rows than this bound no pixel.
_FLAT_PX = np.float32(3e-3)
# A face that the near plane cuts has five edges; at most four of them lie on one side.
_EDGES = 4


@njit(cache=True, fastmath=True)
def _ceiling(value):
    """The smallest integer not below a value; math.ceil takes three times as long."""
    whole = int(value)
    return whole + 1 if np.float32(whole) < value else whole


@njit(cache=True, fastmath=True)
def _to_camera(camera, x, y, z):
    """A point of the ego frame in camera axes. The axis to the right is level."""
    x, y, z = x - camera[0], y - camera[1], z - camera[2]
    return (
        x * camera[_RIGHT] + y * camera[_RIGHT + 1],
        x * camera[_DOWN] + y * camera[_DOWN + 1] + z * camera[_DOWN + 2],
        x * camera[_FORWARD] + y * camera[_FORWARD + 1] + z * camera[_FORWARD + 2],
    )


@njit(cache=True, fastmath=True)
def _find_in_sight(camera, boxes, count, half_width, half_height, found):
    """List in `found` the boxes whose bounding ball touches the view; returns how many."""
    focal = camera[_FOCAL]
    width_reach = math.sqrt(focal * focal + half_width * half_width)
    height_reach = math.sqrt(focal * focal + half_height * half_height)
    sights = 0
    for index in range(count):
        x, y, z = _to_camera(camera, boxes[index, 0], boxes[index, 1], boxes[index, 2])
        radius = boxes[index, _RADIUS]
        # Without branches, since none of them could be foreseen: six times as fast.
        found[sights] = index
        sights += (
            (z > _NEAR - radius)
            & (abs(x) * focal - z * half_width < radius * width_reach)
            & (abs(y) * focal - z * half_height < radius * height_reach)
        )
    return sights


@njit(cache=True, fastmath=True)
def _place(camera, box, centre, axes, corners):
    """Fill the box's centre [3], axes (length, width, height) [3, 3] and corners [8, 3], all in camera axes.

    Bit a of a corner's index is set on the positive side of axis a.
    """
    centre[0], centre[1], centre[2] = _to_camera(camera, box[0], box[1], box[2])
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


@njit(cache=True, fastmath=True)
def _project_corners(corners, focal, half_width, half_height, pixels):
    """Fill pixels [8, 2]; False, and nothing filled, if a corner is nearer than the near plane."""
    nearest = corners[0, 2]
    for corner in range(1, 8):
        nearest = min(nearest, corners[corner, 2])
    if nearest < _NEAR:
        return False
    for corner in range(8):
        scale = focal / corners[corner, 2]
        pixels[corner, 0] = half_width + scale * corners[corner, 0]
        pixels[corner, 1] = half_height + scale * corners[corner, 1]
    return True


@njit(cache=True, fastmath=True)
def _clip(corners, order, focal, half_width, half_height, polygon):
    """Cut the face with the given corners at the near plane and project it; returns its number of corners."""
    count = 0
    last = order[3]
    for index in range(4):
        this = order[index]
        z0, z1 = corners[last, 2], corners[this, 2]
        if (z0 >= _NEAR) != (z1 >= _NEAR):
            share = (_NEAR - z0) / (z1 - z0)
            x = corners[last, 0] + share * (corners[this, 0] - corners[last, 0])
            y = corners[last, 1] + share * (corners[this, 1] - corners[last, 1])
            polygon[count, 0] = half_width + focal / _NEAR * x
            polygon[count, 1] = half_height + focal / _NEAR * y
            count += 1
        if z1 >= _NEAR:
            polygon[count, 0] = half_width + focal / z1 * corners[this, 0]
            polygon[count, 1] = half_height + focal / z1 * corners[this, 1]
            count += 1
        last = this
    return count


@njit(cache=True, fastmath=True)
def _split_edges(polygon, corners, turns_left, bounds, edges):
    """Sort the edges of a convex polygon into those that bound it on the left and on the right.

    `turns_left`: its corners go counter-clockwise as seen. Fill edges [2, _EDGES, 2] with the column at row
    0, less half a pixel, and the slope; what is left over gets the bounds.
    """
    for edge in range(_EDGES):
        edges[0, edge, 0], edges[0, edge, 1] = bounds[0], _ZERO
        edges[1, edge, 0], edges[1, edge, 1] = bounds[2], _ZERO
    lefts = rights = 0
    x0, y0 = polygon[corners - 1, 0], polygon[corners - 1, 1]
    for corner in range(corners):
        x1, y1 = polygon[corner, 0], polygon[corner, 1]
        if abs(y1 - y0) > _FLAT_PX:
            slope = (x1 - x0) / (y1 - y0)
            column = x0 - y0 * slope - _HALF
            if (y1 > y0) == turns_left:
                edges[0, lefts, 0], edges[0, lefts, 1] = column, slope
                lefts += 1
            else:
                edges[1, rights, 0], edges[1, rights, 1] = column, slope
                rights += 1
        x0, y0 = x1, y1


@njit(cache=True, fastmath=True)
def _bounds(polygon, corners, width, height):
    """Left, top, right and bottom of the polygon, cut at the image, less half a pixel.

    Whole numbers between them are the pixels whose centres may lie inside.
    """
    left, top, right, bottom = polygon[0, 0], polygon[0, 1], polygon[0, 0], polygon[0, 1]
    for corner in range(1, corners):
        left, top = min(left, polygon[corner, 0]), min(top, polygon[corner, 1])
        right, bottom = max(right, polygon[corner, 0]), max(bottom, polygon[corner, 1])
    left, right = max(left - _HALF, _ZERO), min(right - _HALF, np.float32(width))
    top, bottom = max(top - _HALF, _ZERO), min(bottom - _HALF, np.float32(height))
    return left, top, right, bottom


@njit(cache=True, fastmath=True)
def _fill(edges, bounds, plane, colour, image):
    """Draw a convex polygon, given by its edges, where it is nearer than what is there.

    `plane`: the inverse depth at the upper left corner of the image, and its growth by column and by row.
    """
    left, top, right, bottom = bounds
    # In registers: the compiler cannot know that drawing does not change the edges.
    a0, a1, a2, a3 = edges[0, 0, 0], edges[0, 1, 0], edges[0, 2, 0], edges[0, 3, 0]
    s0, s1, s2, s3 = edges[0, 0, 1], edges[0, 1, 1], edges[0, 2, 1], edges[0, 3, 1]
    b0, b1, b2, b3 = edges[1, 0, 0], edges[1, 1, 0], edges[1, 2, 0], edges[1, 3, 0]
    t0, t1, t2, t3 = edges[1, 0, 1], edges[1, 1, 1], edges[1, 2, 1], edges[1, 3, 1]
    by_column, by_row, corner = plane[1], plane[2], plane[0] + plane[1] * _HALF
    for row in range(_ceiling(top), _ceiling(bottom)):
        y = np.float32(row) + _HALF
        start = max(max(max(a0 + y * s0, a1 + y * s1), max(a2 + y * s2, a3 + y * s3)), left)
        stop = min(min(min(b0 + y * t0, b1 + y * t1), min(b2 + y * t2, b3 + y * t3)), right)
        if start >= stop:
            continue
        first = _ceiling(start)
        base = corner + by_row * y + by_column * np.float32(first)
        # A slice: the compiler uses vector instructions only where indices cannot count from the end.
        span = image[row, first : _ceiling(stop)]
        for k in range(len(span)):
            inverse_depth = np.float32(max(base + by_column * np.float32(np.int32(k)), _LEAST))
            span[k] = max(span[k], (np.uint64(inverse_depth.view(np.uint32)) << DEPTH_SHIFT) | colour)


@njit(cache=True, fastmath=True)
def _face_colour(box, light, axis, sign, depth):
    """Packed colour of the face whose normal is sign times the box's axis (0 length, 1 width, 2 height)."""
    if axis == 0:
        facing = box[_COSINE] * light[0] + box[_SINE] * light[1]
    elif axis == 1:
        facing = box[_COSINE] * light[1] - box[_SINE] * light[0]
    else:
        facing = light[2]
    facing = max(facing * sign, _ZERO)
    glow = box[_GLOW]
    fog = fog_share(light, depth) * (_ONE - glow * (_ONE - _GLOW_THROUGH_FOG))
    shade = light[_AMBIENT] + light[_SUN] * facing
    red = min(box[_COLOUR] * (shade + glow * (_ONE - shade)), _WHITE)
    shade = light[_AMBIENT + 1] + light[_SUN + 1] * facing
    green = min(box[_COLOUR + 1] * (shade + glow * (_ONE - shade)), _WHITE)
    shade = light[_AMBIENT + 2] + light[_SUN + 2] * facing
    blue = min(box[_COLOUR + 2] * (shade + glow * (_ONE - shade)), _WHITE)
    return packed(
        red + fog * (light[_HORIZON] - red),
        green + fog * (light[_HORIZON + 1] - green),
        blue + fog * (light[_HORIZON + 2] - blue),
        _FULL,
    )


@njit(cache=True, fastmath=True)
def _face_plane(axis, offset, focal, half_width, half_height, plane):
    """Fill `plane` (see _fill) for the points p in camera axes with axis . p = offset.

    With p = z (x / z, y / z, 1) and pixels proportional to x / z and y / z, 1 / z is linear in pixels.
    """
    plane[1] = axis[0] / (offset * focal)
    plane[2] = axis[1] / (offset * focal)
    plane[0] = axis[2] / offset - plane[1] * half_width - plane[2] * half_height


@njit(cache=True, fastmath=True)
def draw_boxes(camera, boxes, count, light, image):
    """Draw the first `count` boxes, the faces that look at the camera; from inside, a box cannot be seen."""
    height, width = image.shape
    half_width, half_height = np.float32(width) * _HALF, np.float32(height) * _HALF
    focal = camera[_FOCAL]
    centre, axes = np.empty(3, np.float32), np.empty((3, 3), np.float32)
    corners, pixels = np.empty((8, 3), np.float32), np.empty((8, 2), np.float32)
    order, polygon = np.empty(4, np.uint64), np.empty((6, 2), np.float32)
    edges, plane = np.empty((2, _EDGES, 2), np.float32), np.empty(3, np.float32)
    found = np.empty(len(boxes) + 1, np.int32)
    for sight in range(_find_in_sight(camera, boxes, count, half_width, half_height, found)):
        box = boxes[found[sight]]
        _place(camera, box, centre, axes, corners)
        whole = _project_corners(corners, focal, half_width, half_height, pixels)
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
            if whole:
                for corner in range(4):
                    polygon[corner, 0] = pixels[order[corner], 0]
                    polygon[corner, 1] = pixels[order[corner], 1]
            else:
                size = _clip(corners, order, focal, half_width, half_height, polygon)
                if size < 3:
                    continue
            bounds = _bounds(polygon, size, width, height)
            if bounds[0] >= bounds[2] or _ceiling(bounds[1]) >= _ceiling(bounds[3]):
                continue
            _face_plane(axes[axis], middle + reach, focal, half_width, half_height, plane)
            depth = centre[2] + reach * axes[axis, 2]
            colour = np.uint64(_face_colour(box, light, axis, _ONE if positive else -_ONE, depth))
            _split_edges(polygon, size, positive, bounds, edges)
            _fill(edges, bounds, plane, colour, image)
