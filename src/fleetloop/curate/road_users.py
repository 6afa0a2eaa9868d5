"""Whom the demonstrator brakes for, and for whom it waits, as far as a moment tells."""

from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float32, Int64

from fleetloop.core.labels import Labels
from fleetloop.core.types import AgentKind, SignalColour


class BrakedFor(IntEnum):
    """Who is ahead where the demonstrator brakes."""

    NOBODY = 0
    CYCLIST = 1
    PEDESTRIAN = 2
    VEHICLE = 3


_ON_FOOT = (int(AgentKind.PEDESTRIAN), int(AgentKind.CHILD))
_BRAKES_MPS2, _MOVES_MPS = -0.7, 0.5
_NEAREST_M, _FRONT_M, _AHEAD_S, _SLOWEST_MPS = 3.0, 4.0, 3.0, 2.0
"""Who is ahead is between the nearest, from the rear axle, and this many seconds in front of the bumper."""
_IN_LANE_M, _BESIDE_M = 2.0, 5.0
"""To either side; people on foot are braked for while they come."""
_CLOSES_M, _KEEPS_M, _CLOSES_MPS2, _CLOSES_MPS, _CLOSING_BRAKES_MPS2 = 45.0, 2.0, 1.2, 3.0, -1.5
"""Who closes in is within this distance of somebody, and would have to brake harder than this, and does, to come to
the other's speed so far behind him; not who rolls up to a queue."""
_NEAR_M, _NEAR_BRAKES_MPS2, _ROLLS_MPS = 4.0, -1.0, 0.1
"""Or it rolls on nearer than this, and is to brake so: the demonstrator stands some 3 m behind others."""
_YELLOW_M = 30.0
"""To the line of a yellow lamp: beyond, there is time left."""
_HALTS_M = 8.0
"""Who gives way is to halt within this distance."""
_AT_LINE_M = 2.0
"""Who is to halt no farther than this before a lamp's line halts for the lamp."""
STAYS_MPS2 = 0.3
"""Who is to stay is to accelerate no more than this."""


def braked_for(
    acceleration_mps2: Float32[np.ndarray, " N"], speed_mps: Float32[np.ndarray, " N"], scenes: np.ndarray
) -> Int64[np.ndarray, " N"]:
    """BrakedFor of each moment, of several who is seldom; a guess, for signals and priority make it brake as well.

    Args:
        acceleration_mps2: the demonstrator's.
        scenes: records of SCENE_DTYPE.
    """
    who = np.full(len(scenes), int(BrakedFor.NOBODY), np.int64)
    # Few moments are left after this, and looking at all road users costs more than the rest of a step.
    brakes = np.flatnonzero((acceleration_mps2 < _BRAKES_MPS2) & (speed_mps > _MOVES_MPS))
    kind, pose, ego = (scenes[name][brakes] for name in ("agent_kind", "agent_pose", "ego_pose"))
    away = pose[:, :, :2] - ego[:, None, :2]
    cosine, sine = np.cos(ego[:, 2:]), np.sin(ego[:, 2:])
    forward = cosine * away[:, :, 0] + sine * away[:, :, 1]
    left = cosine * away[:, :, 1] - sine * away[:, :, 0]
    reach_m = _FRONT_M + _AHEAD_S * np.maximum(speed_mps[brakes, None], _SLOWEST_MPS)
    ahead = (kind != AgentKind.NONE) & (forward > _NEAREST_M) & (forward < reach_m)
    on_foot, cyclist = np.isin(kind, _ON_FOOT), kind == AgentKind.CYCLIST
    ahead &= np.abs(left) < np.where(on_foot, _BESIDE_M, _IN_LANE_M)
    who[brakes[(ahead & ~on_foot & ~cyclist).any(axis=1)]] = BrakedFor.VEHICLE
    who[brakes[(ahead & on_foot).any(axis=1)]] = BrakedFor.PEDESTRIAN
    who[brakes[(ahead & cyclist).any(axis=1)]] = BrakedFor.CYCLIST
    return who


def closes_in(labels: Labels, speed_mps: Float32[np.ndarray, " N"]) -> Bool[np.ndarray, " N"]:
    """Whether somebody ahead in the lane is come up to so fast, or so near, that it takes braking."""
    faster_mps = np.maximum(speed_mps - labels.lead_speed_mps, 0.0)
    needed_mps2 = faster_mps**2 / (2.0 * np.maximum(labels.lead_gap_m - _KEEPS_M, 0.5))
    fast = (labels.lead_gap_m < _CLOSES_M) & (speed_mps > _CLOSES_MPS) & (needed_mps2 > _CLOSES_MPS2)
    rolls = (labels.lead_gap_m < _NEAR_M) & (speed_mps > _ROLLS_MPS)
    brakes_mps2 = np.where(rolls, _NEAR_BRAKES_MPS2, _CLOSING_BRAKES_MPS2)
    return (fast | rolls) & (labels.acceleration_mps2 < brakes_mps2)


def gives_way(labels: Labels) -> Bool[np.ndarray, " N"]:
    """Whether the car is to halt here for others, whom it has to let pass, and not for a lamp."""
    lamp = np.isin(labels.signal_colour, (SignalColour.RED, SignalColour.YELLOW))
    # The lamp of the next junction does not make it halt in this one.
    lamp &= labels.stop_line_m < labels.halt_m + _AT_LINE_M
    return (labels.halt_m < _HALTS_M) & (labels.acceleration_mps2 < STAYS_MPS2) & ~lamp


def nears_yellow(labels: Labels) -> Bool[np.ndarray, " N"]:
    """Whether a yellow lamp asks it to choose now between stopping and going on."""
    return (labels.signal_colour == SignalColour.YELLOW) & (labels.stop_line_m < _YELLOW_M)
