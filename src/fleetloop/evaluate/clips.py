"""Clips of failures, kept beside a Report until the page is written."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from fleetloop.core.errors import ReportError
from fleetloop.core.files import replacing_file
from fleetloop.evaluate.closed_loop import FailureClip
from fleetloop.evaluate.page import Clip


def clips_beside(report_folder: Path) -> Path:
    """Where the clips of a Report are."""
    return report_folder.with_name(f"{report_folder.name}-clips.npz")


def save_clips(path: Path, clips: list[FailureClip]) -> None:
    """Keep clips until the page is written."""
    captions = np.array([[clip.happened, clip.town, str(clip.seed)] for clip in clips], np.str_)
    arrays: dict[str, Any] = {f"{number}": clip.frames for number, clip in enumerate(clips)}
    with replacing_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, captions=captions, **arrays)


def load_clips(path: Path, release: str) -> list[Clip]:
    """Clips as the page shows them; none if they were not kept.

    Raises:
        ReportError: the file is damaged.
    """
    if not path.is_file():
        return []
    try:
        with np.load(path, allow_pickle=False) as stored:
            captions = stored["captions"].reshape(-1, 3)
            return [
                Clip(stored[str(number)], happened, town, release, int(seed))
                for number, (happened, town, seed) in enumerate(captions.tolist())
            ]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ReportError(
            f"{path}: is damaged; delete it, and the page is made without these clips"
        ) from error
