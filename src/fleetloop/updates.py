"""How a release reaches the vehicles of a run: the ground keeps it valid, the vehicles ask and check."""

# python-tuf documents these names as public, without the marker that pyright looks for.
# pyright: reportPrivateImportUsage=false

from dataclasses import dataclass
from datetime import timedelta

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Timestamp

from fleetloop.artifacts.bundle import BUNDLE_TARGET
from fleetloop.core.errors import BundleError
from fleetloop.core.files import write_bytes
from fleetloop.core.types import CameraRig
from fleetloop.policy.runtime import OnnxDriver
from fleetloop.progress import say
from fleetloop.release.keys import load_or_create_keys
from fleetloop.release.publish import publish
from fleetloop.release.repository import Repository
from fleetloop.stages.releasing import utc_now
from fleetloop.stages.workspace import Workspace
from fleetloop.vehicle.updater import InstalledBundle, Updater

RENEW_BEFORE = timedelta(days=1)
"""Signed dates of the repository are renewed this long before they run out."""


@dataclass(frozen=True)
class InstalledDriver:
    """What the vehicles run."""

    policy: OnnxDriver
    rig: CameraRig
    """The cameras that it was made for: the vehicles'."""
    bundle_id: str
    release: int


def update_vehicles(workspace: Workspace, vehicles: int, threads: int) -> InstalledDriver | None:
    """Let the vehicles ask for an update, and load what they run then; None before the first release.

    Raises:
        BundleError: as for `install_update`.
    """
    installed = install_update(workspace)
    if installed is None:
        return None
    rig = installed.bundle.contract.rig
    policy = OnnxDriver(installed.bundle.network, rig, vehicles, threads)
    return InstalledDriver(policy, rig, installed.sha256, installed.release)


def install_update(workspace: Workspace) -> InstalledBundle | None:
    """Let the vehicles ask for an update; what they have then, None before the first release.

    An update that is refused is said, and the vehicles keep what they have.

    Raises:
        BundleError: the update was refused, and nothing is installed that could be kept.
    """
    trusted_root = _trusted_root(workspace)
    if trusted_root is None:
        return None
    renew_dates(workspace)
    updater = Updater(workspace.vehicle, trusted_root)
    try:
        return updater.update(workspace.repository, utc_now())
    except BundleError as error:
        installed = updater.installed()
        if installed is None:
            raise
        say(f"  update refused: {error}")
        return installed


def renew_dates(workspace: Workspace) -> None:
    """What the ground owes the vehicles: publish the release again before the signed dates run out."""
    try:
        content = (workspace.repository / "metadata" / "timestamp.json").read_bytes()
        expires = Metadata[Timestamp].from_bytes(content).signed.expires
    except (OSError, RepositoryError):
        # Vehicles will refuse it, and say why.
        return
    if expires - utc_now() > RENEW_BEFORE:
        return
    try:
        target = Repository(workspace.repository, load_or_create_keys(workspace.keys)).current_target()
        if target is not None:
            name = f"{target.hashes['sha256']}.{BUNDLE_TARGET}"
            publish(workspace.repository / "targets" / name, workspace.repository, workspace.keys, utc_now())
            say("  the dates of the published release are renewed")
    except BundleError as error:
        say(f"  the dates of the published release cannot be renewed: {error}")


def _trusted_root(workspace: Workspace) -> bytes | None:
    """The first root metadata: taken from the repository once, as at the factory, and trusted since."""
    kept = workspace.vehicle / "factory_root.json"
    first = workspace.repository / "metadata" / "1.root.json"
    if kept.is_file():
        return kept.read_bytes()
    if not first.is_file():
        return None
    write_bytes(kept, first.read_bytes())
    return first.read_bytes()
