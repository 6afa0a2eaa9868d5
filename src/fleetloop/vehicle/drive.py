"""Drive many vehicles at once in simulated towns, by the network or the demonstrator, and record."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import orjson
from jaxtyping import Bool, Float32, Int32, UInt64
from numba import njit

from fleetloop.artifacts.episode import Driver, EpisodeEvent
from fleetloop.core.checks import check_at_least, check_shares
from fleetloop.core.errors import InputError
from fleetloop.core.files import PARTIAL_SUFFIX, storage_errors, write_bytes
from fleetloop.core.labels import Labels
from fleetloop.core.random import Stream, normal, uniform
from fleetloop.core.scene import pack_scenes
from fleetloop.core.types import EGO, STEP_S, CameraRig, Observation, Plan, Policy, World
from fleetloop.safety.inputs import InputMonitor
from fleetloop.safety.limits import SafetyLayer
from fleetloop.safety.watchdog import FAULT_TEXTS, Fault, Watchdog, missing_plan
from fleetloop.sim.rollout import Rollout, RolloutStep
from fleetloop.sim.routes import make_routes
from fleetloop.sim.safety_driver import Danger
from fleetloop.sim.scenarios import FAMILIES
from fleetloop.vehicle.recorder import FleetStep, Recorder, RecorderConfig
from fleetloop.vehicle.triggers import Moment, Trigger, TriggerConfig, TriggerSet

MANIFEST = "drive.json"
"""What came of a drive, in its folder."""

_PULL_EVERY_STEPS, _PULL_STEPS = 15, 7
_PULL_PROBABILITY = 0.4
_BRAKE_EVERY_STEPS, _BRAKE_STEPS, _BRAKE_PROBABILITY = 80, 25, 0.35
_STEERING_NOISE, _UPLOAD = int(Stream.STEERING_NOISE), int(Stream.UPLOAD)


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
    scenario_share: float = 0.0
    """Of routes that begin with a scenario, each family in turn."""
    variety: float = 0.6
    """Of weather and colours."""
    steering_noise_1pm: float = 0.03
    """Spread of the disturbances put on the demonstrator's steering, so that it shows how to recover."""
    camera_interval_steps: int = 1
    """Record the cameras at every so many steps."""
    recorder: RecorderConfig = field(default_factory=RecorderConfig)
    triggers: TriggerConfig = field(default_factory=TriggerConfig)

    def __post_init__(self) -> None:
        check_at_least("drive", self, ("vehicles", "steps", "agents", "camera_interval_steps"))
        check_shares("drive", self, ["scenario_share"])


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


@njit(cache=True)
def _disturbances(seed, step, pull, brake):
    for w in range(len(pull)):
        stretch, within = divmod(step[w], _PULL_EVERY_STEPS)
        pull[w], brake[w] = 0.0, 0.0
        chance = uniform(seed[w], 0, stretch, _STEERING_NOISE, 0)
        if within < _PULL_STEPS and chance < _PULL_PROBABILITY:
            pull[w] = normal(seed[w], 1, stretch, _STEERING_NOISE, 0)
        stretch, within = divmod(step[w], _BRAKE_EVERY_STEPS)
        if within < _BRAKE_STEPS and uniform(seed[w], 2, stretch, _STEERING_NOISE, 0) < _BRAKE_PROBABILITY:
            brake[w] = np.float32(2.5) * uniform(seed[w], 3, stretch, _STEERING_NOISE, 0)


@njit(cache=True)
def _drawn(seed, step):
    drawn = np.empty(len(seed), np.float32)
    for w in range(len(seed)):
        drawn[w] = uniform(seed[w], 0, step[w], _UPLOAD, 0)
    return drawn


def disturb(
    seed: UInt64[np.ndarray, " W"],
    step: Int32[np.ndarray, " W"],
    speed_mps: Float32[np.ndarray, " W"],
    scale_1pm: float,
) -> tuple[Float32[np.ndarray, " W"], Float32[np.ndarray, " W"]]:
    """Disturbances of the demonstrator, so that it shows how to recover: curvature, and braking (m/s^2).

    In some stretches of 1.5 s a constant pull at the steering wheel for 0.7 s; `scale_1pm` is its spread at
    5 m/s, and the same sideways acceleration takes less at higher speed. In some stretches of 8 s needless braking
    for 2.5 s: it leaves the car too slow, or standing well before a line, where a network would else wait for ever.
    """
    pull, brake = np.empty(len(seed), np.float32), np.empty(len(seed), np.float32)
    _disturbances(seed, step, pull, brake)
    return (pull * scale_1pm * 5.0 / np.maximum(speed_mps, 3.0)).astype(np.float32), brake


@dataclass(frozen=True)
class _Before:
    """What is known before anybody is moved; copies, for the state moves on before it is recorded."""

    town: Int32[np.ndarray, " W"]
    seed: UInt64[np.ndarray, " W"]
    clock_s: Float32[np.ndarray, " W"]
    step: Int32[np.ndarray, " W"]
    pose: Float32[np.ndarray, "W 3"]
    active: Bool[np.ndarray, " W"]
    observation: Observation
    scenes: np.ndarray
    plan: Plan | None
    """None where the network gave none in time."""
    teaching: Labels

    @property
    def recorded_plan(self) -> Plan:
        """The plan, or one of NaN for none."""
        return missing_plan(len(self.town)) if self.plan is None else self.plan


class _Fleet:
    """The vehicles of one drive: how they look, what drives them, what fires."""

    def __init__(self, rollout: Rollout, policy: Policy | None, rig: CameraRig, config: DriveConfig) -> None:
        self.rollout, self.policy, self.rig, self.config = rollout, policy, rig, config
        self.triggers = TriggerSet(config.triggers, config.vehicles, STEP_S)
        self.interventions = {danger.name.lower(): 0 for danger in Danger if danger is not Danger.NONE}
        # What is watched is the network; the demonstrator and its disturbances need no watchdog.
        self._watchdog = None if policy is None else Watchdog(config.vehicles, STEP_S)
        self._safety_layer = SafetyLayer(config.vehicles, STEP_S, self._watchdog)
        self._faults_begun = np.zeros(config.vehicles, np.int32)
        self._inputs = InputMonitor(config.vehicles, rig)

    def look(self, with_images: bool) -> _Before:
        """Let everybody decide and the driver plan."""
        rollout, policy = self.rollout, self.policy
        rollout.decide()
        state = rollout.state
        if policy is not None or with_images:
            observation = rollout.observe(self.rig, self.config.variety)
        else:
            _, navigation, time_of_day = rollout.look()
            observation = Observation((), state.history[:, EGO].copy(), navigation.copy(), time_of_day.copy())
        if policy is not None:
            observation = self._inputs.check(observation, rollout.active)
        teaching = rollout.teaching.copy()
        return _Before(
            town=state.town.copy(),
            seed=state.seed.copy(),
            clock_s=state.clock_s.copy(),
            step=state.step.copy(),
            pose=state.pose[:, EGO].copy(),
            active=rollout.active.copy(),
            observation=observation,
            scenes=pack_scenes(rollout.scene),
            plan=policy.plan(observation) if policy is not None else teaching.plan(),
            teaching=teaching,
        )

    def move(self, before: _Before) -> RolloutStep:
        """Drive one step through the safety layer, under the safety driver."""
        speed_mps = before.observation.ego_history[:, -1, 0]
        controls = self._safety_layer.limit(before.plan, speed_mps, self._inputs.faults)
        curvature, acceleration = controls.curvature_1pm, controls.acceleration_mps2
        if self.policy is None:
            scale_1pm = self.config.steering_noise_1pm
            pull, brake = disturb(before.seed, before.step, speed_mps, scale_1pm)
            curvature, acceleration = curvature + pull, acceleration - brake
        step = self.rollout.step(curvature, acceleration)
        if self._watchdog is not None:
            self._faults_begun = np.where(self._watchdog.began, self._watchdog.faults, 0).astype(np.int32)
        self._safety_layer.remember(step.curvature, step.acceleration, step.ended)
        if self.policy is not None and step.ended.any():
            self.policy.reset(step.ended)
            self._inputs.forget(step.ended)
        return step

    def notice(self, before: _Before, step: RolloutStep) -> dict[int, list[EpisodeEvent]]:
        """Evaluate the triggers; what fired, by world."""
        moment = Moment(
            take_over=step.danger != Danger.NONE,
            acceleration_mps2=step.acceleration,
            speed_mps=before.observation.ego_history[:, -1, 0],
            lead_gap_m=before.teaching.lead_gap_m,
            lead_speed_mps=before.teaching.lead_speed_mps,
            plan=before.recorded_plan,
            shadow=before.teaching.plan(),
            fault=self._faults_begun,
            cameras_lost=np.where(self._inputs.began.any(axis=1), self._inputs.lost.sum(axis=1), 0),
            drawn=_drawn(before.seed, before.step),
        )
        for danger in step.danger[step.danger != Danger.NONE]:
            self.interventions[Danger(int(danger)).name.lower()] += 1
        times_ns = _nanoseconds(before.clock_s)
        events: dict[int, list[EpisodeEvent]] = {}
        for trigger, (fires, value) in self.triggers.fire(moment, before.active).items():
            for w in np.flatnonzero(fires).tolist():
                text = _explain(trigger, Danger(int(step.danger[w])), Fault(int(moment.fault[w])))
                if trigger is Trigger.CAMERA_LOST:
                    text = self._inputs.lost_text(w)
                event = EpisodeEvent(int(times_ns[w]), trigger.value, float(value[w]), text)
                events.setdefault(w, []).append(event)
        self.triggers.reset(step.ended)
        return events

    def recorded_step(self, number: int, before: _Before, step: RolloutStep, with_images: bool) -> FleetStep:
        """All of a step, for the recorder."""
        looked = before.observation
        driver = Driver.DEMONSTRATOR if self.policy is None else Driver.NETWORK
        return FleetStep(
            number=number,
            town=before.town,
            seed=before.seed,
            timestamp_ns=_nanoseconds(before.clock_s),
            ego_pose=before.pose,
            observation=Observation(
                looked.images if with_images else (),
                looked.ego_history,
                looked.navigation,
                looked.time_of_day_h,
            ),
            scenes=before.scenes,
            plan=before.recorded_plan,
            teaching=before.teaching,
            control_curvature_1pm=step.curvature,
            control_acceleration_mps2=step.acceleration,
            driver=np.where(step.safety_driver, int(Driver.SAFETY_DRIVER), int(driver)).astype(np.uint8),
        )


def _nanoseconds(clock_s: Float32[np.ndarray, " W"]) -> np.ndarray:
    return np.round(clock_s.astype(np.float64) * 1e9).astype(np.int64)


def _explain(trigger: Trigger, danger: Danger, fault: Fault) -> str:
    if trigger is Trigger.NETWORK_FAULT:
        return f"the safety layer brakes: {FAULT_TEXTS[fault]}"
    if trigger is Trigger.INTERVENTION:
        return f"the safety driver took over: {danger.name.lower().replace('_', ' ')}"
    return trigger.value.replace("_", " ")


def drive(
    world: World,
    towns: Sequence[str],
    policy: Policy | None,
    rig: CameraRig,
    folder: Path,
    config: DriveConfig,
    seed: int,
    release: str = "",
    progress: Callable[[float], None] | None = None,
) -> DriveSummary:
    """Drive and record into `folder`; the same seed gives the same Episodes.

    The folder takes its name when the drive is over. What an interrupted one left in FOLDER.partial is
    driven again.

    Args:
        world: the towns, packed in the order of the keys `towns`.
        policy: the network that drives under the safety driver; None lets the demonstrator drive.
        release: id of the bundle the policy came from.
        progress: called with the share done, 0 to 1.

    Raises:
        InputError: the folder holds something already.
        MapError: no vehicle can be placed in these towns.
        StorageError: the disk is full; Episodes that were complete stay in FOLDER.partial.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise InputError(f"{folder}: holds something already; choose another folder for the drive")
    # No vehicle can begin more routes than it makes steps.
    count, scenarios = config.vehicles * (config.steps + 1), tuple(FAMILIES)
    routes = make_routes(seed, range(len(towns)), count, config.route_m, scenarios, config.scenario_share)
    fleet = _Fleet(Rollout(world, routes, config.vehicles, config.agents), policy, rig, config)
    driver = Driver.DEMONSTRATOR if policy is None else Driver.NETWORK
    partial = folder.with_name(folder.name + PARTIAL_SUFFIX)
    with storage_errors(folder):
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
    with Recorder(partial, towns, rig, driver, release, config.vehicles, config.recorder) as recorder:
        for number in range(config.steps):
            with_images = number % config.camera_interval_steps == 0
            before = fleet.look(with_images)
            step = fleet.move(before)
            events = fleet.notice(before, step)
            recorded = fleet.recorded_step(number, before, step, with_images)
            recorder.add(recorded, events, before.active, step.ended)
            if progress is not None:
                progress((number + 1) / config.steps)
    summary = _summarise(fleet, recorder, release)
    write_bytes(partial / MANIFEST, orjson.dumps(asdict(summary), option=orjson.OPT_INDENT_2))
    with storage_errors(folder):
        partial.replace(folder)
    return summary


def _summarise(fleet: _Fleet, recorder: Recorder, release: str) -> DriveSummary:
    recorded = sorted(recorder.recorded, key=lambda episode: episode.path.name)
    return DriveSummary(
        release=release,
        km=fleet.rollout.distance_m / 1000.0,
        episodes=tuple(episode.path.name for episode in recorded),
        episode_ids=tuple(episode.artifact.id for episode in recorded),
        recorded_bytes=sum(episode.size_bytes for episode in recorded),
        recorded_steps=sum(int(episode.artifact.figures["steps"]) for episode in recorded),
        trigger_counts={trigger.value: count for trigger, count in fleet.triggers.counts.items()},
        interventions=fleet.interventions,
    )


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
