"""Worlds that work through routes: nothing is lost, counted twice, or decided by who came first."""

import numpy as np
import pytest

from fleetloop.core.errors import MapError
from fleetloop.core.types import (
    EGO,
    HISTORY_STEPS,
    LONGEST_STOOD_S,
    VEHICLE_SIZES,
    AgentKind,
    LaneKind,
    SignalColour,
    World,
)
from fleetloop.sim import rollout as module
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.sim.rollout import STUCK_S, TAKE_OVER_STEPS, Rollout, drive_demonstrator
from fleetloop.sim.routes import CRITICAL, Route, make_routes, route_seed
from fleetloop.sim.safety_driver import Danger
from toy_traffic import Car, put
from toy_world import toy_world


@pytest.fixture(scope="module")
def towns(tmp_path_factory: pytest.TempPathFactory) -> World:
    return TownLibrary(tmp_path_factory.mktemp("towns")).world(["grid-1", "spider-1"])


def single(seed: int = 1, length_m: float = 300.0, agents: int = 2) -> Rollout:
    """One route in the toy town, nobody else near: the second road user is taken away."""
    rollout = Rollout(toy_world(), iter([Route(0, seed, length_m)]), 1, agents)
    rollout.state.kind[0, 1:] = int(AgentKind.NONE)
    return rollout


def replace_state(rollout: Rollout, *cars: Car) -> None:
    """Put these road users into the only world, whatever was there."""
    state = put(rollout.world, *cars)
    for name in ("kind", "pose", "speed", "curvature", "path", "along", "offset", "wait_s"):
        getattr(rollout.state, name)[:] = getattr(state, name)


def hold(rollout: Rollout, curvature: float, acceleration: float):
    """One step with these controls."""
    rollout.decide()
    return rollout.step(np.full(1, curvature, np.float32), np.full(1, acceleration, np.float32))


# --- What a learner remembers of its motion


def test_history_is_how_the_learner_moved_and_how_long_it_has_stood():
    """Rolling slower than 2.5 m/s it is still known that it stood; driving on, no more."""
    rollout = single(length_m=10_000.0)
    rows: list[np.ndarray] = []
    state = rollout.state
    for acceleration in [-3.0] * 60 + [0.0] * 10 + [1.0] * 15 + [2.0] * 30:
        hold(rollout, 0.0, acceleration)
        rows.append(
            np.array([a[0, EGO] for a in (state.speed, state.acceleration, state.curvature, state.wait_s)])
        )
        newest = rows[-HISTORY_STEPS:]
        assert np.array_equal(state.history[0, EGO, -len(newest) :], newest)
    speed, stood = np.array(rows)[:, 0], np.array(rows)[:, 3]
    assert stood.max() > 1.0 and not stood[-1] and speed[-1] > 2.5
    rolls = (speed > 0.5) & (speed < 2.5) & (np.arange(len(speed)) > 70)
    assert rolls.sum() > 5 and (stood[rolls] == stood.max()).all()


def test_history_says_no_more_than_a_minute_of_standing():
    rollout = single(length_m=10_000.0)
    rollout.state.speed[0, EGO], rollout.state.wait_s[0, EGO] = 0.0, LONGEST_STOOD_S + 5.0
    hold(rollout, 0.0, 0.0)
    assert rollout.state.wait_s[0, EGO] > LONGEST_STOOD_S == rollout.state.history[0, EGO, -1, 3]


# --- The queue


def test_results_add_up(towns: World):
    routes = list(make_routes(1, [0, 1], 7, 80.0))
    rollout = Rollout(towns, iter(routes), 3, 8)
    while rollout.active.any():
        rollout.decide()
        rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
        ended = sum(result.distance_m for result in rollout.results)
        under_way = sum(result.distance_m for result in rollout.routes_under_way)
        assert rollout.distance_m == pytest.approx(ended + under_way, abs=1e-3)
    assert rollout.routes_under_way == []
    assert sorted(result.route.seed for result in rollout.results) == sorted(route.seed for route in routes)
    for result in rollout.results:
        assert result.finished and result.success and result.critical_interventions == 0
        assert 80.0 <= result.distance_m < 83.0
        assert 0.0 < result.duration_s < 80.0 / 2.5 + 45.0


def test_results_do_not_depend_on_the_number_of_worlds(towns: World):
    routes = list(make_routes(2, [0, 1], 6, 90.0))
    expected = sorted(map(repr, drive_demonstrator(Rollout(towns, iter(routes), 1, 10))))
    for worlds, order in ((6, 1), (2, 1), (4, -1)):
        results = drive_demonstrator(Rollout(towns, iter(routes[::order]), worlds, 10))
        assert sorted(map(repr, results)) == expected


def test_more_worlds_than_routes_leaves_some_switched_off():
    rollout = Rollout(toy_world(), make_routes(1, [0], 2, 100.0), 5, 4)
    assert rollout.active.tolist() == [True, True, False, False, False]
    assert [rollout.current_result(w) is None for w in range(5)] == [False, False, True, True, True]
    assert len(drive_demonstrator(rollout)) == 2


def test_routes_are_numbered_alike_however_many_there_are():
    few, many = list(make_routes(8, [0, 1], 3, 50.0)), list(make_routes(8, [0, 1], 9, 50.0))
    assert many[:3] == few
    assert [route.town for route in many] == [0, 1] * 4 + [0]
    assert len({route.seed for route in many}) == 9
    assert all(0 <= route_seed(seed, 0) < 2**63 for seed in range(50))


def test_a_town_without_roads_is_refused_in_one_sentence():
    world = toy_world()
    nowhere = world._replace(lane_kind=np.full_like(world.lane_kind, int(LaneKind.JUNCTION)))
    with pytest.raises(MapError, match="choose a map with drivable lanes"):
        Rollout(nowhere, make_routes(1, [0], 3, 100.0), 2, 4)


@pytest.mark.parametrize("length_m, blocked", [(80.0, False), (5000.0, True)])
def test_the_end_of_the_road_ends_the_route(length_m: float, blocked: bool):
    """Where a map has no loops the route ends there; a stub of it does not count as finished."""
    rollout = single(length_m=length_m)
    replace_state(rollout, Car(320.0, 5.0), Car(10.0))
    (result,) = drive_demonstrator(rollout)
    assert 400.0 - 320.0 - 30.0 < result.distance_m < 80.0
    assert (result.finished, result.blocked) == (not blocked, blocked)
    assert result.dangers == []


# --- The safety driver at the wheel


def test_steering_off_the_road_is_one_intervention_and_the_route_goes_on():
    rollout = single()
    replace_state(rollout, Car(40.0, 8.0), Car(200.0))
    rollout.state.kind[0, 1] = int(AgentKind.NONE)
    step = hold(rollout, -0.2, 0.0)
    assert step.danger[0] == Danger.OFF_ROAD and step.safety_driver[0]
    assert step.curvature[0] == rollout.teaching.curvature_1pm[0]
    held = 1
    while rollout.safety_driver[0]:
        step = hold(rollout, float(rollout.teaching.curvature_1pm[0]), 0.0)
        held += int(step.safety_driver[0])
        assert step.danger[0] == Danger.NONE
    assert held >= TAKE_OVER_STEPS
    result = rollout.current_result(0)
    assert result is not None and result.dangers == [Danger.OFF_ROAD] and result.critical_interventions == 1
    results = drive_demonstrator(rollout)
    assert results[0].finished and not results[0].success


def test_standing_without_a_reason_is_an_intervention_but_not_a_critical_one():
    rollout = single()
    replace_state(rollout, Car(40.0, 0.0), Car(200.0))
    rollout.state.kind[0, 1] = int(AgentKind.NONE)
    steps = 0
    while not rollout.safety_driver[0]:
        danger = hold(rollout, 0.0, -1.0).danger[0]
        steps += 1
        assert steps < 10.0 * STUCK_S + 5
    assert danger == Danger.STUCK and Danger.STUCK not in CRITICAL
    result = rollout.current_result(0)
    assert result is not None and result.critical_interventions == 0
    assert steps == pytest.approx(10.0 * STUCK_S, abs=2)


@pytest.mark.parametrize(("gap_m", "stuck"), [(3.5, False), (5.5, True)])
def test_who_would_only_close_up_waits(gap_m: float, stuck: bool):
    """Behind somebody who stands: the demonstrator would drive on to 2.2 m."""
    rollout = single()
    replace_state(rollout, Car(40.0, 0.0), Car(40.0 + VEHICLE_SIZES[AgentKind.CAR, 0] + gap_m, 0.0))
    for _ in range(round(10.0 * STUCK_S) + 5):
        rollout.state.speed[0, 1] = rollout.state.acceleration[0, 1] = 0.0
        ahead = rollout.state.pose[0, 1].copy(), rollout.state.along[0, 1].copy()
        step = hold(rollout, 0.0, -1.0)
        assert rollout.teaching.acceleration_mps2[0] > 0.3 or step.danger[0] == Danger.STUCK
        rollout.state.pose[0, 1], rollout.state.along[0, 1] = ahead
        if rollout.safety_driver[0]:
            break
    assert rollout.safety_driver[0] == stuck


@pytest.mark.parametrize(
    ("colour", "line_m", "stuck"),
    [(SignalColour.RED, 1.8, False), (SignalColour.RED, 6.0, True), (SignalColour.GREEN, 1.8, True)],
)
def test_who_stands_at_a_red_light_waits(colour: SignalColour, line_m: float, stuck: bool):
    rollout = single()
    replace_state(rollout, Car(40.0, 0.0), Car(200.0))
    rollout.state.kind[0, 1] = int(AgentKind.NONE)
    for _ in range(round(10.0 * STUCK_S) + 5):
        rollout.decide()
        rollout.teaching.signal_colour[0], rollout.teaching.stop_line_m[0] = colour, line_m
        rollout.step(np.zeros(1, np.float32), np.full(1, -1.0, np.float32))
        if rollout.safety_driver[0]:
            break
    assert rollout.safety_driver[0] == stuck


def test_being_hit_from_behind_ends_the_route_without_a_charge():
    rollout = single()
    # Behind, and already over the learner's rear bumper.
    replace_state(rollout, Car(100.0, 3.0), Car(96.0, 9.0))
    step = hold(rollout, 0.0, 0.0)
    result = rollout.results[0]
    assert step.ended[0] and step.danger[0] == Danger.NONE
    assert not result.collided and result.dangers == [] and not result.finished


def test_running_into_somebody_is_charged():
    rollout = single()
    replace_state(rollout, Car(100.0, 6.0), Car(104.5, 0.0))
    assert hold(rollout, 0.0, 1.0).ended[0]
    result = rollout.results[0]
    assert result.collided and Danger.COLLISION in result.dangers and not result.success


def test_running_into_somebody_unforeseen_is_told_when_it_happens(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "watch", lambda *arguments: arguments[5].fill(int(Danger.NONE)))
    rollout = single()
    replace_state(rollout, Car(100.0, 6.0), Car(104.5, 0.0))
    step = hold(rollout, 0.0, 1.0)
    assert step.ended[0] and step.danger[0] == Danger.COLLISION and not step.safety_driver[0]
    assert rollout.results[0].dangers == [Danger.COLLISION]


def test_the_next_route_starts_where_the_last_one_ended():
    routes = list(make_routes(6, [0], 3, 40.0))
    rollout = Rollout(toy_world(), iter(routes), 1, 4)
    seeds = []
    while rollout.active.any():
        seeds.append(int(rollout.state.seed[0]))
        rollout.decide()
        step = rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
        if step.ended[0] and rollout.active[0]:
            assert rollout.state.step[0] == 0 and rollout.state.odometer_m[0, EGO] == 0.0
            assert not rollout.safety_driver[0]
    assert list(dict.fromkeys(seeds)) == [route.seed for route in routes]
