"""The pictures' geometry against MuJoCo's renderer."""

import importlib.util

import numpy as np
import pytest

from fleetloop.bench.cameras import CamerasSize
from fleetloop.bench.peer import PeerMissingError
from fleetloop.bench.peers import PeersSize, boxes_in_view, measure_highway, measure_mujoco
from fleetloop.bench.picture_geometry import (
    GeometrySize,
    compare_scene,
    measure_picture_geometry,
    our_masks,
    world_of_boxes,
)
from fleetloop.core.types import AgentKind
from fleetloop.sim.cameras.samples import benchmark_scene
from toy_world import toy_world

SIZE = GeometrySize(width=160, height=96, scenes=2, boxes=30)
needs_mujoco = pytest.mark.skipif(
    importlib.util.find_spec("mujoco") is None,
    reason="mujoco is not installed: pip install 'fleetloop[peers]'",
)
needs_highway = pytest.mark.skipif(
    importlib.util.find_spec("highway_env") is None,
    reason="highway-env is not installed: pip install 'fleetloop[peers]'",
)


@needs_mujoco
def test_masks_of_boxes_agree_with_mujoco() -> None:
    try:
        masks = [mask for number in range(2) for mask in compare_scene(toy_world(), SIZE, number)]
    except PeerMissingError as error:
        pytest.skip(str(error))
    overlaps = np.concatenate([mask.overlaps() for mask in masks])
    assert overlaps[:, 1].sum() > 10_000
    assert overlaps[:, 0].sum() / overlaps[:, 1].sum() >= 0.98
    large = overlaps[overlaps[:, 1] >= 100.0]
    assert len(large) > 10 and (large[:, 0] / large[:, 1]).min() >= 0.95


@needs_mujoco
def test_the_figure_is_the_same_in_every_run() -> None:
    try:
        first = measure_picture_geometry("picture-geometry", toy_world(), SIZE)
    except PeerMissingError as error:
        pytest.skip(str(error))
    assert first == measure_picture_geometry("picture-geometry", toy_world(), SIZE)
    assert first.details["intersection_over_union"] >= 0.98
    assert 0.0 <= first.value < 1.0 and first.unit == "%"


def test_every_pixel_belongs_to_one_box_at_most_and_near_boxes_hide_far_ones() -> None:
    boxes = np.array([[10.0, 0.5, 1.0, 0.3, 0.5, 0.5, 1.0], [20.0, 0.5, 2.0, 0.0, 0.5, 3.0, 2.0]])
    masks = our_masks(world_of_boxes(toy_world(), boxes), np.zeros(3), 96, 64)
    assert (masks.sum(axis=1) <= 1).all()
    # Camera 1 looks straight ahead: in its middle stands the near box, beside it the far one.
    assert masks[1, 0, 32, 47] and not masks[1, 1, 32, 47] and masks[1, 1].any()


def test_boxes_must_be_sorted_by_cell() -> None:
    boxes = np.array([[40.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0], [-40.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0]])
    with pytest.raises(ValueError, match="sorted by cell"):
        world_of_boxes(toy_world(), boxes)


def test_mujoco_is_given_what_stands_around_the_learner() -> None:
    world, scene = toy_world(), benchmark_scene(toy_world(), 1)
    boxes = boxes_in_view(world, scene, 0)
    others = int((scene.agent_kind[0] != AgentKind.NONE).sum())
    assert others < len(boxes) <= others + len(world.boxes)
    # Bodies stand on the ground.
    np.testing.assert_allclose(boxes[-others:, 2], boxes[-others:, 6])


@needs_mujoco
def test_mujoco_draws() -> None:
    size = PeersSize(cameras=CamerasSize(width=24, height=16), moments=1, renders=1, repeats=2)
    try:
        measurement = measure_mujoco("mujoco", toy_world(), size)
    except PeerMissingError as error:
        pytest.skip(str(error))
    assert measurement.value > 0.0 and measurement.details["boxes"] > 1


@needs_highway
def test_highway_env_counts_every_vehicle_in_every_step() -> None:
    measurement = measure_highway("highway", PeersSize(vehicles=5, decisions=1, repeats=2))
    assert measurement.value > 0.0 and "6 road users" in measurement.details["note"]
