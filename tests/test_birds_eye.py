"""What is where around the car, against a reference that looks at every cell and every road user in turn."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.core.types import (
    BIRDS_EYE_CELL_M,
    BIRDS_EYE_CELLS,
    BIRDS_EYE_ORIGIN_M,
    METRES_PER_PIXEL,
    SCENE_AGENTS,
    TILE_PIXELS,
    VEHICLE_SIZES,
    AgentKind,
    BirdsEyeLayer,
    Scene,
    Surface,
    World,
)
from fleetloop.sim.birds_eye import birds_eye
from toy_world import toy_world

PEOPLE = (AgentKind.CYCLIST, AgentKind.PEDESTRIAN, AgentKind.CHILD)
UNPAVED = (Surface.GRASS, Surface.SIDEWALK, Surface.CURB)


def scene_of(ego: np.ndarray, pose: np.ndarray, kind: np.ndarray) -> Scene:
    count = len(ego)
    nothing = np.zeros((count, SCENE_AGENTS), np.uint8)
    return Scene(
        np.zeros(count, np.int32), np.zeros(count, np.float32), ego, pose, kind, nothing, nothing
    )  # fmt: skip


def picture_of(world: World) -> np.ndarray:
    """The ground of the first town, its tiles put together."""
    rows, columns = world.town_tiles_shape[0]
    index = world.tile_index[world.town_first_tile[0] :][: rows * columns].reshape(rows, columns)
    picture = np.block([[world.tiles[tile] for tile in line] for line in index])
    assert picture.shape == (rows * TILE_PIXELS, columns * TILE_PIXELS)
    return picture


def ground(world: World, picture: np.ndarray, x: float, y: float) -> int:
    """The surface of the first town at a point."""
    column = math.floor((np.float32(x) - world.town_origin_m[0, 0]) / METRES_PER_PIXEL)
    row = math.floor((np.float32(y) - world.town_origin_m[0, 1]) / METRES_PER_PIXEL)
    inside = 0 <= row < len(picture) and 0 <= column < len(picture[0])
    return int(picture[row, column]) if inside else int(Surface.GRASS)


def test_the_road_is_where_the_ground_says():
    world = toy_world()
    picture = picture_of(world)
    x, y = world.points[len(world.points) // 2]
    for yaw in (0.0, 1.3):
        ego = np.array([[x, y, yaw]], np.float32)
        nobody = np.full((1, SCENE_AGENTS), int(AgentKind.NONE), np.uint8)
        grid = birds_eye(world, scene_of(ego, np.zeros((1, SCENE_AGENTS, 3), np.float32), nobody))[0]
        assert not grid[: BirdsEyeLayer.ROAD].any()
        road = grid[BirdsEyeLayer.ROAD]
        assert 0.02 < road.mean() < 0.98
        agree = 0
        for row in range(BIRDS_EYE_CELLS[0]):
            for column in range(BIRDS_EYE_CELLS[1]):
                ahead = BIRDS_EYE_ORIGIN_M[0] + (row + 0.5) * BIRDS_EYE_CELL_M[0]
                left = BIRDS_EYE_ORIGIN_M[1] + (column + 0.5) * BIRDS_EYE_CELL_M[1]
                there = ground(
                    world,
                    picture,
                    x + math.cos(yaw) * ahead - math.sin(yaw) * left,
                    y + math.sin(yaw) * ahead + math.cos(yaw) * left,
                )
                agree += road[row, column] == (there not in UNPAVED)
        # float32 may put a point on the other side of a pixel's edge.
        assert agree >= road.size - 3


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_road_users_are_where_they_are(seed: int):
    random = np.random.default_rng(seed)
    ego = np.concatenate([random.uniform(-20, 20, (2, 2)), random.uniform(-4, 4, (2, 1))], 1).astype(
        np.float32
    )
    pose = random.uniform(-60, 60, (2, SCENE_AGENTS, 3)).astype(np.float32)
    kinds = np.array([*range(10), int(AgentKind.NONE)], np.uint8)
    kind = random.choice(kinds, (2, SCENE_AGENTS))
    grids = birds_eye(toy_world(), scene_of(ego, pose, kind))
    for grid, me, poses, of in zip(grids, ego, pose, kind, strict=True):
        expected = np.zeros_like(grid[: BirdsEyeLayer.ROAD])
        near = np.zeros_like(expected)
        for (x, y, yaw), k in zip(poses, of, strict=True):
            if k == AgentKind.NONE:
                continue
            layer = BirdsEyeLayer.PEOPLE if k in PEOPLE else BirdsEyeLayer.VEHICLES
            length, rear = VEHICLE_SIZES[k, 0], VEHICLE_SIZES[k, 3]
            for along in np.linspace(-rear, length - rear, int(length) + 2):
                dx, dy = x + math.cos(yaw) * along - me[0], y + math.sin(yaw) * along - me[1]
                place = (
                    (math.cos(me[2]) * dx + math.sin(me[2]) * dy - BIRDS_EYE_ORIGIN_M[0])
                    / BIRDS_EYE_CELL_M[0],
                    (math.cos(me[2]) * dy - math.sin(me[2]) * dx - BIRDS_EYE_ORIGIN_M[1])
                    / BIRDS_EYE_CELL_M[1],
                )
                for tolerance, marks in ((0.0, expected), (1e-3, near), (-1e-3, near)):
                    row, column = (math.floor(value + tolerance) for value in place)
                    if 0 <= row < BIRDS_EYE_CELLS[0] and 0 <= column < BIRDS_EYE_CELLS[1]:
                        marks[layer, row, column] = 1
        differs = grid[: BirdsEyeLayer.ROAD] != expected
        assert not (differs & (near == 0)).any() and differs.sum() <= 2
