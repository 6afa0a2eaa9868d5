"""Markings: lines between and beside lanes, what rules a lane's end, crossings, arrows and lettering."""

import numpy as np
from jaxtyping import Float64

from fleetloop.core.types import Control, LaneKind, LaneUse, Surface
from fleetloop.sim.roads import curves
from fleetloop.sim.roads.carriageways import Carriageway, Turn
from fleetloop.sim.roads.curves import CentreLine
from fleetloop.sim.roads.lane_field import LaneField
from fleetloop.sim.roads.lanes import LaneTable
from fleetloop.sim.roads.paint import LINE_M, Paint
from fleetloop.sim.roads.regions import Region
from fleetloop.sim.roads.stamps import ARROW_LENGTH_M, arrow, bicycle, lettering
from fleetloop.sim.roads.tracks import Track

LINE_INSET_M = 0.2
DOUBLE_INSET_M = 0.28
"""From the middle of the road to each of its two solid lines, so that the ground's pixels keep them apart."""
DASH_M, DASH_PERIOD_M = 3.0, 9.0
STOP_LINE_M = 0.5
CROSSING_FROM_M, CROSSING_TO_M = 0.8, 3.3
"""Where the network has no crossings, a zebra crossing lies this far past the stop line."""

STRIPE_M, STRIPE_PERIOD_M = 0.5, 1.0
MIN_CROSSING_ROOM_M = 12.0
"""Ways across a junction at least this long leave room for such crossings."""

OVERTAKING_LIMIT_KMH = 70
"""From this speed limit on, a road with one lane each way lets people overtake where it is straight."""

_SOLID_BEFORE_JUNCTION_M = 40.0
_OVERTAKING_CURVATURE_1PM = 1.0 / 400.0
_ARROWS_BEFORE_END_M = (4.0, 28.0)
_LETTERING_FROM_M, _LETTERING_PERIOD_M = 8.0, 60.0
_ZONE_KMH, _SHORTEST_ZONE_M = (20, 30), 30.0
_NUMBER_FROM_M, _NUMBER_PERIOD_M = 3.0, 25.0
_BESIDE_M = 0.4
"""An edge line this far within another lane is left out."""


def paint_lanes(paint: Paint, way: Carriageway, field: LaneField, region: Region) -> None:
    """Edge lines, the middle line, lines between lanes of one direction, arrows and lettering."""
    owner = _owner(way, field)
    _add_edge_line(
        paint, Surface.WHITE_LINE, way.lines[0], way.kerb_m - way.outer * LINE_INSET_M, field, owner
    )
    inner = way.inner_m + way.outer * LINE_INSET_M
    double = way.inner_m + way.outer * DOUBLE_INSET_M
    if not way.oncoming:
        _add_edge_line(paint, Surface.WHITE_LINE, way.lines[-1], inner, field, owner)
    elif way.speed_limit_kmh < region.town_limit_kmh:
        if _paints_middle(way):
            _dash(paint, region.middle_line, way.tracks[-1], way.inner_m)
    elif way.speed_limit_kmh >= OVERTAKING_LIMIT_KMH and len(way.lines) == 1:
        _paint_overtaking(paint, way, region, double)
    else:
        _add_edge_line(paint, region.middle_line, way.lines[-1], double, field, owner)
    for number, track in enumerate(way.tracks[:-1]):
        lateral = -way.outer * way.widths_m[number] / 2.0
        if way.uses[number] is not way.uses[number + 1]:
            paint.add_strip(Surface.WHITE_LINE, track.line, lateral)
        else:
            _dash(paint, Surface.WHITE_LINE, track, lateral)
    _paint_arrows(paint, way)
    _paint_lettering(paint, way)


def _owner(way: Carriageway, field: LaneField) -> int:
    return next((int(field.owner_of_lane[number]) for number in way.numbers if number >= 0), -1)


def _paints_middle(way: Carriageway) -> bool:
    """Of the two directions of a road, one paints the dashes in the middle."""
    return way.edge.from_junction < way.edge.to_junction


def _add_edge_line(
    paint: Paint, surface: Surface, line: CentreLine, left_m: float, field: LaneField, owner: int
) -> None:
    """A line along all of `line`, but not where it would run across somebody else's lane."""
    normal = np.stack([-np.sin(line.headings), np.cos(line.headings)], axis=1)
    free = field.outside_others(line.points + left_m * normal, owner, _BESIDE_M)
    for first, end in np.flatnonzero(np.diff(np.concatenate([[0], free, [0]]))).reshape(-1, 2):
        if end - first > 1:
            part = slice(first, end)
            piece = CentreLine(line.points[part], line.headings[part], line.curvatures[part], line.spacing_m)
            paint.add_strip(surface, piece, left_m)


def _dash(
    paint: Paint,
    surface: Surface,
    track: Track,
    left_m: float,
    from_m: float = 0.5 * DASH_M,
    to_m: float = np.inf,
) -> None:
    starts = np.arange(from_m, min(to_m, track.length_m) - DASH_M, DASH_PERIOD_M)
    # Two pieces a dash, so that it follows a bend.
    starts = np.concatenate([starts, starts + DASH_M / 2.0])
    paint.extend(
        surface,
        track.quads(starts, starts + DASH_M / 2.0, left_m - LINE_M / 2.0, left_m + LINE_M / 2.0),
    )


def _paint_overtaking(paint: Paint, way: Carriageway, region: Region, inner_m: float) -> None:
    """Dashes where the road is straight and no junction near; a solid line elsewhere."""
    line, track = way.lines[-1], way.tracks[-1]
    along = np.arange(len(line.points)) * line.spacing_m
    allowed = np.abs(line.curvatures) < _OVERTAKING_CURVATURE_1PM
    if way.ends_at_junction:
        allowed &= along < line.length_m - _SOLID_BEFORE_JUNCTION_M
    if way.starts_at_junction:
        allowed &= along > _SOLID_BEFORE_JUNCTION_M
    edges = np.flatnonzero(np.diff(np.concatenate([[False], allowed, [False]]).astype(np.int8)))
    dashed = [(first, end - 1) for first, end in edges.reshape(-1, 2) if along[end - 1] - along[first] > 30.0]
    solid_from = 0
    for first, last in [*dashed, (len(along) - 1, len(along) - 1)]:
        if first > solid_from:
            part = slice(solid_from, first + 1)
            piece = CentreLine(line.points[part], line.headings[part], line.curvatures[part], line.spacing_m)
            paint.add_strip(region.middle_line, piece, inner_m)
        solid_from = last
        if _paints_middle(way):
            _dash(paint, region.middle_line, track, way.inner_m, float(along[first]), float(along[last]))


def _stamp(paint: Paint, track: Track, from_m: float, rectangles: Float64[np.ndarray, "N 4"]) -> None:
    near, far, right, left = rectangles.T
    paint.extend(Surface.WHITE_LINE, track.quads(from_m + near, from_m + far, right, left))


def _paint_arrows(paint: Paint, way: Carriageway) -> None:
    """Where a lane leads, before a junction to which a road of several lanes comes."""
    everywhere = frozenset[Turn]().union(*way.turns)
    if len(way.lines) < 2 or everywhere <= {Turn.STRAIGHT} or way.in_roundabout or way.first_number:
        return
    for track, turns, use in zip(way.tracks, way.turns, way.uses, strict=True):
        if not turns or use is not LaneUse.MOTOR:
            continue
        for before in _ARROWS_BEFORE_END_M:
            start = track.length_m - STOP_LINE_M - before - ARROW_LENGTH_M
            if start < 5.0:
                break
            for shape in arrow(turns):
                paint.add(Surface.WHITE_LINE, track.places(start + shape[:, 0], shape[:, 1]))


def _paint_lettering(paint: Paint, way: Carriageway) -> None:
    """BUS on bus lanes, a bicycle on cycle lanes, numbers on those of yards, the limit where a slow zone begins."""
    slow = _ZONE_KMH[0] <= way.speed_limit_kmh <= _ZONE_KMH[1]
    zone_begins = slow and way.starts_at_junction and not way.in_roundabout
    for number, (track, use) in enumerate(zip(way.tracks, way.uses, strict=True)):
        if way.first_number:
            for start in np.arange(_NUMBER_FROM_M, track.length_m - 10.0, _NUMBER_PERIOD_M):
                _stamp(paint, track, float(start), lettering(str(way.first_number + number)))
            continue
        if use is not LaneUse.MOTOR:
            symbol = lettering("BUS") if use is LaneUse.BUS else bicycle()
            for start in np.arange(_LETTERING_FROM_M, track.length_m - 14.0, _LETTERING_PERIOD_M):
                _stamp(paint, track, float(start), symbol)
        elif zone_begins and track.length_m > _SHORTEST_ZONE_M:
            _stamp(paint, track, _LETTERING_FROM_M, lettering(str(way.speed_limit_kmh)))


def paint_bends(
    paint: Paint, lanes: LaneTable, field: LaneField, flowing: frozenset[str], region: Region
) -> None:
    """Lines run on where there is nothing to decide, or ways only merge."""
    outer = 1.0 if lanes.left_hand else -1.0
    groups: dict[tuple[str, str], list[int]] = {}
    arriving: dict[str, set[str]] = {}
    flows = set()
    for number, connector in enumerate(lanes.connectors):
        plain = lanes.kind[lanes.connector_lane(number)] == LaneKind.CONNECTOR
        if plain or connector.junction in flowing:
            ends = (lanes.road_lanes[connector.from_lane].edge, lanes.road_lanes[connector.to_lane].edge)
            groups.setdefault(ends, []).append(number)
            arriving.setdefault(connector.junction, set()).add(ends[0])
            if not plain:
                flows.add(ends)
    for ends, members in groups.items():
        order = _side_by_side(lanes, members)
        oncoming = ends not in flows and len(arriving[lanes.connectors[members[0]].junction]) > 1
        middle = region.middle_line if oncoming else Surface.WHITE_LINE
        inset = DOUBLE_INSET_M if oncoming else LINE_INSET_M
        sides = ((order[0], outer, Surface.WHITE_LINE, LINE_INSET_M), (order[-1], -outer, middle, inset))
        for number, side, surface, inset in sides:
            lane = lanes.connector_lane(number)
            lateral = side * (lanes.width_m[lane] / 2.0 - inset)
            owner = int(field.owner_of_lane[lane])
            _add_edge_line(paint, surface, lanes.lines[lane], lateral, field, owner)
        for number in order[:-1]:
            lane = lanes.connector_lane(number)
            _dash(paint, Surface.WHITE_LINE, Track(lanes.lines[lane]), -outer * lanes.width_m[lane] / 2.0)


def _side_by_side(lanes: LaneTable, members: list[int]) -> list[int]:
    """Of the connectors between two edges, for each lane the one that goes most straight on; outermost first."""

    def indices(number: int) -> tuple[int, int]:
        connector = lanes.connectors[number]
        return lanes.road_lanes[connector.from_lane].index, lanes.road_lanes[connector.to_lane].index

    shift = min((abs(end - start), end - start) for start, end in map(indices, members))[1]
    best: dict[int, int] = {}
    for number in sorted(members, key=lambda n: abs(indices(n)[1] - indices(n)[0] - shift)):
        best.setdefault(indices(number)[0], number)
    return [best[index] for index in sorted(best)]


def paint_approach(paint: Paint, way: Carriageway) -> None:
    """The line at which to stop, or the row of teeth at which to give way."""
    if way.control not in (Control.SIGNAL, Control.STOP, Control.YIELD):
        return
    for track, width in zip(way.tracks, way.widths_m, strict=True):
        half, end = width / 2.0 - LINE_INSET_M, track.length_m
        if way.control is Control.YIELD:
            left = np.arange(-half + 0.55, half, 0.9)
            near = np.full(len(left), end - STOP_LINE_M)
            paint.extend(Surface.STOP_LINE, track.quads(near, near + STOP_LINE_M, left - 0.45, left))
        else:
            near = np.array([end - STOP_LINE_M])
            paint.extend(Surface.STOP_LINE, track.quads(near, near + STOP_LINE_M, -half, half))


def paint_crossings(paint: Paint, lanes: LaneTable, ways: tuple[Carriageway, ...]) -> None:
    """Zebra crossings: the network's, and where it has none at all, at the mouths of signalled junctions.

    Where people wait for traffic, nothing is painted.
    """
    for crossing in lanes.walks.crossings:
        if crossing.source.people_wait:
            continue
        middle = Track(curves.centre_line(curves.smooth(crossing.source.shape)))
        half = crossing.source.width_m / 2.0
        starts = np.arange(0.25, middle.length_m - STRIPE_M, STRIPE_PERIOD_M)
        paint.extend(Surface.CROSSING, middle.quads(starts, starts + STRIPE_M, -half, half))
    if not lanes.walks.crossings:
        _paint_guessed_crossings(paint, lanes, ways)


def _paint_guessed_crossings(paint: Paint, lanes: LaneTable, ways: tuple[Carriageway, ...]) -> None:
    room: dict[str, float] = {}
    for number, connector in enumerate(lanes.connectors):
        length = lanes.lines[lanes.connector_lane(number)].length_m
        room[connector.junction] = min(room.get(connector.junction, np.inf), length)
    signalled = {
        way.edge.to_junction
        for way in ways
        if way.control is Control.SIGNAL
        and way.ends_at_junction
        and room.get(way.edge.to_junction, 0.0) >= MIN_CROSSING_ROOM_M
    }
    for way in ways:
        for track, width in zip(way.tracks, way.widths_m, strict=True):
            right = np.arange(-width / 2.0 + 0.25, width / 2.0 - 0.2, STRIPE_PERIOD_M)
            stretches = []
            if way.edge.to_junction in signalled:
                stretches.append((track.length_m + CROSSING_FROM_M, track.length_m + CROSSING_TO_M))
            if way.edge.from_junction in signalled:
                stretches.append((-CROSSING_TO_M, -CROSSING_FROM_M))
            for start, end in stretches:
                near, far = np.full(len(right), start), np.full(len(right), end)
                paint.extend(Surface.CROSSING, track.quads(near, far, right, right + STRIPE_M))
