"""What is where around the car, as a grid seen from above: what the network learns to tell beside how to drive."""

import math

import numpy as np
from jaxtyping import UInt8
from numba import njit, prange

from fleetloop.core.kernels import device
from fleetloop.core.types import (
    BIRDS_EYE_CELL_M,
    BIRDS_EYE_CELLS,
    BIRDS_EYE_ORIGIN_M,
    BIRDS_EYE_SHAPE,
    VEHICLE_SIZES,
    AgentKind,
    BirdsEyeLayer,
    Scene,
    Surface,
    World,
)
from fleetloop.sim.paths import surface_at

_ROWS, _COLUMNS = BIRDS_EYE_CELLS
_LENGTH_M, _WIDTH_M = BIRDS_EYE_CELL_M
_REAR_M, _RIGHT_M = BIRDS_EYE_ORIGIN_M
_VEHICLES, _PEOPLE, _ROAD = (int(layer) for layer in BirdsEyeLayer)
_NONE = int(AgentKind.NONE)
SAMPLE_M = 1.0
"""Along a road user: shorter than any cell."""

IS_PERSON = np.zeros(256, np.bool_)
IS_PERSON[[int(AgentKind.CYCLIST), int(AgentKind.PEDESTRIAN), int(AgentKind.CHILD)]] = True
_IS_DRIVABLE = np.ones(256, np.bool_)
_IS_DRIVABLE[[int(Surface.GRASS), int(Surface.SIDEWALK), int(Surface.CURB)]] = False


@device
def _mark_road(world, town, ego, grid):
    cosine, sine = math.cos(ego[2]), math.sin(ego[2])
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            ahead, left = _REAR_M + (row + 0.5) * _LENGTH_M, _RIGHT_M + (column + 0.5) * _WIDTH_M
            x, y = ego[0] + cosine * ahead - sine * left, ego[1] + sine * ahead + cosine * left
            grid[_ROAD, row, column] = _IS_DRIVABLE[surface_at(world, town, x, y)]


@device
def _mark_user(ego, pose, kind, grid):
    """The cells that the centre line of a road user runs through."""
    cosine, sine = math.cos(ego[2]), math.sin(ego[2])
    length, rear = VEHICLE_SIZES[kind, 0], VEHICLE_SIZES[kind, 3]
    count = int(length / SAMPLE_M) + 1
    layer = _PEOPLE if IS_PERSON[kind] else _VEHICLES
    for number in range(count + 1):
        along = length * number / count - rear
        x = pose[0] + math.cos(pose[2]) * along - ego[0]
        y = pose[1] + math.sin(pose[2]) * along - ego[1]
        row = math.floor((cosine * x + sine * y - _REAR_M) / _LENGTH_M)
        column = math.floor((cosine * y - sine * x - _RIGHT_M) / _WIDTH_M)
        if 0 <= row < _ROWS and 0 <= column < _COLUMNS:
            grid[layer, row, column] = 1


@device
def _draw(world, scene, grids, b):
    grid, ego = grids[b], scene.ego_pose[b]
    for layer in range(_ROAD):
        for row in range(_ROWS):
            for column in range(_COLUMNS):
                grid[layer, row, column] = 0
    _mark_road(world, scene.town[b], ego, grid)
    for i in range(scene.agent_kind.shape[1]):
        if scene.agent_kind[b, i] != _NONE:
            _mark_user(ego, scene.agent_pose[b, i], scene.agent_kind[b, i], grid)


@njit(cache=True, parallel=True)
def _draw_all(world, scene, grids):
    for number in prange(grids.shape[0]):
        _draw(world, scene, grids, np.int64(number))


def birds_eye(world: World, scene: Scene) -> UInt8[np.ndarray, "B 3 16 24"]:
    """1 where there is something of a BirdsEyeLayer, else 0; rows lead ahead, columns to the left.

    The grid lies around the ego pose as BIRDS_EYE_ORIGIN_M and BIRDS_EYE_CELL_M say; people and vehicles are the
    SCENE_AGENTS nearest, seen by a camera or hidden.
    """
    grids = np.empty((len(scene.town), *BIRDS_EYE_SHAPE), np.uint8)
    _draw_all(world, Scene(*map(np.ascontiguousarray, scene)), grids)
    return grids
