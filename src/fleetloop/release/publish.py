"""Publish a Bundle file to the repository that vehicles update from."""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from fleetloop.artifacts.bundle import MAXIMUM_BUNDLE_BYTES, unpack_bundle
from fleetloop.core.errors import BundleError, ConfigError
from fleetloop.release.bundle import require_passed
from fleetloop.release.keys import load_or_create_keys
from fleetloop.release.repository import Expiry, Repository


@dataclass(frozen=True)
class PublishedBundle:
    """What vehicles are now told to run."""

    release: int
    target_path: Path
    sha256: str
    trusted_root: bytes
    """The first root metadata of the repository; a vehicle gets it once, with its first software."""


def publish(
    bundle_path: Path, repository_folder: Path, keys_folder: Path, now: datetime, expiry: Expiry | None = None
) -> PublishedBundle:
    """Sign a Bundle file and make it the one that vehicles run.

    Publishing the current bundle again renews its dates. Readers see the old state or the new, never a mix.

    Args:
        now: aware; the dates of expiry count from here.

    Raises:
        GateError: the Report in the bundle has no passing verdict.
        BundleError: the bundle cannot be used, its release number is not higher than the published one, or
            the repository does not belong to these keys.
        ConfigError: the keys would be published with the repository, or `now` has no time zone.
        StorageError: the disk is full, or a folder cannot be written.
    """
    if now.tzinfo is None:
        raise ConfigError("now: has no time zone; give it in UTC")
    if keys_folder.resolve().is_relative_to(repository_folder.resolve()):
        raise ConfigError(f"{keys_folder}: lies in the published repository; keep private keys outside of it")
    content = _read(bundle_path)
    bundle = unpack_bundle(content, str(bundle_path))
    require_passed(bundle.report, str(bundle_path))
    digest = sha256(content).hexdigest()
    release = bundle.contract.release
    repository = Repository(repository_folder, load_or_create_keys(keys_folder), expiry)
    current = repository.current_target()
    if current is not None and current.hashes["sha256"] != digest and release <= current.custom["release"]:
        raise BundleError(
            f"{bundle_path}: is release {release}, but release {current.custom['release']} is published "
            "already; give it a higher number"
        )
    target_path = repository.publish(content, release, now)
    return PublishedBundle(release, target_path, digest, repository.trusted_root())


def _read(bundle_path: Path) -> bytes:
    try:
        with bundle_path.open("rb") as file:
            return file.read(MAXIMUM_BUNDLE_BYTES + 1)
    except OSError as error:
        raise BundleError(
            f"{bundle_path}: cannot be read ({error.strerror}); run fleetloop release again"
        ) from error
