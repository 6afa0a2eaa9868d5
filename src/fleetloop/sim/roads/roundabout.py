"""Towns of roundabouts, with one lane or two, and the streets between them."""

import numpy as np
from jaxtyping import Float64

from fleetloop.sim.roads.plain import PlainNetwork, add_crossings
from fleetloop.sim.roads.regions import Region

_SPACING_M = (150.0, 190.0)
_JITTER_M = 14.0
_RADIUS_M = {1: (18.0, 21.0), 2: (25.0, 29.0)}
"""Of the inner edge of the ring, by its number of lanes."""
_RING_LIMIT_KMH = 30.0
_TWO_LANE_SHARE = 0.4
_MOUTH_RADIUS_M = 7.0
_BEND_RADIUS_M = 14.0
_ARC_STEP_RAD = 0.12

_Place = tuple[int, int]


def draw_roundabouts(random: np.random.Generator, region: Region) -> PlainNetwork:
    """A grid of streets about 500 m across whose junctions are roundabouts and whose corners are bends."""
    network = PlainNetwork()
    columns, rows = int(random.integers(3, 5)), int(random.integers(2, 4))
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows), indexing="ij"), axis=-1)
    centres = float(random.uniform(*_SPACING_M)) * grid + random.uniform(-_JITTER_M, _JITTER_M, grid.shape)
    streets = [((c, r), (c + 1, r)) for c in range(columns - 1) for r in range(rows)]
    streets += [((c, r), (c, r + 1)) for c in range(columns) for r in range(rows - 1)]
    neighbours: dict[_Place, list[_Place]] = {}
    for first, second in streets:
        neighbours.setdefault(first, []).append(second)
        neighbours.setdefault(second, []).append(first)
    # A street with two lanes meets only roundabouts with two.
    lanes_at = {place: 2 if random.random() < _TWO_LANE_SHARE else 1 for place in sorted(neighbours)}
    mouths: dict[tuple[_Place, _Place], str] = {}
    crossings: list[str] = []
    for place, others in sorted(neighbours.items()):
        centre = centres[place]
        if len(others) == 2:
            x, y = centre.tolist()
            name = network.add_node(f"bend{place[0]}{place[1]}", x, y, radius=str(_BEND_RADIUS_M))
            mouths |= {(place, other): name for other in others}
        else:
            away = np.array([centres[other] - centre for other in others])
            radius = float(random.uniform(*_RADIUS_M[lanes_at[place]]))
            names = _add_ring(network, f"ring{place[0]}{place[1]}", centre, away, radius, lanes_at[place])
            mouths |= {(place, other): name for other, name in zip(others, names, strict=True)}
            crossings += names
    for first, second in streets:
        lanes = min((lanes_at[place] for place in (first, second) if len(neighbours[place]) > 2), default=1)
        network.add_street(
            mouths[first, second], mouths[second, first], lanes, region.town_limit_kmh, priority="1"
        )
    for name in crossings:
        for street in network.streets_at(name):
            if len(street) == 2:  # The ring's edges lead one way.
                add_crossings(network.connections, name, street, "roundabout", random)
    return network


def _add_ring(
    network: PlainNetwork,
    name: str,
    centre: Float64[np.ndarray, " 2"],
    away: Float64[np.ndarray, "arms 2"],
    radius_m: float,
    lanes: int,
) -> list[str]:
    """A ring that runs counter-clockwise with a node where each arm meets it; returns the nodes, in order of arms."""
    bearings = np.arctan2(away[:, 1], away[:, 0])
    nodes = []
    for arm, bearing in enumerate(bearings):
        x, y = (centre + radius_m * np.array([np.cos(bearing), np.sin(bearing)])).tolist()
        nodes.append(network.add_node(f"{name}arm{arm}", x, y, radius=str(_MOUTH_RADIUS_M)))
    order = np.argsort(bearings)
    edges = []
    for here, there in zip(order, np.roll(order, -1), strict=True):
        span = (bearings[there] - bearings[here]) % (2.0 * np.pi)
        angles = bearings[here] + np.linspace(0.0, span, max(3, int(span / _ARC_STEP_RAD)))[1:-1]
        arc = centre + radius_m * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        edges.append(
            network.add_edge(
                nodes[here], nodes[there], lanes, _RING_LIMIT_KMH, arc, priority="3", disallow="pedestrian"
            )
        )
    network.roundabouts.append(([nodes[arm] for arm in order], edges))
    return nodes
