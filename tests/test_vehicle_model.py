"""The learner's vehicle model against single-track models that others wrote."""

import importlib.util
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.bench import peer as peer_module
from fleetloop.bench.peer import PeerMissingError, peer
from fleetloop.bench.vehicle_model import (
    STEPS,
    Manoeuvre,
    bends,
    difference,
    dynamic_reference,
    kinematic_reference,
    manoeuvres,
    measure_vehicle_model,
    our_poses,
)
from fleetloop.core.types import STEP_S

needs_models = pytest.mark.skipif(
    importlib.util.find_spec("vehiclemodels") is None,
    reason="commonroad-vehicle-models is not installed: pip install 'fleetloop[peers]'",
)
WHEELBASE_M = 1.1561957064 + 1.4227170936
"""Of vehicle 2."""


@needs_models
@pytest.mark.parametrize("manoeuvre", manoeuvres(), ids=lambda manoeuvre: manoeuvre.name)
def test_town_manoeuvres_agree_with_the_kinematic_single_track_model(manoeuvre: Manoeuvre) -> None:
    apart = difference(our_poses(manoeuvre, WHEELBASE_M), kinematic_reference(manoeuvre))
    assert apart["worst_mm"] < 10.0 and apart["end_yaw_mrad"] < 0.2


@needs_models
@settings(max_examples=15, deadline=None)
@given(
    speed=st.floats(0.0, 14.0),
    seed=st.integers(0, 10**6),
    steering_rate=st.floats(0.0, 0.3),
    strongest=st.floats(0.0, 3.0),
)
def test_random_driving_agrees_with_the_kinematic_single_track_model(
    speed: float, seed: int, steering_rate: float, strongest: float
) -> None:
    generator = np.random.default_rng(seed)
    rates = generator.uniform(-steering_rate, steering_rate, STEPS)
    acceleration = generator.uniform(-strongest, strongest, STEPS)
    # A car that would roll backwards stops with us; the single-track model reverses.
    speeds = speed + np.concatenate([[0.0], np.cumsum(acceleration) * STEP_S])
    acceleration[np.minimum(speeds[1:], speeds[:-1]) < 0.3] = 0.0
    if (speed + np.cumsum(acceleration) * STEP_S).min() < 0.0:
        acceleration[:] = 0.0
    manoeuvre = Manoeuvre("random", speed, rates, acceleration)
    apart = difference(our_poses(manoeuvre, WHEELBASE_M), kinematic_reference(manoeuvre))
    assert apart["worst_mm"] < 5.0 + apart["driven_m"]


@settings(max_examples=30, deadline=None)
@given(speed=st.floats(0.5, 15.0), curvature=st.floats(-0.16, 0.16))
def test_a_constant_bend_is_an_arc(speed: float, curvature: float) -> None:
    """Against the arc itself: yaw exact, position within the error of one chord a step, (angle a step)^2 / 24."""
    angle = math.atan(curvature * WHEELBASE_M)
    rates = np.zeros(STEPS)
    manoeuvre = Manoeuvre("arc", speed, rates, np.zeros(STEPS))
    # The wheels are turned before the start: a rate in the first step alone would be a ramp.
    ours = our_poses(manoeuvre, WHEELBASE_M, angle)
    driven = speed * STEP_S * np.arange(1, STEPS + 1)
    yaw = driven * curvature
    half = 0.5 * yaw
    chord = driven * np.sinc(half / math.pi)
    exact = np.stack([chord * np.cos(half), chord * np.sin(half)], axis=1)
    apart = np.hypot(*(ours[:, :2] - exact).T)
    allowed = driven * (speed * STEP_S * curvature) ** 2 / 24.0 * 1.1 + 2e-4
    assert (apart <= allowed).all()
    np.testing.assert_allclose(ours[:, 2], yaw, atol=2e-5)


@needs_models
def test_slip_grows_with_lateral_acceleration_and_is_small_in_comfort() -> None:
    found = [difference(our_poses(bend, WHEELBASE_M), dynamic_reference(bend)) for bend in bends()]
    lateral = [row["lateral_mps2"] for row in found]
    apart = [row["worst_mm"] for row in found]
    assert lateral == sorted(lateral) and apart == sorted(apart)
    comfortable = next(row for row in found if row["lateral_mps2"] > 1.9)
    assert comfortable["worst_mm"] / 1e3 < 0.02 * comfortable["driven_m"]
    assert comfortable["end_yaw_mrad"] < 15.0


@needs_models
def test_the_figure_names_every_manoeuvre() -> None:
    measurement = measure_vehicle_model("vehicle-model")
    assert measurement.unit == "mm" and 0.0 < measurement.value < 10.0
    assert set(measurement.details["kinematic"]) == {manoeuvre.name for manoeuvre in manoeuvres()}
    assert measurement == measure_vehicle_model("vehicle-model")


def test_an_absent_program_is_named_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        PeerMissingError, match=r"vehiclemodels: is not installed; run pip install 'fleetloop\[peers\]'"
    ):
        peer("vehiclemodels.vehicle_dynamics_ks")


def test_a_broken_program_is_named_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise OSError("no library")

    monkeypatch.setattr(peer_module.importlib, "import_module", fail)
    with pytest.raises(PeerMissingError, match=r"numpy: cannot be imported \(no library\)"):
        peer("numpy.linalg")
