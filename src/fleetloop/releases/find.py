"""From what a person calls a network (`reference`, a Bundle, a workspace, a checkpoint) to the network itself."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from fleetloop.artifacts.bundle import BUNDLE_TARGET, unpack_bundle
from fleetloop.artifacts.checkpoint import COACH_FILE
from fleetloop.artifacts.lineage import Artifact, ArtifactKind, content_id, read_artifact, verify_artifact
from fleetloop.core.errors import BundleError, InputError
from fleetloop.core.types import CameraRig
from fleetloop.policy.export import export_onnx, import_onnx
from fleetloop.policy.mirror import make_driver
from fleetloop.policy.model import DriverModel
from fleetloop.policy.network import InspectableNetwork
from fleetloop.policy.runtime import OnnxDriver
from fleetloop.stages.workspace import Workspace, network_of
from fleetloop.updates import install_update

REFERENCE = "reference"
"""Name of the release that ships with the package."""
_SHIPPED = Path(__file__).parent
_REPOSITORY = "repository"


@dataclass(frozen=True)
class FoundDriver:
    """A network that can drive."""

    name: str
    """What it was asked for by."""
    id: str
    """Of the Bundle or the Checkpoint."""
    onnx: bytes
    """The network as vehicles run it."""
    rig: CameraRig
    """What it was trained around."""
    release: int
    """Number of the release; 0 for a checkpoint."""
    network: DriverModel | None
    """The same in PyTorch, of a checkpoint; of a Bundle it is built again by `for_inspection`."""
    taught_by: Path | None = None
    """Folder that holds the coach that taught it, if it is there."""

    def policy(self, rig: CameraRig, vehicles: int, threads: int = 1, mirrored: bool = False) -> OnnxDriver:
        """What drives `vehicles` vehicles with these cameras; by what it sees in a mirror if asked for."""
        return make_driver(self.onnx, rig, vehicles, threads, mirrored)

    def for_inspection(self) -> InspectableNetwork:
        """The network in PyTorch, which can be looked into and trained on.

        Raises:
            BundleError: the Bundle was made by an earlier version, or it computes in 8-bit integers.
            InputError: it is a network of somebody's own.
        """
        network = self.network or import_onnx(self.onnx, self.rig, self.name)
        if not isinstance(network, InspectableNetwork):
            raise InputError(
                f"{self.name}: is no network of fleetloop's own; only those can be looked into or restored"
            )
        return network


def find_driver(name: str) -> FoundDriver:
    """The network of this name or path, checked against its hash or signature.

    Args:
        name: REFERENCE; or the path of a Bundle or of the folder that holds it; of a workspace or the repository in
            it, whose release is installed as vehicles do it; or of a Checkpoint.

    Raises:
        InputError: the reference is not part of this installation, or a workspace holds no release.
        BundleError, CheckpointError: it is missing, foreign, or was altered.
    """
    if name == REFERENCE:
        bundle = _SHIPPED / REFERENCE / BUNDLE_TARGET
        if not bundle.is_file():
            raise InputError(
                f"release {REFERENCE}: {bundle} is not part of this installation; give --release the folder of a "
                "Bundle, a workspace or a checkpoint, or make one with fleetloop loop"
            )
        return _of_bundle(bundle, name)
    path = Path(name)
    if path.is_file():
        return _of_bundle(path, name)
    if (path / BUNDLE_TARGET).is_file():
        return _of_bundle(path / BUNDLE_TARGET, name)
    if path.name == _REPOSITORY and (path / "metadata").is_dir():
        return _of_workspace(path.parent, name)
    if (path / _REPOSITORY).is_dir():
        return _of_workspace(path, name)
    return _of_checkpoint(path, name)


def _of_bundle(path: Path, name: str) -> FoundDriver:
    artifact = read_artifact(path, ArtifactKind.BUNDLE)
    verify_artifact(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); fetch the Bundle again") from error
    bundle = unpack_bundle(content, str(path))
    contract, taught_by = bundle.contract, _folder_of_coach(path, artifact)
    return FoundDriver(name, artifact.id, bundle.network, contract.rig, contract.release, None, taught_by)


def _folder_of_coach(bundle: Path, artifact: Artifact) -> Path | None:
    """The folder of a Bundle if its coach lies there, too.

    Raises:
        BundleError: it is another coach.
    """
    coach = bundle.with_name(COACH_FILE)
    if not coach.is_file():
        return None
    config = artifact.made_by.get("config")
    if not isinstance(config, dict) or content_id(coach) != config.get("coach"):
        raise BundleError(
            f"{coach}: did not teach {bundle.name}; copy the one that lay beside it, or delete it"
        )
    return bundle.parent


def _of_workspace(folder: Path, name: str) -> FoundDriver:
    installed = install_update(Workspace(folder))
    if installed is None:
        raise InputError(f"{folder / _REPOSITORY}: holds no release; run fleetloop loop first")
    bundle = installed.bundle
    return FoundDriver(name, installed.sha256, bundle.network, bundle.contract.rig, installed.release, None)


def _of_checkpoint(path: Path, name: str) -> FoundDriver:
    network, checkpoint_id = network_of(path)
    taught_by = path if (path / COACH_FILE).is_file() else None
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "network.onnx"
        export_onnx(network, onnx)
        return FoundDriver(name, checkpoint_id, onnx.read_bytes(), network.rig, 0, network, taught_by)
