"""The ground of a town: sidewalks, curbs, what is driven on, and the markings on it, as tiles of Surface."""

import numpy as np
import shapely
from jaxtyping import Float64

from fleetloop.core.types import LaneKind, LaneUse, Surface
from fleetloop.sim.roads import curves
from fleetloop.sim.roads.carriageways import Carriageway, flowing_junctions
from fleetloop.sim.roads.curves import CentreLine
from fleetloop.sim.roads.lane_field import LaneField
from fleetloop.sim.roads.lanes import LaneTable
from fleetloop.sim.roads.markings import paint_approach, paint_bends, paint_crossings, paint_lanes
from fleetloop.sim.roads.network import Network
from fleetloop.sim.roads.paint import Ground, Paint, rasterise
from fleetloop.sim.roads.parking import Bays, paint_bay_lines, paint_bay_surface
from fleetloop.sim.roads.regions import Region

SIDEWALK_M = 2.2
CURB_M = 0.2
VERGE_M = 0.8
"""Beside fast roads: a strip of gravel instead of a sidewalk."""

FAST_KMH = 70
"""From this limit on, roads without turns at their ends have no sidewalks but the network's own."""

_ROAD_SURFACE = {
    LaneUse.MOTOR: Surface.ASPHALT,
    LaneUse.BUS: Surface.BUS_LANE,
    LaneUse.BICYCLE: Surface.ASPHALT,
}


def make_ground(
    network: Network,
    lanes: LaneTable,
    field: LaneField,
    ways: tuple[Carriageway, ...],
    bays: tuple[Bays, ...],
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
    paint_bends(paint, lanes, field, flowing, region)
    for way in ways:
        paint_approach(paint, way)
    paint_crossings(paint, lanes, ways)
    return rasterise(paint, origin_m, shape)


def _roads(
    lanes: LaneTable, ways: tuple[Carriageway, ...], flowing: frozenset[str]
) -> list[tuple[CentreLine, float, Surface, bool]]:
    """Centre line, half width, surface, and whether a sidewalk belongs beside it, of all that is driven on."""
    fast = {way.edge.name for way in ways if is_fast(way, lanes, flowing)}
    roads = [
        (line, width / 2.0, _ROAD_SURFACE[use], way.edge.name not in fast)
        for way in ways
        for line, width, use in zip(way.lines, way.widths_m, way.uses, strict=True)
    ]
    for number, lane in enumerate(lanes.road_lanes):
        # Where a lane was shortened in favour of a curve, the road is still there.
        whole = curves.arc_lengths(lane.shape)[-1]
        if whole - lanes.lines[number].length_m > 0.5:
            line = curves.centre_line(curves.smooth(lane.shape))
            roads.append((line, lane.width_m / 2.0, Surface.ASPHALT, lane.edge not in fast))
    for number, connector in enumerate(lanes.connectors):
        lane = lanes.connector_lane(number)
        crosses = lanes.kind[lane] == LaneKind.JUNCTION and connector.junction not in flowing
        surface = Surface.JUNCTION if crosses else Surface.ASPHALT
        ends = {lanes.road_lanes[end].edge for end in (connector.from_lane, connector.to_lane)}
        roads.append((lanes.lines[lane], float(lanes.width_m[lane]) / 2.0, surface, not ends <= fast))
    return roads


def is_fast(way: Carriageway, lanes: LaneTable, flowing: frozenset[str]) -> bool:
    """Whether it is a road like a highway: fast, and nothing to decide at its ends but where to merge."""
    ends = {way.edge.from_junction, way.edge.to_junction}
    return way.speed_limit_kmh >= FAST_KMH and not (ends & lanes.junction_names) - flowing


def _paint_surfaces(
    paint: Paint,
    network: Network,
    lanes: LaneTable,
    ways: tuple[Carriageway, ...],
    bays: tuple[Bays, ...],
    flowing: frozenset[str],
) -> None:
    """Sidewalks first, then curbs, then what is driven on, so that a road is never painted over."""
    roads = _roads(lanes, ways, flowing)
    junctions = _junctions(network, lanes, ways, flowing)
    for line, width, kind in zip(lanes.walks.lines, lanes.walks.widths_m, lanes.walks.kinds, strict=True):
        if kind is LaneKind.WALK:
            paint.add_ribbon(Surface.SIDEWALK, line, -width / 2.0, width / 2.0)
    corners = [area.shape for area in network.walking_areas if len(area.shape) >= 3]
    for margin, surface in ((SIDEWALK_M, Surface.SIDEWALK), (CURB_M, Surface.CURB)):
        for line, half, _, slow in roads:
            wide = margin if slow or surface is Surface.CURB else VERGE_M
            paint.add_ribbon(surface, line, -half - wide, half + wide)
        for outline, _, slow in junctions:
            _add_widened(paint, surface, outline, margin if slow or surface is Surface.CURB else VERGE_M)
        for row in bays:
            paint_bay_surface(paint, row, surface, margin)
    for line, half, surface, _ in roads:
        paint.add_ribbon(surface, line, -half, half)
    for row in bays:
        paint_bay_surface(paint, row, Surface.PARKING, 0.0)
    for outline, surface, _ in junctions:
        paint.add(surface, outline)
    # SUMO's junctions include the corners where people walk, and may reach over the end of a bus lane.
    for corner in corners:
        paint.add(Surface.CURB, corner)
        for part in shapely.get_parts(shapely.buffer(shapely.Polygon(corner), -CURB_M)):
            if not part.is_empty:
                paint.add(Surface.SIDEWALK, np.asarray(part.exterior.coords))
    if corners:
        for line, half, surface, _ in roads:
            if surface is Surface.JUNCTION:
                paint.add_ribbon(surface, line, -half, half)
    for line, half, surface, _ in roads:
        if surface is Surface.BUS_LANE:
            paint.add_ribbon(surface, line, -half, half)


def _junctions(
    network: Network, lanes: LaneTable, ways: tuple[Carriageway, ...], flowing: frozenset[str]
) -> list[tuple[Float64[np.ndarray, "N 2"], Surface, bool]]:
    """Outline, surface, and whether a sidewalk belongs around it."""
    slow: dict[str, bool] = {}
    for way in ways:
        for name in (way.edge.from_junction, way.edge.to_junction):
            slow[name] = slow.get(name, False) or not is_fast(way, lanes, flowing)
    return [
        (
            network.junctions[name].shape,
            Surface.JUNCTION if name in lanes.junction_names and name not in flowing else Surface.ASPHALT,
            has_sidewalk,
        )
        for name, has_sidewalk in slow.items()
        if name in network.junctions and len(network.junctions[name].shape) >= 3
    ]


def _add_widened(
    paint: Paint, surface: Surface, outline: Float64[np.ndarray, "N 2"], margin_m: float
) -> None:
    for part in shapely.get_parts(shapely.buffer(shapely.Polygon(outline), margin_m)):
        paint.add(surface, np.asarray(part.exterior.coords))
