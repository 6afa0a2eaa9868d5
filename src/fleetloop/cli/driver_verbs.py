"""The verbs about a network that drives, be it a release or a checkpoint."""

import contextlib
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from fleetloop.cli.stage_verbs import PresetName, check_new
from fleetloop.core.errors import ConfigError
from fleetloop.progress import say, show

if TYPE_CHECKING:
    from fleetloop.artifacts.report import DriveResult, Report
    from fleetloop.presets import Preset
    from fleetloop.releases import FoundDriver


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
    """Name of the cameras of the vehicles, default or shuttle, instead of the preset's."""
    network: str | None = None
    """The checkpoint's network of your own, package.module:function, if you trust its code."""
    seed: int = 0
    """Picks towns that nothing is trained on, and the routes in them."""
    json: bool = False
    """Print the key figures as one line of JSON, and nothing else."""

    def run(self) -> None:
        """Run the verb."""
        import orjson

        with contextlib.redirect_stdout(sys.stderr) if self.json else contextlib.nullcontext():
            report = self._evaluate()
        if self.json:
            print(orjson.dumps(figures_of(report.candidate)).decode())
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
        given |= {"scenario": self.scenario, "rain": self.rain}
        return replace(preset, evaluate=replace(preset.evaluate, **given))

    def _evaluate(self) -> "Report":
        from fleetloop.artifacts.report import read_report
        from fleetloop.policy.model import allow_builder
        from fleetloop.stages import REPORT_FILE, UNTRAINED, Suite, Workspace, evaluate_network

        if self.out is not None:
            check_new(self.out)
        if self.network is not None:
            allow_builder(self.network)
        if self.km is not None and not 0.0 < self.km < float("inf"):
            raise ConfigError(f"km: {self.km} is no distance; use a number above 0")
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
                in_service = read_report(self.in_service / REPORT_FILE).candidate
            else:
                in_service = suite.untrained(folder.with_name(f"{folder.name}-{UNTRAINED}"))

            def write_onnx(path: Path) -> None:
                path.write_bytes(driver.onnx)

            return evaluate_network(folder, write_onnx, driver.id, suite, in_service, km=self.km)


def figures_of(result: "DriveResult") -> dict[str, Any]:
    """What `fleetloop evaluate --json` prints: the key figures, and how often what happened.

    `kpci_low95` is the one-sided 95 % lower bound, `kpci_interval95` the two-sided interval; null stands for what is
    infinite (nothing happened).
    """
    events = {**result.critical_interventions, **result.other_interventions}
    return {
        "kpci": result.kpci,
        "kpci_low95": result.kpci_low95,
        "kpci_interval95": result.kpci_interval95,
        "km": result.km,
        "critical_interventions": result.critical_intervention_count,
        "progress": result.progress,
        "success_rate": result.success_rate,
        "routes": result.routes,
        "events": {str(kind): count for kind, count in events.items()},
        "towns": result.towns,
    }


def _show(report: "Report") -> None:
    """A table of all and of each family, then one line, and what the gate says."""
    from rich.table import Table

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
    for reason in report.verdict.reasons if report.verdict else ():
        say(reason)
