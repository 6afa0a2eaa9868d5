"""Places beside a centre line, by metres along it and metres to its left."""

import numpy as np
from jaxtyping import Float64

from fleetloop.sim.roads.curves import CentreLine


class Track:
    """A centre line that can be asked for places; beyond its ends it goes straight on."""

    def __init__(self, line: CentreLine) -> None:
        self.line = line
        self.length_m = line.length_m
        self._along = np.arange(len(line.points)) * line.spacing_m
        self._headings = np.unwrap(line.headings)

    def headings(self, along_m: Float64[np.ndarray, "*N"]) -> Float64[np.ndarray, "*N"]:
        """Unwrapped headings of the line, rad."""
        return np.interp(along_m, self._along, self._headings)

    def places(
        self, along_m: Float64[np.ndarray, "*N"], left_m: Float64[np.ndarray, "*N"] | float
    ) -> Float64[np.ndarray, "*N 2"]:
        """Points in the town's frame."""
        inside = np.clip(along_m, 0.0, self._along[-1])
        heading = np.interp(inside, self._along, self._headings)
        cosine, sine = np.cos(heading), np.sin(heading)
        ahead = along_m - inside
        x = np.interp(inside, self._along, self.line.points[:, 0]) + ahead * cosine - left_m * sine
        y = np.interp(inside, self._along, self.line.points[:, 1]) + ahead * sine + left_m * cosine
        return np.stack([x, y], axis=-1)

    def pose(self, along_m: float, left_m: float) -> tuple[float, float, float]:
        """x, y and heading of one place."""
        x, y = self.places(np.array([along_m]), left_m)[0]
        return float(x), float(y), float(self.headings(np.array([along_m]))[0])

    def quads(
        self,
        from_m: Float64[np.ndarray, " N"],
        to_m: Float64[np.ndarray, " N"],
        right_m: Float64[np.ndarray, " N"] | float,
        left_m: Float64[np.ndarray, " N"] | float,
    ) -> Float64[np.ndarray, "N 4 2"]:
        """Four-cornered patches, each short enough to be straight."""
        along = np.stack([from_m, to_m, to_m, from_m], axis=-1)
        right, left = np.broadcast_to(right_m, len(from_m)), np.broadcast_to(left_m, len(from_m))
        return self.places(along, np.stack([right, right, left, left], axis=-1))
