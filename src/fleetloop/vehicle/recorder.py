"""The recorder: keeps the last seconds of every vehicle in memory and writes Episodes of what is asked for."""

from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

from fleetloop.artifacts.episode import EpisodeEvent, EpisodeMetadata, EpisodeStep
from fleetloop.artifacts.episode_writer import EpisodeWriter
from fleetloop.artifacts.lineage import Artifact, ArtifactKind, write_artifact
from fleetloop.core.types import STEP_S

EPISODE_STEPS = 500
"""An Episode is cut after this many steps: less than the minute it may last."""


@dataclass(frozen=True)
class RecorderConfig:
    """What is written around a trigger, or always."""

    everything: bool = False
    """Record all there is, as for the demonstrator's drives; else only clips around triggers."""
    before_s: float = 3.0
    after_s: float = 1.5


@dataclass(frozen=True)
class Recorded:
    """One Episode on disk."""

    path: Path
    artifact: Artifact
    size_bytes: int


class Recorder:
    """Records one vehicle."""

    def __init__(self, folder: Path, metadata: EpisodeMetadata, config: RecorderConfig, parents: list[str]):
        self._folder = folder
        self._metadata = metadata
        self._config = config
        self._parents = parents
        self._before: deque[EpisodeStep] = deque(maxlen=round(config.before_s / STEP_S))
        self._steps: list[EpisodeStep] = []
        self._events: list[EpisodeEvent] = []
        self._remaining = 0
        self._number = 0
        self.recorded: list[Recorded] = []

    def add(self, step: EpisodeStep, events: list[EpisodeEvent]) -> None:
        """The next step, with what fired in it."""
        if self._config.everything:
            self._remaining = 2
        if events:
            self._remaining = max(self._remaining, round(self._config.after_s / STEP_S))
        if self._remaining == 0:
            self._before.append(step)
            return
        if not self._steps:
            self._steps.extend(self._before)
            self._before.clear()
        self._steps.append(step)
        self._events.extend(events)
        self._remaining -= 1
        if self._remaining == 0 or len(self._steps) >= EPISODE_STEPS:
            self.cut()

    def cut(self) -> None:
        """End the Episode under way: the vehicle was put elsewhere, or the drive is over."""
        if len(self._steps) > 1:
            self.recorded.append(self._write())
        self._steps, self._events, self._remaining = [], [], 0
        self._before.clear()

    def _write(self) -> Recorded:
        name = f"{self._metadata.town}-{self._metadata.world:03d}-{self._number:04d}.mcap"
        self._number += 1
        path = self._folder / name
        triggers = tuple(sorted({event.kind for event in self._events}))
        metadata = replace(self._metadata, triggers=triggers)
        with EpisodeWriter(path, metadata) as writer:
            for step in self._steps:
                writer.write_step(step)
            for event in self._events:
                writer.write_event(event)
        artifact = write_artifact(
            path,
            ArtifactKind.EPISODE,
            self._parents,
            {"recorder": self._config, "vehicle": metadata.vehicle},
            metadata.seed,
            {
                "town": metadata.town,
                "driver": metadata.driver.name.lower(),
                "steps": len(self._steps),
                "events": len(self._events),
            },
        )
        return Recorded(path, artifact, path.stat().st_size)
