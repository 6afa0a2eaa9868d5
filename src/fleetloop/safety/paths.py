"""Geometry of plans' paths in the vehicle's frame: where they are after a move, how far apart, how to follow one.

A path is 9 points x, y, yaw: where the plan was made (the origin of its frame) and its 8 poses. V vehicles at once.
"""

import numpy as np
from jaxtyping import Float64

from fleetloop.core.types import PLAN_POSE_INTERVAL_S

_SHORTEST_PATH_M = 1.0
_FAR_M = 200.0
_EXTENSION_STEP_M, _EXTENSION_STEPS = 2.5, 12
_NEAREST_LOOK_M, _LOOK_M, _LOOK_S = 3.2, 2.2, 0.42
"""How far ahead on its path a vehicle aims: at least the first, else the second and so many seconds."""


def seen_from(
    path: Float64[np.ndarray, "W 9 3"], distance: Float64[np.ndarray, " W"], turned: Float64[np.ndarray, " W"]
) -> Float64[np.ndarray, "W 9 3"]:
    """A path from the end of an arc that begins in its frame; the arc's chord leaves at half the angle turned."""
    chord = distance * np.sinc(0.5 * turned / np.pi)
    x = path[:, :, 0] - (chord * np.cos(0.5 * turned))[:, None]
    y = path[:, :, 1] - (chord * np.sin(0.5 * turned))[:, None]
    cosine, sine = np.cos(turned)[:, None], np.sin(turned)[:, None]
    return np.stack([cosine * x + sine * y, cosine * y - sine * x, path[:, :, 2] - turned[:, None]], axis=-1)


def apart_m(
    points: Float64[np.ndarray, "V 8 2"], path: Float64[np.ndarray, "V 9 3"]
) -> Float64[np.ndarray, " V"]:
    """The largest distance of the points from the path sideways; those beyond the path's end do not count."""
    end = path[:, -1]
    onward = end[:, :2] + _FAR_M * np.stack([np.cos(end[:, 2]), np.sin(end[:, 2])], axis=-1)
    squared, _ = _to_segments(points, np.concatenate([path[:, :, :2], onward[:, None]], axis=1))
    beyond = squared.argmin(axis=2) == path.shape[1] - 1
    return np.where(beyond, 0.0, np.sqrt(squared.min(axis=2))).max(axis=1)


def _to_segments(
    points: Float64[np.ndarray, "V n 2"], path: Float64[np.ndarray, "V m 2"]
) -> tuple[Float64[np.ndarray, "V n m-1"], Float64[np.ndarray, "V n m-1"]]:
    """Squared distance of each point to each segment of the path, and where on the segment (0 to 1) it is nearest."""
    start, step = path[:, None, :-1], np.diff(path, axis=1)[:, None]
    offset = points[:, :, None] - start
    length = np.maximum((step**2).sum(-1), 1e-12)
    share = np.clip((offset * step).sum(-1) / length, 0.0, 1.0)
    return ((offset - share[..., None] * step) ** 2).sum(-1), share


def pursue(
    path: Float64[np.ndarray, "V 9 3"],
    held_1pm: Float64[np.ndarray, " V"],
    speed_mps: Float64[np.ndarray, " V"],
) -> Float64[np.ndarray, " V"]:
    """Curvature that follows the path from the origin: pure pursuit (Coulter, CMU-RI-TR-92-01).

    Beyond the path's end its mean curvature of the last second goes on. A path too short to tell a direction, of a
    vehicle that is about to stand, leaves the steering as it is (`held_1pm`).
    """
    steps = np.hypot(*np.moveaxis(np.diff(path[:, :, :2], axis=1), -1, 0))
    length = steps.sum(axis=1)
    second = round(1.0 / PLAN_POSE_INTERVAL_S)
    end_m = np.maximum(steps[:, -second:].sum(axis=1), 1e-6)
    turned = wrapped(path[:, -1, 2] - path[:, -1 - second, 2])
    end_1pm = np.where(end_m > _SHORTEST_PATH_M, turned / end_m, held_1pm)
    numbers = np.arange(_EXTENSION_STEPS)
    headings = path[:, -1:, 2] + end_1pm[:, None] * (numbers + 0.5) * _EXTENSION_STEP_M
    onward = np.cumsum(np.stack([np.cos(headings), np.sin(headings)], -1) * _EXTENSION_STEP_M, axis=1)
    line = np.concatenate([path[:, :, :2], path[:, -1:, :2] + onward], axis=1)
    along = np.zeros(line.shape[:2])
    np.cumsum(np.hypot(*np.moveaxis(np.diff(line, axis=1), -1, 0)), axis=1, out=along[:, 1:])
    squared, share = _to_segments(np.zeros((len(line), 1, 2)), line)
    look_m = np.maximum(_LOOK_M + _LOOK_S * speed_mps, _NEAREST_LOOK_M)
    curvature = np.empty(len(line))
    for v in range(len(line)):
        segment = int(squared[v, 0].argmin())
        reached = along[v, segment] + share[v, 0, segment] * (along[v, segment + 1] - along[v, segment])
        ahead = reached + look_m[v]
        x, y = np.interp(ahead, along[v], line[v, :, 0]), np.interp(ahead, along[v], line[v, :, 1])
        curvature[v] = 2.0 * y / max(x * x + y * y, 1.0)
    return np.where(length > _SHORTEST_PATH_M, curvature, held_1pm)


def wrapped(angle: Float64[np.ndarray, " V"]) -> Float64[np.ndarray, " V"]:
    """The same angle between -pi and pi."""
    return np.arctan2(np.sin(angle), np.cos(angle))
