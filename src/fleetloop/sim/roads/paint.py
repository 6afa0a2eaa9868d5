"""Polygons of Surface become tiles: surfaces in the order in which they are painted, curbs, markings on top."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64, Int32, UInt8
from PIL import Image, ImageDraw

from fleetloop.core.types import METRES_PER_PIXEL, TILE_PIXELS, Surface
from fleetloop.sim.roads.curves import CentreLine

LINE_M = 0.15
"""Width of a marking that runs along a road."""

CURB_M = 0.2
"""A curb lines every roadway."""

_BLOCK_TILES = 8
_BLOCK_PIXELS = _BLOCK_TILES * TILE_PIXELS
_RIBBON_POINTS = 12
_MARKING_SHIFT = 4
_CURB_PIXELS = round(CURB_M / METRES_PER_PIXEL)
_ROADWAY = (Surface.ASPHALT, Surface.BUS_LANE, Surface.PARKING, Surface.JUNCTION)
# Pillow looks up bytes in a table much faster than NumPy does.
_ROADWAY_TABLE = [int(value in _ROADWAY) for value in range(256)]

# What a marking may be painted on; elsewhere (within junctions, on sidewalks) it is left out.
_LANES = (Surface.ASPHALT, Surface.BUS_LANE, Surface.PARKING)
_CANVAS = {
    Surface.WHITE_LINE: _LANES,
    Surface.YELLOW_LINE: _LANES,
    Surface.STOP_LINE: (Surface.ASPHALT, Surface.BUS_LANE, Surface.JUNCTION),
    Surface.CROSSING: (Surface.ASPHALT, Surface.BUS_LANE, Surface.JUNCTION, Surface.PARKING),
}


def _result_table() -> list[int]:
    """What is seen, by surface + (marking << _MARKING_SHIFT); marking 0 is none."""
    table = [value & ((1 << _MARKING_SHIFT) - 1) for value in range(256)]
    for marking, allowed in _CANVAS.items():
        for surface in allowed:
            table[(marking << _MARKING_SHIFT) | surface] = int(marking)
    return table


_RESULT = _result_table()


@dataclass(frozen=True)
class Ground:
    """Tiles of one town; tile 0 is all grass."""

    tile_index: Int32[np.ndarray, "rows columns"]
    tiles: UInt8[np.ndarray, "tiles 64 64"]


@dataclass
class Paint:
    """Polygons in the order in which they are painted; markings come after all surfaces."""

    surfaces: list[Surface] = field(default_factory=list)
    polygons: list[Float64[np.ndarray, "N 2"]] = field(default_factory=list)

    def add(self, surface: Surface, polygon: Float64[np.ndarray, "N 2"]) -> None:
        """One polygon; metres in the town's frame."""
        self.surfaces.append(surface)
        self.polygons.append(polygon)

    def extend(self, surface: Surface, polygons: Float64[np.ndarray, "M N 2"]) -> None:
        """Many polygons of one surface."""
        self.surfaces += [surface] * len(polygons)
        self.polygons += list(polygons)

    def add_ribbon(
        self,
        surface: Surface,
        line: CentreLine,
        right_m: float | Float64[np.ndarray, " N"],
        left_m: float | Float64[np.ndarray, " N"],
    ) -> None:
        """Along `line` between two lateral offsets, piece by piece: large polygons are slow to fill."""
        normal = np.stack([-np.sin(line.headings), np.cos(line.headings)], axis=1)
        count = len(line.points)
        right = line.points + np.broadcast_to(right_m, count)[:, None] * normal
        left = line.points + np.broadcast_to(left_m, count)[:, None] * normal
        for start in range(0, count - 1, _RIBBON_POINTS):
            piece = slice(start, start + _RIBBON_POINTS + 1)
            self.add(surface, np.concatenate([right[piece], left[piece][::-1]]))

    def add_strip(self, surface: Surface, line: CentreLine, left_m: float) -> None:
        """A marking LINE_M wide along all of `line`."""
        self.add_ribbon(surface, line, left_m - LINE_M / 2.0, left_m + LINE_M / 2.0)


def rasterise(paint: Paint, origin_m: Float64[np.ndarray, " 2"], shape: tuple[int, int]) -> Ground:
    """Tiles (rows, columns) = `shape` from `origin_m`, the lower left."""
    tile_index = np.zeros(shape, np.int32)
    tiles = [np.zeros((1, TILE_PIXELS, TILE_PIXELS), np.uint8)]
    count = 1
    pixels = [(polygon - origin_m) / METRES_PER_PIXEL - 0.5 for polygon in paint.polygons]
    for (row, column), members in sorted(_members_of_blocks(pixels).items()):
        corner = np.array([column, row], np.float64) * _BLOCK_PIXELS - _CURB_PIXELS
        size = _BLOCK_PIXELS + 2 * _CURB_PIXELS
        below = Image.new("L", (size, size), int(Surface.GRASS))
        above = Image.new("L", (size, size), 0)
        draw_below, draw_above = ImageDraw.Draw(below), ImageDraw.Draw(above)
        for number in members:
            surface, outline = paint.surfaces[number], (pixels[number] - corner).ravel().tolist()
            if surface in _CANVAS:
                draw_above.polygon(outline, fill=int(surface) << _MARKING_SHIFT)
            else:
                draw_below.polygon(outline, fill=int(surface))
        inner = slice(_CURB_PIXELS, _CURB_PIXELS + _BLOCK_PIXELS)
        both = (_with_curbs(below) | np.asarray(above))[inner, inner]
        image = np.asarray(Image.fromarray(both).point(_RESULT))
        grid = image.reshape(_BLOCK_TILES, TILE_PIXELS, _BLOCK_TILES, TILE_PIXELS).swapaxes(1, 2)
        used = np.bitwise_or.reduce(image.reshape(_BLOCK_TILES, TILE_PIXELS, _BLOCK_PIXELS), axis=1)
        rows, columns = np.nonzero(used.reshape(_BLOCK_TILES, _BLOCK_TILES, TILE_PIXELS).any(axis=2))
        town_rows, town_columns = rows + row * _BLOCK_TILES, columns + column * _BLOCK_TILES
        inside = (town_rows >= 0) & (town_rows < shape[0]) & (town_columns >= 0) & (town_columns < shape[1])
        rows, columns = rows[inside], columns[inside]
        tiles.append(grid[rows, columns])
        tile_index[town_rows[inside], town_columns[inside]] = count + np.arange(len(rows))
        count += len(rows)
    return Ground(tile_index, np.concatenate(tiles))


def _with_curbs(image: Image.Image) -> UInt8[np.ndarray, "H W"]:
    """Every pixel beside a roadway, up to CURB_M from it along either axis, becomes a curb.

    Slivers between roadways that would be nothing but curb become road.
    """
    roadway = np.asarray(image.point(_ROADWAY_TABLE)).view(bool)
    near = _grown(roadway)
    result = np.array(image)
    np.copyto(result, np.uint8(Surface.CURB), where=near & ~roadway)
    np.copyto(result, np.uint8(Surface.JUNCTION), where=~(roadway | _grown(~near)))
    return result


def _grown(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Grown by the width of a curb along both axes."""
    grown = mask.copy()
    for _ in range(_CURB_PIXELS):
        grown[1:] |= grown[:-1]
        grown[:-1] |= grown[1:]
    for _ in range(_CURB_PIXELS):
        grown[:, 1:] |= grown[:, :-1]
        grown[:, :-1] |= grown[:, 1:]
    return grown


def _members_of_blocks(pixels: list[Float64[np.ndarray, "N 2"]]) -> dict[tuple[int, int], list[int]]:
    """The polygons that touch each block (row, column), in their order."""
    blocks: dict[tuple[int, int], list[int]] = {}
    if not pixels:
        return blocks
    starts = np.cumsum([0, *(len(outline) for outline in pixels[:-1])])
    every = np.concatenate(pixels)
    first = (
        np.floor((np.minimum.reduceat(every, starts) - 1.0 - _CURB_PIXELS) / _BLOCK_PIXELS)
        .astype(int)
        .tolist()
    )
    last = (
        np.floor((np.maximum.reduceat(every, starts) + 1.0 + _CURB_PIXELS) / _BLOCK_PIXELS)
        .astype(int)
        .tolist()
    )
    for number, ((left, low), (right, high)) in enumerate(zip(first, last, strict=True)):
        for column in range(left, right + 1):
            for row in range(low, high + 1):
                blocks.setdefault((row, column), []).append(number)
    return blocks


assert max(Surface) < 1 << _MARKING_SHIFT and max(_CANVAS) < 1 << (8 - _MARKING_SHIFT)
