"""What rain does to a picture itself: falling drops as streaks, and drops on the glass."""

import numpy as np

from fleetloop.core.random import Stream, bits
from fleetloop.sim.cameras.fields import LightField
from fleetloop.sim.cameras.kernels import device

_STREAM = int(Stream.APPEARANCE)
_STREAKS_ACROSS, _STREAKS_DOWN = 20, 6
"""Cells of the picture; each has at most one streak, so that streaks never cross."""
_DROPS = 7
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
def add_streaks(light, key, out):
    """Blend streaks of falling rain towards the colour of the sky; `key` changes with every picture."""
    height, width, _ = out.shape
    across, down = min(_STREAKS_ACROSS, width // 3), min(_STREAKS_DOWN, height // 4)
    thick = max(width // 480, 1)
    for cell in range(across * down):
        if _drawn(key, 5 * cell) > light[_RAIN]:
            continue
        left, top = (cell % across) * width // across, (cell // across) * height // down
        high = (cell // across + 1) * height // down - top
        wide = (cell % across + 1) * width // across - left
        length = int(np.float32(high) * (np.float32(0.35) + np.float32(0.65) * _drawn(key, 5 * cell + 1)))
        start = top + int(_drawn(key, 5 * cell + 2) * np.float32(high - length))
        column = np.float32(left) + _drawn(key, 5 * cell + 3) * np.float32(wide)
        share = _STREAK_LIGHT * (_HALF + _HALF * _drawn(key, 5 * cell + 4))
        for row in range(start, start + length):
            at = int(column + _SLANT * np.float32(start - row))
            for j in range(max(at, 0), min(at + thick, width)):
                for channel in range(3):
                    value = np.float32(out[row, j, channel])
                    bright = light[_HORIZON + channel] + np.float32(30.0)
                    out[row, j, channel] = np.uint8(min(value + share * (bright - value) + _HALF, _WHITE))


@device
def add_drops(light, key, out):
    """Drops on the glass: each shows what is behind it upside down, and darker; `key` lasts for a while."""
    height, width, _ = out.shape
    for drop in range(_DROPS):
        if _drawn(key, 4 * drop) > light[_RAIN]:
            continue
        radius = (
            _DROP_RADIUS * np.float32(width) * (np.float32(0.4) + np.float32(0.6) * _drawn(key, 4 * drop + 1))
        )
        column = int(_drawn(key, 4 * drop + 2) * np.float32(width))
        row = int(_drawn(key, 4 * drop + 3) * np.float32(height))
        reach = int(radius)
        for i in range(reach + 1):
            above, below = row - i, row + i
            if above < 0 or below >= height:
                continue
            half = int(np.sqrt(max(radius * radius - np.float32(i * i), _ZERO)))
            for j in range(max(column - half, 0), min(column + half + 1, width)):
                for channel in range(3):
                    upper, lower = out[above, j, channel], out[below, j, channel]
                    out[above, j, channel] = np.uint8(np.float32(lower) * np.float32(0.86))
                    if i > 0:
                        out[below, j, channel] = np.uint8(np.float32(upper) * np.float32(0.94))
