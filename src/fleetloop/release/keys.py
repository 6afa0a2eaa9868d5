"""The private keys that sign releases: one ed25519 key for each role, in a folder that is never published."""

# securesystemslib documents CryptoSigner as public, without the marker that pyright looks for.
# pyright: reportPrivateImportUsage=false

import os
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import CryptoSigner

from fleetloop.core.errors import BundleError
from fleetloop.core.files import replacing_folder

ROLES = ("root", "targets", "snapshot", "timestamp")


def load_or_create_keys(keys_folder: Path) -> dict[str, CryptoSigner]:
    """The signer of each role; keys are generated when the folder does not exist yet.

    Private keys are PEM files that only their owner may read (mode 0600). Whoever loses them cannot publish
    to the repository again, and whoever copies them can sign in its name.

    Raises:
        BundleError: a key is missing, unreadable, not an ed25519 key, or open to others.
        StorageError: the folder cannot be written.
    """
    if not keys_folder.exists():
        _create_keys(keys_folder)
    return {role: _load_key(keys_folder / f"{role}.pem") for role in ROLES}


def _create_keys(keys_folder: Path) -> None:
    # All or none: a folder with only some of the keys would lock its owner out.
    with replacing_folder(keys_folder) as partial:
        partial.chmod(0o700)
        for role in ROLES:
            descriptor = os.open(partial / f"{role}.pem", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(CryptoSigner.generate_ed25519().private_bytes)
                file.flush()
                os.fsync(file.fileno())


def _load_key(path: Path) -> CryptoSigner:
    try:
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise BundleError(f"{path}: can be read by others; make it private with chmod 600")
        signer = CryptoSigner(load_pem_private_key(path.read_bytes(), password=None))
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror}); restore it from a copy of the keys"
        ) from error
    except (ValueError, TypeError, UnsupportedLibraryError) as error:
        raise BundleError(f"{path}: is not a private key; restore it from a copy of the keys") from error
    if signer.public_key.scheme != "ed25519":
        raise BundleError(f"{path}: is not an ed25519 key; restore it from a copy of the keys")
    return signer
