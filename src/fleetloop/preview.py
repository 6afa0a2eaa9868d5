"""Pictures that tell a person what a driver sees: a town from above, and its eight cameras."""

from pathlib import Path

import numpy as np
from PIL import Image

from fleetloop.core.files import replacing_file
from fleetloop.core.types import TILE_M, World
from fleetloop.sim.cameras import DEFAULT_RIG
from fleetloop.sim.cameras.mosaic import mosaic
from fleetloop.sim.cameras.rig import scaled_rig
from fleetloop.sim.roads.preview import map_image
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import make_routes

_WARM_UP_STEPS = 80
_ROUTES = 1_000
"""Enough to find a place to start from."""
_MAP_PIXELS = 900
_FINEST_MAP_M = 0.2
"""Metres a pixel."""


def town_preview(world: World, seed: int, out: Path) -> None:
    """Write a PNG: on the left the map, on the right the cameras of a car in traffic, fine and as they are.

    Args:
        world: the town alone.

    Raises:
        MapError: no vehicle can be placed in the town.
        StorageError: the file cannot be written.
    """
    rollout = Rollout(world, make_routes(seed, [0], _ROUTES, 500.0), worlds=1, agents=24)
    for _ in range(_WARM_UP_STEPS):
        rollout.decide()
        rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
    fine = scaled_rig(DEFAULT_RIG, 4)
    images = [group[0] for group in rollout.observe(fine).images]
    coarse = [group[0] for group in rollout.observe(DEFAULT_RIG).images]
    extent_m = float((world.town_tiles_shape[0] * TILE_M).max())
    town = map_image(world, 0, max(extent_m / _MAP_PIXELS, _FINEST_MAP_M))
    cameras = np.concatenate(
        [_of_width(mosaic(images, fine, 1), 900), _of_width(mosaic(coarse, DEFAULT_RIG, 4), 900)]
    )
    picture = np.concatenate([_of_height(town, len(cameras)), cameras], axis=1)
    with replacing_file(out) as partial:
        Image.fromarray(picture).save(partial, "PNG")


def _of_width(picture: np.ndarray, width: int) -> np.ndarray:
    height = round(picture.shape[0] * width / picture.shape[1])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _of_height(picture: np.ndarray, height: int) -> np.ndarray:
    width = round(picture.shape[1] * height / picture.shape[0])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))
