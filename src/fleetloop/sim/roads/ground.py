"""The ground as a sparse raster of Surface: asphalt, sidewalks, markings, painted block by block."""

from dataclasses import dataclass, field

import numpy as np
import shapely
from jaxtyping import Float64, Int32, UInt8
from PIL import Image, ImageDraw
from scipy.spatial import KDTree

from fleetloop.core.types import METRES_PER_PIXEL, TILE_M, TILE_PIXELS, Control, LaneKind, Surface
from fleetloop.sim.roads import curves
from fleetloop.sim.roads.curves import CentreLine
from fleetloop.sim.roads.lanes import LaneTable
from fleetloop.sim.roads.network import LaneUse, NetEdge, Network

SIDEWALK_M = 2.2
CURB_M = 0.2
LINE_M = 0.15
LINE_INSET_M = 0.2
DASH_M, DASH_PERIOD_M = 3.0, 9.0
STOP_LINE_M = 0.5
CROSSING_FROM_M, CROSSING_TO_M = 0.8, 3.3
"""A zebra crossing lies this far past the stop line."""

MIN_CROSSING_ROOM_M = 12.0
"""Ways across a junction at least this long leave room for crossings."""

_BLOCK_TILES = 16
_RIBBON_POINTS = 12
_BLOCK_PIXELS = _BLOCK_TILES * TILE_PIXELS
_OPPOSITE_DISTANCE_M = 1.0


@dataclass(frozen=True)
class Ground:
    """Tiles of one town; tile 0 is all grass."""

    tile_index: Int32[np.ndarray, "rows columns"]
    tiles: UInt8[np.ndarray, "tiles 64 64"]


@dataclass
class _Paint:
    """Polygons in the order in which they are painted."""

    surfaces: list[Surface] = field(default_factory=list)
    polygons: list[Float64[np.ndarray, "N 2"]] = field(default_factory=list)

    def add(self, surface: Surface, polygon: Float64[np.ndarray, "N 2"]) -> None:
        self.surfaces.append(surface)
        self.polygons.append(polygon)

    def add_ribbon(self, surface: Surface, line: CentreLine, right_m: float, left_m: float) -> None:
        """Along `line` between two lateral offsets, piece by piece: large polygons are slow to fill."""
        normal = np.stack([-np.sin(line.headings), np.cos(line.headings)], axis=1)
        right, left = line.points + right_m * normal, line.points + left_m * normal
        for start in range(0, len(right) - 1, _RIBBON_POINTS):
            piece = slice(start, start + _RIBBON_POINTS + 1)
            self.add(surface, np.concatenate([right[piece], left[piece][::-1]]))

    def add_strip(self, surface: Surface, line: CentreLine, lateral_m: float) -> None:
        """A marking LINE_M wide."""
        self.add_ribbon(surface, line, lateral_m - LINE_M / 2.0, lateral_m + LINE_M / 2.0)


@dataclass(frozen=True)
class _Carriageway:
    """An edge's lanes for vehicles, outermost first."""

    edge: NetEdge
    lines: tuple[CentreLine, ...]
    widths_m: tuple[float, ...]
    uses: tuple[LaneUse, ...]


def make_ground(
    network: Network,
    lanes: LaneTable,
    approaches: dict[str, Control],
    origin_m: Float64[np.ndarray, " 2"],
    shape: tuple[int, int],
) -> Ground:
    """Paint the town; `shape` is the number of tiles (rows, columns) from `origin_m`, the lower left."""
    carriageways = _carriageways(network, lanes)
    paint = _Paint()
    _paint_surfaces(paint, network, lanes, carriageways)
    outer = 1.0 if lanes.left_hand else -1.0
    middle = _oncoming_beside(carriageways, outer)
    for way in carriageways:
        _paint_lines(paint, way, outer, middle[way.edge.name])
    _paint_bends(paint, lanes, outer)
    for way in carriageways:
        _paint_approach(paint, way, outer, approaches.get(way.edge.name, Control.NONE))
    _paint_crossings(paint, lanes, carriageways, approaches)
    return _rasterise(paint, origin_m, shape)


def _piece(line: CentreLine, from_m: float, to_m: float, right_m: float, left_m: float) -> np.ndarray:
    """The ribbon of a stretch of `line`; beyond its ends the line goes straight on."""
    at = np.linspace(from_m, to_m, max(2, int((to_m - from_m) / 1.5) + 1))
    along = np.arange(len(line.points)) * line.spacing_m
    inside = np.clip(at, 0.0, along[-1])
    heading = np.interp(inside, along, np.unwrap(line.headings))
    direction = np.stack([np.cos(heading), np.sin(heading)], axis=1)
    points = np.stack([np.interp(inside, along, line.points[:, axis]) for axis in (0, 1)], axis=1)
    points += (at - inside)[:, None] * direction
    normal = direction[:, ::-1] * [-1.0, 1.0]
    return np.concatenate([points + right_m * normal, (points + left_m * normal)[::-1]])


def _carriageways(network: Network, lanes: LaneTable) -> list[_Carriageway]:
    known = {(lane.edge, lane.index): lanes.lines[number] for number, lane in enumerate(lanes.road_lanes)}
    result = []
    for edge in network.edges.values():
        driven = [lane for lane in edge.lanes if lane.use in (LaneUse.CAR, LaneUse.BUS)]
        if driven:
            lines = [
                known.get((lane.edge, lane.index)) or curves.centre_line(curves.smooth(lane.shape))
                for lane in driven
            ]
            widths = tuple(lane.width_m for lane in driven)
            result.append(_Carriageway(edge, tuple(lines), widths, tuple(lane.use for lane in driven)))
    return result


def _paint_surfaces(
    paint: _Paint, network: Network, lanes: LaneTable, carriageways: list[_Carriageway]
) -> None:
    """Sidewalks first, then curbs, then what is driven on, so that a road is never painted over."""
    roads = [
        (line, width / 2.0, Surface.BUS_LANE if use is LaneUse.BUS else Surface.ASPHALT)
        for way in carriageways
        for line, width, use in zip(way.lines, way.widths_m, way.uses, strict=True)
    ]
    for number, lane in enumerate(lanes.road_lanes):
        # Where a lane was shortened in favour of a curve, the road is still there.
        whole = curves.arc_lengths(lane.shape)[-1]
        if whole - lanes.lines[number].length_m > 0.5:
            line = curves.centre_line(curves.smooth(lane.shape))
            roads.append((line, lane.width_m / 2.0, Surface.ASPHALT))
    for number in range(len(lanes.connectors)):
        lane = lanes.connector_lane(number)
        surface = Surface.JUNCTION if lanes.kind[lane] == LaneKind.JUNCTION else Surface.ASPHALT
        roads.append((lanes.lines[lane], float(lanes.width_m[lane]) / 2.0, surface))
    driven = {way.edge.from_junction for way in carriageways} | {way.edge.to_junction for way in carriageways}
    junctions = [
        (junction.shape, Surface.JUNCTION if name in lanes.junction_names else Surface.ASPHALT)
        for name, junction in network.junctions.items()
        if name in driven and len(junction.shape) >= 3
    ]
    for edge in network.edges.values():
        for lane in edge.lanes:
            if lane.use is LaneUse.WALK:
                line = curves.centre_line(curves.smooth(lane.shape))
                paint.add_ribbon(Surface.SIDEWALK, line, -lane.width_m / 2.0, lane.width_m / 2.0)
    for margin, surface in ((SIDEWALK_M, Surface.SIDEWALK), (CURB_M, Surface.CURB)):
        for line, half, _ in roads:
            paint.add_ribbon(surface, line, -half - margin, half + margin)
        for shape, _ in junctions:
            for part in shapely.get_parts(shapely.buffer(shapely.Polygon(shape), margin)):
                paint.add(surface, np.asarray(part.exterior.coords))
    for line, half, surface in roads:
        paint.add_ribbon(surface, line, -half, half)
    for shape, surface in junctions:
        paint.add(surface, shape)
    # A junction's outline may reach over the end of a bus lane.
    for line, half, surface in roads:
        if surface is Surface.BUS_LANE:
            paint.add_ribbon(surface, line, -half, half)


def _edge_points(way: _Carriageway, outer: float) -> Float64[np.ndarray, "N 2"]:
    """Points on the inner boundary (towards oncoming traffic) of a carriageway."""
    line, half = way.lines[-1], way.widths_m[-1] / 2.0
    normal = np.stack([-np.sin(line.headings), np.cos(line.headings)], axis=1)
    return line.points - outer * half * normal


def _oncoming_beside(carriageways: list[_Carriageway], outer: float) -> dict[str, bool]:
    """Whether oncoming traffic runs directly beside each edge, with no gap between."""
    by_ends: dict[tuple[str, str], list[_Carriageway]] = {}
    for way in carriageways:
        by_ends.setdefault((way.edge.from_junction, way.edge.to_junction), []).append(way)
    result = {}
    for way in carriageways:
        points = _edge_points(way, outer)
        opposite = by_ends.get((way.edge.to_junction, way.edge.from_junction), [])
        distances = [
            KDTree(_edge_points(other, outer)).query(points[len(points) // 2])[0]
            for other in opposite
            if other is not way
        ]
        result[way.edge.name] = bool(distances) and min(distances) < _OPPOSITE_DISTANCE_M
    return result


def _paint_lines(paint: _Paint, way: _Carriageway, outer: float, oncoming: bool) -> None:
    """Edge lines, the middle line, and dashes between lanes of one direction."""
    first, last = way.lines[0], way.lines[-1]
    paint.add_strip(Surface.WHITE_LINE, first, outer * (way.widths_m[0] / 2.0 - LINE_INSET_M))
    surface = Surface.YELLOW_LINE if oncoming else Surface.WHITE_LINE
    paint.add_strip(surface, last, -outer * (way.widths_m[-1] / 2.0 - LINE_INSET_M))
    for number, line in enumerate(way.lines[:-1]):
        lateral = -outer * way.widths_m[number] / 2.0
        if way.uses[number] is not way.uses[number + 1]:
            paint.add_strip(Surface.WHITE_LINE, line, lateral)
            continue
        for start in np.arange(0.5 * DASH_M, line.length_m - DASH_M, DASH_PERIOD_M):
            piece = _piece(line, start, start + DASH_M, lateral - LINE_M / 2.0, lateral + LINE_M / 2.0)
            paint.add(Surface.WHITE_LINE, piece)


def _paint_bends(paint: _Paint, lanes: LaneTable, outer: float) -> None:
    """Where there is nothing to decide, edge and middle lines run on."""
    groups: dict[tuple[str, str], list[int]] = {}
    both_ways: dict[str, set[str]] = {}
    for number, connector in enumerate(lanes.connectors):
        if lanes.kind[lanes.connector_lane(number)] == LaneKind.CONNECTOR:
            ends = (lanes.road_lanes[connector.from_lane].edge, lanes.road_lanes[connector.to_lane].edge)
            groups.setdefault(ends, []).append(number)
            both_ways.setdefault(connector.junction, set()).add(ends[0])
    for members in groups.values():
        order = sorted(members, key=lambda n: lanes.road_lanes[lanes.connectors[n].from_lane].index)
        oncoming = len(both_ways[lanes.connectors[members[0]].junction]) > 1
        middle = Surface.YELLOW_LINE if oncoming else Surface.WHITE_LINE
        sides = ((order[0], outer, Surface.WHITE_LINE), (order[-1], -outer, middle))
        for number, side, surface in sides:
            lane = lanes.connector_lane(number)
            paint.add_strip(surface, lanes.lines[lane], side * (lanes.width_m[lane] / 2.0 - LINE_INSET_M))


def _paint_approach(paint: _Paint, way: _Carriageway, outer: float, control: Control) -> None:
    """The line at which to stop, or the row of teeth at which to give way."""
    if control not in (Control.SIGNAL, Control.STOP, Control.YIELD):
        return
    for line, width in zip(way.lines, way.widths_m, strict=True):
        half, end = width / 2.0 - LINE_INSET_M, line.length_m
        if control is Control.YIELD:
            for left in np.arange(-half + 0.55, half, 0.9):
                paint.add(Surface.STOP_LINE, _piece(line, end - STOP_LINE_M, end, left - 0.45, left))
        else:
            paint.add(Surface.STOP_LINE, _piece(line, end - STOP_LINE_M, end, -half, half))


def _paint_crossings(
    paint: _Paint,
    lanes: LaneTable,
    carriageways: list[_Carriageway],
    approaches: dict[str, Control],
) -> None:
    """Zebra crossings at the mouths of junctions with signals, where there is room for them."""
    room: dict[str, float] = {}
    for number, connector in enumerate(lanes.connectors):
        length = lanes.lines[lanes.connector_lane(number)].length_m
        room[connector.junction] = min(room.get(connector.junction, np.inf), length)
    signalled = {
        way.edge.to_junction
        for way in carriageways
        if approaches.get(way.edge.name) is Control.SIGNAL
        and way.edge.to_junction in lanes.junction_names
        and room.get(way.edge.to_junction, 0.0) >= MIN_CROSSING_ROOM_M
    }
    for way in carriageways:
        for line, width in zip(way.lines, way.widths_m, strict=True):
            stripes = np.arange(-width / 2.0 + 0.25, width / 2.0 - 0.2, 1.0)
            stretches = []
            if way.edge.to_junction in signalled:
                stretches.append((line.length_m + CROSSING_FROM_M, line.length_m + CROSSING_TO_M))
            if way.edge.from_junction in signalled:
                stretches.append((-CROSSING_TO_M, -CROSSING_FROM_M))
            for start, end in stretches:
                for right in stripes:
                    paint.add(Surface.CROSSING, _piece(line, start, end, right, right + 0.5))


def _rasterise(paint: _Paint, origin_m: Float64[np.ndarray, " 2"], shape: tuple[int, int]) -> Ground:
    block_m = _BLOCK_TILES * TILE_M
    blocks: dict[tuple[int, int], list[int]] = {}
    for number, polygon in enumerate(paint.polygons):
        first = np.floor((polygon.min(axis=0) - origin_m) / block_m).astype(int)
        last = np.floor((polygon.max(axis=0) - origin_m) / block_m).astype(int)
        for column in range(first[0], last[0] + 1):
            for row in range(first[1], last[1] + 1):
                blocks.setdefault((row, column), []).append(number)
    tile_index = np.zeros(shape, np.int32)
    tiles = [np.zeros((1, TILE_PIXELS, TILE_PIXELS), np.uint8)]
    count = 1
    for (row, column), members in sorted(blocks.items()):
        corner = origin_m + block_m * np.array([column, row])
        image = Image.new("L", (_BLOCK_PIXELS, _BLOCK_PIXELS), int(Surface.GRASS))
        draw = ImageDraw.Draw(image)
        for number in members:
            pixels = (paint.polygons[number] - corner) / METRES_PER_PIXEL - 0.5
            draw.polygon(pixels.ravel().tolist(), fill=int(paint.surfaces[number]))
        grid = np.asarray(image).reshape(_BLOCK_TILES, TILE_PIXELS, _BLOCK_TILES, TILE_PIXELS).swapaxes(1, 2)
        rows, columns = np.nonzero(grid.any(axis=(2, 3)))
        inside = (rows + row * _BLOCK_TILES < shape[0]) & (columns + column * _BLOCK_TILES < shape[1])
        rows, columns = rows[inside], columns[inside]
        tiles.append(grid[rows, columns])
        tile_index[rows + row * _BLOCK_TILES, columns + column * _BLOCK_TILES] = count + np.arange(len(rows))
        count += len(rows)
    return Ground(tile_index, np.concatenate(tiles))
