"""One world at one step: what a learner sees, what it wants and what an onlooker sees; the same for every format."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32

from fleetloop.artifacts.episode import Driver
from fleetloop.core.labels import Labels
from fleetloop.core.scene import pack_scenes
from fleetloop.core.types import (
    EGO,
    NAVIGATION_VALUES,
    PLAN_POSE_INTERVAL_S,
    PLAN_POSES,
    STEP_S,
    CameraRig,
    Observation,
    Plan,
    Scene,
    State,
    World,
)
from fleetloop.policy.inside import Inside
from fleetloop.sim.cameras import Appearance, appearances, render
from fleetloop.sim.demonstrator import empty_teaching, teach
from fleetloop.sim.observe import empty_scene, navigate, see, tell_time
from fleetloop.sim.traffic import Decision
from fleetloop.vehicle.recorder import FleetStep


class Driven(Protocol):
    """Worlds that are driven: a Rollout, or the LearnerWorlds of an environment."""

    @property
    def world(self) -> World:
        """The towns."""
        ...

    @property
    def state(self) -> State:
        """Where everybody is."""
        ...

    @property
    def decision(self) -> Decision:
        """What everybody does next."""
        ...


@dataclass(frozen=True)
class Moment:
    """Everything of one world at one step, copied, for the worlds move on. Arrays of a batch have one row."""

    world: World
    state: State
    agent: int
    """The learner that is watched."""
    rig: CameraRig
    observation: Observation
    """Of the learner, with the pictures of `rig`."""
    scene: Scene
    teaching: Labels
    """What the demonstrator would do."""
    plan: Plan | None
    """What the driver wants, where it says so."""
    inside: Inside | None = None
    """What goes on in the network that drives, where it is looked into."""

    @property
    def town(self) -> int:
        """Index of the town."""
        return int(self.state.town[0])

    @property
    def seed(self) -> int:
        """Of the route or episode."""
        return int(self.state.seed[0])

    @property
    def step(self) -> int:
        """Of the route or episode."""
        return int(self.state.step[0])

    @property
    def pose(self) -> Float32[np.ndarray, " 3"]:
        """Of the learner's rear axle in the town's frame: x, y (m), yaw (rad)."""
        return self.state.pose[0, self.agent]

    @property
    def speed_mps(self) -> float:
        """Of the learner."""
        return float(self.state.speed[0, self.agent])

    @property
    def images(self) -> tuple[np.ndarray, ...]:
        """RGB, [cameras, height, width, 3] for each group of the rig."""
        return tuple(group[0] for group in self.observation.images)

    def is_followed_by(self, later: "Moment") -> bool:
        """Whether `later` is the next step of the same drive: neither a new route or episode, nor a gap."""
        return (self.seed, self.town, self.step + 1) == (later.seed, later.town, later.step)


@dataclass(frozen=True)
class DrivenStep:
    """A moment, and what was carried out in it."""

    number: int
    """Of the recording, from 0; its time is number * STEP_S."""
    begins: bool
    """The first of a route or episode, or after a gap."""
    moment: Moment
    curvature_1pm: float
    acceleration_mps2: float
    driver: Driver

    @property
    def time_s(self) -> float:
        """Since the recording began."""
        return self.number * STEP_S

    @property
    def plan(self) -> Plan:
        """What the driver wanted; of one that does not say it, the controls that were carried out, kept up."""
        if self.moment.plan is not None:
            return self.moment.plan
        curvature, acceleration = self.curvature_1pm, self.acceleration_mps2
        poses = arc(self.moment.speed_mps, curvature, acceleration)
        row = np.array([[curvature], [acceleration], [0.0]], np.float32)
        return Plan(row[0], row[1], poses[None], row[2])

    def fleet_step(self) -> FleetStep:
        """The same as the vehicles' recorder takes it; its time is that of the simulation."""
        moment = self.moment
        return FleetStep(
            number=self.number,
            town=moment.state.town,
            seed=moment.state.seed,
            timestamp_ns=np.round(moment.state.clock_s.astype(np.float64) * 1e9).astype(np.int64),
            ego_pose=moment.pose[None],
            observation=moment.observation,
            scenes=pack_scenes(moment.scene),
            plan=self.plan,
            teaching=moment.teaching,
            control_curvature_1pm=np.array([self.curvature_1pm], np.float32),
            control_acceleration_mps2=np.array([self.acceleration_mps2], np.float32),
            driver=np.array([self.driver], np.uint8),
        )


def arc(speed_mps: float, curvature_1pm: float, acceleration_mps2: float) -> Float32[np.ndarray, "8 3"]:
    """Poses in the ego frame, PLAN_POSE_INTERVAL_S apart, of a car that keeps its curvature and acceleration."""
    times = PLAN_POSE_INTERVAL_S * np.arange(1, PLAN_POSES + 1)
    if acceleration_mps2 < 0.0:
        # Who has come to a stand stays there.
        times = np.minimum(times, speed_mps / -acceleration_mps2)
    along = speed_mps * times + 0.5 * acceleration_mps2 * times**2
    yaw = curvature_1pm * along
    # The chord of an arc is its length times sinc(yaw / 2), and points half of yaw to the side.
    chord = along * np.sinc(yaw / (2.0 * np.pi))
    return np.stack([chord * np.cos(yaw / 2.0), chord * np.sin(yaw / 2.0), yaw], axis=1).astype(np.float32)


def look(
    driven: Driven,
    rig: CameraRig,
    w: int = 0,
    agent: int = EGO,
    variety: float = 0.0,
    looks: Appearance | None = None,
    plan: Plan | None = None,
    inside: Inside | None = None,
) -> Moment:
    """World w as it is now, after everybody decided and before anybody moves; nothing of it is changed.

    Args:
        rig: cameras of the learner.
        agent: the learner that is watched.
        variety: of weather and colours, 0 to 1; fixed by the seed of the route or episode.
        looks: instead of that, weather and colours, one row.
        plan: what the drivers of all worlds want, one row for each.
        inside: of the network that drives world w.
    """
    state, decision = _row(driven.state, w), _row(driven.decision, w)
    scene, teaching = empty_scene(1), empty_teaching(1)
    navigation, time_of_day = np.zeros((1, NAVIGATION_VALUES), np.float32), np.zeros(1, np.float32)
    see(driven.world, state, scene, agent)
    navigate(driven.world, state, navigation, agent)
    tell_time(state, time_of_day)
    teach(driven.world, state, decision, teaching, agent)
    images = render(driven.world, rig, scene, looks or appearances(state.seed, variety, time_of_day))
    history = np.ascontiguousarray(state.history[:, agent])
    observation = Observation(images, history, navigation, time_of_day)
    wanted = None if plan is None else _plan_of(plan, w)
    return Moment(driven.world, state, agent, rig, observation, scene, teaching, wanted, inside)


def _row(batch: Any, w: int) -> Any:
    """A NamedTuple of arrays over worlds, cut to a copy of one world."""
    return type(batch)(*(array[w : w + 1].copy() for array in batch))


def _plan_of(plan: Plan, w: int) -> Plan:
    rows = {name: getattr(plan, name)[w : w + 1].copy() for name in Plan.__dataclass_fields__}
    return replace(plan, **rows)
