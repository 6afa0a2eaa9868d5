"""What a measurement is, how work is timed, and on what it ran."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from fleetloop import __version__
from fleetloop.progress import stage

REPEATS = 7
_PACKAGES = ("numba", "numpy", "onnxruntime", "torch")


@dataclass(frozen=True)
class Measurement:
    """One figure as it was measured."""

    name: str
    value: float
    unit: str
    details: dict[str, Any]
    """What was measured, in plain JSON values; `note` says in words what the figure includes."""

    def json_line(self) -> str:
        """One object: name, value, unit, the details and the environment. What is not finite becomes null."""
        content = {"name": self.name, "value": self.value, "unit": self.unit, **self.details}
        return orjson.dumps(content | environment()).decode()

    def text_line(self) -> str:
        """For a person: the value, how sure it is, and the note."""
        line = f"{self.name}: {readable(self.value)} {self.unit}"
        if "spread" in self.details:
            low, high = self.details["spread"]
            line += f" ({readable(low)} to {readable(high)} in {self.details['repeats']} repeats)"
        return f"{line}; {self.details['note']}"


def readable(value: float) -> str:
    """A number with about three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100.0 else f"{value:.3g}"


def median_of(name: str, values: Sequence[float], unit: str, note: str, **details: Any) -> Measurement:
    """The median of repeats, with their lowest and highest as the spread."""
    spread = [min(values), max(values)]
    return Measurement(
        name,
        statistics.median(values),
        unit,
        {"repeats": len(values), "spread": spread, "note": note, **details},
    )


def time_repeats(title: str, work: Callable[[], object], repeats: int) -> list[float]:
    """Seconds that each of `repeats` calls took, after a call that warms up; with a bar."""
    seconds = []
    with stage(title) as progress:
        work()
        progress(1.0 / (repeats + 1))
        for number in range(repeats):
            started = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - started)
            progress((number + 2) / (repeats + 1))
    return seconds


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, str | int]:
    """What a figure depends on beside the code: the processor and the libraries."""
    return {
        "fleetloop": __version__,
        "processor": _processor(),
        "cores": core_count(),
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # there is no such file beside Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
