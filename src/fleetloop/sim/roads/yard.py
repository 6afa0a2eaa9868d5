"""Factory yards: the gate at the end of a production line, and numbered parking lanes that cars drive to from there."""

from itertools import pairwise

import numpy as np

from fleetloop.sim.roads.plain import PlainNetwork
from fleetloop.sim.roads.regions import Region

YARD_LIMIT_KMH, PARKING_LIMIT_KMH = 20.0, 15.0
LANE_WIDTH_M = 3.5
PARKING_EDGE = "parking_lanes_"
"""Edges of parking lanes are named so, followed by the number of the first of their lanes; the next have the next."""

GATE_EDGE = "gate"
"""The edge that leads out of the production hall."""

_PITCH_M = 26.0
"""From one group of parking lanes to the next."""

_PARKING_M = (80.0, 120.0)
_TURN_RADIUS_M = 7.0
_ROUND_M = 130.0
"""How far the way back runs from the rest."""


def draw_yard(random: np.random.Generator, region: Region) -> PlainNetwork:
    """A comb of parking lanes, side by side in twos, between two aisles; a way back closes the circle."""
    network = PlainNetwork(junction_radius_m=_TURN_RADIUS_M, lane_width_m=LANE_WIDTH_M, walks=False)
    groups, depth = int(random.integers(5, 9)), float(random.uniform(*_PARKING_M))
    in_group = 2
    heads, tails = [], []
    for group in range(groups):
        x = group * _PITCH_M
        heads.append(network.add_node(f"head{group}", x, 0.0))
        tails.append(network.add_node(f"tail{group}", x, depth, "allway_stop"))
        network.add_edge(
            *(heads[-1], tails[-1], in_group, PARKING_LIMIT_KMH),
            name=f"{PARKING_EDGE}{1 + group * in_group}",
            priority="1",
        )
    # The hall stands to the west; cars come out of its gate onto the lower aisle.
    gate = network.add_node("hall", -_ROUND_M - 30.0, 0.0, "dead_end")
    join = network.add_node("join", -_ROUND_M, 0.0)
    network.add_edge(gate, join, 1, PARKING_LIMIT_KMH, name=GATE_EDGE, priority="1")
    corner = network.add_node("corner", -_ROUND_M, depth, radius="12")
    away = [
        network.add_edge(start, end, 1, YARD_LIMIT_KMH, priority="3")
        for start, end in pairwise([join, *heads])
    ]
    back = [
        network.add_edge(start, end, 1, YARD_LIMIT_KMH, priority="3")
        for end, start in pairwise([corner, *tails])
    ]
    network.add_edge(corner, join, 1, YARD_LIMIT_KMH, priority="3")
    for group in range(groups):
        parking = f"{PARKING_EDGE}{1 + group * in_group}"
        for lane in range(in_group):
            network.add_connection(away[group], 0, parking, lane)
            network.add_connection(parking, lane, back[group], 0)
        if group + 1 < groups:
            network.add_connection(away[group], 0, away[group + 1], 0)
            network.add_connection(back[group + 1], 0, back[group], 0)
    return network
