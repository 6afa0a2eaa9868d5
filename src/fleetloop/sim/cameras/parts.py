"""What road users look like: a few boxes each, so that kind, heading and lights are told apart by eye."""

from enum import IntEnum

import numpy as np

from fleetloop.core.types import VEHICLE_SIZES, AgentKind


class Material(IntEnum):
    """What a part is made of; decides its colour."""

    PAINT = 0
    """The colour of the road user."""
    GLASS = 1
    DARK = 2
    """Tyres, underside, trousers."""
    CARGO = 3
    SKIN = 4
    TAIL = 5
    """Dim red; lit while braking."""
    HEAD = 6
    INDICATOR_LEFT = 7
    """Amber; not there unless lit."""
    INDICATOR_RIGHT = 8


class SeenFrom(IntEnum):
    """From where a part can be seen at all, so that hidden lights cost nothing."""

    ANYWHERE = 0
    FRONT = 1
    BEHIND = 2


MATERIAL_COLOURS = np.array(
    [
        (0, 0, 0),
        (36, 48, 64),
        (26, 26, 28),
        (214, 212, 204),
        (214, 164, 130),
        (112, 14, 14),
        (250, 250, 236),
        (255, 150, 0),
        (255, 150, 0),
    ],
    np.float32,
)
"""RGB by Material; PAINT comes from the Appearance."""

BRAKE_COLOUR = (255.0, 36.0, 24.0)
LIGHTS_RANGE_M = 60.0
_TRIM_RANGE_M = 45.0
_FAR_M = 1e6

_Part = tuple[float, float, float, float, float, float, Material, SeenFrom, float]


def _block(
    x: tuple[float, float],
    half_width: float,
    z: tuple[float, float],
    material: Material,
    seen_from: SeenFrom = SeenFrom.ANYWHERE,
    range_m: float = _FAR_M,
) -> _Part:
    """A box across the middle line."""
    centre_x, half_length = (x[0] + x[1]) / 2, (x[1] - x[0]) / 2
    centre_z, half_height = (z[0] + z[1]) / 2, (z[1] - z[0]) / 2
    return (centre_x, 0.0, centre_z, half_length, half_width, half_height, material, seen_from, range_m)


def _lights(half_length: float, half_width: float, head_z: float, tail_z: float) -> list[_Part]:
    """Two head lights, two tail lights, and the indicators at the corners; they stand out by 4 cm."""
    parts: list[_Part] = []
    for side, indicator in ((1.0, Material.INDICATOR_LEFT), (-1.0, Material.INDICATOR_RIGHT)):
        y = side * (half_width - 0.26)
        corner = side * (half_width - 0.08)
        parts += [
            (half_length, y, head_z, 0.04, 0.22, 0.10, Material.HEAD, SeenFrom.FRONT, LIGHTS_RANGE_M),
            (-half_length, y, tail_z, 0.04, 0.22, 0.13, Material.TAIL, SeenFrom.BEHIND, LIGHTS_RANGE_M),
            (half_length, corner, head_z, 0.09, 0.14, 0.11, indicator, SeenFrom.FRONT, LIGHTS_RANGE_M),
            (-half_length, corner, tail_z, 0.09, 0.14, 0.14, indicator, SeenFrom.BEHIND, LIGHTS_RANGE_M),
        ]
    return parts


def _parts() -> dict[AgentKind, list[_Part]]:
    """Parts by kind, in metres from the middle of the road user's outline on the ground."""
    paint, glass, dark, skin = Material.PAINT, Material.GLASS, Material.DARK, Material.SKIN
    behind, trim = SeenFrom.BEHIND, _TRIM_RANGE_M
    return {
        AgentKind.CAR: [
            _block((-2.3, 2.3), 0.95, (0.28, 0.88), paint),
            _block((-1.9, 0.85), 0.8, (0.88, 1.5), glass),
            _block((-1.95, 1.95), 0.88, (0.0, 0.28), dark, range_m=trim),
            *_lights(2.3, 0.95, 0.66, 0.7),
        ],
        AgentKind.VAN: [
            _block((-2.7, 2.7), 1.0, (0.32, 2.2), paint),
            _block((1.3, 2.73), 1.02, (1.2, 1.95), glass),
            _block((-2.73, -2.6), 0.8, (1.3, 1.9), glass, behind, trim),
            _block((-2.3, 2.3), 0.92, (0.0, 0.32), dark, range_m=trim),
            *_lights(2.7, 1.0, 0.75, 0.9),
        ],
        AgentKind.TRUCK: [
            _block((2.1, 4.0), 1.15, (0.5, 2.7), paint),
            _block((3.0, 4.03), 1.18, (1.6, 2.4), glass),
            _block((-4.0, 1.9), 1.2, (0.9, 3.2), Material.CARGO),
            _block((-3.8, 3.8), 1.0, (0.0, 0.9), dark),
            *_lights(4.0, 1.15, 0.8, 1.0),
        ],
        AgentKind.BUS: [
            _block((-5.75, 5.75), 1.25, (0.35, 3.1), paint),
            _block((-5.79, 5.79), 1.29, (1.3, 2.4), glass),
            _block((-5.2, 5.2), 1.15, (0.0, 0.35), dark, range_m=trim),
            *_lights(5.75, 1.25, 0.8, 0.9),
        ],
        AgentKind.CYCLIST: [
            _block((-0.9, 0.9), 0.06, (0.0, 0.85), dark),
            _block((-0.3, 0.25), 0.28, (0.4, 1.45), paint),
            _block((-0.05, 0.2), 0.12, (1.45, 1.7), skin, range_m=trim),
        ],
        AgentKind.PEDESTRIAN: [
            _block((-0.14, 0.14), 0.2, (0.0, 0.8), dark),
            _block((-0.18, 0.18), 0.27, (0.8, 1.5), paint),
            _block((-0.11, 0.11), 0.11, (1.5, 1.75), skin, range_m=trim),
        ],
    }


def _table() -> tuple[np.ndarray, np.ndarray]:
    parts = _parts()
    kinds = [kind for kind in AgentKind if kind is not AgentKind.NONE]
    rows, start = [], [0]
    for kind in kinds:
        length, _, _, rear_overhang = (float(size) for size in VEHICLE_SIZES[kind])
        rows += [(part[0] + length / 2 - rear_overhang, *part[1:]) for part in parts[kind]]
        start.append(len(rows))
    return np.array(rows, np.float32), np.array(start, np.int32)


PARTS, PART_START = _table()
"""Rows of kind k are PART_START[k] to PART_START[k + 1].

Columns: centre x, y, z from the rear axle on the ground, half length, half width, half height (metres),
Material, SeenFrom, and the range within which the part is drawn (metres)."""
