"""The loop: drive -> curate -> train -> evaluate -> release, turn after turn.

Every turn writes complete artifacts into its folder of the workspace; a run that was killed goes on after the
last complete one.
"""

import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import orjson
from rich.table import Table

from fleetloop.artifacts.dataset import dataset_versions
from fleetloop.artifacts.lineage import ArtifactKind, read_artifact, write_artifact
from fleetloop.artifacts.report import DriveResult, Report, read_report, write_report
from fleetloop.core.errors import BundleError, ConfigError, InputError
from fleetloop.core.files import replacing_folder, write_bytes
from fleetloop.core.types import World
from fleetloop.curate.curate import curate, dataset_size
from fleetloop.evaluate.page import Clip, TurnRow, turn_table, write_page
from fleetloop.fleet.ingest import ingest
from fleetloop.policy.runtime import OnnxDriver
from fleetloop.presets import Preset
from fleetloop.progress import say, stage
from fleetloop.sim.cameras import DEFAULT_RIG
from fleetloop.stages import (
    CLIPS_FILE,
    REPORT_FILE,
    Suite,
    Workspace,
    evaluate_checkpoint,
    example_observations,
    load_clips,
    make_world,
    release_checkpoint,
    settings_of,
    train_checkpoint,
    trusted_root,
    untrained_network,
)
from fleetloop.vehicle.drive import MANIFEST, DriveSummary, drive, read_summary
from fleetloop.vehicle.updater import Updater

UNTRAINED = "untrained"
RUN_FILE, TURN_FILE = "run.json", "turn.json"
Value = TypeVar("Value")


@dataclass(frozen=True)
class RunConfig:
    """What a workspace was started with; a later call must agree."""

    preset: str
    seed: int
    training_towns: tuple[str, ...]
    evaluation_towns: tuple[str, ...]


class Turns:
    """Turns of the loop in a workspace."""

    def __init__(self, workspace: Workspace, preset: Preset, run: RunConfig) -> None:
        self.workspace, self.preset, self.run = workspace, preset, run
        self.suite = Suite(workspace.library, run.evaluation_towns, preset, run.seed)
        self.in_service: DriveResult | None = None
        self.rows: list[TurnRow] = []
        self.trigger_counts: dict[int, dict[str, int]] = {}

    @cached_property
    def training_world(self) -> World:
        """The towns that are driven to learn."""
        return make_world(self.workspace.library, self.run.training_towns)

    def installed(self) -> tuple[OnnxDriver, str, int] | None:
        """What the vehicle runs after asking for an update: the policy, the bundle's id, the release number."""
        if not (self.workspace.repository / "metadata" / "timestamp.json").exists():
            return None
        updater = Updater(self.workspace.vehicle, trusted_root(self.workspace.repository))
        try:
            bundle = updater.update(self.workspace.repository, datetime.now(UTC))
        except BundleError as error:
            say(f"  update refused: {error}")
            bundle = updater.installed()
            if bundle is None:
                return None
        policy = OnnxDriver(bundle.bundle.network, self.preset.drive.vehicles, self.preset.threads)
        return policy, bundle.sha256, bundle.release

    def drive(self, number: int) -> DriveSummary:
        """Drive and record, by the release in the vehicle or, before there is one, by the demonstrator."""
        folder = self.workspace.turn(number) / "drive"
        if (folder / MANIFEST).is_file():
            return self._complete(number, "drive", read_summary(folder))
        installed = self.installed() if number > 0 else None
        config = self.preset.drive if installed else self.preset.demonstrate
        policy, release, name = (None, "", "demonstrator drives")
        if installed:
            policy, release = installed[0], installed[1]
            name = f"release {installed[2]} drives"
        world, towns = self.training_world, list(self.run.training_towns)
        seed = self.run.seed * 1_000 + number
        with stage(f"turn {number}: {name}") as progress:
            return drive(world, towns, policy, DEFAULT_RIG, folder, config, seed, release, progress)

    def curate(self, number: int) -> tuple[int, int]:
        """Ingest and curate what was driven; (version, samples) of the data set."""
        record = self.workspace.turn(number) / "curated.json"
        dataset = self.workspace.dataset
        if record.is_file():
            version = int(orjson.loads(record.read_bytes())["version"])
            return self._complete(number, "curate", (version, dataset_size(dataset, version)))
        with stage(f"turn {number}: ingest") as progress:
            episodes, refused = ingest(self.workspace.turn(number) / "drive", progress)
        for path, reason in refused:
            say(f"  refused {path.name}: {reason}")
        version = self._curated_before(episodes)
        if version is None:
            with stage(f"turn {number}: curate {len(episodes)} episodes") as progress:
                version = curate(dataset, episodes, self.preset.curate, self.run.seed, progress)
        write_bytes(record, orjson.dumps({"version": version}))
        return version, dataset_size(dataset, version)

    def _curated_before(self, episodes: list[Path]) -> int | None:
        """The version that already holds these episodes: the run was killed between the two writes."""
        if not (self.workspace.dataset.exists() and episodes):
            return None
        first = read_artifact(episodes[0], ArtifactKind.EPISODE).id
        for entry in dataset_versions(self.workspace.dataset):
            if first in entry.artifact.parents:
                return entry.version
        return None

    def train(self, number: int, version: int) -> Path:
        """Train on everything up to this turn, from the weights of the turn before."""
        path = self.workspace.turn(number) / "checkpoint"
        if (path / "artifact.json").is_file():
            return self._complete(number, "train", path)
        initial = self.workspace.turn(number - 1) / "checkpoint" if number else None
        seed, title = self.run.seed * 1_000 + number, f"turn {number}: train"
        train_checkpoint(
            path, self.workspace.dataset, version, self.workspace.library, self.preset, seed, initial, title
        )
        return path

    def evaluate(self, number: int, checkpoint: Path) -> Report:
        """Judge the new network against the one in service, before the first release an untrained one."""
        folder = self.workspace.turn(number) / "report"
        if (folder / "artifact.json").is_file():
            return self._complete(number, "evaluate", read_report(folder / REPORT_FILE))
        in_service = self.in_service or self.untrained()
        title = f"turn {number}: evaluate"
        return evaluate_checkpoint(folder, checkpoint, self.suite, in_service, title)

    def untrained(self, folder: Path | None = None) -> DriveResult:
        """How a network with fresh weights does on the suite; driven once for each workspace, or `folder`."""
        folder = folder or self.workspace.folder / UNTRAINED
        if not (folder / "artifact.json").is_file():
            with replacing_folder(folder) as partial:
                untrained_network(partial / "network.onnx", self.preset, self.run.seed)
                result, _ = self.suite.run(partial / "network.onnx", UNTRAINED, "untrained network")
                report = Report(result, None, None, settings_of(self.preset))
                write_report(partial / REPORT_FILE, report)
                config = asdict(self.preset.evaluate)
                write_artifact(partial, ArtifactKind.REPORT, [], config, self.suite.seed, report.figures())
        return read_report(folder / REPORT_FILE).candidate

    def release(self, number: int, checkpoint: Path, report: Report) -> str:
        """Publish if the gate passed; what the turn ends with in service."""
        if report.verdict is None or not report.verdict.passed:
            return "none"
        bundle = self.workspace.turn(number) / "bundle"
        with stage(f"turn {number}: release"):
            observations = example_observations(self.suite.world, DEFAULT_RIG)
            report_folder = self.workspace.turn(number) / "report"
            release_checkpoint(
                bundle, checkpoint, report_folder, number + 1, self.workspace, observations, self.run.seed
            )
        return f"release {number + 1}"

    def turn(self, number: int) -> None:
        """One turn; what is complete already is kept."""
        started = time.monotonic()
        record = self.workspace.turn(number) / TURN_FILE
        summary = self.drive(number)
        version, samples = self.curate(number)
        checkpoint = self.train(number, version)
        report = self.evaluate(number, checkpoint)
        if record.is_file():
            done = orjson.loads(record.read_bytes())
            released, minutes = str(done["released"]), float(done["minutes"])
            self._complete(number, "release", None)
        else:
            released = self.release(number, checkpoint, report)
            minutes = (time.monotonic() - started) / 60.0
            write_bytes(record, orjson.dumps({"released": released, "minutes": minutes}))
        if report.verdict is not None and report.verdict.passed:
            self.in_service = report.candidate
        self.trigger_counts[number] = summary.trigger_counts
        self.rows.append(
            TurnRow(
                turn=number,
                release=released,
                result=report.candidate,
                verdict=report.verdict,
                uploaded_bytes_per_km=summary.bytes_per_km,
                samples=samples,
                minutes=minutes,
            )
        )
        for reason in report.verdict.reasons if report.verdict else ():
            say(f"  gate: {reason}")

    @staticmethod
    def _complete(number: int, name: str, value: Value) -> Value:
        say(f"  turn {number}: {name} is complete, going on after it")
        return value

    def table(self) -> Table:
        """A line for each turn."""
        return turn_table(self.rows)

    def write_page(self) -> None:
        """The report of the whole run."""
        clips: list[Clip] = []
        for row in self.rows:
            clips += load_clips(self.workspace.turn(row.turn) / CLIPS_FILE, f"candidate of turn {row.turn}")
        places = ", ".join(sorted({town.rsplit("-", 1)[0] for town in self.run.evaluation_towns}))
        write_page(
            self.workspace.page,
            self.rows,
            self.trigger_counts,
            clips,
            "The loop, turn by turn",
            f"Preset {self.run.preset}, seed {self.run.seed}; evaluated on towns never trained on ({places}).",
            untrained=self.untrained(),
            demonstrator=self.suite.summary_of_demonstrator(),
        )


def open_run(folder: Path, run: RunConfig) -> Workspace:
    """Start a run in a folder, or go on with the one that is there.

    Raises:
        ConfigError: the folder holds a run with other settings.
    """
    path = folder / RUN_FILE
    wanted = asdict(run)
    if path.is_file():
        try:
            found = orjson.loads(path.read_bytes())
        except orjson.JSONDecodeError as error:
            raise InputError(f"{path}: is damaged; use another --workspace") from error
        for name, value in orjson.loads(orjson.dumps(wanted)).items():
            if found.get(name) != value:
                raise ConfigError(
                    f"{path}: {name} is {found.get(name)!r}, not {value!r}; use another --workspace, or the same settings"
                )
        say(f"Going on with the run in {folder}.")
    else:
        write_bytes(path, orjson.dumps(wanted, option=orjson.OPT_INDENT_2))
    return Workspace(folder)


def run_loop(workspace: Workspace, preset: Preset, run: RunConfig) -> Turns:
    """Turn the loop `preset.turns` times and write the page."""
    turns = Turns(workspace, preset, run)
    for number in range(preset.turns):
        say(f"Turn {number} of {preset.turns - 1}")
        turns.turn(number)
    with stage("report"):
        turns.write_page()
    return turns
