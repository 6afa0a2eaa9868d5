"""Signs: upright plates with a picture, drawn in perspective, with a smaller picture for each distance."""

import weakref

import numpy as np
from jaxtyping import UInt8
from numba import njit

from fleetloop.core.types import SIGN_PIXELS
from fleetloop.sim.cameras.fields import CameraField, LampField, LightField, SignField
from fleetloop.sim.cameras.kernels import device
from fleetloop.sim.cameras.lamps import beam_on_sign, lamp_in_registers, lamp_light
from fleetloop.sim.cameras.pixels import DEPTH_SHIFT, FINISHED, FULL, fog_share, packed, window_bounds
from fleetloop.sim.cameras.polygons import (
    EDGES,
    bounds_of,
    ceiling,
    clip_near,
    face_plane,
    split_edges,
    to_camera,
)
from fleetloop.sim.cameras.project import NEAR_M

_LEVELS = 5
LEVEL_PIXELS = tuple(SIGN_PIXELS >> level for level in range(_LEVELS))
"""Edges of a sign's pictures, each half as fine as the one before: 48, 24, 12, 6, 3."""
LEVEL_START = tuple(sum(edge**2 for edge in LEVEL_PIXELS[:level]) for level in range(_LEVELS + 1))
"""Where each of them starts among the pixels of the sign."""
BACK_COLOUR = (118.0, 120.0, 122.0)
RETROREFLECTION = 1.6
"""How bright a sign is in the middle of the ego's own beam, on the scale of the ambient light."""
SHADED = 0.4
"""A plate that faces away from the sun has this share of its light: it is white and glossy, and may not be missed."""
OPAQUE = 0.5
"""Pixels of a plate with at least this alpha are there."""

_WIDE, _FOCAL = int(SignField.HALF_WIDTH), int(CameraField.FOCAL_PX)
_IMAGE = int(SignField.IMAGE)
_RIGHT, _DOWN, _FORWARD = int(CameraField.RIGHT), int(CameraField.DOWN), int(CameraField.FORWARD)
_AMBIENT, _SUN, _HORIZON = int(LightField.AMBIENT), int(LightField.SUN), int(LightField.HORIZON)
_EXPOSURE, _RED = int(LightField.EXPOSURE), int(LampField.RED)
_EDGE_PIXELS, _STARTS = np.array(LEVEL_PIXELS, np.int32), np.array(LEVEL_START[:-1], np.int32)
_BACK = tuple(np.float32(value) for value in BACK_COLOUR)
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_NEAR, _FULL, _WHITE, _OPAQUE = np.float32(NEAR_M), np.float32(FULL), np.float32(255.0), np.float32(OPAQUE)
_SHADED = np.float32(SHADED)
_RETROREFLECTION, _LEAST, _SIGN_PIXELS = (
    np.float32(RETROREFLECTION),
    np.float32(1e-6),
    np.float32(SIGN_PIXELS),
)

_pictures: dict[int, tuple[weakref.ref, np.ndarray]] = {}


def sign_pictures(images: UInt8[np.ndarray, "images 48 48 4"]) -> UInt8[np.ndarray, "images pixels 4"]:
    """Each picture and its halvings down to 3 x 3 pixels, one after the other; colours times alpha.

    The result is kept for as long as `images` lives, and must not be written to.
    """
    key = id(images)
    held = _pictures.get(key)
    if held is not None and held[0]() is images:
        return held[1]
    level = images.astype(np.float32)
    level[..., :3] *= level[..., 3:] / 255.0
    levels = []
    for edge in LEVEL_PIXELS:
        levels.append(level.reshape(len(images), edge * edge, 4))
        if edge > LEVEL_PIXELS[-1]:
            level = level.reshape(len(images), edge // 2, 2, edge // 2, 2, 4).mean(axis=(2, 4))
    pictures = np.ascontiguousarray(np.round(np.concatenate(levels, axis=1)).astype(np.uint8))
    _pictures[key] = weakref.ref(images, lambda _: _pictures.pop(key, None)), pictures
    return pictures


@device
def picture_level(texels_per_pixel):
    """The picture whose pixels are nearest in size to those of the image, as a number from 0."""
    level = 0
    while level < _LEVELS - 1 and texels_per_pixel > np.float32(1.41421356):
        texels_per_pixel *= _HALF
        level += 1
    return level


@device
def _light_on_sign(sign, light, lamps, lamp_count, facing_sign, out):
    """Fill out [3] with the light that comes back from the plate's front (facing_sign 1) or back (-1)."""
    normal_x, normal_y = facing_sign * sign[3], facing_sign * sign[4]
    facing = max(normal_x * light[0] + normal_y * light[1], _SHADED)
    for channel in range(3):
        out[channel] = light[_AMBIENT + channel] + light[_SUN + channel] * facing
    for index in range(lamp_count):
        share = lamp_light(
            lamp_in_registers(lamps[index]), sign[0], sign[1], sign[2], normal_x, normal_y, _ZERO
        )
        if index == 0 and facing_sign > _ZERO and sign[0] * normal_x + sign[1] * normal_y < _ZERO:
            share = max(share, beam_on_sign(lamps[0], sign[0], sign[1]) * _RETROREFLECTION)
        for channel in range(3):
            out[channel] += share * lamps[index, _RED + channel]


@device
def _texel(picture, edge, column, row, out):
    """Fill out [4] with colours times alpha, and alpha, between the four pixels around a place in a picture.

    `column` and `row` are in pixels from the picture's corner; beyond the rim its outermost pixels go on.
    """
    column = min(max(column - _HALF, _ZERO), np.float32(edge - 1))
    row = min(max(row - _HALF, _ZERO), np.float32(edge - 1))
    left, top = int(column), int(row)
    right, below = min(left + 1, edge - 1), min(top + 1, edge - 1)
    across, down = column - np.float32(left), row - np.float32(top)
    for channel in range(4):
        upper = np.float32(picture[top * edge + left, channel])
        upper += across * (np.float32(picture[top * edge + right, channel]) - upper)
        lower = np.float32(picture[below * edge + left, channel])
        lower += across * (np.float32(picture[below * edge + right, channel]) - lower)
        out[channel] = upper + down * (lower - upper)


@device
def _fill_sign(edges, bounds, plane, place, picture, edge, front, shade, fog, light, image, view, texel):
    """Draw the plate where it is opaque and nearer than what is there.

    Args:
        place: [2, 3], of the picture's column and row: their products with the inverse depth, at the upper left
            corner of the image and their growth by column and by row.
        shade: [3], the light on the plate.
        texel: [4], room for a pixel of the picture.
    """
    left, top, right, bottom = bounds
    above, before = view[0], view[1]
    for row in range(ceiling(top), ceiling(bottom)):
        y = np.float32(row) + _HALF
        start, stop = left, right
        for side in range(EDGES):
            start = max(start, edges[0, side, 0] + y * edges[0, side, 1])
            stop = min(stop, edges[1, side, 0] + y * edges[1, side, 1])
        if start >= stop:
            continue
        for column in range(ceiling(start), ceiling(stop)):
            x = np.float32(column) + _HALF
            inverse_depth = np.float32(max(plane[0] + plane[1] * x + plane[2] * y, _LEAST))
            there = image[row - above, column - before]
            if np.uint64(inverse_depth.view(np.uint32)) < (there >> DEPTH_SHIFT):
                continue
            picture_column = (place[0, 0] + place[0, 1] * x + place[0, 2] * y) / inverse_depth
            picture_row = (place[1, 0] + place[1, 1] * x + place[1, 2] * y) / inverse_depth
            _texel(picture, edge, picture_column, picture_row, texel)
            if texel[3] < _OPAQUE * _WHITE:
                continue
            red, green, blue = _BACK
            if front:
                whole = _WHITE / texel[3]
                red, green, blue = texel[0] * whole, texel[1] * whole, texel[2] * whole
            red, green = min(red * shade[0], _WHITE), min(green * shade[1], _WHITE)
            blue = min(blue * shade[2], _WHITE)
            colour = packed(
                red + fog * (light[_HORIZON] - red),
                green + fog * (light[_HORIZON + 1] - green),
                blue + fog * (light[_HORIZON + 2] - blue),
                _FULL,
            )
            value = (np.uint64(inverse_depth.view(np.uint32)) << DEPTH_SHIFT) | np.uint64(colour) | FINISHED
            image[row - above, column - before] = max(there, value)


@device
def _place_sign(camera, sign, centre, axes, corners):
    """Fill the plate's centre [3], its axes (right as seen from its front, up, normal) [3, 3], corners [4, 3].

    All in camera axes; corners go around: upper left, upper right, lower right, lower left, seen from the front.
    """
    centre[0], centre[1], centre[2] = to_camera(camera, sign[0], sign[1], sign[2])
    cosine, sine = sign[3], sign[4]
    for k in range(3):
        row = _RIGHT + 3 * k
        axes[0, k] = cosine * camera[row + 1] - sine * camera[row]
        axes[1, k] = camera[row + 2]
        axes[2, k] = cosine * camera[row] + sine * camera[row + 1]
        wide, high = axes[0, k] * sign[_WIDE], axes[1, k] * sign[_WIDE + 1]
        corners[0, k], corners[1, k] = centre[k] + high - wide, centre[k] + high + wide
        corners[2, k], corners[3, k] = centre[k] - high + wide, centre[k] - high - wide


@device
def _picture_plane(axis, half, centre, edge, focal, half_width, half_height, place):
    """Fill `place` (see _fill_sign) for one axis of the plate, along which the picture has `edge` pixels.

    With p = z (u, v, 1): edge / 2 (1 + (p - centre) . axis / half), divided by z, is linear in u, v and 1 / z.
    """
    scale = np.float32(edge) * _HALF / half
    place[1], place[2] = scale * axis[0] / focal, scale * axis[1] / focal
    place[0] = scale * axis[2] - place[1] * half_width - place[2] * half_height
    return np.float32(edge) * _HALF - scale * (
        axis[0] * centre[0] + axis[1] * centre[1] + axis[2] * centre[2]
    )


@device
def _sign_in_sight(camera, sign, half_width, half_height):
    """Whether the ball around the plate touches the view."""
    x, y, z = to_camera(camera, sign[0], sign[1], sign[2])
    focal = camera[_FOCAL]
    radius = sign[_WIDE] + sign[_WIDE + 1]
    return (
        (z > _NEAR - radius)
        & (abs(x) * focal - z * half_width < radius * (focal + half_width))
        & (abs(y) * focal - z * half_height < radius * (focal + half_height))
    )


@device
def draw_sign(camera, sign, pictures, light, lamps, lamp_count, image, view, scratch):
    """Draw a sign: its picture from the front, grey from behind, lit as a whole.

    `scratch`: float32 arrays of the shapes [3], [3, 3], [4, 3], then the numbers 0 to 3 as uint64, then float32
    [6, 2], [2, EDGES, 2], [3], [2, 3], [3] and [4].
    """
    half_width, half_height = np.float32(view[3]) * _HALF, np.float32(view[2]) * _HALF
    focal = camera[_FOCAL]
    centre, axes, corners, order, polygon, edges, plane, place, shade, texel = scratch
    if not _sign_in_sight(camera, sign, half_width, half_height):
        return
    _place_sign(camera, sign, centre, axes, corners)
    offset = axes[2, 0] * centre[0] + axes[2, 1] * centre[1] + axes[2, 2] * centre[2]
    size = clip_near(corners, order, focal, half_width, half_height, polygon)
    if size < 3 or abs(offset) < _LEAST:
        return
    bounds = bounds_of(polygon, size, window_bounds(image, view))
    if bounds[0] >= bounds[2] or ceiling(bounds[1]) >= ceiling(bounds[3]):
        return
    front = offset < _ZERO
    face_plane(axes[2], offset, focal, half_width, half_height, plane)
    split_edges(polygon, size, not front, bounds, edges)
    depth = max(centre[2], _NEAR)
    level = picture_level(_SIGN_PIXELS * depth / (focal * np.float32(2.0) * sign[_WIDE + 1]))
    edge, first = _EDGE_PIXELS[level], _STARTS[level]
    along = _picture_plane(axes[0], sign[_WIDE], centre, edge, focal, half_width, half_height, place[0])
    for k in range(3):
        place[0, k] += along * plane[k]
        axes[1, k] = -axes[1, k]
    down = _picture_plane(axes[1], sign[_WIDE + 1], centre, edge, focal, half_width, half_height, place[1])
    for k in range(3):
        place[1, k] += down * plane[k]
    _light_on_sign(sign, light, lamps, lamp_count, _ONE if front else -_ONE, shade)
    for channel in range(3):
        shade[channel] *= light[_EXPOSURE]
    picture = pictures[int(sign[_IMAGE]), first : first + edge * edge]
    fog = fog_share(light, centre[2])
    _fill_sign(edges, bounds, plane, place, picture, edge, front, shade, fog, light, image, view, texel)


@njit(cache=True, fastmath=True, error_model="numpy")
def draw_signs(camera, signs, count, pictures, light, lamps, lamp_count, image):
    """`draw_sign` for the first `count` signs, into a whole picture."""
    view = (0, 0, image.shape[0], image.shape[1])
    scratch = (
        np.empty(3, np.float32),
        np.empty((3, 3), np.float32),
        np.empty((4, 3), np.float32),
        np.arange(4).astype(np.uint64),
        np.empty((6, 2), np.float32),
        np.empty((2, EDGES, 2), np.float32),
        np.empty(3, np.float32),
        np.empty((2, 3), np.float32),
        np.empty(3, np.float32),
        np.empty(4, np.float32),
    )
    for index in range(count):
        draw_sign(camera, signs[index], pictures, light, lamps, lamp_count, image, view, scratch)
