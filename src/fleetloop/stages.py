"""Each stage over artifacts: from the paths of what it reads to the artifact that it writes."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from fleetloop.artifacts.bundle import Contract, TensorSpec
from fleetloop.artifacts.checkpoint import read_checkpoint, write_checkpoint
from fleetloop.artifacts.dataset import dataset_versions, read_samples
from fleetloop.artifacts.episode import rig_from_json, rig_to_json
from fleetloop.artifacts.lineage import ArtifactKind, read_artifact, write_artifact
from fleetloop.artifacts.report import DriveResult, Report, write_report
from fleetloop.core.errors import BundleError, CheckpointError
from fleetloop.core.files import replacing_file, replacing_folder
from fleetloop.core.types import STEP_S, CameraRig, Observation, World
from fleetloop.evaluate.closed_loop import FailureClip, drive_suite, summarise
from fleetloop.evaluate.gate import decide
from fleetloop.evaluate.page import Clip
from fleetloop.policy.export import export_onnx, parity
from fleetloop.policy.memory import MEMORY_DELAY_STEPS
from fleetloop.policy.network import DriverNetwork, build_network, config_from_dict, config_to_dict
from fleetloop.policy.runtime import OnnxDriver
from fleetloop.presets import Preset
from fleetloop.progress import stage
from fleetloop.release.bundle import build_bundle
from fleetloop.release.publish import publish
from fleetloop.sim.cameras import DEFAULT_RIG
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.sim.rollout import Rollout, RouteResult, make_routes
from fleetloop.train.batches import sample_batches
from fleetloop.train.imitate import train

PARITY_TOLERANCE = 2e-3
"""Between PyTorch and ONNX Runtime in float32: metres, 1/m and m/s^2 over a short drive with memory."""
REPORT_FILE, CLIPS_FILE = "report.json", "clips.npz"


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
    """Load or make towns, with a bar."""
    with stage(f"towns ({len(towns)})") as progress:
        for number, town in enumerate(towns):
            library.world([town])
            progress((number + 1) / len(towns))
        return library.world(towns)


def network_of(checkpoint: Path) -> tuple[DriverNetwork, str]:
    """Build the network of a checkpoint; returns it with the checkpoint's id.

    Raises:
        CheckpointError: it cannot be read or does not fit its config.
    """
    tensors, config, artifact = read_checkpoint(checkpoint)
    try:
        network = build_network(config_from_dict(config["network"]), rig_from_json(config["rig"]))
        network.load_state_dict(tensors)
    except (KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{checkpoint}: the weights do not fit the config beside them; train again"
        ) from error
    return network.eval(), artifact.id


def train_checkpoint(
    path: Path,
    dataset: Path,
    version: int,
    library: TownLibrary,
    preset: Preset,
    seed: int,
    initial: Path | None = None,
    title: str = "train",
) -> None:
    """Train on a version of the data set and write the checkpoint to `path`."""
    samples = read_samples(dataset, version)
    towns = sorted(set(samples.town.tolist()))
    world = library.world(towns)
    config = replace(preset.imitate, seed=seed)
    if initial is None and preset.first_imitate is not None:
        config = replace(preset.first_imitate, seed=seed)
    batches = replace(preset.batches, batch_size=config.batch_size, memory=preset.network.memory)
    tensors = read_checkpoint(initial)[0] if initial is not None else None
    parents = [dataset_versions(dataset)[-1].artifact.id]
    parents += [read_artifact(initial).id] if initial is not None else []
    partial = path.with_name(path.name + ".training.safetensors")
    with stage(title) as progress:
        result = train(
            config,
            preset.network,
            DEFAULT_RIG,
            lambda first: sample_batches(samples, world, towns, DEFAULT_RIG, batches, seed, first),
            initial=tensors,
            partial_state=partial,
            progress=lambda seen, _: progress(seen / config.samples),
        )
    figures = {"samples_seen": result.samples_seen, **{f"loss_{k}": v for k, v in result.losses.items()}}
    content = {
        "network": config_to_dict(preset.network),
        "rig": rig_to_json(DEFAULT_RIG),
        "imitate": asdict(config),
        "batches": asdict(batches),
    }
    write_checkpoint(path, result.network.state_dict(), content, parents, seed, figures)
    partial.unlink(missing_ok=True)


class Suite:
    """The closed-loop suite of a run: fixed routes, and how the demonstrator does on them."""

    def __init__(self, library: TownLibrary, towns: Sequence[str], preset: Preset, seed: int) -> None:
        self.library, self.towns, self.preset = library, list(towns), preset
        self.seed = seed + 7_919

    @cached_property
    def world(self) -> World:
        """The towns of the suite."""
        return make_world(self.library, self.towns)

    @cached_property
    def demonstrator(self) -> list[RouteResult]:
        """The demonstrator's results: the measure of progress."""
        world = self.world
        with stage("demonstrator on the same routes") as progress:
            config = self.preset.evaluate
            return drive_suite(world, self.towns, DEFAULT_RIG, config, self.seed, None, progress)[0]

    def summary_of_demonstrator(self) -> DriveResult:
        """The demonstrator's own counts."""
        return summarise("demonstrator", self.towns, self.seed, self.demonstrator, self.demonstrator)

    def run(self, network: Path, subject: str, title: str) -> tuple[DriveResult, list[FailureClip]]:
        """Drive the suite with an ONNX network."""
        demonstrator = self.demonstrator
        config = self.preset.evaluate
        policy = OnnxDriver(network, config.vehicles, self.preset.threads)
        with stage(title) as progress:
            results, clips = drive_suite(
                self.world, self.towns, DEFAULT_RIG, config, self.seed, policy, progress
            )
        return summarise(subject, self.towns, self.seed, results, demonstrator), clips


def evaluate_checkpoint(
    folder: Path, checkpoint: Path, suite: Suite, in_service: DriveResult, title: str = "evaluate"
) -> Report:
    """Drive the suite with a checkpoint, let the gate judge, and write the Report artifact to `folder`."""
    network, checkpoint_id = network_of(checkpoint)
    with replacing_folder(folder) as partial:
        onnx_path = partial / "network.onnx"
        export_onnx(network, onnx_path)
        result, clips = suite.run(onnx_path, checkpoint_id, title)
        report = Report(result, in_service, decide(result, in_service), settings_of(suite.preset))
        write_report(partial / REPORT_FILE, report)
        # Beside the Report: the id of a Report must not depend on how pictures are packed.
        save_clips(folder.with_name(CLIPS_FILE), clips)
        write_artifact(
            partial, ArtifactKind.REPORT, [checkpoint_id], asdict(suite.preset.evaluate), suite.seed, report.figures()
        )
    return report


def save_clips(path: Path, clips: list[FailureClip]) -> None:
    """Keep clips until the page is written."""
    with replacing_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file,
            captions=np.array([[clip.happened, clip.town, str(clip.seed)] for clip in clips], "U64"),
            **{f"{number}": clip.frames for number, clip in enumerate(clips)},
        )


def load_clips(path: Path, release: str) -> list[Clip]:
    """Clips as the page shows them; none if they were not kept."""
    if not path.is_file():
        return []
    with np.load(path, allow_pickle=False) as stored:
        captions = stored["captions"].reshape(-1, 3)
        return [
            Clip(stored[str(number)], happened, town, release, int(seed))
            for number, (happened, town, seed) in enumerate(captions.tolist())
        ]


def settings_of(preset: Preset) -> dict[str, str | int | float | bool | None]:
    """What a Report's figures depend on beside the driver."""
    return {**asdict(preset.evaluate), "step_s": STEP_S, "rig": "default"}


def untrained_network(path: Path, preset: Preset, seed: int) -> None:
    """Write an ONNX network with fresh weights: what the first release must beat."""
    import torch

    torch.manual_seed(seed)
    export_onnx(build_network(preset.network, DEFAULT_RIG).eval(), path)


def release_checkpoint(
    folder: Path,
    checkpoint: Path,
    report_folder: Path,
    release: int,
    workspace: Workspace,
    observations: list[Observation],
    seed: int,
) -> int:
    """Check parity, build the Bundle in `folder` and publish it; returns the release number.

    Raises:
        GateError: the Report did not pass.
        BundleError: the exported network does not do what the checkpoint does.
    """
    network, checkpoint_id = network_of(checkpoint)
    onnx_path = report_folder / "network.onnx"
    difference = parity(network, onnx_path, observations, PARITY_TOLERANCE)
    report = read_artifact(report_folder, ArtifactKind.REPORT)
    if checkpoint_id not in report.parents:
        raise BundleError(f"{report_folder}: judges another checkpoint; evaluate {checkpoint} first")
    inputs, outputs = tensor_specs(onnx_path)
    contract = Contract(release, STEP_S, MEMORY_DELAY_STEPS, network.rig, inputs, outputs)
    bundle = folder / "driver.bundle"
    build_bundle(
        bundle,
        onnx_path,
        contract,
        report_folder / REPORT_FILE,
        (checkpoint_id, report.id),
        {"parity": difference},
        seed,
    )
    publish(bundle, workspace.repository, workspace.keys, datetime.now(UTC))
    return release


def tensor_specs(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of an ONNX file."""
    graph = onnx.load(str(path), load_external_data=False).graph

    def spec(value: onnx.ValueInfoProto) -> TensorSpec:
        tensor = value.type.tensor_type
        shape = tuple(d.dim_param or d.dim_value for d in tensor.shape.dim)
        return TensorSpec(value.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, shape)

    return tuple(map(spec, graph.input)), tuple(map(spec, graph.output))


def example_observations(world: World, rig: CameraRig, vehicles: int = 4, steps: int = 8) -> list[Observation]:
    """What a few vehicles see in the demonstrator's hands: real inputs for the parity check."""
    rollout = Rollout(world, make_routes(1, [0], 10**6, 500.0), vehicles)
    observations = []
    for _ in range(steps):
        rollout.decide()
        observations.append(rollout.observe(rig, 0.5))
        rollout.step(rollout.teaching.curvature, rollout.teaching.acceleration)
    return observations


def trusted_root(repository: Path) -> bytes:
    """The first root metadata, which a vehicle is given with its software.

    Raises:
        BundleError: there is no repository.
    """
    path = repository / "metadata" / "1.root.json"
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); publish a release first") from error
