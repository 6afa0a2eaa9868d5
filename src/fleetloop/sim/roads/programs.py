"""Runs the programs of Eclipse SUMO (netgenerate, netconvert); turns their complaints into one sentence."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import sumo

from fleetloop.core.errors import MapError

TIMEOUT_S = 300.0

_COMMON_OPTIONS = ("--xml-validation", "never", "--no-turnarounds", "--output.street-names", "false")


def run_sumo_program(program: str, options: Sequence[str], output: Path, subject: str) -> None:
    """Run `program` so that it writes a network to `output`; `subject` names the town or file in errors.

    Raises:
        MapError: the program failed, took longer than TIMEOUT_S, or wrote nothing.
    """
    home = Path(sumo.SUMO_HOME)
    command = [str(home / "bin" / program), *_COMMON_OPTIONS, *options, "--output-file", str(output)]
    environment = {**os.environ, "SUMO_HOME": str(home)}
    try:
        finished = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MapError(
            f"{subject}: {program} did not finish in {TIMEOUT_S:.0f} s; cut out a smaller part of the map"
        ) from error
    except OSError as error:
        raise MapError(
            f"{subject}: {program} cannot be run ({error.strerror}); install eclipse-sumo again"
        ) from error
    if finished.returncode != 0 or not output.exists():
        complaint = _first_error(finished.stderr) or f"exit status {finished.returncode}"
        raise MapError(
            f"{subject}: {program} cannot make roads of it ({complaint}); check or replace the file"
        )


def _first_error(stderr: str) -> str:
    """The first line that SUMO marks as an error, without its mark and end stop."""
    match = re.search(r"^Error:\s*(.+?)\.?\s*$", stderr, re.MULTILINE)
    return match.group(1)[:200] if match else ""
