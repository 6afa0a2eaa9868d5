"""The worlds as Gymnasium and PettingZoo environments: the interfaces' own checkers, same seed same bits, rewards."""

import importlib.util
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

if not all(importlib.util.find_spec(module) for module in ("gymnasium", "pettingzoo")):
    pytest.skip(
        "gymnasium or pettingzoo is absent: pip install 'fleetloop[environments]'", allow_module_level=True
    )

import gymnasium
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from pettingzoo.test import parallel_api_test, parallel_seed_test

from fleetloop.core.errors import ConfigError, MapError
from fleetloop.core.types import STEP_S, AgentKind, World
from fleetloop.sim.cameras import DEFAULT_RIG, equal_rig
from fleetloop.sim.environments import (
    DrivingEnv,
    DrivingParallelEnv,
    DrivingVectorEnv,
    EnvironmentConfig,
    LearnerWorlds,
    Sees,
)
from fleetloop.sim.environments.learner_worlds import LATERAL_MPS2, STRONGEST_MPS2
from fleetloop.sim.roads import TownLibrary
from fleetloop.sim.safety_driver import Danger
from fleetloop.sim.scenarios import FAMILIES
from fleetloop.sim.state_view import OTHER_FIELDS, OTHERS, OWN_FIELDS, STATE_FIELDS
from toy_world import toy_world

TINY_RIG = equal_rig(24, 16)
SHORT = EnvironmentConfig(agents=8, episode_steps=40)
SEES = [
    EnvironmentConfig(agents=8, episode_steps=40, sees=sees, rig=TINY_RIG, variety=0.5)
    for sees in (Sees.STATE, Sees.CAMERAS, Sees.BOTH)
]


@pytest.mark.parametrize("config", SEES, ids=lambda config: config.sees)
def test_gymnasiums_checker_passes(config: EnvironmentConfig) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # The checker wonders about pictures that are not 4 images tall; there is no other reason to warn.
        warnings.filterwarnings("ignore", message=".*spec.*|.*render.*|.*Box observation space.*")
        check_env(DrivingEnv(toy_world(), config), skip_render_check=True)


@pytest.mark.parametrize("config", SEES, ids=lambda config: config.sees)
def test_vector_environment_keeps_its_spaces(config: EnvironmentConfig) -> None:
    environment = DrivingVectorEnv(3, toy_world(), config)
    observation, _ = environment.reset(seed=3)
    assert environment.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert observation in environment.observation_space
    environment.action_space.seed(1)
    finals = 0
    for _ in range(90):
        observation, rewards, terminated, truncated, infos = environment.step(
            environment.action_space.sample()
        )
        assert observation in environment.observation_space
        assert rewards.shape == terminated.shape == truncated.shape == (3,)
        assert not (terminated & truncated).any()
        for row in np.flatnonzero(terminated | truncated):
            assert infos["_final_obs"][row]
            assert infos["final_obs"][row] in environment.single_observation_space
            finals += 1
    assert finals >= 6


def test_make_vec_finds_it() -> None:
    environment = gymnasium.make_vec(
        "fleetloop.sim.environments:fleetloop/Drive-v0", num_envs=2, towns=toy_world(), config=SHORT
    )
    assert isinstance(environment.unwrapped, DrivingVectorEnv)
    assert environment.reset(seed=1)[0].shape == (2, STATE_FIELDS)
    environment.close()


@pytest.mark.parametrize("learners", [1, 5])
def test_pettingzoos_checkers_pass(learners: int) -> None:
    def make() -> DrivingParallelEnv:
        config = EnvironmentConfig(learners=learners, agents=8, episode_steps=40)
        return DrivingParallelEnv(toy_world(), config)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(make(), num_cycles=150)
    parallel_seed_test(make, num_cycles=20)


def test_every_vehicle_can_be_a_learner() -> None:
    environment = DrivingParallelEnv(toy_world(), EnvironmentConfig(learners=6, agents=6, episode_steps=60))
    observations, _ = environment.reset(seed=5)
    assert len(observations) == 6 and environment.worlds.state.learner.all()
    before = environment.worlds.state.pose[0, :, :2].copy()
    for _ in range(20):
        environment.step(environment.demonstrate())
    moved = np.hypot(*(environment.worlds.state.pose[0, :, :2] - before).T)
    assert (moved > 1.0).sum() >= 4
    assert environment.state().shape == (6, 4)


def trace(make: Callable[[], DrivingVectorEnv], rows: slice, steps: int = 60) -> np.ndarray:
    """All that some learners of a vector environment saw and earned; everybody acts by a rule of what it sees."""
    environment = make()
    observation, _ = environment.reset(seed=11)
    told = []
    for step in range(steps):
        seen = observation["state"] if isinstance(observation, dict) else observation
        wanted = np.stack([np.sin(seen.sum(axis=1) + step), np.cos(3.0 * seen[:, 0] + step)], axis=1)
        observation, rewards, terminated, truncated, _ = environment.step(wanted.astype(np.float32))
        parts = observation.values() if isinstance(observation, dict) else [observation]
        told.append(
            np.concatenate(
                [part[rows].reshape(-1).astype(np.float64) for part in parts]
                + [rewards[rows], terminated[rows], truncated[rows]]
            )
        )
    return np.stack(told)


@pytest.fixture(scope="module")
def generated_town(tmp_path_factory: pytest.TempPathFactory) -> World:
    return TownLibrary(tmp_path_factory.mktemp("towns")).world(["grid-0"])


@pytest.mark.parametrize("learners", [1, 2])
@pytest.mark.parametrize("generated", [False, True])
def test_same_seed_same_bits_whatever_the_batch_and_the_threads(
    learners: int, generated: bool, generated_town: World
) -> None:
    world = generated_town if generated else toy_world()

    def make(worlds: int, threads: int) -> DrivingVectorEnv:
        config = EnvironmentConfig(
            learners=learners,
            agents=8,
            episode_steps=25,
            sees=Sees.BOTH,
            rig=TINY_RIG,
            variety=1.0,
            threads=threads,
        )
        return DrivingVectorEnv(worlds * learners, world, config)

    alone = trace(lambda: make(1, 1), slice(0, learners))
    many = trace(lambda: make(4, 2), slice(0, learners))
    np.testing.assert_array_equal(alone, many)
    other = trace(lambda: make(4, 2), slice(learners, 2 * learners))
    assert (alone != other).any()


def test_episodes_differ_and_a_seed_brings_the_first_one_back() -> None:
    environment = DrivingVectorEnv(2, toy_world(), SHORT)
    first = environment.reset(seed=7)[0]
    second = environment.reset()[0]
    assert (first != second).any() and (first[0] != first[1]).any()
    np.testing.assert_array_equal(environment.reset(seed=7)[0], first)


def test_the_demonstrator_earns_more_than_random_driving() -> None:
    def earned(choose: Callable[[DrivingVectorEnv], np.ndarray]) -> float:
        environment = DrivingVectorEnv(4, toy_world(), EnvironmentConfig(agents=6, episode_steps=150))
        environment.reset(seed=2)
        environment.action_space.seed(2)
        return sum(float(environment.step(choose(environment))[1].sum()) for _ in range(150))

    demonstrated = earned(lambda environment: environment.demonstrate())
    assert demonstrated > 0.0
    assert demonstrated > earned(lambda environment: environment.action_space.sample()) + 100.0


def test_steering_off_the_road_ends_the_episode_and_costs() -> None:
    environment = DrivingEnv(toy_world(), EnvironmentConfig(agents=1, penalty_m=40.0))
    environment.reset(seed=4)
    for _ in range(100):
        _, reward, terminated, truncated, infos = environment.step(np.array([1.0, 0.2], np.float32))
        if terminated or truncated:
            break
    assert terminated and not truncated
    assert infos["danger"] in (Danger.OFF_ROAD, Danger.WRONG_WAY) and -40.0 <= reward < -35.0


def test_metres_beyond_the_limit_earn_nothing() -> None:
    worlds = LearnerWorlds(toy_world(), 1, EnvironmentConfig(agents=1))
    worlds.reset(1)
    worlds.state.speed[0, 0] = 30.0
    outcome = worlds.step(np.zeros((1, 1, 2), np.float32))
    penalty = worlds.config.penalty_m if outcome.terminated[0, 0] else 0.0
    assert outcome.reward[0, 0] + penalty == pytest.approx(13.9 * STEP_S, abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    actions=hnp.arrays(np.float32, (1, 1, 2), elements=st.floats(width=32)),
    speed=st.floats(0.0, 30.0),
)
def test_controls_stay_within_what_a_car_can_do(actions: np.ndarray, speed: float) -> None:
    worlds = WORLDS
    worlds.state.speed[0, 0], worlds.state.curvature[0, 0] = speed, 0.0
    curvature, acceleration = worlds.controls(actions)
    assert abs(float(curvature[0, 0])) * speed**2 <= LATERAL_MPS2 * 1.001
    assert abs(float(curvature[0, 0])) <= 0.03 + 1e-6
    assert -STRONGEST_MPS2[0] <= float(acceleration[0, 0]) <= STRONGEST_MPS2[1]


WORLDS = LearnerWorlds(toy_world(), 1, EnvironmentConfig(agents=1))


def test_worlds_have_all_their_learners() -> None:
    with pytest.raises(ConfigError, match="num_envs is 5; use a multiple of learners, 2"):
        DrivingVectorEnv(5, toy_world(), EnvironmentConfig(learners=2))


def test_one_learner_is_told_why_its_world_was_retired() -> None:
    environment = DrivingEnv(toy_world(), EnvironmentConfig(agents=4))
    environment.reset(seed=3)
    environment.worlds.state.speed[0, 0] = 500.0
    *_, terminated, truncated, infos = environment.step(np.zeros(2, np.float32))
    assert truncated and not terminated and "car 0 has an impossible speed" in infos["failure"]


def test_state_tells_of_the_nearest_others_first() -> None:
    environment = DrivingVectorEnv(4, toy_world(), EnvironmentConfig(agents=8))
    observation, _ = environment.reset(seed=9)
    others = observation[:, -OTHERS * OTHER_FIELDS :].reshape(4, OTHERS, OTHER_FIELDS)
    assert (others[..., 0].sum(axis=1) >= 1.0).all()
    for row in others:
        there = row[row[:, 0] == 1.0]
        distance = np.hypot(there[:, 1], there[:, 2])
        assert (np.diff(distance) >= -1e-6).all()
        assert (row[len(there) :] == 0.0).all()
    state = environment.worlds.state
    np.testing.assert_allclose(observation[:, 0], state.speed[:, 0] / 15.0, rtol=1e-6)
    nearest = np.array(
        [
            min(
                np.hypot(*(state.pose[w, a, :2] - state.pose[w, 0, :2]))
                for a in range(1, 8)
                if state.kind[w, a] != AgentKind.NONE
            )
            for w in range(4)
        ]
    )
    np.testing.assert_allclose(np.hypot(others[:, 0, 1], others[:, 0, 2]) * 50.0, nearest, rtol=1e-4)
    # The path begins ahead.
    assert (observation[:, OWN_FIELDS] > 0.0).all()


def test_a_rig_of_several_groups_gives_several_arrays() -> None:
    config = EnvironmentConfig(agents=4, sees=Sees.CAMERAS, rig=DEFAULT_RIG)
    environment = DrivingVectorEnv(2, toy_world(), config)
    observation, _ = environment.reset(seed=1)
    assert observation["cameras_0"].shape == (2, 3, 64, 96, 3)
    assert observation["cameras_1"].shape == (2, 5, 32, 48, 3)
    assert observation["cameras_0"].std() > 10.0
    pictures = environment.render()
    assert pictures is not None and pictures[0].shape == (64, 3 * 96, 3)


def test_the_example_of_ppo_learns() -> None:
    """A second is too short to learn to drive; what is learned from must arrive, and the networks must change."""
    path = Path(__file__).parent.parent / "examples" / "ppo.py"
    loader = importlib.util.spec_from_file_location("ppo", path)
    assert loader is not None and loader.loader is not None
    ppo = importlib.util.module_from_spec(loader)
    sys.modules["ppo"] = ppo
    loader.loader.exec_module(ppo)
    environment = DrivingVectorEnv(8, toy_world(), EnvironmentConfig(agents=4, episode_steps=20))
    driver, history = ppo.train(environment, ppo.Settings(seconds=1.0, steps=32))
    assert history and all(np.isfinite(history))
    first = ppo.Driver(STATE_FIELDS, 2)
    assert any((new != old).any() for new, old in zip(driver.parameters(), first.parameters(), strict=True))


def test_worlds_begin_with_scenarios_at_the_rate_asked_for() -> None:
    family = next(iter(FAMILIES))
    config = EnvironmentConfig(agents=16, episode_steps=5, scenarios=tuple(FAMILIES), scenario_share=0.5)
    names = []
    environment = DrivingVectorEnv(8, toy_world(), config)
    environment.reset(seed=1)
    for _ in range(50):
        infos = environment.step(environment.demonstrate())[4]
        names += infos["scenario"][infos["_final_obs"]].tolist() if "_final_obs" in infos else []
    staged = [name for name in names if name]
    # Some families find no place in so small a town.
    assert len(names) >= 80 and 0.1 < len(staged) / len(names) < 0.65
    assert len(set(staged)) >= 4 and set(staged) <= set(FAMILIES)
    never = DrivingVectorEnv(
        4, toy_world(), EnvironmentConfig(agents=16, scenarios=(family,), scenario_share=0.0)
    )
    never.reset(seed=1)
    assert never.worlds.scenarios == [""] * 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learners": 0}, "learners is 0; use 1 or more"),
        ({"learners": 9, "agents": 8}, "agents is 8; use 9 or more"),
        ({"variety": 1.5}, "variety is 1.5; use 0 to 1"),
        ({"penalty_m": -1.0}, "penalty_m is -1.0; use 0 or more"),
        ({"scenario_share": 2.0}, "scenario_share is 2.0; use 0 to 1"),
        ({"scenarios": ("dragons",)}, "scenario: 'dragons' is unknown"),
        ({"scenarios": ("cut_in",), "learners": 2}, "scenarios are about one learner, not 2"),
    ],
)
def test_impossible_configurations_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EnvironmentConfig(**fields)


def test_several_learners_need_another_interface() -> None:
    with pytest.raises(ConfigError, match="learners is 2; use 1, a DrivingVectorEnv"):
        DrivingEnv(toy_world(), EnvironmentConfig(learners=2))


def test_too_many_learners_for_a_town_are_refused() -> None:
    with pytest.raises(MapError, match="no room for 200 learners"):
        LearnerWorlds(toy_world(), 1, EnvironmentConfig(learners=200, agents=200)).reset(1)
