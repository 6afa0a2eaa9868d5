"""What road users look like: upright boxes each, so that kind, heading, gait and lights are told apart by eye."""

from dataclasses import dataclass

import numpy as np

from fleetloop.core.types import VEHICLE_SIZES, AgentKind
from fleetloop.sim.cameras.materials import Material, SeenFrom

LIGHTS_RANGE_M = 55.0
_TRIM_RANGE_M = 28.0
_SHAPE_RANGE_M = 11.0
_DETAIL_RANGE_M = 5.0
_FAR_M = 1e6
_SHRINK_M = 0.00015
_ANYWHERE, _FRONT, _BEHIND = SeenFrom.ANYWHERE, SeenFrom.FRONT, SeenFrom.BEHIND


@dataclass(frozen=True)
class _Part:
    """A box; metres from the middle of the road user's outline on the ground."""

    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    material: Material
    seen_from: SeenFrom = _ANYWHERE
    range_m: float = _FAR_M
    swing_m: float = 0.0
    """How far the part moves forward and back with the gait."""


def _block(
    x: tuple[float, float],
    half_width: float,
    z: tuple[float, float],
    material: Material,
    range_m: float = _FAR_M,
    seen_from: SeenFrom = _ANYWHERE,
) -> _Part:
    """A box across the middle line."""
    return _piece(x, (-half_width, half_width), z, material, range_m, seen_from)


def _piece(
    x: tuple[float, float],
    y: tuple[float, float],
    z: tuple[float, float],
    material: Material,
    range_m: float = _FAR_M,
    seen_from: SeenFrom = _ANYWHERE,
    swing_m: float = 0.0,
) -> _Part:
    spans = (x, y, z)
    low, high, middle = (tuple(f(a, b) for a, b in spans) for f in (min, max, lambda a, b: (a + b) / 2))
    half = tuple((b - a) / 2 for a, b in zip(low, high, strict=True))
    return _Part(middle, half, material, seen_from, range_m, swing_m)  # type: ignore[arg-type]


def _lights(half_length: float, half_width: float, head_z: float, tail_z: float) -> list[_Part]:
    """Two head lights, two tail lights, and the indicators at the corners; they stand out by 4 cm."""
    parts: list[_Part] = []
    for side, indicator in ((1.0, Material.INDICATOR_LEFT), (-1.0, Material.INDICATOR_RIGHT)):
        y = side * (half_width - 0.26)
        corner = side * (half_width - 0.08)
        for place, half, material, seen_from in (
            ((half_length, y, head_z), (0.04, 0.22, 0.10), Material.HEAD, _FRONT),
            ((-half_length, y, tail_z), (0.04, 0.22, 0.13), Material.TAIL, _BEHIND),
            ((half_length, corner, head_z), (0.09, 0.14, 0.11), indicator, _FRONT),
            ((-half_length, corner, tail_z), (0.09, 0.14, 0.14), indicator, _BEHIND),
        ):
            parts.append(_Part(place, half, material, seen_from, LIGHTS_RANGE_M))
    return parts


def _wheels(axles: tuple[float, ...], half_width: float, radius: float, width: float = 0.24) -> list[_Part]:
    """A wheel at either end of each axle, rounded when near: a cross and a square of boxes."""
    parts: list[_Part] = []
    for x in axles:
        for side, seen_from in ((1.0, SeenFrom.LEFT), (-1.0, SeenFrom.RIGHT)):
            y = side * (half_width - width / 2.0)
            shapes = (
                (0.76, 0.76, _SHAPE_RANGE_M, Material.DARK, 0.0),
                (0.96, 0.42, _DETAIL_RANGE_M, Material.DARK, 0.0),
                (0.42, 0.96, _DETAIL_RANGE_M, Material.DARK, 0.0),
                (0.42, 0.42, _DETAIL_RANGE_M, Material.METAL, 0.012),
            )
            for along, up, range_m, material, out in shapes:
                half = (along * radius, width / 2.0, up * radius)
                centre = (x, y + side * out, radius)
                parts.append(_Part(centre, half, material, seen_from, range_m))
    return parts


def _plate(half_length: float, z: float) -> list[_Part]:
    """The number plates."""
    return [
        _block((-half_length - 0.01, -half_length + 0.1), 0.26, (z, z + 0.12), Material.WHITE, _DETAIL_RANGE_M),
        _block((half_length - 0.1, half_length + 0.01), 0.26, (z - 0.2, z - 0.08), Material.WHITE, _DETAIL_RANGE_M),
    ]  # fmt: skip


def _underside(half_length: float, half_width: float, top: float) -> list[_Part]:
    """What closes the body below, and the shade on the ground."""
    return [
        _block(
            (-half_length, half_length), half_width - 0.1, (top - 0.14, top), Material.DARK, _TRIM_RANGE_M
        ),
        _block((-half_length, half_length), half_width, (0.0, 0.02), Material.DARK, _TRIM_RANGE_M),
    ]


def _car() -> list[_Part]:
    paint, glass, dark, trim = Material.PAINT, Material.GLASS, Material.DARK, _TRIM_RANGE_M
    shape, detail = _SHAPE_RANGE_M, _DETAIL_RANGE_M
    return [
        _block((-2.28, 2.26), 0.93, (0.26, 0.82), paint),
        _block((-1.8, 0.75), 0.79, (0.82, 1.42), glass),
        _block((-1.62, 0.35), 0.74, (1.4, 1.5), paint, trim),
        *_underside(2.05, 0.9, 0.28),
        _block((0.7, 2.1), 0.84, (0.82, 0.9), paint, shape),
        _block((-2.16, -1.7), 0.82, (0.82, 0.98), paint, shape),
        _block((0.7, 1.0), 0.77, (0.82, 1.18), glass, shape),
        _block((-2.3, 2.3), 0.89, (0.24, 0.38), dark, shape),
        _block((-0.5, -0.38), 0.8, (0.82, 1.42), paint, detail),
        _block((-1.72, -1.55), 0.8, (0.82, 1.42), paint, detail),
        _block((0.5, 0.66), 0.95, (0.84, 0.98), paint, detail),
        *_plate(2.3, 0.6),
        *_wheels((-1.4, 1.4), 0.95, 0.33),
        *_lights(2.3, 0.95, 0.66, 0.7),
    ]


def _van() -> list[_Part]:
    paint, glass, dark, trim = Material.PAINT, Material.GLASS, Material.DARK, _TRIM_RANGE_M
    shape, detail = _SHAPE_RANGE_M, _DETAIL_RANGE_M
    return [
        _block((-2.7, 1.9), 0.98, (0.32, 2.2), paint),
        _block((1.9, 2.68), 0.96, (0.32, 1.15), paint),
        _block((1.2, 2.25), 0.99, (1.15, 1.92), glass),
        _block((-2.72, -2.6), 0.8, (1.25, 1.9), glass, trim, _BEHIND),
        *_underside(2.4, 0.94, 0.34),
        _block((1.85, 2.15), 0.94, (1.9, 2.12), paint, shape),
        _block((-2.72, 2.7), 0.95, (0.3, 0.44), dark, shape),
        _block((-2.73, -2.6), 0.02, (0.5, 2.1), dark, detail, _BEHIND),
        _block((-2.4, 1.0), 0.99, (1.05, 1.1), dark, detail),
        _block((1.15, 1.3), 1.0, (1.2, 1.55), dark, detail),
        *_plate(2.7, 0.7),
        *_wheels((-1.7, 1.75), 1.0, 0.35),
        *_lights(2.7, 1.0, 0.75, 0.9),
    ]


def _truck() -> list[_Part]:
    paint, glass, dark, shape = Material.PAINT, Material.GLASS, Material.DARK, _SHAPE_RANGE_M
    detail = _DETAIL_RANGE_M
    return [
        _block((2.1, 4.0), 1.15, (0.5, 2.7), paint),
        _block((3.0, 4.03), 1.17, (1.6, 2.4), glass),
        _block((-4.0, 1.9), 1.2, (0.95, 3.2), Material.CARGO),
        _block((-3.8, 3.8), 0.5, (0.35, 0.95), dark),
        *_underside(3.8, 1.1, 0.5),
        _block((-4.02, 1.92), 1.19, (0.9, 1.05), Material.METAL, shape),
        _block((-4.02, -3.9), 0.02, (1.0, 3.15), dark, shape, _BEHIND),
        _block((-4.01, -3.9), 1.19, (3.08, 3.2), Material.METAL, shape, _BEHIND),
        _block((3.9, 4.02), 1.1, (0.45, 0.75), dark, shape, _FRONT),
        _block((2.3, 3.2), 1.0, (2.7, 3.1), paint, shape),
        _block((3.6, 3.75), 1.2, (1.5, 2.1), dark, detail),
        _block((-3.0, 1.5), 1.19, (0.45, 0.8), Material.METAL, detail),
        *_wheels((-2.9, -1.8, 2.9), 1.2, 0.48, 0.32),
        *_lights(4.0, 1.15, 0.8, 0.75),
    ]


def _bus() -> list[_Part]:
    paint, glass, dark, trim = Material.PAINT, Material.GLASS, Material.DARK, _TRIM_RANGE_M
    shape, detail = _SHAPE_RANGE_M, _DETAIL_RANGE_M
    posts = [
        _block((x - 0.07, x + 0.07), 1.28, (1.3, 2.5), paint, shape)
        for x in (-4.2, -2.4, -0.6, 1.2, 3.0, 4.6)
    ]
    doors = [
        _piece((x - 0.55, x + 0.55), (-1.27, -1.1), (0.4, 2.5), glass, shape, SeenFrom.RIGHT)
        for x in (4.9, -0.9)
    ]
    return [
        _block((-5.72, 5.72), 1.24, (0.32, 3.0), paint),
        _block((-5.74, 5.76), 1.26, (1.3, 2.5), glass),
        _block((-5.5, 5.2), 1.0, (3.0, 3.1), Material.METAL, trim),
        *_underside(5.4, 1.2, 0.34),
        _block((5.7, 5.78), 0.9, (2.55, 2.85), Material.SIGN_LIT, LIGHTS_RANGE_M, _FRONT),
        _block((-5.77, -5.7), 0.35, (2.55, 2.85), Material.SIGN_LIT, _SHAPE_RANGE_M, _BEHIND),
        _block((-5.76, -5.6), 1.0, (0.95, 1.6), paint, trim, _BEHIND),
        _block((-5.75, 5.75), 1.25, (0.95, 1.05), Material.WHITE, shape),
        _block((-5.74, 5.75), 1.2, (0.3, 0.5), dark, shape),
        _block((5.72, 5.78), 0.04, (1.3, 2.5), paint, detail, _FRONT),
        *posts,
        *doors,
        *_wheels((-2.95, 3.0), 1.27, 0.48, 0.3),
        *_lights(5.75, 1.25, 0.8, 0.9),
    ]


def _emergency() -> list[_Part]:
    """An ambulance: white, with red stripes and two flashing blue lamps at each end of the roof."""
    white, stripe, glass, trim = Material.WHITE, Material.STRIPE, Material.GLASS, _TRIM_RANGE_M
    shape = _SHAPE_RANGE_M
    lamps = [
        _Part((x, side * 0.6, 2.52), (0.16, 0.34, 0.1), material, _ANYWHERE, _FAR_M)
        for x in (1.2, -2.7)
        for side, material in ((1.0, Material.BLUE_LEFT), (-1.0, Material.BLUE_RIGHT))
    ]
    return [
        _block((-3.0, 1.5), 1.04, (0.35, 2.42), white),
        _block((1.5, 2.98), 1.0, (0.35, 1.25), white),
        _block((1.4, 2.4), 1.02, (1.25, 2.05), glass),
        _block((-3.02, 2.99), 1.055, (0.95, 1.25), stripe),
        *_underside(2.7, 0.98, 0.37),
        _block((1.0, 2.2), 0.98, (2.05, 2.4), white, trim),
        _block((-3.03, -2.9), 0.7, (1.5, 2.1), glass, trim, _BEHIND),
        _block((-3.02, 1.45), 1.05, (1.42, 1.5), stripe, shape),
        # A cross on either side and at the back.
        _block((-1.3, -0.5), 1.06, (1.75, 1.95), stripe, shape),
        _block((-1.0, -0.8), 1.06, (1.55, 2.15), stripe, shape),
        _block((-3.02, 2.99), 0.98, (0.3, 0.5), Material.DARK, shape),
        *lamps,
        *_wheels((-1.8, 1.9), 1.05, 0.36),
        *_lights(3.0, 1.05, 0.75, 0.75),
    ]


def _cyclist() -> list[_Part]:
    """Wheels, frame, and a rider who leans forward and whose legs turn."""
    dark, metal, shape, detail = Material.DARK, Material.METAL, _SHAPE_RANGE_M, _DETAIL_RANGE_M
    parts = [
        _block((-0.34, 0.3), 0.04, (0.55, 0.63), Material.SECOND_PAINT, shape),
        _block((0.38, 0.46), 0.26, (0.95, 1.02), dark, shape),
        _block((0.4, 0.46), 0.03, (0.35, 1.0), metal, shape),
        _block((-0.36, -0.1), 0.08, (0.86, 0.92), dark, detail),
        _block((-0.3, 0.12), 0.2, (0.92, 1.4), Material.PAINT),
        _block((0.0, 0.25), 0.11, (1.4, 1.64), Material.SKIN, _TRIM_RANGE_M),
        _block((-0.06, 0.26), 0.12, (1.56, 1.7), Material.WHITE, _TRIM_RANGE_M),
        _block((-0.92, -0.86), 0.05, (0.6, 0.68), Material.TAIL, LIGHTS_RANGE_M, _BEHIND),
        _block((0.46, 0.52), 0.05, (0.82, 0.9), Material.HEAD, LIGHTS_RANGE_M, _FRONT),
    ]
    for x in (-0.55, 0.55):
        parts.append(_block((x - 0.25, x + 0.25), 0.03, (0.09, 0.59), dark))
        parts.append(_block((x - 0.33, x + 0.33), 0.028, (0.2, 0.48), dark, shape))
        parts.append(_block((x - 0.14, x + 0.14), 0.028, (0.01, 0.67), dark, shape))
        parts.append(_block((x - 0.2, x + 0.2), 0.032, (0.18, 0.5), metal, detail))
    for side in (1.0, -1.0):
        leg, arm = (side * 0.06, side * 0.2), (side * 0.18, side * 0.27)
        trousers = Material.SECOND_PAINT
        parts.append(_piece((-0.16, 0.0), leg, (0.22, 0.62), trousers, _TRIM_RANGE_M, swing_m=side * 0.14))
        parts.append(_piece((-0.2, 0.1), leg, (0.58, 0.95), trousers, shape, swing_m=side * 0.05))
        parts.append(_piece((0.0, 0.42), arm, (1.0, 1.16), Material.PAINT, shape))
    return parts


def _walker(height: float, slim: float) -> list[_Part]:
    """Somebody on foot, `height` metres tall; legs and arms swing. `slim` is a factor on the widths."""
    shape, trim, detail = _SHAPE_RANGE_M, _TRIM_RANGE_M, _DETAIL_RANGE_M
    hip, shoulder, chin = 0.48 * height, 0.82 * height, 0.86 * height
    wide = 0.24 * slim
    swing = 0.19 * height / 1.75
    parts = [
        _block((-0.12 * slim, 0.12 * slim), wide * 0.8, (hip - 0.06, shoulder), Material.PAINT),
        _block((-0.1, 0.12), 0.1, (chin, height - 0.05), Material.SKIN, trim),
        _block((-0.125, 0.06), 0.115, (chin + 0.09, height), Material.HAIR, shape),
        _block((-0.05, 0.05), 0.06, (shoulder, chin), Material.SKIN, detail),
        _block((-0.26 * slim, -0.12 * slim), wide * 0.55, (hip + 0.1, shoulder - 0.04), Material.SECOND_PAINT, shape),
    ]  # fmt: skip
    for side in (1.0, -1.0):
        leg, arm = (side * 0.02, side * wide * 0.78), (side * wide * 0.8, side * wide * 1.18)
        trousers, foot = Material.SECOND_PAINT, Material.DARK
        parts += [
            _piece((-0.09, 0.09), leg, (0.0, hip * 0.55), trousers, swing_m=side * swing),
            _piece((-0.1, 0.1), leg, (hip * 0.5, hip), trousers, swing_m=side * swing * 0.4),
            _piece((-0.1, 0.18), leg, (0.0, 0.08), foot, shape, swing_m=side * swing),
            _piece((-0.06, 0.06), arm, (hip + 0.12, shoulder), Material.PAINT, trim, swing_m=-side * swing * 0.4),
            _piece((-0.05, 0.07), arm, (hip - 0.08, hip + 0.14), Material.SKIN, shape, swing_m=-side * swing * 0.9),
        ]  # fmt: skip
    return parts


def _barrier() -> list[_Part]:
    """Two boards striped red and white on feet, and an amber lamp at each end; it closes the lane across."""
    parts = []
    stripes, half_width = 8, 1.2
    step = 2.0 * half_width / stripes
    for z in ((0.78, 1.06), (0.34, 0.56)):
        for stripe in range(stripes):
            left = half_width - stripe * step
            material = Material.WHITE if (stripe + (z[0] < 0.5)) % 2 else Material.STRIPE
            parts.append(_piece((-0.04, 0.04), (left - step, left), z, material))
    for side in (1.0, -1.0):
        y = side * 0.95
        parts.append(_piece((-0.06, 0.06), (y - 0.04, y + 0.04), (0.0, 1.06), Material.METAL, _TRIM_RANGE_M))
        parts.append(_piece((-0.2, 0.2), (y - 0.15, y + 0.15), (0.0, 0.1), Material.DARK, _TRIM_RANGE_M))
        parts.append(_piece((-0.09, 0.09), (y - 0.09, y + 0.09), (1.06, 1.22), Material.BEACON))
    return parts


def _debris() -> list[_Part]:
    """A broken crate and a tyre."""
    wood, dark = Material.WOOD, Material.DARK
    return [
        _piece((-0.38, 0.12), (-0.36, 0.16), (0.0, 0.36), wood),
        _piece((0.0, 0.4), (-0.05, 0.4), (0.0, 0.16), dark),
        _piece((-0.4, 0.3), (0.2, 0.32), (0.0, 0.07), wood, _SHAPE_RANGE_M),
        _piece((-0.3, -0.18), (-0.4, 0.24), (0.36, 0.5), wood, _SHAPE_RANGE_M),
        _piece((-0.39, 0.13), (-0.37, 0.17), (0.1, 0.15), dark, _DETAIL_RANGE_M),
        _piece((0.1, 0.3), (0.05, 0.3), (0.02, 0.17), Material.METAL, _DETAIL_RANGE_M),
    ]


def _table() -> tuple[np.ndarray, np.ndarray]:
    parts = {
        AgentKind.CAR: _car(),
        AgentKind.VAN: _van(),
        AgentKind.TRUCK: _truck(),
        AgentKind.BUS: _bus(),
        AgentKind.CYCLIST: _cyclist(),
        AgentKind.PEDESTRIAN: _walker(1.75, 1.0),
        AgentKind.EMERGENCY: _emergency(),
        AgentKind.CHILD: _walker(1.2, 0.8),
        AgentKind.BARRIER: _barrier(),
        AgentKind.DEBRIS: _debris(),
    }
    rows, start = [], [0]
    for kind in (kind for kind in AgentKind if kind is not AgentKind.NONE):
        length, _, _, rear_overhang = (float(size) for size in VEHICLE_SIZES[kind])
        for number, part in enumerate(parts[kind]):
            x, y, z = part.centre
            ahead = x + length / 2 - rear_overhang
            # No two faces in one plane, where chance would decide which is seen: later parts win.
            half = [size - _SHRINK_M * (len(parts[kind]) - number) for size in part.half]
            rows.append((ahead, y, z, *half, part.material, part.seen_from, part.range_m, part.swing_m))
        start.append(len(rows))
    return np.array(rows, np.float32), np.array(start, np.int32)


PARTS, PART_START = _table()
"""Rows of kind k are PART_START[k] to PART_START[k + 1].

Columns: centre x, y, z from the rear axle on the ground, half length, half width, half height (metres),
Material, SeenFrom, the range within which the part is drawn, and how far it swings with the gait (metres)."""
