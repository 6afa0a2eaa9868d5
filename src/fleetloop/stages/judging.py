"""Checkpoint -> Report: the closed-loop suite, and the gate."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

import torch

from fleetloop.artifacts.lineage import ARTIFACT_FILE, ArtifactKind, write_artifact
from fleetloop.artifacts.report import DriveResult, Report
from fleetloop.artifacts.report_file import read_report, write_report
from fleetloop.core.errors import ConfigError
from fleetloop.core.files import replacing_folder
from fleetloop.core.types import STEP_S, CameraRig, World
from fleetloop.evaluate.census import Census
from fleetloop.evaluate.clips import clips_beside, save_clips
from fleetloop.evaluate.closed_loop import EvaluateConfig, FailureClip, drive_distance, drive_suite, summarise
from fleetloop.evaluate.gate import decide
from fleetloop.policy.export import export_onnx
from fleetloop.policy.mirror import make_driver
from fleetloop.policy.network import build_network
from fleetloop.policy.quantize import is_int8
from fleetloop.policy.runtime import OnnxDriver
from fleetloop.presets import Preset
from fleetloop.progress import stage
from fleetloop.sim.cameras import DEFAULT_RIG, rig_named
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.sim.routes import RouteResult, route_seed
from fleetloop.stages.workspace import make_world, network_of

UNTRAINED = "untrained"
REPORT_FILE, NETWORK_FILE = "report.json", "network.onnx"
_DEFAULTS = asdict(EvaluateConfig())
_UNTRAINED_ROUTES = 24
"""A network with fresh weights is slow and needs the safety driver every few metres: so many routes tell its rate."""
_NOT_COMPARED = ("routes", "vehicles", "clips", "minimum_progress", "mirrored")
"""Settings in which two results that are compared may differ: rates are compared, whatever the distance and driver."""


class Suite:
    """The closed-loop suite of a run: fixed routes, and how the demonstrator does on them."""

    def __init__(self, library: TownLibrary, towns: Sequence[str], preset: Preset, seed: int) -> None:
        self.library, self.towns, self.preset = library, list(towns), preset
        self.run_seed, self.seed = seed, seed + 7_919
        self._results: list[RouteResult] = []
        self._demonstrated = 0

    @cached_property
    def world(self) -> World:
        """The towns of the suite."""
        return make_world(self.library, self.towns)

    @property
    def demonstrator(self) -> list[RouteResult]:
        """The demonstrator's results: the measure of progress."""
        return self.demonstrator_on(self.preset.evaluate.routes)

    def demonstrator_on(self, routes: int) -> list[RouteResult]:
        """The demonstrator's results on the first `routes` routes; each is driven once."""
        if routes > self._demonstrated:
            config = replace(self.preset.evaluate, routes=routes)
            world, rig, first = self.world, rig_named(config.rig), self._demonstrated
            with stage("demonstrator on the same routes") as progress:
                driven, _ = drive_suite(world, self.towns, rig, config, self.seed, None, progress, first)
            self._results += driven
            self._demonstrated = routes
        seeds = {route_seed(self.seed, number) for number in range(routes)}
        return [result for result in self._results if result.route.seed in seeds]

    def summary_of_demonstrator(self) -> DriveResult:
        """The demonstrator's own counts."""
        return summarise("demonstrator", self.towns, self.seed, self.demonstrator, self.demonstrator)

    def run(
        self,
        network: Path | bytes,
        subject: str,
        title: str,
        km: float | None = None,
        routes: int | None = None,
        rig: CameraRig = DEFAULT_RIG,
        census: Census | None = None,
    ) -> tuple[DriveResult, list[FailureClip]]:
        """Drive the suite with an ONNX network: the first `routes`, or as many as come to `km` kilometres, or all.

        `rig` is what it was made for: the vehicles', unless the preset names another. A `census` sees every moment.
        """
        config, world = self.preset.evaluate, self.world
        routes = routes or config.routes
        vehicles = min(config.vehicles, routes)
        config, rig = replace(config, routes=routes, vehicles=vehicles), rig_named(config.rig, rig)

        def make_policy(vehicles: int) -> OnnxDriver:
            return make_driver(network, rig, vehicles, self.preset.threads, config.mirrored)

        where = (world, self.towns, rig, config, self.seed)
        if km is None:
            # First: its bar comes before the network's, as ever.
            self.demonstrator_on(routes)
        with stage(title) as progress:
            if km is None:
                results, clips = drive_suite(*where, make_policy(vehicles), progress, census=census)
            else:
                results, clips, routes = drive_distance(*where, make_policy, km, progress, census)
        return summarise(subject, self.towns, self.seed, results, self.demonstrator_on(routes)), clips

    def untrained(self, folder: Path) -> DriveResult:
        """How a network with fresh weights does: what the first release must beat. Kept in `folder`."""
        config = self.preset.evaluate
        # The gate compares each scenario family, so then all routes are driven.
        routes = config.routes if config.scenario_share else min(config.routes, _UNTRAINED_ROUTES)
        if not (folder / ARTIFACT_FILE).is_file():
            with replacing_folder(folder) as partial:
                untrained_network(partial / NETWORK_FILE, self.preset, self.run_seed)
                network, title = partial / NETWORK_FILE, "untrained network"
                result, _ = self.run(network, UNTRAINED, title, routes=routes)
                settings = {**settings_of(self.preset), "routes": routes}
                self.write(partial, Report(result, None, None, settings), [])
        return self.result_in(folder)

    def result_in(self, folder: Path) -> DriveResult:
        """The result in a Report, for the gate to compare with: driven as this suite is.

        Towns and seeds are for the gate to compare, which sees them.

        Raises:
            ReportError: the Report cannot be read.
            ConfigError: it was driven in other circumstances, such as by night.
        """
        report = read_report(folder / REPORT_FILE)
        for name, value in settings_of(self.preset).items():
            # A Report of an earlier version lacks what came later, and was driven as that is by default.
            driven = report.settings.get(name, _DEFAULTS.get(name, value))
            if name not in _NOT_COMPARED and driven != value:
                raise ConfigError(
                    f"{folder}: was driven with {name} {driven!r}, not {value!r}, so the gate cannot compare with it; "
                    "evaluate that network with the same settings, or delete the folder if it is the untrained one's"
                )
        return report.candidate

    def write(self, folder: Path, report: Report, parents: Sequence[str]) -> None:
        """Write a Report artifact of this suite into `folder`."""
        write_report(folder / REPORT_FILE, report)
        config = asdict(self.preset.evaluate)
        write_artifact(folder, ArtifactKind.REPORT, parents, config, self.seed, report.figures())


def evaluate_checkpoint(
    folder: Path, checkpoint: Path, suite: Suite, in_service: DriveResult, title: str = "evaluate"
) -> Report:
    """Drive the suite with a checkpoint, let the gate judge, and write the Report artifact to `folder`."""
    network, checkpoint_id = network_of(checkpoint)
    return evaluate_network(
        folder, lambda path: export_onnx(network, path), checkpoint_id, network.rig, suite, in_service, title
    )


def evaluate_network(
    folder: Path,
    write_onnx: Callable[[Path], object],
    subject: str,
    rig: CameraRig,
    suite: Suite,
    in_service: DriveResult | None,
    title: str = "evaluate",
    km: float | None = None,
    census: Census | None = None,
) -> Report:
    """Drive the suite with a network and write the Report artifact to `folder`.

    Args:
        write_onnx: writes the network to the path it is given.
        subject: id of the Checkpoint or Bundle that the network is from.
        rig: the cameras that it was made for.
        in_service: what the gate compares it with; without it the gate is not asked.
        km: drive so far, instead of the preset's number of routes.
        census: sees every moment.
    """
    with replacing_folder(folder) as partial:
        write_onnx(partial / NETWORK_FILE)
        result, clips = suite.run(partial / NETWORK_FILE, subject, title, km, rig=rig, census=census)
        verdict = None
        if in_service is not None:
            verdict = decide(result, in_service, suite.preset.evaluate.minimum_progress)
        settings = {**settings_of(suite.preset), "int8": is_int8((partial / NETWORK_FILE).read_bytes())}
        if km is not None:
            settings |= {"routes": result.routes, "km_asked_for": km}
        report = Report(result, in_service, verdict, settings)
        # Beside the Report: its id must not depend on how pictures are packed.
        save_clips(clips_beside(folder), clips)
        suite.write(partial, report, [subject])
    return report


def untrained_network(path: Path, preset: Preset, seed: int) -> None:
    """Write an ONNX network with fresh weights."""
    torch.manual_seed(seed)
    export_onnx(build_network(preset.network, DEFAULT_RIG).eval(), path)


def settings_of(preset: Preset) -> dict[str, str | int | float | bool | None]:
    """What a Report's figures depend on beside the driver."""
    return {**asdict(preset.evaluate), "step_s": STEP_S}
