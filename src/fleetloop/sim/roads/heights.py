"""How high each lane runs, so that roads which cross on different levels are told apart."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from fleetloop.sim.roads import curves
from fleetloop.sim.roads.curves import CentreLine
from fleetloop.sim.roads.network import NetLane


def vehicle_heights(
    road_lanes: Sequence[NetLane], joined: Sequence[tuple[int, int]], lines: Sequence[CentreLine]
) -> list[Float64[np.ndarray, " points"]]:
    """Metres of every point of `lines`: first those of `road_lanes`, then connectors.

    Road lanes follow the network's shapes; connectors join their ends evenly, `joined` are the two lanes of each.
    """
    heights = [
        spread_heights(lane.shape, lane.heights_m, len(line.points))
        for lane, line in zip(road_lanes, lines, strict=False)
    ]
    for (before, after), line in zip(joined, lines[len(road_lanes) :], strict=True):
        heights.append(np.linspace(heights[before][-1], heights[after][0], len(line.points)))
    return heights


def spread_heights(
    shape: Float64[np.ndarray, "N 2"], heights_m: Float64[np.ndarray, " N"], count: int
) -> Float64[np.ndarray, " count"]:
    """Heights of `count` points spread evenly along a polyline whose own points are this high."""
    along = curves.arc_lengths(shape)
    return np.interp(np.linspace(0.0, along[-1], count), along, heights_m)
