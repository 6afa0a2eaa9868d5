"""Suburbs: winding streets in a brick pattern, so that most junctions are T junctions, and crescents."""

from itertools import pairwise

import numpy as np
from jaxtyping import Float64

from fleetloop.sim.roads.plain import PlainNetwork, add_crossings
from fleetloop.sim.roads.regions import Region

LANE_WIDTH_M = 3.1
_ROWS, _BLOCKS = (4, 6), (2, 4)
"""Streets from west to east, and blocks between them, [from, to)."""
_ROW_SPACING_M = (75.0, 95.0)
_BLOCK_M = (150.0, 190.0)
_CRESCENT_SHARE = 0.5
_CRESCENT_DEPTH_M = (26.0, 32.0)
_BEND_RADIUS_M = 14.0
_MARGIN_M = 50.0
"""No junction is nearer to the two outermost streets: there is room for their bends."""
_SAMPLE_M = 8.0


class _Warp:
    """A smooth bend of the plane: streets drawn straight come out winding, and meet as they did before."""

    def __init__(self, random: np.random.Generator) -> None:
        self.waves = random.uniform(-1.0, 1.0, (3, 2))
        self.waves *= (2.0 * np.pi / 330.0) / np.maximum(np.hypot(*self.waves.T)[:, None], 0.3)
        self.phases = random.uniform(0.0, 2.0 * np.pi, 3)
        self.amplitudes_m = random.uniform(-15.0, 15.0, (3, 2))

    def __call__(self, points: Float64[np.ndarray, "N 2"]) -> Float64[np.ndarray, "N 2"]:
        return points + np.sin(points @ self.waves.T + self.phases) @ self.amplitudes_m


def draw_suburb(random: np.random.Generator, region: Region) -> PlainNetwork:
    """A suburb about 500 m across, all of it with the residential limit."""
    network, warp = PlainNetwork(junction_radius_m=7.0, lane_width_m=LANE_WIDTH_M), _Warp(random)
    limit = region.residential_limit_kmh
    rows, blocks = int(random.integers(*_ROWS)), int(random.integers(*_BLOCKS))
    heights = np.concatenate([[0.0], np.cumsum(random.uniform(*_ROW_SPACING_M, rows - 1))])
    width_m = blocks * float(random.uniform(*_BLOCK_M))
    # Where streets from south to north touch each row; the two at the ends close the outermost blocks.
    touched: list[dict[float, str]] = [{} for _ in range(rows)]

    def node(row: int, x: float) -> str:
        name = touched[row].get(x)
        if name is None:
            name = f"r{row}x{x:.0f}"
            kind = str(random.choice(["right_before_left", "priority"], p=[0.6, 0.4]))
            ((east, north),) = warp(np.array([[x, heights[row]]])).tolist()
            touched[row][x] = network.add_node(name, east, north, kind)
        return name

    for row in range(rows - 1):
        # Brick pattern: the streets north of a row do not go on where those south of it end.
        shift = 0.5 if row % 2 else 0.0
        inner = (np.arange(1, blocks + 1) - shift + random.uniform(-0.1, 0.1, blocks)) * width_m / blocks
        for x in (0.0, *(float(x) for x in inner if _MARGIN_M < x < width_m - _MARGIN_M), width_m):
            line = np.array([[x, heights[row]], [x, heights[row + 1]]])
            network.add_street(node(row, x), node(row + 1, x), 1, limit, _inner(line, warp))
    for row in range(rows):
        places = sorted(touched[row])
        for west, east in pairwise(places):
            line = np.array([[west, heights[row]], [east, heights[row]]])
            start, end = touched[row][west], touched[row][east]
            outside = {0: -1.0, rows - 1: 1.0}.get(row)
            if outside is not None and east - west > 172.0 and random.random() < _CRESCENT_SHARE:
                free = west + (78.0 if west == 0.0 else 46.0), east - (78.0 if east == width_m else 46.0)
                _add_crescent(network, warp, random, (start, end), line, free, outside, limit)
            else:
                network.add_street(start, end, 1, limit, _inner(line, warp))
    for name, attributes in network.nodes.items():
        if sum(map(len, network.streets_at(name))) == 4:  # Two streets, two ways each.
            attributes["radius"] = str(_BEND_RADIUS_M)
    _add_zebras(network, random)
    return network


def _inner(line: Float64[np.ndarray, "N 2"], warp: _Warp) -> Float64[np.ndarray, "M 2"]:
    """Points of the warped polyline between its ends."""
    steps = np.hypot(*np.diff(line, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.linspace(0.0, along[-1], max(3, round(along[-1] / _SAMPLE_M) + 1))[1:-1]
    return warp(np.stack([np.interp(at, along, line[:, axis]) for axis in (0, 1)], axis=1))


def _add_crescent(
    network: PlainNetwork,
    warp: _Warp,
    random: np.random.Generator,
    ends: tuple[str, str],
    line: Float64[np.ndarray, "2 2"],
    free: tuple[float, float],
    outside: float,
    limit_kmh: float,
) -> None:
    """Besides the street itself, a second one that leaves it and comes back to it in a wide bow, both within `free`."""
    (west, height), (east, _) = line.tolist()
    depth = float(random.uniform(*_CRESCENT_DEPTH_M))
    middle, half = (free[0] + free[1]) / 2.0, min((free[1] - free[0]) / 2.0, 38.0)
    names = []
    for x in (middle - half, middle + half):
        ((place_x, place_y),) = warp(np.array([[x, height]])).tolist()
        names.append(network.add_node(f"{ends[0]}bow{x:.0f}", place_x, place_y))
    joints = [(ends[0], west), (names[0], middle - half), (names[1], middle + half), (ends[1], east)]
    for (start, from_x), (end, to_x) in pairwise(joints):
        network.add_street(
            start, end, 1, limit_kmh, _inner(np.array([[from_x, height], [to_x, height]]), warp)
        )
    # Straight out, a half ellipse, straight back.
    angles = np.linspace(np.pi, 0.0, 25)
    bow = np.stack([middle + half * np.cos(angles), 12.0 + depth * np.sin(angles)], axis=1)
    bow = np.concatenate([[[middle - half, 0.0]], bow, [[middle + half, 0.0]]])
    bow[:, 1] = height + outside * bow[:, 1]
    network.add_street(names[0], names[1], 1, limit_kmh, _inner(bow, warp))


def _add_zebras(network: PlainNetwork, random: np.random.Generator) -> None:
    """One mouth of some junctions has a zebra crossing."""
    for name in sorted(network.nodes):
        streets = network.streets_at(name)
        if len(streets) >= 3:
            street = streets[int(random.integers(len(streets)))]
            add_crossings(network.connections, name, street, network.nodes[name]["type"], random)
