"""The ground of a town: sidewalks, curbs, what is driven on, and the markings on it, as tiles of Surface."""

from dataclasses import dataclass

import numpy as np
import shapely
from jaxtyping import Float64

from fleetloop.core.types import LaneKind, LaneUse, Surface
from fleetloop.sim.roads import curves
from fleetloop.sim.roads.bus_stops import BusStop, paint_bus_stop
from fleetloop.sim.roads.carriageways import Carriageway, fast_edges, flowing_junctions
from fleetloop.sim.roads.curves import CentreLine
from fleetloop.sim.roads.lane_field import LaneField
from fleetloop.sim.roads.lanes import LaneTable
from fleetloop.sim.roads.markings import paint_approach, paint_bends, paint_crossings, paint_lanes
from fleetloop.sim.roads.network import Network
from fleetloop.sim.roads.paint import Ground, Paint, rasterise
from fleetloop.sim.roads.parking import Bays, paint_bay_lines, paint_bay_surface
from fleetloop.sim.roads.regions import Region

SIDEWALK_M = 2.2
VERGE_M = 0.8
"""Beside fast roads: a strip of gravel instead of a sidewalk."""

_ROAD_SURFACE = {
    LaneUse.MOTOR: Surface.ASPHALT,
    LaneUse.BUS: Surface.BUS_LANE,
    LaneUse.BICYCLE: Surface.ASPHALT,
}


@dataclass(frozen=True)
class _Road:
    """Something driven on, along a line."""

    line: CentreLine
    half_m: float
    surface: Surface
    margin_m: float
    """Width of the sidewalk that is painted beside it."""
    joins: bool = False
    """It is a way within a junction or bend."""


def make_ground(
    network: Network,
    lanes: LaneTable,
    field: LaneField,
    ways: tuple[Carriageway, ...],
    bays: tuple[Bays, ...],
    stops: tuple[BusStop, ...],
    region: Region,
    origin_m: Float64[np.ndarray, " 2"],
    shape: tuple[int, int],
) -> Ground:
    """Paint the town; `shape` is the number of tiles (rows, columns) from `origin_m`, the lower left."""
    paint = Paint()
    flowing = flowing_junctions(lanes)
    _paint_surfaces(paint, network, lanes, ways, bays, flowing)
    for way in ways:
        paint_lanes(paint, way, field, region)
    for row in bays:
        paint_bay_lines(paint, row)
    for stop in stops:
        paint_bus_stop(paint, stop)
    paint_bends(paint, lanes, field, flowing, region)
    for way in ways:
        paint_approach(paint, way)
    paint_crossings(paint, lanes, ways)
    return rasterise(paint, origin_m, shape)


def _roads(
    lanes: LaneTable,
    ways: tuple[Carriageway, ...],
    flowing: frozenset[str],
    margins: dict[str, float],
    cornered: frozenset[str],
) -> list[_Road]:
    """All that is driven on, except for the outlines of junctions; margins by edge."""
    roads = [
        _Road(line, width / 2.0, _surface(way, use), margins[way.edge.name])
        for way in ways
        for line, width, use in zip(way.lines, way.widths_m, way.uses, strict=True)
    ]
    for number, lane in enumerate(lanes.road_lanes):
        # Where a lane was shortened in favour of a curve, the road is still there.
        whole = curves.arc_lengths(lane.shape)[-1]
        if whole - lanes.lines[number].length_m > 0.5:
            line = curves.centre_line(curves.smooth(lane.shape))
            roads.append(_Road(line, lane.width_m / 2.0, Surface.ASPHALT, margins[lane.edge]))
    for number, connector in enumerate(lanes.connectors):
        lane = lanes.connector_lane(number)
        crosses = lanes.kind[lane] == LaneKind.JUNCTION and connector.junction not in flowing
        surface = Surface.JUNCTION if crosses else Surface.ASPHALT
        ends = (lanes.road_lanes[end].edge for end in (connector.from_lane, connector.to_lane))
        margin = 0.0 if connector.junction in cornered else max(margins[end] for end in ends)
        roads.append(_Road(lanes.lines[lane], float(lanes.width_m[lane]) / 2.0, surface, margin, joins=True))
    return roads


def _surface(way: Carriageway, use: LaneUse) -> Surface:
    return Surface.PARKING if way.first_number else _ROAD_SURFACE[use]


def _margins(lanes: LaneTable, ways: tuple[Carriageway, ...], flowing: frozenset[str]) -> dict[str, float]:
    """How wide a sidewalk is painted beside each edge, m; the network's own are painted as they are."""
    fast = fast_edges(ways, lanes, flowing)
    return {
        way.edge.name: 0.0 if way.has_walk else VERGE_M if way.edge.name in fast else SIDEWALK_M
        for way in ways
    }


def _junctions_with_corners(network: Network) -> frozenset[str]:
    """Junctions where the network says where people walk. SUMO names their areas ":junction_w0_0"."""
    return frozenset(
        area.name[1:].rsplit("_w", 1)[0] for area in network.walking_areas if len(area.shape) >= 3
    )


def _paint_surfaces(
    paint: Paint,
    network: Network,
    lanes: LaneTable,
    ways: tuple[Carriageway, ...],
    bays: tuple[Bays, ...],
    flowing: frozenset[str],
) -> None:
    """Sidewalks first, then what is driven on, so that a road is never painted over."""
    margins, cornered = _margins(lanes, ways, flowing), _junctions_with_corners(network)
    roads = _roads(lanes, ways, flowing, margins, cornered)
    corners = [shape for shape in lanes.walks.corners if len(shape) >= 3]
    junctions = _junctions(network, lanes, ways, flowing, margins, cornered)
    for edge in network.edges.values():
        for lane in edge.lanes:
            if lane.users == LaneUse.PEDESTRIAN:
                line = curves.centre_line(curves.smooth(lane.shape))
                paint.add_ribbon(Surface.SIDEWALK, line, -lane.width_m / 2.0, lane.width_m / 2.0)
    for road in roads:
        if road.margin_m > 0.0:
            half = road.half_m + road.margin_m
            paint.add_ribbon(Surface.SIDEWALK, road.line, -half, half)
    for outline, _, margin in junctions:
        if margin > 0.0:
            for part in shapely.get_parts(shapely.buffer(shapely.Polygon(outline), margin)):
                paint.add(Surface.SIDEWALK, np.asarray(part.exterior.coords))
    for row in bays:
        paint_bay_surface(paint, row, Surface.SIDEWALK, SIDEWALK_M)
    for road in roads:
        paint.add_ribbon(road.surface, road.line, -road.half_m, road.half_m)
    for row in bays:
        paint_bay_surface(paint, row, Surface.PARKING, 0.0)
    tree = shapely.STRtree([shapely.Polygon(corner) for corner in corners])
    driven = np.concatenate([road.line.points for road in roads if road.joins] or [np.zeros((0, 2))])
    for outline, surface, _ in junctions:
        for part in _without_corners(outline, tree, driven):
            paint.add(surface, part)
    # SUMO's junctions include the corners where people walk, and may reach over the end of a bus lane; a corner may
    # lie above or below a road on another level.
    for corner in corners:
        paint.add(Surface.SIDEWALK, corner)
    lines = [shapely.LineString(road.line.points) for road in roads]
    covered = (
        set(tree.query(lines, predicate="dwithin", distance=SIDEWALK_M)[0].tolist()) if corners else set()
    )
    for number, road in enumerate(roads):
        if number in covered or road.surface is Surface.BUS_LANE:
            paint.add_ribbon(road.surface, road.line, -road.half_m, road.half_m)


def _junctions(
    network: Network,
    lanes: LaneTable,
    ways: tuple[Carriageway, ...],
    flowing: frozenset[str],
    margins: dict[str, float],
    cornered: frozenset[str],
) -> list[tuple[Float64[np.ndarray, "N 2"], Surface, float]]:
    """Outline, surface, and width of the sidewalk around it."""
    widest: dict[str, float] = {}
    for way in ways:
        for name in (way.edge.from_junction, way.edge.to_junction):
            widest[name] = max(widest.get(name, 0.0), margins[way.edge.name])
    return [
        (
            network.junctions[name].shape,
            Surface.JUNCTION if name in lanes.junction_names and name not in flowing else Surface.ASPHALT,
            0.0 if name in cornered else margin,
        )
        for name, margin in widest.items()
        if name in network.junctions and len(network.junctions[name].shape) >= 3
    ]


def _without_corners(
    outline: Float64[np.ndarray, "N 2"], corners: shapely.STRtree, driven: Float64[np.ndarray, "P 2"]
) -> list[Float64[np.ndarray, "N 2"]]:
    """A junction's outline without what a sidewalk cuts off on its far side, where no way leads (`driven`)."""
    whole = shapely.Polygon(outline)
    if not whole.is_valid:
        return [outline]
    near = corners.geometries[corners.query(whole, predicate="intersects")]
    if not len(near):
        return [outline]
    low, high = outline.min(axis=0), outline.max(axis=0)
    inside = driven[np.all((driven >= low) & (driven <= high), axis=1)]
    rest = shapely.difference(whole, shapely.union_all(shapely.buffer(near, 0.05)))
    parts = [part for part in shapely.get_parts(rest) if isinstance(part, shapely.Polygon)]
    return [
        np.asarray(part.exterior.coords)
        for part in parts
        if shapely.contains_xy(part, inside[:, 0], inside[:, 1]).any()
    ]
