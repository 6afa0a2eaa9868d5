"""Camera rigs: where the eight cameras of a car sit, where they look, and how many pixels they have."""

import math
from dataclasses import replace

from fleetloop.core.types import Camera, CameraRig

_WINDSCREEN_M = (1.9, 0.0, 1.4)


def _camera(
    name: str,
    position_in_ego: tuple[float, float, float],
    yaw_degrees: float,
    field_of_view_degrees: float,
    width: int,
    height: int,
    pitch_degrees: float = 0.0,
) -> Camera:
    return Camera(
        name=name,
        position_in_ego=position_in_ego,
        yaw=math.radians(yaw_degrees),
        pitch=math.radians(pitch_degrees),
        horizontal_field_of_view=math.radians(field_of_view_degrees),
        width=width,
        height=height,
    )


DEFAULT_RIG = CameraRig(
    groups=(
        (
            _camera("front_narrow", _WINDSCREEN_M, 0.0, 45.0, 96, 64, pitch_degrees=2.0),
            _camera("front_main", _WINDSCREEN_M, 0.0, 90.0, 96, 64),
            _camera("front_wide", _WINDSCREEN_M, 0.0, 120.0, 96, 64),
        ),
        (
            _camera("left_forward", (1.2, 0.9, 1.1), 60.0, 90.0, 48, 32),
            _camera("right_forward", (1.2, -0.9, 1.1), -60.0, 90.0, 48, 32),
            _camera("left_rear", (2.2, 0.95, 0.9), 130.0, 80.0, 48, 32),
            _camera("right_rear", (2.2, -0.95, 0.9), -130.0, 80.0, 48, 32),
            _camera("rear", (-0.7, 0.0, 1.0), 180.0, 100.0, 48, 32, pitch_degrees=-5.0),
        ),
    )
)
"""The rig of the learner's car: three forward cameras that carry the detail, five smaller ones around.

The forward ones sit behind the windscreen, the forward-looking side cameras in the door pillars, the
backward-looking ones in the front fenders, the last above the rear number plate.
"""


def equal_rig(width: int, height: int) -> CameraRig:
    """The eight cameras of DEFAULT_RIG, all of `width` x `height` pixels, as one group."""
    return CameraRig(groups=(tuple(replace(c, width=width, height=height) for c in DEFAULT_RIG.cameras),))


def scaled_rig(rig: CameraRig, factor: int) -> CameraRig:
    """The same cameras with `factor` times as many pixels along each edge."""
    return CameraRig(
        groups=tuple(
            tuple(replace(c, width=c.width * factor, height=c.height * factor) for c in group)
            for group in rig.groups
        )
    )
