"""The verbs about a network that drives, be it a release or a checkpoint."""

import contextlib
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from fleetloop.cli.stage_verbs import PresetName, check_distance, check_new
from fleetloop.cli.world_verbs import WeatherName
from fleetloop.core.errors import ConfigError, InputError
from fleetloop.progress import say, show, stage

if TYPE_CHECKING:
    from fleetloop.artifacts.report import Report
    from fleetloop.evaluate.census import Census
    from fleetloop.policy.inside import InspectedDriver
    from fleetloop.presets import Preset
    from fleetloop.releases import FoundDriver
    from fleetloop.sim.roads.library import TownLibrary


def named_driver(path: str, release: str | None) -> "FoundDriver":
    """The one network that a verb was given, as its argument or with --release.

    Raises:
        ConfigError: none was given, or two.
        InputError: as of `find_driver`.
    """
    from fleetloop.releases import find_driver

    if bool(path) == (release is not None):
        raise ConfigError("release: give either --release or the path of a checkpoint, and not both")
    return find_driver(path or str(release))


@dataclass(frozen=True)
class Drive:
    """Drive in simulated towns, by the demonstrator or a network: record Episodes of many vehicles, or watch one."""

    out: Path | None = None
    """Folder for the Episodes; it must not exist yet."""
    view: bool = False
    """Watch one vehicle live in the Rerun viewer instead, and look inside the network that drives."""
    view_file: Path | None = None
    """Record that to a file instead: .rrd (Rerun), .mp4, or .mcap (Foxglove, without the inside)."""
    release: str | None = None
    """Who drives, instead of the demonstrator: reference, which ships with fleetloop, or the path of a Bundle, of a
    checkpoint, or of a workspace, whose release is installed as vehicles do it."""
    preset: PresetName = "laptop"
    workspace: Path = Path("workspace")
    """Holds the towns."""
    town: str | None = None
    """A map file, or the key of a generated town such as suburb-1000, instead of the preset's."""
    weather: WeatherName = "clear"
    """Of what is watched; Episodes have the weather that their seeds draw."""
    steps: int | None = None
    """Of 0.1 s, for each vehicle, instead of the preset's number."""
    plan_budget_ms: float | None = None
    """Take plans that the network needs longer for as late, by the clock on the wall; else a run can be repeated."""
    mirror: bool = False
    """The network drives by what it sees in a mirror: for towns on the other side of the road than it learnt on."""
    scenario_share: float | None = None
    """Of routes that begin with a scenario, 0 to 1; instead of the preset's."""
    network: str | None = None
    """The checkpoint's network of your own, package.module:function, if you trust its code."""
    seed: int = 0

    def run(self) -> None:
        """Run the verb."""
        watched = self.view or self.view_file is not None
        if watched == (self.out is not None) or (self.view and self.view_file is not None):
            raise ConfigError("drive: give one of --out (Episodes), --view and --view-file")
        if watched and (self.scenario_share is not None or self.plan_budget_ms is not None or self.mirror):
            raise ConfigError(
                "drive: --scenario-share, --plan-budget-ms and --mirror are for Episodes; give --out instead"
            )
        if (self.plan_budget_ms is not None or self.mirror) and self.release is None:
            raise ConfigError(
                "drive: --plan-budget-ms and --mirror are for a network; give --release as well"
            )
        if self.network is not None:
            from fleetloop.policy.model import allow_builder

            allow_builder(self.network)
        if watched:
            self._watch()
        else:
            self._record()

    def _record(self) -> None:
        """Record Episodes."""
        from fleetloop.presets import preset_named
        from fleetloop.releases import find_driver
        from fleetloop.safety.deadline import DeadlinePolicy
        from fleetloop.sim.cameras import DEFAULT_RIG
        from fleetloop.stages.workspace import Workspace, make_world
        from fleetloop.vehicle.drive import drive

        assert self.out is not None
        check_new(self.out)
        preset, library = preset_named(self.preset), Workspace(self.workspace).library
        config, policy, release, rig = preset.demonstrate, None, "", DEFAULT_RIG
        if self.release is not None:
            driver, config = find_driver(self.release), preset.drive
            release, rig = driver.id, driver.rig
            policy = driver.policy(rig, config.vehicles, preset.threads, self.mirror)
        if policy is not None and self.plan_budget_ms is not None:
            policy = DeadlinePolicy(policy, self.plan_budget_ms / 1000.0)
        if self.steps is not None:
            config = replace(config, steps=self.steps)
        if self.scenario_share is not None:
            config = replace(config, scenario_share=self.scenario_share)
        towns = preset.training_keys() if self.town is None else library.keys_of([self.town])
        world = make_world(library, towns)
        with stage("drive") as progress:
            summary = drive(world, towns, policy, rig, self.out, config, self.seed, release, progress)
        say(
            f"{summary.km:.2f} km, {len(summary.episodes)} episodes, "
            f"{summary.bytes_per_km / 1e6:.2f} MB per km in {self.out}"
        )

    def _watch(self) -> None:
        """Show one vehicle, live or as a file."""
        from fleetloop.core.types import STEP_S
        from fleetloop.presets import preset_named
        from fleetloop.recording import RecordConfig, record_drive
        from fleetloop.recording.recording import check_path
        from fleetloop.recording.rerun_file import require_display, rerun_modules
        from fleetloop.sim.cameras import Weather
        from fleetloop.stages.workspace import Workspace, make_world

        if self.view_file is None:
            rerun_modules()
            require_display()
        else:
            check_path(self.view_file)
        steps = preset_named(self.preset).drive.steps if self.steps is None else self.steps
        config, library = (
            RecordConfig(steps * STEP_S, weather=Weather(self.weather)),
            Workspace(self.workspace).library,
        )
        policy = None if self.release is None else inspected(self.release)
        towns = library.keys_of([self.town]) if self.town is not None else ["grid-1000"]
        world = make_world(library, towns)
        with stage(f"drive in {towns[0]}") as progress:
            outcome, paths = record_drive(world, towns, self.view_file, config, self.seed, policy, progress)
        say(": ".join([outcome, *map(str, paths)]))


def inspected(release: str) -> "InspectedDriver":
    """The network that is called so, to drive one vehicle with its own cameras and be looked into."""
    from fleetloop.policy.inside import InspectedDriver
    from fleetloop.releases import find_driver

    driver = find_driver(release)
    return InspectedDriver(driver.for_inspection(), driver.rig)


@dataclass(frozen=True)
class Evaluate:
    """Drive a network in closed loop in towns it never saw, and count; with --out, write a Report and ask the gate."""

    driver: Positional[str] = ""
    """Folder of a checkpoint, of a Bundle, or a workspace; the same as --release."""
    release: str | None = None
    """reference, which ships with fleetloop, or a path as above."""
    out: Path | None = None
    """Folder of the Report, with clips of failures beside it; it must not exist yet."""
    km: float | None = None
    """Drive at least so many kilometres, instead of a number of routes."""
    in_service: Path | None = None
    """For the gate: the Report of the network in service, on the same suite; without it, an untrained network's."""
    workspace: Path = Path("workspace")
    """Holds the towns."""
    town: tuple[str, ...] = ()
    """Map files, or keys of generated towns such as suburb-1000, instead of those that the seed picks."""
    preset: PresetName = "laptop"
    routes: int | None = None
    """Instead of the preset's number."""
    scenario: str = ""
    """Begin with this family of scenarios; `fleetloop world scenario` lists them."""
    scenario_share: float | None = None
    """Of routes that begin with a scenario, 0 to 1; instead of the preset's, or of 1 with --scenario."""
    hour: float | None = None
    """Time of day on all routes, 0 to 24 (0 is night); without it each route draws its own."""
    rain: bool = False
    """It rains on all routes."""
    rig: str | None = None
    """Name of the cameras of the vehicles: default, those that the network was made for, or shuttle; instead of the
    preset's."""
    mirror: bool = False
    """Drive by what the network sees in a mirror: for towns on the other side of the road than it learnt on."""
    int8: bool = False
    """Drive with the network in 8-bit integers, made as `fleetloop release --int8` makes it."""
    network: str | None = None
    """The checkpoint's network of your own, package.module:function, if you trust its code."""
    census: Path | None = None
    """A file (.json) of where the driver spends its time, beside what the demonstrator would do there, and of the
    seconds before each intervention: why it is no better."""
    seed: int = 0
    """Picks towns that nothing is trained on, and the routes in them."""
    json: bool = False
    """Print the key figures as one line of JSON, and nothing else."""

    def run(self) -> None:
        """Run the verb."""
        import orjson

        from fleetloop.core.files import write_bytes
        from fleetloop.evaluate.census import Census

        # After an hour of driving is too late to say so.
        if self.census and not (self.census.suffix == ".json" and self.census.absolute().parent.is_dir()):
            raise ConfigError(f"{self.census}: let --census end in .json, in a folder that exists")
        census = Census() if self.census else None
        with contextlib.redirect_stdout(sys.stderr) if self.json else contextlib.nullcontext():
            report = self._evaluate(census)
            if self.census and census:
                write_bytes(self.census, orjson.dumps(census.to_json(), option=orjson.OPT_INDENT_2))
                say(f"{census.text()} More of it: {self.census}")
        if self.json:
            print(orjson.dumps(report.candidate.figures()).decode())
            return
        _show(report)

    def _preset(self) -> "Preset":
        """The preset with what is asked for instead."""
        from fleetloop.presets import preset_named

        preset = preset_named(self.preset)
        share = 1.0 if self.scenario and self.scenario_share is None else self.scenario_share
        instead: dict[str, Any] = {
            "routes": self.routes,
            "scenario_share": share,
            "rig": self.rig,
            "hour": self.hour,
        }
        given = {name: value for name, value in instead.items() if value is not None}
        given |= {"scenario": self.scenario, "rain": self.rain, "mirrored": self.mirror}
        return replace(preset, evaluate=replace(preset.evaluate, **given))

    def _evaluate(self, census: "Census | None") -> "Report":
        from fleetloop.policy.model import allow_builder
        from fleetloop.stages.judging import UNTRAINED, Suite, evaluate_network
        from fleetloop.stages.workspace import Workspace

        if self.out is not None:
            check_new(self.out)
        if self.network is not None:
            allow_builder(self.network)
        check_distance(self.km)
        if self.in_service is not None and self.out is None:
            raise ConfigError("in-service: the gate judges a Report; give --out as well")
        preset, library = self._preset(), Workspace(self.workspace).library
        towns = library.keys_of(self.town) or preset.evaluation_keys(self.seed)
        driver = named_driver(self.driver, self.release)
        suite, in_service = Suite(library, towns, preset, self.seed), None
        with contextlib.ExitStack() as scratch:
            folder = self.out
            if folder is None:
                folder = Path(scratch.enter_context(tempfile.TemporaryDirectory())) / "report"
            elif self.in_service is not None:
                in_service = suite.result_in(self.in_service)
            else:
                in_service = suite.untrained(folder.with_name(f"{folder.name}-{UNTRAINED}"))
            onnx = self._int8_of(driver, library) if self.int8 else driver.onnx
            return evaluate_network(
                folder,
                lambda path: path.write_bytes(onnx),
                driver.id,
                driver.rig,
                suite,
                in_service,
                km=self.km,
                census=census,
            )

    @staticmethod
    def _int8_of(driver: "FoundDriver", library: "TownLibrary") -> bytes:
        """The network in 8-bit integers."""
        from fleetloop.policy.quantize import is_int8
        from fleetloop.stages.releasing import calibration_observations, write_int8

        if is_int8(driver.onnx):
            raise InputError(f"{driver.name}: is in 8-bit integers already; leave --int8 out")
        observations = calibration_observations(library, driver.rig)
        with stage("8-bit integers"), tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "float32.onnx").write_bytes(driver.onnx)
            return write_int8(
                folder / "float32.onnx", folder / "int8.onnx", driver.rig, observations
            ).read_bytes()


def _show(report: "Report") -> None:
    """A table of all and of each family, then one line, what the safety layer did, and what the gate says."""
    from rich.table import Table

    from fleetloop.evaluate.faults import faults_text

    result = report.candidate
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    kinds = [*result.critical_interventions, *result.other_interventions]
    for column in ("", "km", "KPCI", "95 %", "success", *(kind.replace("_", " ") for kind in kinds)):
        table.add_column(column, justify="right" if column else "left")
    for name, tally in (*sorted(result.families.items()), ("all", result)):
        counts = {**tally.critical_interventions, **tally.other_interventions}
        low, high = tally.kpci_interval95
        rates = (f"{tally.km:.1f}", f"{tally.kpci:.3g}", f"{low:.3g}-{high:.3g}", f"{tally.success_rate:.0%}")
        if tally.routes:
            table.add_row(name, *rates, *(str(counts[kind]) for kind in kinds))
    show(table)
    low, high = result.kpci_interval95
    say(
        f"KPCI {result.kpci:.3f} km (95 %: {low:.3f} to {high:.3f}) over {result.km:.1f} km, "
        f"progress {result.progress:.2f}, success {result.success_rate:.0%}"
    )
    say(faults_text(result.network_faults))
    for reason in report.verdict.reasons if report.verdict else ():
        say(reason)


@dataclass(frozen=True)
class Experts:
    """Draw which experts of a network fire where: in which town, by night, in rain, in which turn."""

    driver: Positional[str] = ""
    """Folder of a checkpoint, of a Bundle, or a workspace; the same as --release."""
    release: str | None = None
    """reference, which ships with fleetloop, or a path as above."""
    out: Path = Path("experts.png")
    """The picture; the numbers are beside it as .json."""
    workspace: Path = Path("workspace")
    """Holds the towns."""
    town: tuple[str, ...] = ()
    """Map files or keys of generated towns, instead of one of each kind."""
    steps: int = 300
    """Of 0.1 s, in each of three drives: as it comes, by night, and in rain."""
    seed: int = 0

    def run(self) -> None:
        """Run the verb."""
        import orjson
        from PIL import Image

        from fleetloop.core.files import replacing_file, write_bytes
        from fleetloop.evaluate.expert_map import ExpertMapConfig, expert_picture, map_experts
        from fleetloop.presets import EVALUATION_SEED
        from fleetloop.sim.roads.generate import LEFT_HAND_PREFIX, TownKind
        from fleetloop.stages.workspace import Workspace, make_world

        if self.out.suffix.lower() != ".png":
            raise ConfigError(f"{self.out}: is no name of a picture; let --out end in .png")
        config, library = ExpertMapConfig(self.steps), Workspace(self.workspace).library
        driver = named_driver(self.driver, self.release)
        network = driver.for_inspection()
        every = [f"{kind}-{EVALUATION_SEED}" for kind in TownKind]
        every += [f"{LEFT_HAND_PREFIX}{kind}-{EVALUATION_SEED}" for kind in (TownKind.GRID, TownKind.HIGHWAY)]
        towns = library.keys_of(self.town) or every
        world = make_world(library, towns)
        with stage("experts") as progress:
            found = map_experts(network, world, towns, driver.rig, config, self.seed, progress)
        with replacing_file(self.out) as partial:
            Image.fromarray(expert_picture(found)).save(partial, "PNG")
        write_bytes(self.out.with_suffix(".json"), orjson.dumps(found.to_json(), option=orjson.OPT_INDENT_2))
        say(f"{len(found.counts)} situations: {self.out}, {self.out.with_suffix('.json')}")
