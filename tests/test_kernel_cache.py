"""Kernels are compiled anew when anything that they are made of has changed."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from fleetloop.core import kernel_cache
from fleetloop.core.kernel_cache import made_of
from fleetloop.sim import behaviour, right_of_way, traffic


def file_of(module: ModuleType) -> Path:
    assert module.__file__ is not None
    return Path(module.__file__)


def test_a_kernel_is_made_of_all_that_it_calls():
    files = made_of(file_of(traffic))
    assert {file_of(behaviour), file_of(right_of_way)} <= files
    names = {file.name for file in files}
    assert "types.py" in names and not {"curate.py", "rollout.py"} & names
    locator = vars(traffic.decide)["_cache"]._impl.locator
    assert locator.get_source_stamp() == kernel_cache.stamp(file_of(traffic))


def test_an_edit_of_what_is_called_is_heard(tmp_path: Path):
    """In a copy of the package with two modules more, one of which calls the other's function."""
    package = tmp_path / "fleetloop"
    (package / "core").mkdir(parents=True)
    source = Path(kernel_cache.__file__).parent
    for name in ("kernel_cache.py", "kernels.py"):
        shutil.copy(source / name, package / "core" / name)
    for folder in (package, package / "core"):
        (folder / "__init__.py").touch()
    header = "from numba import njit\nfrom fleetloop.core.kernels import device\n"
    caller = package / "caller.py"
    caller.write_text(
        f"{header}from fleetloop import called\nfrom fleetloop.called import number\n"
        "@njit(cache=True)\ndef asked():\n    return number()\n"
    )

    def asked(number: int) -> tuple[int, int]:
        """What the kernel says when this is what the other module has, and how many were found on disk."""
        (package / "called.py").write_text(
            f"{header}@device(entry=True)\ndef number():\n    return {number}\n"
        )
        code = (
            "from fleetloop.caller import asked; "
            "print(asked(), sum(asked.stats.cache_hits.values()), asked._cache.cache_path)"
        )
        done = subprocess.run(
            [sys.executable, "-B", "-c", code],
            cwd=tmp_path,
            env={"PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        )
        said, hits, place = done.stdout.split()
        assert Path(place) == package / "__pycache__"
        return int(said), int(hits)

    assert [asked(number) for number in (1, 1, 2, 1)] == [(1, 0), (1, 1), (2, 0), (1, 0)]
