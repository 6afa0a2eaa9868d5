"""Traffic rules and street furniture that differ from region to region, as data."""

from dataclasses import dataclass

from fleetloop.core.types import Surface

BUS_LANE_TIMES = 2
"""How many times a day bus lanes may be closed to cars."""


@dataclass(frozen=True)
class Region:
    """The rules of the road in one part of the world. Speeds are km/h, as signs show them."""

    name: str
    left_hand: bool
    """Traffic keeps left."""
    bus_lane_hours: tuple[tuple[int, int], ...]
    """Hours of the day, from and to, in which a bus lane is closed to cars, at most BUS_LANE_TIMES; none: always."""
    middle_line: Surface
    """Colour of the line between oncoming traffic."""
    residential_limit_kmh: int
    town_limit_kmh: int
    highway_limit_kmh: int


REGIONS = {
    # Limits: Germany, StVO section 3 (50), zones of 30, advisory speed 130 on motorways.
    "continent": Region("continent", False, ((7, 9), (16, 19)), Surface.YELLOW_LINE, 30, 50, 130),
    # Limits: Ireland, Road Traffic Act 2004 (50, 120), special limit 30.
    "island": Region("island", True, ((7, 19),), Surface.YELLOW_LINE, 30, 50, 120),
}


def region_of(left_hand: bool) -> Region:
    """The region whose rules a town without further details follows."""
    return REGIONS["island" if left_hand else "continent"]
