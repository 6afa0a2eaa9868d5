"""A recording as MP4: the road from above and the cameras of the learner, at the speed of life."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from fleetloop.core.files import replacing_file
from fleetloop.core.types import STEP_S
from fleetloop.evaluate.video import H264File
from fleetloop.recording.closing import close_file
from fleetloop.recording.frames import Overhead, frame
from fleetloop.recording.moment import DrivenStep


class VideoFile:
    """Writes the steps of a recording as the frames of a video."""

    def __init__(self, path: Path, towns: Sequence[str], title: str) -> None:
        self.paths: list[Path] = []
        self._path, self._title = path, title
        self._overheads: dict[int, Overhead] = {}
        self._open = contextlib.ExitStack()
        partial = self._open.enter_context(replacing_file(path))
        self._video = self._open.enter_context(H264File(partial, round(1.0 / STEP_S)))

    def write(self, step: DrivenStep) -> None:
        """Draw the next frame."""
        moment = step.moment
        if moment.town not in self._overheads:
            # One at a time: the picture of a town may take a hundred megabytes.
            self._overheads = {moment.town: Overhead(moment.world, moment.town)}
        self._video.write(frame(moment, self._overheads[moment.town], self._title, step.driver))

    def close(self, failed: bool) -> None:
        """Finish the file; after a failure, or without a frame, there is none."""
        self.paths += close_file(self._open, self._path, failed, is_empty=not self._video.frames)
