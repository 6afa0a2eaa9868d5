"""Bus stops: where buses halt in their lane, at the kerb, with a sign, a marking and at times a shelter."""

from dataclasses import dataclass

import numpy as np

from fleetloop.core.types import LaneUse, Surface
from fleetloop.sim.roads.carriageways import Carriageway
from fleetloop.sim.roads.lanes import LaneTable
from fleetloop.sim.roads.paint import Paint
from fleetloop.sim.roads.parking import Bays
from fleetloop.sim.roads.stamps import lettering

_SHARE = 0.4
"""Of the street sides that have room."""
_TOWN_LIMITS_KMH = (40, 70)
_SHORTEST_M = 52.0
_FROM_START_M, _BEFORE_END_M = 30.0, 22.0
"""From a junction to the front of the bus, and from there to the next junction: others queue behind it."""
_BEYOND_MIDDLE_M = 6.0
_CAGE_M, _CAGE_LINE_M, _DASH_M, _GAP_M = 14.0, 0.15, 0.9, 0.6
_LETTERING_M = 9.0


@dataclass(frozen=True)
class BusStop:
    """A stop at the outermost lane of a carriageway."""

    way: Carriageway
    along_m: float
    """Where the front of a bus stands, metres along the outermost lane."""

    @property
    def lane(self) -> int:
        """Number of the lane in the LaneTable."""
        return self.way.numbers[0]


def plan_bus_stops(
    ways: tuple[Carriageway, ...], lanes: LaneTable, rows: tuple[Bays, ...], random: np.random.Generator
) -> tuple[BusStop, ...]:
    """Stops on some of the town's streets where buses run, beside no parking bays."""
    with_bays = {row.way.edge.name for row in rows}
    result = []
    for way, draw in zip(ways, random.random(len(ways)), strict=True):
        number, length = way.numbers[0], way.tracks[0].length_m
        town = _TOWN_LIMITS_KMH[0] < way.speed_limit_kmh < _TOWN_LIMITS_KMH[1]
        if draw > _SHARE or not town or length < _SHORTEST_M or number < 0 or way.in_roundabout:
            continue
        if not lanes.use[number] & LaneUse.BUS or way.edge.name in with_bays:
            continue
        along = min(max(0.5 * length + _BEYOND_MIDDLE_M, _FROM_START_M), length - _BEFORE_END_M)
        result.append(BusStop(way, along))
    return tuple(result)


def paint_bus_stop(paint: Paint, stop: BusStop) -> None:
    """A broken yellow cage as long as a bus, with BUS in it."""
    track, half = stop.way.tracks[0], stop.way.widths_m[0] / 2.0 - 0.35
    start = stop.along_m - _CAGE_M + 1.0
    near = np.arange(start, start + _CAGE_M - _DASH_M, _DASH_M + _GAP_M)
    for side in (-1.0, 1.0):
        edges = sorted((side * half, side * (half - _CAGE_LINE_M)))
        paint.extend(Surface.YELLOW_LINE, track.quads(near, near + _DASH_M, *edges))
    ends = np.array([start, start + _CAGE_M])
    paint.extend(Surface.YELLOW_LINE, track.quads(ends, ends + _CAGE_LINE_M, -half, half))
    if stop.way.uses[0] is LaneUse.MOTOR:
        # A bus lane says it already.
        from_m, to_m, right, left = lettering("BUS").T
        at = stop.along_m - _LETTERING_M
        paint.extend(Surface.YELLOW_LINE, track.quads(at + from_m, at + to_m, right, left))
