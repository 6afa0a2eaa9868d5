"""The last limits on a plan."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fleetloop.core.types import Plan
from fleetloop.safety.limits import Controls, limit_plan

STEP_S = 0.1


def plan_of(curvature: np.ndarray | list[float], acceleration: np.ndarray | list[float]) -> Plan:
    count = len(curvature)
    return Plan(
        curvature_1pm=np.array(curvature, np.float32),
        acceleration_mps2=np.array(acceleration, np.float32),
        poses_in_ego=np.zeros((count, 8, 3), np.float32),
        spread_m=np.zeros(count, np.float32),
    )


def controls_of(curvature: float, acceleration: float, count: int = 1) -> Controls:
    return Controls(np.full(count, curvature, np.float32), np.full(count, acceleration, np.float32))


def one(curvature: float, acceleration: float, speed: float, previous: Controls) -> tuple[float, float]:
    controls = limit_plan(plan_of([curvature], [acceleration]), np.array([speed]), previous, STEP_S)
    return float(controls.curvature_1pm[0]), float(controls.acceleration_mps2[0])


any_float = st.floats(width=32, allow_nan=True, allow_infinity=True)
vector = arrays.arrays(np.float32, 6, elements=any_float)


@given(vector, vector, vector, vector, vector)
@settings(max_examples=200, deadline=None)
def test_whatever_comes_in_the_limits_hold(
    wanted_curvature, wanted_acceleration, speed, curvature, acceleration
):
    """Property: any bits at all give finite controls within every bound."""
    previous = Controls(curvature, acceleration)
    controls = limit_plan(plan_of(wanted_curvature, wanted_acceleration), speed, previous, STEP_S)
    assert controls.curvature_1pm.dtype == np.float32 and controls.acceleration_mps2.dtype == np.float32
    assert np.isfinite(controls.curvature_1pm).all() and np.isfinite(controls.acceleration_mps2).all()
    assert (np.abs(controls.curvature_1pm) <= 0.2 + 1e-6).all()
    assert (controls.acceleration_mps2 >= -8.0).all() and (controls.acceleration_mps2 <= 4.0).all()
    known = np.where(np.isfinite(speed), np.abs(speed.astype(np.float64)), 20.0)
    lateral = known**2 * np.abs(controls.curvature_1pm)
    # At speeds beyond all reason the curvature is so small that float32 keeps few bits of it.
    rounding = known**2 * float(np.finfo(np.float32).smallest_subnormal)
    assert (lateral <= np.interp(known, [5.0, 10.0], [5.0, 3.0]) * (1 + 1e-5) + rounding).all()


@given(
    st.floats(-0.2, 0.2),
    st.floats(-8.0, 4.0),
    st.floats(0.0, 30.0),
    st.floats(-0.2, 0.2),
    st.floats(-8.0, 4.0),
)
@settings(max_examples=200, deadline=None)
def test_limits_do_not_change_what_is_within_them(
    curvature, acceleration, speed, last_curvature, last_acceleration
):
    """Property: applying the limits twice, from the same past, is applying them once."""
    previous = controls_of(last_curvature, last_acceleration)
    once = one(curvature, acceleration, speed, previous)
    assert one(*once, speed, previous) == pytest.approx(once, abs=1e-6)


def test_batch_is_row_by_row():
    random = np.random.default_rng(0)
    curvature, acceleration = random.normal(0, 0.1, 20), random.normal(0, 3, 20)
    speed = random.uniform(0, 20, 20)
    previous = Controls(
        random.normal(0, 0.05, 20).astype(np.float32), random.normal(0, 1, 20).astype(np.float32)
    )
    together = limit_plan(plan_of(curvature, acceleration), speed, previous, STEP_S)
    for i in range(20):
        alone = limit_plan(
            plan_of(curvature[i : i + 1], acceleration[i : i + 1]),
            speed[i : i + 1],
            Controls(previous.curvature_1pm[i : i + 1], previous.acceleration_mps2[i : i + 1]),
            STEP_S,
        )
        assert alone.curvature_1pm[0] == together.curvature_1pm[i]
        assert alone.acceleration_mps2[0] == together.acceleration_mps2[i]


@pytest.mark.parametrize("field", ["curvature_1pm", "acceleration_mps2", "poses_in_ego", "spread_m"])
def test_broken_plan_stops_in_lane(field: str):
    plan = plan_of([0.01, 0.01], [1.0, 1.0])
    getattr(plan, field)[0] = np.nan
    controls = limit_plan(plan, np.array([6.0, 6.0]), controls_of(0.02, 0.0, 2), STEP_S)
    assert controls.curvature_1pm[0] == np.float32(0.02)
    assert controls.acceleration_mps2[0] == -3.0
    assert controls.curvature_1pm[1] == np.float32(0.01) and controls.acceleration_mps2[1] > 0


def test_missing_plan_or_speed_stops_in_lane():
    for plan, speed in ((None, 6.0), (plan_of([0.1], [1.0]), np.nan)):
        controls = limit_plan(plan, np.array([speed]), controls_of(0.005, 0.5), STEP_S)
        assert controls.curvature_1pm[0] == np.float32(0.005) and controls.acceleration_mps2[0] == -3.0


def test_emergency_braking_is_never_delayed():
    assert one(0.0, -8.0, 12.0, controls_of(0.0, 2.0))[1] == -8.0
    assert one(0.0, -20.0, 12.0, controls_of(0.0, 2.0))[1] == -8.0


def test_accelerator_is_pressed_gently_and_brake_released_at_once():
    assert one(0.0, 3.0, 4.0, controls_of(0.0, 0.0))[1] == pytest.approx(0.5)
    assert one(0.0, 0.0, 4.0, controls_of(0.0, -6.0))[1] == 0.0
    assert one(0.0, 5.0, 25.0, controls_of(0.0, 3.0))[1] == 2.0


@pytest.mark.parametrize(("curvature", "speed"), [(0.2, 4.0), (-0.2, 5.0), (0.12, 5.0), (-0.15, 5.5)])
def test_urban_turns_are_possible(curvature: float, speed: float):
    """A right turn's curvature is reached within a second and then held."""
    previous = controls_of(0.0, 0.0)
    for _ in range(10):
        previous = limit_plan(plan_of([curvature], [0.0]), np.array([speed]), previous, STEP_S)
    assert previous.curvature_1pm[0] == pytest.approx(curvature, abs=1e-3)


def test_steering_is_gentle_when_fast():
    curvature, _ = one(0.2, 0.0, 20.0, controls_of(0.0, 0.0))
    assert curvature == pytest.approx(5.0 / 400.0 * STEP_S)
    too_fast, _ = one(0.1, 0.0, 20.0, controls_of(0.1, 0.0))
    assert too_fast == pytest.approx(3.0 / 400.0)


def test_controls_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        controls_of(0.0, 0.0).curvature_1pm = np.zeros(1)  # type: ignore[misc]
