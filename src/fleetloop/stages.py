"""Each stage over artifacts: from the paths of what it reads to the artifact that it writes."""

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx
import orjson
import torch

from fleetloop.artifacts.bundle import BUNDLE_TARGET, Contract, TensorSpec
from fleetloop.artifacts.checkpoint import read_checkpoint, write_checkpoint
from fleetloop.artifacts.dataset import dataset_versions, read_samples
from fleetloop.artifacts.episode import rig_from_json, rig_to_json
from fleetloop.artifacts.lineage import (
    ARTIFACT_FILE,
    Artifact,
    ArtifactKind,
    read_artifact,
    verify_artifact,
    write_artifact,
)
from fleetloop.artifacts.report import DriveResult, Report, read_report, write_report
from fleetloop.core.errors import BundleError, CheckpointError, DatasetError
from fleetloop.core.files import replacing_folder
from fleetloop.core.types import STEP_S, CameraRig, Observation, World
from fleetloop.evaluate.clips import clips_beside, save_clips
from fleetloop.evaluate.closed_loop import FailureClip, drive_distance, drive_suite, summarise
from fleetloop.evaluate.gate import decide
from fleetloop.policy.export import export_onnx, parity
from fleetloop.policy.memory import MEMORY_DELAY_STEPS
from fleetloop.policy.model import DriverModel
from fleetloop.policy.network import build_network, config_from_dict, config_to_dict
from fleetloop.policy.quantize import INT8_TOLERANCE, quantize_onnx
from fleetloop.policy.runtime import OnnxDriver
from fleetloop.practice.practise import PractiseConfig, practise
from fleetloop.presets import Preset
from fleetloop.progress import stage
from fleetloop.release.bundle import build_bundle, require_passed
from fleetloop.release.keys import load_or_create_keys
from fleetloop.release.publish import publish
from fleetloop.release.repository import Repository
from fleetloop.sim import traffic
from fleetloop.sim.cameras import DEFAULT_RIG, rig_named
from fleetloop.sim.compiling import compile_kernels
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.sim.rollout import Rollout, RouteResult, make_routes, route_seed
from fleetloop.sim.scenarios import FAMILIES
from fleetloop.train.batches import sample_batches
from fleetloop.train.imitate import Progress, train
from fleetloop.train.metrics import metrics_to
from fleetloop.train.processes import joined_processes
from fleetloop.train.reinforce import reinforce
from fleetloop.train.replay import Replay

PARITY_TOLERANCE = 2e-3
"""Between PyTorch and ONNX Runtime in float32: metres, 1/m and m/s^2 over a short drive with memory."""
UNTRAINED = "untrained"
REPORT_FILE, NETWORK_FILE = "report.json", "network.onnx"


class Workspace:
    """The folders of a run, and what is loaded from them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.library = TownLibrary(folder / "towns")
        self.dataset = folder / "dataset"
        self.repository = folder / "repository"
        self.keys = folder / "keys"
        self.vehicle = folder / "vehicle"
        self.page = folder / "report.html"

    def turn(self, number: int) -> Path:
        """The folder of a turn."""
        return self.folder / "turns" / f"{number:02d}"


def make_world(library: TownLibrary, towns: Sequence[str]) -> World:
    """Load or make towns, and the kernels that drive in them, with bars."""
    with stage(f"towns ({len(towns)})") as progress:
        for number, town in enumerate(towns):
            library.world([town])
            progress((number + 1) / len(towns))
        world = library.world(towns)
    if not traffic.decide.signatures:
        with stage("kernels (compiled once)") as progress:
            compile_kernels(world, library, towns[0], progress)
    return world


# Training


def network_of(checkpoint: Path) -> tuple[DriverModel, str]:
    """Build the network of a checkpoint; returns it with the checkpoint's id.

    Raises:
        CheckpointError: it cannot be read, was altered, or does not fit its config.
    """
    tensors, config, artifact = _read_verified(checkpoint)
    try:
        network = build_network(config_from_dict(config["network"]), rig_from_json(config["rig"]))
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{checkpoint}: the weights do not fit the config beside them; train again"
        ) from error
    return network.eval(), artifact.id


def _read_verified(checkpoint: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any], Artifact]:
    # Read first: what cannot be read at all is named more closely than what was changed.
    content = read_checkpoint(checkpoint)
    verify_artifact(checkpoint)
    return content


def train_checkpoint(
    path: Path,
    dataset: Path,
    version: int,
    library: TownLibrary,
    preset: Preset,
    seed: int,
    initial: Path | None = None,
    title: str = "train",
    *,
    replay: Replay | None = None,
    tensorboard: Path | None = None,
) -> None:
    """Train on a version of the data set and write the checkpoint to `path`; killed, it goes on midway.

    Started by `torchrun` in several processes, they train it together, and the first one writes it.

    Args:
        initial: the checkpoint to start from.
        replay: samples to mix in.
        tensorboard: folder for figures of the training, as TensorBoard reads them.

    Raises:
        DatasetError, CheckpointError: the data set or `initial` cannot be used.
        MapError: a town of the data set is not in the library.
        ConfigError: a part of the network to adapt is not there, or a package for figures is not installed.
        StorageError: the disk is full.
    """
    samples = read_samples(dataset, version)
    if replay is not None:
        samples = replay.mixed_with(samples)
    towns = sorted(set(samples.town.tolist()))
    config = preset.imitate
    if initial is None and preset.first_imitate is not None:
        config = preset.first_imitate
    config = replace(config, seed=seed)
    batches = replace(preset.batches, batch_size=config.batch_size, memory=preset.network.memory)
    parents = [_version_id(dataset, version)]
    if replay is not None:
        parents.append(_version_id(replay.dataset, replay.version))
    tensors = None
    if initial is not None:
        tensors, _, artifact = _read_verified(initial)
        parents.append(artifact.id)
    content = {
        "network": config_to_dict(preset.network),
        "rig": rig_to_json(DEFAULT_RIG),
        "imitate": asdict(config),
        "batches": asdict(batches),
        "replay_share": 0.0 if replay is None else replay.share,
    }
    # Named for all that it depends on, so that no other training goes on from it.
    made_from = hashlib.sha256(orjson.dumps([parents, content])).hexdigest()[:12]
    partial = path.with_name(f"{path.name}.{made_from}.training.safetensors")
    with joined_processes(config.gpu) as processes:
        with processes.first_goes_first():
            world = library.world(towns)
        watched = _watched(title, config.samples, content, tensorboard, processes.is_first)
        with watched as progress:
            result = train(
                config,
                preset.network,
                DEFAULT_RIG,
                lambda first: sample_batches(
                    samples, world, towns, DEFAULT_RIG, batches, seed, first, processes
                ),
                initial=tensors,
                partial_state=partial,
                progress=progress,
                processes=processes,
            )
        if processes.is_first:
            losses = {f"loss_{name}": value for name, value in result.losses.items()}
            speed = {"processes": processes.count, "waiting_share": round(result.waiting_share or 0.0, 3)}
            figures = {"samples_seen": result.samples_seen, **losses, **speed}
            write_checkpoint(path, result.network.state_dict(), content, parents, seed, figures)
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _watched(
    title: str, samples: int, settings: dict[str, Any], tensorboard: Path | None, speaks: bool
) -> Iterator[Progress | None]:
    """What a training tells of itself, on the screen and where its figures are asked for."""
    if not speaks:
        yield None
        return
    with stage(title) as show_share, metrics_to(title, settings, tensorboard) as log:

        def report(samples_seen: int, figures: dict[str, float]) -> None:
            show_share(samples_seen / samples)
            log(samples_seen, figures)

        yield report


def practise_checkpoint(
    path: Path,
    towns: Sequence[str],
    library: TownLibrary,
    preset: Preset,
    seed: int,
    initial: Path | None = None,
    title: str = "practise",
) -> None:
    """Train a network by practice in `towns` and write the checkpoint to `path`; killed, it goes on midway.

    Args:
        initial: the checkpoint to start from.

    Raises:
        CheckpointError: `initial` cannot be used.
        StorageError: the disk is full.
    """
    config, imitate = preset.practise or PractiseConfig(), replace(preset.imitate, seed=seed)
    batches = replace(preset.batches, batch_size=imitate.batch_size, memory=preset.network.memory)
    parents: list[str] = []
    torch.manual_seed(seed)
    network = build_network(preset.network, DEFAULT_RIG)
    if initial is not None:
        network, parent = network_of(initial)
        parents.append(parent)
    content = {
        "network": config_to_dict(network.config),
        "rig": rig_to_json(network.rig),
        "practise": asdict(config),
        "imitate": asdict(imitate),
        "batches": asdict(batches),
        "towns": list(towns),
    }
    made_from = hashlib.sha256(orjson.dumps([parents, content])).hexdigest()[:12]
    partial = path.with_name(f"{path.name}.{made_from}.practice")
    world, before = make_world(library, towns), 0.01  # the share that the demonstrator's drive takes
    with stage(title) as progress:
        result = practise(
            config,
            imitate,
            network,
            world,
            len(towns),
            batches,
            partial,
            lambda seen, _: progress(before + (1.0 - before) * seen / imitate.samples),
            lambda share: progress(before * share),
        )
    figures = {"samples_seen": result.samples_seen, **{f"loss_{k}": v for k, v in result.losses.items()}}
    write_checkpoint(path, result.network.state_dict(), content, parents, seed, figures)
    shutil.rmtree(partial, ignore_errors=True)


def reinforce_checkpoint(
    path: Path,
    checkpoint: Path,
    towns: Sequence[str],
    library: TownLibrary,
    preset: Preset,
    seed: int,
    title: str = "reinforce",
) -> dict[str, float]:
    """Let the network of a checkpoint learn by reinforcement in `towns`; write what it became to `path`.

    Returns:
        The figures of the last tenth of the rounds.

    Raises:
        CheckpointError: the checkpoint cannot be read, was altered, or does not fit its config.
        StorageError: the disk is full.
    """
    network, checkpoint_id = network_of(checkpoint)
    world = make_world(library, towns)
    config = replace(preset.reinforce, seed=seed)
    drive = preset.drive
    routes = make_routes(seed, range(len(towns)), 10**9, drive.route_m, tuple(FAMILIES), drive.scenario_share)
    with stage(title) as progress:
        taught = reinforce(
            config, network, network.rig, world, routes, lambda seen, _: progress(seen / config.samples)
        )
    content = {
        "network": config_to_dict(network.config),
        "rig": rig_to_json(network.rig),
        "reinforce": asdict(config),
        "towns": list(towns),
    }
    figures = {"samples_seen": taught.samples, **taught.figures}
    write_checkpoint(path, taught.network.state_dict(), content, [checkpoint_id], seed, figures)
    return taught.figures


def _version_id(dataset: Path, version: int) -> str:
    for entry in dataset_versions(dataset):
        if entry.version == version:
            return entry.artifact.id
    raise DatasetError(f"{dataset}: has no version {version}; curate again")


# Evaluation


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
        self, network: Path | bytes, subject: str, title: str, km: float | None = None
    ) -> tuple[DriveResult, list[FailureClip]]:
        """Drive the suite with an ONNX network: all routes of the preset, or as many as come to `km` kilometres."""
        config, world = self.preset.evaluate, self.world
        rig, routes = rig_named(config.rig), config.routes

        def make_policy(vehicles: int) -> OnnxDriver:
            return OnnxDriver(network, rig, vehicles, self.preset.threads)

        where = (world, self.towns, rig, config, self.seed)
        if km is None:
            # First: its bar comes before the network's, as ever.
            self.demonstrator_on(routes)
        with stage(title) as progress:
            if km is None:
                results, clips = drive_suite(*where, make_policy(config.vehicles), progress)
            else:
                results, clips, routes = drive_distance(*where, make_policy, km, progress)
        return summarise(subject, self.towns, self.seed, results, self.demonstrator_on(routes)), clips

    def untrained(self, folder: Path) -> DriveResult:
        """How a network with fresh weights does: what the first release must beat. Kept in `folder`."""
        if not (folder / ARTIFACT_FILE).is_file():
            with replacing_folder(folder) as partial:
                untrained_network(partial / NETWORK_FILE, self.preset, self.run_seed)
                result, _ = self.run(partial / NETWORK_FILE, UNTRAINED, "untrained network")
                self.write(partial, Report(result, None, None, settings_of(self.preset)), [])
        return read_report(folder / REPORT_FILE).candidate

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
        folder, lambda path: export_onnx(network, path), checkpoint_id, suite, in_service, title
    )


def evaluate_network(
    folder: Path,
    write_onnx: Callable[[Path], object],
    subject: str,
    suite: Suite,
    in_service: DriveResult | None,
    title: str = "evaluate",
    km: float | None = None,
) -> Report:
    """Drive the suite with a network and write the Report artifact to `folder`.

    Args:
        write_onnx: writes the network to the path it is given.
        subject: id of the Checkpoint or Bundle that the network is from.
        in_service: what the gate compares it with; without it the gate is not asked.
        km: drive so far, instead of the preset's number of routes.
    """
    with replacing_folder(folder) as partial:
        write_onnx(partial / NETWORK_FILE)
        result, clips = suite.run(partial / NETWORK_FILE, subject, title, km)
        verdict = None
        if in_service is not None:
            verdict = decide(result, in_service, suite.preset.evaluate.minimum_progress)
        settings = settings_of(suite.preset)
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


# Release


def release_checkpoint(
    folder: Path,
    checkpoint: Path,
    report_folder: Path,
    release: int,
    workspace: Workspace,
    observations: list[Observation],
    seed: int,
    int8: bool = False,
) -> None:
    """Check parity, build the Bundle in `folder` and publish it under the number `release`.

    Args:
        observations: in the order of time; the first half calibrates an 8-bit network, the second judges it.
        int8: release the network in 8-bit integers. The Report is that of the float32 network, from which it may
            differ by INT8_TOLERANCE.

    Raises:
        GateError: the Report did not pass.
        BundleError: the Report judges another checkpoint, the exported network does not do what the
            checkpoint does, or a higher release is published already.
        CheckpointError, ReportError: an input cannot be read, or was altered.
        StorageError: the disk is full.
    """
    report = read_artifact(report_folder, ArtifactKind.REPORT)
    verify_artifact(report_folder)
    network, checkpoint_id = network_of(checkpoint)
    if checkpoint_id not in report.parents:
        raise BundleError(f"{report_folder}: judges another checkpoint; evaluate {checkpoint} first")
    onnx_path, report_path = report_folder / NETWORK_FILE, report_folder / REPORT_FILE
    require_passed(read_report(report_path), str(report_path))
    difference = parity(network, onnx_path, observations, PARITY_TOLERANCE)
    if int8:
        half = len(observations) // 2
        onnx_path = folder / NETWORK_FILE
        quantize_onnx(report_folder / NETWORK_FILE, onnx_path, network.rig, observations[:half])
        difference = parity(network, onnx_path, observations[half:], INT8_TOLERANCE)
    inputs, outputs = tensor_specs(onnx_path)
    contract = Contract(release, STEP_S, MEMORY_DELAY_STEPS, network.rig, inputs, outputs)
    bundle = folder / BUNDLE_TARGET
    parents = (checkpoint_id, report.id)
    build_bundle(
        bundle, onnx_path, contract, report_path, parents, {"parity": difference, "int8": int8}, seed
    )
    publish(bundle, workspace.repository, workspace.keys, utc_now())


def published_release(workspace: Workspace) -> int:
    """Number of the release that vehicles are told to run; 0 before the first.

    Raises:
        BundleError: the repository was altered, or signed with other keys.
    """
    if not workspace.repository.exists():
        return 0
    target = Repository(workspace.repository, load_or_create_keys(workspace.keys)).current_target()
    return 0 if target is None else int(target.custom["release"])


def utc_now() -> datetime:
    """The wall clock, which signed metadata needs and nothing else."""
    return datetime.now(UTC)


def tensor_specs(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of an ONNX file."""
    graph = onnx.load(str(path), load_external_data=False).graph

    def spec(value: onnx.ValueInfoProto) -> TensorSpec:
        tensor = value.type.tensor_type
        shape = tuple(d.dim_param or d.dim_value for d in tensor.shape.dim)
        return TensorSpec(value.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, shape)

    return tuple(map(spec, graph.input)), tuple(map(spec, graph.output))


def example_observations(
    world: World, rig: CameraRig, vehicles: int = 4, steps: int = 8
) -> list[Observation]:
    """What a few vehicles see in the demonstrator's hands: real inputs for the parity check."""
    rollout = Rollout(world, make_routes(1, [0], 1_000, 500.0), vehicles)
    observations = []
    for _ in range(steps):
        rollout.decide()
        observations.append(rollout.observe(rig, 0.5))
        rollout.step(rollout.teaching.curvature, rollout.teaching.acceleration)
    return observations
