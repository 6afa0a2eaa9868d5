"""The watchdog: a network late, silent or mad is bridged or stopped in its lane; a healthy one is not touched."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fleetloop.core.errors import ConfigError, InputError
from fleetloop.core.types import EGO, STEP_S, AgentKind, LaneKind, Observation, Plan, World
from fleetloop.safety.deadline import DeadlinePolicy
from fleetloop.safety.limits import STOP_IN_LANE_BRAKING_MPS2, Controls, SafetyLayer
from fleetloop.safety.paths import apart_m, seen_from
from fleetloop.safety.watchdog import Fault, Watchdog, WatchdogConfig, fresh_state, missing_plan, watch
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import Route
from fleetloop.sim.safety_driver import Danger
from small_towns import Street, small_town
from toy_traffic import STRAIGHT_ON, Car, open_road, put

CONFIG = WatchdogConfig()
TIMES_S = np.arange(1, 9) * 0.25


def arc_plan(curvature: float, speed: float, acceleration: float = 0.0, vehicles: int = 1) -> Plan:
    """A plan along a circle at a constant speed."""
    angle = curvature * speed * TIMES_S
    curved = abs(curvature) > 1e-6
    radius = 1.0 / curvature if curved else np.inf
    x = radius * np.sin(angle) if curved else speed * TIMES_S
    y = radius * (1.0 - np.cos(angle)) if curved else np.zeros(8)
    poses = np.broadcast_to(np.stack([x, y, angle], -1).astype(np.float32), (vehicles, 8, 3)).copy()
    return Plan(
        np.full(vehicles, curvature, np.float32),
        np.full(vehicles, acceleration, np.float32),
        poses,
        np.zeros(vehicles, np.float32),
    )


def drive_steps(plans: Sequence[Plan | None], speed: float = 8.0) -> list[tuple[Fault, bool, float, float]]:
    """Fault, whether the watchdog drove, curvature and acceleration in each step; the speed is what comes of it."""
    dog = Watchdog(1, STEP_S)
    layer = SafetyLayer(1, STEP_S, dog)
    told = []
    for plan in plans:
        controls = layer.limit(plan, np.array([speed], np.float32))
        layer.remember(controls.curvature_1pm, controls.acceleration_mps2, np.zeros(1, bool))
        speed = max(speed + float(controls.acceleration_mps2[0]) * STEP_S, 0.0)
        told.append(
            (
                Fault(int(dog.faults[0])),
                bool(dog.in_charge[0]),
                float(controls.curvature_1pm[0]),
                float(controls.acceleration_mps2[0]),
            )
        )
    return told


# --- Judging


@pytest.mark.parametrize("count", [1, 2])
def test_a_plan_or_two_too_late_are_bridged(count: int):
    """The network has the wheel again with its next plan; meanwhile the brake only builds up."""
    told = drive_steps([arc_plan(0.0, 8.0)] * 5 + [None] * count + [arc_plan(0.0, 8.0)] * 3)
    assert [fault for fault, *_ in told[5 : 5 + count]] == [Fault.LATE] * count
    assert all(charge for _, charge, *_ in told[5 : 5 + count])
    assert not any(charge for _, charge, *_ in told[5 + count :])
    assert -0.5 * count <= told[4 + count][3] < 0.0


def test_a_silent_network_is_stopped_until_it_has_proved_itself():
    good = CONFIG.good_plans
    told = drive_steps([arc_plan(0.0, 8.0)] * 3 + [None] * 12 + [arc_plan(0.0, 4.0)] * (good + 2))
    faults = [fault for fault, *_ in told]
    assert faults[3:5] == [Fault.LATE, Fault.LATE] and set(faults[5:15]) == {Fault.SILENT}
    assert min(acceleration for *_, acceleration in told) == pytest.approx(-STOP_IN_LANE_BRAKING_MPS2)
    assert [charge for _, charge, *_ in told[15:]] == [True] * (good - 1) + [False] * 3


def test_braking_builds_up_with_bounded_jerk_and_stays_within_a_minimal_risk_manoeuvre():
    told = drive_steps([arc_plan(0.0, 8.0)] * 3 + [None] * 30)
    acceleration = np.array([row[3] for row in told])
    assert (np.diff(acceleration) >= -5.0 * STEP_S - 1e-5).all()
    assert acceleration.min() >= -4.0


def test_a_plan_that_braked_harder_is_braked_as_hard():
    """The last thing the network saw was something to stop for."""
    told = drive_steps([arc_plan(0.0, 8.0, -6.0)] * 3 + [None] * 5, speed=14.0)
    assert all(row[3] == pytest.approx(-6.0) for row in told)


MAD = {
    Fault.NOT_FINITE: replace(arc_plan(0.0, 8.0), spread_m=np.array([np.nan], np.float32)),
    Fault.OUT_OF_RANGE: replace(arc_plan(0.0, 8.0), curvature_1pm=np.array([0.6], np.float32)),
    Fault.JUMP: replace(arc_plan(0.0, 8.0), poses_in_ego=arc_plan(0.0, 8.0).poses_in_ego[:, :, [1, 0, 2]]),
}


@pytest.mark.parametrize("fault", list(MAD))
def test_nonsense_is_recognised(fault: Fault):
    told = drive_steps([arc_plan(0.0, 8.0)] * 3 + [MAD[fault]])
    assert [row[0] for row in told] == [Fault.NONE] * 3 + [fault]
    assert told[-1][2] == pytest.approx(0.0, abs=1e-6) and told[-1][3] < 0.0


@pytest.mark.parametrize(
    "change",
    [
        {"acceleration_mps2": np.array([20.0], np.float32)},
        {"spread_m": np.array([-1.0], np.float32)},
        {"poses_in_ego": arc_plan(0.0, 30.0).poses_in_ego},
        {"poses_in_ego": -arc_plan(0.0, 5.0).poses_in_ego},
    ],
)
def test_what_no_car_can_do_is_out_of_range(change: dict):
    assert drive_steps([replace(arc_plan(0.0, 8.0), **change)])[0][0] is Fault.OUT_OF_RANGE


def test_beginning_to_change_lanes_is_no_jump():
    aside = arc_plan(0.0, 8.0)
    aside.poses_in_ego[:, :, 1] = 3.5
    assert all(row[0] is Fault.NONE for row in drive_steps([arc_plan(0.0, 8.0)] * 3 + [aside] * 3))


def test_a_network_that_flickers_between_two_paths_is_stopped():
    left, right = arc_plan(0.1, 8.0), arc_plan(-0.1, 8.0)
    told = drive_steps([arc_plan(0.0, 8.0)] * 2 + [left, right] * 5)
    assert all(row[0] is Fault.JUMP for row in told[-6:]) and told[-1][3] < -1.5


def test_an_unknown_speed_stops_the_vehicle_by_its_own_reckoning():
    dog = Watchdog(1, STEP_S)
    layer = SafetyLayer(1, STEP_S, dog)
    for number in range(20):
        speed = np.array([8.0 if number < 3 else np.nan])
        controls = layer.limit(arc_plan(0.0, 8.0), speed)
        layer.remember(controls.curvature_1pm, controls.acceleration_mps2, np.zeros(1, bool))
    assert dog.faults[0] == Fault.EGO_STATE and controls.acceleration_mps2[0] == -3.0


def test_faults_of_the_inputs_count_though_the_plan_is_fine():
    dog = Watchdog(2, STEP_S)
    layer = SafetyLayer(2, STEP_S, dog)
    faults = np.array([Fault.CAMERAS, Fault.NONE], np.int32)
    layer.limit(arc_plan(0.0, 8.0, vehicles=2), np.full(2, 8.0), faults)
    assert dog.faults.tolist() == faults.tolist() and dog.in_charge.tolist() == [True, False]


def test_a_vehicle_that_was_put_elsewhere_begins_anew():
    dog = Watchdog(2, STEP_S)
    layer = SafetyLayer(2, STEP_S, dog)
    for _ in range(5):
        layer.limit(None, np.full(2, 8.0))
    layer.remember(np.zeros(2, np.float32), np.zeros(2, np.float32), np.array([True, False]))
    layer.limit(arc_plan(0.0, 8.0, vehicles=2), np.full(2, 8.0))
    assert dog.in_charge.tolist() == [False, True]


# --- Properties

any_float = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(
    arrays.arrays(np.float32, (3, 8, 3), elements=any_float),
    arrays.arrays(np.float32, (3, 4), elements=any_float),
)
@settings(max_examples=100, deadline=None)
def test_whatever_the_network_says_the_controls_are_finite_and_bounded(poses: np.ndarray, rest: np.ndarray):
    """Property: and after a silent stop, too."""
    layer = SafetyLayer(3, STEP_S, Watchdog(3, STEP_S))
    wild = Plan(rest[:, 0], rest[:, 1], poses, rest[:, 2])
    for plan in (arc_plan(0.02, 8.0, vehicles=3), wild, None, wild, None, None):
        controls = layer.limit(plan, rest[:, 3])
        layer.remember(controls.curvature_1pm, controls.acceleration_mps2, np.zeros(3, bool))
        assert (np.abs(controls.curvature_1pm) <= 0.2 + 1e-6).all()
        assert (controls.acceleration_mps2 >= -8.0).all() and (controls.acceleration_mps2 <= 4.0).all()


@given(st.floats(-0.1, 0.1), st.floats(0.0, 15.0), st.floats(-4.0, 2.0), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_healthy_network_is_left_alone_to_the_bit(curvature, speed, acceleration, seed):
    """Property: with and without a watchdog the controls are the same."""
    random = np.random.default_rng(seed)
    watched, bare = SafetyLayer(2, STEP_S, Watchdog(2, STEP_S)), SafetyLayer(2, STEP_S)
    for _ in range(6):
        plan = arc_plan(curvature, speed, acceleration, 2)
        plan.poses_in_ego[:] += random.normal(0.0, 0.1, plan.poses_in_ego.shape)
        speeds = np.full(2, speed, np.float32)
        ours, theirs = watched.limit(plan, speeds), bare.limit(plan, speeds)
        assert ours.curvature_1pm.tobytes() == theirs.curvature_1pm.tobytes()
        assert ours.acceleration_mps2.tobytes() == theirs.acceleration_mps2.tobytes()
        for layer in (watched, bare):
            layer.remember(ours.curvature_1pm, ours.acceleration_mps2, np.zeros(2, bool))


def test_vehicles_do_not_see_each_other():
    """Each of a batch is told what it would be told alone."""
    plans = [arc_plan(0.03, 9.0), arc_plan(0.0, 9.0), MAD[Fault.NOT_FINITE]]
    together = Plan(
        *(
            np.concatenate([getattr(plan, name) for plan in plans])
            for name in ("curvature_1pm", "acceleration_mps2", "poses_in_ego", "spread_m")
        )
    )
    previous = Controls(np.full(3, 0.01, np.float32), np.zeros(3, np.float32))
    speeds = np.array([9.0, np.nan, 9.0])
    state, all_at_once = watch(fresh_state(3), together, speeds, previous, STEP_S, CONFIG)
    _, then = watch(state, None, speeds, previous, STEP_S, CONFIG)
    for i, plan in enumerate(plans):
        mine = Controls(previous.curvature_1pm[i : i + 1], previous.acceleration_mps2[i : i + 1])
        own, alone = watch(fresh_state(1), plan, speeds[i : i + 1], mine, STEP_S, CONFIG)
        _, later = watch(own, None, speeds[i : i + 1], mine, STEP_S, CONFIG)
        for batch, single in ((all_at_once, alone), (then, later)):
            assert batch.faults[i] == single.faults[0]
            assert batch.plan.curvature_1pm[i] == single.plan.curvature_1pm[0]
            assert batch.plan.acceleration_mps2[i] == single.plan.acceleration_mps2[0]


@given(st.floats(-0.1, 0.1), st.floats(0.5, 15.0))
@settings(max_examples=50, deadline=None)
def test_a_path_driven_along_stays_where_it_is(curvature: float, speed: float):
    """Property: after an arc of the path's own curvature the path still leads through the origin, straight ahead."""
    path = np.concatenate([np.zeros((1, 1, 3)), arc_plan(curvature, speed).poses_in_ego], axis=1)
    moved = seen_from(path.astype(np.float64), np.array([speed * 0.5]), np.array([curvature * speed * 0.5]))
    assert np.allclose(moved[0, 2], 0.0, atol=1e-4)
    assert apart_m(arc_plan(curvature, speed).poses_in_ego[:, :, :2].astype(np.float64), moved)[0] < 0.6


# --- The deadline


class Slow:
    """Takes its time with the plans whose numbers are listed, and fails with others."""

    def __init__(self, slow: set[int] = frozenset(), broken: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        self.slow, self.broken, self.asked, self.resets = slow, broken, 0, 0

    def reset(self, mask: np.ndarray) -> None:
        self.resets += int(mask.sum())

    def plan(self, observation: Observation) -> Plan:
        self.asked += 1
        if self.asked in self.slow:
            time.sleep(0.3)
        if self.asked in self.broken:
            raise InputError("observation.images: 1 group; use the rig it was trained with")
        return arc_plan(0.0, float(self.asked))


NOTHING = Observation(
    (), np.zeros((1, 8, 4), np.float32), np.zeros((1, 4), np.float32), np.zeros(1, np.float32)
)


def test_a_plan_that_comes_too_late_is_dropped_and_the_network_asked_again():
    slow = Slow({2})
    policy = DeadlinePolicy(slow, 0.1)
    assert policy.plan(NOTHING) is not None
    assert policy.plan(NOTHING) is None
    assert policy.plan(NOTHING) is None and slow.asked == 2
    policy.reset(np.ones(1, bool))
    time.sleep(0.4)
    plan = policy.plan(NOTHING)
    assert plan is not None and plan.poses_in_ego[0, 3, 0] == 3.0 and slow.resets == 1


def test_errors_are_raised_while_the_vehicle_stands_and_survived_later(caplog: pytest.LogCaptureFixture):
    with pytest.raises(InputError, match=r"observation\.images"):
        DeadlinePolicy(Slow(broken={1}), 5.0).plan(NOTHING)
    policy = DeadlinePolicy(Slow(broken={2}), 5.0)
    assert policy.plan(NOTHING) is not None and policy.plan(NOTHING) is None
    assert "the network failed: observation.images" in caplog.text
    assert policy.plan(NOTHING) is not None


def test_a_budget_must_leave_time():
    with pytest.raises(ConfigError, match="plan budget"):
        DeadlinePolicy(Slow(), 0.0)


# --- In the simulator

BEND_RADIUS_M = 60.0


@pytest.fixture(scope="module")
def bend(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, int]:
    """A road of 150 m, a quarter circle to the left, and 150 m; and its lane there."""
    angles = np.linspace(0.0, np.pi / 2.0, 13)
    arc = [(150.0 + BEND_RADIUS_M * np.sin(a), BEND_RADIUS_M * (1.0 - np.cos(a))) for a in angles]
    shape = " ".join(f"{x:.2f},{y:.2f}" for x, y in [(0.0, 0.0), *arc, (210.0, 210.0)])
    nodes = {"a": (0.0, 0.0, "priority"), "b": (210.0, 210.0, "priority")}
    world = small_town(
        tmp_path_factory.mktemp("bend"), nodes, [Street("a", "b", attributes={"shape": shape})]
    )
    lanes = np.where(world.lane_kind == LaneKind.ROAD, world.lane_length_m, 0.0)
    return world, int(lanes.argmax())


def drive_until_it_stands(world: World, car: Car, broken: Callable[[Plan], Plan | None]) -> np.ndarray:
    """Demonstrator's plans for a second, then broken ones: speed, acceleration and offset of each step since."""
    rollout = Rollout(world, iter([Route(0, 1, 5_000.0)]), 1, 2)
    rollout.state.kind[0, 1:] = int(AgentKind.NONE)
    state = put(world, car)
    for name in ("kind", "pose", "speed", "curvature", "path", "along", "offset", "wait_s"):
        getattr(rollout.state, name)[0, 0] = getattr(state, name)[0, 0]
    layer = SafetyLayer(1, STEP_S, Watchdog(1, STEP_S))
    layer.remember(rollout.state.curvature[:, EGO], np.zeros(1, np.float32), np.zeros(1, bool))
    rows = []
    for number in range(120):
        rollout.decide()
        plan = rollout.teaching.plan()
        controls = layer.limit(plan if number < 10 else broken(plan), rollout.state.speed[:, EGO].copy())
        step = rollout.step(controls.curvature_1pm, controls.acceleration_mps2)
        layer.remember(step.curvature, step.acceleration, step.ended)
        assert step.danger[0] == Danger.NONE and not step.safety_driver[0] and not step.ended[0]
        if number >= 10:
            rows.append(
                [rollout.state.speed[0, EGO], float(step.acceleration[0]), rollout.state.offset[0, EGO]]
            )
        if rollout.state.speed[0, EGO] < 0.01:
            return np.array(rows)
    raise AssertionError("it did not stop")


def silent(plan: Plan) -> None:
    return None


def nan(plan: Plan) -> Plan:
    return missing_plan(1)


class Late:
    """Gives every fourth plan only: too few to hand back."""

    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, plan: Plan) -> Plan | None:
        self.steps += 1
        return plan if self.steps % 4 == 0 else None


BROKEN = {"silent": lambda: silent, "late": Late, "nan": lambda: nan}
HALF_LANE_M = 0.5 * (3.5 - 1.9)
"""Between the side of a car in the middle of its lane and the line."""


@pytest.mark.parametrize("kind", list(BROKEN))
@pytest.mark.parametrize("speed", [8.0, 11.0, 15.0])
def test_a_car_on_a_straight_road_stops_in_its_lane(kind: str, speed: float):
    rows = drive_until_it_stands(open_road(), Car(20.0, speed, STRAIGHT_ON, offset_m=0.2), BROKEN[kind]())
    assert np.abs(rows[:, 2]).max() < 0.3
    assert rows[:, 1].min() >= -4.0


@pytest.mark.parametrize("kind", list(BROKEN))
@pytest.mark.parametrize("speed", [8.0, 11.0, 13.0])
@pytest.mark.parametrize("along_m", [110.0, 150.0, 200.0])
def test_a_car_in_a_bend_stops_in_its_lane(bend: tuple[World, int], kind: str, speed: float, along_m: float):
    """Before the bend, at its beginning and at its end."""
    world, lane = bend
    rows = drive_until_it_stands(world, Car(along_m, speed, (lane,)), BROKEN[kind]())
    assert np.abs(rows[:, 2]).max() < HALF_LANE_M
    assert rows[:, 1].min() >= -4.0
