"""Static boxes and signs of a town in the making, and where there is room for them."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int32, UInt8

from fleetloop.core.types import METRES_PER_PIXEL, STREET_LAMP, TILE_PIXELS, SignalColour, Surface
from fleetloop.sim.roads.carriageways import Carriageway
from fleetloop.sim.roads.lane_field import LaneField
from fleetloop.sim.roads.paint import Ground

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
    lanes: LaneField

    def from_lanes_m(self, points: Float64[np.ndarray, "N 2"]) -> Float64[np.ndarray, " N"]:
        """Distance to the edge of the nearest lane for vehicles, negative on it."""
        return self.lanes.from_lanes_m(points)

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


@dataclass(frozen=True)
class Places:
    """Places along kerbs."""

    points: Float64[np.ndarray, "N 2"]
    """On the kerb."""
    headings: Float64[np.ndarray, " N"]
    """Of the road."""
    sides: Float64[np.ndarray, " N"]
    """On which side of the road they are: 1 left, -1 right."""
    limits_kmh: Int32[np.ndarray, " N"]
    """The road's speed limit."""

    def away(self, distance_m: np.ndarray | float) -> Float64[np.ndarray, "N 2"]:
        """Points this far from the kerb, away from the road."""
        normal = np.stack([-np.sin(self.headings), np.cos(self.headings)], axis=1)
        return self.points + (self.sides * distance_m)[:, None] * normal

    def chosen(self, mask: np.ndarray) -> "Places":
        """Those in `mask`, or with these indices."""
        return Places(self.points[mask], self.headings[mask], self.sides[mask], self.limits_kmh[mask])

    def __len__(self) -> int:
        return len(self.points)


def along_kerbs(ways: tuple[Carriageway, ...], spacing_m: float, margin_m: float) -> Places:
    """Places `spacing_m` apart along every kerb, `margin_m` from its ends.

    The inner side of a road counts where no oncoming traffic runs directly beside it, but not in roundabouts.
    """
    points, headings, sides, limits = (
        [np.zeros((0, 2))],
        [np.zeros(0)],
        [np.zeros(0)],
        [np.zeros(0, np.int32)],
    )
    for way in ways:
        kerbs = [(way.tracks[0], way.kerb_m)]
        if not way.oncoming and not way.in_roundabout:
            kerbs.append((way.tracks[-1], way.inner_m))
        for track, kerb in kerbs:
            along = np.arange(margin_m, track.length_m - margin_m, spacing_m)
            points.append(track.places(along, kerb))
            headings.append(track.headings(along))
            sides.append(np.full(len(along), np.sign(kerb)))
            limits.append(np.full(len(along), way.speed_limit_kmh, np.int32))
    return Places(*(np.concatenate(parts) for parts in (points, headings, sides, limits)))
