"""Who is seen in which cell, against a reference that projects points one by one; the mirror and the loss."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camera_scenes import EGO_X_M, empty_scene
from fleetloop.core.pinhole import camera_axes, focal_length_px
from fleetloop.core.types import (
    BOX_CELL_M,
    SCENE_AGENTS,
    VEHICLE_SIZES,
    AgentKind,
    Camera,
    Scene,
    SightingLayer,
)
from fleetloop.policy.encoder import FIRST_CENTRE_PX, STRIDE, cell_count
from fleetloop.sim.cameras import DEFAULT_RIG
from fleetloop.sim.cameras.project import project
from fleetloop.sim.sightings import sightings
from fleetloop.train.losses import sightings_loss
from toy_world import toy_world

KINDS = [kind for kind in AgentKind if kind != AgentKind.NONE]
PEOPLE = (AgentKind.CYCLIST, AgentKind.PEDESTRIAN, AgentKind.CHILD)


def made_up(seed: int, count: int = 2) -> Scene:
    random = np.random.default_rng(seed)
    scene = empty_scene(
        *((float(x), float(-x), float(yaw)) for x, yaw in random.normal(size=(count, 2)) * 3.0)
    )
    scene.agent_pose[:] = random.normal(size=(count, SCENE_AGENTS, 3)) * [25.0, 25.0, 3.0]
    scene.agent_kind[:] = random.choice([*KINDS, AgentKind.NONE], (count, SCENE_AGENTS))
    return scene


def cells_of(found: np.ndarray) -> dict[str, np.ndarray]:
    """Those of each camera of the default rig, by row and column."""
    ends = np.cumsum([cell_count(camera) for camera in DEFAULT_RIG.cameras])
    parts = np.split(found, ends[:-1])
    return {
        camera.name: part.reshape(camera.height // STRIDE, camera.width // STRIDE, -1)
        for camera, part in zip(DEFAULT_RIG.cameras, parts, strict=True)
    }


def reference(camera: Camera, scene: Scene, b: int) -> np.ndarray:
    rows, columns = camera.height // STRIDE, camera.width // STRIDE
    cells = np.zeros((rows, columns, len(SightingLayer)))
    x, y, yaw = scene.ego_pose[b].astype(float)
    for pose, kind in zip(scene.agent_pose[b].astype(float), scene.agent_kind[b], strict=True):
        if kind == AgentKind.NONE:
            continue
        length, _, height, rear = VEHICLE_SIZES[kind].astype(float)
        for along in np.linspace(-rear, length - rear, int(length) + 2):
            dx = pose[0] + along * np.cos(pose[2]) - x
            dy = pose[1] + along * np.sin(pose[2]) - y
            point = np.array(
                [np.cos(yaw) * dx + np.sin(yaw) * dy, np.cos(yaw) * dy - np.sin(yaw) * dx, height / 2]
            )
            pixels, in_sight = project(camera, point[None])
            depth = (point - camera.position_in_ego) @ camera_axes(camera)[2]
            if not in_sight[0] or focal_length_px(camera) * height < 1.5 * depth:
                continue
            column, row = (
                np.round((pixels[0] - FIRST_CENTRE_PX) / STRIDE).clip(0, [columns - 1, rows - 1]).astype(int)
            )
            cells[row, column, SightingLayer.PERSON if kind in PEOPLE else SightingLayer.VEHICLE] = 1.0
    return cells


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_as_points_projected_one_by_one(seed: int):
    scene = made_up(seed)
    world = toy_world()
    # The reference knows no walls.
    world = world._replace(cell_start=np.zeros_like(world.cell_start))
    found = sightings(world, DEFAULT_RIG, scene, STRIDE, FIRST_CENTRE_PX)
    differing = 0
    for b in range(len(scene.town)):
        pictures = cells_of(found[b])
        for camera in DEFAULT_RIG.cameras:
            differing += int((pictures[camera.name] != reference(camera, scene, b)).any(axis=-1).sum())
    # Points on the border of two cells, or at the smallest size, may fall either way.
    assert differing <= 0.02 * found[..., 0].size


def test_a_car_ahead_is_in_the_middle_and_one_behind_in_the_rear_camera():
    scene = empty_scene((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    scene.agent_kind[:, 0] = AgentKind.CAR
    scene.agent_pose[0, 0], scene.agent_pose[1, 0] = (20.0, 0.0, 0.0), (-20.0, 0.0, 0.0)
    found = sightings(toy_world(), DEFAULT_RIG, scene, STRIDE, FIRST_CENTRE_PX)
    seen: list[set[str]] = []
    for cells in found:
        pictures = cells_of(cells)
        seen.append({name for name, picture in pictures.items() if picture[..., SightingLayer.VEHICLE].any()})
    assert {camera.name for camera in DEFAULT_RIG.groups[0]} == seen[0]
    assert seen[1] and not seen[0] & seen[1]


@pytest.mark.parametrize(
    "half_height, height, hidden", [(4.0, 4.0, True), (0.3, 0.3, False), (0.3, 6.0, False)]
)
def test_who_stands_behind_a_wall_is_not_seen(half_height: float, height: float, hidden: bool):
    """A building hides a car; a kerb and the arm of a signal do not."""
    toy = toy_world()
    ego = (EGO_X_M, -1.75, 0.0)
    wall = np.array([[EGO_X_M + 12.0, -1.75, height, 0.3, 2.0, 6.0, half_height, 90, 90, 90]], np.float32)
    column, row = np.floor((wall[0, :2] - toy.town_origin_m[0]) / BOX_CELL_M).astype(int)
    start = np.zeros_like(toy.cell_start)
    start[toy.town_first_cell[0] + row * toy.town_cells_shape[0, 1] + column + 1 :] = 1
    walled = toy._replace(cell_start=start, boxes=wall)
    scene = empty_scene(ego, ego)
    scene.agent_kind[:, 0] = AgentKind.CAR
    scene.agent_pose[0, 0] = EGO_X_M + 25.0, -1.75, 0.0
    scene.agent_pose[1, 0] = EGO_X_M - 18.0, -1.75, 0.0
    ahead, behind = sightings(walled, DEFAULT_RIG, scene, STRIDE, FIRST_CENTRE_PX)[..., SightingLayer.VEHICLE]
    assert ahead.any() != hidden and behind.any()


def test_the_loss_wants_what_is_there_and_leaves_out_what_is_not_known():
    truth = torch.zeros(2, 4, len(SightingLayer))
    truth[0, 2, SightingLayer.VEHICLE] = 1.0
    right = (truth - 0.5) * 40.0
    assert sightings_loss(right, truth).max() < 1e-6
    wrong = right.clone()
    wrong[0, 2, SightingLayer.VEHICLE] = -5.0
    assert sightings_loss(wrong, truth)[0] > 1.0 and sightings_loss(wrong, truth)[1] < 1e-6
    wrong.requires_grad_()
    loss = sightings_loss(wrong, torch.full_like(truth, torch.nan))
    loss.sum().backward()
    assert loss.abs().max() == 0.0 and wrong.grad is not None
    assert torch.isfinite(wrong.grad).all() and not wrong.grad.any()


def test_what_overlooks_a_person_costs_more_than_what_overlooks_a_vehicle():
    truth, logits = torch.eye(2)[:, None], torch.full((2, 1, 2), -3.0)
    vehicle, person = sightings_loss(logits, truth)
    assert person > 1.5 * vehicle
