"""The dark: pixels lit by lamps after everything has been drawn, lit windows, and the halos of lamps."""

import math

import numpy as np
from numba import njit

from fleetloop.sim.cameras.fields import BoxField, CameraField, LampField, LightField
from fleetloop.sim.cameras.ground import mirror_share, row_depth, row_ray
from fleetloop.sim.cameras.lamps import lamp_light
from fleetloop.sim.cameras.pixels import (
    DEPTH_SHIFT,
    DRAWN,
    FINISHED,
    FULL,
    WETTED,
    fog_share,
    packed,
    unpacked,
)
from fleetloop.sim.cameras.polygons import to_camera

WINDOW_CELL_M = (2.6, 3.0)
"""Width and height of the part of a wall that one window has to itself."""
WINDOW_FROM, WINDOW_TO = (0.24, 0.34), (0.76, 0.8)
"""Where the window is in it, as shares across and up."""
LIT_WINDOWS = 72
"""Of 256 windows."""
WINDOW_COLOUR = (255.0, 206.0, 128.0)
DARK_GLASS = 0.45
"""Factor on the colour of the wall where a window is not lit."""
MIRROR_SHARPNESS = 7
"""Lamps on a wet road are mirrored with the exponent 2^7 of Blinn's half vector."""
GLARE_M, GLARE_LIGHT = 0.6, 0.75
"""Radius of a lamp's halo at full glare, and its brightness in the middle, of the lamp's."""
NEAREST_GLARE_M = 1.0
WIDEST_GLARE = 0.08
"""Largest radius, as a share of the picture's width."""

_X, _RANGE, _BEAM = int(LampField.X), int(LampField.RANGE_M), int(LampField.BEAM)
_COSINE, _SINE, _RED = int(LampField.COSINE), int(LampField.SINE), int(LampField.RED)
_BOX_COSINE, _BOX_SINE, _BOX_RED = int(BoxField.COSINE), int(BoxField.SINE), int(BoxField.RED)
_HALF_HEIGHT, _RADIUS = int(BoxField.HALF_HEIGHT), int(BoxField.RADIUS)
_GLOW, _WINDOWS = int(BoxField.GLOW), int(BoxField.WINDOWS)
_FOCAL, _RIGHT = int(CameraField.FOCAL_PX), int(CameraField.RIGHT)
_AMBIENT, _SUN, _HORIZON = int(LightField.AMBIENT), int(LightField.SUN), int(LightField.HORIZON)
_WETNESS, _GLARE, _ZENITH = int(LightField.WETNESS), int(LightField.GLARE), int(LightField.ZENITH)
_ZERO, _HALF, _ONE, _WHITE = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(255.0)
_FULL, _LEAST = np.float32(FULL), np.float32(1e-4)
_CELL_WIDTH, _CELL_HEIGHT = np.float32(WINDOW_CELL_M[0]), np.float32(WINDOW_CELL_M[1])
_FROM_ACROSS, _FROM_UP = np.float32(WINDOW_FROM[0]), np.float32(WINDOW_FROM[1])
_TO_ACROSS, _TO_UP = np.float32(WINDOW_TO[0]), np.float32(WINDOW_TO[1])
_WINDOW_COLOUR = tuple(np.float32(value) for value in WINDOW_COLOUR)
_DARK_GLASS, _GLARE_M, _GLARE_LIGHT = np.float32(DARK_GLASS), np.float32(GLARE_M), np.float32(GLARE_LIGHT)
_NEAREST_GLARE, _WIDEST_GLARE = np.float32(NEAREST_GLARE_M), np.float32(WIDEST_GLARE)
_SEEN_THROUGH = np.float32(1.001)
_BEAM_MIDDLE, _BEAM_RADIUS = np.float32(0.6), np.float32(0.75)
_QUARTER = np.float32(0.5 * math.pi - 1e-3)

# Rows of the scratch of one line of the picture.
_DEPTH, _NX, _NY, _NZ, _WET = 0, 1, 2, 3, 4
_PX, _PY, _PZ = 5, 6, 7
_ALBEDO, _LIGHT, _SHINE = 8, 11, 14
LINE_ROWS = 17


@njit(cache=True, fastmath=True)
def _span(side, depth, radius, focal, half, size):
    """First and one past the last pixel across which a ball may be seen, from its place in a plane."""
    distance = math.sqrt(side * side + depth * depth)
    if distance <= radius:
        return 0, size
    middle, wide = math.atan2(side, depth), math.asin(radius / distance)
    low, high = middle - wide, middle + wide
    if low >= _QUARTER or high <= -_QUARTER:
        return 0, 0
    first = 0 if low <= -_QUARTER else int(max(half + focal * math.tan(low), _ZERO))
    last = (
        size
        if high >= _QUARTER
        else int(min(max(half + focal * math.tan(high), _ZERO) + _ONE, np.float32(size)))
    )
    return first, last


@njit(cache=True, fastmath=True)
def _lamp_spans(camera, lamps, count, width, height, spans):
    """Fill spans [lamps, 4]: the columns and rows (first, one past the last) that each lamp may light."""
    focal = camera[_FOCAL]
    for index in range(count):
        lamp = lamps[index]
        ahead, radius = _ZERO, lamp[_RANGE]
        if lamp[_BEAM] > _ZERO:
            ahead, radius = lamp[_RANGE] * _BEAM_MIDDLE, lamp[_RANGE] * _BEAM_RADIUS
        x, y, z = to_camera(
            camera, lamp[_X] + ahead * lamp[_COSINE], lamp[_X + 1] + ahead * lamp[_SINE], lamp[_X + 2]
        )
        spans[index, 0], spans[index, 1] = _span(x, z, radius, focal, np.float32(width) * _HALF, width)
        spans[index, 2], spans[index, 3] = _span(y, z, radius, focal, np.float32(height) * _HALF, height)


@njit(cache=True, fastmath=True)
def window_hash(windows, across, up, face):
    """Eight bits for a window of a building; the mixing is Wellons' "lowbias32"."""
    value = np.uint32(np.int64(windows) * 65536 + np.int64(across) * 256 + np.int64(up) * 4 + face)
    value = np.uint32(value ^ (value >> np.uint32(16))) * np.uint32(0x7FEB352D)
    value = np.uint32(value ^ (value >> np.uint32(15))) * np.uint32(0x846CA68B)
    return int((value >> np.uint32(16)) & np.uint32(255))


@njit(cache=True, fastmath=True)
def _window(box, axis, positive, x, y, z):
    """0: this place of a building is wall; 1: dark glass; above 1: a lit window, brighter the higher."""
    dx, dy = x - box[0], y - box[1]
    across = dx * box[_BOX_COSINE] + dy * box[_BOX_SINE]
    if axis == 0:
        across = dy * box[_BOX_COSINE] - dx * box[_BOX_SINE]
    across = across / _CELL_WIDTH + np.float32(128.0)
    up = (z - box[2] + box[_HALF_HEIGHT]) / _CELL_HEIGHT
    column, floor = math.floor(across), math.floor(up)
    share_across, share_up = across - column, up - floor
    if (
        share_across < _FROM_ACROSS
        or share_across > _TO_ACROSS
        or share_up < _FROM_UP
        or share_up > _TO_UP
        or (floor + _ONE) * _CELL_HEIGHT > np.float32(2.0) * box[_HALF_HEIGHT] + _HALF
    ):
        return _ZERO
    bits = window_hash(box[_WINDOWS], column, floor, 2 * axis + int(positive))
    return _ONE + np.float32(LIT_WINDOWS - bits) / np.float32(LIT_WINDOWS) if bits < LIT_WINDOWS else _ONE


@njit(cache=True, fastmath=True)
def _decode_row(camera, light, boxes, row, image, line):
    """Read what a row shows into its scratch, line [LINE_ROWS, width]; depth 0 stands for a finished pixel.

    Lit windows are finished here. Returns whether anything is left to be lit.
    """
    height, width = image.shape
    ground = row_depth(camera, row, height)
    ray_x, ray_y, ray_z = row_ray(camera, np.float32(row) + _HALF, height)
    found = False
    for column in range(width):
        value = image[row, column]
        line[_DEPTH, column], line[_WET, column] = _ZERO, _ZERO
        line[_NX, column], line[_NY, column], line[_NZ, column] = _ZERO, _ZERO, _ONE
        if value < DRAWN:
            if ground == _ZERO:
                continue
            line[_DEPTH, column] = ground
            line[_WET, column] = light[_WETNESS] if value & WETTED else _ZERO
            line[_ALBEDO, column], line[_ALBEDO + 1, column], line[_ALBEDO + 2, column] = unpacked(value)
            found = True
            continue
        if value & FINISHED:
            continue
        found = True
        face = int(value & np.uint64(0xFFFFFFFF))
        box, axis, positive = boxes[face >> 3], (face >> 1) & 3, face & 1
        sign = _ONE if positive else -_ONE
        if axis == 0:
            line[_NX, column], line[_NY, column] = sign * box[_BOX_COSINE], sign * box[_BOX_SINE]
            line[_NZ, column] = _ZERO
        elif axis == 1:
            line[_NX, column], line[_NY, column] = -sign * box[_BOX_SINE], sign * box[_BOX_COSINE]
            line[_NZ, column] = _ZERO
        else:
            line[_NZ, column] = sign
        depth = _ONE / np.uint32(value >> DEPTH_SHIFT).view(np.float32)
        line[_DEPTH, column] = depth
        glass = _ZERO
        if box[_WINDOWS] > _ZERO and axis < 2:
            right = (np.float32(column) + _HALF - np.float32(width) * _HALF) / camera[_FOCAL]
            glass = _window(
                box,
                axis,
                positive,
                camera[0] + depth * (ray_x + right * camera[_RIGHT]),
                camera[1] + depth * (ray_y + right * camera[_RIGHT + 1]),
                camera[2] + depth * ray_z,
            )
        if glass > _ONE:
            fog = fog_share(light, depth)
            bright = np.float32(0.35) + np.float32(0.65) * (glass - _ONE)
            image[row, column] = (
                FINISHED
                | np.uint64(
                    packed(
                        bright * _WINDOW_COLOUR[0] + fog * (light[_HORIZON] - bright * _WINDOW_COLOUR[0]),
                        bright * _WINDOW_COLOUR[1] + fog * (light[_HORIZON + 1] - bright * _WINDOW_COLOUR[1]),
                        bright * _WINDOW_COLOUR[2] + fog * (light[_HORIZON + 2] - bright * _WINDOW_COLOUR[2]),
                        _FULL,
                    )
                )
                | (value >> DEPTH_SHIFT << DEPTH_SHIFT)
            )
            line[_DEPTH, column] = _ZERO
            continue
        factor = _DARK_GLASS if glass > _ZERO else _ONE
        for channel in range(3):
            line[_ALBEDO + channel, column] = box[_BOX_RED + channel] * factor
    return found


@njit(cache=True, fastmath=True)
def _start_light(camera, light, row, height, width, line):
    """Fill places and the light of sky and moon for a decoded row."""
    ray_x, ray_y, ray_z = row_ray(camera, np.float32(row) + _HALF, height)
    sun_x, sun_y, sun_z = light[0], light[1], light[2]
    for column in range(width):
        right = (np.float32(column) + _HALF - np.float32(width) * _HALF) / camera[_FOCAL]
        depth = line[_DEPTH, column]
        line[_PX, column] = camera[0] + depth * (ray_x + right * camera[_RIGHT])
        line[_PY, column] = camera[1] + depth * (ray_y + right * camera[_RIGHT + 1])
        line[_PZ, column] = camera[2] + depth * ray_z
        facing = max(line[_NX, column] * sun_x + line[_NY, column] * sun_y + line[_NZ, column] * sun_z, _ZERO)
        for channel in range(3):
            line[_LIGHT + channel, column] = light[_AMBIENT + channel] + light[_SUN + channel] * facing
            line[_SHINE + channel, column] = _ZERO


@njit(cache=True, fastmath=True)
def _add_lamp(lamp, first, stop, line):
    """Add the light of a lamp to the pixels first to stop - 1 of a row."""
    red, green, blue = lamp[_RED], lamp[_RED + 1], lamp[_RED + 2]
    for column in range(first, stop):
        share = lamp_light(
            lamp,
            line[_PX, column],
            line[_PY, column],
            line[_PZ, column],
            line[_NX, column],
            line[_NY, column],
            line[_NZ, column],
        )
        line[_LIGHT, column] += share * red
        line[_LIGHT + 1, column] += share * green
        line[_LIGHT + 2, column] += share * blue


@njit(cache=True, fastmath=True)
def mirrored(lamp, x, y, z, eye_x, eye_y, eye_z):
    """Share of a lamp that wet, rough, level ground at a point sends to the eye, by Blinn's half vector."""
    dx, dy, dz = lamp[_X] - x, lamp[_X + 1] - y, lamp[_X + 2] - z
    level = dx * dx + dy * dy + _LEAST
    square = level + dz * dz
    window = max(_ONE - square / (lamp[_RANGE] * lamp[_RANGE]), _ZERO)
    rim = _ONE
    if lamp[_BEAM] > -_ONE:
        rim = -(dx * lamp[_COSINE] + dy * lamp[_SINE]) / math.sqrt(level) - lamp[_BEAM]
        rim = min(max(rim / (_ONE - lamp[_BEAM]), _ZERO), _ONE)
    inverse = _ONE / math.sqrt(square)
    ex, ey, ez = eye_x - x, eye_y - y, eye_z - z
    inverse_eye = _ONE / math.sqrt(ex * ex + ey * ey + ez * ez)
    hx, hy = dx * inverse + ex * inverse_eye, dy * inverse + ey * inverse_eye
    hz = dz * inverse + ez * inverse_eye
    power = hz / math.sqrt(hx * hx + hy * hy + hz * hz + _LEAST)
    power = max(power, _ZERO)
    for _ in range(MIRROR_SHARPNESS):
        power *= power
    return power * window * rim


@njit(cache=True, fastmath=True)
def _add_shine(camera, lamp, first, stop, line):
    """Add what wet ground mirrors of a lamp to the pixels first to stop - 1 of a row."""
    for column in range(first, stop):
        if line[_WET, column] > _ZERO:
            share = line[_WET, column] * mirrored(
                lamp,
                line[_PX, column],
                line[_PY, column],
                line[_PZ, column],
                camera[0],
                camera[1],
                camera[2],
            )
            for channel in range(3):
                line[_SHINE + channel, column] += share * lamp[_RED + channel]


@njit(cache=True, fastmath=True)
def _finish_row(light, mirror, row, image, line):
    """Pack the colours of a row that has all its light."""
    for column in range(image.shape[1]):
        depth = line[_DEPTH, column]
        if depth > _ZERO:
            fog = fog_share(light, depth)
            wet = mirror if line[_WET, column] > _ZERO else _ZERO
            red = line[_ALBEDO, column] * line[_LIGHT, column]
            green = line[_ALBEDO + 1, column] * line[_LIGHT + 1, column]
            blue = line[_ALBEDO + 2, column] * line[_LIGHT + 2, column]
            red = min(red + wet * (light[_HORIZON] - red) + _WHITE * line[_SHINE, column], _WHITE)
            green = min(
                green + wet * (light[_HORIZON + 1] - green) + _WHITE * line[_SHINE + 1, column], _WHITE
            )
            blue = min(blue + wet * (light[_HORIZON + 2] - blue) + _WHITE * line[_SHINE + 2, column], _WHITE)
            image[row, column] = (image[row, column] >> DEPTH_SHIFT << DEPTH_SHIFT) | np.uint64(
                packed(
                    red + fog * (light[_HORIZON] - red),
                    green + fog * (light[_HORIZON + 1] - green),
                    blue + fog * (light[_HORIZON + 2] - blue),
                    _FULL,
                )
            )


@njit(cache=True, fastmath=True)
def light_by_lamps(camera, light, boxes, lamps, lamp_count, image):
    """Turn faces and unlit ground into colours: sky, moon and every lamp, then what wet ground mirrors, haze."""
    height, width = image.shape
    line, spans = np.empty((LINE_ROWS, width), np.float32), np.empty((len(lamps), 4), np.int64)
    _lamp_spans(camera, lamps, lamp_count, width, height, spans)
    for row in range(height):
        if not _decode_row(camera, light, boxes, row, image, line):
            continue
        _start_light(camera, light, row, height, width, line)
        for index in range(lamp_count):
            first, stop = spans[index, 0], spans[index, 1]
            if spans[index, 2] <= row < spans[index, 3] and first < stop:
                _add_lamp(lamps[index], first, stop, line)
                if light[_WETNESS] > _ZERO:
                    _add_shine(camera, lamps[index], first, stop, line)
        mirror = _ZERO
        if light[_WETNESS] > _ZERO:
            x, y, z = row_ray(camera, np.float32(row) + _HALF, height)
            mirror = mirror_share(light, min(max(-z / math.sqrt(x * x + y * y + z * z), _ZERO), _ONE))
        _finish_row(light, mirror, row, image, line)


@njit(cache=True, fastmath=True)
def add_glare(camera, light, boxes, count, image, out):
    """Brighten the picture around every lit lamp that is seen. `image` still has the depths."""
    height, width = image.shape
    focal = camera[_FOCAL]
    for index in range(count):
        box = boxes[index]
        if box[_GLOW] == _ZERO:
            continue
        x, y, z = to_camera(camera, box[0], box[1], box[2])
        if z < _NEAREST_GLARE:
            continue
        column = np.float32(width) * _HALF + focal * x / z
        row = np.float32(height) * _HALF + focal * y / z
        if column < _ZERO or row < _ZERO or column >= np.float32(width) or row >= np.float32(height):
            continue
        there = image[int(row), int(column)]
        nearest = _SEEN_THROUGH / max(z - box[_RADIUS], _LEAST)
        if there >= DRAWN and np.uint32(there >> DEPTH_SHIFT).view(np.float32) > nearest:
            continue
        _add_halo(light, box, column, row, min(focal * _GLARE_M / z, _WIDEST_GLARE * np.float32(width)), out)


@njit(cache=True, fastmath=True)
def _add_halo(light, box, column, row, radius, out):
    """A disc of light that fades to its rim; sums saturate, so that their order does not matter."""
    height, width, _ = out.shape
    radius = max(radius, _ONE)
    strength = light[_GLARE] * _GLARE_LIGHT
    for i in range(max(int(row - radius), 0), min(int(row + radius) + 1, height)):
        for j in range(max(int(column - radius), 0), min(int(column + radius) + 1, width)):
            dx, dy = np.float32(j) + _HALF - column, np.float32(i) + _HALF - row
            share = _ONE - math.sqrt(dx * dx + dy * dy) / radius
            if share > _ZERO:
                for channel in range(3):
                    added = np.int32(box[_BOX_RED + channel] * strength * share * share)
                    out[i, j, channel] = np.uint8(min(np.int32(out[i, j, channel]) + added, np.int32(255)))
