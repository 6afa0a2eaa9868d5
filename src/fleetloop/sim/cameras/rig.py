"""Camera rigs: where the eight cameras of a car sit, where they look, and how many pixels they have."""

import math
from dataclasses import replace

import numpy as np

from fleetloop.core.errors import ConfigError
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
            _camera("front_narrow", _WINDSCREEN_M, 0.0, 30.0, 96, 64, pitch_degrees=2.0),
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


SHUTTLE_RIG = CameraRig(
    groups=(
        (
            _camera("front_narrow", (2.6, 0.3, 2.1), 0.0, 50.0, 96, 64, pitch_degrees=-2.0),
            _camera("front_main", (2.6, 0.0, 2.1), 0.0, 80.0, 96, 64, pitch_degrees=-6.0),
            _camera("front_wide", (2.6, -0.3, 2.1), 0.0, 110.0, 96, 64, pitch_degrees=-8.0),
        ),
        (
            _camera("left_forward", (2.0, 1.0, 1.9), 70.0, 100.0, 48, 32, pitch_degrees=-8.0),
            _camera("right_forward", (2.0, -1.0, 1.9), -70.0, 100.0, 48, 32, pitch_degrees=-8.0),
            _camera("left_rear", (1.0, 1.0, 1.8), 140.0, 90.0, 48, 32, pitch_degrees=-6.0),
            _camera("right_rear", (1.0, -1.0, 1.8), -140.0, 90.0, 48, 32, pitch_degrees=-6.0),
            _camera("rear", (-0.8, 0.0, 2.0), 180.0, 90.0, 48, 32, pitch_degrees=-10.0),
        ),
    )
)
"""Another vehicle's: cameras under the roof of a shuttle bus, higher, wider apart and tilted down.

Nothing is ever trained on it as it is: it measures how a network takes to a layout it does not know.
"""


RIGS = {"default": DEFAULT_RIG, "shuttle": SHUTTLE_RIG}
"""Rigs that have a name."""


def rig_named(name: str, own: CameraRig = DEFAULT_RIG) -> CameraRig:
    """The rig of this name; the default is the network's `own`, whose cameras a release says it was made for.

    Raises:
        ConfigError: there is none.
    """
    if name not in RIGS:
        raise ConfigError(f"rig: {name!r} is unknown; use {' or '.join(RIGS)}")
    return own if name == "default" else RIGS[name]


def varied_rig(rig: CameraRig, random: np.random.Generator, variety: float) -> CameraRig:
    """The same cameras, moved and turned at random, as on another make of vehicle.

    How far is drawn first, uniformly up to `variety`, so that many rigs are nearly the one given. At 1 the
    whole rig moves by up to 1 m along and from 0.4 m down to 1.2 m up, and each camera by up to 0.3 m along
    each axis, 10 degrees of yaw, 5 of pitch (and up to 6 more for all, downwards, the higher the rig), and a
    fifth of its field of view.
    """
    if variety <= 0.0:
        return rig
    amount = random.uniform(0.0, variety)
    along, up = amount * random.uniform(-1.0, 1.0), amount * random.uniform(-0.4, 1.2)
    tilt = -math.radians(6.0) * max(up, 0.0)

    def varied(camera: Camera) -> Camera:
        shift = amount * random.uniform(-0.3, 0.3, 3) + (along, 0.0, up)
        x, y, z = (float(value) for value in np.add(camera.position_in_ego, shift))
        yaw, pitch, scale = (
            amount * random.uniform(-1.0, 1.0, 3) * (math.radians(10.0), math.radians(5.0), 0.2)
        )
        view = min(camera.horizontal_field_of_view * math.exp(scale), math.radians(140.0))
        return replace(
            camera,
            position_in_ego=(x, y, max(z, 0.4)),
            yaw=camera.yaw + yaw,
            pitch=camera.pitch + pitch + tilt,
            horizontal_field_of_view=view,
        )

    return CameraRig(tuple(tuple(map(varied, group)) for group in rig.groups))


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
