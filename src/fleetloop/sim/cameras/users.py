"""Road users as boxes and lamps in the ego frame."""

import math

import numpy as np

from fleetloop.core.types import AgentKind
from fleetloop.sim.cameras.fields import BoxField
from fleetloop.sim.cameras.kernels import device
from fleetloop.sim.cameras.lamps import BLUE_LIGHT, BLUE_ROW, offer_head_lights, offer_lamp
from fleetloop.sim.cameras.materials import (
    BEACON_COLOUR,
    BLUE_COLOUR,
    BRAKE_COLOUR,
    MATERIAL_COLOURS,
    SECOND_PAINT_STEP,
    STRIDE_M,
    TAIL_COLOUR,
    Material,
    SeenFrom,
)
from fleetloop.sim.cameras.parts import PART_START, PARTS

_X, _Y, _Z = int(BoxField.X), int(BoxField.Y), int(BoxField.Z)
_COSINE, _SINE, _RADIUS = int(BoxField.COSINE), int(BoxField.SINE), int(BoxField.RADIUS)
_HALF, _COLOUR, _GLOW = int(BoxField.HALF_LENGTH), int(BoxField.RED), int(BoxField.GLOW)
_WINDOWS = int(BoxField.WINDOWS)
_KINDS, _EMERGENCY = len(AgentKind) - 1, int(AgentKind.EMERGENCY)
_PAINT, _SECOND_PAINT = int(Material.PAINT), int(Material.SECOND_PAINT)
_TAIL, _HEAD, _SIGN_LIT = int(Material.TAIL), int(Material.HEAD), int(Material.SIGN_LIT)
_INDICATOR_LEFT, _INDICATOR_RIGHT = int(Material.INDICATOR_LEFT), int(Material.INDICATOR_RIGHT)
_BLUE_LEFT, _BLUE_RIGHT, _BEACON = int(Material.BLUE_LEFT), int(Material.BLUE_RIGHT), int(Material.BEACON)
_FRONT, _BEHIND = int(SeenFrom.FRONT), int(SeenFrom.BEHIND)
_LEFT, _RIGHT = int(SeenFrom.LEFT), int(SeenFrom.RIGHT)
_BRAKE_BIT, _LEFT_BIT, _RIGHT_BIT = 1, 2, 4

BLINKS_PER_S = 1.5
FLASHES_PER_S = 2.0
SMALL_GLARE_RAD = 0.0022
"""Lit lamps of road users never look smaller than this half angle in the dark."""
DARK_RANGE = 2.5
"""Factor on the range of lit lamps in the dark."""
_BLINKS, _FLASHES = np.float32(BLINKS_PER_S), np.float32(FLASHES_PER_S)
_STRIDES_PER_M = np.float32(2.0 * math.pi / STRIDE_M)
_SMALL_GLARE, _DARK_RANGE, _BLUE_Z = (
    np.float32(SMALL_GLARE_RAD),
    np.float32(DARK_RANGE),
    np.float32(BLUE_LIGHT[2]),
)
_ZERO, _ONE, _HALF_OF = np.float32(0.0), np.float32(1.0), np.float32(0.5)
_BRAKE = tuple(np.float32(value) for value in BRAKE_COLOUR)
_TAIL_LIT = tuple(np.float32(value) for value in TAIL_COLOUR)
_BLUE = tuple(np.float32(value) for value in BLUE_COLOUR)
_BEACON_LIT = tuple(np.float32(value) for value in BEACON_COLOUR)


@device
def put_box(
    box, x, y, z, cosine, sine, half_length, half_width, half_height, red, green, blue, glow, windows
):
    box[_X], box[_Y], box[_Z] = x, y, z
    box[_COSINE], box[_SINE] = cosine, sine
    box[_HALF], box[_HALF + 1], box[_HALF + 2] = half_length, half_width, half_height
    box[_RADIUS] = math.sqrt(half_length * half_length + half_width * half_width + half_height * half_height)
    box[_COLOUR], box[_COLOUR + 1], box[_COLOUR + 2] = red, green, blue
    box[_GLOW] = glow
    box[_WINDOWS] = windows


@device
def _part_glow(material, lights, blink_on, flash_left, dark):
    """-1: the part is not there; 0: it is not lit; 1: it is lit."""
    if material == _INDICATOR_LEFT:
        return 1 if blink_on and lights & _LEFT_BIT else -1
    if material == _INDICATOR_RIGHT:
        return 1 if blink_on and lights & _RIGHT_BIT else -1
    if material == _TAIL:
        return 1 if dark or lights & _BRAKE_BIT else 0
    if material in (_BLUE_LEFT, _BLUE_RIGHT):
        return 1 if (material == _BLUE_LEFT) == flash_left else 0
    if material == _BEACON:
        return 1 if blink_on else 0
    return 1 if material in (_HEAD, _SIGN_LIT) else 0


@device
def _part_colour(material, lit, lights, paint, colour):
    """RGB of a part that is lit or not."""
    if material in (_PAINT, _SECOND_PAINT):
        row = (colour + (SECOND_PAINT_STEP if material == _SECOND_PAINT else 0)) % len(paint)
        return paint[row, 0], paint[row, 1], paint[row, 2]
    if lit:
        if material == _TAIL:
            return _BRAKE if lights & _BRAKE_BIT else _TAIL_LIT
        if material in (_BLUE_LEFT, _BLUE_RIGHT):
            return _BLUE
        if material == _BEACON:
            return _BEACON_LIT
    return MATERIAL_COLOURS[material, 0], MATERIAL_COLOURS[material, 1], MATERIAL_COLOURS[material, 2]


@device
def _seen_from(ego, cosine, sine, pose):
    """Place of a pose in the ego frame, and cosine and sine of its yaw there; `cosine` and `sine` are of the ego's."""
    dx, dy = pose[0] - ego[0], pose[1] - ego[1]
    yaw = pose[2] - ego[2]
    return cosine * dx + sine * dy, cosine * dy - sine * dx, math.cos(yaw), math.sin(yaw)


@device
def gather_users(ego, clock_s, poses, kinds, colours, lights, paint, exposure, dark, detail, boxes):
    """Boxes of the road users of one scene; returns how many. `detail` is a factor on the range of parts."""
    # By one name: numba-cuda makes a copy of the table, in 64 KiB of constant memory, each time it is named.
    parts = PARTS
    cosine, sine = math.cos(ego[2]), math.sin(ego[2])
    blink, flash = clock_s * _BLINKS, clock_s * _FLASHES
    blink_on = blink - math.floor(blink) < _HALF_OF
    flash_left = flash - math.floor(flash) < _HALF_OF
    count = 0
    for agent in range(len(kinds)):
        kind = kinds[agent]
        if kind >= _KINDS:
            continue
        x, y, agent_cosine, agent_sine = _seen_from(ego, cosine, sine, poses[agent])
        distance = math.sqrt(x * x + y * y)
        hidden = _BEHIND if -(agent_cosine * x + agent_sine * y) > _ZERO else _FRONT
        hidden |= _RIGHT if agent_sine * x - agent_cosine * y > _ZERO else _LEFT
        # The gait follows from the place: who stands does not swing his legs.
        walked = poses[agent, 0] * math.cos(poses[agent, 2]) + poses[agent, 1] * math.sin(poses[agent, 2])
        gait = math.sin(_STRIDES_PER_M * walked)
        for row in range(PART_START[kind], PART_START[kind + 1]):
            if count >= len(boxes):
                return count
            material = int(parts[row, 6])
            seen_from = int(parts[row, 7])
            range_m = parts[row, 8] * detail
            if seen_from & hidden or distance > range_m * (_DARK_RANGE if dark else _ONE):
                continue
            glow = _part_glow(material, lights[agent], blink_on, flash_left, dark)
            if glow < 0 or (glow == 0 and distance > range_m):
                continue
            red, green, blue = _part_colour(material, glow > 0, lights[agent], paint, colours[agent])
            scale = _ONE if glow > 0 else exposure
            smallest = _SMALL_GLARE * distance if dark and glow > 0 else _ZERO
            along = parts[row, 0] + parts[row, 9] * gait
            put_box(
                boxes[count],
                x + agent_cosine * along - agent_sine * parts[row, 1],
                y + agent_sine * along + agent_cosine * parts[row, 1],
                parts[row, 2],
                agent_cosine,
                agent_sine,
                parts[row, 3],
                max(parts[row, 4], smallest),
                max(parts[row, 5], smallest),
                red * scale,
                green * scale,
                blue * scale,
                np.float32(glow),
                _ZERO,
            )
            count += 1
    return count


@device
def gather_user_lamps(ego, poses, kinds, strength, lamps, count):
    """Head lights and flashing blue lights of the road users; returns how many lamps there are now."""
    cosine, sine = math.cos(ego[2]), math.sin(ego[2])
    for agent in range(len(kinds)):
        kind = kinds[agent]
        if kind >= _KINDS:
            continue
        x, y, ahead, aside = _seen_from(ego, cosine, sine, poses[agent])
        count = offer_head_lights(kind, x, y, ahead, aside, strength, lamps, count)
        if kind == _EMERGENCY:
            count = offer_lamp(BLUE_ROW, x, y, _BLUE_Z, _ZERO, _ZERO, strength, lamps, count)
    return count
