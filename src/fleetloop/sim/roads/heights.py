"""How high each lane runs, so that roads which cross on different levels are told apart."""

import numpy as np
from jaxtyping import Float64
from scipy.spatial import KDTree

from fleetloop.sim.roads import curves
from fleetloop.sim.roads.lanes import LaneTable


def lane_heights(lanes: LaneTable) -> list[Float64[np.ndarray, " points"]]:
    """Metres of every point of every lane, in the order of the lanes.

    Road lanes follow the network's shapes, connectors join their ends evenly, and people on foot are as high as
    the road beside them.
    """
    heights = []
    for number, lane in enumerate(lanes.road_lanes):
        along = curves.arc_lengths(lane.shape)
        share = np.linspace(0.0, along[-1], len(lanes.lines[number].points))
        heights.append(np.interp(share, along, lane.heights_m))
    for number, connector in enumerate(lanes.connectors):
        count = len(lanes.lines[lanes.connector_lane(number)].points)
        heights.append(np.linspace(heights[connector.from_lane][-1], heights[connector.to_lane][0], count))
    if lanes.walks.lines:
        driven, levels = np.concatenate([line.points for line in lanes.lines]), np.concatenate(heights)
        beside = KDTree(driven)
        heights += [levels[beside.query(line.points)[1]] for line in lanes.walks.lines]
    return heights
