"""The worlds as Gymnasium environments: many learners at once, or one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from fleetloop.core.errors import ConfigError
from fleetloop.core.types import World
from fleetloop.sim.environments.learner_worlds import EnvironmentConfig, LearnerWorlds, Outcome
from fleetloop.sim.environments.spaces import action_space, observation_space
from fleetloop.sim.environments.views import CAMERAS, STATE, Views
from fleetloop.sim.roads import TownLibrary

DEFAULT_TOWNS = ("grid-0", "organic-0", "spider-0")


def world_of(towns: World | Sequence[str], folder: Path) -> World:
    """The towns themselves, or those of these keys, made and kept in a folder."""
    return towns if isinstance(towns, World) else TownLibrary(folder).world(list(towns))


def plain(arrays: dict[str, np.ndarray]) -> Any:
    """An observation as its space has it: a `state` alone is no dictionary."""
    return arrays[STATE] if list(arrays) == [STATE] else arrays


class DrivingVectorEnv(VectorEnv):
    """`num_envs` learners, `config.learners` of them in each world; an episode that ends begins anew in the same step.

    The last observations of an episode are in infos["final_obs"], as Gymnasium's SAME_STEP asks. The same seed gives
    the same bits, whatever the number of worlds or threads.

    Args:
        num_envs: learners; a multiple of `config.learners`.
        towns: a World, or keys of a TownLibrary.
        folder: holds the towns that keys name.

    Raises:
        ConfigError: a number is out of its range.
        MapError: a town cannot be made, or has no room.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10, "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        towns: World | Sequence[str] = DEFAULT_TOWNS,
        config: EnvironmentConfig | None = None,
        folder: Path = Path("workspace/towns"),
        render_mode: str | None = None,
    ) -> None:
        self.config = config or EnvironmentConfig()
        worlds, left_over = divmod(num_envs, self.config.learners)
        if left_over:
            raise ConfigError(
                f"environment: num_envs is {num_envs}; use a multiple of learners, {self.config.learners}"
            )
        self.worlds = LearnerWorlds(world_of(towns, folder), worlds, self.config)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.single_action_space = action_space()
        self.single_observation_space = observation_space(self.config)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._views = Views(self.worlds)
        self._everywhere = np.ones(worlds, bool)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin anew everywhere; without a seed for the first time, with a random one."""
        super().reset(seed=seed)
        self.worlds.reset(seed)
        return self._observe(), {}

    def step(self, actions: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Drive 0.1 s with `actions` [num_envs, 2].

        infos: `danger` [num_envs], the Danger that ended an episode, TOUCHED (-1) or 0; `scenario`, the name of the
        family that each began with or nothing; for those that ended `final_obs`; `failure`, when a world was retired,
        with the reason.
        """
        worlds, shape = self.worlds, (self.worlds.worlds, self.config.learners)
        outcome = worlds.step(np.asarray(actions, np.float32).reshape(*shape, 2))
        worlds.look_around()
        staged = np.repeat(np.array(worlds.scenarios, object), self.config.learners)
        ended, infos = outcome.ended, {"danger": outcome.danger.ravel(), "scenario": staged}
        if worlds.failures:
            told = np.array([worlds.failures.get(w, "") for w in range(worlds.worlds)], object)
            infos["failure"] = np.repeat(told, self.config.learners)
        if self.config.learners > 1:
            outcome = self._cut_off_companions(outcome)
            ended = outcome.ended
        if ended.any():
            self._add_final(infos, ended)
            worlds.respawn(ended)
            worlds.look_around()
        observation = self._observe()
        rewards = outcome.reward.ravel().astype(np.float64)
        return observation, rewards, outcome.terminated.ravel(), outcome.truncated.ravel(), infos

    def _cut_off_companions(self, outcome: Outcome) -> Outcome:
        """Where the first learner of a world ended, the episodes of the others are cut off."""
        return outcome._replace(truncated=outcome.truncated | (outcome.ended[:, :1] & ~outcome.terminated))

    def _add_final(self, infos: dict[str, Any], ended: np.ndarray) -> None:
        last = self._views.update(np.asarray(ended.any(axis=1)))
        final = np.full(self.num_envs, None, object)
        for row in np.flatnonzero(ended.ravel()):
            final[row] = plain({name: array[row].copy() for name, array in last.items()})
        infos["final_obs"], infos["_final_obs"] = final, ended.ravel().copy()

    def _observe(self) -> Any:
        return plain({name: array.copy() for name, array in self._views.update(self._everywhere).items()})

    def demonstrate(self) -> np.ndarray:
        """Actions [num_envs, 2] that the demonstrator would take now: for learning by imitation, and as a yardstick."""
        return self.worlds.demonstrate().reshape(self.num_envs, 2)

    def render(self) -> tuple[np.ndarray, ...] | None:
        """The pictures of all cameras of each learner, side by side, if cameras are observed."""
        return pictures_of(self._views)


def pictures_of(views: Views) -> tuple[np.ndarray, ...] | None:
    """For each learner the last pictures of the first group of cameras, side by side; None if none are observed."""
    groups = [array for name, array in views.arrays.items() if name.startswith(CAMERAS)]
    if not groups:
        return None
    return tuple(np.concatenate(list(row), axis=1) for row in groups[0])


class DrivingEnv(gymnasium.Env):
    """One learner, with Gymnasium's usual interface; an episode that ended waits for `reset`.

    For speed use DrivingVectorEnv: a step of many learners takes little longer than one of this.

    Raises:
        ConfigError: a number is out of its range, or there are several learners.
        MapError: a town cannot be made, or has no room.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        towns: World | Sequence[str] = DEFAULT_TOWNS,
        config: EnvironmentConfig | None = None,
        folder: Path = Path("workspace/towns"),
        render_mode: str | None = None,
    ) -> None:
        self.config = config or EnvironmentConfig()
        if self.config.learners != 1:
            raise ConfigError(
                f"environment: learners is {self.config.learners}; use 1, a DrivingVectorEnv or a DrivingParallelEnv"
            )
        self.worlds = LearnerWorlds(world_of(towns, folder), 1, self.config)
        self.render_mode = render_mode
        self.action_space = action_space()
        self.observation_space = observation_space(self.config)
        self._views = Views(self.worlds)
        self._here = np.ones(1, bool)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin anew; without a seed for the first time, with a random one."""
        super().reset(seed=seed)
        self.worlds.reset(seed)
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Drive 0.1 s; infos as of DrivingVectorEnv, for the one learner."""
        outcome = self.worlds.step(np.asarray(action, np.float32).reshape(1, 1, 2))
        self.worlds.look_around()
        infos = {"danger": int(outcome.danger[0, 0]), "scenario": self.worlds.scenarios[0]}
        if self.worlds.failures:
            infos["failure"] = self.worlds.failures[0]
        ends = bool(outcome.terminated[0, 0]), bool(outcome.truncated[0, 0])
        return self._observe(), float(outcome.reward[0, 0]), *ends, infos

    def _observe(self) -> Any:
        return plain({name: array[0].copy() for name, array in self._views.update(self._here).items()})

    def render(self) -> np.ndarray | None:
        """The pictures of all cameras side by side, if cameras are observed."""
        pictures = pictures_of(self._views)
        return pictures[0] if pictures else None


gymnasium.register(
    id="fleetloop/Drive-v0",
    entry_point=f"{__name__}:DrivingEnv",
    vector_entry_point=f"{__name__}:DrivingVectorEnv",
)
