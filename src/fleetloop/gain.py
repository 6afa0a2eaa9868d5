"""What triggers are worth: the loop with triggered uploads, against as many bytes chosen at random, and against none.

For each seed the three runs share turn 0, the demonstrator's drives, and the network trained on them. From then on each
goes its own way with the same preset: the same kilometres driven, the same samples trained on, the same routes
evaluated. Every run is a workspace of the loop; killed, the same command goes on.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table

from fleetloop.artifacts.report import kpci_interval
from fleetloop.core.errors import InputError
from fleetloop.core.files import replacing_folder, write_bytes
from fleetloop.evaluate.statistics import EventCount, rate_ratio_p_value
from fleetloop.loop import RUN_FILE, RunConfig, Turns, Uploads, open_run, run_loop
from fleetloop.presets import Preset
from fleetloop.progress import say
from fleetloop.stages.workspace import Workspace

RESULTS_FILE = "gain.json"


@dataclass(frozen=True)
class GainRow:
    """A turn of all runs with the same uploads, the seeds added up."""

    uploads: str
    turn: int
    km: float
    critical_interventions: int
    recorded_bytes: int
    """Uploaded in this turn."""
    p_triggers_better: float | None
    """Exact, one-sided: that triggers are no better than these uploads; None for triggers themselves, in turn 0, and
    where nobody drove any distance."""

    @property
    def kpci(self) -> float:
        """Kilometres per critical intervention; the kilometres where there was none."""
        return self.km / max(self.critical_interventions, 1)


def run_gain(
    folder: Path, preset_name: str, preset: Preset, seeds: Sequence[int]
) -> dict[tuple[int, Uploads], Turns]:
    """Turn the loop for every seed with each kind of uploads, in `folder`.

    Raises:
        ConfigError: the folder holds runs with other settings.
        InputError: one of the runs of a seed was deleted, and cannot be made alone.
        StorageError: the disk is full.
    """
    towns = tuple(preset.training_keys()), tuple(preset.evaluation_keys())
    done: dict[tuple[int, Uploads], Turns] = {}
    for seed in seeds:
        run = RunConfig(preset_name, seed, *towns)
        first = folder / f"seed-{seed}" / Uploads.TRIGGERS.value
        say(f"Seed {seed}: turn 0 for all")
        run_loop(open_run(first, run), replace(preset, turns=1), run)
        for uploads in (Uploads.RANDOM, Uploads.NOTHING):
            _branch(first, first.with_name(uploads.value))
        like = Workspace(first)
        for uploads in Uploads:
            say(f"Seed {seed}: uploads {uploads.value}")
            branch = replace(run, uploads=uploads.value)
            workspace = open_run(first.with_name(uploads.value), branch)
            done[seed, uploads] = run_loop(workspace, preset, branch, like)
    return done


def _branch(first: Path, folder: Path) -> None:
    """Copy a run that has done turn 0 and no more, unless that happened already.

    Raises:
        InputError: the run has gone on meanwhile, so that its later turns would pass for the copy's.
    """
    if folder.exists():
        return
    if Workspace(first).turn(1).exists():
        raise InputError(
            f"{folder}: is gone, and {first} is past turn 0; delete {first.parent} and begin again"
        )
    with replacing_folder(folder) as partial:
        shutil.copytree(first, partial, dirs_exist_ok=True)
        (partial / RUN_FILE).unlink()


def gain_rows(done: dict[tuple[int, Uploads], Turns]) -> list[GainRow]:
    """All turns of all runs, the seeds added up."""
    rows: list[GainRow] = []
    counts: dict[tuple[Uploads, int], EventCount | None] = {}
    turns = min(len(run.rows) for run in done.values())
    for uploads in Uploads:
        runs = [run for (_, kind), run in done.items() if kind is uploads]
        for turn in range(turns):
            results = [row.result for run in runs for row in (run.rows[turn],) if row.result is not None]
            km = sum(result.km for result in results)
            events = sum(result.critical_intervention_count for result in results)
            # There is no rate of those that got nowhere.
            counts[uploads, turn] = count = EventCount(events, km) if km > 0.0 else None
            triggered, against = counts[Uploads.TRIGGERS, turn], None
            if uploads is not Uploads.TRIGGERS and turn > 0 and triggered is not None and count is not None:
                against = rate_ratio_p_value(triggered, count)
            uploaded = sum(run.uploaded_bytes.get(turn, 0) for run in runs)
            rows.append(GainRow(uploads.value, turn, km, events, uploaded, against))
    return rows


def gain_table(rows: Sequence[GainRow]) -> Table:
    """A line for each kind of uploads and turn."""
    table = Table(
        "uploads", "turn", "KPCI, km", "95 %", "critical", "km", "MB uploaded", "p, triggers better"
    )
    for row in rows:
        low, high = kpci_interval(row.km, row.critical_interventions)
        table.add_row(
            row.uploads,
            str(row.turn),
            f"{row.kpci:.3f}",
            f"{low:.3f}-{high:.3f}",
            str(row.critical_interventions),
            f"{row.km:.1f}",
            f"{row.recorded_bytes / 1e6:.1f}",
            "" if row.p_triggers_better is None else f"{row.p_triggers_better:.2g}",
        )
    return table


def write_gain(path: Path, rows: Sequence[GainRow], settings: dict[str, Any]) -> None:
    """Keep the rows and what they were made with."""
    content = {**settings, "rows": [{**asdict(row), "kpci": row.kpci} for row in rows]}
    write_bytes(path, orjson.dumps(content, option=orjson.OPT_INDENT_2))
