"""A learner that drives in the lane beside its path goes on from there: the phone finds another way."""

from pathlib import Path

import numpy as np
import pytest

from fleetloop.core.types import EGO, State, World
from fleetloop.sim.paths import turn_of
from small_towns import crossroads
from toy_traffic import Car, drive, put


@pytest.fixture(scope="module")
def two_lanes(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder: Path = tmp_path_factory.mktemp("crossroads")
    return crossroads(folder, "priority", 50.0, ("", ""))


def _onward(world: World, lane: int) -> list[int]:
    return world.successors[world.successor_start[lane] : world.successor_start[lane + 1]].tolist()


def _beside(world: World, offset_m: float, way: int = 0) -> tuple[State, int, int]:
    """A learner so far left of a lane that has a neighbour on its left; that lane, and its neighbour."""
    into = [lane for lane in np.flatnonzero(world.lane_left >= 0).tolist() if len(_onward(world, lane)) > 1]
    lane = into[0]
    onward = _onward(world, lane)[way]
    path = (lane, onward, _onward(world, onward)[0])
    car = Car(along_m=60.0, speed_mps=8.0, path=path, offset_m=offset_m)
    return put(world, car), lane, int(world.lane_left[lane])


def test_who_is_over_the_line_goes_on_along_the_next_lane(two_lanes: World):
    state, _, neighbour = _beside(two_lanes, 2.5)
    drive(two_lanes, state)
    assert state.path[0, EGO, 0] == neighbour
    assert state.offset[0, EGO] == pytest.approx(2.5 - 3.5, abs=0.05)
    assert state.path[0, EGO, 1] in _onward(two_lanes, neighbour)
    # And stays there: back over the line is as far as it was over.
    drive(two_lanes, state)
    assert state.path[0, EGO, 0] == neighbour


@pytest.mark.parametrize("offset_m", [-2.5, 0.0, 1.9])
def test_who_is_not_keeps_the_path(two_lanes: World, offset_m: float):
    state, lane, _ = _beside(two_lanes, offset_m)
    before = state.path[0, EGO].copy()
    drive(two_lanes, state)
    assert state.path[0, EGO, 0] == lane
    assert state.path[0, EGO, 1] == before[1]


@pytest.mark.parametrize("way", [0, 1])
def test_the_turn_that_was_meant_is_taken_where_the_lane_allows_it(two_lanes: World, way: int):
    state, _, neighbour = _beside(two_lanes, 2.5, way)
    meant = turn_of(two_lanes, state.path[0, EGO, 1])
    drive(two_lanes, state)
    differs = [abs(turn_of(two_lanes, lane) - meant) for lane in _onward(two_lanes, neighbour)]
    assert abs(turn_of(two_lanes, state.path[0, EGO, 1]) - meant) == pytest.approx(min(differs))


def test_a_lane_that_it_may_not_use_stays_the_wrong_one(two_lanes: World):
    state, lane, neighbour = _beside(two_lanes, 2.5)
    closed = two_lanes.lane_use.copy()
    closed[neighbour] = 0
    drive(two_lanes._replace(lane_use=closed), state)
    assert state.path[0, EGO, 0] == lane
