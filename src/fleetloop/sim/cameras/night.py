"""The dark: pixels lit by lamps after everything has been drawn, and windows with light behind them."""

import math

import numpy as np
from numba import njit

from fleetloop.sim.cameras.fields import BoxField, CameraField, LampField, LightField
from fleetloop.sim.cameras.ground import mirror_share, row_depth, row_ray, row_slope
from fleetloop.sim.cameras.kernels import device
from fleetloop.sim.cameras.lamps import lamp_in_registers, lamp_light
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
from fleetloop.sim.cameras.windows import DARK_GLASS, DIMMEST_WINDOW, WINDOW_COLOUR, ways_on_wall, window

_X, _RANGE, _BEAM = int(LampField.X), int(LampField.RANGE_M), int(LampField.BEAM)
_COSINE, _SINE, _RED = int(LampField.COSINE), int(LampField.SINE), int(LampField.RED)
_BOX_COSINE, _BOX_SINE, _BOX_RED = int(BoxField.COSINE), int(BoxField.SINE), int(BoxField.RED)
_WINDOWS = int(BoxField.WINDOWS)
_FOCAL, _RIGHT = int(CameraField.FOCAL_PX), int(CameraField.RIGHT)
_AMBIENT, _SUN, _HORIZON = int(LightField.AMBIENT), int(LightField.SUN), int(LightField.HORIZON)
_WETNESS = int(LightField.WETNESS)
_FOG_START, _FOG_PER_M = int(LightField.FOG_START_M), int(LightField.FOG_PER_M)
_ZERO, _HALF, _ONE, _WHITE = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(255.0)
_FULL, _LEAST, _TINY = np.float32(FULL), np.float32(1e-4), np.float32(1e-9)
_WINDOW_COLOUR = tuple(np.float32(value) for value in WINDOW_COLOUR)
_DARK_GLASS, _DIMMEST_WINDOW = np.float32(DARK_GLASS), np.float32(DIMMEST_WINDOW)
_BEAM_MIDDLE, _BEAM_RADIUS = np.float32(0.6), np.float32(0.75)
_QUARTER = np.float32(0.5 * math.pi - 1e-3)

# Rows of the scratch of one line of the picture.
_DEPTH, _NX, _NY, _NZ, _WET = 0, 1, 2, 3, 4
_PX, _PY, _PZ = 5, 6, 7
_ALBEDO, _LIGHT, _SHINE, _SHARE = 8, 11, 14, 17
LINE_ROWS = 18


@device
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


@device
def lamp_span(camera, lamps, index, view, spans):
    """Fill a row of spans [lamps, 4]: the columns and rows (first, one past the last) that a lamp may light."""
    focal, height, width = camera[_FOCAL], view[2], view[3]
    lamp = lamps[index]
    ahead, radius = _ZERO, lamp[_RANGE]
    if lamp[_BEAM] > _ZERO:
        ahead, radius = lamp[_RANGE] * _BEAM_MIDDLE, lamp[_RANGE] * _BEAM_RADIUS
    x, y, z = to_camera(
        camera, lamp[_X] + ahead * lamp[_COSINE], lamp[_X + 1] + ahead * lamp[_SINE], lamp[_X + 2]
    )
    spans[index, 0], spans[index, 1] = _span(x, z, radius, focal, np.float32(width) * _HALF, width)
    spans[index, 2], spans[index, 3] = _span(y, z, radius, focal, np.float32(height) * _HALF, height)


@device
def _stretch(spans, index, left, length):
    """First and one past the last pixel of a piece of a row that a lamp may light; the piece begins at `left`."""
    first = min(max(spans[index, 0] - left, 0), length)
    return np.uint64(first), np.uint64(min(max(spans[index, 1] - left, first), length))


@device
def _decode_ground(pixels, first, stop, depth, wetness, line):
    """Read ground, unlit and of one depth, from the pixels first to stop - 1 of a row."""
    for column in range(np.uint64(first), np.uint64(stop)):
        value = pixels[column]
        line[_DEPTH, column] = depth
        line[_NX, column], line[_NY, column], line[_NZ, column] = _ZERO, _ZERO, _ONE
        line[_WET, column] = wetness if value & WETTED else _ZERO
        line[_ALBEDO, column], line[_ALBEDO + 1, column], line[_ALBEDO + 2, column] = unpacked(value)


@device
def _decode_face(pixels, first, stop, box, axis, positive, line):
    """Read one face of a box from the pixels first to stop - 1 of a row."""
    sign = _ONE if positive else -_ONE
    normal_x, normal_y, normal_z = _ZERO, _ZERO, _ZERO
    if axis == 0:
        normal_x, normal_y = sign * box[_BOX_COSINE], sign * box[_BOX_SINE]
    elif axis == 1:
        normal_x, normal_y = -sign * box[_BOX_SINE], sign * box[_BOX_COSINE]
    else:
        normal_z = sign
    red, green, blue = box[_BOX_RED], box[_BOX_RED + 1], box[_BOX_RED + 2]
    for column in range(np.uint64(first), np.uint64(stop)):
        line[_DEPTH, column] = _ONE / np.uint32(pixels[column] >> DEPTH_SHIFT).view(np.float32)
        line[_NX, column], line[_NY, column], line[_NZ, column] = normal_x, normal_y, normal_z
        line[_WET, column] = _ZERO
        line[_ALBEDO, column], line[_ALBEDO + 1, column], line[_ALBEDO + 2, column] = red, green, blue


@device
def _draw_windows(camera, light, row, view, pixels, first, stop, box, axis, positive, line):
    """Windows in the pixels first to stop - 1 of a row, which show a wall: dark glass, or lit and so finished."""
    depth, glass = line[_DEPTH], line[_SHARE]
    across_start, deep, across_right, across_down, up_start, up_deep, up_down, floors = ways_on_wall(
        camera, box, axis, view
    )
    y = np.float32(row) + _HALF
    across_deep = deep + (np.float32(view[1]) + _HALF) * across_right + y * across_down
    row_up = up_deep + y * up_down
    pattern, face = np.int32(box[_WINDOWS]), np.int32(2 * axis + int(positive))
    for column in range(np.uint64(first), np.uint64(stop)):
        across = across_start + depth[column] * (across_deep + np.float32(np.int32(column)) * across_right)
        glass[column] = window(pattern, face, across, up_start + depth[column] * row_up, floors)
    for column in range(np.uint64(first), np.uint64(stop)):
        if glass[column] > _ONE:
            fog = fog_share(light, depth[column])
            bright = _DIMMEST_WINDOW + (_ONE - _DIMMEST_WINDOW) * (glass[column] - _ONE)
            red, green, blue = (
                bright * _WINDOW_COLOUR[0],
                bright * _WINDOW_COLOUR[1],
                bright * _WINDOW_COLOUR[2],
            )
            colour = packed(
                red + fog * (light[_HORIZON] - red),
                green + fog * (light[_HORIZON + 1] - green),
                blue + fog * (light[_HORIZON + 2] - blue),
                _FULL,
            )
            pixels[column] = (pixels[column] >> DEPTH_SHIFT << DEPTH_SHIFT) | np.uint64(colour) | FINISHED
            depth[column] = _ZERO
        elif glass[column] > _ZERO:
            for channel in range(3):
                line[_ALBEDO + channel, column] *= _DARK_GLASS


@device
def _decode_row(camera, light, boxes, row, view, pixels, line):
    """Read what a piece of a row shows into its scratch; depth 0 stands for a finished pixel.

    Equal neighbours are read as one run. Returns whether anything is left to be lit.
    """
    width, height = len(pixels), view[2]
    ground = row_depth(camera, row, height)
    found, first = False, 0
    while first < width:
        value, stop = pixels[first], first + 1
        if value < DRAWN:
            while stop < width and pixels[stop] < DRAWN:
                stop += 1
            line[_DEPTH, first:stop] = _ZERO
            if ground > _ZERO:
                found = True
                _decode_ground(pixels, first, stop, ground, light[_WETNESS], line)
        else:
            face = np.uint32(value)
            while stop < width and np.uint32(pixels[stop]) == face and pixels[stop] >= DRAWN:
                stop += 1
            if value & FINISHED:
                line[_DEPTH, first:stop] = _ZERO
            else:
                found = True
                box, axis, positive = boxes[face >> 3], (face >> 1) & 3, face & 1
                _decode_face(pixels, first, stop, box, axis, positive, line)
                if box[_WINDOWS] > _ZERO and axis < 2:
                    _draw_windows(camera, light, row, view, pixels, first, stop, box, axis, positive, line)
        first = stop
    return found


@device
def _start_light(camera, light, row, view, line):
    """Fill places and the light of sky and moon for a decoded piece of a row."""
    _, left, height, width = view
    ray = row_ray(camera, np.float32(row) + _HALF, height)
    depth, facing = line[_DEPTH], line[_SHARE]
    for k in range(3):
        place, along = line[_PX + k], camera[_RIGHT + k] / camera[_FOCAL]
        here, start = camera[k], ray[k] + (_HALF + np.float32(left) - np.float32(width) * _HALF) * along
        for column in range(len(place)):
            place[column] = here + depth[column] * (start + np.float32(np.int32(column)) * along)
    nx, ny, nz = line[_NX], line[_NY], line[_NZ]
    sun_x, sun_y, sun_z = light[0], light[1], light[2]
    for column in range(len(facing)):
        facing[column] = max(nx[column] * sun_x + ny[column] * sun_y + nz[column] * sun_z, _ZERO)
    for channel in range(3):
        ambient, sun, total = light[_AMBIENT + channel], light[_SUN + channel], line[_LIGHT + channel]
        for column in range(len(total)):
            total[column] = ambient + sun * facing[column]
        line[_SHINE + channel, :] = _ZERO


@device
def _add_lamps(lamps, count, spans, row, left, line):
    """Add the light of all lamps to the pixels of a decoded piece of a row.

    One result a loop, the lamp in registers, and indices without a sign: otherwise the compiler would not use
    vector instructions.
    """
    x, y, z, nx, ny, nz = line[_PX], line[_PY], line[_PZ], line[_NX], line[_NY], line[_NZ]
    shares, reds, greens, blues = line[_SHARE], line[_LIGHT], line[_LIGHT + 1], line[_LIGHT + 2]
    for index in range(count):
        if row < spans[index, 2] or row >= spans[index, 3]:
            continue
        first, stop = _stretch(spans, index, left, len(shares))
        lamp = lamp_in_registers(lamps[index])
        for k in range(first, stop):
            shares[k] = lamp_light(lamp, x[k], y[k], z[k], nx[k], ny[k], nz[k])
        for k in range(first, stop):
            reds[k] += shares[k] * lamp[_RED]
            greens[k] += shares[k] * lamp[_RED + 1]
            blues[k] += shares[k] * lamp[_RED + 2]


@device
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
    power = hz / math.sqrt(hx * hx + hy * hy + hz * hz + _TINY)
    power = max(power, _ZERO)
    # To the 2^7: a rough road smears a lamp, but does not lose it.
    power *= power
    power *= power
    power *= power
    power *= power
    power *= power
    power *= power
    power *= power
    return power * window * rim


@device
def _add_shine(camera, lamps, count, spans, row, left, line):
    """Add what wet ground mirrors of all lamps to the pixels of a piece of a row."""
    x, y, z, wet = line[_PX], line[_PY], line[_PZ], line[_WET]
    shares, reds, greens, blues = line[_SHARE], line[_SHINE], line[_SHINE + 1], line[_SHINE + 2]
    eye_x, eye_y, eye_z = camera[0], camera[1], camera[2]
    for index in range(count):
        if row < spans[index, 2] or row >= spans[index, 3]:
            continue
        first, stop = _stretch(spans, index, left, len(shares))
        lamp = lamp_in_registers(lamps[index])
        for k in range(first, stop):
            shares[k] = wet[k] * mirrored(lamp, x[k], y[k], z[k], eye_x, eye_y, eye_z)
        for k in range(first, stop):
            reds[k] += shares[k] * lamp[_RED]
            greens[k] += shares[k] * lamp[_RED + 1]
            blues[k] += shares[k] * lamp[_RED + 2]


@device
def _finish_row(light, mirror, pixels, line):
    """Pack the colours of a piece of a row that has all its light."""
    depth, wet = line[_DEPTH], line[_WET]
    fog_start, fog_per_m = light[_FOG_START], light[_FOG_PER_M]
    for channel in range(3):
        colour, total, shine = line[_ALBEDO + channel], line[_LIGHT + channel], line[_SHINE + channel]
        horizon = light[_HORIZON + channel]
        for k in range(len(colour)):
            lit = min(colour[k] * total[k], _WHITE)
            lit += (mirror if wet[k] > _ZERO else _ZERO) * (horizon - lit) + _WHITE * shine[k]
            lit = min(lit, _WHITE)
            fog = min(max((depth[k] - fog_start) * fog_per_m, _ZERO), _ONE)
            colour[k] = lit + fog * (horizon - lit)
    red, green, blue = line[_ALBEDO], line[_ALBEDO + 1], line[_ALBEDO + 2]
    for k in range(len(pixels)):
        if depth[k] > _ZERO:
            colour = packed(max(red[k], _ZERO), max(green[k], _ZERO), max(blue[k], _ZERO), _FULL)
            pixels[k] = (pixels[k] >> DEPTH_SHIFT << DEPTH_SHIFT) | np.uint64(colour)


@device
def light_row(camera, light, boxes, lamps, lamp_count, spans, row, view, pixels, line):
    """Turn faces and unlit ground into colours: sky, moon and every lamp, then what wet ground mirrors, haze.

    Args:
        spans: as `lamp_span` fills them.
        row: of the picture; view: of a piece of this row.
        pixels: of the piece; changed.
        line: room for float32 [LINE_ROWS, pixels].
    """
    if not _decode_row(camera, light, boxes, row, view, pixels, line):
        return
    _start_light(camera, light, row, view, line)
    _add_lamps(lamps, lamp_count, spans, row, view[1], line)
    mirror = _ZERO
    if light[_WETNESS] > _ZERO and row_depth(camera, row, view[2]) > _ZERO:
        _add_shine(camera, lamps, lamp_count, spans, row, view[1], line)
        mirror = mirror_share(light, row_slope(camera, row, view[2]))
    _finish_row(light, mirror, pixels, line)


@njit(cache=True, fastmath=True, error_model="numpy")
def light_by_lamps(camera, light, boxes, lamps, lamp_count, image):
    """`light_row` for all rows of a whole picture."""
    height, width = image.shape
    view = (0, 0, height, width)
    line, spans = np.empty((LINE_ROWS, width), np.float32), np.empty((len(lamps), 4), np.int64)
    for index in range(lamp_count):
        lamp_span(camera, lamps, index, view, spans)
    for row in range(height):
        light_row(camera, light, boxes, lamps, lamp_count, spans, row, view, image[row], line)
