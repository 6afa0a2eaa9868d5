"""The project's figures, each measured by one command: `fleetloop bench NAME`."""

import contextlib
import sys
from pathlib import Path

from fleetloop.core.errors import ConfigError
from fleetloop.progress import say

ALL = "all"
"""Instead of a name: every figure, one after the other."""


def run_benchmark(
    name: str, json: bool, routes: int | None = None, workspace: Path = Path("workspace")
) -> None:
    """Measure a figure and print it as a line: for a person, or with `json` as one object of JSON.

    Args:
        name: of the figure, or "all".
        json: nothing but the line goes to stdout; progress goes to stderr.
        routes: how many the demonstrator drives, instead of the default.
        workspace: holds the towns; those that are missing are made.

    Raises:
        ConfigError: there is no such figure, or `routes` does not apply to it or is less than 1.
        PeerMissingError: a program that the figure is compared with is absent; with "all", the figure is left out
            and stderr says so.
    """
    # Only now: the writer that is killed in a process of its own shall not wait for PyTorch.
    from fleetloop.bench.figures import FIGURES, Setup
    from fleetloop.bench.peer import PeerMissingError

    if name != ALL and name not in FIGURES:
        raise ConfigError(f"benchmark: {name!r} is unknown; use {', '.join(FIGURES)} or {ALL}")
    if routes is not None and name not in ("demonstrator", ALL):
        raise ConfigError(f"routes: the figure {name} drives none; use it with demonstrator or {ALL}")
    if routes is not None and routes < 1:
        raise ConfigError(f"routes: {routes} is less than 1; drive at least one")
    setup = Setup(workspace, routes)
    for measure in FIGURES.values() if name == ALL else [FIGURES[name]]:
        with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
            try:
                measurement = measure(setup)
            except PeerMissingError as error:
                if name != ALL:
                    raise
                print(f"left out: {error}", file=sys.stderr)
                continue
        if json:
            print(measurement.json_line(), flush=True)
        else:
            say(measurement.text_line())
