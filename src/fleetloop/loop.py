"""The loop: drive -> curate -> train -> evaluate -> release, turn after turn.

Every turn writes complete artifacts into its folder of the workspace; a run that was killed goes on after the
last complete one.
"""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import orjson
from rich.table import Table

from fleetloop.artifacts.lineage import ARTIFACT_FILE, read_artifact
from fleetloop.artifacts.report import DriveResult, Report
from fleetloop.artifacts.report_file import read_report
from fleetloop.core.errors import BundleError, ConfigError, InputError
from fleetloop.core.files import write_bytes
from fleetloop.core.types import World
from fleetloop.curate.curate import curate, dataset_size
from fleetloop.evaluate.clips import clips_beside, load_clips
from fleetloop.evaluate.faults import faults_text
from fleetloop.evaluate.page import Clip, TurnRow, turn_table, write_page
from fleetloop.fleet.ingest import ingest
from fleetloop.presets import Preset
from fleetloop.progress import say, say_complete, stage
from fleetloop.sim.cameras import DEFAULT_RIG
from fleetloop.stages.judging import REPORT_FILE, UNTRAINED, Suite, evaluate_checkpoint
from fleetloop.stages.releasing import published_release, release_checkpoint
from fleetloop.stages.training import practise_checkpoint, train_checkpoint
from fleetloop.stages.workspace import Workspace, make_world
from fleetloop.updates import InstalledDriver, update_vehicles
from fleetloop.vehicle.drive import MANIFEST, DriveConfig, DriveSummary, drive, read_summary
from fleetloop.vehicle.triggers import Trigger, TriggerConfig

RUN_FILE, TURN_FILE = "run.json", "turn.json"
NOT_RELEASED = "none"
PREPARATION = "preparation"
"""What is done once for a run, in the turn that needs it first: towns, kernels, references to compare with."""


class Uploads(StrEnum):
    """What vehicles with a release upload; the last two are there to be compared with."""

    TRIGGERS = "triggers"
    RANDOM = "random"
    """Clips chosen at random, as many bytes as another run's triggers chose."""
    NOTHING = "nothing"
    """The same training, on turn 0's data alone."""


@dataclass(frozen=True)
class RunConfig:
    """What a workspace was started with; a later call must agree."""

    preset: str
    seed: int
    training_towns: tuple[str, ...]
    evaluation_towns: tuple[str, ...]
    uploads: str = Uploads.TRIGGERS.value
    network: str | None = None
    """package.module:function of a network of the user's own. A record never makes anybody import code: the same name
    must be given again to go on."""


@dataclass(frozen=True)
class TurnRecord:
    """What a turn has come to, beside its artifacts."""

    dataset_version: int | None = None
    """None until its Episodes are curated."""
    released: str | None = None
    """The release, or NOT_RELEASED; None until it is decided, which ends the turn."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Spent on each stage; what was killed does not count."""

    @property
    def minutes(self) -> float:
        """Spent on the turn."""
        return sum(self.seconds.values()) / 60.0

    @property
    def repeated_minutes(self) -> float:
        """Without what the next turn does not have to do again."""
        return self.minutes - self.seconds.get(PREPARATION, 0.0) / 60.0


class Turns:
    """Turns of the loop in a workspace."""

    def __init__(
        self, workspace: Workspace, preset: Preset, run: RunConfig, like: Workspace | None = None
    ) -> None:
        """`like` is the run whose bytes are matched when uploads are RANDOM."""
        self.workspace, self.preset, self.run, self.like = workspace, preset, run, like
        self.uploads = Uploads(run.uploads)
        self.suite = Suite(workspace.library, run.evaluation_towns, preset, run.seed)
        self.in_service: DriveResult | None = None
        """How the network in service did; None before the first release."""
        self.rows: list[TurnRow] = []
        self.trigger_counts: dict[int, dict[str, int]] = {}
        self.uploaded_bytes: dict[int, int] = {}

    @cached_property
    def training_world(self) -> World:
        """The towns that are driven to learn."""
        return make_world(self.workspace.library, self.run.training_towns)

    def turn(self, number: int) -> None:
        """One turn; what is complete already is kept."""
        uploaded = math.nan
        if self.preset.practise is not None:
            checkpoint = self.practise(number)
            samples = int(read_artifact(checkpoint).figures["samples_seen"])
        else:
            if number == 0 or self.uploads is not Uploads.NOTHING:
                summary = self.drive(number)
                version, uploaded = self.curate(number), summary.bytes_per_km
                self.trigger_counts[number] = summary.trigger_counts
                self.uploaded_bytes[number] = summary.recorded_bytes
            else:
                version = self.record(0).dataset_version
                assert version is not None
            checkpoint = self.train(number, version)
            samples = dataset_size(self.workspace.dataset, version)
        report = self.evaluate(number, checkpoint)
        released = self.release(number, checkpoint, report)
        if report.verdict is not None and report.verdict.passed:
            self.in_service = report.candidate
        self.rows.append(
            TurnRow(
                turn=number,
                release=released,
                result=report.candidate,
                verdict=report.verdict,
                uploaded_bytes_per_km=uploaded,
                samples=samples,
                minutes=self.record(number).minutes,
            )
        )

    def drive(self, number: int) -> DriveSummary:
        """Drive and record, by the release in the vehicles or, before there is one, by the demonstrator."""
        folder = self.workspace.turn(number) / "drive"
        is_complete = (folder / MANIFEST).is_file()
        if not is_complete:
            with self._timed(number, PREPARATION):
                _ = self.training_world
        with self._stage(number, "drive", is_complete) as is_due:
            if is_due:
                self._drive(number, folder)
        return read_summary(folder)

    def _drive(self, number: int, folder: Path) -> None:
        installed = self._installed() if number > 0 else None
        config, policy, release, rig = self.preset.demonstrate, None, "", DEFAULT_RIG
        title = f"turn {number}: demonstrator drives"
        if installed is not None:
            config, policy, rig = self._upload_config(number), installed.policy, installed.rig
            release = installed.bundle_id
            title = f"turn {number}: release {installed.release} drives"
        world, towns = self.training_world, self.run.training_towns
        seed = self.run.seed * 1_000 + number
        with stage(title) as progress:
            drive(world, towns, policy, rig, folder, config, seed, release, progress)

    def _upload_config(self, number: int) -> DriveConfig:
        """How the released network drives and what it uploads."""
        config = self.preset.drive
        if self.uploads is not Uploads.RANDOM:
            return config
        if self.like is None:
            raise ConfigError("uploads: random ones need the run whose bytes they match; use fleetloop gain")
        matched = read_summary(self.like.turn(number) / "drive")
        # More often than needed, so that the budget and not chance ends it.
        probability = 1.5 * len(matched.episodes) / (config.vehicles * config.steps)
        triggers = TriggerConfig(enabled=(Trigger.SAMPLED,), sampled_probability=min(probability, 1.0))
        recorder = replace(config.recorder, budget_bytes=matched.recorded_bytes)
        return replace(config, triggers=triggers, recorder=recorder)

    def _installed(self) -> InstalledDriver | None:
        try:
            preset = self.preset
            return update_vehicles(self.workspace, preset.drive.vehicles, preset.threads)
        except BundleError as error:
            say(f"  no release can drive: {error}")
            return None

    def curate(self, number: int) -> int:
        """Ingest and curate what was driven; the version of the data set."""
        version = self.record(number).dataset_version
        with self._stage(number, "curate", version is not None) as is_due:
            if is_due:
                with stage(f"turn {number}: ingest") as progress:
                    episodes, refused = ingest(self.workspace.turn(number) / "drive", progress)
                for path, reason in refused:
                    say(f"  refused {path.name}: {reason}")
                # Killed before the next line, it finds the Episodes in the data set and adds nothing.
                with stage(f"turn {number}: curate {len(episodes)} episodes") as progress:
                    dataset, config = self.workspace.dataset, self.preset.curate
                    version = curate(dataset, episodes, config, self.run.seed, progress)
                self._write(number, replace(self.record(number), dataset_version=version))
        assert version is not None
        return version

    def train(self, number: int, version: int) -> Path:
        """Train on everything up to this turn, from the weights of the turn before."""
        path = self.workspace.turn(number) / "checkpoint"
        with self._stage(number, "train", (path / ARTIFACT_FILE).is_file()) as is_due:
            if is_due:
                initial = self.workspace.turn(number - 1) / "checkpoint" if number else None
                seed, title = self.run.seed * 1_000 + number, f"turn {number}: train"
                dataset, library = self.workspace.dataset, self.workspace.library
                train_checkpoint(path, dataset, version, library, self.preset, seed, initial, title)
        return path

    def practise(self, number: int) -> Path:
        """Learn by practice, from the weights of the turn before."""
        path = self.workspace.turn(number) / "checkpoint"
        with self._stage(number, "practise", (path / ARTIFACT_FILE).is_file()) as is_due:
            if is_due:
                initial = self.workspace.turn(number - 1) / "checkpoint" if number else None
                seed, title = self.run.seed * 1_000 + number, f"turn {number}: practise"
                towns, library = self.run.training_towns, self.workspace.library
                practise_checkpoint(path, towns, library, self.preset, seed, initial, title)
        return path

    def evaluate(self, number: int, checkpoint: Path) -> Report:
        """Judge the new network against the one in service, before the first release an untrained one."""
        folder = self.workspace.turn(number) / "report"
        is_complete = (folder / ARTIFACT_FILE).is_file()
        if not is_complete:
            with self._timed(number, PREPARATION):
                _ = self.suite.demonstrator, self.untrained()
        with self._stage(number, "evaluate", is_complete) as is_due:
            if is_due:
                in_service = self.in_service or self.untrained()
                title = f"turn {number}: evaluate"
                evaluate_checkpoint(folder, checkpoint, self.suite, in_service, title)
        report = read_report(folder / REPORT_FILE)
        say(f"  {faults_text(report.candidate.network_faults)}")
        for reason in report.verdict.reasons if report.verdict else ():
            say(f"  gate: {reason}")
        return report

    def untrained(self) -> DriveResult:
        """How a network with fresh weights does on the suite."""
        return self.suite.untrained(self.workspace.folder / UNTRAINED)

    def release(self, number: int, checkpoint: Path, report: Report) -> str:
        """Publish if the gate passed; what the turn released."""
        released = self.record(number).released
        with self._stage(number, "release", released is not None) as is_due:
            if is_due:
                released = NOT_RELEASED
                if report.verdict is not None and report.verdict.passed:
                    self._release(number, checkpoint)
                    released = f"release {number + 1}"
                self._write(number, replace(self.record(number), released=released))
        assert released is not None
        return released

    def _release(self, number: int, checkpoint: Path) -> None:
        if published_release(self.workspace) > number:
            # Killed before it was written down, or the record was lost.
            return
        folder = self.workspace.turn(number)
        with stage(f"turn {number}: release"):
            release_checkpoint(
                folder / "bundle",
                checkpoint,
                folder / "report",
                number + 1,
                self.workspace,
                self.suite.world,
                self.run.seed,
            )

    @contextlib.contextmanager
    def _stage(self, number: int, name: str, is_complete: bool) -> Iterator[bool]:
        """Yields whether the stage has to be done; says if not, and notes the time it takes if so."""
        if is_complete:
            say_complete(f"turn {number}: {name}")
            yield False
            return
        with self._timed(number, name):
            yield True

    @contextlib.contextmanager
    def _timed(self, number: int, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        record = self.record(number)
        seconds = record.seconds.get(name, 0.0) + time.monotonic() - started
        self._write(number, replace(record, seconds={**record.seconds, name: seconds}))

    def record(self, number: int) -> TurnRecord:
        """What the turn has come to so far.

        Raises:
            InputError: its file is damaged.
        """
        path = self.workspace.turn(number) / TURN_FILE
        if not path.is_file():
            return TurnRecord()
        try:
            return TurnRecord(**orjson.loads(path.read_bytes()))
        except (orjson.JSONDecodeError, TypeError) as error:
            raise InputError(f"{path}: is damaged; delete it and run the same command again") from error

    def _write(self, number: int, record: TurnRecord) -> None:
        path = self.workspace.turn(number) / TURN_FILE
        write_bytes(path, orjson.dumps(asdict(record), option=orjson.OPT_INDENT_2))

    def table(self) -> Table:
        """A line for each turn."""
        return turn_table(self.rows)

    def write_page(self) -> None:
        """The report of the whole run."""
        clips: list[Clip] = []
        for row in self.rows:
            path = clips_beside(self.workspace.turn(row.turn) / "report")
            clips += load_clips(path, f"candidate of turn {row.turn}")
        training, evaluation = set(self.run.training_towns), set(self.run.evaluation_towns)
        places = ", ".join(sorted({town.rsplit("-", 1)[0] for town in evaluation}))
        unseen = "other routes of the towns trained on" if training & evaluation else "towns never trained on"
        network = f", network {self.run.network}" if self.run.network else ""
        untrained, demonstrator = self.untrained(), self.suite.summary_of_demonstrator()
        with stage("report"):
            write_page(
                self.workspace.page,
                self.rows,
                self.trigger_counts,
                clips,
                "The loop, turn by turn",
                f"Preset {self.run.preset}, seed {self.run.seed}{network}; evaluated on {unseen} ({places}).",
                untrained=untrained,
                demonstrator=demonstrator,
            )


def open_run(folder: Path, run: RunConfig) -> Workspace:
    """Start a run in a folder, or go on with the one that is there.

    Raises:
        ConfigError: the folder holds a run with other settings.
        InputError: the record of the run is damaged.
        StorageError: the folder cannot be written.
    """
    path = folder / RUN_FILE
    content = orjson.dumps(asdict(run), option=orjson.OPT_INDENT_2)
    if not path.is_file():
        write_bytes(path, content)
        return Workspace(folder)
    try:
        found = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path}: is damaged; use another --workspace")
    for name, value in orjson.loads(content).items():
        if found.get(name) != value:
            raise ConfigError(
                f"{path}: {name} is {found.get(name)!r}, not {value!r}; "
                "use the same settings, or another --workspace"
            )
    say(f"Going on with the run in {folder}, after its last complete artifact.")
    return Workspace(folder)


def run_loop(workspace: Workspace, preset: Preset, run: RunConfig, like: Workspace | None = None) -> Turns:
    """Turn the loop `preset.turns` times and write the page; `like` as for Turns."""
    turns = Turns(workspace, preset, run, like)
    for number in range(preset.turns):
        say(f"Turn {number} of {preset.turns - 1}")
        was_complete = turns.record(number).released is not None
        turns.turn(number)
        left = preset.turns - 1 - number
        if left and not was_complete:
            record = turns.record(number)
            more = record.repeated_minutes * left
            say(f"  {record.minutes:.1f} minutes; {left} to go, some {more:.1f} minutes more")
    turns.write_page()
    return turns
