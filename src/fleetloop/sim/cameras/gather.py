"""First half of rendering: what stands around the learner, as boxes in its own frame, and how it is lit."""

import math
from enum import IntEnum

import numpy as np
from numba import njit, prange

from fleetloop.core.types import BOX_CELL_M, AgentKind, SignalColour, Surface
from fleetloop.sim.cameras.parts import (
    BRAKE_COLOUR,
    MATERIAL_COLOURS,
    PART_START,
    PARTS,
    Material,
    SeenFrom,
)
from fleetloop.sim.signals import phase_colour_at

STATIC_RANGE_M = 110.0
"""Static boxes farther than this from the rear axle are not drawn."""

MAX_BOXES = 768
"""Most boxes of one scene; road users come first, then static ones, the nearest cells first."""


class BoxField(IntEnum):
    """Columns of a gathered box: ego frame, metres; colours already tinted and exposed, not yet shaded."""

    X = 0
    Y = 1
    Z = 2
    COSINE = 3
    SINE = 4
    HALF_LENGTH = 5
    HALF_WIDTH = 6
    HALF_HEIGHT = 7
    RADIUS = 8
    RED = 9
    GREEN = 10
    BLUE = 11
    GLOW = 12
    """1 for a lit lamp, which is neither shaded nor hidden by haze; else 0."""


class LightField(IntEnum):
    """Columns of a scene's light; colours take three columns."""

    SUN_X = 0
    """Direction towards the sun in the ego frame."""
    AMBIENT = 3
    SUN = 6
    HORIZON = 9
    ZENITH = 12
    FOG_START_M = 15
    FOG_PER_M = 16
    NOISE = 17


BOX_FIELDS = len(BoxField)
LIGHT_FIELDS = LightField.NOISE + 1

_X, _Y, _Z = int(BoxField.X), int(BoxField.Y), int(BoxField.Z)
_COSINE, _SINE, _RADIUS = int(BoxField.COSINE), int(BoxField.SINE), int(BoxField.RADIUS)
_HALF, _COLOUR, _GLOW = int(BoxField.HALF_LENGTH), int(BoxField.RED), int(BoxField.GLOW)
_AMBIENT, _SUN = int(LightField.AMBIENT), int(LightField.SUN)
_HORIZON, _ZENITH = int(LightField.HORIZON), int(LightField.ZENITH)
_FOG_START, _FOG_PER_M, _NOISE = int(LightField.FOG_START_M), int(LightField.FOG_PER_M), int(LightField.NOISE)
_GREEN, _GREEN_YIELD = int(SignalColour.GREEN), int(SignalColour.GREEN_YIELD)
_KINDS = len(AgentKind) - 1
_PAINT, _TAIL, _HEAD = int(Material.PAINT), int(Material.TAIL), int(Material.HEAD)
_INDICATOR_LEFT, _INDICATOR_RIGHT = int(Material.INDICATOR_LEFT), int(Material.INDICATOR_RIGHT)
_FRONT, _BEHIND = int(SeenFrom.FRONT), int(SeenFrom.BEHIND)
_BRAKE_BIT, _LEFT_BIT, _RIGHT_BIT = 1, 2, 4
_SURFACES = len(Surface)

_RINGS = math.ceil(STATIC_RANGE_M / BOX_CELL_M)
_CELL_M, _RANGE_M = np.float32(BOX_CELL_M), np.float32(STATIC_RANGE_M)
_BLINKS_PER_S = np.float32(1.5)
_UNLIT = np.float32(0.12)
_UNLIT_RANGE_M = np.float32(45.0)
# A lit lamp glares: it never looks smaller than this angle, about a pixel of the narrow camera.
_GLARE_RAD = np.float32(0.0045)
_ZERO, _ONE, _HALF_OF, _WHITE = np.float32(0.0), np.float32(1.0), np.float32(0.5), np.float32(255.0)
_BRAKE_RED, _BRAKE_GREEN, _BRAKE_BLUE = (np.float32(value) for value in BRAKE_COLOUR)


@njit(cache=True, fastmath=True)
def _put(box, x, y, z, cosine, sine, half_length, half_width, half_height, red, green, blue, glow):
    box[_X], box[_Y], box[_Z] = x, y, z
    box[_COSINE], box[_SINE] = cosine, sine
    box[_HALF], box[_HALF + 1], box[_HALF + 2] = half_length, half_width, half_height
    box[_RADIUS] = math.sqrt(half_length * half_length + half_width * half_width + half_height * half_height)
    box[_COLOUR], box[_COLOUR + 1], box[_COLOUR + 2] = red, green, blue
    box[_GLOW] = glow


@njit(cache=True, fastmath=True)
def _light(yaw, surfaces, ambient, sun, sun_direction, horizon, zenith, fog, exposure, noise, light, ground):
    """Fill a row of light, and `ground` [surfaces, 3] with the lit colours of level ground."""
    cosine, sine = math.cos(yaw), math.sin(yaw)
    light[0] = cosine * sun_direction[0] + sine * sun_direction[1]
    light[1] = cosine * sun_direction[1] - sine * sun_direction[0]
    light[2] = sun_direction[2]
    for channel in range(3):
        light[_AMBIENT + channel] = ambient[channel]
        light[_SUN + channel] = sun[channel]
        light[_HORIZON + channel] = min(horizon[channel] * exposure, _WHITE)
        light[_ZENITH + channel] = min(zenith[channel] * exposure, _WHITE)
        shade = (ambient[channel] + sun[channel] * max(sun_direction[2], _ZERO)) * exposure
        for surface in range(_SURFACES):
            ground[surface, channel] = min(surfaces[surface, channel] * shade, _WHITE)
    light[_FOG_START] = fog[0]
    light[_FOG_PER_M] = _ONE / max(fog[1] - fog[0], np.float32(0.1))
    light[_NOISE] = noise


@njit(cache=True, fastmath=True)
def _part_glow(material, lights, blink_on):
    """-1: the part is not there; 0: it is not lit; 1: it is lit."""
    if material == _INDICATOR_LEFT:
        return 1 if blink_on and lights & _LEFT_BIT else -1
    if material == _INDICATOR_RIGHT:
        return 1 if blink_on and lights & _RIGHT_BIT else -1
    if material == _TAIL:
        return 1 if lights & _BRAKE_BIT else 0
    return 1 if material == _HEAD else 0


@njit(cache=True, fastmath=True)
def _gather_agents(ego, clock_s, poses, kinds, colours, lights, paint, exposure, boxes):
    """Boxes of the road users of one scene; returns how many."""
    cosine, sine = math.cos(ego[2]), math.sin(ego[2])
    blink = clock_s * _BLINKS_PER_S
    blink_on = blink - math.floor(blink) < _HALF_OF
    count = 0
    for agent in range(len(kinds)):
        kind = kinds[agent]
        if kind >= _KINDS:
            continue
        dx, dy = poses[agent, 0] - ego[0], poses[agent, 1] - ego[1]
        x, y = cosine * dx + sine * dy, cosine * dy - sine * dx
        yaw = poses[agent, 2] - ego[2]
        agent_cosine, agent_sine = math.cos(yaw), math.sin(yaw)
        distance = math.sqrt(x * x + y * y)
        hidden = _BEHIND if -(agent_cosine * x + agent_sine * y) > _ZERO else _FRONT
        for row in range(PART_START[kind], PART_START[kind + 1]):
            if count >= len(boxes):
                return count
            material = int(PARTS[row, 6])
            glow = _part_glow(material, lights[agent], blink_on)
            if int(PARTS[row, 7]) == hidden or distance > PARTS[row, 8] or glow < 0:
                continue
            red, green, blue = MATERIAL_COLOURS[material]
            if material == _PAINT:
                red, green, blue = paint[colours[agent] % len(paint)]
            elif material == _TAIL and glow > 0:
                red, green, blue = _BRAKE_RED, _BRAKE_GREEN, _BRAKE_BLUE
            scale = _ONE if glow > 0 else exposure
            _put(
                boxes[count],
                x + agent_cosine * PARTS[row, 0] - agent_sine * PARTS[row, 1],
                y + agent_sine * PARTS[row, 0] + agent_cosine * PARTS[row, 1],
                PARTS[row, 2],
                agent_cosine,
                agent_sine,
                PARTS[row, 3],
                PARTS[row, 4],
                PARTS[row, 5],
                red * scale,
                green * scale,
                blue * scale,
                np.float32(glow),
            )
            count += 1
    return count


@njit(cache=True, fastmath=True)
def _gather_cell(first, end, ego, clock_s, static_boxes, box_signal, box_lamp, signals, tint, boxes, count):
    """Static boxes first to end - 1 that are near the ego; returns how many boxes there are now."""
    cosine, sine = math.cos(ego[2]), math.sin(ego[2])
    for index in range(first, end):
        box = static_boxes[index]
        dx, dy = box[0] - ego[0], box[1] - ego[1]
        distance = math.sqrt(dx * dx + dy * dy)
        if distance - max(box[4], box[5]) > _RANGE_M:
            continue
        if count >= len(boxes):
            return count
        glow, scale, smallest = _ZERO, _ONE, _ZERO
        if box_signal[index] >= 0:
            shown = phase_colour_at(
                signals[0], signals[1], signals[2], signals[3], signals[4], box_signal[index], clock_s
            )
            if shown == _GREEN_YIELD:
                shown = _GREEN
            if shown == box_lamp[index]:
                glow, smallest = _ONE, _GLARE_RAD * distance
            elif distance > _UNLIT_RANGE_M:
                continue
            else:
                scale = _UNLIT
        yaw = box[3] - ego[2]
        red, green, blue = box[7] * scale, box[8] * scale, box[9] * scale
        if glow == _ZERO:
            red, green, blue = red * tint[0], green * tint[1], blue * tint[2]
        _put(
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
            glow,
        )
        count += 1
    return count


@njit(cache=True, fastmath=True)
def _gather_static(
    ego, clock_s, origin, cells_shape, first_cell, cell_start, statics, signals, tint, boxes, count
):
    """Visit cells in growing rings around the ego, the nearest first; returns how many boxes there are."""
    static_boxes, box_signal, box_lamp = statics
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
                count = _gather_cell(
                    cell_start[cell],
                    cell_start[cell + 1],
                    ego,
                    clock_s,
                    static_boxes,
                    box_signal,
                    box_lamp,
                    signals,
                    tint,
                    boxes,
                    count,
                )
    return count


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def gather(scene, grid, statics, signals, appearance, boxes, box_count, light, ground):
    """Fill, for each scene, boxes [B, MAX_BOXES, BOX_FIELDS], box_count [B], light [B, LIGHT_FIELDS], ground.

    `grid` is (town_origin_m, town_cells_shape, town_first_cell, cell_start), `statics` (boxes, box_signal,
    box_lamp) and `signals` the arrays that phase_colour_at takes, all of World. `ground` [B, surfaces, 3]
    becomes the lit colours of the ground.
    """
    for b in prange(len(scene.town)):
        town = scene.town[b]
        ego = scene.ego_pose[b]
        exposure = appearance.exposure[b]
        _light(
            ego[2],
            appearance.surfaces[b],
            appearance.ambient[b],
            appearance.sun[b],
            appearance.sun_direction[b],
            appearance.sky_horizon[b],
            appearance.sky_zenith[b],
            (appearance.fog_start_m[b], appearance.fog_end_m[b]),
            exposure,
            appearance.noise[b],
            light[b],
            ground[b],
        )
        count = _gather_agents(
            ego,
            scene.clock_s[b],
            scene.agent_pose[b],
            scene.agent_kind[b],
            scene.agent_colour[b],
            scene.agent_lights[b],
            appearance.paint[b],
            exposure,
            boxes[b],
        )
        tint = (
            appearance.static_tint[b, 0] * exposure,
            appearance.static_tint[b, 1] * exposure,
            appearance.static_tint[b, 2] * exposure,
        )
        box_count[b] = _gather_static(
            ego,
            scene.clock_s[b],
            grid[0][town],
            grid[1][town],
            grid[2][town],
            grid[3],
            statics,
            signals,
            tint,
            boxes[b],
            count,
        )
