"""The recorder for people: is called each step of a drive, and writes the format that the file's ending names."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from fleetloop.artifacts.episode import Driver
from fleetloop.core.errors import ConfigError, InputError
from fleetloop.core.types import EGO, CameraRig, Plan
from fleetloop.policy.inside import Inside
from fleetloop.recording.episode_file import EpisodeFile
from fleetloop.recording.moment import Driven, DrivenStep, Moment, look
from fleetloop.recording.rerun_file import RerunFile, RerunViewer
from fleetloop.recording.video_file import VideoFile
from fleetloop.sim.cameras import DEFAULT_RIG, Appearance, scaled_rig

RECORDING_SCALE = 3
RECORDING_RIG = scaled_rig(DEFAULT_RIG, RECORDING_SCALE)
"""Cameras of a recording unless others are asked for: 288x192 ahead, 144x96 around."""


class RecordingFile(Protocol):
    """Where the steps of a recording go."""

    paths: list[Path]
    """Files that are complete."""

    def write(self, step: DrivenStep) -> None:
        """Take the next step."""
        ...

    def close(self, failed: bool) -> None:
        """Finish; after a failure leave nothing under the name that was asked for."""
        ...


FORMATS: Mapping[str, Callable[[Path, Sequence[str], str], RecordingFile]] = {
    ".mp4": VideoFile,
    ".mcap": EpisodeFile,
    ".rrd": RerunFile,
}
"""Endings of file names, and what writes them."""


class Recording:
    """One world of a rollout or of an environment as a file; a context manager.

        with Recording(Path("drive.rrd")) as recording:
            for _ in range(300):
                rollout.decide()
                recording.add(rollout)
                rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)

    Of an environment (Gymnasium's VectorEnv or Env, PettingZoo's parallel environment) call `add(environment)` before
    each step. What a step led to is only known at the next one: a step is written then, and the last one is left
    out. The file takes its name when the block ends without an error.

    Args:
        path: what is written; the ending is .mp4, .mcap or .rrd. None shows it live in the Rerun viewer instead.
        towns: keys of the towns of the world, for captions and metadata.
        title: of the recording.
        driver: who is meant to drive; of a Rollout, its safety driver is told apart.
        rig: the cameras.
        w: the world that is recorded.
        agent: the learner that is watched.
        variety: of weather and colours, 0 to 1; of an environment its own, unless it is given.
        looks: instead of that, weather and colours, one row.

    Raises:
        ConfigError: the ending is unknown, Rerun is not installed, or there is no display to show it on.
        InputError: the path is a folder.
        StorageError: the file cannot be written.
    """

    def __init__(
        self,
        path: Path | None,
        towns: Sequence[str] = (),
        title: str = "",
        driver: Driver = Driver.DEMONSTRATOR,
        rig: CameraRig = RECORDING_RIG,
        w: int = 0,
        agent: int = EGO,
        variety: float | None = None,
        looks: Appearance | None = None,
    ) -> None:
        if path is None:
            self._file: RecordingFile = RerunViewer(towns, title)
        else:
            check_path(path)
            self._file = FORMATS[path.suffix.lower()](path, towns, title)
        self._driver, self._rig, self._w, self._agent = driver, rig, w, agent
        self._variety, self._looks = variety, looks
        self._pending: Moment | None = None
        self._begins, self._number = True, 0

    @property
    def paths(self) -> Sequence[Path]:
        """Files that are complete: one, and of MCAP one for each route or episode, and for each minute."""
        return self._file.paths

    @property
    def steps(self) -> int:
        """Written so far."""
        return self._number

    def __enter__(self) -> "Recording":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close(failed=kind is not None)

    def add(self, source: Any, plan: Plan | None = None, inside: Inside | None = None) -> None:
        """Take the present step, after everybody decided and before anybody moves.

        Args:
            source: a Rollout, or an environment of `fleetloop.sim.environments`, wrapped or not.
            plan: what the drivers of all worlds want; without it, the controls carried out stand for it.
            inside: of the network that drives the world that is recorded; MP4 and Rerun show it.

        Raises:
            StorageError: the disk is full.
        """
        driven, variety = _worlds_of(source)
        variety = variety if self._variety is None else self._variety
        moment = look(driven, self._rig, self._w, self._agent, variety, self._looks, plan, inside)
        if self._pending is not None:
            follows = self._pending.is_followed_by(moment)
            if follows:
                self._write(self._pending, moment, driven)
            self._begins |= not follows
        self._pending = moment

    def _write(self, moment: Moment, after: Moment, driven: Driven) -> None:
        """Write a moment, now that it is known what came of it."""
        taken_over = getattr(driven, "safety_driver", None)
        held = taken_over is not None and bool(taken_over[self._w])
        driver = Driver.SAFETY_DRIVER if held else self._driver
        curvature, acceleration = (
            float(array[0, self._agent]) for array in (after.state.curvature, after.state.acceleration)
        )
        self._file.write(DrivenStep(self._number, self._begins, moment, curvature, acceleration, driver))
        self._number, self._begins = self._number + 1, False


def _worlds_of(source: Any) -> tuple[Driven, float]:
    """What is driven, and how much its weather varies."""
    if hasattr(source, "decision"):
        return source, 0.0
    worlds = getattr(getattr(source, "unwrapped", source), "worlds", None)
    if worlds is None:
        name = type(source).__name__
        raise ConfigError(
            f"recording: {name} is neither a Rollout nor an environment of fleetloop; give one of them"
        )
    return worlds, worlds.config.variety


def check_path(path: Path) -> None:
    """Refuse a path of which no recording can be made, before anything is driven for it.

    Raises:
        ConfigError: the ending is unknown.
        InputError: it is a folder.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"{path}: its ending names no format; use {', '.join(FORMATS)}")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the name of a file")
