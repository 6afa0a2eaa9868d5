"""A module of ours run in a process beside this one: for work that Python's threads cannot share."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence


@contextlib.contextmanager
def second_process(
    module: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes] | None]:
    """Runs `python -m module arguments` silently while the block does; None where no process can be started.

    It ends with the block at the latest, so it may only do what this process would else do itself.
    """
    try:
        other = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
        )
    except OSError:
        yield None
        return
    try:
        yield other
    finally:
        other.kill()
        other.wait()
