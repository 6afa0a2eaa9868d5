"""Triggers: what fires, what does not, and that a trigger keeps still after it has fired."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.core.errors import ConfigError
from fleetloop.core.types import Plan
from fleetloop.vehicle.triggers import Moment, Trigger, TriggerConfig, TriggerSet, time_to_collision_s

STEP_S = 0.1
CONFIG = TriggerConfig()


def plan_of(worlds: int, end_m: float = 10.0, spread_m: float = 0.5) -> Plan:
    poses = np.zeros((worlds, 8, 3), np.float32)
    poses[:, :, 0] = np.linspace(0.0, end_m, 8)
    zeros = np.zeros(worlds, np.float32)
    return Plan(zeros, zeros, poses, np.full(worlds, spread_m, np.float32))


def quiet_moment(worlds: int = 1) -> Moment:
    """Nothing worth its bytes."""
    return Moment(
        take_over=np.zeros(worlds, bool),
        acceleration_mps2=np.zeros(worlds, np.float32),
        speed_mps=np.full(worlds, 8.0, np.float32),
        lead_gap_m=np.full(worlds, 60.0, np.float32),
        lead_speed_mps=np.zeros(worlds, np.float32),
        plan=plan_of(worlds),
        shadow=plan_of(worlds),
        fault=np.zeros(worlds, np.int32),
        cameras_lost=np.zeros(worlds, np.int32),
        drawn=np.full(worlds, 0.5, np.float32),
    )


def fired(moment: Moment, config: TriggerConfig = CONFIG) -> set[Trigger]:
    worlds = len(moment.speed_mps)
    triggers = TriggerSet(config, worlds, STEP_S)
    return {
        trigger for trigger, (mask, _) in triggers.fire(moment, np.ones(worlds, bool)).items() if mask.any()
    }


def test_moments_can_be_chosen_at_random_and_rules_be_switched_off():
    moment = replace(quiet_moment(), take_over=np.ones(1, bool))
    sampled = TriggerConfig(enabled=(Trigger.SAMPLED,), sampled_probability=0.6)
    assert fired(moment, sampled) == {Trigger.SAMPLED}
    assert fired(moment, replace(sampled, sampled_probability=0.5)) == set()
    assert fired(moment, TriggerConfig(sampled_probability=1.0)) == {Trigger.INTERVENTION}
    with pytest.raises(ConfigError, match="sampled_probability"):
        TriggerConfig(sampled_probability=1.5)


def test_nothing_fires_on_a_quiet_drive():
    assert fired(quiet_moment()) == set()


def array(value: float) -> np.ndarray:
    return np.full(1, value, np.float32)


@pytest.mark.parametrize(
    ("change", "trigger"),
    [
        ({"take_over": np.ones(1, bool)}, Trigger.INTERVENTION),
        ({"acceleration_mps2": array(-4.1)}, Trigger.HARD_BRAKING),
        ({"lead_gap_m": array(11.9)}, Trigger.NEAR_MISS),
        ({"plan": plan_of(1, end_m=15.1)}, Trigger.DISAGREEMENT),
        ({"fault": np.ones(1, np.int32)}, Trigger.NETWORK_FAULT),
        ({"cameras_lost": np.ones(1, np.int32)}, Trigger.CAMERA_LOST),
        ({"plan": plan_of(1, end_m=float("nan"))}, Trigger.DISAGREEMENT),
        ({"plan": plan_of(1, spread_m=0.8)}, Trigger.UNCERTAINTY),
        ({"plan": plan_of(1, spread_m=float("nan"))}, Trigger.UNCERTAINTY),
    ],
)
def test_each_trigger_fires_alone(change: dict, trigger: Trigger):
    assert fired(replace(quiet_moment(), **change)) == {trigger}


@pytest.mark.parametrize(
    "change",
    [
        {"acceleration_mps2": array(-3.9)},
        {"lead_gap_m": array(12.1)},
        {"lead_gap_m": array(1.0), "lead_speed_mps": array(8.0)},
        {"plan": plan_of(1, end_m=14.9)},
        {"plan": plan_of(1, spread_m=0.7)},
    ],
)
def test_just_below_a_threshold_nothing_fires(change: dict):
    assert fired(replace(quiet_moment(), **change)) == set()


def test_the_value_that_made_it_is_reported():
    moment = replace(quiet_moment(2), acceleration_mps2=np.array([0.0, -6.5], np.float32))
    mask, value = TriggerSet(CONFIG, 2, STEP_S).fire(moment, np.ones(2, bool))[Trigger.HARD_BRAKING]
    assert mask.tolist() == [False, True]
    assert value[1] == np.float32(-6.5)


def test_a_trigger_keeps_still_for_its_pause_and_each_world_has_its_own():
    triggers = TriggerSet(TriggerConfig(pause_s=0.5), 2, STEP_S)
    both, active = np.array([[1, 0], [1, 1], *[[1, 1]] * 10], bool), np.ones(2, bool)
    masks = [
        triggers.fire(replace(quiet_moment(2), take_over=now), active)[Trigger.INTERVENTION][0]
        for now in both
    ]
    first, second = np.array(masks).T
    assert np.flatnonzero(first).tolist() == [0, 6]
    assert np.flatnonzero(second).tolist() == [1, 7]
    assert triggers.counts[Trigger.INTERVENTION] == 4


def test_a_new_route_is_a_new_start():
    triggers, active = TriggerSet(CONFIG, 2, STEP_S), np.ones(2, bool)
    moment = replace(quiet_moment(2), take_over=np.ones(2, bool))
    triggers.fire(moment, active)
    triggers.reset(np.array([True, False]))
    assert triggers.fire(moment, active)[Trigger.INTERVENTION][0].tolist() == [True, False]


def test_a_world_without_a_vehicle_fires_nothing():
    triggers = TriggerSet(CONFIG, 2, STEP_S)
    moment = replace(quiet_moment(2), take_over=np.ones(2, bool))
    assert triggers.fire(moment, np.array([True, False]))[Trigger.INTERVENTION][0].tolist() == [True, False]
    assert triggers.counts[Trigger.INTERVENTION] == 1


@given(
    speed=st.floats(0.0, 40.0, width=32),
    lead=st.floats(0.0, 40.0, width=32),
    gap=st.floats(0.0, 80.0, width=32),
)
def test_time_to_collision_is_when_the_gap_is_closed(speed: float, lead: float, gap: float):
    moment = replace(
        quiet_moment(), speed_mps=array(speed), lead_speed_mps=array(lead), lead_gap_m=array(gap)
    )
    seconds = float(time_to_collision_s(moment)[0])
    assert np.isfinite(seconds) and seconds >= 0.0
    if seconds < 1e6:
        assert gap + (lead - speed) * seconds == pytest.approx(0.0, abs=1e-2)
    else:
        assert speed - lead <= 0.1 + 1e-5
