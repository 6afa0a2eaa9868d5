"""How pictures moved between two steps, and how well that suits a camera's mount; nothing is learned.

A picture is made small and cut into cells. Over a cell, the change that a shift by u pixels makes is, to first order,
u . gradient (Lucas and Kanade, 1981), so the part of the change that a shift leaves unexplained is a quadratic form of
six sums over the cell's pixels. What shift a mount makes one expect is known but for one number: the yaw turns the
world by the same angle wherever it is, and the way of the camera shifts it along a known line, the farther the nearer
it is (Longuet-Higgins and Prazdny, 1980). Nearness cannot be negative, and nothing that is seen lies beyond the ground.
The best nearness within these bounds is found for each cell and mount; what is then left of the change speaks against
the mount.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from numba import njit

from fleetloop.core.kernels import device
from fleetloop.core.pinhole import camera_axes, focal_length_px
from fleetloop.core.types import CameraRig

ROWS, COLUMNS = 16, 24
"""Of the small pictures. At 10 m/s houses 10 m away move by about a pixel in a step, as the first order asks."""
CELL_PIXELS = 4
CELL_ROWS, CELL_COLUMNS = ROWS // CELL_PIXELS, COLUMNS // CELL_PIXELS
CELLS = CELL_ROWS * CELL_COLUMNS

_GREEN = 1
_LOWEST_M = 0.1
"""A camera that is said to be lower than this is taken to be so high."""
_NOISE = 8.0
"""Change of a cell (grey levels squared, all its pixels) below which it says little: about a sensor's noise."""
_FLAT = 1e-3
_GROUND_SHARE = 0.7
"""The ground may be so much farther than on a flat plane: ahead it may fall, and cars pitch."""
_GROUND_PIXELS = 2.0
"""However near the ground is, it is not asked to move by more, for then first order tells nothing."""
_FREE_NEARNESS, _NEARER_THAN_GROUND = 0.6, 1.3
"""What stands around is at most this near (1/m), or as much nearer than the ground."""


class MountFields(NamedTuple):
    """What a world shifts by in the cells of each camera's small picture, in pixels, row by row."""

    turn: Float32[np.ndarray, "mounts cells 2"]
    """To the right and down, per radian of yaw."""
    ahead: Float32[np.ndarray, "mounts cells 2"]
    """Per metre that the camera goes forward, times nearness (1/m along the optical axis)."""
    aside: Float32[np.ndarray, "mounts cells 2"]
    """The same, to the left."""
    ground: Float32[np.ndarray, "mounts cells"]
    """Nearness of a flat ground, 0 above the horizon."""
    place: Float32[np.ndarray, "mounts 2"]
    """Forward and left of the rear axle, metres."""


def mount_fields(rig: CameraRig) -> MountFields:
    """Of every camera of the rig; the shift of a cell is that of its middle."""
    cameras = rig.cameras
    shifts = np.zeros((3, len(cameras), CELLS, 2), np.float32)
    ground, place = np.zeros((len(cameras), CELLS), np.float32), np.zeros((len(cameras), 2), np.float32)
    for number, camera in enumerate(cameras):
        size_px = np.array([camera.width, camera.height])
        small_focal = focal_length_px(camera) * np.array([COLUMNS, ROWS]) / size_px
        right = ((np.arange(CELL_COLUMNS) + 0.5) * CELL_PIXELS - COLUMNS / 2.0) / small_focal[0]
        down = ((np.arange(CELL_ROWS) + 0.5) * CELL_PIXELS - ROWS / 2.0) / small_focal[1]
        rays = np.stack([*(grid.ravel() for grid in np.meshgrid(right, down)), np.ones(CELLS)], axis=1)
        axes = camera_axes(camera)
        forward, left, up = axes.T
        # Of points at depth 1 along the rays, in the frame of a camera that turns or goes.
        for shift, velocity in zip(shifts, (-np.cross(up, rays), -forward, -left), strict=True):
            shift[number] = (velocity[..., :2] - rays[:, :2] * velocity[..., 2:]) * small_focal
        height_m = max(camera.position_in_ego[2], _LOWEST_M)
        ground[number] = np.maximum(-(rays @ axes)[:, 2] / height_m, 0.0)
        place[number] = camera.position_in_ego[:2]
    return MountFields(shifts[0], shifts[1], shifts[2], ground, place)


def mirrored(fields: MountFields) -> MountFields:
    """The same of pictures whose left and right are swapped; of the ground nothing is said."""

    def mirror(shift: np.ndarray) -> np.ndarray:
        cells = shift.reshape(-1, CELL_ROWS, CELL_COLUMNS, 2)[:, :, ::-1]
        return np.ascontiguousarray(cells.reshape(shift.shape) * np.array([-1.0, 1.0], np.float32))

    turn, ahead, aside = map(mirror, (fields.turn, fields.ahead, fields.aside))
    return MountFields(turn, ahead, aside, np.zeros_like(fields.ground), fields.place)


@njit(cache=True)
def shrink(
    images: UInt8[np.ndarray, "W cameras height width 3"],
    rows: Int64[np.ndarray, " B"],
    small: Float32[np.ndarray, "B cameras 16 24"],
) -> None:
    """Fill `small` with the green of these vehicles' pictures, of any size from 16x24 on.

    A pixel is the mean of two by two samples of those that fall into it, so that large pictures cost no more.
    """
    height, width = images.shape[2], images.shape[3]
    for b in range(len(rows)):
        for c in range(images.shape[1]):
            picture = images[rows[b], c]
            for i in range(ROWS):
                top, below = i * height // ROWS, (2 * i + 1) * height // (2 * ROWS)
                for j in range(COLUMNS):
                    left, right = j * width // COLUMNS, (2 * j + 1) * width // (2 * COLUMNS)
                    upper = np.float32(picture[top, left, _GREEN]) + np.float32(picture[top, right, _GREEN])
                    lower = np.float32(picture[below, left, _GREEN]) + np.float32(
                        picture[below, right, _GREEN]
                    )
                    small[b, c, i, j] = np.float32(0.25) * (upper + lower)


@njit(cache=True)
def motion_sums(
    before: Float32[np.ndarray, "B cameras 16 24"],
    now: Float32[np.ndarray, "B cameras 16 24"],
    sums: Float32[np.ndarray, "B cameras cells 6"],
) -> None:
    """Fill `sums`, for each cell: of xx, xy, yy, xt, yt, tt, where x and y are the gradient and t is the change.

    The gradient is that of the mean of both pictures; the pixels of the border have none and are left out.
    """
    quarter = np.float32(0.25)
    sums[:] = np.float32(0.0)
    for b in range(now.shape[0]):
        for c in range(now.shape[1]):
            old, new = before[b, c], now[b, c]
            for i in range(1, ROWS - 1):
                for j in range(1, COLUMNS - 1):
                    x = quarter * (old[i, j + 1] + new[i, j + 1] - old[i, j - 1] - new[i, j - 1])
                    y = quarter * (old[i + 1, j] + new[i + 1, j] - old[i - 1, j] - new[i - 1, j])
                    t = new[i, j] - old[i, j]
                    cell = sums[b, c, (i // CELL_PIXELS) * CELL_COLUMNS + j // CELL_PIXELS]
                    cell[0] += x * x
                    cell[1] += x * y
                    cell[2] += y * y
                    cell[3] += x * t
                    cell[4] += y * t
                    cell[5] += t * t


@device(fast=True)
def _left_over(sums, turn, shift, least, most):
    """Share of a cell's change that neither the shift `turn` nor any `shift` times least to most explains."""
    xx, xy, yy, tt = sums[0], sums[1], sums[2], sums[5]
    x, y = xx * turn[0] + xy * turn[1] + sums[3], xy * turn[0] + yy * turn[1] + sums[4]
    slope = shift[0] * x + shift[1] * y
    bend = xx * shift[0] * shift[0] + np.float32(2.0) * xy * shift[0] * shift[1] + yy * shift[1] * shift[1]
    nearness = min(max(-slope / (bend + np.float32(_FLAT)), least), most)
    unexplained = tt + turn[0] * (x + sums[3]) + turn[1] * (y + sums[4])
    unexplained += nearness * (np.float32(2.0) * slope + nearness * bend)
    return unexplained / (tt + np.float32(_NOISE))


@device(fast=True)
def _expected(fields, mount, cell, forward_m, yaw):
    """What a cell shifts by in turning, and for a nearness of 1; the least and the most nearness there can be."""
    ahead_m = forward_m - yaw * fields.place[mount, 1]
    aside_m = yaw * fields.place[mount, 0]
    turn = (yaw * fields.turn[mount, cell, 0], yaw * fields.turn[mount, cell, 1])
    shift_x = ahead_m * fields.ahead[mount, cell, 0] + aside_m * fields.aside[mount, cell, 0]
    shift_y = ahead_m * fields.ahead[mount, cell, 1] + aside_m * fields.aside[mount, cell, 1]
    ground = fields.ground[mount, cell]
    length = math.sqrt(shift_x * shift_x + shift_y * shift_y) + np.float32(1e-6)
    least = min(np.float32(_GROUND_SHARE) * ground, np.float32(_GROUND_PIXELS) / length)
    most = max(np.float32(_FREE_NEARNESS), np.float32(_NEARER_THAN_GROUND) * ground)
    return turn, (shift_x, shift_y), least, most


@njit(cache=True)
def compare_mounts(
    sums: Float32[np.ndarray, "B cameras cells 6"],
    forward_m: Float32[np.ndarray, " B"],
    yaw: Float32[np.ndarray, " B"],
    fields: MountFields,
    mirror: MountFields,
    foreign: Float32[np.ndarray, "B cameras mounts"],
    reflected: Float32[np.ndarray, "B cameras"],
) -> None:
    """Fill `foreign`: how much worse than at its own mount a camera's motion is explained at each other one.

    Mean over the cells of the difference of the unexplained shares, each from -1 to 1; above 0 speaks for the camera's
    own mount. `reflected` says the same of its picture being mirrored, where nothing is said of the ground, for the
    ground of a picture that stands on its head is at the top.

    Args:
        forward_m: what the rear axle went forward by between the two pictures.
        yaw: what it turned to the left by, radians.
        mirror: `mirrored(fields)`.
    """
    one, zero = np.float32(1.0), np.float32(0.0)
    cameras = sums.shape[1]
    own = np.empty((cameras, CELLS), np.float32)
    for b in range(sums.shape[0]):
        for camera in range(cameras):
            total = zero
            for cell in range(CELLS):
                turn, shift, least, most = _expected(fields, camera, cell, forward_m[b], yaw[b])
                own[camera, cell] = _left_over(sums[b, camera, cell], turn, shift, least, most)
                free = _left_over(sums[b, camera, cell], turn, shift, zero, most)
                turn, shift, least, most = _expected(mirror, camera, cell, forward_m[b], yaw[b])
                total += min(
                    max(_left_over(sums[b, camera, cell], turn, shift, zero, most) - free, -one), one
                )
            reflected[b, camera] = total / np.float32(CELLS)
        for mount in range(cameras):
            for camera in range(cameras):
                foreign[b, camera, mount] = zero
            for cell in range(CELLS):
                turn, shift, least, most = _expected(fields, mount, cell, forward_m[b], yaw[b])
                for camera in range(cameras):
                    if camera != mount:
                        other = _left_over(sums[b, camera, cell], turn, shift, least, most)
                        foreign[b, camera, mount] += min(
                            max(other - own[camera, cell], -one), one
                        ) / np.float32(CELLS)
