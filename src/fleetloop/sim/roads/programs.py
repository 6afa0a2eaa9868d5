"""Runs the programs of Eclipse SUMO (netgenerate, netconvert); turns their complaints into one sentence."""

import errno
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import sumo

from fleetloop.core.errors import MapError
from fleetloop.core.files import storage_errors

TIMEOUT_S = 300.0

_COMMON_OPTIONS = ("--xml-validation", "never", "--no-turnarounds", "--output.street-names", "false")


def sumo_data(name: str) -> Path:
    """A file of SUMO's data folder."""
    return Path(sumo.SUMO_HOME) / "data" / name


def run_sumo_program(program: str, options: Sequence[str], output: Path, subject: str) -> None:
    """Run `program` so that it writes a network to `output`; `subject` names the town or file in errors.

    Raises:
        MapError: the program failed, took longer than TIMEOUT_S, or wrote nothing.
        StorageError: the disk is full.
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
    # SUMO's programs do not notice a full disk.
    if not _is_whole(output):
        with storage_errors(output):
            raise OSError(errno.ENOSPC, "the network was not written whole")


def _is_whole(network: Path) -> bool:
    with network.open("rb") as file:
        file.seek(max(network.stat().st_size - 64, 0))
        return file.read().rstrip().endswith(b"</net>")


def _first_error(stderr: str) -> str:
    """The first line that SUMO marks as an error, without its mark and end stop."""
    match = re.search(r"^Error:\s*(.+?)\.?\s*$", stderr, re.MULTILINE)
    return match.group(1)[:200] if match else ""
