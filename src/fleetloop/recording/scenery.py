"""What stands still in a recording: the lanes of a town as lines."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32

from fleetloop.core.types import LaneKind, World

_STRAIGHT_RAD = 0.01
"""Points of a line are left out as long as its heading changes by less."""


def lane_lines(world: World, town: int) -> Mapping[LaneKind, list[Float32[np.ndarray, "points 2"]]]:
    """Centre lines of the lanes of a town by kind, x and y in the town's frame (m), with points where they bend."""
    lines: dict[LaneKind, list[np.ndarray]] = {}
    for lane in range(int(world.town_first_lane[town]), int(world.town_first_lane[town + 1])):
        first, count = int(world.lane_first_point[lane]), int(world.lane_point_count[lane])
        points, headings = (array[first : first + count] for array in (world.points, world.headings))
        turned = np.floor((np.unwrap(headings) - headings[0]) / _STRAIGHT_RAD + 0.5)
        kept = np.ones(count, bool)
        kept[1:-1] = np.diff(turned)[: count - 2] != 0
        lines.setdefault(LaneKind(int(world.lane_kind[lane])), []).append(points[kept])
    return lines
