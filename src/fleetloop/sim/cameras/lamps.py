"""Lamps that light what is near them in the dark: head lights, street lamps, blue lights.

The fall-off is a model for pictures, not photometry: smooth, bounded, nothing beyond the range. A low beam is
nearly even on the road as far as it reaches and dark above its cut-off, as UN Regulation 112 asks
(https://unece.org/transport/vehicle-regulations); it is drawn as one lamp in the middle of the bumper.
"""

import math

import numpy as np

from fleetloop.core.types import VEHICLE_SIZES, AgentKind
from fleetloop.sim.cameras.fields import LAMP_FIELDS, LampField
from fleetloop.sim.cameras.kernels import device

MAX_LAMPS = 12
"""Most lamps of one scene: the ego's own, then the nearest of others."""

_X, _Y, _Z, _COSINE, _SINE = (
    int(LampField.X),
    int(LampField.Y),
    int(LampField.Z),
    int(LampField.COSINE),
    int(LampField.SINE),
)
_RED, _RANGE, _HALF_RANGE = int(LampField.RED), int(LampField.RANGE_M), int(LampField.HALF_M)
_GAIN, _BEAM, _LIFT = int(LampField.GAIN), int(LampField.BEAM), int(LampField.LIFT)
_NEARNESS = int(LampField.NEARNESS_M)
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_LEAST = np.float32(1e-4)
_ABOVE_CUT_OFF = np.float32(0.1)
"""Share of a low beam that strays above its cut-off."""

HEAD_LIGHT = (0.0, 0.0, 0.66, 1.0, 0.0, 1.5, 1.44, 1.28, 75.0, 20.0, 10.0, 0.72, 12.0, 0.0)
"""As a row of LampField, but the place and the direction."""
STREET_LIGHT = (0.0, 0.0, 0.0, 0.0, 0.0, 0.95, 0.74, 0.46, 24.0, 7.0, 1.2, -2.0, 0.0, 0.0)
BLUE_LIGHT = (0.0, 0.0, 2.6, 0.0, 0.0, 0.12, 0.28, 1.1, 18.0, 6.0, 2.0, -2.0, 0.0, 0.0)
_OTHERS_RANGE_M = np.float32(38.0)
"""Range of the head lights of others; their far end would be too dim to matter."""
LAMPS_RANGE_M = np.float32(70.0)
"""Pools of light whose rim is farther than this are not drawn."""

_LAMPS = np.array([HEAD_LIGHT, STREET_LIGHT, BLUE_LIGHT], np.float32)
HEAD_ROW, STREET_ROW, BLUE_ROW = 0, 1, 2
_KINDS = len(AgentKind) - 1
# Metres from the rear axle to the front; 0 where there are no head lights.
_FRONT_M = np.array(
    [
        VEHICLE_SIZES[kind, 0] - VEHICLE_SIZES[kind, 3]
        if kind in (AgentKind.CAR, AgentKind.VAN, AgentKind.TRUCK, AgentKind.BUS, AgentKind.EMERGENCY)
        else 0.0
        for kind in range(_KINDS)
    ],
    np.float32,
)
BEAM_BACK_M = 2.0
"""The beam starts this far behind the bumper, so that it is as wide as the car where it comes out."""
EGO_BEAM_M = float(_FRONT_M[AgentKind.CAR]) - BEAM_BACK_M
_BACK = np.float32(BEAM_BACK_M)


@device
def _fill(lamp, row, x, y, z, cosine, sine, strength, nearness):
    for field in range(LAMP_FIELDS):
        lamp[field] = _LAMPS[row, field]
    lamp[_X], lamp[_Y], lamp[_Z], lamp[_COSINE], lamp[_SINE] = x, y, z, cosine, sine
    for channel in range(3):
        lamp[_RED + channel] *= strength
    lamp[_NEARNESS] = nearness


@device
def start_lamps(strength, lamps):
    """The ego's own head lights as the first lamp; returns how many lamps there are: 1, or 0 by day."""
    if strength <= _ZERO:
        return 0
    _fill(
        lamps[0],
        HEAD_ROW,
        np.float32(EGO_BEAM_M),
        _ZERO,
        np.float32(HEAD_LIGHT[2]),
        _ONE,
        _ZERO,
        strength,
        -np.float32(HEAD_LIGHT[8]),
    )
    return 1


@device
def offer_lamp(row, x, y, z, cosine, sine, strength, lamps, count):
    """Take in a lamp (a row of the table of lamps) at a place if it is near enough; returns how many there are.

    When there is no room, the farthest goes.
    """
    range_m = _LAMPS[row, _RANGE]
    if row == HEAD_ROW:
        range_m = _OTHERS_RANGE_M
    middle = range_m / np.float32(2.0) if row == HEAD_ROW else _ZERO
    ahead, aside = x + cosine * middle, y + sine * middle
    nearness = math.sqrt(ahead * ahead + aside * aside) - max(range_m - middle, middle)
    if nearness > LAMPS_RANGE_M:
        return count
    place = count
    if count == len(lamps):
        place = 1
        for index in range(2, count):
            if lamps[index, _NEARNESS] > lamps[place, _NEARNESS]:
                place = index
        if lamps[place, _NEARNESS] <= nearness:
            return count
        count -= 1
    _fill(lamps[place], row, x, y, z, cosine, sine, strength, nearness)
    lamps[place, _RANGE] = range_m
    return count + 1


@device
def offer_head_lights(kind, x, y, cosine, sine, strength, lamps, count):
    """`offer_lamp` for the head lights of a road user whose rear axle is at (x, y), if its kind has any."""
    if _FRONT_M[kind] <= _ZERO:
        return count
    front = _FRONT_M[kind] - _BACK
    return offer_lamp(
        HEAD_ROW,
        x + cosine * front,
        y + sine * front,
        np.float32(HEAD_LIGHT[2]),
        cosine,
        sine,
        strength,
        lamps,
        count,
    )


@device
def lamp_in_registers(lamp):
    """A lamp's row as a tuple, for loops over many pixels."""
    return (
        lamp[0],
        lamp[1],
        lamp[2],
        lamp[3],
        lamp[4],
        lamp[5],
        lamp[6],
        lamp[7],
        lamp[8],
        lamp[9],
        lamp[10],
        lamp[11],
        lamp[12],
        lamp[13],
    )


@device
def lamp_light(lamp, x, y, z, normal_x, normal_y, normal_z):
    """Share of the lamp's colour that falls on a surface at a point with a unit normal, 0 to 1.

    With r the distance, R the range, h HALF_M, and c the cosine between the normal and the way to the lamp:
    (1 - r^2 / R^2)^2  x  h^2 / (h^2 + r^2)  x  min(GAIN c, 1), and in a beam s^2 of its rim, s = (cosine of
    the angle from its axis - BEAM) / (1 - BEAM), and 1 - LIFT x the slope above the lamp, at least 0.1.
    """
    dx, dy, dz = x - lamp[_X], y - lamp[_Y], z - lamp[_Z]
    level = dx * dx + dy * dy + _LEAST
    square = level + dz * dz
    reach, half = lamp[_RANGE] * lamp[_RANGE], lamp[_HALF_RANGE] * lamp[_HALF_RANGE]
    window = max(_ONE - square / reach, _ZERO)
    facing = -(dx * normal_x + dy * normal_y + dz * normal_z) / math.sqrt(square)
    facing = min(max(facing, _ZERO) * lamp[_GAIN], _ONE)
    flat = _ONE / math.sqrt(level)
    rim = ((dx * lamp[_COSINE] + dy * lamp[_SINE]) * flat - lamp[_BEAM]) / (_ONE - lamp[_BEAM])
    rim = min(max(rim, _ZERO), _ONE)
    # All around: the axis is zero, so that the rim is 2 / 3 and must count as 1.
    rim = rim * rim if lamp[_BEAM] > -_ONE else _ONE
    lift = min(max(_ONE - lamp[_LIFT] * dz * flat, _ABOVE_CUT_OFF), _ONE)
    return window * window * half / (half + square) * facing * rim * lift


@device
def beam_on_sign(lamp, x, y):
    """What a retroreflective sign at a level place sends back of a lamp near the camera, 0 to 1.

    Sheeting returns light to where it came from, however high the sign stands above the cut-off.
    """
    dx, dy = x - lamp[_X], y - lamp[_Y]
    level = dx * dx + dy * dy + _LEAST
    window = max(_ONE - level / (lamp[_RANGE] * lamp[_RANGE]), _ZERO)
    rim = ((dx * lamp[_COSINE] + dy * lamp[_SINE]) / math.sqrt(level) - lamp[_BEAM]) / (_ONE - lamp[_BEAM])
    return window * min(max(rim, _ZERO), _ONE)
