"""Where things are along a path: the lanes that a road user will drive, one after the other."""

import math

import numpy as np

from fleetloop.core.kernels import device
from fleetloop.core.types import METRES_PER_PIXEL, TILE_PIXELS, UPCOMING_LANES, VEHICLE_SIZES, Surface

_GRASS = int(Surface.GRASS)

LEVEL_M = np.float32(2.0)
"""Roads farther apart in height than this, where they cross, are on different levels.

Less than a bridge needs: maps know levels, and the heights between are only guessed."""

FAR_M = np.float32(1.0e6)
"""Stands for "nothing there" in distances."""


@device
def wrap(angle):
    """The same direction in [-pi, pi)."""
    return (angle + math.pi) % (2.0 * math.pi) - math.pi


@device
def lane_point(world, lane, along):
    """x, y, heading and curvature at `along` metres of a lane; straight on beyond its ends."""
    first = world.lane_first_point[lane]
    spacing = world.lane_spacing_m[lane]
    at = along / spacing
    index = min(max(int(at), 0), world.lane_point_count[lane] - 2)
    fraction = at - index
    inside = min(max(fraction, 0.0), 1.0)
    here, there = first + index, first + index + 1
    x = world.points[here, 0] + fraction * (world.points[there, 0] - world.points[here, 0])
    y = world.points[here, 1] + fraction * (world.points[there, 1] - world.points[here, 1])
    heading = world.headings[here] + inside * wrap(np.float64(world.headings[there] - world.headings[here]))
    curvature = world.curvatures[here] + inside * (world.curvatures[there] - world.curvatures[here])
    return x, y, heading, curvature


@device
def turn_of(world, lane):
    """Signed angle from a lane's beginning to its end; positive to the left."""
    first = world.lane_first_point[lane]
    last = first + world.lane_point_count[lane] - 1
    return wrap(np.float64(world.headings[last] - world.headings[first]))


@device
def locate(world, path, along):
    """(index in the path, metres along that lane) of `along` metres from the start of the path's first lane."""
    index = 0
    while index + 1 < UPCOMING_LANES and path[index + 1] >= 0 and along > world.lane_length_m[path[index]]:
        along -= world.lane_length_m[path[index]]
        index += 1
    return index, along


@device
def height_along(world, path, along):
    """Metres above the lowest road, `along` metres from the start of the path's first lane; 0 off the lanes."""
    if path[0] < 0:
        return np.float32(0.0)
    index, rest = locate(world, path, along)
    lane = path[index]
    point = min(max(int(rest / world.lane_spacing_m[lane]), 0), world.lane_point_count[lane] - 1)
    return world.heights_m[world.lane_first_point[lane] + point]


@device
def height_of(world, state, w, a):
    """Metres above the lowest road of an agent; 0 off the lanes."""
    return height_along(world, state.path[w, a], np.float64(state.along[w, a]))


@device
def on_one_level(world, state, w, a, b, ahead_a, ahead_b):
    """Whether two agents could meet when each has gone so many metres: not one on a bridge and one below.

    Who is off the lanes is on any level.
    """
    if state.path[w, a, 0] < 0 or state.path[w, b, 0] < 0:
        return True
    one = height_along(world, state.path[w, a], state.along[w, a] + ahead_a)
    return abs(one - height_along(world, state.path[w, b], state.along[w, b] + ahead_b)) < LEVEL_M


@device
def remaining_m(world, path, along):
    """Metres from `along` to the end of a path that ends; FAR_M if it goes on."""
    if path[UPCOMING_LANES - 1] >= 0:
        return np.float64(FAR_M)
    total = -along
    for i in range(UPCOMING_LANES):
        if path[i] < 0:
            break
        total += world.lane_length_m[path[i]]
    return max(total, 0.0)


@device
def path_point(world, path, along):
    """x, y, heading and curvature `along` metres from the start of the path's first lane."""
    index, rest = locate(world, path, along)
    return lane_point(world, path[index], rest)


@device
def rail_pose(world, path, along, kind):
    """x, y, yaw of a vehicle both of whose axles are on the path, its rear axle at `along`: long ones stay in lane."""
    wheelbase = max(VEHICLE_SIZES[kind, 0] - 2.0 * VEHICLE_SIZES[kind, 3], 0.3)
    x, y, _, _ = path_point(world, path, along)
    front_x, front_y, _, _ = path_point(world, path, along + wheelbase)
    return x, y, math.atan2(front_y - y, front_x - x)


@device
def project(world, path, along, x, y):
    """(along, offset, heading, curvature) of the point of the path next to (x, y), searched from a near guess.

    Two Newton steps on the tangent: exact for a straight, and within centimetres for the offsets of a car that
    is still on the road. Offset is positive to the left.
    """
    offset, heading, curvature = 0.0, 0.0, 0.0
    for _ in range(3):
        px, py, heading, curvature = path_point(world, path, along)
        cosine, sine = math.cos(heading), math.sin(heading)
        forward = cosine * (x - px) + sine * (y - py)
        offset = -sine * (x - px) + cosine * (y - py)
        scale = 1.0 - curvature * offset
        along += forward / min(max(scale, 0.3), 3.0)
    return along, offset, heading, curvature


@device
def surface_at(world, town, x, y):
    """The Surface painted on the ground there; GRASS beyond the town."""
    column = math.floor((x - world.town_origin_m[town, 0]) / METRES_PER_PIXEL)
    row = math.floor((y - world.town_origin_m[town, 1]) / METRES_PER_PIXEL)
    rows, columns = world.town_tiles_shape[town, 0], world.town_tiles_shape[town, 1]
    if row < 0 or column < 0 or row >= rows * TILE_PIXELS or column >= columns * TILE_PIXELS:
        return _GRASS
    cell = world.town_first_tile[town] + (row // TILE_PIXELS) * columns + column // TILE_PIXELS
    return int(world.tiles[world.tile_index[cell], row % TILE_PIXELS, column % TILE_PIXELS])
