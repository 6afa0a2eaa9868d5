"""Plane geometry in ISO 8855 frames: x forward, y left, yaw counter-clockwise in radians."""

import numpy as np
from jaxtyping import Float


def wrap_angle(angle: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """The same direction in [-pi, pi)."""
    return (angle + np.pi) % (2.0 * np.pi) - np.pi


def to_local(
    origin: Float[np.ndarray, "*#batch 3"], poses: Float[np.ndarray, "*#batch 3"]
) -> Float[np.ndarray, "*batch 3"]:
    """Poses (x, y, yaw) given in the frame of `origin`, both given in the same outer frame, metres and radians."""
    delta_x = poses[..., 0] - origin[..., 0]
    delta_y = poses[..., 1] - origin[..., 1]
    cosine, sine = np.cos(origin[..., 2]), np.sin(origin[..., 2])
    return np.stack(
        [
            cosine * delta_x + sine * delta_y,
            -sine * delta_x + cosine * delta_y,
            wrap_angle(poses[..., 2] - origin[..., 2]),
        ],
        axis=-1,
    )


def to_outer(
    origin: Float[np.ndarray, "*#batch 3"], poses: Float[np.ndarray, "*#batch 3"]
) -> Float[np.ndarray, "*batch 3"]:
    """The inverse of `to_local`: poses in the frame of `origin`, given in the outer frame."""
    cosine, sine = np.cos(origin[..., 2]), np.sin(origin[..., 2])
    return np.stack(
        [
            origin[..., 0] + cosine * poses[..., 0] - sine * poses[..., 1],
            origin[..., 1] + sine * poses[..., 0] + cosine * poses[..., 1],
            wrap_angle(origin[..., 2] + poses[..., 2]),
        ],
        axis=-1,
    )
