"""A recording as MCAP: an Episode that Foxglove shows, with the cameras' calibration and the lanes of the town."""

from collections.abc import Sequence
from pathlib import Path

from fleetloop.artifacts.episode import EPISODE_MAXIMUM_S, EpisodeMetadata
from fleetloop.artifacts.episode_writer import EpisodeWriter
from fleetloop.core.errors import InputError
from fleetloop.core.types import STEP_S
from fleetloop.recording.moment import DrivenStep
from fleetloop.recording.scenery import lane_lines

_LONGEST_STEPS = round(EPISODE_MAXIMUM_S / STEP_S) - 1


class EpisodeFile:
    """Writes the steps of a recording as Episodes: one for each route, and one for each minute.

    The first has the name that was asked for, the others are PATH-2.mcap, PATH-3.mcap and so on.
    """

    def __init__(self, path: Path, towns: Sequence[str], title: str) -> None:
        self.paths: list[Path] = []
        self._path, self._towns, self._title = path, towns, title
        self._writer: EpisodeWriter | None = None
        self._written = 0

    def write(self, step: DrivenStep) -> None:
        """Append a step."""
        if self._writer is not None and (step.begins or self._written >= _LONGEST_STEPS):
            self._finish()
        recorded = step.fleet_step().of_vehicle(0)
        if self._writer is None:
            self._writer = self._begin(step)
            lines = lane_lines(step.moment.world, step.moment.town)
            self._writer.write_scenery(lines, recorded.timestamp_ns)
        self._writer.write_step(recorded)
        self._written += 1

    def close(self, failed: bool) -> None:
        """Finish the last Episode; after a failure it stays a partial file, which can be recovered."""
        if self._writer is not None and failed:
            self._writer.__exit__(RuntimeError, None, None)
        elif self._writer is not None:
            self._finish()
        elif not failed:
            raise InputError(f"{self._path}: no step was recorded; record at least two")

    def _begin(self, step: DrivenStep) -> EpisodeWriter:
        moment, number = step.moment, len(self.paths) + 1
        path = self._path if number == 1 else self._path.with_stem(f"{self._path.stem}-{number}")
        town = self._towns[moment.town] if moment.town < len(self._towns) else f"town {moment.town}"
        metadata = EpisodeMetadata(
            vehicle=self._title or "simulated",
            release="",
            town=town,
            seed=moment.seed,
            world=0,
            driver=step.driver,
            rig=moment.rig,
            triggers=(),
        )
        return EpisodeWriter(path, metadata)

    def _finish(self) -> None:
        assert self._writer is not None
        self._writer.close()
        self.paths.append(self._writer.path)
        self._writer, self._written = None, 0
