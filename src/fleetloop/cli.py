"""fleetloop on the command line: one verb for each stage, and `loop` for all of them."""

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import Positional

from fleetloop.core.errors import ConfigError, FleetloopError, InputError
from fleetloop.progress import console, say

PresetName = Literal["smoke", "laptop", "gpu"]


@dataclass(frozen=True)
class Loop:
    """Turn the whole loop: drive, curate, train, evaluate, release. Killed, it goes on where it was."""

    preset: PresetName = "laptop"
    """How much of everything; smoke is for a first look."""
    workspace: Path = Path("workspace")
    """Everything is written below."""
    town: Path | None = None
    """Drive on this map instead of generated towns: .osm, .osm.gz, .xodr, .net.xml or .net.xml.gz."""
    evaluate_on: Path | None = None
    """Train on generated towns, evaluate on this map."""
    seed: int = 0
    turns: int | None = None
    """Instead of the preset's number."""

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.loop import RunConfig, open_run, run_loop
        from fleetloop.presets import preset_named
        from fleetloop.stages import Workspace

        if self.seed < 0:
            raise ConfigError(f"seed: {self.seed} is negative; use 0 or more")
        preset = preset_named(self.preset)
        if self.turns is not None:
            if self.turns < 1:
                raise ConfigError(f"turns: {self.turns} is less than 1; turn the loop at least once")
            preset = replace(preset, turns=self.turns)
        library = Workspace(self.workspace).library
        training, evaluation = preset.training_keys(), preset.evaluation_keys()
        if self.town is not None:
            training = evaluation = [library.add_file(self.town)]
        if self.evaluate_on is not None:
            evaluation = [library.add_file(self.evaluate_on)]
        run = RunConfig(self.preset, self.seed, tuple(training), tuple(evaluation))
        workspace = open_run(self.workspace, run)
        turns = run_loop(workspace, preset, run)
        console.print(turns.table())
        say(f"Report: {workspace.page}")


@dataclass(frozen=True)
class Drive:
    """Drive vehicles in simulated towns and record Episodes, by the demonstrator or a released network."""

    out: Path
    """Folder for the Episodes."""
    preset: PresetName = "laptop"
    workspace: Path = Path("workspace")
    """Holds the towns, and the repository that releases come from."""
    release: bool = False
    """Drive with the release that the vehicle of the workspace installs, not with the demonstrator."""
    town: Path | None = None
    """A map to drive on instead of generated towns."""
    steps: int | None = None
    """Of 0.1 s, for each vehicle, instead of the preset's number."""
    seed: int = 0

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.loop import RunConfig, Turns
        from fleetloop.presets import preset_named
        from fleetloop.progress import stage
        from fleetloop.sim.cameras import DEFAULT_RIG
        from fleetloop.stages import Workspace
        from fleetloop.vehicle.drive import MANIFEST, drive

        if (self.out / MANIFEST).exists():
            raise InputError(f"{self.out}: holds a complete drive already; choose another --out")
        preset, workspace = preset_named(self.preset), Workspace(self.workspace)
        towns = preset.training_keys() if self.town is None else [workspace.library.add_file(self.town)]
        turns = Turns(workspace, preset, RunConfig(self.preset, self.seed, tuple(towns), tuple(towns)))
        installed = turns.installed() if self.release else None
        if self.release and installed is None:
            raise InputError(f"{workspace.repository}: has no release; run fleetloop loop first")
        config = preset.drive if installed else preset.demonstrate
        if self.steps is not None:
            config = replace(config, steps=self.steps)
        policy, release = (installed[0], installed[1]) if installed else (None, "")
        world = turns.training_world
        with stage("drive") as progress:
            summary = drive(
                world, towns, policy, DEFAULT_RIG, self.out, config, self.seed, release, progress
            )
        say(
            f"{summary.km:.2f} km, {len(summary.episodes)} episodes, "
            f"{summary.bytes_per_km / 1e6:.2f} MB per km in {self.out}"
        )


@dataclass(frozen=True)
class Curate:
    """Cut Episodes into samples and append them to a data set as a new version."""

    episodes: Positional[tuple[Path, ...]]
    """MCAP files, or folders of them."""
    dataset: Path = Path("workspace/dataset")
    seed: int = 0

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.curate.curate import CurateConfig, curate, dataset_size
        from fleetloop.progress import stage

        paths: list[Path] = []
        for entry in self.episodes:
            if not entry.exists():
                raise InputError(f"{entry}: there is no such file or folder; check the path")
            paths += sorted(entry.rglob("*.mcap")) if entry.is_dir() else [entry]
        if not paths:
            raise InputError(f"{self.episodes[0]}: holds no .mcap file; drive first")
        with stage("curate") as progress:
            version = curate(self.dataset, paths, CurateConfig(), self.seed, progress)
        say(f"{self.dataset}: version {version}, {dataset_size(self.dataset, version)} samples")


@dataclass(frozen=True)
class Train:
    """Train a network on a data set by imitation."""

    out: Path
    """Folder of the checkpoint."""
    dataset: Path = Path("workspace/dataset")
    workspace: Path = Path("workspace")
    """Holds the towns in which the samples were recorded."""
    version: int | None = None
    """Of the data set; the newest without it."""
    initial: Path | None = None
    """A checkpoint to start from."""
    preset: PresetName = "laptop"
    samples: int | None = None
    """To train on in all, instead of the preset's number."""
    seed: int = 0

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.artifacts.dataset import dataset_versions
        from fleetloop.presets import preset_named
        from fleetloop.stages import Workspace, train_checkpoint

        preset = preset_named(self.preset)
        if self.samples is not None:
            preset = replace(preset, imitate=replace(preset.imitate, samples=self.samples))
        version = self.version or dataset_versions(self.dataset)[-1].version
        library = Workspace(self.workspace).library
        train_checkpoint(self.out, self.dataset, version, library, preset, self.seed, self.initial)
        say(f"checkpoint in {self.out}")


@dataclass(frozen=True)
class Evaluate:
    """Drive a checkpoint in closed loop on towns it never saw, and let the gate compare it."""

    checkpoint: Positional[Path]
    out: Path
    """Folder of the report."""
    in_service: Path | None = None
    """The report of the network in service, on the same suite; without it, an untrained network's."""
    workspace: Path = Path("workspace")
    """Holds the towns."""
    town: Path | None = None
    """Evaluate on this map instead of generated towns."""
    preset: PresetName = "laptop"
    routes: int | None = None
    """Instead of the preset's number."""
    seed: int = 0
    json: bool = False
    """Print the key figures as one line of JSON."""

    def run(self) -> None:
        """Run the verb."""
        import orjson

        from fleetloop.artifacts.report import read_report
        from fleetloop.loop import RunConfig, Turns
        from fleetloop.presets import preset_named
        from fleetloop.stages import REPORT_FILE, Workspace, evaluate_checkpoint

        preset, workspace = preset_named(self.preset), Workspace(self.workspace)
        if self.routes is not None:
            preset = replace(preset, evaluate=replace(preset.evaluate, routes=self.routes))
        towns = preset.evaluation_keys() if self.town is None else [workspace.library.add_file(self.town)]
        turns = Turns(workspace, preset, RunConfig(self.preset, self.seed, (), tuple(towns)))
        if self.in_service is not None:
            in_service = read_report(self.in_service / REPORT_FILE).candidate
        else:
            in_service = turns.untrained(self.out.with_name(self.out.name + "-untrained"))
        report = evaluate_checkpoint(self.out, self.checkpoint, turns.suite, in_service)
        if self.json:
            print(orjson.dumps(report.figures()).decode())
            return
        low, high = report.candidate.kpci_interval95
        say(
            f"KPCI {report.candidate.kpci:.3f} km (95 %: {low:.3f} to {high:.3f}) over "
            f"{report.candidate.km:.1f} km, progress {report.candidate.progress:.2f}, "
            f"success {report.candidate.success_rate:.0%}"
        )
        for reason in report.verdict.reasons if report.verdict else ():
            say(reason)


@dataclass(frozen=True)
class Release:
    """Build a signed Bundle from a checkpoint and its passing report, and publish it."""

    checkpoint: Positional[Path]
    report: Path
    """Folder of the report that passed the gate."""
    number: int
    """Of the release; higher than the one published."""
    workspace: Path = Path("workspace")
    """Holds the repository and the keys."""

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.sim.cameras import DEFAULT_RIG
        from fleetloop.stages import Workspace, example_observations, release_checkpoint

        workspace = Workspace(self.workspace)
        observations = example_observations(workspace.library.world(["grid-1"]), DEFAULT_RIG)
        folder = self.report.with_name(f"{self.report.name}-bundle")
        release_checkpoint(folder, self.checkpoint, self.report, self.number, workspace, observations, 0)
        say(f"release {self.number} published in {workspace.repository}")


@dataclass(frozen=True)
class Show:
    """Tell what an artifact is, what it was made from, and its key figures."""

    artifact: Positional[Path]

    def run(self) -> None:
        """Run the verb."""
        from rich.table import Table

        from fleetloop.artifacts.describe import describe_artifact

        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for name, value in describe_artifact(self.artifact):
            table.add_row(f"[bold]{name}[/bold]", value)
        console.print(table)


@dataclass(frozen=True)
class WorldPreview:
    """Draw a town from above and what the eight cameras see in it, as a PNG."""

    town: Path | None = None
    """A map; without it the generated town `key`."""
    key: str = "grid-7"
    """A generated town: grid, organic or spider, and a seed."""
    out: Path = Path("preview.png")
    workspace: Path = Path("workspace")
    seed: int = 0

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.preview import town_preview
        from fleetloop.stages import Workspace

        library = Workspace(self.workspace).library
        key = library.add_file(self.town) if self.town is not None else self.key
        town_preview(library.world([key]), key, self.seed, self.out)
        say(f"{key}: {self.out}")


@dataclass(frozen=True)
class Bench:
    """Measure one of the project's figures."""

    name: Positional[str]
    """cameras, cameras-320x192, world, closed-loop, train, vehicle, vehicle-base, record or demonstrator; all
    measures one after the other."""
    json: bool = False
    """Print one line of JSON for each figure, and nothing else."""
    routes: int | None = None
    """Of the demonstrator, instead of the default number."""
    workspace: Path = Path("workspace")
    """Holds the towns."""

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.bench import run_benchmark

        run_benchmark(self.name, self.json, self.routes, self.workspace)


_VERBS = {
    "loop": Loop,
    "drive": Drive,
    "curate": Curate,
    "train": Train,
    "evaluate": Evaluate,
    "release": Release,
    "show": Show,
    "world preview": WorldPreview,
    "bench": Bench,
}


def main() -> None:
    """Run a verb; errors raised on purpose are one sentence and exit code 2."""
    # Compiled kernels and networks are kept between runs by their libraries; both must find two threads free.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = sys.argv[1:]
    if arguments[:1] == ["world"]:
        arguments = [" ".join(arguments[:2]), *arguments[2:]]
    try:
        verb = tyro.extras.subcommand_cli_from_dict(_VERBS, prog="fleetloop", args=arguments)
        verb.run()
    except FleetloopError as error:
        print(f"fleetloop: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("fleetloop: stopped; run the same command again to go on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
