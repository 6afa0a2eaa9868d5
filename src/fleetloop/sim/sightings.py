"""Who is seen where in each picture, cell by cell: what the network learns to find before it learns to drive."""

import math

import numpy as np
from jaxtyping import Float32
from numba import njit, prange

from fleetloop.core.kernels import device
from fleetloop.core.pinhole import camera_axes, focal_length_px
from fleetloop.core.types import (
    BOX_CELL_M,
    VEHICLE_SIZES,
    AgentKind,
    Camera,
    CameraRig,
    Scene,
    SightingLayer,
    World,
)
from fleetloop.sim.birds_eye import IS_PERSON, SAMPLE_M
from fleetloop.sim.cameras.project import NEAR_M

_NONE = int(AgentKind.NONE)
_VEHICLE, _PERSON = (int(layer) for layer in SightingLayer)
_SMALLEST_PX = 1.5
"""Whose height fills fewer pixels cannot be made out."""
_WALL_RANGE_M = 70.0
"""Who stands behind a wall farther away than this fills few pixels."""
_WALL_HALF_M, _WALL_FOOT_M, _WALL_TOP_M = 1.5, 0.5, 1.6
"""Half the length, and the heights at which something begins at most and ends at least, that hides a car."""
_MOST_WALLS = 192
_EYE_M = 1.5
"""Ahead of the rear axle: whether somebody is hidden is told from there for all cameras."""


@device
def _gather_walls(world, town, ego, walls):
    """Fill `walls` with the middles, half sizes and headings of what hides people; returns how many there are."""
    rows, columns = world.town_cells_shape[town, 0], world.town_cells_shape[town, 1]
    x, y = ego[0] - world.town_origin_m[town, 0], ego[1] - world.town_origin_m[town, 1]
    first_row, last_row = (
        math.floor((y - _WALL_RANGE_M) / BOX_CELL_M),
        math.floor((y + _WALL_RANGE_M) / BOX_CELL_M),
    )
    first, last = math.floor((x - _WALL_RANGE_M) / BOX_CELL_M), math.floor((x + _WALL_RANGE_M) / BOX_CELL_M)
    count = 0
    for row in range(max(first_row, 0), min(last_row, rows - 1) + 1):
        for column in range(max(first, 0), min(last, columns - 1) + 1):
            cell = world.town_first_cell[town] + row * columns + column
            for index in range(world.cell_start[cell], world.cell_start[cell + 1]):
                box = world.boxes[index]
                stands = box[2] - box[6] < _WALL_FOOT_M and box[2] + box[6] > _WALL_TOP_M
                is_wall = stands and max(box[4], box[5]) > _WALL_HALF_M
                if is_wall and count < _MOST_WALLS:
                    walls[count, 0], walls[count, 1] = box[0], box[1]
                    walls[count, 2], walls[count, 3] = box[4], box[5]
                    walls[count, 4], walls[count, 5] = math.cos(box[3]), math.sin(box[3])
                    count += 1
    return count


@device
def _is_between(wall, ax, ay, bx, by):
    """Whether the straight line from a to b runs through a wall (its slabs, one after the other)."""
    begin, end = 0.0, 1.0
    dx, dy = bx - ax, by - ay
    for axis in range(2):
        cosine, sine = (wall[4], wall[5]) if axis == 0 else (-wall[5], wall[4])
        start = cosine * (ax - wall[0]) + sine * (ay - wall[1])
        step = cosine * dx + sine * dy
        if abs(step) < 1e-9:
            if abs(start) > wall[2 + axis]:
                return False
            continue
        near, far = (-wall[2 + axis] - start) / step, (wall[2 + axis] - start) / step
        if near > far:
            near, far = far, near
        begin, end = max(begin, near), min(end, far)
        if begin > end:
            return False
    return True


@device
def _is_hidden(ego, walls, count, x, y):
    """Whether a wall stands between the car and a point of the town."""
    ax, ay = ego[0] + _EYE_M * math.cos(ego[2]), ego[1] + _EYE_M * math.sin(ego[2])
    for index in range(count):  # noqa: SIM110 (kernels have no generators)
        if _is_between(walls[index], ax, ay, x, y):
            return True
    return False


@device
def _mark(camera, ego, point, height, layer, cell_px, first_px, cells):
    """The cell of a picture nearest to a point of a road user at half its height.

    camera: position in ego (3), axes (9), focal length, width and height in pixels, its first cell of all.
    """
    cosine, sine = math.cos(ego[2]), math.sin(ego[2])
    x, y = point[0] - ego[0], point[1] - ego[1]
    forward = cosine * x + sine * y - camera[0]
    left = cosine * y - sine * x - camera[1]
    up = 0.5 * height - camera[2]
    depth = camera[9] * forward + camera[10] * left + camera[11] * up
    if depth < NEAR_M or camera[12] * height < _SMALLEST_PX * depth:
        return
    right = camera[3] * forward + camera[4] * left + camera[5] * up
    down = camera[6] * forward + camera[7] * left + camera[8] * up
    column_px = camera[12] * right / depth + 0.5 * camera[13]
    row_px = camera[12] * down / depth + 0.5 * camera[14]
    if 0.0 <= row_px < camera[14] and 0.0 <= column_px < camera[13]:
        rows, columns = int(camera[14]) // cell_px, int(camera[13]) // cell_px
        row = min(max(round((row_px - first_px) / cell_px), 0), rows - 1)
        column = min(max(round((column_px - first_px) / cell_px), 0), columns - 1)
        cells[int(camera[15]) + row * columns + column, layer] = 1.0


@device
def _mark_scene(world, cameras, scene, b, cell_px, first_px, walls, cells):
    """All cameras of one moment: who is not hidden, along the centre lines of bodies."""
    ego = scene.ego_pose[b]
    count = _gather_walls(world, scene.town[b], ego, walls)
    for i in range(scene.agent_kind.shape[1]):
        kind = scene.agent_kind[b, i]
        if kind == _NONE:
            continue
        length, height, rear = VEHICLE_SIZES[kind, 0], VEHICLE_SIZES[kind, 2], VEHICLE_SIZES[kind, 3]
        layer, pose = _PERSON if IS_PERSON[kind] else _VEHICLE, scene.agent_pose[b, i]
        pieces = int(length / SAMPLE_M) + 1
        for number in range(pieces + 1):
            along = length * number / pieces - rear
            point = pose[0] + math.cos(pose[2]) * along, pose[1] + math.sin(pose[2]) * along
            if not _is_hidden(ego, walls, count, point[0], point[1]):
                for camera in range(len(cameras)):
                    _mark(cameras[camera], ego, point, height, layer, cell_px, first_px, cells)


@njit(cache=True, parallel=True)
def _mark_all(world, cameras, scene, cell_px, first_px, walls, cells):
    for index in prange(cells.shape[0]):
        b = np.int64(index)
        _mark_scene(world, cameras, scene, b, cell_px, first_px, walls[b], cells[b])


def _numbers(camera: Camera, first_cell: int) -> list[float]:
    """A camera as `_mark` reads it."""
    axes = camera_axes(camera).ravel().tolist()
    pixels = [focal_length_px(camera), camera.width, camera.height]
    return [*camera.position_in_ego, *axes, *pixels, first_cell]


def sightings(
    world: World, rig: CameraRig, scene: Scene, cell_px: int, first_px: float
) -> Float32[np.ndarray, "B cells 2"]:
    """What is in each cell of the pictures, camera by camera and row by row, by SightingLayer.

    The middles of cells are `cell_px` pixels apart, that of the first one `first_px` from the edge. Of the SCENE_AGENTS
    nearest road users those count that fill enough pixels and stand behind no wall; that others stand in front of them
    does not matter.
    """
    scene = Scene(*map(np.ascontiguousarray, scene))
    walls = np.empty((len(scene.town), _MOST_WALLS, 6))
    counts = [(camera.height // cell_px) * (camera.width // cell_px) for camera in rig.cameras]
    firsts = np.cumsum([0, *counts])
    cameras = np.array([_numbers(*camera) for camera in zip(rig.cameras, firsts[:-1].tolist(), strict=True)])
    cells = np.zeros((len(scene.town), firsts[-1], len(SightingLayer)), np.float32)
    _mark_all(world, cameras, scene, cell_px, first_px, walls, cells)
    return cells
