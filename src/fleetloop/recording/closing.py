"""How the files of a recording end."""

import contextlib
from pathlib import Path

from fleetloop.core.errors import InputError


def close_file(opened: contextlib.ExitStack, path: Path, failed: bool, is_empty: bool) -> list[Path]:
    """Finish a file that is written beside its place (see `replacing_file`), and return its path.

    After a failure there is none, and nothing is returned.

    Raises:
        InputError: nothing was written though nothing failed; there is no file then.
    """
    if failed or is_empty:
        error = InputError(f"{path}: no step was recorded; record at least two")
        opened.__exit__(type(error), error, None)
        if not failed:
            raise error
        return []
    opened.close()
    return [path]
