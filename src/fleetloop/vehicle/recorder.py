"""The recorder: keeps the last seconds of all vehicles in memory and writes Episodes of what is asked for."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, Shaped, UInt8, UInt64

from fleetloop.artifacts.episode import Driver, EpisodeEvent, EpisodeMetadata, EpisodeStep
from fleetloop.artifacts.episode_writer import EpisodeWriter
from fleetloop.artifacts.lineage import Artifact, ArtifactKind, write_artifact
from fleetloop.core.labels import Labels
from fleetloop.core.types import STEP_S, CameraRig, Observation, Plan

EPISODE_STEPS = 500
"""An Episode is cut after this many steps: less than the minute it may last."""


@dataclass(frozen=True)
class RecorderConfig:
    """What is written around a trigger, or always."""

    everything: bool = False
    """Record all there is, as for the demonstrator's drives; else only clips around triggers."""
    before_s: float = 3.0
    after_s: float = 1.5
    budget_bytes: int | None = None
    """Once Episodes of so many bytes are written, no other is begun."""


@dataclass(frozen=True)
class FleetStep:
    """One step of all vehicles, arrays over worlds; what is written of a vehicle is cut from it then."""

    number: int
    """Counts the steps of the drive."""
    town: Int32[np.ndarray, " W"]
    seed: UInt64[np.ndarray, " W"]
    timestamp_ns: Int64[np.ndarray, " W"]
    ego_pose: Float32[np.ndarray, "W 3"]
    observation: Observation
    """Its images are an empty tuple when the cameras are not recorded at this step."""
    scenes: Shaped[np.ndarray, " W"]
    """Records of SCENE_DTYPE."""
    plan: Plan
    teaching: Labels
    control_curvature_1pm: Float32[np.ndarray, " W"]
    control_acceleration_mps2: Float32[np.ndarray, " W"]
    driver: UInt8[np.ndarray, " W"]
    """Driver."""

    def of_vehicle(self, w: int) -> EpisodeStep:
        """The step of the vehicle in world w."""
        plan, observation = self.plan, self.observation
        speed, acceleration, curvature, _ = observation.ego_history[w, -1].tolist()
        return EpisodeStep(
            timestamp_ns=int(self.timestamp_ns[w]),
            ego_pose=self.ego_pose[w],
            speed_mps=speed,
            acceleration_mps2=acceleration,
            curvature_1pm=curvature,
            control_curvature_1pm=float(self.control_curvature_1pm[w]),
            control_acceleration_mps2=float(self.control_acceleration_mps2[w]),
            driver=Driver(int(self.driver[w])),
            plan_curvature_1pm=float(plan.curvature_1pm[w]),
            plan_acceleration_mps2=float(plan.acceleration_mps2[w]),
            plan_poses=plan.poses_in_ego[w],
            plan_spread_m=float(plan.spread_m[w]),
            ego_history=observation.ego_history[w],
            navigation=observation.navigation[w],
            time_of_day_h=float(observation.time_of_day_h[w]),
            scene=self.scenes[w].tobytes(),
            teacher=self.teaching.select(w),
            images=tuple(group[w] for group in observation.images) or None,
        )


@dataclass(frozen=True)
class Recorded:
    """One Episode on disk."""

    path: Path
    artifact: Artifact
    size_bytes: int


@dataclass
class _Writing:
    """An Episode that is being written."""

    writer: EpisodeWriter
    steps: int = 0
    events: int = 0


class Recorder:
    """Records the vehicles of a drive; a context manager.

    Steps are written as they come, so memory holds `before_s` of the fleet and no more. After an error, what
    was being written stays as partial files, and Episodes that were complete stay.
    """

    def __init__(
        self,
        folder: Path,
        towns: Sequence[str],
        rig: CameraRig,
        driver: Driver,
        release: str,
        vehicles: int,
        config: RecorderConfig,
    ) -> None:
        self.recorded: list[Recorded] = []
        self._folder, self._towns, self._rig = folder, towns, rig
        self._driver, self._release, self._config = driver, release, config
        self._after_steps = round(config.after_s / STEP_S)
        before_steps = 0 if config.everything else round(config.before_s / STEP_S)
        self._recent: deque[FleetStep] = deque(maxlen=before_steps + 1)
        self._writing: dict[int, _Writing] = {}
        self._episodes = [0] * vehicles
        self._fresh_from = [0] * vehicles
        """Number of the first step that is on the vehicle's present route and in no Episode yet."""
        self._until = np.full(vehicles, -1)
        """Number of the last step that is asked for."""

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for w in sorted(self._writing):
                    self._finish(w)
        finally:
            for writing in self._writing.values():
                writing.writer.__exit__(kind or RuntimeError, error, traceback)

    def add(
        self,
        step: FleetStep,
        events: Mapping[int, Sequence[EpisodeEvent]],
        active: Bool[np.ndarray, " W"],
        ended: Bool[np.ndarray, " W"],
    ) -> None:
        """Take the next step.

        Args:
            events: what fired in it, by world.
            active: worlds in which a vehicle was driving.
            ended: worlds in which this was the last step of the route.

        Raises:
            StorageError: the disk is full.
        """
        self._recent.append(step)
        for w in events:
            self._until[w] = step.number + self._after_steps
        if self._is_spent():
            self._until[~np.isin(np.arange(len(self._until)), list(self._writing))] = -1
        wanted = active & (self._config.everything | (self._until >= step.number))
        for w in np.flatnonzero(wanted).tolist():
            self._write(w, step, events.get(w, ()))
            is_last = not self._config.everything and self._until[w] <= step.number
            if is_last or self._writing[w].steps >= EPISODE_STEPS:
                self._finish(w)
        for w in np.flatnonzero(ended).tolist():
            if w in self._writing:
                self._finish(w)
            self._fresh_from[w], self._until[w] = step.number + 1, -1

    def _is_spent(self) -> bool:
        """Whether the budget is used up."""
        budget = self._config.budget_bytes
        return budget is not None and sum(episode.size_bytes for episode in self.recorded) >= budget

    def _write(self, w: int, step: FleetStep, events: Sequence[EpisodeEvent]) -> None:
        writing = self._writing.get(w)
        if writing is None:
            writing = self._writing[w] = self._begin(w, step, events)
        for pending in self._recent:
            if pending.number >= self._fresh_from[w]:
                writing.writer.write_step(pending.of_vehicle(w))
                writing.steps += 1
        for event in events:
            writing.writer.write_event(event)
        writing.events += len(events)
        self._fresh_from[w] = step.number + 1

    def _begin(self, w: int, step: FleetStep, events: Sequence[EpisodeEvent]) -> _Writing:
        town = self._towns[int(step.town[w])]
        metadata = EpisodeMetadata(
            vehicle=f"simulated-{w:03d}",
            release=self._release,
            town=town,
            seed=int(step.seed[w]),
            world=w,
            driver=self._driver,
            rig=self._rig,
            triggers=() if self._config.everything else tuple(sorted({event.kind for event in events})),
        )
        name = f"vehicle-{w:03d}-{self._episodes[w]:04d}-{town}.mcap"
        self._episodes[w] += 1
        return _Writing(EpisodeWriter(self._folder / name, metadata))

    def _finish(self, w: int) -> None:
        writing = self._writing.pop(w)
        writing.writer.close()
        path, metadata = writing.writer.path, writing.writer.metadata
        artifact = write_artifact(
            path,
            ArtifactKind.EPISODE,
            [self._release] if self._release else [],
            {"recorder": self._config, "vehicle": metadata.vehicle},
            metadata.seed,
            {
                "town": metadata.town,
                "driver": metadata.driver.name.lower(),
                "steps": writing.steps,
                "events": writing.events,
            },
        )
        self.recorded.append(Recorded(path, artifact, path.stat().st_size))
