"""Roads with limits above those of towns are driven at their limits, and safely."""

import numpy as np
import pytest

from fleetloop.core.types import EGO, World
from fleetloop.sim import behaviour
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import make_routes


@pytest.fixture(scope="module")
def highway(tmp_path_factory: pytest.TempPathFactory) -> World:
    return TownLibrary(tmp_path_factory.mktemp("towns")).world(["highway-1"])


def test_the_demonstrator_drives_a_highway_at_its_limit(highway: World):
    rollout = Rollout(highway, make_routes(1, [0], 100, 4000.0), 8, 30)
    fastest = np.zeros(8)
    for _ in range(900):
        rollout.decide()
        rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
        speed, lane = rollout.state.speed[:, EGO], rollout.state.path[:, EGO, 0]
        assert (speed <= highway.lane_speed_limit_mps[lane] + 3.0).all()
        # Comfortable also in bends: 3 m/s^2 is what ISO 11270 allows, at the speed before the step.
        swerve = np.abs(rollout.state.curvature[:, EGO]) * speed**2
        assert swerve[speed > behaviour.BRISK_MPS].max(initial=0.0) < 3.2
        fastest = np.maximum(fastest, speed)
    assert fastest.max() > 28.0
    assert not any(result.critical_interventions for result in rollout.results)
    assert not any(result.critical_interventions for result in rollout.routes_under_way)


def test_towns_look_as_far_as_ever_and_highways_farther():
    assert behaviour.look_ahead_m(13.9) == behaviour.LOOKAHEAD_M
    for speed in (20.0, 36.0):
        stopping = speed**2 / (2.0 * behaviour.COMFORTABLE_DECELERATION_MPS2)
        assert behaviour.look_ahead_m(speed) > stopping


def test_lanes_that_end_are_left_before_their_end(highway: World):
    """Most who come up a ramp change over at speed; nobody has to stop where the lane ends for long."""
    ending = (highway.lane_ends > 0) & (highway.lane_speed_limit_mps > behaviour.BRISK_MPS)
    assert ending.any()
    rollout = Rollout(highway, make_routes(2, [0], 100, 1e6), 8, 40)
    on, stood = 0, 0
    for _ in range(900):
        rollout.decide()
        rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
        there = ending[np.maximum(rollout.state.path[:, :, 0], 0)] & (rollout.state.kind != 255)
        on += int(there.sum())
        stood += int((there & (rollout.state.speed < 1.0)).sum())
    assert on > 200
    assert stood < 0.2 * on
