"""Checkpoint and Report -> Bundle, published."""

from datetime import UTC, datetime
from pathlib import Path

import onnx

from fleetloop.artifacts.bundle import BUNDLE_TARGET, Contract, TensorSpec
from fleetloop.artifacts.checkpoint import copy_coach
from fleetloop.artifacts.lineage import (
    ArtifactKind,
    read_artifact,
    verify_artifact,
)
from fleetloop.artifacts.report import Report
from fleetloop.artifacts.report_file import read_report
from fleetloop.core.errors import BundleError
from fleetloop.core.types import STEP_S, CameraRig, Observation, World
from fleetloop.policy.compact_weights import rounded
from fleetloop.policy.export import parity
from fleetloop.policy.memory import MEMORY_DELAY_STEPS
from fleetloop.policy.model import DriverModel
from fleetloop.policy.quantize import INT8_TOLERANCE, quantize_onnx
from fleetloop.release.bundle import build_bundle, require_passed
from fleetloop.release.keys import load_or_create_keys
from fleetloop.release.publish import publish
from fleetloop.release.repository import Repository
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import make_routes
from fleetloop.stages.judging import NETWORK_FILE, REPORT_FILE
from fleetloop.stages.workspace import Workspace, make_world, network_of

PARITY_TOLERANCE = 2e-3
"""Between PyTorch and ONNX Runtime, both with the weights of the release: metres, 1/m and m/s^2 over a short
drive with memory."""
EXAMPLE_TOWN = "grid-1"
"""Where a network's inputs for parity and calibration are from; never one to evaluate in."""
_PARITY_STEPS, _INT8_STEPS = 8, 60


def release_checkpoint(
    folder: Path,
    checkpoint: Path,
    report_folder: Path,
    release: int,
    workspace: Workspace,
    world: World,
    seed: int,
    int8: bool = False,
) -> None:
    """Check parity, build the Bundle in `folder` and publish it under the number `release`.

    The coach that taught the network, if there is one, comes to lie beside the Bundle: vehicles do not need it, but
    who restores the release to practise on does.

    Args:
        world: where the network's plans before and after are compared, and one in 8-bit integers is calibrated.
        int8: release the network in 8-bit integers: the very one that the Report judges, if that was driven in
            them; else one made from the Report's float32 network. It may differ from the checkpoint by
            INT8_TOLERANCE.

    Raises:
        GateError: the Report did not pass.
        BundleError: the Report judges another checkpoint, or the network in integers while `int8` is not asked for;
            the exported network does not do what the checkpoint does; or a higher release is published already.
        CheckpointError, ReportError: an input cannot be read, or was altered.
        StorageError: the disk is full.
    """
    artifact = read_artifact(report_folder, ArtifactKind.REPORT)
    verify_artifact(report_folder)
    network, checkpoint_id = network_of(checkpoint)
    if checkpoint_id not in artifact.parents:
        raise BundleError(f"{report_folder}: judges another checkpoint; evaluate {checkpoint} first")
    report_path = report_folder / REPORT_FILE
    report = read_report(report_path)
    require_passed(report, str(report_path))
    observations = example_observations(world, network.rig, steps=_INT8_STEPS if int8 else _PARITY_STEPS)
    onnx_path, difference = _checked_network(folder, network, report, report_folder, observations, int8)
    inputs, outputs = tensor_specs(onnx_path)
    contract = Contract(release, STEP_S, MEMORY_DELAY_STEPS, network.rig, inputs, outputs)
    bundle = folder / BUNDLE_TARGET
    parents = (checkpoint_id, artifact.id)
    config: dict[str, object] = {"parity": difference, "int8": int8}
    coach = copy_coach(checkpoint, folder)
    if coach is not None:
        config["coach"] = coach
    build_bundle(bundle, onnx_path, contract, report_path, parents, config, seed)
    publish(bundle, workspace.repository, workspace.keys, utc_now())


def _checked_network(
    folder: Path,
    network: DriverModel,
    report: Report,
    report_folder: Path,
    observations: list[Observation],
    int8: bool,
) -> tuple[Path, float]:
    """The ONNX file to release, and how far its plans are from the checkpoint's."""
    onnx_path, network = report_folder / NETWORK_FILE, rounded(network)
    if not report.settings.get("int8"):
        difference = parity(network, onnx_path, observations, PARITY_TOLERANCE)
        if not int8:
            return onnx_path, difference
        onnx_path = write_int8(onnx_path, folder / NETWORK_FILE, network.rig, observations)
    elif not int8:
        raise BundleError(
            f"{report_folder}: judges the network in 8-bit integers; release with --int8, or evaluate without it"
        )
    return onnx_path, parity(network, onnx_path, observations[len(observations) // 2 :], INT8_TOLERANCE)


def write_int8(network: Path, path: Path, rig: CameraRig, observations: list[Observation]) -> Path:
    """Write an ONNX network in 8-bit integers to `path`, calibrated with the first half of the observations.

    Raises:
        BundleError: as of `quantize_onnx`.
    """
    quantize_onnx(network, path, rig, observations[: len(observations) // 2])
    return path


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
    world: World, rig: CameraRig, vehicles: int = 4, steps: int = _PARITY_STEPS
) -> list[Observation]:
    """What a few vehicles see in the demonstrator's hands: real inputs for the parity check."""
    rollout = Rollout(world, make_routes(1, [0], 1_000, 500.0), vehicles)
    observations = []
    for _ in range(steps):
        rollout.decide()
        observations.append(rollout.observe(rig, 0.5))
        rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
    return observations


def calibration_observations(library: TownLibrary, rig: CameraRig) -> list[Observation]:
    """Those of EXAMPLE_TOWN: enough to calibrate a network in 8-bit integers."""
    return example_observations(make_world(library, [EXAMPLE_TOWN]), rig, steps=_INT8_STEPS)
