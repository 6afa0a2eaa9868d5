"""Where compiled kernels are kept on disk, and when they are compiled anew.

Numba compiles a function anew when its own file has changed, and does not look at the files of those that it calls:
after an edit of who has right of way, traffic would go on as before. Here a kernel is as old as the newest of all files
of the package that it is made of.
"""

import hashlib
import re
from functools import cache
from pathlib import Path

from numba.core import config
from numba.core.caching import InTreeCacheLocator, UserProvidedCacheLocator, UserWideCacheLocator

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGE = __name__.partition(".")[0]
_FROM = re.compile(rf"^\s*from\s+({_PACKAGE}[\w.]*)\s+import\s+(\([^)]*\)|.*)", re.MULTILINE)
_IMPORT = re.compile(rf"^\s*import\s+({_PACKAGE}[\w.]*)", re.MULTILINE)


@cache
def _imported(path: Path) -> frozenset[Path]:
    """Files of the package that this one imports itself."""
    text = path.read_text("utf-8")
    names = set(_IMPORT.findall(text))
    for module, imported in _FROM.findall(text):
        # What is imported may be a module, too.
        names |= {module, *(f"{module}.{name}" for name in re.findall(r"\w+", imported))}
    places = [_ROOT.joinpath(*name.split(".")) for name in names]
    files = [file for place in places for file in (place.with_suffix(".py"), place / "__init__.py")]
    return frozenset(file for file in files if file.is_file())


def made_of(path: Path) -> frozenset[Path]:
    """A file of the package and all others of it that its functions can call, as its imports tell."""
    found, ahead = {path}, [path]
    while ahead:
        further = _imported(ahead.pop()) - found
        found |= further
        ahead += further
    return frozenset(found)


@cache
def _digest(path: Path) -> bytes:
    """Of what is in a file; most files are part of many kernels."""
    return hashlib.sha256(path.read_bytes()).digest()


@cache
def stamp(path: Path) -> str:
    """Another one whenever one of the files that `path` is made of has changed."""
    return hashlib.sha256(b"".join(map(_digest, sorted(made_of(path))))).hexdigest()


class _OfPackage:
    """A place for compiled functions of this package, and of no other."""

    _py_file: str

    @classmethod
    def from_function(cls, py_func, py_file):
        """The place, or None if this is not for it."""
        if not Path(py_file).resolve().is_relative_to(_ROOT / _PACKAGE):
            return None
        return super().from_function(py_func, py_file)  # pyright: ignore[reportAttributeAccessIssue]

    def get_source_stamp(self) -> str:
        """What was compiled with another stamp is compiled anew."""
        return stamp(Path(self._py_file).resolve())


class ChosenPlace(_OfPackage, UserProvidedCacheLocator):
    """Where NUMBA_CACHE_DIR says."""


class BesideSource(_OfPackage, InTreeCacheLocator):
    """In `__pycache__`."""


class OfUser(_OfPackage, UserWideCacheLocator):
    """In the user's cache, for an installation that cannot be written to."""


def know_what_kernels_are_made_of() -> None:
    """Let Numba ask here for all that is compiled after this; other packages' functions are kept as ever."""
    own = [f"{__name__}.{place.__name__}" for place in (ChosenPlace, BesideSource, OfUser)]
    others = ["UserProvidedCacheLocator", "InTreeCacheLocator", "UserWideCacheLocator"]
    others += ["IPythonCacheLocator", "ZipCacheLocator"]
    config.CACHE_LOCATOR_CLASSES = ",".join([*own, *others])  # pyright: ignore[reportAttributeAccessIssue]
