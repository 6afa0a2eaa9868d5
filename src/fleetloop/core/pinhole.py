"""The pinhole camera: its focal length and its axes in the ego frame."""

import math

import numpy as np
from jaxtyping import Float64

from fleetloop.core.types import Camera


def focal_length_px(camera: Camera) -> float:
    """Focal length in pixels; pixels are square and the principal point is the centre of the image."""
    return camera.width / 2.0 / math.tan(camera.horizontal_field_of_view / 2.0)


def camera_axes(camera: Camera) -> Float64[np.ndarray, "3 3"]:
    """Unit vectors in the ego frame: rows right, down, forward, that is the OpenCV camera axes x, y, z."""
    cos_yaw, sin_yaw = math.cos(camera.yaw), math.sin(camera.yaw)
    cos_pitch, sin_pitch = math.cos(camera.pitch), math.sin(camera.pitch)
    return np.array(
        [
            [sin_yaw, -cos_yaw, 0.0],
            [cos_yaw * sin_pitch, sin_yaw * sin_pitch, -cos_pitch],
            [cos_yaw * cos_pitch, sin_yaw * cos_pitch, sin_pitch],
        ]
    )
