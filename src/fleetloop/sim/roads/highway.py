"""Highways: an oval with two carriageways, exits and entrances, and villages between the two ends of ramps.

The carriageways never cross and ramps stay on their own side: a World has no bridges.
"""

import numpy as np
from jaxtyping import Float64

from fleetloop.sim.roads.plain import PlainNetwork, add_crossings
from fleetloop.sim.roads.regions import Region

LANE_WIDTH_M = 3.6
_MEDIAN_M = 6.0
_STRAIGHT_M = (1300.0, 1500.0)
_BEND_RADIUS_M = (340.0, 400.0)
_BEND_LIMIT_KMH = 100.0
_RAMP_LIMIT_KMH = 60.0
_SLOWING_M, _GAINING_M = 180.0, 240.0
"""Lengths of the lanes that lead off and onto the carriageway."""

_APPROACH_M = 120.0
"""From the last bend to where the lane that leads off begins."""

_RAMP_M, _VILLAGE_M = 230.0, 110.0
"""Along the carriageway: a ramp, and the street between the ends of both ramps."""

_VILLAGE_AWAY_M, _VILLAGE_DEPTH_M = 90.0, (90.0, 130.0)
_INTERCHANGE_SHARE = 0.7
_STEP_M, _RAMP_STEP_M = 8.0, 5.0
_MOTOR_VEHICLES = "passenger bus truck delivery emergency motorcycle"
"""Who may use a highway, as SUMO's classes."""


class _Oval:
    """The left edge of a carriageway, by metres along it; counter-clockwise if it is the outer one.

    Both lie to the right of their left edges, and the edges face each other across the median.
    """

    def __init__(self, straight_m: float, radius_m: float, outer: bool) -> None:
        self.straight_m, self.outer = straight_m, outer
        self.radius_m = radius_m + (_MEDIAN_M / 2.0 if outer else -_MEDIAN_M / 2.0)
        self.half_m = straight_m + np.pi * self.radius_m
        """Metres of one straight and one bend."""

    def at(
        self, along: Float64[np.ndarray, " N"], right_m: Float64[np.ndarray, " N"]
    ) -> Float64[np.ndarray, "N 2"]:
        """Points `right_m` to the right of the left edge."""
        radius = self.radius_m + (right_m if self.outer else -right_m)
        half = np.mod(along, 2.0 * self.half_m) >= self.half_m
        rest = np.mod(along, self.half_m)
        angle = np.maximum(rest - self.straight_m, 0.0) / self.radius_m
        x = np.where(
            angle > 0.0, self.straight_m / 2.0 + radius * np.sin(angle), rest - self.straight_m / 2.0
        )
        points = np.stack([x, -radius * np.cos(angle)], axis=1)
        points = np.where(half[:, None], -points, points)
        return points if self.outer else points * [-1.0, 1.0]

    def piece(self, start_m: float, end_m: float) -> Float64[np.ndarray, "N 2"]:
        """The left edge between two places; `end_m` may lie beyond the end of the round."""
        # Just short of the end: a place at the very end of a bend counts as the next straight's start.
        along = np.linspace(start_m, end_m - 1e-6, max(2, round((end_m - start_m) / _STEP_M) + 1))
        return self.at(along, np.zeros(len(along)))

    def ramp(
        self, start_m: float, end_m: float, from_right_m: float, to_right_m: float
    ) -> Float64[np.ndarray, "N 2"]:
        """From one distance to the right to another without a kink: a polynomial with no slope or bend at its ends."""
        along = np.linspace(start_m, end_m, round((end_m - start_m) / _RAMP_STEP_M) + 1)
        share = (along - start_m) / (end_m - start_m)
        eased = share**3 * (10.0 - 15.0 * share + 6.0 * share**2)
        return self.at(along, from_right_m + (to_right_m - from_right_m) * eased)


def draw_highway(random: np.random.Generator, region: Region) -> PlainNetwork:
    """Two carriageways of about 5 km with two or three lanes, each with at least one exit and entrance."""
    network = PlainNetwork()
    straight, radius = float(random.uniform(*_STRAIGHT_M)), float(random.uniform(*_BEND_RADIUS_M))
    for name, outer in (("out", True), ("in", False)):
        oval = _Oval(straight, radius, outer)
        lanes = int(random.integers(2, 4))
        interchanges = [bool(random.random() < _INTERCHANGE_SHARE) for _ in range(2)]
        interchanges[int(random.integers(2))] = True
        _add_carriageway(network, oval, name, lanes, interchanges, region, random)
    return network


def _add_carriageway(
    network: PlainNetwork,
    oval: _Oval,
    name: str,
    lanes: int,
    interchanges: list[bool],
    region: Region,
    random: np.random.Generator,
) -> None:
    """All of one direction, from node to node: (metres along, lanes and limit from there on)."""
    limit = float(region.highway_limit_kmh)
    stations: list[tuple[float, int, float]] = []
    slowing: list[int] = []
    for half, interchange in enumerate(interchanges):
        start = half * oval.half_m
        stations.append((start, lanes, limit))
        if interchange:
            at = start + _APPROACH_M
            slowing.append(len(stations))
            for length, count in ((_SLOWING_M, 1), (2.0 * _RAMP_M + _VILLAGE_M, 0), (_GAINING_M, 1)):
                stations.append((at, lanes + count, limit))
                at += length
            stations.append((at, lanes, limit))
        stations.append((start + oval.straight_m, lanes, _BEND_LIMIT_KMH))
    nodes = []
    for number, (at, _, _) in enumerate(stations):
        x, y = oval.at(np.array([at]), np.zeros(1))[0].tolist()
        nodes.append(network.add_node(f"{name}{number}", x, y, radius="1"))
    edges = []
    for number, (at, count, speed) in enumerate(stations):
        following = (number + 1) % len(stations)
        end = stations[following][0] or 2.0 * oval.half_m
        edges.append(
            network.add_edge(
                *(nodes[number], nodes[following], count, speed, oval.piece(at, end)),
                **{"whole": True, "priority": "9", "allow": _MOTOR_VEHICLES, "width": str(LANE_WIDTH_M)},
            )
        )
    for number, (_, count, _) in enumerate(stations):
        _connect(network, edges[number - 1], stations[number - 1][1], edges[number], count)
    for number in slowing:
        gores = nodes[number + 1 : number + 3]
        _add_interchange(network, oval, random, region, gores, lanes, stations[number][0])
        # The lane that leads off begins beside the outer lane; where it ends there is only the ramp.
        network.add_connection(edges[number - 1], 0, edges[number], 0)
        network.add_connection(edges[number], 0, f"{gores[0]}_off", 0)
        network.add_connection(f"{gores[1]}_on", 0, edges[number + 2], 0)


def _connect(network: PlainNetwork, before: str, before_lanes: int, after: str, after_lanes: int) -> None:
    """Lanes go straight on, counted from the left."""
    for lane in range(min(before_lanes, after_lanes)):
        network.add_connection(before, before_lanes - 1 - lane, after, after_lanes - 1 - lane)


def _add_interchange(
    network: PlainNetwork,
    oval: _Oval,
    random: np.random.Generator,
    region: Region,
    gores: list[str],
    lanes: int,
    at: float,
) -> None:
    """Ramps off at the first of `gores` and on at the second, and the village's streets between their ends."""
    leave, away = at + _SLOWING_M, _VILLAGE_AWAY_M + lanes * LANE_WIDTH_M
    arrive = leave + _RAMP_M + 10.0
    depart = arrive + _VILLAGE_M - 20.0
    far = away + float(random.uniform(*_VILLAGE_DEPTH_M))
    corners = []
    for number, (along, right) in enumerate(((arrive, away), (depart, away), (depart, far), (arrive, far))):
        x, y = oval.at(np.array([along]), np.array([right]))[0].tolist()
        corners.append(
            network.add_node(f"{gores[0]}village{number}", x, y, radius="9" if number < 2 else "14")
        )
    limit = region.town_limit_kmh
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        network.add_street(start, end, 1, limit, priority="3")
    # A ramp's line is its left edge; the lane beside the carriageway begins where that ends.
    beside = lanes * LANE_WIDTH_M
    common = {"whole": True, "priority": "1", "allow": _MOTOR_VEHICLES, "width": str(LANE_WIDTH_M)}
    off = oval.ramp(leave, arrive - 12.0, beside, away)
    network.add_edge(gores[0], corners[0], 1, _RAMP_LIMIT_KMH, off, name=f"{gores[0]}_off", **common)
    on = oval.ramp(depart + 12.0, leave + 2.0 * _RAMP_M + _VILLAGE_M, away, beside)
    network.add_edge(corners[1], gores[1], 1, _RAMP_LIMIT_KMH, on, name=f"{gores[1]}_on", **common)
    for corner in corners[:2]:
        for street in network.streets_at(corner):
            if len(street) == 2:
                add_crossings(network.connections, corner, street, "priority", random)
