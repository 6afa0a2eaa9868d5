"""Worlds with learners that are steered from outside: what the Gymnasium and the PettingZoo environment share.

A reward is metres made good, and a critical intervention (what the safety driver would take over for, see
`sim.safety_driver`) costs `penalty_m` metres and ends the episode: a return counts what KPCI counts.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numba
import numpy as np
from jaxtyping import Bool, Float32, Int32
from numba import njit, prange

from fleetloop.core.checks import check_at_least, check_shares
from fleetloop.core.errors import ConfigError, MapError
from fleetloop.core.kernels import device
from fleetloop.core.random import Stream, bits, uniform
from fleetloop.core.types import EGO, STEP_S, AgentKind, CameraRig, World
from fleetloop.sim.behaviour import BUBBLE_RADIUS_M
from fleetloop.sim.cameras import equal_rig
from fleetloop.sim.daytime import start_clocks
from fleetloop.sim.demonstrator import MAXIMUM_CURVATURE_1PM, empty_teaching, teach
from fleetloop.sim.health import find_broken, name_broken
from fleetloop.sim.motion import advance
from fleetloop.sim.occupancy import empty_occupancy
from fleetloop.sim.prediction import touching
from fleetloop.sim.rollout import ROAD_END_M, empty_state
from fleetloop.sim.safety_driver import Danger, watch
from fleetloop.sim.scenarios import family_named, set_up_scenario
from fleetloop.sim.spawn import NEEDED_M, place, spawn_world
from fleetloop.sim.traffic import decide, empty_decision

STRONGEST_MPS2 = (6.0, 3.0)
"""Braking and accelerating at full action."""
LATERAL_MPS2 = 4.0
"""Curvature is bounded by MAXIMUM_CURVATURE_1PM and by this lateral acceleration."""
CURVATURE_RATE_1PMS = 0.3
"""About 0.8 rad/s at the front wheels."""
STRAYED_M = BUBBLE_RADIUS_M + 60.0
"""A learner that is farther from the first one has no traffic around it: its episode is cut off."""
TOUCHED = -1
"""Instead of a Danger: somebody ran into the learner."""
_SAFE, _COLLISION = int(Danger.NONE), int(Danger.COLLISION)
_TRIES = 16
_NEW_PLACE_M = 30.0
_SMALL_BATCH = 4096
"""Road users; starting several threads costs more than a step of a batch below takes."""


class Sees(StrEnum):
    """What a learner observes."""

    STATE = "state"
    CAMERAS = "cameras"
    BOTH = "both"


@dataclass(frozen=True)
class EnvironmentConfig:
    """What is driven, and what for."""

    learners: int = 1
    """In each world: the agents 0, 1, ..."""
    agents: int = 32
    """Road users in a world, learners among them, where the streets have room for so many."""
    sees: Sees = Sees.STATE
    rig: CameraRig = field(default_factory=lambda: equal_rig(96, 64))
    variety: float = 0.0
    """Of weather, light and colours, 0 to 1."""
    episode_steps: int = 600
    """After so many steps of 0.1 s an episode is cut off."""
    penalty_m: float = 25.0
    """Of a critical intervention or a collision, in metres made good."""
    scenarios: tuple[str, ...] = ()
    """Scenario families that worlds begin with, where the town has a place for them; for one learner in a world."""
    scenario_share: float = 0.25
    """Of the worlds that begin with a scenario, 0 to 1."""
    threads: int = 0
    """Of Numba, but for pictures, which take all; 0: one for small batches, otherwise all."""

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: a field is out of its range.
        """
        check_at_least(
            "environment", self, {"learners": 1, "agents": self.learners, "episode_steps": 1, "threads": 0}
        )
        check_shares("environment", self, ["variety", "scenario_share"])
        for name in self.scenarios:
            family_named(name)
        if self.scenarios and self.learners > 1:
            raise ConfigError(
                f"environment: scenarios are about one learner, not {self.learners}; use learners=1"
            )
        if self.penalty_m < 0.0:
            raise ConfigError(f"environment: penalty_m is {self.penalty_m}; use 0 or more")


class Outcome(NamedTuple):
    """What a step brought to each learner."""

    reward: Float32[np.ndarray, "W learners"]
    terminated: Bool[np.ndarray, "W learners"]
    truncated: Bool[np.ndarray, "W learners"]
    danger: Int32[np.ndarray, "W learners"]
    """Danger of a critical intervention that the controls called for, or COLLISION; TOUCHED; or NONE."""

    @property
    def ended(self) -> Bool[np.ndarray, "W learners"]:
        """Whose episode is over."""
        return self.terminated | self.truncated


@device
def _crash(world, state, w, a):
    other = touching(world, state, w, a)
    if other < 0:
        return _SAFE
    yaw = state.pose[w, a, 2]
    dx, dy = state.pose[w, other, 0] - state.pose[w, a, 0], state.pose[w, other, 1] - state.pose[w, a, 1]
    behind = math.cos(yaw) * dx + math.sin(yaw) * dy < -1.0
    # Who was run into, or stood when touched, is not to blame; the episode is over all the same.
    return TOUCHED if behind or state.speed[w, a] < 0.1 else _COLLISION


@njit(cache=True, parallel=True)
def find_crashes(world, state, driving, crashed):
    """Fill `crashed` [W, learners] with COLLISION, TOUCHED (by others' doing) or NONE."""
    for index in prange(state.seed.shape[0]):
        w = np.int64(index)
        for a in range(driving.shape[1]):
            crashed[w, a] = _crash(world, state, w, a) if driving[w, a] else _SAFE


class LearnerWorlds:
    """A batch of worlds with `config.learners` learners each.

    What happens in a world depends on the seed and the number of the world alone, not on how many others there are.
    """

    def __init__(self, world: World, worlds: int, config: EnvironmentConfig) -> None:
        if worlds < 1:
            raise ConfigError(f"environment: {worlds} worlds are less than one; use 1 or more")
        shape = (worlds, config.learners)
        self.world, self.config, self.worlds = world, config, worlds
        self.state = empty_state(worlds, config.agents)
        self.decision = empty_decision(worlds, config.agents)
        self.driving = np.zeros(shape, bool)
        """Learners that are steered from outside; the others run along by themselves."""
        self._occupancy = empty_occupancy(worlds, config.agents)
        self._teaching = empty_teaching(worlds)
        self._curvature = np.zeros((worlds, config.agents), np.float32)
        self._danger = np.zeros(worlds, np.int32)
        self._started = np.zeros(shape, np.int32)
        self._seed, self._seeded = np.zeros(worlds, np.uint64), False
        self._episodes = np.zeros(worlds, np.int64)
        self.failures: dict[int, str] = {}
        """What went wrong in the last step, by world: all episodes there are cut off."""
        self._broken = np.full((worlds, 2), -1, np.int32)
        self.scenarios = [""] * worlds
        """The family that each world began with, or nothing."""

    @contextlib.contextmanager
    def threads(self) -> Iterator[None]:
        """Kernels on as many threads as pay."""
        before = numba.get_num_threads()
        wanted = self.config.threads or (1 if self.state.kind.size < _SMALL_BATCH else before)
        numba.set_num_threads(min(wanted, before))
        try:
            yield
        finally:
            numba.set_num_threads(before)

    def reset(self, seed: int | None) -> None:
        """Begin anew in every world; without a seed, with the next episodes of the present one.

        Without a seed for the first time, a random one is taken.

        Raises:
            MapError: no place was found for the learners.
        """
        if seed is None and not self._seeded:
            seed = int(np.random.default_rng().integers(2**63))
        self._seeded = True
        if seed is not None:
            self._seed[:] = np.uint64(int(seed) % 2**64)
            self._episodes[:] = 0
        for w in range(self.worlds):
            self._start_world(w)
        self.look_around()

    def _start_world(self, w: int) -> None:
        """Another town, other traffic, other places.

        Raises:
            MapError: no place was found for the learners.
        """
        state, learners = self.state, self.config.learners
        towns = len(self.world.town_first_lane) - 1
        for _ in range(_TRIES):
            seed = bits(self._seed[w], w, self._episodes[w], int(Stream.ROUTE), 1) >> np.uint64(1)
            self._episodes[w] += 1
            state.seed[w], state.step[w] = seed, 0
            state.town[w] = int(bits(seed, 0, 0, int(Stream.TOWN), 0) % np.uint64(towns))
            start_clocks(state, w)
            state.learner[w], state.learner[w, :learners] = 0, 1
            if (
                spawn_world(self.world, state, w, NEEDED_M)
                and (state.kind[w, :learners] != AgentKind.NONE).all()
            ):
                self.driving[w], self._started[w] = True, 0
                self.scenarios[w] = self._stage_scenario(w)
                return
        raise MapError(
            f"the town has no room for {learners} learners within {BUBBLE_RADIUS_M:.0f} m; use a larger town or fewer"
        )

    def _stage_scenario(self, w: int) -> str:
        """Begin with a scenario now and then; its name, or nothing."""
        seed, families = self.state.seed[w], self.config.scenarios
        if not families or uniform(seed, 0, 0, int(Stream.SCENARIO), 0) >= self.config.scenario_share:
            return ""
        name = families[int(bits(seed, 0, 0, int(Stream.SCENARIO), 1) % np.uint64(len(families)))]
        return name if set_up_scenario(self.world, self.state, w, name) else ""

    def look_around(self) -> None:
        """Decide what everybody does next; observations tell of it."""
        with self.threads():
            decide(self.world, self.state, self.decision, self._occupancy)

    def controls(
        self, actions: Float32[np.ndarray, "W learners 2"]
    ) -> tuple[Float32[np.ndarray, "W learners"], Float32[np.ndarray, "W learners"]]:
        """Curvature (1/m) and acceleration (m/s^2) of actions from -1 to 1: steering to the left, and accelerating."""
        learners = self.config.learners
        bounded = np.clip(np.nan_to_num(np.asarray(actions, np.float32)), -1.0, 1.0)
        last = self.state.curvature[:, :learners]
        step = np.float32(CURVATURE_RATE_1PMS * STEP_S)
        curvature = np.clip(bounded[..., 0] * self._largest_curvature(), last - step, last + step)
        braking, accelerating = STRONGEST_MPS2
        strength = np.where(bounded[..., 1] < 0.0, braking, accelerating)
        return curvature.astype(np.float32), (bounded[..., 1] * strength).astype(np.float32)

    def _largest_curvature(self) -> Float32[np.ndarray, "W learners"]:
        speed = np.maximum(self.state.speed[:, : self.config.learners], 0.1)
        return np.minimum(np.float32(MAXIMUM_CURVATURE_1PM), LATERAL_MPS2 / speed**2).astype(np.float32)

    def demonstrate(self) -> Float32[np.ndarray, "W learners 2"]:
        """The actions that the demonstrator would take in the learners' places."""
        actions = np.zeros((*self.driving.shape, 2), np.float32)
        braking, accelerating = STRONGEST_MPS2
        bound = self._largest_curvature()
        with self.threads():
            for learner in range(self.config.learners):
                teach(self.world, self.state, self.decision, self._teaching, learner)
                wanted = self._teaching.acceleration_mps2
                actions[:, learner, 0] = self._teaching.curvature_1pm / bound[:, learner]
                actions[:, learner, 1] = wanted / np.where(wanted < 0.0, braking, accelerating)
        return np.clip(actions, -1.0, 1.0)

    def step(self, actions: Float32[np.ndarray, "W learners 2"]) -> Outcome:
        """Drive one step; then `respawn` or `retire` those who ended, and `look_around`.

        Args:
            actions: from -1 to 1; what is beyond is clipped, what is no number counts as 0. Of learners that do not
                drive any more, nothing counts.
        """
        learners, state = self.config.learners, self.state
        curvature, acceleration = self.controls(actions)
        danger = np.zeros(self.driving.shape, np.int32)
        with self.threads():
            for learner in range(learners):
                controls = (
                    np.ascontiguousarray(curvature[:, learner]),
                    np.ascontiguousarray(acceleration[:, learner]),
                )
                watch(self.world, state, self.decision, *controls, self._danger, learner)
                danger[:, learner] = self._danger
            self._curvature[:, :learners] = curvature
            wished = self.decision.acceleration[:, :learners]
            wished[:] = np.where(self.driving, acceleration, wished)
            before = state.odometer_m[:, :learners].copy()
            advance(
                self.world,
                state,
                self.decision.acceleration,
                self._curvature,
                self.decision.target_lane,
                NEEDED_M,
            )
            find_broken(self.world, state, self._broken)
        retired = np.flatnonzero(self._broken[:, 0] >= 0).tolist()
        self.failures = {w: name_broken(state, self._broken, w) for w in retired}
        return self._judge(danger, state.odometer_m[:, :learners] - before)

    def _judge(
        self, danger: Int32[np.ndarray, "W learners"], moved: Float32[np.ndarray, "W learners"]
    ) -> Outcome:
        """Rewards and ends."""
        state, learners = self.state, self.config.learners
        limit = self.world.lane_speed_limit_mps[state.path[:, :learners, 0]]
        # Metres beyond the limit earn nothing.
        reward = np.minimum(moved, limit * np.float32(STEP_S))
        crashed = np.zeros(self.driving.shape, np.int32)
        with self.threads():
            find_crashes(self.world, state, self.driving, crashed)
        danger = np.where(crashed == Danger.NONE, danger, crashed)
        gone = state.kind[:, :learners] == AgentKind.NONE
        retired = self._broken[:, :1] >= 0
        danger = np.where(retired, int(Danger.NONE), danger)
        terminated = self.driving & ((danger != Danger.NONE) | (crashed != 0)) & ~retired
        reward = reward - np.where(
            (danger > 0) & terminated, np.float32(self.config.penalty_m), np.float32(0.0)
        )
        lane, following = state.path[:, :learners, 0], state.path[:, :learners, 1]
        road_ends = (following < 0) & (
            state.along[:, :learners] > self.world.lane_length_m[lane] - ROAD_END_M
        )
        out_of_time = state.step[:, None] - self._started >= self.config.episode_steps
        apart = state.pose[:, :learners, :2] - state.pose[:, EGO : EGO + 1, :2]
        strayed = np.hypot(apart[..., 0], apart[..., 1]) > STRAYED_M
        truncated = self.driving & ~terminated & (road_ends | out_of_time | strayed | gone | retired)
        reward = np.where(self.driving & ~retired, reward, np.float32(0.0)).astype(np.float32)
        return Outcome(reward, terminated, truncated, np.where(self.driving, danger, 0).astype(np.int32))

    def respawn(self, ended: Bool[np.ndarray, "W learners"]) -> Bool[np.ndarray, " W"]:
        """Begin the next episode of those who ended; returns the worlds that began anew with all their learners.

        The surroundings go with the first learner: where it ended, the whole world begins anew. The others find
        another place nearby.
        """
        anew = ended[:, EGO].copy()
        for w, learner in np.argwhere(ended & ~anew[:, None]):
            state = self.state
            found = place(
                self.world, state, w, learner, self.config.agents, _NEW_PLACE_M, BUBBLE_RADIUS_M, NEEDED_M
            )
            state.history[w, learner], self._started[w, learner] = 0.0, state.step[w]
            state.history[w, learner, :, 0] = state.speed[w, learner]
            anew[w] |= not found
        for w in np.flatnonzero(anew):
            self._start_world(int(w))
        return anew

    def retire(self, ended: Bool[np.ndarray, "W learners"]) -> None:
        """Let those who ended go on as ordinary road users."""
        self.driving &= ~ended
        self.state.learner[:, : self.config.learners] = self.driving
