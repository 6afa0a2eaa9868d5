"""What stands beside the roads: signals, signs, buildings, street furniture; boxes and signs of one town."""

import numpy as np
from jaxtyping import Float64

from fleetloop.core.random import Stream, generator
from fleetloop.sim.roads.boxes import Boxes, Site
from fleetloop.sim.roads.buildings import add_buildings
from fleetloop.sim.roads.bus_stops import BusStop
from fleetloop.sim.roads.carriageways import Carriageway
from fleetloop.sim.roads.furniture import (
    add_bus_stops,
    add_construction_sites,
    add_containers,
    add_crash_barriers,
    add_hedges,
    add_parking_and_school_signs,
    add_production_halls,
    add_street_lamps,
    add_trees,
)
from fleetloop.sim.roads.lane_field import LaneField
from fleetloop.sim.roads.lanes import LaneTable
from fleetloop.sim.roads.network import Network
from fleetloop.sim.roads.paint import Ground
from fleetloop.sim.roads.parking import Bays, add_parked_cars
from fleetloop.sim.roads.regions import Region
from fleetloop.sim.roads.sign_places import SignPosts, Signs, place_signs
from fleetloop.sim.roads.signal_heads import add_signal_heads
from fleetloop.sim.roads.signals import Signal


def make_scenery(
    network: Network,
    lanes: LaneTable,
    field: LaneField,
    ways: tuple[Carriageway, ...],
    bays: tuple[Bays, ...],
    stops: tuple[BusStop, ...],
    signals: list[Signal],
    signal_of: list[int],
    region: Region,
    ground: Ground,
    origin_m: Float64[np.ndarray, " 2"],
    seed: int,
) -> tuple[Boxes, Signs]:
    """All static boxes and signs of a town; the same seed gives the same ones."""
    site = Site(ground, origin_m, field)
    boxes = Boxes()
    posts = SignPosts(boxes, Signs(), site)
    random = generator(seed, Stream.APPEARANCE)
    add_signal_heads(boxes, site, lanes, ways, signals, signal_of)
    place_signs(posts, network, lanes, ways, region)
    add_construction_sites(posts, ways, random)
    add_parking_and_school_signs(posts, ways, bays, random)
    add_bus_stops(posts, stops)
    add_parked_cars(boxes, bays, random)
    add_buildings(boxes, site, ways, random)
    add_street_lamps(boxes, site, ways)
    add_trees(boxes, site, ways, random)
    add_hedges(boxes, site, ways, random)
    add_production_halls(boxes, ways)
    add_containers(boxes, site, ways, random)
    add_crash_barriers(boxes, site, ways)
    return boxes, posts.signs
