"""On board: fetch a signed Bundle, believe nothing unproven, and keep the old one if anything is wrong."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import orjson
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.ngclient import FetcherInterface, TargetFile, Urllib3Fetcher
from tuf.ngclient import Updater as TufUpdater
from urllib3.exceptions import HTTPError

from fleetloop.artifacts.bundle import BUNDLE_TARGET, MAXIMUM_BUNDLE_BYTES, Bundle, unpack_bundle
from fleetloop.core.errors import BundleError, StorageError
from fleetloop.core.files import replacing_file, storage_errors, write_bytes

_CHUNK_BYTES = 2**16


@dataclass(frozen=True)
class InstalledBundle:
    """What the vehicle runs."""

    release: int
    path: Path
    sha256: str
    bundle: Bundle


@dataclass(frozen=True)
class _Record:
    """installed.json: the one place that says which bundle file is in use."""

    release: int
    sha256: str


class Updater:
    """Keeps one verified Bundle in the vehicle's folder, following The Update Framework's client workflow.

    Args:
        vehicle_folder: holds the bundle in use and the newest metadata seen, against which a rolled-back
            repository is recognised. One updater at a time.
        trusted_root: the first root metadata of the repository, given to the vehicle with its software.
    """

    def __init__(self, vehicle_folder: Path, trusted_root: bytes):
        self._folder = vehicle_folder
        self._trusted_root = trusted_root

    def installed(self) -> InstalledBundle | None:
        """The bundle in use, checked against its hash, or None if none was ever installed.

        Raises:
            BundleError: the installed file is missing or was altered.
        """
        record = self._read_record()
        if record is None:
            return None
        path = self._bundle_path(record.sha256)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BundleError(
                f"{path}: cannot be read ({error.strerror}); update the vehicle again"
            ) from error
        if sha256(content).hexdigest() != record.sha256:
            raise BundleError(f"{path}: was altered after it was installed; update the vehicle again")
        return InstalledBundle(record.release, path, record.sha256, unpack_bundle(content, str(path)))

    def update(self, repository: Path | str, now: datetime) -> InstalledBundle:
        """Install what the repository tells vehicles to run, unless it is installed already.

        Args:
            repository: folder, file:// or https:// address of the repository.
            now: aware; metadata that expires before is refused.

        Raises:
            BundleError: anything at all is wrong; the vehicle keeps the bundle it has.
        """
        record = self._read_record()
        keeps = f"the vehicle keeps release {record.release}" if record else "the vehicle has no release yet"
        try:
            return self._update(_address(repository), now, record)
        except (RepositoryError, DownloadError, HTTPError) as error:
            raise BundleError(f"{repository}: {_explain(error)}; {keeps}") from error
        except BundleError as error:
            raise BundleError(f"{repository}: {error}; {keeps}") from error
        except (StorageError, OSError, ValueError) as error:
            raise BundleError(f"{self._folder}: the update cannot be stored ({error}); {keeps}") from error

    def _update(self, address: str, now: datetime, record: _Record | None) -> InstalledBundle:
        metadata_folder = self._folder / "metadata"
        with storage_errors(metadata_folder):
            metadata_folder.mkdir(parents=True, exist_ok=True)
        client = _Client(metadata_folder, address, self._trusted_root, now)
        client.refresh()
        target = client.get_targetinfo(BUNDLE_TARGET)
        digest = "" if target is None else target.hashes.get("sha256", "")
        if target is None or not _is_sha256(digest):
            raise BundleError(
                f"its signed metadata names no {BUNDLE_TARGET} with a SHA-256; publish a release"
            )
        if target.length > MAXIMUM_BUNDLE_BYTES:
            raise BundleError(
                f"its {BUNDLE_TARGET} has {target.length} bytes, more than {MAXIMUM_BUNDLE_BYTES}; "
                "publish a smaller one"
            )
        if (
            record is None
            or record.sha256 != digest
            or client.find_cached_target(target, str(self._bundle_path(digest))) is None
        ):
            self._install(client, target, digest, record)
        installed = self.installed()
        assert installed is not None
        return installed

    def _install(self, client: "_Client", target: TargetFile, digest: str, record: _Record | None) -> None:
        path = self._bundle_path(digest)
        with replacing_file(path) as partial:
            client.download_target(target, str(partial))
            bundle = unpack_bundle(partial.read_bytes(), BUNDLE_TARGET)
            _check_acceptable(bundle, digest, record)
        # From here on the new bundle is in use; before, the old one was.
        content = orjson.dumps({"release": bundle.contract.release, "sha256": digest})
        write_bytes(self._folder / "installed.json", content)
        for other in path.parent.iterdir():
            if other != path:
                other.unlink()

    def _read_record(self) -> _Record | None:
        path = self._folder / "installed.json"
        try:
            document = orjson.loads(path.read_bytes())
            record = _Record(int(document["release"]), str(document["sha256"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(
                f"{path}: cannot be read; set the vehicle up anew in an empty folder"
            ) from error
        if not _is_sha256(record.sha256):
            raise BundleError(f"{path}: holds no SHA-256; set the vehicle up anew in an empty folder")
        return record

    def _bundle_path(self, digest: str) -> Path:
        return self._folder / "bundles" / f"{digest}.bundle"


class _Client(TufUpdater):
    """python-tuf's client workflow, with the clock and the file access given to it."""

    def __init__(self, metadata_folder: Path, address: str, trusted_root: bytes, now: datetime):
        fetcher = FolderFetcher(_folder_of(address)) if address.startswith("file:") else Urllib3Fetcher()
        super().__init__(
            metadata_dir=str(metadata_folder),
            metadata_base_url=f"{address}/metadata/",
            target_base_url=f"{address}/targets/",
            fetcher=fetcher,
            bootstrap=trusted_root,
        )
        # ngclient reads the wall clock here and offers no argument for it. Nothing was checked against it so
        # far: the first root may be expired.
        self._trusted_set.reference_time = now


class FolderFetcher(FetcherInterface):
    """Serves file:// addresses within one folder; the caller bounds the size of what it takes."""

    def __init__(self, folder: Path):
        self._folder = folder.resolve()

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = _folder_of(url).resolve()
        if not path.is_relative_to(self._folder) or not path.is_file():
            raise DownloadHTTPError(f"{path} is missing", 404)
        return self._chunks(path)

    @staticmethod
    def _chunks(path: Path) -> Iterator[bytes]:
        try:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk
        except OSError as error:
            raise DownloadError(f"{path} cannot be read ({error.strerror})") from error


def _is_sha256(digest: str) -> bool:
    """Whether it is one, and so may become part of a path."""
    return len(digest) == 64 and set(digest) <= set("0123456789abcdef")


def _address(repository: Path | str) -> str:
    text = str(repository)
    if text.startswith(("https://", "http://", "file://")):
        return text.rstrip("/")
    return Path(text).resolve().as_uri()


def _folder_of(address: str) -> Path:
    return Path(url2pathname(urlsplit(address).path))


def _check_acceptable(bundle: Bundle, digest: str, record: _Record | None) -> None:
    """What the signature does not say: that this is progress, and that the gate let it pass."""
    release = bundle.contract.release
    if bundle.report.verdict is None or not bundle.report.verdict.passed:
        raise BundleError(
            f"its release {release} carries no passing Report; publish one that passed the gate"
        )
    if record is not None and release < record.release:
        raise BundleError(
            f"its release {release} is lower than the installed one; publish it under a higher number"
        )
    if record is not None and release == record.release and digest != record.sha256:
        raise BundleError(
            f"its release {release} differs from the installed one of that number; give it a higher one"
        )


def _explain(error: RepositoryError | DownloadError | HTTPError) -> str:
    """What the user should know, as the start of a sentence."""
    if isinstance(error, ExpiredMetadataError):
        return f"its metadata has expired ({_detail(error)}), publish again to renew it"
    if isinstance(error, BadVersionNumberError):
        return f"its metadata is older than what was seen before or inconsistent ({_detail(error)})"
    if isinstance(error, UnsignedMetadataError):
        return f"it is not signed with a key that this vehicle trusts ({_detail(error)})"
    if isinstance(error, (LengthOrHashMismatchError, DownloadLengthMismatchError)):
        return "a file is not the one that was signed, publish the release again"
    if isinstance(error, (DownloadError, HTTPError)):
        return f"is not a complete repository or cannot be reached ({_detail(error)})"
    return f"its metadata is damaged ({_detail(error)})"


def _detail(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
