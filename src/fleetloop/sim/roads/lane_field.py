"""How far places are from the lanes of a town, and whose lanes they are."""

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.spatial import KDTree

from fleetloop.sim.roads.lanes import LaneTable

_NEAREST = 4


class LaneField:
    """The points of all lanes for vehicles in a tree.

    The lanes of an edge have one owner; so have the ways across a junction between two edges.
    """

    def __init__(self, lanes: LaneTable) -> None:
        counts = [len(line.points) for line in lanes.lines]
        self._tree = KDTree(np.concatenate([line.points for line in lanes.lines]))
        self._half_widths = np.repeat(lanes.width_m / 2.0, counts)
        edges = [lane.edge for lane in lanes.road_lanes]
        names = [(edge, "") for edge in edges]
        names += [(edges[way.from_lane], edges[way.to_lane]) for way in lanes.connectors]
        number = {name: index for index, name in enumerate(dict.fromkeys(names))}
        self.owner_of_lane: Int64[np.ndarray, " L"] = np.array([number[name] for name in names], np.int64)
        """By number of the lane in the LaneTable."""
        self._owners = np.repeat(self.owner_of_lane, counts)

    def from_lanes_m(self, points: Float64[np.ndarray, "N 2"]) -> Float64[np.ndarray, " N"]:
        """Distance to the edge of the nearest lane, negative on it."""
        distance, nearest = self._tree.query(points)
        return distance - self._half_widths[nearest]

    def outside_others(
        self, points: Float64[np.ndarray, "N 2"], owner: int, overlap_m: float
    ) -> Bool[np.ndarray, " N"]:
        """Which points are not more than `overlap_m` within a lane of anybody but `owner`."""
        distance, nearest = self._tree.query(points, k=_NEAREST)
        # A tree of fewer points fills up with an index beyond the last.
        known = nearest < len(self._owners)
        nearest = np.where(known, nearest, 0)
        others = known & (self._owners[nearest] != owner)
        return ~(others & (distance < self._half_widths[nearest] - overlap_m)).any(axis=1)
