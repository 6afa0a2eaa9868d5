"""Plane geometry in ISO 8855 frames: x forward, y left, yaw counter-clockwise in radians."""

import numpy as np
from jaxtyping import Float


def wrap_angle(angle: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """The same direction in [-pi, pi)."""
    return (angle + np.pi) % (2.0 * np.pi) - np.pi
