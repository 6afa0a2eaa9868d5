"""Durable files: write beside, then rename, so that a reader never sees half a file."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from fleetloop.core.errors import StorageError

PARTIAL_SUFFIX, REPLACED_SUFFIX = ".partial", ".replaced"


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn operating-system errors while writing `path` into one sentence.

    Raises:
        StorageError: the disk is full, read-only, or the folder may not be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                f"{path}: the disk is full; free some space and run the same command again, "
                "it continues from what is complete"
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
            raise StorageError(
                f"{path}: cannot be written ({error.strerror}); choose another folder"
            ) from error
        raise


@contextlib.contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a partial path beside `path`; rename it into place only if the block succeeds."""
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            with partial.open("rb") as written:
                os.fsync(written.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty partial folder beside `path`; rename it into place only if the block succeeds.

    A folder that was left partial by a killed run is emptied first. A complete `path` is replaced: it is moved aside
    first, for a folder cannot be renamed over another, and a run killed in between finds it there.
    """
    partial, replaced = (path.with_name(path.name + suffix) for suffix in (PARTIAL_SUFFIX, REPLACED_SUFFIX))
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if replaced.exists():
            if path.exists():
                shutil.rmtree(replaced)
            else:
                replaced.replace(path)
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir()
        try:
            yield partial
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        if path.exists():
            path.replace(replaced)
        partial.replace(path)
        shutil.rmtree(replaced, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, all of it or nothing."""
    with replacing_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content`, all of it or nothing."""
    with replacing_file(path) as partial:
        partial.write_bytes(content)
