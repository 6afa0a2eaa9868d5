"""What triggers are worth: three runs that share turn 0, at the smallest size."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fleetloop.artifacts.dataset import dataset_versions
from fleetloop.artifacts.lineage import read_artifact
from fleetloop.cli import main
from fleetloop.gain import gain_rows, gain_table
from fleetloop.loop import Uploads
from fleetloop.vehicle.drive import read_summary
from tiny_loop import make_tiny, prepare


def gain(folder: Path) -> None:
    main(["gain", "--workspace", str(folder), "--preset", "smoke", "--seeds", "0"])


def test_networks_that_get_nowhere_have_no_rate_to_compare():
    def run(*counts: tuple[float, int]) -> Any:
        results = [SimpleNamespace(km=km, critical_intervention_count=events) for km, events in counts]
        return SimpleNamespace(
            rows=[SimpleNamespace(result=result) for result in results], uploaded_bytes={1: 5}
        )

    done = {
        (0, Uploads.TRIGGERS): run((1.0, 9), (2.0, 4), (0.0, 0)),
        (0, Uploads.RANDOM): run((1.0, 9), (0.0, 0), (2.0, 4)),
        (0, Uploads.NOTHING): run((1.0, 9), (2.0, 8), (2.0, 8)),
    }
    rows = gain_rows(done)
    assert [row.p_triggers_better is None for row in rows] == [True] * 7 + [False, True]
    p_value = rows[7].p_triggers_better
    assert p_value is not None and 0.1 < p_value < 0.3 and rows[4].kpci == 0.0
    assert gain_table(rows).row_count == 9


def test_triggers_are_compared_with_as_many_bytes_at_random_and_with_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    make_tiny(monkeypatch)
    folder = tmp_path / "gain"
    prepare(folder / "seed-0/triggers")
    gain(folder)
    runs = {name: folder / "seed-0" / name for name in ("triggers", "random", "nothing")}
    first = {read_artifact(run / "turns/00/checkpoint").id for run in runs.values()}
    last = {read_artifact(run / "turns/01/checkpoint").id for run in runs.values()}
    assert len(first) == 1 and len(last) == 3
    assert len(dataset_versions(runs["nothing"] / "dataset")) == 1
    assert not (runs["nothing"] / "turns/01/drive").exists()
    triggered, random = (read_summary(runs[name] / "turns/01/drive") for name in ("triggers", "random"))
    assert set(random.trigger_counts) == set(triggered.trigger_counts)
    fired = {name for name, count in random.trigger_counts.items() if count}
    assert fired == {"sampled"} and triggered.trigger_counts["sampled"] == 0
    # The budget stops new Episodes; those under way are finished.
    largest = max(path.stat().st_size for path in (runs["random"] / "turns/01/drive").glob("*.mcap"))
    assert random.recorded_bytes <= triggered.recorded_bytes + 2 * largest
    rows = json.loads((folder / "gain.json").read_text())["rows"]
    assert [(row["uploads"], row["turn"]) for row in rows] == [
        (name, turn) for name in runs for turn in (0, 1)
    ]
    assert len({row["critical_interventions"] for row in rows if row["turn"] == 0}) == 1
    assert [row["p_triggers_better"] is None for row in rows] == [True, True, True, False, True, False]
    assert rows[5]["recorded_bytes"] == 0 < rows[1]["recorded_bytes"]
    assert "p, triggers better" in capsys.readouterr().out
    # What is complete is not made again; a run that was killed before its last branch goes on.
    shutil.rmtree(runs["nothing"] / "turns/01")
    checkpoint = runs["random"] / "turns/01/checkpoint"
    made = checkpoint.stat().st_mtime_ns
    gain(folder)
    assert checkpoint.stat().st_mtime_ns == made
    assert json.loads((folder / "gain.json").read_text())["rows"] == rows
    # What triggers uploaded in later turns never passes for what was chosen at random.
    shutil.rmtree(runs["random"])
    with pytest.raises(SystemExit):
        gain(folder)
    assert "is past turn 0; delete" in capsys.readouterr().err and not runs["random"].exists()
