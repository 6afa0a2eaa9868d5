"""One time of day for bus lanes, light and what the network is told."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.core.types import AgentKind, LaneKind, LaneUse, World
from fleetloop.sim.cameras.appearance import appearances, light_of
from fleetloop.sim.daytime import start_clocks
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.sim.rollout import Rollout, empty_state
from fleetloop.sim.routes import Route, make_routes

MOTOR_KINDS = (AgentKind.CAR, AgentKind.VAN, AgentKind.TRUCK)


@pytest.fixture(scope="module")
def bus_town(tmp_path_factory: pytest.TempPathFactory) -> World:
    return TownLibrary(tmp_path_factory.mktemp("towns")).world(["buslane-1"])


def test_most_worlds_begin_by_day_and_some_by_night():
    state = empty_state(2000, 1)
    for w in range(2000):
        state.seed[w] = 7919 * w + 3
        start_clocks(state, w)
    assert (state.started_h >= 0.0).all() and (state.started_h < 24.0).all()
    dusk, night, _ = light_of(state.started_h)
    assert 0.05 < (night > 0.5).mean() < 0.12
    assert 0.05 < ((dusk > 0.5) & (night < 0.5)).mean() < 0.2
    assert (dusk == 0.0).mean() > 0.6


@settings(deadline=None)
@given(st.floats(0.0, 23.99), st.floats(0.0, 1.0))
def test_the_later_the_darker(hour: float, variety: float):
    away = (hour - 13.0 + 12.0) % 24.0 - 12.0
    later = np.array([13.0 + away, 13.0 + np.sign(away) * min(abs(away) + 0.5, 12.0)]) % 24.0
    look = appearances(np.full(2, 5, np.uint64), variety, later)
    assert look.darkness[0] <= look.darkness[1] + 1e-6
    assert look.ambient[0].sum() >= look.ambient[1].sum() - 1e-5


def test_noon_is_light_and_midnight_dark_whatever_the_variety():
    look = appearances(np.arange(40, dtype=np.uint64), 1.0, np.repeat([13.0, 0.0], 20))
    assert (look.darkness[:20] == 0.0).all() and (look.darkness[20:] == 1.0).all()


def _routes(first_h: float, last_h: float) -> Iterator[Route]:
    """Endless routes that begin within these hours."""
    state = empty_state(1, 1)
    for seed in itertools.count():
        state.seed[0] = seed
        start_clocks(state, 0)
        if first_h <= state.started_h[0] < last_h:
            yield Route(0, seed, 1e6)


@pytest.mark.parametrize(("first_h", "last_h", "expected"), [(7.0, 8.9, False), (9.0, 15.9, True)])
def test_only_buses_use_bus_lanes_in_their_hours(
    bus_town: World, first_h: float, last_h: float, expected: bool
):
    rollout = Rollout(bus_town, _routes(first_h, last_h), 8, 40)
    state = rollout.state
    bus_lanes = (bus_town.lane_use & LaneUse.MOTOR_OFF_HOURS > 0) & (bus_town.lane_kind == LaneKind.ROAD)
    cars_seen = buses_seen = 0
    for _ in range(400):
        rollout.decide()
        rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
        there = bus_lanes[np.maximum(state.path[:, :, 0], 0)] & (state.path[:, :, 0] >= 0)
        cars_seen += int((np.isin(state.kind, MOTOR_KINDS) & there).sum())
        buses_seen += int(((state.kind == AgentKind.BUS) & there).sum())
    assert buses_seen > 0
    assert (cars_seen > 0) == expected


def test_who_is_in_a_bus_lane_when_its_hours_begin_leaves_it(bus_town: World):
    rollout = Rollout(bus_town, _routes(9.0, 15.9), 8, 40)
    state = rollout.state
    bus_lanes = (bus_town.lane_use & LaneUse.MOTOR_OFF_HOURS > 0) & (bus_town.lane_kind == LaneKind.ROAD)
    seen = []
    for _ in range(900):
        rollout.decide()
        rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
        there = bus_lanes[np.maximum(state.path[:, :, 0], 0)] & np.isin(state.kind, MOTOR_KINDS)
        seen.append(int(there.sum()))
        state.started_h[:] = 16.0
    assert seen[0] > 10
    assert np.mean(seen[-100:]) < 0.3 * seen[0]


def test_the_hour_of_the_observation_is_the_hour_of_the_world(bus_town: World):
    rollout = Rollout(bus_town, make_routes(3, [0], 4, 50.0), 4, 8)
    _, _, time_of_day = rollout.look()
    assert time_of_day == pytest.approx(rollout.state.started_h)
    rollout.state.started_h[:], rollout.state.step[:] = 23.75, 18_000
    assert rollout.look()[2] == pytest.approx(np.full(4, 0.25), abs=1e-4)


def test_towns_without_hours_close_their_bus_lanes_all_day(bus_town: World, tmp_path: Path):
    assert bus_town.town_bus_lane_hours.tolist() == [[[7.0, 9.0], [16.0, 19.0]]]
    left = TownLibrary(tmp_path).world(["left_buslane-1"])
    assert left.town_bus_lane_hours.tolist() == [[[7.0, 19.0], [0.0, 0.0]]]
