"""Static boxes and signs of a town in the making, and where there is room for them."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int32, UInt8
from scipy.spatial import KDTree

from fleetloop.core.types import METRES_PER_PIXEL, STREET_LAMP, TILE_PIXELS, SignalColour, Surface
from fleetloop.sim.roads.lanes import LaneTable
from fleetloop.sim.roads.paint import Ground
from fleetloop.sim.roads.tracks import Track

POLE_COLOUR = (90, 90, 95)


@dataclass
class Boxes:
    """Boxes in the making; rows as in World.boxes."""

    rows: list[tuple[float, ...]] = field(default_factory=list)
    signals: list[int] = field(default_factory=list)
    lamps: list[int] = field(default_factory=list)

    def add(
        self,
        centre: tuple[float, float, float],
        yaw: float,
        half_size: tuple[float, float, float],
        colour: tuple[float, float, float],
        signal: int = -1,
        lamp: SignalColour = SignalColour.OFF,
    ) -> None:
        """One box, perhaps a signal's lamp."""
        self.rows.append((*centre, yaw, *half_size, *colour))
        self.signals.append(signal)
        self.lamps.append(int(lamp))

    def extend(
        self,
        centres: Float64[np.ndarray, "N 2"],
        heights_m: Float64[np.ndarray, " N"],
        yaws: Float64[np.ndarray, " N"],
        half_sizes: Float64[np.ndarray, "N 3"],
        colours: np.ndarray,
        street_lamps: bool = False,
    ) -> None:
        """Boxes that are no signals' lamps, by columns; `heights_m` are those of their middles."""
        rows = np.column_stack([centres, heights_m, yaws, half_sizes, colours])
        self.rows += [tuple(row) for row in rows.tolist()]
        self.signals += [-1] * len(rows)
        self.lamps += [STREET_LAMP if street_lamps else int(SignalColour.OFF)] * len(rows)

    def arrays(self) -> tuple[Float64[np.ndarray, "B 10"], Int32[np.ndarray, " B"], UInt8[np.ndarray, " B"]]:
        """Rows, signals and lamps, as World has them."""
        return (
            np.array(self.rows, np.float64).reshape(-1, 10),
            np.array(self.signals, np.int32),
            np.array(self.lamps, np.uint8),
        )


@dataclass(frozen=True)
class Site:
    """Answers where there is room."""

    ground: Ground
    origin_m: Float64[np.ndarray, " 2"]
    tree: KDTree
    half_widths_m: Float64[np.ndarray, " points"]

    def from_lanes_m(self, points: Float64[np.ndarray, "N 2"]) -> Float64[np.ndarray, " N"]:
        """Distance to the edge of the nearest lane for vehicles, negative on it."""
        distance, nearest = self.tree.query(points)
        return distance - self.half_widths_m[nearest]

    def surface(self, points: Float64[np.ndarray, "N 2"]) -> UInt8[np.ndarray, " N"]:
        """What is painted there; ASPHALT beyond the town."""
        pixels = np.floor((points - self.origin_m) / METRES_PER_PIXEL).astype(int)
        shape = np.array(self.ground.tile_index.shape[::-1]) * TILE_PIXELS
        inside = np.all((pixels >= 0) & (pixels < shape), axis=1)
        column, row = np.clip(pixels, 0, shape - 1).T
        tile = self.ground.tile_index[row // TILE_PIXELS, column // TILE_PIXELS]
        return np.where(
            inside, self.ground.tiles[tile, row % TILE_PIXELS, column % TILE_PIXELS], Surface.ASPHALT
        )


def make_site(lanes: LaneTable, ground: Ground, origin_m: Float64[np.ndarray, " 2"]) -> Site:
    """A town's site."""
    half_widths = np.repeat(lanes.width_m / 2.0, [len(line.points) for line in lanes.lines])
    return Site(ground, origin_m, KDTree(np.concatenate([line.points for line in lanes.lines])), half_widths)


@dataclass(frozen=True)
class Kerb:
    """One side of a road, along which things stand."""

    track: Track
    kerb_m: float
    """Metres to the left of the track; its sign is the side."""
    speed_limit_kmh: int
    junction_at_start: bool
    junction_at_end: bool

    def poses(
        self, along_m: Float64[np.ndarray, " N"], away_m: Float64[np.ndarray, " N"] | float
    ) -> tuple[Float64[np.ndarray, "N 2"], Float64[np.ndarray, " N"]]:
        """Points `away_m` from the kerb, away from the road, and the road's headings there."""
        left = self.kerb_m + np.sign(self.kerb_m) * away_m
        return self.track.places(along_m, left), self.track.headings(along_m)
