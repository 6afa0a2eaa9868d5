"""Faces of traffic signs, drawn after the Vienna Convention on Road Signs and Signals (1968, annex 1).

A face is named by a content key: its kind, and after a colon what is written on it, as in "speed:50",
"bus:7-9,16-19" or "number:12".
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from fleetloop.core.types import SIGN_PIXELS

_SCALE = 4
_SIZE = SIGN_PIXELS * _SCALE
_MIDDLE = _SIZE / 2.0
_RED, _WHITE, _BLACK = (196, 22, 28), (246, 246, 244), (18, 18, 20)
_BLUE, _YELLOW, _GREEN = (14, 82, 164), (250, 204, 20), (16, 122, 68)
_CLEAR = (0, 0, 0, 0)

_Colour = tuple[int, int, int]
_Point = tuple[float, float]


class _Face:
    """A picture in the making; places are shares of its edge, from the upper left corner."""

    def __init__(self) -> None:
        self.image = Image.new("RGBA", (_SIZE, _SIZE), _CLEAR)
        self.draw = ImageDraw.Draw(self.image)

    def polygon(self, colour: _Colour, *points: _Point) -> None:
        self.draw.polygon([(x * _SIZE, y * _SIZE) for x, y in points], fill=(*colour, 255))

    def disc(self, colour: _Colour, radius: float, x: float = 0.5, y: float = 0.5) -> None:
        box = [(x - radius) * _SIZE, (y - radius) * _SIZE, (x + radius) * _SIZE, (y + radius) * _SIZE]
        self.draw.ellipse(box, fill=(*colour, 255))

    def plate(self, colour: _Colour, left: float, top: float, right: float, bottom: float) -> None:
        box = [left * _SIZE, top * _SIZE, right * _SIZE, bottom * _SIZE]
        self.draw.rounded_rectangle(box, 0.06 * _SIZE, fill=(*colour, 255))

    def rectangle(self, colour: _Colour, left: float, top: float, right: float, bottom: float) -> None:
        box = [left * _SIZE, top * _SIZE, right * _SIZE, bottom * _SIZE]
        self.draw.rectangle(box, fill=(*colour, 255))

    def line(self, colour: _Colour, width: float, *points: _Point) -> None:
        self.draw.line(
            [(x * _SIZE, y * _SIZE) for x, y in points], (*colour, 255), round(width * _SIZE), joint="curve"
        )

    def text(self, text: str, colour: _Colour, y: float, width: float, height: float) -> None:
        """One line, as large as fits into width and height, its middle at (0.5, y)."""
        size = 200
        left, top, right, bottom = ImageFont.load_default(size).getbbox(text)
        size *= min(width * _SIZE / (right - left), height * _SIZE / (bottom - top))
        font = ImageFont.load_default(size)
        left, top, right, bottom = font.getbbox(text)
        place = (_MIDDLE - (left + right) / 2.0, y * _SIZE - (top + bottom) / 2.0)
        bold = max(1, round(size / 28.0))
        self.draw.text(place, text, (*colour, 255), font, stroke_width=bold, stroke_fill=(*colour, 255))

    def regular(self, colour: _Colour, corners: int, radius: float, turn: float, y: float = 0.5) -> None:
        """A regular polygon; `turn` is the angle of its first corner."""
        angles = turn + 2.0 * np.pi * np.arange(corners) / corners
        points = [(0.5 + radius * np.cos(angle), y + radius * np.sin(angle)) for angle in angles]
        self.polygon(colour, *points)


def _triangle(face: _Face, up: bool = True) -> None:
    """A warning's white triangle with a red rim, or one that stands on its tip."""
    y = 0.6 if up else 0.4
    turn = -np.pi / 2.0 if up else np.pi / 2.0
    face.regular(_RED, 3, 0.56, turn, y)
    face.regular(_WHITE, 3, 0.34, turn, y)


def _stop(face: _Face, _: str) -> None:
    face.regular(_WHITE, 8, 0.5, np.pi / 8.0)
    face.regular(_RED, 8, 0.465, np.pi / 8.0)
    face.text("STOP", _WHITE, 0.5, 0.76, 0.3)


def _yield(face: _Face, _: str) -> None:
    _triangle(face, up=False)


def _speed(face: _Face, limit: str) -> None:
    face.disc(_RED, 0.49)
    face.disc(_WHITE, 0.38)
    face.text(limit, _BLACK, 0.5, 0.56 if len(limit) < 3 else 0.62, 0.4)


def _no_entry(face: _Face, _: str) -> None:
    face.disc(_WHITE, 0.5)
    face.disc(_RED, 0.47)
    face.rectangle(_WHITE, 0.13, 0.4, 0.87, 0.6)


def _arrow(face: _Face, x: float, bottom: float, top: float, colour: _Colour = _WHITE) -> None:
    face.rectangle(colour, x - 0.07, top + 0.18, x + 0.07, bottom)
    face.polygon(colour, (x - 0.2, top + 0.24), (x, top), (x + 0.2, top + 0.24))


def _one_way(face: _Face, _: str) -> None:
    face.plate(_BLUE, 0.04, 0.02, 0.96, 0.98)
    _arrow(face, 0.5, 0.88, 0.12)


def _bus(face: _Face, hours: str) -> None:
    """A white bus and the word on blue; below, the hours in which the lane is closed to others."""
    face.plate(_WHITE, 0.0, 0.0, 1.0, 1.0)
    lines = [line for line in hours.split(",") if line]
    bottom = 0.98 if not lines else 0.46
    face.plate(_BLUE, 0.03, 0.03, 0.97, bottom)
    face.text("BUS", _WHITE, (0.03 + bottom) / 2.0, 0.8, 0.28 if lines else 0.4)
    step = 0.52 / max(len(lines), 1)
    for number, line in enumerate(lines):
        face.text(line, _BLACK, 0.47 + step * (number + 0.5), 0.84, min(0.72 * step, 0.3))


def _priority(face: _Face, _: str) -> None:
    face.regular(_WHITE, 4, 0.5, 0.0)
    face.regular(_BLACK, 4, 0.47, 0.0)
    face.regular(_WHITE, 4, 0.45, 0.0)
    face.regular(_YELLOW, 4, 0.32, 0.0)


def _right_before_left(face: _Face, _: str) -> None:
    _triangle(face)
    face.line(_BLACK, 0.08, (0.38, 0.44), (0.62, 0.74))
    face.line(_BLACK, 0.08, (0.62, 0.44), (0.38, 0.74))


def _roundabout(face: _Face, sense: str) -> None:
    """Three arrows round a blue disc: against the clock, or with it where traffic keeps left."""
    face.disc(_BLUE, 0.49)
    side = 1.0 if sense == "left" else -1.0
    for third in range(3):
        angles = 2.0 * np.pi * third / 3.0 + side * np.linspace(0.0, 1.2, 9)
        points = [(0.5 + 0.27 * np.cos(angle), 0.5 + 0.27 * np.sin(angle)) for angle in angles]
        face.line(_WHITE, 0.09, *points)
        tip, out = angles[-1] + side * 0.55, angles[-1]
        face.polygon(
            _WHITE,
            (0.5 + 0.14 * np.cos(out), 0.5 + 0.14 * np.sin(out)),
            (0.5 + 0.40 * np.cos(out), 0.5 + 0.40 * np.sin(out)),
            (0.5 + 0.27 * np.cos(tip), 0.5 + 0.27 * np.sin(tip)),
        )


def _walker(face: _Face, colour: _Colour, x: float, top: float, height: float) -> None:
    """Somebody who walks to the left."""

    def at(right: float, down: float) -> _Point:
        return x + right * height, top + down * height

    head_x, head_y = at(-0.02, 0.09)
    face.disc(colour, 0.085 * height, head_x, head_y)
    face.line(colour, 0.15 * height, at(0.0, 0.22), at(0.02, 0.55))
    face.line(colour, 0.1 * height, at(0.02, 0.52), at(-0.1, 0.75), at(-0.2, 0.98))
    face.line(colour, 0.1 * height, at(0.02, 0.52), at(0.12, 0.75), at(0.2, 0.98))
    face.line(colour, 0.08 * height, at(0.0, 0.26), at(-0.18, 0.46))
    face.line(colour, 0.08 * height, at(0.0, 0.26), at(0.16, 0.48))


def _crossing(face: _Face, _: str) -> None:
    face.plate(_BLUE, 0.02, 0.02, 0.98, 0.98)
    face.polygon(_WHITE, (0.5, 0.1), (0.08, 0.88), (0.92, 0.88))
    _walker(face, _BLACK, 0.5, 0.34, 0.46)
    for left in (0.22, 0.4, 0.58):
        face.polygon(_BLACK, (left, 0.86), (left + 0.03, 0.8), (left + 0.13, 0.8), (left + 0.13, 0.86))


def _construction(face: _Face, _: str) -> None:
    """A man with a shovel and a heap, in a warning triangle."""
    _triangle(face)
    face.disc(_BLACK, 0.05, 0.47, 0.44)
    face.line(_BLACK, 0.08, (0.47, 0.5), (0.42, 0.62))
    face.line(_BLACK, 0.05, (0.42, 0.62), (0.36, 0.76))
    face.line(_BLACK, 0.05, (0.42, 0.62), (0.48, 0.76))
    face.line(_BLACK, 0.035, (0.44, 0.5), (0.56, 0.6), (0.6, 0.7))
    face.polygon(_BLACK, (0.54, 0.76), (0.63, 0.66), (0.72, 0.76))


def _signals(face: _Face, _: str) -> None:
    _triangle(face)
    face.rectangle(_BLACK, 0.43, 0.38, 0.57, 0.76)
    for colour, y in ((_RED, 0.45), (_YELLOW, 0.57), (_GREEN, 0.69)):
        face.disc(colour, 0.048, 0.5, y)


def _children(face: _Face, _: str) -> None:
    _triangle(face)
    _walker(face, _BLACK, 0.42, 0.42, 0.34)
    _walker(face, _BLACK, 0.58, 0.5, 0.26)


def _number(face: _Face, number: str) -> None:
    face.plate(_BLACK, 0.0, 0.0, 1.0, 1.0)
    face.plate(_YELLOW, 0.04, 0.04, 0.96, 0.96)
    face.text(number, _BLACK, 0.5, 0.8, 0.62)


def _bus_stop(face: _Face, _: str) -> None:
    face.disc(_GREEN, 0.49)
    face.disc(_YELLOW, 0.41)
    face.text("H", _GREEN, 0.5, 0.5, 0.5)


def _parking(face: _Face, _: str) -> None:
    face.plate(_WHITE, 0.0, 0.0, 1.0, 1.0)
    face.plate(_BLUE, 0.03, 0.03, 0.97, 0.97)
    face.text("P", _WHITE, 0.5, 0.7, 0.66)


def _highway(face: _Face, _: str) -> None:
    """Two carriageways under a bridge, on blue."""
    face.plate(_WHITE, 0.0, 0.0, 1.0, 1.0)
    face.plate(_BLUE, 0.03, 0.03, 0.97, 0.97)
    face.polygon(_WHITE, (0.18, 0.92), (0.38, 0.14), (0.46, 0.14), (0.46, 0.92))
    face.polygon(_WHITE, (0.82, 0.92), (0.62, 0.14), (0.54, 0.14), (0.54, 0.92))
    face.rectangle(_BLUE, 0.1, 0.33, 0.9, 0.37)
    face.rectangle(_WHITE, 0.1, 0.37, 0.9, 0.46)
    face.rectangle(_BLUE, 0.1, 0.46, 0.9, 0.5)


def _cycle_lane(face: _Face, _: str) -> None:
    face.disc(_BLUE, 0.49)
    for x in (0.28, 0.72):
        face.disc(_WHITE, 0.15, x, 0.6)
        face.disc(_BLUE, 0.1, x, 0.6)
    face.line(_WHITE, 0.05, (0.28, 0.6), (0.4, 0.4), (0.64, 0.4), (0.72, 0.6))
    face.line(_WHITE, 0.05, (0.4, 0.4), (0.5, 0.6), (0.64, 0.4))
    face.line(_WHITE, 0.05, (0.64, 0.4), (0.61, 0.28), (0.7, 0.27))
    face.line(_WHITE, 0.05, (0.34, 0.31), (0.45, 0.31))


_DRAWN: dict[str, Callable[[_Face, str], None]] = {
    "stop": _stop,
    "yield": _yield,
    "speed": _speed,
    "no_entry": _no_entry,
    "one_way": _one_way,
    "bus": _bus,
    "priority": _priority,
    "right_before_left": _right_before_left,
    "roundabout": _roundabout,
    "crossing": _crossing,
    "construction": _construction,
    "signals": _signals,
    "children": _children,
    "number": _number,
    "bus_stop": _bus_stop,
    "parking": _parking,
    "highway": _highway,
    "cycle_lane": _cycle_lane,
}
SIGN_KINDS = tuple(_DRAWN)
"""What stands before the colon of a content key."""

EXAMPLE_SIGNS = (
    *("stop", "yield", "priority", "right_before_left", "roundabout", "roundabout:left", "crossing"),
    *("speed:30", "speed:50", "speed:130", "no_entry", "one_way", "bus", "bus:7-9,16-19", "cycle_lane"),
    *("construction", "signals", "children", "bus_stop", "parking", "highway", "number:7", "number:12"),
)
"""A key of every kind, for galleries."""


@lru_cache(maxsize=512)
def _drawn(key: str) -> bytes:
    kind, _, text = key.partition(":")
    if kind not in _DRAWN:
        raise ValueError(f"sign {key}: unknown kind {kind!r}; use one of {', '.join(SIGN_KINDS)}")
    face = _Face()
    _DRAWN[kind](face, text)
    # Colours are spread into the transparent surroundings first, so that edges do not turn dark.
    alpha = face.image.getchannel("A").resize((SIGN_PIXELS, SIGN_PIXELS), Image.Resampling.BOX)
    colours = face.image.convert("RGBa").resize((SIGN_PIXELS, SIGN_PIXELS), Image.Resampling.BOX)
    colours = colours.convert("RGBA")
    colours.putalpha(alpha)
    return colours.tobytes()


def sign_face(key: str) -> UInt8[np.ndarray, "48 48 4"]:
    """RGBA of the face with this content key, row 0 at the top.

    Raises:
        ValueError: there is no such kind of sign.
    """
    return np.frombuffer(_drawn(key), np.uint8).reshape(SIGN_PIXELS, SIGN_PIXELS, 4)
