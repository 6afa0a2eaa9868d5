"""The search for scenarios that a driver masters least."""

import numpy as np
import pytest

from fleetloop.core.errors import ConfigError
from fleetloop.core.types import EGO, STEP_S, Plan, World
from fleetloop.evaluate.scenario_search import (
    SearchConfig,
    demonstrator,
    scenario_route,
    search_scenario,
)
from fleetloop.safety.limits import SafetyLayer
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.sim.rollout import SCENARIO_AGENTS, Rollout
from fleetloop.sim.scenarios import family_named
from fleetloop.sim.scenarios.family import parameter_of

NAME = "hard_braking_lead"
SMALL = SearchConfig(rounds=3, worlds=12)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return TownLibrary(tmp_path_factory.mktemp("towns")).world(["grid-1"])


def _sleepy(rollout: Rollout) -> Plan:
    """A driver that brakes for those ahead only when they are near."""
    plan = rollout.teaching.plan()
    late = (rollout.teaching.lead_gap_m > 7.0) & (plan.acceleration_mps2 < 0.0)
    plan.acceleration_mps2[:] = np.where(late, 0.0, plan.acceleration_mps2)
    return plan


def test_a_search_finds_harder_scenarios_than_chance(world: World):
    searched = search_scenario(world, NAME, demonstrator, SMALL, seed=4)
    drawn = search_scenario(world, NAME, demonstrator, SearchConfig(rounds=1, worlds=12), seed=4)
    assert [trial.hardness for trial in searched] == sorted((t.hardness for t in searched), reverse=True)
    assert searched[0].hardness >= drawn[0].hardness
    # The later rounds are harder than the first on the whole.
    assert np.mean([t.hardness for t in searched[:12]]) > np.mean([t.hardness for t in drawn])
    for trial in searched:
        family_named(NAME).check(trial.parameters)


def test_the_same_seed_finds_the_same(world: World):
    first, second = (search_scenario(world, NAME, demonstrator, SMALL, seed=7) for _ in range(2))
    assert [(t.seed, t.parameters, t.hardness) for t in first] == [
        (t.seed, t.parameters, t.hardness) for t in second
    ]


def test_it_finds_what_a_bad_driver_fails_at_and_that_can_be_driven_again(world: World):
    worst = search_scenario(world, NAME, _sleepy, SMALL, seed=1)[0]
    assert not worst.result.success
    route = scenario_route(NAME, worst.seed, 0, worst.parameters)
    rollout, layer = Rollout(world, iter([route]), 1, SCENARIO_AGENTS), SafetyLayer(1, STEP_S)
    while rollout.active.any():
        rollout.decide()
        controls = layer.limit(_sleepy(rollout), rollout.state.speed[:, EGO])
        step = rollout.step(controls.curvature_1pm, controls.acceleration_mps2)
        layer.remember(step.curvature, step.acceleration, step.ended)
    assert rollout.results[0] == worst.result


def test_what_cannot_be_searched_is_refused(world: World):
    with pytest.raises(ConfigError, match="worlds is 1"):
        SearchConfig(worlds=1)
    with pytest.raises(ConfigError, match="unknown"):
        search_scenario(world, "nothing", demonstrator, SMALL)
    assert parameter_of("speed_mps=9.5") == ("speed_mps", 9.5)
    with pytest.raises(ConfigError, match="'speed' is not a parameter"):
        parameter_of("speed")
