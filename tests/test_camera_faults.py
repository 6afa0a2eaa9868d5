"""Exposure and noise of cameras, put on pictures after they are drawn."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.train.camera_faults import add_camera_faults

SHAPE = (3, 2, 16, 24, 3)


def pictures(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, SHAPE, dtype=np.uint8)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.floats(0.5, 2.0))
def test_exposure_is_a_factor_that_saturates(seed: int, factor: float):
    images, seeds = pictures(seed), np.arange(3, dtype=np.uint64)
    exposure = np.full((3, 2), factor)
    exposure[1, 1] = 1.0
    expected = np.minimum(images * exposure[:, :, None, None, None], 255.0)
    changed = images.copy()
    add_camera_faults(changed, exposure, np.zeros((3, 2)), seeds)
    assert np.array_equal(changed[1, 1], images[1, 1])
    assert np.abs(changed - expected).max() <= 1.0


def test_noise_has_its_spread_and_depends_on_its_seed_alone():
    grey, seeds = np.full((4, 2, 96, 64, 3), 120, np.uint8), np.array([1, 2, 3, 1], np.uint64)
    levels = np.array([[4.0, 0.0], [8.0, 2.0], [4.0, 4.0], [4.0, 0.0]])
    once, again = grey.copy(), grey.copy()
    add_camera_faults(once, np.ones((4, 2)), levels, seeds)
    add_camera_faults(again, np.ones((4, 2)), levels, seeds)
    assert np.array_equal(once, again)
    noise = once.astype(float) - 120.0
    assert np.abs(noise.std(axis=(2, 3, 4)) - levels).max() < 0.3
    assert np.abs(noise.mean(axis=(2, 3, 4))).max() < 0.3
    assert np.array_equal(once[0], once[3]), "same seed, same noise: whatever the row"
    assert abs(np.corrcoef(noise[0, 0].ravel(), noise[2, 0].ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(noise[2, 0].ravel(), noise[2, 1].ravel())[0, 1]) < 0.05
