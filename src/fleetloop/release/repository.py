"""The TUF repository on disk: four signed roles, consistent snapshots; readers never see half of a release.

Layout, as the TUF specification names it (https://theupdateframework.github.io/specification/latest):

    metadata/timestamp.json, N.root.json, N.targets.json, N.snapshot.json
    targets/SHA256.driver.bundle (earlier releases stay, under their hashes)

Everything but timestamp.json has a name of its own for each version; a reader starts at timestamp.json, so a
publication takes effect at the moment that file is renamed into place. Whatever a killed publication left
behind is not referred to, and is overwritten by the next.
"""

# Both packages document these names as public, without the marker that pyright looks for.
# pyright: reportPrivateImportUsage=false

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from fleetloop.artifacts.bundle import BUNDLE_TARGET
from fleetloop.core.errors import BundleError
from fleetloop.core.files import write_bytes
from fleetloop.release.keys import ROLES

SignedRole = TypeVar("SignedRole", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True)
class Expiry:
    """Days after which a vehicle no longer believes the metadata of a role."""

    root_days: int = 365
    targets_days: int = 90
    snapshot_days: int = 30
    timestamp_days: int = 7
    """The shortest: it bounds how long a vehicle can be kept from seeing that there is a newer release."""


@dataclass(frozen=True)
class _Published:
    """The state that timestamp.json refers to."""

    root: Root
    target: TargetFile | None
    targets_version: int
    snapshot_version: int
    timestamp_version: int


class Repository:
    """Writes a TUF repository; needs the private keys, so it never runs on a vehicle."""

    def __init__(self, folder: Path, signers: dict[str, CryptoSigner], expiry: Expiry | None = None):
        self._folder = folder
        self._signers = signers
        self._expiry = expiry or Expiry()

    def trusted_root(self) -> bytes:
        """The first root metadata: what a vehicle is given at the factory, and trusts from then on.

        Raises:
            BundleError: nothing has been published yet.
        """
        return self._read("1.root.json")

    def current_target(self) -> TargetFile | None:
        """The target that vehicles are told to run, or None before the first publication.

        Raises:
            BundleError: the repository was altered, or signed with other keys.
        """
        if not (self._folder / "metadata" / "timestamp.json").exists():
            return None
        return self._load().target

    def publish(self, content: bytes, release: int, now: datetime) -> Path:
        """Make `content` the target that vehicles run; returns its file. `now` is aware, in UTC.

        Raises:
            BundleError: the repository was altered, or signed with other keys.
            StorageError: the disk is full, or the folder cannot be written.
        """
        now = now.replace(microsecond=0)
        digest = sha256(content).hexdigest()
        target_path = self._folder / "targets" / f"{digest}.{BUNDLE_TARGET}"
        write_bytes(target_path, content)
        published = self._load_or_create(now)
        self._renew_root(published.root, now)

        targets = Targets(version=published.targets_version + 1, expires=self._expires("targets", now))
        custom = {"custom": {"release": release}}
        targets.targets[BUNDLE_TARGET] = TargetFile(len(content), {"sha256": digest}, BUNDLE_TARGET, custom)
        targets_bytes = self._write(targets, f"{targets.version}.targets.json")

        snapshot = Snapshot(version=published.snapshot_version + 1, expires=self._expires("snapshot", now))
        snapshot.meta["targets.json"] = _meta_file(targets.version, targets_bytes)
        snapshot_bytes = self._write(snapshot, f"{snapshot.version}.snapshot.json")

        timestamp = Timestamp(
            version=published.timestamp_version + 1, expires=self._expires("timestamp", now)
        )
        timestamp.snapshot_meta = _meta_file(snapshot.version, snapshot_bytes)
        self._write(timestamp, "timestamp.json")
        return target_path

    def _load_or_create(self, now: datetime) -> _Published:
        if (self._folder / "metadata" / "timestamp.json").exists():
            return self._load()
        # The root of a first publication that was killed is kept if it is ours: a vehicle may have it.
        if (self._folder / "metadata" / "1.root.json").exists():
            root = self._load_root()
        else:
            root = Root(version=1, expires=self._expires("root", now), consistent_snapshot=True)
            for role in ROLES:
                root.add_key(self._signers[role].public_key, role)
            self._write(root, "1.root.json")
        return _Published(root, None, targets_version=0, snapshot_version=0, timestamp_version=0)

    def _renew_root(self, root: Root, now: datetime) -> None:
        # Early enough that no vehicle meets an expired root while the timestamp is still good.
        if root.is_expired(self._expires("timestamp", now)):
            root.version += 1
            root.expires = self._expires("root", now)
            self._write(root, f"{root.version}.root.json")

    def _load(self) -> _Published:
        root = self._load_root()
        timestamp = self._load_role(root, Timestamp, "timestamp.json")
        snapshot = self._load_role(root, Snapshot, f"{timestamp.snapshot_meta.version}.snapshot.json")
        targets_version = snapshot.meta["targets.json"].version
        targets = self._load_role(root, Targets, f"{targets_version}.targets.json")
        target = targets.targets.get(BUNDLE_TARGET)
        return _Published(root, target, targets.version, snapshot.version, timestamp.version)

    def _load_root(self) -> Root:
        version = 1
        while (self._folder / "metadata" / f"{version + 1}.root.json").exists():
            version += 1
        name = f"{version}.root.json"
        metadata = self._parse(Root, self._read(name), name)
        for role in ROLES:
            if self._signers[role].public_key.keyid not in metadata.signed.roles[role].keyids:
                raise BundleError(
                    f"{self._folder}: was signed with another {role} key; publish with the keys it was made "
                    "with, or to an empty folder"
                )
        self._verify(metadata.signed, metadata, name)
        return metadata.signed

    def _load_role(self, root: Root, kind: type[SignedRole], name: str) -> SignedRole:
        metadata = self._parse(kind, self._read(name), name)
        self._verify(root, metadata, name)
        return metadata.signed

    def _parse(self, kind: type[SignedRole], content: bytes, name: str) -> Metadata[SignedRole]:
        try:
            metadata = Metadata[kind].from_bytes(content)
        except RepositoryError as error:
            raise BundleError(f"{self._folder / 'metadata' / name}: is not TUF metadata; {_MEND}") from error
        if metadata.signed.type != kind.type:
            raise BundleError(
                f"{self._folder / 'metadata' / name}: holds {metadata.signed.type} metadata; {_MEND}"
            )
        return metadata

    def _verify(self, root: Root, metadata: Metadata[SignedRole], name: str) -> None:
        try:
            root.verify_delegate(metadata.signed.type, metadata.signed_bytes, metadata.signatures)
        except RepositoryError as error:
            raise BundleError(
                f"{self._folder / 'metadata' / name}: its signature is wrong; {_MEND}"
            ) from error

    def _read(self, name: str) -> bytes:
        path = self._folder / "metadata" / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise BundleError(f"{path}: cannot be read ({error.strerror}); {_MEND}") from error

    def _write(self, signed: SignedRole, name: str) -> bytes:
        metadata = Metadata(signed)
        metadata.sign(self._signers[signed.type])
        content = metadata.to_bytes()
        write_bytes(self._folder / "metadata" / name, content)
        return content

    def _expires(self, role: str, now: datetime) -> datetime:
        return now + timedelta(days=getattr(self._expiry, f"{role}_days"))


_MEND = "restore the repository from a copy, or publish to an empty folder"


def _meta_file(version: int, content: bytes) -> MetaFile:
    return MetaFile(version, len(content), {"sha256": sha256(content).hexdigest()})
