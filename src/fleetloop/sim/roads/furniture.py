"""Street furniture: lamps, trees, hedges, fences, crash barriers, bus shelters, construction sites."""

import numpy as np

from fleetloop.core.types import Surface
from fleetloop.sim.roads.boxes import POLE_COLOUR, Boxes, Places, Site, along_kerbs
from fleetloop.sim.roads.buildings import SUBURB_TO_KMH, TOWN_TO_KMH, YARD_TO_KMH
from fleetloop.sim.roads.bus_stops import BusStop
from fleetloop.sim.roads.carriageways import Carriageway
from fleetloop.sim.roads.ground import SIDEWALK_M
from fleetloop.sim.roads.paint import CURB_M
from fleetloop.sim.roads.parking import SLOPE_M, Bays
from fleetloop.sim.roads.sign_places import SignPosts
from fleetloop.sim.roads.yard import GATE_EDGE

LAMP_HEIGHT_M = 6.0
_LAMP_SPACING_M, _LAMP_FROM_KERB_M, _LAMP_OVER_ROAD_M = 42.0, 0.4, 0.55
_LAMP_COLOUR = (228, 224, 206)
_JUNCTION_MARGIN_M = 14.0
"""No trees and lamps this near to a road's ends: they would hide signs and signals."""

_TRUNK = (84, 62, 44)
_CROWNS = np.array([[62, 98, 48], [78, 112, 52], [52, 84, 50], [96, 122, 60]])
_TREE_SPACING_M = 13.0
_TREE_SHARES = ((YARD_TO_KMH, 0.1), (SUBURB_TO_KMH, 0.6), (TOWN_TO_KMH, 0.45), (1000, 0.3))
_HEDGE, _FENCE = (58, 88, 46), (150, 128, 98)
_HEDGE_SPACING_M, _HEDGE_HALF_LENGTH_M = 10.0, 4.2
_RAIL, _RAIL_SPACING_M, _RAIL_FROM_EDGE_M = (168, 172, 176), 12.0, 0.55
_RAIL_FROM_LENGTH_M = 120.0
_CONTAINERS = np.array([[40, 84, 140], [164, 60, 44], [52, 116, 82], [198, 150, 50], [126, 128, 130]])
_SITE_SHARE, _SCHOOL_SHARE = 0.12, 0.15
_SHELTER_GLASS, _SHELTER_ROOF = (122, 142, 150), (70, 74, 80)
_HALL_HALF_M = (14.0, 17.0, 4.5)
_HALL, _GATE, _STRIPE = (188, 192, 196), (30, 32, 36), (176, 34, 38)
_CONE, _BOARD, _HEAP = (236, 104, 24), (226, 60, 44), (128, 104, 76)
_CONE_SPACING_M, _WORKS_M = 4.0, 24.0


def add_street_lamps(boxes: Boxes, site: Site, ways: tuple[Carriageway, ...]) -> None:
    """Posts on sidewalks, each with a head that hangs over the road."""
    places = along_kerbs(ways, _LAMP_SPACING_M, _JUNCTION_MARGIN_M + 4.0)
    feet = places.away(_LAMP_FROM_KERB_M)
    stands = (site.surface(feet) == Surface.SIDEWALK) & (site.from_lanes_m(feet) > 0.3)
    count, yaw = int(stands.sum()), places.headings[stands]
    half = LAMP_HEIGHT_M / 2.0
    post = np.tile([0.07, 0.07, half], (count, 1))
    boxes.extend(feet[stands], np.full(count, half), yaw, post, np.tile(POLE_COLOUR, (count, 1)))
    heads = places.away(-_LAMP_OVER_ROAD_M + 0.3)[stands]
    head = np.tile([0.14, 0.65, 0.07], (count, 1))
    colour = np.tile(_LAMP_COLOUR, (count, 1))
    boxes.extend(heads, np.full(count, LAMP_HEIGHT_M), yaw, head, colour, street_lamps=True)


def add_trees(boxes: Boxes, site: Site, ways: tuple[Carriageway, ...], random: np.random.Generator) -> None:
    """Trunk and crown, on grass beside the sidewalk."""
    places = along_kerbs(ways, _TREE_SPACING_M, _JUNCTION_MARGIN_M)
    count = len(places)
    tall, wide = random.uniform(1.6, 2.6, count), random.uniform(0.8, 1.3, count)
    colour = random.integers(len(_CROWNS), size=count)
    centres = places.away(SIDEWALK_M + random.uniform(0.3, 1.0, count))
    limits, shares = (np.array(column) for column in zip(*_TREE_SHARES, strict=True))
    grows = random.random(count) < shares[np.searchsorted(limits, places.limits_kmh)]
    grows &= site.surface(centres) == Surface.GRASS
    grows[grows] = site.from_lanes_m(centres[grows]) > wide[grows] + 1.0
    yaw, count = places.headings[grows], int(grows.sum())
    trunk = np.tile([0.15, 0.15, 1.2], (count, 1))
    boxes.extend(centres[grows], np.full(count, 1.2), yaw, trunk, np.tile(_TRUNK, (count, 1)))
    crown = np.stack([wide, wide, tall], axis=1)[grows]
    boxes.extend(centres[grows], 2.3 + tall[grows], yaw, crown, _CROWNS[colour[grows]])


def _long_boxes(
    boxes: Boxes,
    site: Site,
    places: Places,
    away_m: float,
    half_size: tuple[float, float, float],
    colours: np.ndarray,
    grounds: tuple[Surface, ...],
) -> None:
    """Boxes along the road, standing on one of `grounds` at both ends and in the middle."""
    centres = places.away(away_m)
    direction = np.stack([np.cos(places.headings), np.sin(places.headings)], axis=1)
    free = np.ones(len(places), bool)
    for share in (-1.0, -0.5, 0.0, 0.5, 1.0):
        points = centres + share * half_size[0] * direction
        free &= np.isin(site.surface(points), grounds) & (site.from_lanes_m(points) > abs(away_m) - 0.15)
    count = int(free.sum())
    height = np.full(count, half_size[2])
    boxes.extend(centres[free], height, places.headings[free], np.tile(half_size, (count, 1)), colours[free])


def add_hedges(boxes: Boxes, site: Site, ways: tuple[Carriageway, ...], random: np.random.Generator) -> None:
    """Hedges and fences along the front gardens of suburbs, and fences around factory grounds."""
    slow = tuple(way for way in ways if 0 < way.speed_limit_kmh <= SUBURB_TO_KMH)
    places = along_kerbs(slow, _HEDGE_SPACING_M, _JUNCTION_MARGIN_M)
    kind = random.random(len(places))
    yard = places.limits_kmh <= YARD_TO_KMH
    for chosen, height, colour in (
        (~yard & (kind < 0.35), 0.55, _HEDGE),
        (~yard & (kind > 0.65), 0.5, _FENCE),
        (yard & (kind < 0.6), 1.0, POLE_COLOUR),
    ):
        half = (_HEDGE_HALF_LENGTH_M, 0.35 if colour is _HEDGE else 0.04, height)
        colours = np.tile(colour, (int(chosen.sum()), 1))
        _long_boxes(boxes, site, places.chosen(chosen), SIDEWALK_M + 0.5, half, colours, (Surface.GRASS,))


def add_crash_barriers(boxes: Boxes, site: Site, ways: tuple[Carriageway, ...]) -> None:
    """Rails along carriageways that are fast, long and one-way, as those of highways."""
    fast = tuple(
        way
        for way in ways
        if way.speed_limit_kmh > TOWN_TO_KMH and way.one_way and way.tracks[0].length_m > _RAIL_FROM_LENGTH_M
    )
    places = along_kerbs(fast, _RAIL_SPACING_M, _RAIL_SPACING_M / 2.0)
    half = (_RAIL_SPACING_M / 2.0, 0.06, 0.16)
    first = len(boxes.rows)
    grounds = (Surface.SIDEWALK, Surface.CURB, Surface.GRASS)
    colours = np.tile(_RAIL, (len(places), 1))
    _long_boxes(boxes, site, places, _RAIL_FROM_EDGE_M, half, colours, grounds)
    # The rail hangs at the height of a bumper.
    boxes.rows[first:] = [(x, y, 0.6, *rest) for x, y, _, *rest in boxes.rows[first:]]


def add_containers(
    boxes: Boxes, site: Site, ways: tuple[Carriageway, ...], random: np.random.Generator
) -> None:
    """Stacks on factory grounds."""
    yards = tuple(way for way in ways if 0 < way.speed_limit_kmh <= YARD_TO_KMH)
    places = along_kerbs(yards, 15.0, 8.0)
    places = places.chosen(random.random(len(places)) < 0.3)
    colours = _CONTAINERS[random.integers(len(_CONTAINERS), size=len(places))]
    _long_boxes(boxes, site, places, SIDEWALK_M + 2.6, (3.0, 1.2, 1.3), colours, (Surface.GRASS,))


def add_bus_stops(posts: SignPosts, stops: tuple[BusStop, ...]) -> None:
    """The sign of each stop; a roof, a back wall and sides where there is grass behind the sidewalk."""
    for stop in stops:
        way, track = stop.way, stop.way.tracks[0]
        posts.put(way, stop.along_m, ("bus_stop",))
        middle = stop.along_m - 4.0
        along = np.arange(middle - 3.0, middle + 4.0, 2.0)
        outside = way.kerb_m + way.outer * (SIDEWALK_M + np.array([0.4, 1.4]))
        corners = np.concatenate([track.places(along, left) for left in outside])
        walk = track.places(along, way.kerb_m + way.outer * 1.2)
        if np.any(posts.site.surface(corners) != Surface.GRASS) or np.any(
            posts.site.surface(walk) != Surface.SIDEWALK
        ):
            continue
        x, y, yaw = track.pose(middle, way.kerb_m + way.outer * (SIDEWALK_M + 0.9))
        posts.boxes.add((x, y, 2.45), yaw, (2.2, 0.8, 0.06), _SHELTER_ROOF)
        x, y, yaw = track.pose(middle, way.kerb_m + way.outer * (SIDEWALK_M + 1.6))
        posts.boxes.add((x, y, 1.2), yaw, (2.1, 0.04, 1.2), _SHELTER_GLASS)
        for end in (middle - 2.1, middle + 2.1):
            x, y, yaw = track.pose(end, way.kerb_m + way.outer * (SIDEWALK_M + 1.1))
            posts.boxes.add((x, y, 1.2), yaw, (0.04, 0.5, 1.2), _SHELTER_GLASS)


def add_parking_and_school_signs(
    posts: SignPosts, ways: tuple[Carriageway, ...], rows: tuple[Bays, ...], random: np.random.Generator
) -> None:
    """Before rows of parking bays, and beside some of the slow streets where children are about."""
    for row in rows:
        posts.put(row.way, max(row.from_m - SLOPE_M - 1.5, 0.0), ("parking",))
    for way, draw in zip(ways, random.random(len(ways)), strict=True):
        slow = YARD_TO_KMH < way.speed_limit_kmh <= SUBURB_TO_KMH and not way.in_roundabout
        if draw < _SCHOOL_SHARE and slow and way.tracks[0].length_m > 60.0:
            posts.put(way, 0.5 * way.tracks[0].length_m, ("children",))


def add_construction_sites(
    posts: SignPosts, ways: tuple[Carriageway, ...], random: np.random.Generator
) -> None:
    """Cones along the kerb of some roads of two lanes, boards at both ends, a heap behind; no lane is closed."""
    for way, draw in zip(ways, random.random(len(ways)), strict=True):
        track = way.tracks[0]
        if (
            draw > _SITE_SHARE
            or len(way.lines) < 2
            or track.length_m < 70.0
            or way.speed_limit_kmh > TOWN_TO_KMH
        ):
            continue
        start = track.length_m / 2.0 - _WORKS_M / 2.0
        kerb = posts.site.surface(
            track.places(np.arange(start, start + _WORKS_M), way.kerb_m + way.outer * 0.6)
        )
        if not np.all(kerb == Surface.SIDEWALK):
            continue
        beside = way.kerb_m + way.outer * (CURB_M + 0.05)
        for along in np.arange(start, start + _WORKS_M + 0.1, _CONE_SPACING_M):
            x, y, yaw = track.pose(float(along), beside)
            posts.boxes.add((x, y, 0.38), yaw, (0.11, 0.11, 0.38), _CONE)
        for along in (start - 2.0, start + _WORKS_M + 2.0):
            x, y, yaw = track.pose(along, beside)
            posts.boxes.add((x, y, 0.9), yaw, (0.8, 0.05, 0.14), _BOARD)
        x, y, yaw = track.pose(start + _WORKS_M / 2.0, way.kerb_m + way.outer * (SIDEWALK_M + 1.6))
        if posts.site.surface(np.array([[x, y]]))[0] == Surface.GRASS:
            posts.boxes.add((x, y, 0.5), yaw, (2.4, 1.2, 0.5), _HEAP)
        posts.put(way, start - 20.0, ("construction",))


def add_production_halls(boxes: Boxes, ways: tuple[Carriageway, ...]) -> None:
    """Where the cars of a yard come from: a hall across the start of its gate's road, and the open gate."""
    for way in ways:
        if way.edge.name != GATE_EDGE:
            continue
        length, width, height = _HALL_HALF_M
        x, y, yaw = way.tracks[0].pose(-length - 2.6, 0.0)
        boxes.add((x, y, height), yaw, _HALL_HALF_M, _HALL)
        x, y, yaw = way.tracks[0].pose(-2.6, 0.0)
        boxes.add((x, y, 2.2), yaw, (0.06, 2.6, 2.2), _GATE)
        x, y, yaw = way.tracks[0].pose(-2.5, 0.0)
        boxes.add((x, y, 5.2), yaw, (0.06, 0.7 * width, 0.5), _STRIPE)
