"""What stands still, as boxes, signs and lamps in the ego frame: found cell by cell, the nearest first."""

import math

import numpy as np

from fleetloop.core.types import BOX_CELL_M, STREET_LAMP, SignalColour
from fleetloop.sim.cameras.fields import SignField
from fleetloop.sim.cameras.kernels import device
from fleetloop.sim.cameras.lamps import STREET_ROW, offer_lamp
from fleetloop.sim.cameras.users import put_box
from fleetloop.sim.signals import phase_colour_at

STATIC_RANGE_M = 110.0
"""Static boxes and signs farther than this from the rear axle are not drawn."""
UNLIT_RANGE_M = 45.0
"""Of the lamps of signals that are not lit."""
UNLIT = 0.12
"""Factor on their colour."""
GLARE_RAD = 0.0045
"""A lit lamp glares: it never looks smaller than this half angle, about a pixel of the narrow camera."""
BUILDING_HALF_M = (2.4, 2.4, 2.2)
"""Static boxes larger than this (half sizes along, across, up) are taken for buildings, which have windows."""
WINDOW_PATTERNS = 4096

_SIGN_HALF_WIDTH, _SIGN_IMAGE = int(SignField.HALF_WIDTH), int(SignField.IMAGE)
_GREEN, _GREEN_YIELD = int(SignalColour.GREEN), int(SignalColour.GREEN_YIELD)
_RINGS = math.ceil(STATIC_RANGE_M / BOX_CELL_M)
_CELL_M, _RANGE_M = np.float32(BOX_CELL_M), np.float32(STATIC_RANGE_M)
_UNLIT, _UNLIT_RANGE_M, _GLARE_RAD = np.float32(UNLIT), np.float32(UNLIT_RANGE_M), np.float32(GLARE_RAD)
_BUILDING_LENGTH, _BUILDING_WIDTH, _BUILDING_HEIGHT = (np.float32(value) for value in BUILDING_HALF_M)
_PATTERNS = np.float32(WINDOW_PATTERNS)
_ACROSS, _ALONG = np.float32(7.0), np.float32(64.0)
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


@device
def _windows_of(box):
    """Which windows of a static box are lit, as a number from 1 that follows from its place; 0 without any."""
    if box[4] < _BUILDING_LENGTH or box[5] < _BUILDING_WIDTH or box[6] < _BUILDING_HEIGHT:
        return _ZERO
    place = abs(math.floor(box[0] * _ACROSS) + math.floor(box[1]) * _ALONG)
    return _ONE + np.float32(place % _PATTERNS)


@device
def _signal_glow(signal, lamp, signals, clock_s, distance):
    """1 when the lamp of a signal is lit, 0 when not, -1 when it is not worth drawing."""
    shown = phase_colour_at(signals[0], signals[1], signals[2], signals[3], signals[4], signal, clock_s)
    if shown == _GREEN_YIELD:
        shown = _GREEN
    if shown == lamp:
        return 1
    return -1 if distance > _UNLIT_RANGE_M else 0


@device
def _gather_cell(first, end, ego, clock_s, statics, signals, tint, dark, boxes, count):
    """Static boxes first to end - 1 that are near the ego; returns how many boxes there are now."""
    static_boxes, box_signal, box_lamp = statics
    cosine, sine = math.cos(ego[2]), math.sin(ego[2])
    for index in range(first, end):
        box = static_boxes[index]
        dx, dy = box[0] - ego[0], box[1] - ego[1]
        distance = math.sqrt(dx * dx + dy * dy)
        if distance - max(box[4], box[5]) > _RANGE_M:
            continue
        if count >= len(boxes):
            return count
        glow = 0
        scale, smallest = _ONE, _ZERO
        if box_signal[index] >= 0:
            glow = _signal_glow(box_signal[index], box_lamp[index], signals, clock_s, distance)
            if glow < 0:
                continue
            scale = _ONE if glow else _UNLIT
            smallest = _GLARE_RAD * distance if glow else _ZERO
        elif dark and box_lamp[index] == STREET_LAMP:
            glow = 1
        yaw = box[3] - ego[2]
        red, green, blue = box[7] * scale, box[8] * scale, box[9] * scale
        if glow == 0:
            red, green, blue = red * tint[0], green * tint[1], blue * tint[2]
        put_box(
            boxes[count],
            cosine * dx + sine * dy,
            cosine * dy - sine * dx,
            box[2],
            math.cos(yaw),
            math.sin(yaw),
            max(box[4], smallest),
            max(box[5], smallest),
            max(box[6], smallest),
            red,
            green,
            blue,
            np.float32(glow),
            _windows_of(box),
        )
        count += 1
    return count


@device
def _gather_cell_lamps(first, end, ego, static_boxes, box_lamp, strength, lamps, count):
    """Street lamps among the static boxes first to end - 1; returns how many lamps there are now."""
    cosine, sine = math.cos(ego[2]), math.sin(ego[2])
    for index in range(first, end):
        if box_lamp[index] == STREET_LAMP:
            box = static_boxes[index]
            dx, dy = box[0] - ego[0], box[1] - ego[1]
            x, y, z = cosine * dx + sine * dy, cosine * dy - sine * dx, box[2] - box[6]
            count = offer_lamp(STREET_ROW, x, y, z, _ZERO, _ZERO, strength, lamps, count)
    return count


@device
def _gather_cell_signs(first, end, ego, signs, sign_image, gathered, count):
    """Signs first to end - 1 that are near the ego; returns how many there are now."""
    cosine, sine = math.cos(ego[2]), math.sin(ego[2])
    for index in range(first, end):
        sign = signs[index]
        dx, dy = sign[0] - ego[0], sign[1] - ego[1]
        if dx * dx + dy * dy > _RANGE_M * _RANGE_M:
            continue
        if count >= len(gathered):
            return count
        row, yaw = gathered[count], sign[3] - ego[2]
        row[0], row[1], row[2] = cosine * dx + sine * dy, cosine * dy - sine * dx, sign[2]
        row[3], row[4] = math.cos(yaw), math.sin(yaw)
        row[_SIGN_HALF_WIDTH], row[_SIGN_HALF_WIDTH + 1] = sign[4], sign[5]
        row[_SIGN_IMAGE] = np.float32(sign_image[index])
        count += 1
    return count


@device
def gather_static(ego, clock_s, town, grid, statics, signals, signs, tint, dark, strength, out, counts):
    """Visit cells in growing rings around the ego, the nearest first.

    Args:
        grid: town_origin_m, town_cells_shape, town_first_cell, cell_start and sign_start of World.
        statics: boxes, box_signal and box_lamp of World.
        signs: signs and sign_image of World.
        dark: lamps burn.
        strength: of the light of lamps; at 0 they are not gathered.
        out: boxes, signs and lamps of the scene, to be appended to.
        counts: how many of each there are; changed.
    """
    boxes, gathered_signs, lamps = out
    origin, cells_shape, first_cell = grid[0][town], grid[1][town], grid[2][town]
    cell_start, sign_start = grid[3], grid[4]
    row = math.floor((ego[1] - origin[1]) / _CELL_M)
    column = math.floor((ego[0] - origin[0]) / _CELL_M)
    for ring in range(_RINGS + 1):
        for cell_row in range(max(row - ring, 0), min(row + ring + 1, cells_shape[0])):
            whole_row = cell_row == row - ring or cell_row == row + ring
            step = 1 if whole_row or ring == 0 else 2 * ring
            for cell_column in range(column - ring, column + ring + 1, step):
                if cell_column < 0 or cell_column >= cells_shape[1]:
                    continue
                cell = first_cell + cell_row * cells_shape[1] + cell_column
                first, end = cell_start[cell], cell_start[cell + 1]
                counts[0] = _gather_cell(
                    first, end, ego, clock_s, statics, signals, tint, dark, boxes, counts[0]
                )
                counts[1] = _gather_cell_signs(
                    sign_start[cell], sign_start[cell + 1], ego, signs[0], signs[1], gathered_signs, counts[1]
                )
                if strength > _ZERO:
                    counts[2] = _gather_cell_lamps(
                        first, end, ego, statics[0], statics[2], strength, lamps, counts[2]
                    )
