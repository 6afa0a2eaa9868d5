"""Lost cameras and broken ego states: found, blacked out, counted; healthy ones are not touched."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.core.errors import InputError
from fleetloop.core.types import NAVIGATION_VALUES, STEP_S, Camera, CameraRig, Observation
from fleetloop.safety.inputs import InputConfig, InputMonitor, compare_pictures
from fleetloop.safety.watchdog import Fault

RIG = CameraRig(
    groups=(
        tuple(Camera(f"forward-{i}", (1.5, 0.0, 1.4), 0.1 * i, 0.0, 1.2, 32, 16) for i in range(3)),
        (Camera("rear", (0.0, 0.0, 1.4), 3.14, 0.0, 1.2, 16, 16),),
    )
)
CONFIG = InputConfig()
ACTIVE = np.ones(2, bool)


def observation(number: int, speed: float = 8.0) -> Observation:
    """Noise, different in each step."""
    random = np.random.default_rng(number)
    images = (
        random.integers(0, 256, (2, 3, 16, 32, 3), np.uint8),
        random.integers(0, 256, (2, 1, 16, 16, 3), np.uint8),
    )
    history = np.zeros((2, 8, 4), np.float32)
    history[:, :, 0] = speed
    return Observation(images, history, np.zeros((2, NAVIGATION_VALUES), np.float32), np.zeros(2, np.float32))


def watched(change, steps: int = CONFIG.blind_steps, speed: float = 8.0) -> tuple[InputMonitor, Observation]:
    """The monitor after one healthy step and `steps` changed ones, and what it let through last."""
    monitor = InputMonitor(2, RIG)
    passed = monitor.check(observation(0, speed), ACTIVE)
    for number in range(1, steps + 1):
        seen = observation(number, speed)
        change(seen)
        passed = monitor.check(seen, ACTIVE)
    return monitor, passed


def test_healthy_input_is_passed_on_as_it_is():
    monitor, seen = InputMonitor(2, RIG), observation(1)
    for number in range(10):
        seen = observation(number)
        assert monitor.check(seen, ACTIVE) is seen
    assert not monitor.lost.any() and not monitor.faults.any()


@pytest.mark.parametrize("level", [0, 255])
def test_a_camera_that_shows_nothing_is_lost_after_half_a_second_and_reads_black(level: int):
    def cover(seen: Observation) -> None:
        seen.images[1][1, 0] = level

    early, _ = watched(cover, CONFIG.blind_steps - 1)
    assert not early.lost.any()
    monitor, passed = watched(cover)
    assert monitor.lost.tolist() == [[False] * 4, [False, False, False, True]]
    assert monitor.began.tolist() == monitor.lost.tolist()
    assert not passed.images[1][1, 0].any() and passed.images[0].any()
    assert not monitor.faults.any()


def test_a_picture_of_one_colour_may_be_a_bus_beside_the_car_but_not_for_long():
    def cover(seen: Observation) -> None:
        seen.images[1][1, 0] = (128, 40, 30)

    steps = round(CONFIG.one_colour_m / (8.0 * STEP_S))
    assert not watched(cover, steps - 1)[0].lost.any()
    assert watched(cover, steps + 1)[0].lost.tolist() == [[False] * 4, [False, False, False, True]]
    assert not watched(cover, 10 * steps, speed=0.0)[0].lost.any()
    monitor, _ = watched(cover, steps - 1)
    monitor.check(observation(50), ACTIVE)
    seen = observation(51)
    cover(seen)
    monitor.check(seen, ACTIVE)
    assert not monitor.lost.any(), "what was seen in between counts"


def test_a_picture_that_stands_still_while_the_car_moves_is_lost():
    still = observation(99).images[0][0, 1].copy()

    def freeze(seen: Observation) -> None:
        seen.images[0][0, 1] = still

    steps = math.ceil(CONFIG.unchanged_m / (8.0 * STEP_S))
    assert not watched(freeze, steps)[0].lost.any(), "plain asphalt is the same for some metres"
    assert watched(freeze, steps + 1)[0].lost[0].tolist() == [False, True, False, False]
    assert not watched(freeze, 10 * steps, speed=0.0)[0].lost.any()


def test_more_lost_forward_cameras_than_may_be_stop_the_vehicle():
    def cover(seen: Observation) -> None:
        seen.images[0][0, :2] = 0
        seen.images[0][1, :1] = 0

    monitor, _ = watched(cover)
    assert monitor.faults.tolist() == [Fault.CAMERAS, Fault.NONE]


def test_a_camera_that_sees_again_is_not_lost():
    def cover(seen: Observation) -> None:
        seen.images[0][0, :2] = 0

    monitor, _ = watched(cover)
    monitor.check(observation(50), ACTIVE)
    assert not monitor.lost.any() and not monitor.faults.any()


def test_an_ego_state_of_nan_is_a_fault_of_that_vehicle():
    monitor, seen = InputMonitor(2, RIG), observation(0)
    seen.ego_history[1, 3, 2] = np.nan
    monitor.check(seen, ACTIVE)
    assert monitor.faults.tolist() == [Fault.NONE, Fault.EGO_STATE]
    monitor.check(seen, np.array([True, False]))
    assert not monitor.faults.any()
    monitor.check(replace(seen, images=()), ACTIVE)
    assert monitor.faults.tolist() == [Fault.NONE, Fault.EGO_STATE]


def test_a_vehicle_that_was_put_elsewhere_begins_anew():
    def cover(seen: Observation) -> None:
        seen.images[0][:, :2] = 0

    monitor, _ = watched(cover)
    monitor.forget(np.array([True, False]))
    assert monitor.lost.any(axis=1).tolist() == [False, True]


@pytest.mark.parametrize(
    "change",
    [
        lambda images: images[:1],
        lambda images: (images[0][:, :2], images[1]),
        lambda images: (images[0][:, :, :8], images[1]),
        lambda images: (images[0][:1], images[1]),
        lambda images: (images[0].astype(np.float32), images[1]),
        lambda images: (images[0][..., 0], images[1]),
        lambda images: (images[1], images[0]),
    ],
    ids=["group", "camera", "height", "vehicles", "type", "grey", "order"],
)
def test_pictures_of_another_rig_are_refused_in_one_sentence(change):
    monitor, seen = InputMonitor(2, RIG), observation(1)
    monitor.check(observation(0), ACTIVE)
    with pytest.raises(InputError, match=r"observation\.images.*(black|scale)") as refused:
        monitor.check(replace(seen, images=change(seen.images)), ACTIVE)
    assert str(refused.value).count("\n") == 0
    assert monitor.check(seen, ACTIVE) is seen, "what follows is looked at as before"


def test_unknown_way_and_time_are_counted_and_logged_once(caplog: pytest.LogCaptureFixture):
    monitor = InputMonitor(2, RIG)
    for number in range(3):
        seen = observation(number)
        seen.navigation[0, 1], seen.time_of_day_h[:] = np.nan, np.inf
        monitor.check(seen, np.array([True, number > 0]))
    assert monitor.unknown_steps == {"navigation": 3, "time_of_day_h": 5}
    assert not monitor.faults.any() and not monitor.lost.any()
    assert len(caplog.records) == 2 and all("not finite" in record.message for record in caplog.records)


@pytest.mark.parametrize("field", ["ego_history", "navigation", "time_of_day_h"])
def test_measurements_of_another_shape_or_type_are_refused_by_name(field: str):
    seen = observation(1)
    for wrong in (
        getattr(seen, field)[:1],
        getattr(seen, field)[..., None],
        getattr(seen, field).astype(str),
    ):
        with pytest.raises(InputError, match=rf"observation\.{field}: "):
            InputMonitor(2, RIG).check(replace(seen, **{field: wrong}), ACTIVE)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_pictures_are_compared_as_by_numpy(height: int, width: int, seed: int):
    random = np.random.default_rng(seed)
    images = random.integers(100, 103, (2, 3, height, width, 3), np.uint8)
    last = np.ascontiguousarray(images[:, :, ::2, ::2])
    last[1] = random.integers(100, 103, last[1].shape)
    seen = images[:, :, ::2, ::2].astype(int)
    expected = (seen == last).all(axis=(2, 3, 4))
    levels, extremes, same = compare_pictures(images, last)
    assert np.array_equal(same, expected) and np.array_equal(last, seen)
    assert np.array_equal(levels, (seen.max(axis=(2, 3)) - seen.min(axis=(2, 3))).max(axis=-1))
    assert np.array_equal(extremes, np.stack([seen.min(axis=(2, 3, 4)), seen.max(axis=(2, 3, 4))], axis=-1))
