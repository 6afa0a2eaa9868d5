"""Shapes that are painted onto a lane: arrows, lettering, the bicycle. Metres along and to the left of a lane."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float64
from PIL import Image, ImageDraw, ImageFont

from fleetloop.sim.roads.carriageways import Turn

ARROW_LENGTH_M = 5.0
LETTER_LENGTH_M = 3.2
BICYCLE_LENGTH_M = 2.4
_LETTER_WIDTH_M, _SHAFT_M = 0.65, 0.28
_TEXT_ROWS, _TEXT_PIXEL_M = 16, 0.065
_BICYCLE_PIXELS = (16, 12)


@lru_cache
def arrow(turns: frozenset[Turn]) -> tuple[Float64[np.ndarray, "N 2"], ...]:
    """Polygons (along, left) of the arrow for the permitted ways; its tip is at ARROW_LENGTH_M."""
    half = _SHAFT_M / 2.0
    shapes = []
    branch = 0.5 if Turn.STRAIGHT in turns else 0.5 * ARROW_LENGTH_M
    reach = ARROW_LENGTH_M if Turn.STRAIGHT in turns else branch + 0.4
    if Turn.STRAIGHT in turns:
        shapes += [
            np.array([[0.0, -half], [reach - 1.6, -half], [reach - 1.6, half], [0.0, half]]),
            np.array([[reach - 1.6, -0.5], [reach, 0.0], [reach - 1.6, 0.5]]),
        ]
    elif turns:
        shapes.append(np.array([[0.0, -half], [reach, -half], [reach, half], [0.0, half]]))
    for turn, side in ((Turn.LEFT, 1.0), (Turn.RIGHT, -1.0)):
        if turn not in turns:
            continue
        # A bent shaft, then the head, which points to the side.
        shapes.append(
            np.array(
                [
                    [branch, 0.0],
                    [branch + 0.7, 0.0],
                    [branch + 1.5, side * 0.55],
                    [branch + 1.1, side * 0.55],
                ]
            )
        )
        shapes.append(
            np.array([[branch + 0.5, side * 0.5], [branch + 2.1, side * 0.5], [branch + 1.3, side * 1.15]])
        )
    return tuple(shapes)


@lru_cache
def lettering(text: str) -> Float64[np.ndarray, "N 4"]:
    """Rectangles from along, to along, right, left: a word read by who drives along the lane, centred."""
    font = ImageFont.load_default(40)
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (int(right - left) + 4, int(bottom - top)), 0)
    ImageDraw.Draw(image).text((2 - left, -top), text, fill=255, font=font, stroke_width=1, stroke_fill=255)
    columns = max(4, round(len(text) * _LETTER_WIDTH_M / _TEXT_PIXEL_M))
    small = np.asarray(image.resize((columns, _TEXT_ROWS), Image.Resampling.BOX)) > 110
    return _rectangles(small, LETTER_LENGTH_M / _TEXT_ROWS, len(text) * _LETTER_WIDTH_M / columns)


@lru_cache
def bicycle() -> Float64[np.ndarray, "N 4"]:
    """Rectangles as for `lettering`."""
    rows, columns = _BICYCLE_PIXELS
    scale = 8
    image = Image.new("L", (columns * scale, rows * scale), 0)
    draw = ImageDraw.Draw(image)

    def at(x: float, y: float) -> tuple[float, float]:
        return x * scale, y * scale

    for x in (2.6, 9.4):
        box = (*at(x - 2.5, 9.0), *at(x + 2.5, 15.8))
        draw.ellipse(box, outline=255, width=9)
    frame = [at(2.6, 12.4), at(4.6, 6.5), at(8.2, 6.5), at(9.4, 12.4)]
    draw.line(frame, fill=255, width=9)
    draw.line([at(4.6, 6.5), at(6.2, 12.4), at(8.2, 6.5)], fill=255, width=8)
    draw.line([at(8.2, 6.5), at(7.8, 3.2), at(9.6, 2.2)], fill=255, width=8)
    draw.line([at(3.2, 4.0), at(5.4, 4.0)], fill=255, width=10)
    small = np.asarray(image.resize((columns, rows), Image.Resampling.BOX)) > 100
    return _rectangles(small, BICYCLE_LENGTH_M / rows, 1.5 / columns)


def _rectangles(mask: np.ndarray, row_m: float, column_m: float) -> Float64[np.ndarray, "N 4"]:
    """Runs of set pixels; row 0 is the farthest from who reads it, columns count to the right."""
    result = []
    for row, line in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]])))
        near = (len(mask) - 1 - row) * row_m
        for first, end in edges.reshape(-1, 2).tolist():
            middle = len(line) / 2.0
            result.append((near, near + row_m, (middle - end) * column_m, (middle - first) * column_m))
    return np.array(result, np.float64).reshape(-1, 4)
