"""Camera layouts: the named ones, and those that training makes up."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.core.errors import ConfigError
from fleetloop.sim.cameras import DEFAULT_RIG, RIGS, image_shapes, rig_named, varied_rig


def test_named_rigs_give_images_of_the_same_shapes():
    assert {name: image_shapes(rig, 2) for name, rig in RIGS.items()} == dict.fromkeys(
        RIGS, image_shapes(DEFAULT_RIG, 2)
    )
    assert rig_named("default") is DEFAULT_RIG
    assert rig_named("default", RIGS["shuttle"]) is RIGS["shuttle"], "the cameras that a network was made for"
    with pytest.raises(ConfigError, match="submarine"):
        rig_named("submarine")


@given(seed=st.integers(0, 2**32), variety=st.floats(0.0, 1.0))
@settings(max_examples=60, deadline=None)
def test_a_varied_rig_keeps_its_images_and_stays_within_bounds(seed: int, variety: float):
    rig = varied_rig(DEFAULT_RIG, np.random.default_rng(seed), variety)
    assert image_shapes(rig, 1) == image_shapes(DEFAULT_RIG, 1)
    for camera, known in zip(rig.cameras, DEFAULT_RIG.cameras, strict=True):
        moved = np.abs(np.subtract(camera.position_in_ego, known.position_in_ego))
        assert (moved <= variety * np.array([1.3, 0.3, 1.5]) + 1e-9).all() and camera.position_in_ego[
            2
        ] >= 0.4
        assert abs(camera.yaw - known.yaw) <= variety * math.radians(10.0) + 1e-9
        assert abs(camera.pitch - known.pitch) <= variety * math.radians(5.0 + 1.2 * 6.0) + 1e-9
        assert math.radians(20.0) < camera.horizontal_field_of_view <= math.radians(140.0)


def test_the_same_random_numbers_give_the_same_rig_and_none_change_nothing():
    rigs = [varied_rig(DEFAULT_RIG, np.random.default_rng(seed), 0.8) for seed in (1, 1, 2)]
    assert rigs[0] == rigs[1] != rigs[2]
    assert varied_rig(DEFAULT_RIG, np.random.default_rng(1), 0.0) is DEFAULT_RIG
