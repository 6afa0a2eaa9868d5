"""Buildings beside the roads: blocks in towns, houses in suburbs, halls and containers on factory grounds."""

from dataclasses import dataclass

import numpy as np
import shapely
from jaxtyping import Float64

from fleetloop.core.types import Surface
from fleetloop.sim.roads.boxes import Boxes, Places, Site, along_kerbs
from fleetloop.sim.roads.carriageways import Carriageway
from fleetloop.sim.roads.ground import SIDEWALK_M

BUILDING_CLEARANCE_M = 3.5
"""Between a building and the nearest lane's edge."""

YARD_TO_KMH, SUBURB_TO_KMH, TOWN_TO_KMH = 20, 40, 69
"""What a place looks like follows from the speed limit; beyond the last it is open country."""

_FLOOR_M = 3.0
_ROOF_HALF_M, _EAVES_M = 0.45, 0.35


@dataclass(frozen=True)
class _Style:
    """Ranges of half sizes and distances, metres."""

    spacing_m: float
    share: float
    """Of the places that are built on."""
    half_length: tuple[float, float]
    half_depth: tuple[float, float]
    floors: tuple[int, int]
    setback: tuple[float, float]
    """Behind the sidewalk."""
    walls: tuple[tuple[int, int, int], ...]
    roofs: tuple[tuple[int, int, int], ...]
    """Of pitched roofs; none: flat."""


_TOWN = _Style(
    spacing_m=21.0,
    share=0.85,
    half_length=(5.5, 10.2),
    half_depth=(4.5, 7.5),
    floors=(2, 6),
    setback=(1.2, 4.0),
    walls=(
        (176, 144, 122),
        (140, 92, 72),
        (192, 186, 172),
        (112, 122, 138),
        (206, 190, 152),
        (152, 160, 152),
        (186, 118, 92),
        (214, 208, 196),
    ),
    roofs=(),
)
_SUBURB = _Style(
    spacing_m=21.0,
    share=0.8,
    half_length=(4.2, 6.2),
    half_depth=(3.8, 5.2),
    floors=(1, 2),
    setback=(4.0, 7.0),
    walls=((216, 206, 188), (198, 176, 146), (226, 222, 212), (176, 110, 88), (204, 190, 164)),
    roofs=((122, 56, 44), (92, 62, 52), (78, 78, 84), (140, 74, 52)),
)
_YARD = _Style(
    spacing_m=38.0,
    share=0.7,
    half_length=(10.0, 17.0),
    half_depth=(7.0, 12.0),
    floors=(2, 3),
    setback=(5.0, 9.0),
    walls=((172, 178, 184), (138, 152, 166), (188, 184, 172), (120, 128, 134)),
    roofs=(),
)
_COUNTRY = _Style(
    spacing_m=80.0,
    share=0.25,
    half_length=(6.0, 10.0),
    half_depth=(4.5, 7.0),
    floors=(1, 2),
    setback=(14.0, 24.0),
    walls=((186, 170, 146), (164, 96, 76), (206, 202, 192)),
    roofs=((112, 58, 46), (88, 84, 82)),
)
_RANGES = (
    (_YARD, -1, YARD_TO_KMH),
    (_SUBURB, YARD_TO_KMH, SUBURB_TO_KMH),
    (_TOWN, SUBURB_TO_KMH, TOWN_TO_KMH),
)
_STYLES = (*_RANGES, (_COUNTRY, TOWN_TO_KMH, 1000))
_SAMPLES = np.stack(np.meshgrid(np.linspace(-1, 1, 7), np.linspace(-1, 1, 7)), axis=-1).reshape(-1, 2)
_CORNERS = [0, 6, 48, 42]


def add_buildings(
    boxes: Boxes, site: Site, ways: tuple[Carriageway, ...], random: np.random.Generator
) -> None:
    """Buildings on grass beside all roads; none overlaps another."""
    lots = []
    for style, above, up_to in _STYLES:
        chosen = tuple(way for way in ways if above < way.speed_limit_kmh <= up_to)
        if chosen:
            lots.append((style, *_lots(style, site, along_kerbs(chosen, style.spacing_m, 4.0), random)))
    corners = np.concatenate([lot[-1] for lot in lots]) if lots else np.zeros((0, 4, 2))
    kept = np.zeros(len(corners), bool)
    kept[_without_overlap(corners)] = True
    first = 0
    for style, centres, yaws, half_sizes, _ in lots:
        mine = kept[first : first + len(centres)]
        first += len(centres)
        _build(boxes, style, centres[mine], yaws[mine], half_sizes[mine], random)


def _lots(
    style: _Style, site: Site, places: Places, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Centres, yaws, half sizes and corners of the buildings for which there is room."""
    count = len(places)
    length, depth = random.uniform(*style.half_length, count), random.uniform(*style.half_depth, count)
    floors = np.minimum(random.integers(style.floors[0], style.floors[1] + 1, (2, count)).min(axis=0), 8)
    centres = places.away(SIDEWALK_M + random.uniform(*style.setback, count) + depth)
    built = random.random(count) < style.share
    cosine, sine = np.cos(places.headings)[:, None], np.sin(places.headings)[:, None]
    ahead, aside = _SAMPLES[:, 0] * length[:, None], _SAMPLES[:, 1] * depth[:, None]
    samples = np.stack(
        [centres[:, :1] + cosine * ahead - sine * aside, centres[:, 1:] + sine * ahead + cosine * aside],
        axis=-1,
    )
    # Most lots fail at a corner or the middle: look there first.
    clear = built & _is_free(site, samples[:, [*_CORNERS, 24]])
    clear[clear] = _is_free(site, samples[clear])
    half_sizes = np.stack([length, depth, (floors * _FLOOR_M + 0.6) / 2.0], axis=1)
    return centres[clear], places.headings[clear], half_sizes[clear], samples[clear][:, _CORNERS]


def _is_free(site: Site, samples: Float64[np.ndarray, "N S 2"]) -> np.ndarray:
    flat = samples.reshape(-1, 2)
    free = site.surface(flat) == Surface.GRASS
    free[free] = site.from_lanes_m(flat[free]) >= BUILDING_CLEARANCE_M
    return free.reshape(samples.shape[:2]).all(axis=1)


def _without_overlap(corners: Float64[np.ndarray, "N 4 2"]) -> np.ndarray:
    """Indices of the rectangles kept when each in turn gives way to those before it."""
    shapes = np.atleast_1d(np.asarray(shapely.polygons(corners)))
    kept = np.zeros(len(shapes), bool)
    if len(shapes):
        first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
        order = np.lexsort((second, first))
        first, second = first[order], second[order]
        start = np.searchsorted(first, np.arange(len(shapes) + 1))
        for index in range(len(shapes)):
            others = second[start[index] : start[index + 1]]
            kept[index] = not kept[others[others < index]].any()
    return np.flatnonzero(kept)


def _build(
    boxes: Boxes,
    style: _Style,
    centres: Float64[np.ndarray, "N 2"],
    yaws: Float64[np.ndarray, " N"],
    half_sizes: Float64[np.ndarray, "N 3"],
    random: np.random.Generator,
) -> None:
    """Walls, on which the cameras draw windows (cameras.windows), and roofs that reach over them."""
    count = len(centres)
    walls = np.array(style.walls)[random.integers(len(style.walls), size=count)]
    walls = np.minimum(walls * random.uniform(0.85, 1.1, count)[:, None], 255.0)
    boxes.extend(centres, half_sizes[:, 2], yaws, half_sizes, walls)
    if style.roofs:
        roofs = np.array(style.roofs)[random.integers(len(style.roofs), size=count)]
        over = half_sizes * [1.0, 1.0, 0.0] + [_EAVES_M, _EAVES_M, _ROOF_HALF_M]
        boxes.extend(centres, 2.0 * half_sizes[:, 2] + _ROOF_HALF_M, yaws, over, roofs)
