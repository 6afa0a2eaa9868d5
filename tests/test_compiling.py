"""Compiling the kernels: what a second process does is only a head start."""

import subprocess
import sys
from pathlib import Path

import pytest

from fleetloop.core import second_process
from fleetloop.sim import compiling
from fleetloop.sim.compiling import compile_kernels
from fleetloop.sim.roads import TownLibrary
from toy_world import toy_world


@pytest.mark.parametrize("executable", ["/no/such/python", sys.executable], ids=["none", "fails"])
def test_without_the_second_process_everything_is_compiled_here(
    executable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    started: list[subprocess.Popen] = []
    popen = subprocess.Popen

    def watched(*args, **kwargs) -> subprocess.Popen:
        started.append(popen(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(compiling, "_was_compiled_now", lambda kernel: True)
    monkeypatch.setattr(second_process.sys, "executable", executable)
    monkeypatch.setattr(second_process.subprocess, "Popen", watched)
    told: list[float] = []
    # The library has no such town: a process that starts ends with an error.
    compile_kernels(toy_world(), TownLibrary(tmp_path), "no-such-town-1", told.append)
    assert told == sorted(told) and told[-1] == 1.0
    assert all(process.returncode != 0 for process in started)
