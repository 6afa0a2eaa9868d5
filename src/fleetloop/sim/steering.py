"""Steering: the curvature that leads back to a path and along it."""

import math

import numpy as np

from fleetloop.core.kernels import device
from fleetloop.core.types import LaneKind
from fleetloop.sim.behaviour import BRISK_MPS, CHANGING_MPS, beyond_brisk
from fleetloop.sim.paths import path_point

_JUNCTION = int(LaneKind.JUNCTION)
_NEAREST_LOOK_M, _FARTHEST_LOOK_M = 3.2, 9.0
MAXIMUM_CURVATURE_1PM = 0.2
"""A car's turning circle of about 10 m."""
SWERVE_MPS2 = 3.0
"""To the side, above the speeds of towns: ISO 11270:2014 (lane keeping) allows no more."""
IN_LANE_M = 1.6
"""Who is farther from the middle of its lane is changing lanes, or lost."""


@device
def lookahead_m(speed):
    """How far ahead on its path a driver looks when it steers."""
    # On fast roads about a second ahead: nearer, small offsets would ask for more than tyres hold.
    return max(2.2 + 0.42 * speed, _NEAREST_LOOK_M) + 0.6 * beyond_brisk(speed)


@device
def calm_lookahead_m(world, path, along, speed):
    """The same, but in a junction as far as its exit.

    No line marks the path through a junction, so nobody can see how far he is from it: what can be seen is where it
    comes out. The circle to there is the path's own where that is a circle, and corrects gently.
    """
    near = lookahead_m(speed)
    lane = path[0]
    if world.lane_kind[lane] != _JUNCTION:
        return near
    return max(near, min(np.float64(world.lane_length_m[lane]) - along, _FARTHEST_LOOK_M))


@device
def pursuit_curvature(world, path, along, offset, x, y, yaw, speed, lookahead):
    """Pure pursuit from the rear axle (Coulter, CMU-RI-TR-92-01): the circle through a point ahead on the path.

    Who is in another lane, `offset` metres to the left of the path, aims at a point that comes closer bit by bit.
    """
    target_x, target_y, heading, _ = path_point(world, path, along + lookahead)
    if abs(offset) > IN_LANE_M:
        left = (abs(offset) - IN_LANE_M) * math.exp(-lookahead / (3.0 + 1.5 * speed))
        # No faster to the side than others change lanes: who comes in too steeply swings over into the next lane.
        left = max(left, abs(offset) - CHANGING_MPS / max(speed, 1.0) * lookahead)
        left = math.copysign(left, offset)
        target_x, target_y = target_x - left * math.sin(heading), target_y + left * math.cos(heading)
    forward = math.cos(yaw) * (target_x - x) + math.sin(yaw) * (target_y - y)
    left = -math.sin(yaw) * (target_x - x) + math.cos(yaw) * (target_y - y)
    curvature = 2.0 * left / max(forward * forward + left * left, 1.0)
    if forward < 0.0:
        curvature = math.copysign(MAXIMUM_CURVATURE_1PM, left)
    # Who is slower may swerve harder, as to come back after a mistake.
    sideways = SWERVE_MPS2 + 0.5 * max(BRISK_MPS - speed, 0.0)
    sharpest = min(MAXIMUM_CURVATURE_1PM, sideways / max(speed * speed, 1.0))
    return min(max(curvature, -sharpest), sharpest)
