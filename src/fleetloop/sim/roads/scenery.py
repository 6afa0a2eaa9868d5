"""What stands beside the roads: buildings, trees, poles, signs and signal heads, all as boxes."""

import numpy as np
import shapely
from jaxtyping import Float64

from fleetloop.core.random import Stream, generator
from fleetloop.core.types import Control, SignalColour, Surface
from fleetloop.sim.roads.boxes import POLE_COLOUR, Boxes, Site, make_site
from fleetloop.sim.roads.curves import CentreLine
from fleetloop.sim.roads.ground import SIDEWALK_M
from fleetloop.sim.roads.lanes import LaneTable
from fleetloop.sim.roads.paint import Ground
from fleetloop.sim.roads.signals import Signal

BUILDING_CLEARANCE_M = 3.5
"""Between a building and the nearest lane's edge."""

HEAD_PAST_STOP_LINE_M = 5.0
"""Far enough that the wide camera of a car that waits at the line still has the lamps in its picture."""

HEAD_HEIGHT_M = 4.3
"""Of a signal head's middle: trucks pass below it."""

_HEAD_HALF_SIZE = (0.175, 0.45, 0.75)
_HEAD_SPACING_M = 0.95
_LAMP_HALF_M, _LAMP_PROTRUSION_M, _LAMP_PITCH_M = 0.225, 0.06, 0.5
_LAMPS = (
    (SignalColour.RED, 1.0, (255, 40, 30)),
    (SignalColour.YELLOW, 0.0, (255, 190, 0)),
    (SignalColour.GREEN, -1.0, (40, 255, 90)),
)
_POST_M = 0.8
_HEAD_COLOUR = (25, 25, 28)
_RED, _WHITE = (200, 25, 25), (240, 240, 240)
_BUILDING_COLOURS = np.array(
    [[170, 140, 120], [140, 90, 70], [190, 185, 170], [110, 120, 135], [205, 190, 150], [150, 160, 150]]
)
_TRUNK = (84, 62, 44)
_TREE_COLOURS = np.array([[62, 98, 48], [78, 112, 52], [52, 84, 50]])
_JUNCTION_MARGIN_M = 14.0
"""No trees and lamp posts this near to an edge's ends: they would hide signs and signals."""


def make_scenery(
    lanes: LaneTable,
    signals: list[Signal],
    signal_of: list[int],
    approaches: dict[str, Control],
    ground: Ground,
    origin_m: Float64[np.ndarray, " 2"],
    seed: int,
) -> Boxes:
    """All static boxes of a town; the same seed gives the same boxes."""
    site = make_site(lanes, ground, origin_m)
    boxes = Boxes()
    by_edge: dict[str, list[int]] = {}
    for number, lane in enumerate(lanes.road_lanes):
        by_edge.setdefault(lane.edge, []).append(number)
    outer = 1.0 if lanes.left_hand else -1.0
    for edge, members in by_edge.items():
        control = approaches.get(edge, Control.NONE)
        if control is Control.SIGNAL:
            _add_signal_heads(boxes, site, lanes, members, signals, signal_of, outer)
        elif control in (Control.STOP, Control.YIELD):
            _add_sign(boxes, site, lanes, members[0], control, outer)
    random = generator(seed, Stream.APPEARANCE)
    kerbs = [
        (lanes.lines[members[0]], outer * lanes.width_m[members[0]] / 2.0) for members in by_edge.values()
    ]
    kerbs += [
        (lanes.lines[members[-1]], -outer * lanes.width_m[members[-1]] / 2.0) for members in by_edge.values()
    ]
    _add_buildings(boxes, site, kerbs, random)
    _add_trees_and_lamp_posts(boxes, site, kerbs, random)
    return boxes


def _at(line: CentreLine, along_m: float, lateral_m: float) -> tuple[float, float, float]:
    """x, y, heading at a distance along the line (past its ends straight on) and to its left."""
    last = len(line.points) - 1
    index = min(max(round(along_m / line.spacing_m), 0), last)
    heading = float(line.headings[index])
    ahead = along_m - index * line.spacing_m
    x, y = line.points[index]
    cosine, sine = np.cos(heading), np.sin(heading)
    return (
        float(x + ahead * cosine - lateral_m * sine),
        float(y + ahead * sine + lateral_m * cosine),
        heading,
    )


def _add_signal_heads(
    boxes: Boxes,
    site: Site,
    lanes: LaneTable,
    members: list[int],
    signals: list[Signal],
    signal_of: list[int],
    outer: float,
) -> None:
    """A post beside the stop line, an arm, and over each lane a head for each signal that differs."""
    heads = []
    for lane in members:
        different: dict[tuple[object, ...], tuple[int, float]] = {}
        for connector in lanes.successors[lane]:
            number = connector - len(lanes.road_lanes)
            signal, turn = signal_of[number], lanes.connectors[number].turn_rad
            if signal >= 0:
                shown = signals[signal].appearance
                if shown not in different or turn > different[shown][1]:
                    different[shown] = (signal, turn)
        order = sorted(different.values(), key=lambda item: -item[1])
        line = lanes.lines[lane]
        for position, (signal, _) in enumerate(order):
            lateral = ((len(order) - 1) / 2.0 - position) * _HEAD_SPACING_M
            heads.append((signal, _at(line, line.length_m + HEAD_PAST_STOP_LINE_M, lateral)))
    for signal, (x, y, heading) in heads:
        boxes.add((x, y, HEAD_HEIGHT_M), heading, _HEAD_HALF_SIZE, _HEAD_COLOUR)
        back = _HEAD_HALF_SIZE[0] + _LAMP_PROTRUSION_M / 2.0
        for lamp, position, colour in _LAMPS:
            centre = (
                x - back * np.cos(heading),
                y - back * np.sin(heading),
                HEAD_HEIGHT_M + position * _LAMP_PITCH_M,
            )
            half_size = (_LAMP_PROTRUSION_M / 2.0, _LAMP_HALF_M, _LAMP_HALF_M)
            boxes.add(centre, heading, half_size, colour, signal, lamp)
    post = _post_place(site, lanes, members[0], 0.0, outer)
    if post is None or not heads:
        return
    top = HEAD_HEIGHT_M + _HEAD_HALF_SIZE[2] + 0.1
    boxes.add((post[0], post[1], top / 2.0), post[2], (0.09, 0.09, top / 2.0), POLE_COLOUR)
    furthest = max((place for _, place in heads), key=lambda p: np.hypot(p[0] - post[0], p[1] - post[1]))
    delta_x, delta_y = furthest[0] - post[0], furthest[1] - post[1]
    middle = ((furthest[0] + post[0]) / 2.0, (furthest[1] + post[1]) / 2.0, top)
    half_size = (float(np.hypot(delta_x, delta_y)) / 2.0, 0.06, 0.06)
    boxes.add(middle, float(np.arctan2(delta_y, delta_x)), half_size, POLE_COLOUR)


def _post_place(
    site: Site, lanes: LaneTable, lane: int, before_end_m: float, outer: float
) -> tuple[float, float, float] | None:
    """Beside the end of the outermost lane, or None where another lane runs there."""
    line = lanes.lines[lane]
    place = _at(line, line.length_m - before_end_m, outer * (lanes.width_m[lane] / 2.0 + _POST_M))
    return place if site.from_lanes_m(np.array([place[:2]]))[0] > 0.3 else None


def _add_sign(boxes: Boxes, site: Site, lanes: LaneTable, lane: int, control: Control, outer: float) -> None:
    """Stop: a red plate with a white bar. Yield: a white plate with a broad red rim."""
    place = _post_place(site, lanes, lane, 1.0, outer)
    if place is None:
        return
    x, y, heading = place
    boxes.add((x, y, 1.1), heading, (0.04, 0.04, 1.1), POLE_COLOUR)
    towards = (x - 0.06 * np.cos(heading), y - 0.06 * np.sin(heading))
    front = (x - 0.10 * np.cos(heading), y - 0.10 * np.sin(heading))
    boxes.add((*towards, 2.4), heading, (0.02, 0.45, 0.45), _RED)
    inner = (0.32, 0.09) if control is Control.STOP else (0.28, 0.28)
    boxes.add((*front, 2.4), heading, (0.02, *inner), _WHITE)


def _along_kerbs(
    kerbs: list[tuple[CentreLine, float]], spacing_m: float, margin_m: float
) -> Float64[np.ndarray, "N 4"]:
    """Places spacing_m apart along every kerb: x, y, heading of the road, side (+1 left, -1 right)."""
    places = []
    for line, lateral in kerbs:
        for along in np.arange(margin_m, line.length_m - margin_m, spacing_m):
            places.append((*_at(line, along, lateral), np.sign(lateral)))
    return np.array(places).reshape(-1, 4)


def _offset(places: Float64[np.ndarray, "N 4"], away_m: np.ndarray) -> Float64[np.ndarray, "N 2"]:
    """Move from the kerb away from the road."""
    normal = np.stack([-np.sin(places[:, 2]), np.cos(places[:, 2])], axis=1)
    return places[:, :2] + (places[:, 3] * away_m)[:, None] * normal


def _add_buildings(
    boxes: Boxes, site: Site, kerbs: list[tuple[CentreLine, float]], random: np.random.Generator
) -> None:
    places = _along_kerbs(kerbs, 17.0, 4.0)
    count = len(places)
    length, depth = random.uniform(4.0, 8.5, count), random.uniform(4.0, 7.0, count)
    height = random.gamma(3.0, 1.3, count) + 2.5
    away = SIDEWALK_M + random.uniform(1.6, 5.0, count) + depth
    colour = random.integers(len(_BUILDING_COLOURS), size=count)
    shade = random.uniform(0.85, 1.1, count)
    built = random.random(count) < 0.85
    centres = _offset(places, away)
    steps = np.linspace(-1.0, 1.0, 7)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    cosine, sine = np.cos(places[:, 2])[:, None], np.sin(places[:, 2])[:, None]
    ahead, aside = grid[:, 0] * length[:, None], grid[:, 1] * depth[:, None]
    samples = np.stack(
        [centres[:, :1] + cosine * ahead - sine * aside, centres[:, 1:] + sine * ahead + cosine * aside],
        axis=-1,
    )
    flat = samples.reshape(-1, 2)
    clear = (site.from_lanes_m(flat) >= BUILDING_CLEARANCE_M) & (site.surface(flat) == Surface.GRASS)
    free = np.flatnonzero(built & clear.reshape(count, -1).all(axis=1))
    kept = free[_without_overlap(samples[free][:, [0, 6, 48, 42]])]
    half_sizes = np.stack([length, depth, height], axis=1)
    colours = np.minimum(_BUILDING_COLOURS[colour] * shade[:, None], 255.0)
    boxes.extend(centres[kept], height[kept], places[kept, 2], half_sizes[kept], colours[kept])


def _without_overlap(corners: Float64[np.ndarray, "N 4 2"]) -> np.ndarray:
    """Indices of the rectangles kept when each in turn gives way to those before it."""
    shapes = np.array([shapely.Polygon(rectangle) for rectangle in corners])
    kept = np.zeros(len(shapes), bool)
    if len(shapes):
        first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
        start = np.searchsorted(first, np.arange(len(shapes) + 1))
        for index in range(len(shapes)):
            others = second[start[index] : start[index + 1]]
            kept[index] = not kept[others[others < index]].any()
    return np.flatnonzero(kept)


def _add_trees_and_lamp_posts(
    boxes: Boxes, site: Site, kerbs: list[tuple[CentreLine, float]], random: np.random.Generator
) -> None:
    places = _along_kerbs(kerbs, 13.0, _JUNCTION_MARGIN_M)
    tall, wide = random.uniform(1.6, 2.6, len(places)), random.uniform(0.8, 1.2, len(places))
    colour = random.integers(len(_TREE_COLOURS), size=len(places))
    centres = _offset(places, SIDEWALK_M + random.uniform(0.3, 1.0, len(places)))
    grows = (random.random(len(places)) < 0.45) & (site.from_lanes_m(centres) > wide + 1.0)
    grows &= site.surface(centres) == Surface.GRASS
    trunk, crown = np.array([0.15, 0.15, 1.2]), np.stack([wide, wide, tall], axis=1)[grows]
    yaw, count = places[grows, 2], int(grows.sum())
    boxes.extend(
        centres[grows], np.full(count, 1.2), yaw, np.tile(trunk, (count, 1)), np.tile(_TRUNK, (count, 1))
    )
    boxes.extend(centres[grows], 2.3 + tall[grows], yaw, crown, _TREE_COLOURS[colour[grows]])
    places = _along_kerbs(kerbs, 34.0, _JUNCTION_MARGIN_M + 4.0)
    centres = _offset(places, np.full(len(places), 0.5))
    stands = (site.from_lanes_m(centres) > 0.4) & (site.surface(centres) == Surface.SIDEWALK)
    yaw, count = places[stands, 2], int(stands.sum())
    post = np.tile([0.08, 0.08, 3.0], (count, 1))
    boxes.extend(centres[stands], np.full(count, 3.0), yaw, post, np.tile(POLE_COLOUR, (count, 1)))
