"""The project's figures, each measured by one command: `fleetloop bench NAME`."""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from fleetloop.core.errors import ConfigError
from fleetloop.progress import say

DeviceName = Literal["cpu", "cuda"]
ALL = "all"
"""Instead of a name: every figure, one after the other."""


def run_benchmark(
    name: str,
    json: bool,
    routes: int | None = None,
    workspace: Path = Path("workspace"),
    towns: Sequence[str] = (),
    device: DeviceName = "cpu",
) -> None:
    """Measure a figure and print it as a line: for a person, or with `json` as one object of JSON.

    Args:
        name: of the figure, or "all".
        json: nothing but the line goes to stdout; progress goes to stderr.
        routes: how many the demonstrator drives, instead of the default.
        workspace: holds the towns; those that are missing are made.
        towns: keys of generated towns, and map files, for the demonstrator instead of its own.
        device: where the world and the cameras run.

    Raises:
        ConfigError: there is no such figure, or `routes` or `towns` do not apply to it, or `routes` is less than 1,
            or it is not measured on the device, or there is no such device.
        MapError: a town cannot be made.
        PeerMissingError: a program that the figure is compared with is absent; with "all", the figure is left out
            and stderr says so.
    """
    # Only now: the writer that is killed in a process of its own shall not wait for PyTorch.
    from fleetloop.bench.figures import FIGURES, GPU_FIGURES, Setup
    from fleetloop.bench.peer import PeerMissingError
    from fleetloop.sim.gpu import require_gpu

    figures = GPU_FIGURES if device == "cuda" else FIGURES
    if name != ALL and name not in FIGURES:
        raise ConfigError(f"benchmark: {name!r} is unknown; use {', '.join(FIGURES)} or {ALL}")
    if name != ALL and name not in figures:
        raise ConfigError(f"device: {name} is not measured on a GPU; of {', '.join(figures)} choose one")
    if routes is not None and name not in ("demonstrator", ALL):
        raise ConfigError(f"routes: the figure {name} drives none; use it with demonstrator or {ALL}")
    if routes is not None and routes < 1:
        raise ConfigError(f"routes: {routes} is less than 1; drive at least one")
    if towns and name != "demonstrator":
        raise ConfigError(f"towns: the figure {name} has its own; use them with demonstrator")
    if device == "cuda":
        require_gpu()
    setup = Setup(workspace, routes, towns)
    for measure in figures.values() if name == ALL else [figures[name]]:
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
