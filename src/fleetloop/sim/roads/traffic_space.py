"""Where vehicles drive, and how lanes for people on foot keep clear of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree

from fleetloop.sim.paths import LEVEL_M
from fleetloop.sim.roads import curves
from fleetloop.sim.roads.curves import CentreLine

CLEAR_OF_TRAFFIC_M = 0.5
"""From the edge of a lane for vehicles to the middle of one for people, except on crossings."""

_SIDEWALK_CLEAR_M = 0.2
"""The same for sidewalks, which lie where the network has them."""

_WIDEST_M = 5.5
"""From the middle of a lane for vehicles to the far edge of the sidewalk beside it."""

_EASE_M = 1.5
_PUSHES = 6
_MAX_DETOUR = 1.25
_SMOOTH_POINTS = 2.0
_TOLERANCE_M = 0.05
_STEP_M = 0.5
_MAX_LONGER_M = 6.0
_MAX_SHORTER_M = 12.0
_MAX_SHORTER_SHARE = 0.45


@dataclass(frozen=True)
class TrafficSpace:
    """The points of vehicles' lanes, the half widths there and the heights, all in metres."""

    tree: KDTree
    half_widths_m: Float64[np.ndarray, " points"]
    heights_m: Float64[np.ndarray, " points"]
    left_hand: bool

    @classmethod
    def of(
        cls,
        lines: Sequence[CentreLine],
        widths_m: Sequence[float],
        heights: Sequence[Float64[np.ndarray, " N"]],
        left_hand: bool,
    ) -> "TrafficSpace":
        """The space of lanes with these centre lines, widths and heights of every point."""
        return cls(
            KDTree(np.concatenate([line.points for line in lines])),
            np.repeat(np.array(widths_m) / 2.0, [len(line.points) for line in lines]),
            np.concatenate(heights),
            left_hand,
        )

    def has_room_in(self, way: CentreLine) -> bool:
        """Whether a line on the outer side of `way` goes round its bends without folding over."""
        inwards = way.curvatures if self.left_hand else -way.curvatures
        return bool(inwards.max() * _WIDEST_M < 1.0)

    def _lacking(
        self, points: Float64[np.ndarray, "N 2"], heights_m: Float64[np.ndarray, " N"], clear_m: float
    ) -> tuple[Float64[np.ndarray, " N"], Float64[np.ndarray, "N 2"]]:
        """How many metres points are too near to a lane of their level (negative: far enough), and where to."""
        distance, nearest = self.tree.query(points)
        lacking = self.half_widths_m[nearest] + clear_m - distance
        lacking[np.abs(self.heights_m[nearest] - heights_m) >= LEVEL_M] = -np.inf
        away = (points - self.tree.data[nearest]) / np.maximum(distance, 0.1)[:, None]
        return lacking, away

    def beside_traffic(
        self,
        points: Float64[np.ndarray, "N 2"],
        heights_m: Float64[np.ndarray, " N"],
        clear_m: float = CLEAR_OF_TRAFFIC_M,
    ) -> Float64[np.ndarray, "N 2"]:
        """`points` moved off the lanes of vehicles where they come too near; both ends stay where they are.

        A line that runs right across the road stays as it is.
        """
        along, drawn = curves.arc_lengths(points), points
        ease = np.clip(np.minimum(along, along[-1] - along) / _EASE_M, 0.0, 1.0)[:, None]
        for _ in range(_PUSHES):
            lacking, away = self._lacking(points, heights_m, clear_m)
            if lacking.max() <= 0.0:
                break
            push = np.clip(lacking, 0.0, None)[:, None] * away
            points = points + ease * gaussian_filter1d(push, _SMOOTH_POINTS, axis=0, mode="constant")
        return points if curves.arc_lengths(points)[-1] < _MAX_DETOUR * along[-1] else drawn

    def shortened(
        self, shape: Float64[np.ndarray, "N 2"], heights_m: Float64[np.ndarray, " N"], aside_m: float
    ) -> tuple[Float64[np.ndarray, "M 2"], Float64[np.ndarray, " M"]]:
        """A sidewalk and its heights without the parts at its ends that lie where vehicles turn.

        People walk `aside_m` to either side of its middle.
        """
        length = float(curves.arc_lengths(shape)[-1])
        most = min(_MAX_SHORTER_M, _MAX_SHORTER_SHARE * length)
        cuts = []
        for line, heights in ((shape, heights_m), (shape[::-1], heights_m[::-1])):
            tried = np.arange(0.0, most, _STEP_M)
            lacking = self._lacking_beside(line, heights, tried, aside_m, _SIDEWALK_CLEAR_M)
            clear = np.flatnonzero(lacking <= _TOLERANCE_M)
            cuts.append(float(tried[clear[0]]) if len(clear) else 0.0)
        return cut(shape, heights_m, *cuts) if max(cuts) > 0.0 else (shape, heights_m)

    def lengthened(
        self, shape: Float64[np.ndarray, "N 2"], heights_m: Float64[np.ndarray, " N"], aside_m: float
    ) -> tuple[Float64[np.ndarray, "M 2"], Float64[np.ndarray, " M"]]:
        """A crossing and its heights, drawn out at both ends to where nobody who turns drives over those who wait."""
        for _ in range(2):
            shape, heights_m = shape[::-1], heights_m[::-1]
            tried = -np.arange(0.0, _MAX_LONGER_M, _STEP_M)
            lacking = self._lacking_beside(shape, heights_m, tried, aside_m, 0.0)
            clear = np.flatnonzero(lacking <= _TOLERANCE_M)
            if len(clear) and clear[0] > 0:
                outwards = shape[0] - shape[1]
                step = outwards / max(float(np.hypot(*outwards)), 1e-6)
                shape = np.concatenate([[shape[0] - tried[clear[0]] * step], shape])
                heights_m = np.concatenate([heights_m[:1], heights_m])
        return shape, heights_m

    def _lacking_beside(
        self,
        shape: Float64[np.ndarray, "N 2"],
        heights_m: Float64[np.ndarray, " N"],
        along_m: Float64[np.ndarray, " M"],
        aside_m: float,
        clear_m: float,
    ) -> Float64[np.ndarray, " M"]:
        """What those lack who stand `aside_m` to either side of a line, so far along it or before it (negative)."""
        along = curves.arc_lengths(shape)
        places = np.stack([np.interp(along_m, along, shape[:, axis]) for axis in (0, 1)], axis=1)
        first = (shape[1] - shape[0]) / max(float(along[1]), 1e-6)
        places += np.minimum(along_m, 0.0)[:, None] * first
        segment = np.clip(np.searchsorted(along, along_m, side="right") - 1, 0, len(shape) - 2)
        steps = shape[segment + 1] - shape[segment]
        steps /= np.maximum(np.hypot(*steps.T), 1e-6)[:, None]
        normal = aside_m * np.stack([-steps[:, 1], steps[:, 0]], axis=1)
        heights = np.interp(along_m, along, heights_m)
        sides = [self._lacking(places + side * normal, heights, clear_m)[0] for side in (-1.0, 1.0)]
        return np.maximum(*sides)

    def off_the_road(
        self, points: Float64[np.ndarray, "N 2"], heights_m: Float64[np.ndarray, " N"]
    ) -> Float64[np.ndarray, "N 2"]:
        """A lane of a sidewalk, moved out where the smoothed road beside it comes too near."""
        lacking, _ = self._lacking(points, heights_m, _SIDEWALK_CLEAR_M)
        if lacking.max() <= _TOLERANCE_M:
            return points
        return self.beside_traffic(points, heights_m, _SIDEWALK_CLEAR_M)


def cut(
    shape: Float64[np.ndarray, "N 2"],
    heights_m: Float64[np.ndarray, " N"],
    from_start_m: float,
    from_end_m: float,
) -> tuple[Float64[np.ndarray, "M 2"], Float64[np.ndarray, " M"]]:
    """A polyline and its heights without its first and last metres, which are fewer than it is long."""
    along = curves.arc_lengths(shape)
    first, last = from_start_m, along[-1] - from_end_m
    kept = np.concatenate([[first], along[(along > first + 1e-3) & (along < last - 1e-3)], [last]])
    shorter = np.stack([np.interp(kept, along, shape[:, axis]) for axis in (0, 1)], axis=1)
    return shorter, np.interp(kept, along, heights_m)
