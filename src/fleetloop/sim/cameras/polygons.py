"""Polygons in the picture: into camera axes, cut at the near plane, scan converted nearest first by depth."""

import numpy as np

from fleetloop.sim.cameras.fields import CameraField
from fleetloop.sim.cameras.kernels import device
from fleetloop.sim.cameras.pixels import DEPTH_SHIFT
from fleetloop.sim.cameras.project import NEAR_M

EDGES = 4
"""A face that the near plane cuts has five edges; at most four of them lie on one side."""

_RIGHT, _DOWN, _FORWARD = int(CameraField.RIGHT), int(CameraField.DOWN), int(CameraField.FORWARD)
_ZERO, _HALF = np.float32(0.0), np.float32(0.5)
_NEAR = np.float32(NEAR_M)
# Rounding may turn an inverse depth negative at the far end of a face; its bits must stay above the ground's.
LEAST_INVERSE_DEPTH = np.float32(1e-6)
# Edges that span fewer rows than this bound no pixel.
_FLAT_PX = np.float32(3e-3)


@device
def ceiling(value):
    """The smallest integer not below a value; math.ceil takes three times as long."""
    whole = int(value)
    return whole + 1 if np.float32(whole) < value else whole


@device
def to_camera(camera, x, y, z):
    """A point of the ego frame in camera axes. The axis to the right is level."""
    x, y, z = x - camera[0], y - camera[1], z - camera[2]
    return (
        x * camera[_RIGHT] + y * camera[_RIGHT + 1],
        x * camera[_DOWN] + y * camera[_DOWN + 1] + z * camera[_DOWN + 2],
        x * camera[_FORWARD] + y * camera[_FORWARD + 1] + z * camera[_FORWARD + 2],
    )


@device
def clip_near(corners, order, focal, half_width, half_height, polygon):
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


@device
def bounds_of(polygon, corners, window):
    """Left, top, right and bottom of the polygon, less half a pixel, cut at those of the window.

    Whole numbers between them are the pixels whose centres may lie inside.
    """
    left, top, right, bottom = polygon[0, 0], polygon[0, 1], polygon[0, 0], polygon[0, 1]
    for corner in range(1, corners):
        left, top = min(left, polygon[corner, 0]), min(top, polygon[corner, 1])
        right, bottom = max(right, polygon[corner, 0]), max(bottom, polygon[corner, 1])
    left, right = max(left - _HALF, window[0]), min(right - _HALF, window[2])
    top, bottom = max(top - _HALF, window[1]), min(bottom - _HALF, window[3])
    return left, top, right, bottom


@device
def split_edges(polygon, corners, turns_left, bounds, edges):
    """Sort the edges of a convex polygon into those that bound it on the left and on the right.

    `turns_left`: its corners go counter-clockwise as seen. Fill edges [2, EDGES, 2] with the column at row
    0, less half a pixel, and the slope; what is left over gets the bounds.
    """
    for edge in range(EDGES):
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


@device
def face_plane(axis, offset, focal, half_width, half_height, plane):
    """Fill `plane` (see fill) for the points p in camera axes with axis . p = offset.

    With p = z (x / z, y / z, 1) and pixels proportional to x / z and y / z, 1 / z is linear in pixels.
    """
    plane[1] = axis[0] / (offset * focal)
    plane[2] = axis[1] / (offset * focal)
    plane[0] = axis[2] / offset - plane[1] * half_width - plane[2] * half_height


@device
def edges_in_registers(edges):
    """The edges as a tuple, for loops that draw: the compiler cannot know that drawing does not change them."""
    return (
        (edges[0, 0, 0], edges[0, 1, 0], edges[0, 2, 0], edges[0, 3, 0]),
        (edges[0, 0, 1], edges[0, 1, 1], edges[0, 2, 1], edges[0, 3, 1]),
        (edges[1, 0, 0], edges[1, 1, 0], edges[1, 2, 0], edges[1, 3, 0]),
        (edges[1, 0, 1], edges[1, 1, 1], edges[1, 2, 1], edges[1, 3, 1]),
    )


@device
def span_of_row(rims, left, right, y):
    """Between which columns, less half a pixel, a row whose middle is at y lies in a polygon and in its bounds."""
    a, s, b, t = rims
    return (
        max(max(max(a[0] + y * s[0], a[1] + y * s[1]), max(a[2] + y * s[2], a[3] + y * s[3])), left),
        min(min(min(b[0] + y * t[0], b[1] + y * t[1]), min(b[2] + y * t[2], b[3] + y * t[3])), right),
    )


@device
def fill(edges, bounds, plane, colour, image, view):
    """Draw a convex polygon, given by its edges, where it is nearer than what is there.

    `plane`: the inverse depth at the upper left corner of the picture, and its growth by column and by row.
    """
    above, before = view[0], view[1]
    left, top, right, bottom = bounds
    rims = edges_in_registers(edges)
    by_column, by_row, corner = plane[1], plane[2], plane[0] + plane[1] * _HALF
    for row in range(ceiling(top), ceiling(bottom)):
        y = np.float32(row) + _HALF
        start, stop = span_of_row(rims, left, right, y)
        if start >= stop:
            continue
        first = ceiling(start)
        base = corner + by_row * y + by_column * np.float32(first)
        # A slice: the compiler uses vector instructions only where indices cannot count from the end.
        span = image[row - above, first - before : ceiling(stop) - before]
        for k in range(len(span)):
            inverse_depth = np.float32(max(base + by_column * np.float32(np.int32(k)), LEAST_INVERSE_DEPTH))
            span[k] = max(span[k], (np.uint64(inverse_depth.view(np.uint32)) << DEPTH_SHIFT) | colour)
