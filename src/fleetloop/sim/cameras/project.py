"""Between metres in the ego frame and pixels of a camera. Pixel (0, 0) covers [0, 1) x [0, 1)."""

import numpy as np
from jaxtyping import Bool, Float32, Float64

from fleetloop.core.pinhole import camera_axes, focal_length_px
from fleetloop.core.types import Camera

NEAR_M = 0.1
"""Nothing nearer than this along the optical axis is drawn."""


def camera_from_ego(camera: Camera) -> Float64[np.ndarray, "4 4"]:
    """The rigid transform from the ego frame (ISO 8855) to the camera frame (OpenCV), metres, homogeneous."""
    transform = np.eye(4)
    transform[:3, :3] = camera_axes(camera)
    transform[:3, 3] = -transform[:3, :3] @ np.asarray(camera.position_in_ego)
    return transform


def project(
    camera: Camera, points_in_ego: Float64[np.ndarray, "N 3"]
) -> tuple[Float64[np.ndarray, "N 2"], Bool[np.ndarray, " N"]]:
    """Where points appear in the image: column and row in pixels, not rounded, and whether they are in sight.

    A point is in sight when it is farther than NEAR_M along the optical axis and inside the image; whether
    something stands in front of it is not considered. The pixels of points behind the camera mean nothing.
    """
    points = np.asarray(points_in_ego, np.float64)
    in_camera = (points - np.asarray(camera.position_in_ego)) @ camera_axes(camera).T
    depth = in_camera[:, 2]
    in_front = depth > NEAR_M
    scale = focal_length_px(camera) / np.where(in_front, depth, 1.0)
    pixels = in_camera[:, :2] * scale[:, None] + np.array([camera.width / 2.0, camera.height / 2.0])
    inside = (pixels >= 0.0).all(axis=1) & (pixels < [camera.width, camera.height]).all(axis=1)
    return pixels, in_front & inside


def ray_directions(camera: Camera) -> Float32[np.ndarray, "height width 3"]:
    """The unit vector, in the ego frame, along which each pixel's centre looks."""
    focal = focal_length_px(camera)
    right = (np.arange(camera.width) + 0.5 - camera.width / 2.0) / focal
    down = (np.arange(camera.height) + 0.5 - camera.height / 2.0) / focal
    axis_right, axis_down, axis_forward = camera_axes(camera)
    rays = axis_forward + right[None, :, None] * axis_right + down[:, None, None] * axis_down
    return (rays / np.linalg.norm(rays, axis=-1, keepdims=True)).astype(np.float32)
