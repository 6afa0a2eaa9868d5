"""The loop: killed anywhere, it goes on and ends the same; vehicles keep what they have if need be."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from fleetloop import loop, updates
from fleetloop.artifacts.bundle import BUNDLE_TARGET
from fleetloop.artifacts.dataset import dataset_versions
from fleetloop.artifacts.lineage import read_artifact, verify_artifact
from fleetloop.artifacts.report_file import read_report
from fleetloop.cli import main
from fleetloop.core.errors import BundleError, ConfigError, InputError
from fleetloop.loop import RunConfig, TurnRecord, Turns, open_run, run_loop
from fleetloop.practice.practise import PractiseConfig
from fleetloop.release.publish import publish
from fleetloop.stages import judging, training
from fleetloop.stages import workspace as workspace_module
from fleetloop.stages.workspace import Workspace
from fleetloop.updates import renew_dates, update_vehicles
from fleetloop.vehicle.drive import read_summary
from tiny_loop import TINY, finished_workspace, ids_of, make_tiny, prepare

RUN = RunConfig("smoke", 0, ("grid-0",), ("grid-1000",))


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny(monkeypatch)


@pytest.fixture(scope="module")
def finished() -> Path:
    return finished_workspace()


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished workspace."""
    return Path(shutil.copytree(finished, tmp_path / "workspace"))


def run_tiny(workspace: Path) -> Turns:
    return run_loop(open_run(workspace, RUN), TINY, RUN)


def test_turns_of_practice_go_on_from_one_another_also_in_a_later_run(tmp_path: Path):
    drive = replace(TINY.drive, steps=20, route_m=60.0)
    practise = PractiseConfig(drive=drive, first_drive_samples=32, batches_per_round=2, stage_samples=64)
    first = replace(TINY.imitate, samples=TINY.imitate.samples // 2)
    preset = replace(TINY, turns=1, practise=practise, first_imitate=first)
    workspace = open_run(prepare(tmp_path / "workspace"), RUN)
    turns = run_loop(workspace, preset, RUN)
    (row,) = turns.rows
    assert row.release == "release 1" and row.samples == first.samples
    begun = read_artifact(workspace.turn(0) / "checkpoint")
    assert begun.parents == () and not (workspace.folder / "dataset").exists()
    assert not list(workspace.turn(0).glob("*.practice"))
    assert "practise" in turns.record(0).seconds and workspace.page.is_file()
    turns = run_loop(open_run(workspace.folder, RUN), replace(preset, turns=2), RUN)
    assert [row.samples for row in turns.rows] == [first.samples, TINY.imitate.samples]
    assert read_artifact(workspace.turn(0) / "checkpoint") == begun
    assert read_artifact(workspace.turn(1) / "checkpoint").parents == (begun.id,)


def test_every_artifact_fits_its_id_and_names_its_parents(finished: Path):
    ids = ids_of(finished)
    kinds = [Path(name).name.split("-")[0] for name in ids]
    assert kinds.count("checkpoint") == kinds.count("report") == kinds.count(BUNDLE_TARGET) == 2
    assert kinds.count("vehicle") >= 4
    for name, id in ids.items():
        assert verify_artifact(finished / name).id == id
    first, second = (finished / "turns" / number for number in ("00", "01"))
    checkpoint, report, bundle = (
        read_artifact(second / name) for name in ("checkpoint", "report", f"bundle/{BUNDLE_TARGET}")
    )
    versions = dataset_versions(finished / "dataset")
    assert checkpoint.parents == (versions[1].artifact.id, read_artifact(first / "checkpoint").id)
    assert report.parents == (checkpoint.id,)
    assert set(bundle.parents) == {checkpoint.id, report.id}
    released = read_artifact(first / "bundle" / BUNDLE_TARGET).id
    for name in read_summary(second / "drive").episodes:
        assert read_artifact(second / "drive" / name).parents == (released,)


def test_the_first_turn_is_the_demonstrators_then_the_release_drives(finished: Path):
    first, second = (read_summary(finished / "turns" / number / "drive") for number in ("00", "01"))
    assert first.release == "" and second.release
    assert sum(second.trigger_counts.values()) > 0
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "release 2" in page and "towns never trained on" in page


def test_the_same_seed_gives_the_same_artifacts_and_more_turns_can_be_asked_for(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    workspace = prepare(tmp_path / "workspace")
    command = ["loop", "--preset", "smoke", "--workspace", str(workspace)]
    main([*command, "--turns", "1"])
    assert not (workspace / "turns/01").exists()
    main(command)
    assert ids_of(workspace) == ids_of(finished)
    check_log(capsys.readouterr().out)


def check_log(output: str) -> None:
    """One line for each stage, nothing in between, and the table."""
    lines = output.splitlines()
    assert all(line.strip() for line in lines) and "\x1b" not in output
    assert sum("turn 1: train" in line for line in lines) == 1
    rows = [line.split()[:3] for line in lines if line[:2] in ("0 ", "1 ")]
    assert rows == [["0", "release", "1"], ["0", "release", "1"], ["1", "release", "2"]]


def test_the_time_that_is_left_is_told(copied: Path, capsys: pytest.CaptureFixture[str]):
    (copied / "turns/00/turn.json").unlink()
    run_tiny(copied)
    assert "1 to go, some " in capsys.readouterr().out


def test_what_is_done_once_does_not_count_for_the_next_turn():
    record = TurnRecord(seconds={"preparation": 60.0, "drive": 30.0, "train": 90.0})
    assert (record.minutes, record.repeated_minutes) == (3.0, 2.0)


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


class Killer:
    """Kills the run once at every point it comes past."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[int, str]] = []
        self.turn = -1
        for name in ("drive", "curate", "train", "evaluate", "release"):
            monkeypatch.setattr(Turns, name, self._method(name, getattr(Turns, name)))
        for name in ("drive", "curate", "train_checkpoint", "evaluate_checkpoint", "release_checkpoint"):
            monkeypatch.setattr(loop, name, self._function(name, getattr(loop, name)))
        for module in (loop, workspace_module, training, judging):
            monkeypatch.setattr(module, "stage", self._stage(module.stage))

    def pass_by(self, point: str) -> None:
        if (self.turn, point) not in self.seen:
            self.seen.append((self.turn, point))
            raise Killed

    def _method(self, name: str, method: Callable) -> Callable:
        def killing(turns: Turns, number: int, *arguments):
            self.turn = number
            self.pass_by(f"before {name}")
            result = method(turns, number, *arguments)
            self.pass_by(f"after {name}")
            return result

        return killing

    def _function(self, name: str, function: Callable) -> Callable:
        def killing(*arguments, **options):
            result = function(*arguments, **options)
            self.pass_by(f"{name} is written, its record is not")
            return result

        return killing

    def _stage(self, stage: Callable) -> Callable:
        @contextlib.contextmanager
        def killing(title: str) -> Iterator[Callable[[float], None]]:
            with stage(title) as progress:

                def report(share: float) -> None:
                    progress(share)
                    if 0.5 <= share < 1.0:
                        self.pass_by(f"midway through {title}")

                yield report

        return killing


def test_killed_anywhere_it_goes_on_and_ends_the_same(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    workspace = prepare(tmp_path / "workspace")
    killer = Killer(monkeypatch)
    for _ in range(200):
        with contextlib.suppress(Killed):
            run_tiny(workspace)
            break
        assert not list(workspace.rglob("artifact.json.partial"))
    assert ids_of(workspace) == ids_of(finished)
    points = {point for _, point in killer.seen}
    for name in ("drive", "curate", "train", "evaluate", "release"):
        assert {(turn, f"after {name}") for turn in (0, 1)} <= set(killer.seen)
    midways = [point.removeprefix("midway through ") for point in points if point.startswith("midway")]
    for stage in (
        "demonstrator drives",
        "release 1 drives",
        "train",
        "evaluate",
        "curate",
        "untrained network",
    ):
        assert any(stage in title for title in midways), stage
    output = capsys.readouterr().out
    assert "Going on with the run in" in output and "turn 1: evaluate                   complete" in output
    assert len(dataset_versions(workspace / "dataset")) == 2
    assert not list(workspace.rglob("*.partial")) and not list(workspace.rglob("*.training.safetensors"))


def train_tiny(path: Path, workspace: Path, seed: int, progress: Callable[[float], None]) -> str:
    """Train on the first version; the id of the checkpoint."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(training, "stage", lambda title: contextlib.nullcontext(progress))
        library = Workspace(workspace).library
        training.train_checkpoint(path, workspace / "dataset", 1, library, TINY, seed)
    return read_artifact(path).id


def test_a_training_that_was_killed_goes_on_midway_and_ends_in_the_same_bits(copied: Path, tmp_path: Path):
    def kill(share: float) -> None:
        if share > 0.5:
            raise Killed

    with pytest.raises(Killed):
        train_tiny(tmp_path / "checkpoint", copied, 0, kill)
    state = next(tmp_path.glob("checkpoint.*.training.safetensors"))
    shares: list[float] = []
    # Another training does not go on from it, be it of the same name.
    other = tmp_path / "other" / "checkpoint"
    other.parent.mkdir()
    shutil.copy(state, other.parent)
    assert train_tiny(other, copied, 5, shares.append) != ids_of(copied)["turns/00/checkpoint"]
    assert shares[0] < 0.2
    shares.clear()
    assert (
        train_tiny(tmp_path / "checkpoint", copied, 0, shares.append) == ids_of(copied)["turns/00/checkpoint"]
    )
    assert shares[0] > 0.5
    assert not state.exists()


def test_a_complete_run_only_writes_its_page_again(copied: Path, capsys: pytest.CaptureFixture[str]):
    before = ids_of(copied)
    turns = run_tiny(copied)
    assert ids_of(copied) == before
    assert [row.release for row in turns.rows] == ["release 1", "release 2"]
    assert all(row.minutes > 0.0 for row in turns.rows)
    output = capsys.readouterr().out
    assert output.count("   complete") == 10 and "turn 1: train   " in output
    assert not any(line.startswith("  turn") and line.endswith(" s") for line in output.splitlines())


def test_another_run_in_the_same_workspace_is_refused(copied: Path):
    before = ids_of(copied)
    with pytest.raises(ConfigError, match=r"run\.json: seed is 0, not 1; use the same settings"):
        open_run(copied, RunConfig("smoke", 1, RUN.training_towns, RUN.evaluation_towns))
    assert ids_of(copied) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7"])
@pytest.mark.parametrize("name", ["run.json", "turns/00/turn.json"])
def test_a_damaged_record_is_one_sentence(copied: Path, name: str, content: bytes):
    (copied / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: is damaged"):
        run_tiny(copied)


@pytest.mark.parametrize("turn", ["00", "01"])
def test_a_lost_record_is_made_again(copied: Path, turn: str):
    before = ids_of(copied)
    path = copied / "turns" / turn / "turn.json"
    record = orjson.loads(path.read_bytes())
    path.unlink()
    run_tiny(copied)
    assert ids_of(copied) == before
    again = orjson.loads(path.read_bytes())
    assert (again["released"], again["dataset_version"]) == (record["released"], record["dataset_version"])


def test_a_turn_in_which_nothing_was_recorded_keeps_the_data_set(
    copied: Path, monkeypatch: pytest.MonkeyPatch
):
    (copied / "turns/01/turn.json").unlink()
    monkeypatch.setattr(loop, "ingest", lambda *_: ([], []))
    version = Turns(Workspace(copied), TINY, RUN).curate(1)
    assert version == dataset_versions(copied / "dataset")[-1].version


def flip_published_byte(workspace: Path) -> None:
    newest = max((workspace / "repository/targets").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)


def test_an_altered_release_is_refused_and_the_vehicles_keep_theirs(
    copied: Path, capsys: pytest.CaptureFixture[str]
):
    """The second release is altered after it was published; the third turn drives with the first."""
    flip_published_byte(copied)
    turns = Turns(Workspace(copied), TINY, RUN)
    turns.drive(2)
    output = capsys.readouterr().out
    assert "update refused: " in output and "the vehicle keeps release 1" in output
    assert "turn 2: release 1 drives" in output
    first = read_artifact(copied / "turns/00/bundle" / BUNDLE_TARGET).id
    assert read_summary(copied / "turns/02/drive").release == first


def test_without_any_release_to_keep_the_demonstrator_drives_on(
    copied: Path, capsys: pytest.CaptureFixture[str]
):
    flip_published_byte(copied)
    shutil.rmtree(copied / "vehicle")
    with pytest.raises(BundleError, match="the vehicle has no release yet"):
        update_vehicles(Workspace(copied), 2, 1)
    Turns(Workspace(copied), TINY, RUN).drive(2)
    output = capsys.readouterr().out
    assert "no release can drive: " in output and "turn 2: demonstrator drives" in output


def test_a_repository_with_other_keys_is_refused(copied: Path, capsys: pytest.CaptureFixture[str]):
    """The vehicles trust the root they were given first, whatever the repository says later."""
    shutil.rmtree(copied / "repository")
    shutil.rmtree(copied / "keys")
    workspace = Workspace(copied)
    publish(copied / "turns/01/bundle" / BUNDLE_TARGET, workspace.repository, workspace.keys, now())
    installed = update_vehicles(workspace, 2, 1)
    assert installed is not None and installed.release == 1
    assert "update refused: " in capsys.readouterr().out


def now() -> datetime:
    return datetime.now(UTC)


def test_dates_that_ran_out_are_renewed_before_vehicles_ask(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The workspace lay for a month."""
    monkeypatch.setattr(updates, "utc_now", lambda: now() + timedelta(days=40))
    installed = update_vehicles(Workspace(copied), 2, 1)
    assert installed is not None and installed.release == 2
    output = capsys.readouterr().out
    assert "dates of the published release are renewed" in output and "refused" not in output


def test_dates_that_hold_are_left_alone(copied: Path):
    timestamp = copied / "repository/metadata/timestamp.json"
    before = timestamp.read_bytes()
    renew_dates(Workspace(copied))
    assert timestamp.read_bytes() == before


def test_an_altered_release_is_not_renewed(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    flip_published_byte(copied)
    monkeypatch.setattr(updates, "utc_now", lambda: now() + timedelta(days=40))
    installed = update_vehicles(Workspace(copied), 2, 1)
    assert installed is not None and installed.release == 1
    output = capsys.readouterr().out
    assert "cannot be renewed: " in output and "update refused: " in output


MAPS = Path(__file__).parents[2] / "shared/data/maps"


@pytest.mark.parametrize("option", ["--town", "--evaluate-on"])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("osm_extracts/monaco.osm.gz", marks=pytest.mark.slow),
        "opendrive_carla/Town01.xodr",
        "sumo_dlr/bologna/acosta/acosta_buslanes.net.xml",
    ],
)
def test_a_real_map_goes_through_the_loop(name: str, option: str, tmp_path: Path):
    path = MAPS / name
    if not path.exists():
        pytest.skip(f"{path} is not there: the real maps are no part of the repository")
    workspace = prepare(tmp_path / "workspace")
    command = ["loop", "--preset", "smoke", "--workspace", str(workspace), "--turns", "1"]
    main([*command, option, str(path)])
    report = read_report(workspace / "turns/00/report/report.json")
    assert report.candidate.km > 0.0 and report.candidate.towns[0].startswith(Path(name).name.split(".")[0])
    page = (workspace / "report.html").read_text(encoding="utf-8")
    assert ("other routes of the towns trained on" in page) == (option == "--town")


@pytest.mark.slow
def test_killed_for_good_again_and_again_it_ends_the_same(tmp_path: Path):
    """A real SIGKILL, in smoke size, at moments that nobody chose."""
    command = [sys.executable, "-m", "fleetloop.cli", "loop", "--preset", "smoke"]
    towns = prepare(tmp_path / "reference") / "towns"
    started = time.monotonic()
    subprocess.run([*command, "--workspace", str(tmp_path / "reference")], check=True, capture_output=True)
    whole_s = time.monotonic() - started
    workspace = tmp_path / "killed"
    workspace.mkdir()
    shutil.copytree(towns, workspace / "towns")
    kills = 0
    for attempt in range(100):
        process = subprocess.Popen(
            [*command, "--workspace", str(workspace)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            # Long enough for some stage to end, never the same share of one.
            output, _ = process.communicate(timeout=whole_s * (0.3 + 0.043 * (attempt % 7)))
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
    else:
        pytest.fail("the loop never ended")
    assert process.returncode == 0 and b"Going on with the run in" in output
    assert kills >= 2
    assert ids_of(workspace) == ids_of(tmp_path / "reference")
