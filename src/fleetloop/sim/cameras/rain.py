"""What rain does to a picture itself: falling drops as streaks, and drops on the glass."""

import math

import numpy as np

from fleetloop.core.random import Stream, bits
from fleetloop.sim.cameras.fields import LightField
from fleetloop.sim.cameras.kernels import device

_STREAM = int(Stream.APPEARANCE)
_STREAKS_ACROSS, _STREAKS_DOWN = 20, 6
"""Cells of the picture; each has at most one streak, so that streaks never cross."""
DROPS = 7
"""Most drops on the glass."""
_DROP_RADIUS = np.float32(0.022)
"""Of the largest drop on the glass, as a share of the picture's width."""
_STREAK_LIGHT = np.float32(0.34)
_SLANT = np.float32(0.12)
_RAIN, _HORIZON = int(LightField.RAIN), int(LightField.HORIZON)
_SHIFT, _UNIT = np.uint64(40), np.float32(1.0 / 16777216.0)
_ZERO, _HALF, _ONE, _WHITE = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(255.0)


@device
def _drawn(key, number):
    """A uniform float32 in [0, 1) from a key."""
    return np.float32(bits(key, 0, 0, _STREAM, number) >> _SHIFT) * _UNIT


@device
def add_streaks(light, key, out, view):
    """Blend streaks of falling rain towards the colour of the sky; `key` changes with every picture.

    `out` are whole rows of the picture.
    """
    first_row, _, height, width = view
    across, down = min(_STREAKS_ACROSS, width // 3), min(_STREAKS_DOWN, height // 4)
    thick = max(width // 480, 1)
    end_row = first_row + out.shape[0]
    for cell_row in range(down):
        top, bottom = cell_row * height // down, (cell_row + 1) * height // down
        if top >= end_row or bottom <= first_row:
            continue
        for cell in range(cell_row * across, (cell_row + 1) * across):
            if _drawn(key, 5 * cell) > light[_RAIN]:
                continue
            left = (cell % across) * width // across
            wide = (cell % across + 1) * width // across - left
            high = bottom - top
            length = int(np.float32(high) * (np.float32(0.35) + np.float32(0.65) * _drawn(key, 5 * cell + 1)))
            start = top + int(_drawn(key, 5 * cell + 2) * np.float32(high - length))
            column = np.float32(left) + _drawn(key, 5 * cell + 3) * np.float32(wide)
            share = _STREAK_LIGHT * (_HALF + _HALF * _drawn(key, 5 * cell + 4))
            for row in range(max(start, first_row), min(start + length, end_row)):
                at = int(column + _SLANT * np.float32(start - row))
                for j in range(max(at, 0), min(at + thick, width)):
                    for channel in range(3):
                        value = np.float32(out[row - first_row, j, channel])
                        bright = light[_HORIZON + channel] + np.float32(30.0)
                        value = min(value + share * (bright - value) + _HALF, _WHITE)
                        out[row - first_row, j, channel] = np.uint8(value)


@device
def drop_on_glass(light, key, drop, height, width):
    """(column, row, radius) of a drop in the picture; radius 0 where there is none."""
    if _drawn(key, 4 * drop) > light[_RAIN]:
        return 0, 0, _ZERO
    radius = (
        _DROP_RADIUS * np.float32(width) * (np.float32(0.4) + np.float32(0.6) * _drawn(key, 4 * drop + 1))
    )
    column = int(_drawn(key, 4 * drop + 2) * np.float32(width))
    row = int(_drawn(key, 4 * drop + 3) * np.float32(height))
    return column, row, radius


@device
def mirror_rows(column, row, radius, i, out):
    """Swap what a drop shows `i` rows above its middle with what it shows as many below, and darken both."""
    height, width, _ = out.shape
    above, below = row - i, row + i
    if above < 0 or below >= height:
        return
    half = int(math.sqrt(max(radius * radius - np.float32(i * i), _ZERO)))
    for j in range(max(column - half, 0), min(column + half + 1, width)):
        for channel in range(3):
            upper, lower = out[above, j, channel], out[below, j, channel]
            out[above, j, channel] = np.uint8(np.float32(lower) * np.float32(0.86))
            if i > 0:
                out[below, j, channel] = np.uint8(np.float32(upper) * np.float32(0.94))


@device
def add_drops(light, key, out):
    """Drops on the glass: each shows what is behind it upside down, and darker; `key` lasts for a while."""
    height, width, _ = out.shape
    for drop in range(DROPS):
        column, row, radius = drop_on_glass(light, key, drop, height, width)
        if radius > _ZERO:
            for i in range(int(radius) + 1):
                mirror_rows(column, row, radius, i, out)
