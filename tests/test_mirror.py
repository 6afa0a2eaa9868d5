"""The world in a mirror: a mirrored rig's pictures are the flipped ones; twice mirrored is not mirrored."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camera_scenes import EGO_X_M, empty_scene, nominal
from fleetloop.core.labels import empty_labels
from fleetloop.core.types import (
    BIRDS_EYE_CELLS,
    NAVIGATION_VALUES,
    AgentKind,
    BirdsEyeLayer,
    CameraRig,
    Observation,
)
from fleetloop.policy.export import export_onnx
from fleetloop.policy.memory import MEMORY_DELAY_STEPS
from fleetloop.policy.mirror import MirroredDriver, mirrored_observation, mirrored_rig
from fleetloop.policy.network import NetworkConfig, build_network
from fleetloop.policy.runtime import OnnxDriver
from fleetloop.sim.birds_eye import birds_eye
from fleetloop.sim.cameras import DEFAULT_RIG, render
from fleetloop.train.batch import Batch
from fleetloop.train.batches import BatchConfig, BatchSource, Moments, empty_moments
from fleetloop.train.mirror import mirrored_batch
from toy_world import toy_world


def made_up(seed: int, count: int = 3) -> Batch:
    random = np.random.default_rng(seed)
    labels = empty_labels(count)._replace(
        curvature_1pm=random.normal(size=count).astype(np.float32),
        poses=random.normal(size=(count, 8, 3)).astype(np.float32),
        lead_gap_m=random.uniform(0, 60, count).astype(np.float32),
    )
    images = tuple(
        random.integers(0, 256, (count, len(group), 8, 12, 3), dtype=np.uint8) for group in DEFAULT_RIG.groups
    )
    return Batch(
        observation=Observation(
            images=images,
            ego_history=random.normal(size=(count, 8, 4)).astype(np.float32),
            navigation=random.normal(size=(count, NAVIGATION_VALUES)).astype(np.float32),
            time_of_day_h=random.uniform(0, 24, count).astype(np.float32),
        ),
        rig=DEFAULT_RIG,
        earlier_images=images[0].copy(),
        earlier_valid=random.random(count) < 0.5,
        labels=labels,
        birds_eye=random.integers(0, 2, (count, len(BirdsEyeLayer), *BIRDS_EYE_CELLS)).astype(np.uint8),
        weight=np.ones(count, np.float32),
    )


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_twice_mirrored_is_not_mirrored(seed: int):
    batch = made_up(seed)
    once, twice = mirrored_batch(batch), mirrored_batch(mirrored_batch(batch))
    assert twice.rig == batch.rig and once.rig != batch.rig
    for before, after, other in zip(
        (
            *batch.observation.images,
            batch.observation.navigation,
            batch.observation.ego_history,
            *batch.labels,
        ),
        (
            *twice.observation.images,
            twice.observation.navigation,
            twice.observation.ego_history,
            *twice.labels,
        ),
        (*once.observation.images, once.observation.navigation, once.observation.ego_history, *once.labels),
        strict=True,
    ):
        assert np.array_equal(before, after, equal_nan=before.dtype.kind == "f")
        assert other.shape == before.shape and other.dtype == before.dtype
    assert np.array_equal(once.labels.curvature_1pm, -batch.labels.curvature_1pm)
    assert np.array_equal(once.labels.lead_gap_m, batch.labels.lead_gap_m)
    assert np.array_equal(
        once.observation.navigation[:, [0, 2, 3, 5]], batch.observation.navigation[:, [0, 2, 3, 5]]
    )
    assert np.array_equal(once.birds_eye[:, :, :, 0], batch.birds_eye[:, :, :, -1])


def somebody_at(left_m: float, turned: float) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Which pixels a lorry covers that stands before the car and to its left, of every camera; the grid's vehicles."""
    world, nobody = toy_world(), empty_scene((EGO_X_M, 0.0, 0.0))
    scene = empty_scene((EGO_X_M, 0.0, 0.0))
    scene.agent_pose[0, 0] = EGO_X_M + 9.0, left_m, turned
    scene.agent_kind[0, 0] = AgentKind.TRUCK
    rig = DEFAULT_RIG if left_m > 0.0 else mirrored_rig(DEFAULT_RIG)
    pairs = zip(render(world, rig, scene, nominal(1)), render(world, rig, nobody, nominal(1)), strict=True)
    covered = tuple(np.any(np.abs(seen[0].astype(int) - empty[0]) > 4, axis=-1) for seen, empty in pairs)
    return covered, birds_eye(world, scene)[0, BirdsEyeLayer.VEHICLES]


@pytest.mark.parametrize("left_m", [4.0, 7.0])
def test_a_mirrored_camera_sees_the_mirrored_world_flipped(left_m: float):
    """The road is the same on either side of its middle, so a lorry on the other side is the world in a mirror."""
    (seen, grid), (mirrored, mirrored_grid) = somebody_at(left_m, 0.5), somebody_at(-left_m, -0.5)
    looked = 0
    for group, other in zip(seen, mirrored, strict=True):
        for camera, expected in zip(group, other, strict=True):
            if camera.sum() < 20:
                continue
            looked += 1
            union = (camera[:, ::-1] | expected).sum()
            assert (camera[:, ::-1] & expected).sum() > 0.85 * union
    assert looked >= 2
    assert grid.any() and np.array_equal(grid[:, ::-1], mirrored_grid)


def moments() -> Moments:
    """Four on the main road; the hint's first angle is their number."""
    made = empty_moments(4)
    made.scene["ego_pose"] = (EGO_X_M, -1.75, 0.0)
    made.scene["agent_kind"] = AgentKind.NONE
    made.navigation[:, 1] = 1.0 + np.arange(4)
    made.weight[:] = 1.0, 1.0, 2.0, 4.0
    return made


def test_a_batch_is_mirrored_as_a_whole_and_as_often_as_its_samples_weigh():
    rig = CameraRig((tuple(replace(camera, width=32, height=16) for camera in DEFAULT_RIG.groups[0][:2]),))
    source = BatchSource(
        *(moments(), toy_world(), rig, BatchConfig(batch_size=8, memory=False), 0),
        mirrored=np.array([False, True, False, True]),
    )
    count, mirrored = 200, 0
    for number in range(count):
        angles = source.batch(number).observation.navigation[:, 1]
        assert set(angles) <= {1.0, 3.0} or set(angles) <= {-2.0, -4.0}
        mirrored += bool(angles[0] < 0.0)
    # Five standard deviations.
    assert abs(mirrored / count - 5.0 / 8.0) < 5.0 * math.sqrt(5.0 / 8.0 * 3.0 / 8.0 / count)


def test_a_mirrored_driver_does_in_a_mirror_what_the_driver_does(tmp_path: Path):
    torch.manual_seed(3)
    rig = CameraRig(tuple(group[:2] for group in DEFAULT_RIG.groups))
    network = build_network(NetworkConfig(), rig)
    torch.nn.init.normal_(network.heads.linear.weight, std=0.05)
    export_onnx(network, tmp_path / "network.onnx")
    driver = OnnxDriver(tmp_path / "network.onnx", rig, 2)
    in_mirror = MirroredDriver(tmp_path / "network.onnx", mirrored_rig(rig), 2)
    for seed in range(MEMORY_DELAY_STEPS + 2):
        random = np.random.default_rng(seed)
        shapes = [(2, 2, group[0].height, group[0].width, 3) for group in rig.groups]
        seen = Observation(
            images=tuple(random.integers(0, 256, shape, dtype=np.uint8) for shape in shapes),
            ego_history=random.normal(size=(2, 8, 4)).astype(np.float32),
            navigation=random.uniform(1, 3, size=(2, NAVIGATION_VALUES)).astype(np.float32),
            time_of_day_h=random.uniform(0, 24, 2).astype(np.float32),
        )
        plan, other = driver.plan(seen), in_mirror.plan(mirrored_observation(seen))
        np.testing.assert_allclose(other.curvature_1pm, -plan.curvature_1pm, atol=1e-6)
        np.testing.assert_allclose(other.acceleration_mps2, plan.acceleration_mps2, atol=1e-5)
        np.testing.assert_allclose(other.poses_in_ego, plan.poses_in_ego * [1, -1, -1], atol=1e-4)
        assert np.abs(plan.curvature_1pm).max() > 1e-5 and driver.readings and in_mirror.readings
        grid = driver.readings.birds_eye
        np.testing.assert_allclose(in_mirror.readings.birds_eye, grid[..., ::-1], atol=1e-5)
        assert not np.allclose(grid, grid[..., ::-1], atol=1e-3)
