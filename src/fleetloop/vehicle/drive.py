"""Drive: many vehicles at once in simulated towns, by the network or the demonstrator; record what is asked for."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import orjson
from jaxtyping import Bool, Float32

from fleetloop.artifacts.episode import Driver, EpisodeEvent, EpisodeMetadata, EpisodeStep, TeacherLabel
from fleetloop.core.errors import InputError
from fleetloop.core.files import write_bytes
from fleetloop.core.random import Stream, normal, uniform
from fleetloop.core.scene import pack_scenes
from fleetloop.core.types import EGO, STEP_S, CameraRig, Observation, Plan, World
from fleetloop.safety.limits import Controls, limit_plan
from fleetloop.sim.demonstrator import Teaching
from fleetloop.sim.rollout import Rollout, RolloutStep, make_routes
from fleetloop.sim.safety_driver import Danger
from fleetloop.vehicle.recorder import Recorded, Recorder, RecorderConfig
from fleetloop.vehicle.triggers import Moment, Trigger, TriggerConfig, TriggerSet

MANIFEST = "drive.json"
"""Written last: a folder that has it holds a complete drive."""


class Policy(Protocol):
    """What drives: a released network."""

    def reset(self, mask: Bool[np.ndarray, " W"]) -> None:
        """Forget the past of the vehicles in `mask`."""
        ...

    def plan(self, observation: Observation) -> Plan:
        """Plans for all vehicles."""
        ...


@dataclass(frozen=True)
class DriveConfig:
    """A drive of many vehicles side by side."""

    vehicles: int = 64
    """Driven at the same time, each in a world of its own."""
    steps: int = 900
    """Of 0.1 s, for each vehicle."""
    agents: int = 20
    """Road users in a world, the learner included."""
    route_m: float = 600.0
    variety: float = 0.6
    """Of weather and colours."""
    steering_noise_1pm: float = 0.03
    """Spread of the disturbances put on the demonstrator's steering, so that it shows how to recover."""
    camera_interval_steps: int = 1
    """Record the cameras at every so many steps."""
    recorder: RecorderConfig = field(default_factory=RecorderConfig)
    triggers: TriggerConfig = field(default_factory=TriggerConfig)


@dataclass(frozen=True)
class DriveSummary:
    """What came of a drive; the manifest's content."""

    release: str
    km: float
    episodes: tuple[str, ...]
    """File names."""
    episode_ids: tuple[str, ...]
    recorded_bytes: int
    recorded_steps: int
    trigger_counts: dict[str, int]
    interventions: dict[str, int]
    """By Danger."""

    @property
    def bytes_per_km(self) -> float:
        """Uploaded per kilometre driven."""
        return self.recorded_bytes / self.km if self.km > 0.0 else 0.0


@dataclass(frozen=True)
class _Now:
    """Everything known about one step before anybody is moved; arrays over worlds."""

    plan: Plan
    teaching: Teaching
    observation: Observation
    scenes: np.ndarray
    poses: np.ndarray
    motion: np.ndarray
    seconds: np.ndarray


def disturb(
    seeds: np.ndarray, steps: np.ndarray, speed_mps: np.ndarray, scale_1pm: float
) -> Float32[np.ndarray, " W"]:
    """Curvature put on the steering wheel: in some stretches of 1.5 s, a constant pull for 0.7 s."""
    pull = np.zeros(len(seeds), np.float32)
    for w, (seed, step) in enumerate(zip(seeds, steps, strict=True)):
        stretch, within = divmod(int(step), 15)
        if within < 7 and uniform(seed, 0, stretch, int(Stream.STEERING_NOISE), 0) < 0.4:
            pull[w] = normal(seed, 1, stretch, int(Stream.STEERING_NOISE), 0)
    return (pull * scale_1pm * 5.0 / np.maximum(speed_mps, 3.0)).astype(np.float32)


class _Fleet:
    """The vehicles of one drive: their recorders, triggers and last controls."""

    def __init__(
        self, rollout: Rollout, towns: list[str], rig: CameraRig, release: str, folder: Path, config: DriveConfig
    ) -> None:
        self.rollout, self.towns, self.rig, self.release = rollout, towns, rig, release
        self.folder, self.config = folder, config
        self.driver = Driver.NETWORK if release else Driver.DEMONSTRATOR
        self.triggers = TriggerSet(config.triggers, config.vehicles, STEP_S)
        self.interventions = {danger.name.lower(): 0 for danger in Danger if danger is not Danger.NONE}
        zeros = np.zeros(config.vehicles, np.float32)
        self.previous = Controls(zeros, zeros.copy())
        self.recorded: list[Recorded] = []
        self.recorded_steps = 0
        self._recorders: list[Recorder | None] = [None] * config.vehicles
        self._drives = [0] * config.vehicles

    def recorder(self, w: int) -> Recorder:
        """The recorder of the vehicle in world w, on its present route."""
        current = self._recorders[w]
        if current is None:
            state = self.rollout.state
            metadata = EpisodeMetadata(
                vehicle=f"simulated-{w:03d}",
                release=self.release,
                town=self.towns[int(state.town[w])],
                seed=int(state.seed[w]),
                world=w,
                driver=self.driver,
                rig=self.rig,
                triggers=(),
            )
            parents = [self.release] if self.release else []
            folder = self.folder / f"{w:03d}-{self._drives[w]:02d}"
            current = self._recorders[w] = Recorder(folder, metadata, self.config.recorder, parents)
            self._drives[w] += 1
        return current

    def end_route(self, w: int) -> None:
        """The vehicle was put on a new route: what was under way is over."""
        current = self._recorders[w]
        if current is not None:
            current.cut()
            self.recorded.extend(current.recorded)
            self._recorders[w] = None

    def record(self, now: _Now, step: RolloutStep, number: int) -> None:
        """Evaluate the triggers and hand the step to the recorders."""
        moment = Moment(
            take_over=step.danger != Danger.NONE,
            acceleration_mps2=step.acceleration,
            speed_mps=now.motion[:, 0],
            lead_gap_m=now.teaching.lead_gap_m,
            lead_speed_mps=now.teaching.lead_speed,
            plan=now.plan,
            shadow=now.teaching.plan(),
        )
        fired = self.triggers.fire(moment)
        with_images = number % self.config.camera_interval_steps == 0
        for danger in step.danger[step.danger != Danger.NONE]:
            self.interventions[Danger(int(danger)).name.lower()] += 1
        for w in range(self.config.vehicles):
            events = [
                EpisodeEvent(int(now.seconds[w]), trigger.value, float(value[w]), _explain(trigger, step, w))
                for trigger, (mask, value) in fired.items()
                if mask[w]
            ]
            self.recorder(w).add(_step_of(now, step, w, self.driver, with_images), events)
            if step.ended[w]:
                self.end_route(w)


def _explain(trigger: Trigger, step: RolloutStep, w: int) -> str:
    if trigger is Trigger.INTERVENTION:
        return f"the safety driver took over: {Danger(int(step.danger[w])).name.lower()}"
    return trigger.value.replace("_", " ")


def _step_of(now: _Now, step: RolloutStep, w: int, driver: Driver, with_images: bool) -> EpisodeStep:
    teaching, plan = now.teaching, now.plan
    return EpisodeStep(
        timestamp_ns=int(now.seconds[w]),
        ego_pose=now.poses[w],
        speed_mps=float(now.motion[w, 0]),
        acceleration_mps2=float(now.motion[w, 1]),
        curvature_1pm=float(now.motion[w, 2]),
        control_curvature_1pm=float(step.curvature[w]),
        control_acceleration_mps2=float(step.acceleration[w]),
        driver=Driver.SAFETY_DRIVER if step.safety_driver[w] else driver,
        plan_curvature_1pm=float(plan.curvature_1pm[w]),
        plan_acceleration_mps2=float(plan.acceleration_mps2[w]),
        plan_poses=plan.poses_in_ego[w],
        plan_spread_m=float(plan.spread_m[w]),
        ego_history=now.observation.ego_history[w],
        navigation=now.observation.navigation[w],
        time_of_day_h=float(now.observation.time_of_day_h[w]),
        scene=now.scenes[w].tobytes(),
        teacher=TeacherLabel(
            curvature_1pm=float(teaching.curvature[w]),
            acceleration_mps2=float(teaching.acceleration[w]),
            poses=teaching.poses[w],
            signal_colour=int(teaching.signal[w]),
            stop_line_m=float(teaching.stop_line_m[w]),
            lead_gap_m=float(teaching.lead_gap_m[w]),
            lead_speed_mps=float(teaching.lead_speed[w]),
        ),
        images=tuple(images[w] for images in now.observation.images) if with_images else None,
    )


def _look(rollout: Rollout, policy: Policy | None, rig: CameraRig, variety: float, with_images: bool) -> _Now:
    """Let everybody decide and the driver plan; copies, for the state moves on before it is recorded."""
    rollout.decide()
    state = rollout.state
    if policy is not None or with_images:
        observation = rollout.observe(rig, variety)
    else:
        _, navigation, time_of_day = rollout.look()
        observation = Observation((), state.history.copy(), navigation.copy(), time_of_day.copy())
    teaching = Teaching(*(array.copy() for array in rollout.teaching))
    return _Now(
        plan=policy.plan(observation) if policy is not None else teaching.plan(),
        teaching=teaching,
        observation=observation,
        scenes=pack_scenes(rollout.scene),
        poses=state.pose[:, EGO].copy(),
        motion=state.history[:, -1].copy(),
        seconds=np.round(state.clock_s.astype(np.float64) * 1e9).astype(np.int64),
    )


def drive(
    world: World,
    towns: list[str],
    policy: Policy | None,
    rig: CameraRig,
    folder: Path,
    config: DriveConfig,
    seed: int,
    release: str = "",
    progress: Callable[[float], None] | None = None,
) -> DriveSummary:
    """Drive and record into `folder`; the same seed gives the same Episodes.

    Args:
        world: the towns, packed in the order of the keys `towns`.
        policy: the network that drives under the safety driver; None lets the demonstrator drive.
        release: id of the bundle the policy came from.
        progress: called with the share done, 0 to 1.

    Raises:
        MapError: no vehicle can be placed in these towns.
        StorageError: the disk is full; Episodes that were complete stay.
    """
    routes = make_routes(seed, range(len(towns)), 10**9, config.route_m)
    rollout = Rollout(world, routes, config.vehicles, config.agents)
    fleet = _Fleet(rollout, towns, rig, release, folder, config)
    for number in range(config.steps):
        with_images = number % config.camera_interval_steps == 0
        now = _look(rollout, policy, rig, config.variety, with_images)
        controls = limit_plan(now.plan, now.motion[:, 0], fleet.previous, STEP_S)
        curvature = controls.curvature_1pm
        if policy is None:
            state = rollout.state
            curvature = curvature + disturb(
                state.seed, state.step, now.motion[:, 0], config.steering_noise_1pm
            )
        step = rollout.step(curvature, controls.acceleration_mps2)
        fleet.record(now, step, number)
        fleet.previous = Controls(
            np.where(step.ended, 0.0, step.curvature).astype(np.float32),
            np.where(step.ended, 0.0, step.acceleration).astype(np.float32),
        )
        if policy is not None and step.ended.any():
            policy.reset(step.ended)
        if progress is not None:
            progress((number + 1) / config.steps)
    for w in range(config.vehicles):
        fleet.end_route(w)
    return _summarise(fleet, rollout, folder)


def _summarise(fleet: _Fleet, rollout: Rollout, folder: Path) -> DriveSummary:
    recorded = sorted(fleet.recorded, key=lambda episode: str(episode.path))
    summary = DriveSummary(
        release=fleet.release,
        km=rollout.distance_m / 1000.0,
        episodes=tuple(str(episode.path.relative_to(folder)) for episode in recorded),
        episode_ids=tuple(episode.artifact.id for episode in recorded),
        recorded_bytes=sum(episode.size_bytes for episode in recorded),
        recorded_steps=sum(int(episode.artifact.figures["steps"]) for episode in recorded),
        trigger_counts={str(trigger): count for trigger, count in fleet.triggers.counts.items()},
        interventions=fleet.interventions,
    )
    write_bytes(folder / MANIFEST, orjson.dumps(asdict(summary), option=orjson.OPT_INDENT_2))
    return summary


def read_summary(folder: Path) -> DriveSummary:
    """The manifest of a complete drive.

    Raises:
        InputError: the folder holds no complete drive.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; the drive was not finished, drive again")
    try:
        content = orjson.loads(path.read_bytes())
        return DriveSummary(
            **{
                **content,
                "episodes": tuple(content["episodes"]),
                "episode_ids": tuple(content["episode_ids"]),
            }
        )
    except (orjson.JSONDecodeError, TypeError, KeyError) as error:
        raise InputError(f"{path}: is damaged; delete the folder and drive again") from error
