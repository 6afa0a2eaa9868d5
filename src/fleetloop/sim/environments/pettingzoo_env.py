"""A world as a PettingZoo parallel environment: several learners that meet each other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from fleetloop.core.types import World
from fleetloop.sim.environments.gymnasium_env import DEFAULT_TOWNS, pictures_of, plain, world_of
from fleetloop.sim.environments.learner_worlds import EnvironmentConfig, LearnerWorlds
from fleetloop.sim.environments.spaces import action_space, observation_space
from fleetloop.sim.environments.views import Views


class DrivingParallelEnv(ParallelEnv):
    """The learners "vehicle_0", "vehicle_1", ... of one world; whose episode ends goes on as an ordinary road user.

    Any number of a world's road users may be learners, all of them included: `learners=32, agents=32`.

    Args:
        towns: a World, or keys of a TownLibrary.
        folder: holds the towns that keys name.

    Raises:
        ConfigError: a number is out of its range.
        MapError: a town cannot be made, or has no room.
    """

    metadata = {"name": "fleetloop_drive_v0", "render_modes": ["rgb_array"], "is_parallelizable": True}  # noqa: RUF012

    def __init__(
        self,
        towns: World | Sequence[str] = DEFAULT_TOWNS,
        config: EnvironmentConfig | None = None,
        folder: Path = Path("workspace/towns"),
        render_mode: str | None = None,
    ) -> None:
        self.config = config or EnvironmentConfig(learners=8)
        self.worlds = LearnerWorlds(world_of(towns, folder), 1, self.config)
        self.render_mode = render_mode
        self.possible_agents = [f"vehicle_{number}" for number in range(self.config.learners)]
        self.agents: list[str] = []
        self.action_spaces: dict[str, spaces.Space] = {name: action_space() for name in self.possible_agents}
        self.observation_spaces: dict[str, spaces.Space] = {
            name: observation_space(self.config) for name in self.possible_agents
        }
        self._views = Views(self.worlds)

    def observation_space(self, agent: str) -> spaces.Space:
        """Always the same object for the same agent."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space:
        """Always the same object for the same agent."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin anew; without a seed for the first time, with a random one."""
        self.worlds.reset(seed)
        self.agents = list(self.possible_agents)
        return self._observe(self.agents), {name: {} for name in self.agents}

    def step(
        self, actions: dict[str, np.ndarray]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """Drive 0.1 s; learners without an action do nothing: they roll straight on."""
        acting = list(self.agents)
        wanted = np.zeros((1, self.config.learners, 2), np.float32)
        for name, action in actions.items():
            wanted[0, self._number(name)] = action
        outcome = self.worlds.step(wanted)
        self.worlds.retire(outcome.ended)
        self.worlds.look_around()
        observations = self._observe(acting)
        self.agents = [name for name in acting if not outcome.ended[0, self._number(name)]]

        def told(values: np.ndarray) -> dict[str, Any]:
            return {name: values[0, self._number(name)].item() for name in acting}

        infos: dict[str, Any] = {name: {"danger": danger} for name, danger in told(outcome.danger).items()}
        for name in acting if self.worlds.failures else ():
            infos[name]["failure"] = self.worlds.failures[0]
        return observations, told(outcome.reward), told(outcome.terminated), told(outcome.truncated), infos

    def _number(self, name: str) -> int:
        return int(name.removeprefix("vehicle_"))

    def _observe(self, names: Sequence[str]) -> dict[str, Any]:
        arrays = self._views.update(np.ones(1, bool))
        return {
            name: plain({kind: array[self._number(name)].copy() for kind, array in arrays.items()})
            for name in names
        }

    def demonstrate(self) -> dict[str, np.ndarray]:
        """The actions that the demonstrator would take now."""
        wanted = self.worlds.demonstrate()[0]
        return {name: wanted[self._number(name)] for name in self.agents}

    def state(self) -> np.ndarray:
        """Not observed by anybody: poses and speeds of all road users, [agents, 4]."""
        return np.concatenate([self.worlds.state.pose[0], self.worlds.state.speed[0, :, None]], axis=1)

    def render(self) -> np.ndarray | None:
        """The cameras of the first vehicle side by side, if cameras are observed."""
        pictures = pictures_of(self._views)
        return pictures[0] if pictures else None
