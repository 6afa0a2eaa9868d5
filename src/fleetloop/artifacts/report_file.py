"""Reports as JSON files: null stands for a figure that could not be computed (NaN in a Report)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import orjson

from fleetloop.artifacts.report import (
    CriticalIntervention,
    DriveResult,
    Infraction,
    NetworkFault,
    OtherIntervention,
    Report,
    Tally,
    Verdict,
    counts_by_name,
)
from fleetloop.core.errors import ReportError
from fleetloop.core.files import write_bytes

SCHEMA_VERSION = 2
"""Since 2 `network_faults` are counted; what reads 1 knows that they were not."""
_READABLE = (1, SCHEMA_VERSION)
MAXIMUM_REPORT_BYTES = 16 * 2**20


def report_to_json(report: Report) -> bytes:
    """The Report as JSON; the same Report gives the same bytes."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "candidate": _drive_to_json(report.candidate),
        "in_service": None if report.in_service is None else _drive_to_json(report.in_service),
        "verdict": None if report.verdict is None else _verdict_to_json(report.verdict),
        "settings": dict(report.settings),
    }
    return orjson.dumps(
        content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    )


def write_report(path: Path, report: Report) -> None:
    """Write the Report as JSON, all of it or nothing."""
    write_bytes(path, report_to_json(report))


def read_report(path: Path) -> Report:
    """Read a Report.

    Raises:
        ReportError: the file is missing, truncated, of another version, or a field is not what it must be.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAXIMUM_REPORT_BYTES + 1)
    except OSError as error:
        raise ReportError(
            f"{path}: cannot be read ({error.strerror}); run fleetloop evaluate to make it"
        ) from error
    return report_from_json(content, str(path))


def report_from_json(content: bytes, name: str) -> Report:
    """The inverse of `report_to_json`; `name` is what errors call the content.

    Raises:
        ReportError: as for `read_report`.
    """
    if len(content) > MAXIMUM_REPORT_BYTES:
        raise ReportError(f"{name}: is larger than {MAXIMUM_REPORT_BYTES} bytes, so it is not a Report")
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ReportError(f"{name}: is not a complete JSON file; run fleetloop evaluate again") from error
    fields = _Fields(document, name, "")
    version = fields.value("schema_version", int)
    if version not in _READABLE:
        readable = " or ".join(map(str, _READABLE))
        raise ReportError(f"{name}: schema_version is not {readable}; evaluate again with this version")
    fields = replace(fields, version=version)
    settings = fields.section("settings")
    for key, value in settings.content.items():
        if value is not None and not isinstance(value, (str, int, float)):
            raise settings.error(key, "must be a text, a number, true or false")
    return Report(
        candidate=_drive_from_json(fields.section("candidate")),
        in_service=fields.optional("in_service", _drive_from_json),
        verdict=fields.optional("verdict", _verdict_from_json),
        settings=settings.content,
    )


Kind = TypeVar("Kind", bound=StrEnum)
Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class _Fields:
    """An object of the JSON document, with where it is, so that an error can name the field."""

    content: Any
    name: str
    where: str
    version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if not isinstance(self.content, dict):
            raise ReportError(
                f"{self.name}: {self.where or 'the document'} is not a JSON object; evaluate again"
            )

    def error(self, key: str, problem: str) -> ReportError:
        return ReportError(f"{self.name}: {self.where}{key} {problem}; run fleetloop evaluate again")

    def value(self, key: str, kind: type[Parsed]) -> Parsed:
        if key not in self.content:
            raise self.error(key, "is missing")
        value = self.content[key]
        # A bool is an int to Python, but true is not a count.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.error(key, f"must be {kind.__name__}, not {type(value).__name__}")
        return value

    def section(self, key: str) -> "_Fields":
        return _Fields(self.value(key, dict), self.name, f"{self.where}{key}.", self.version)

    def optional(self, key: str, parse: Callable[["_Fields"], Parsed]) -> Parsed | None:
        if key not in self.content:
            raise self.error(key, "is missing")
        return None if self.content[key] is None else parse(self.section(key))

    def count(self, key: str) -> int:
        value = self.value(key, int)
        if value < 0:
            raise self.error(key, "must not be negative")
        return value

    def number(self, key: str, highest: float = math.inf) -> float:
        """A number of at least 0; NaN for null."""
        value = self.value(key, object)
        if value is None:
            return math.nan
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= highest:
            raise self.error(key, f"must be a number from 0 to {highest:g}")
        return float(value)

    def counts(self, key: str, kinds: type[Kind]) -> dict[Kind, int]:
        return self.section(key).all_counts(kinds)

    def all_counts(self, kinds: type[Kind]) -> dict[Kind, int]:
        """Of this section itself: one for each kind, and nothing else."""
        if set(self.content) != set(kinds):
            raise ReportError(
                f"{self.name}: {self.where.removesuffix('.')} must count exactly {', '.join(kinds)}; "
                "run fleetloop evaluate again"
            )
        return {kind: self.count(kind) for kind in kinds}

    def items(self, key: str, kind: type[Parsed]) -> tuple[Parsed, ...]:
        values: Sequence[Any] = self.value(key, list)
        if any(not isinstance(value, kind) or isinstance(value, bool) for value in values):
            raise self.error(key, f"must be a list of {kind.__name__}")
        return tuple(values)


def _tally_to_json(tally: Tally) -> dict[str, Any]:
    return {
        "km": tally.km,
        "progress_m": tally.progress_m,
        "demonstrator_progress_m": tally.demonstrator_progress_m,
        "critical_interventions": counts_by_name(tally.critical_interventions),
        "other_interventions": counts_by_name(tally.other_interventions),
        "infractions": counts_by_name(tally.infractions),
        "routes": tally.routes,
        "routes_finished": tally.routes_finished,
        "successes": tally.successes,
        "driving_score": tally.driving_score,
        "network_faults": None if tally.network_faults is None else counts_by_name(tally.network_faults),
    }


def _drive_to_json(drive: DriveResult) -> dict[str, Any]:
    return _tally_to_json(drive) | {
        "subject": drive.subject,
        "towns": drive.towns,
        "seeds": drive.seeds,
        "families": {name: _tally_to_json(tally) for name, tally in drive.families.items()},
    }


def _tally_fields(fields: _Fields) -> dict[str, Any]:
    routes = fields.count("routes")
    finished, successes = fields.count("routes_finished"), fields.count("successes")
    if not successes <= finished <= routes:
        raise fields.error("successes", "must be at most routes_finished, and those at most routes")
    return {
        "km": fields.number("km"),
        "progress_m": fields.number("progress_m"),
        "demonstrator_progress_m": fields.number("demonstrator_progress_m"),
        "critical_interventions": fields.counts("critical_interventions", CriticalIntervention),
        "other_interventions": fields.counts("other_interventions", OtherIntervention),
        "infractions": fields.counts("infractions", Infraction),
        "routes": routes,
        "routes_finished": finished,
        "successes": successes,
        "driving_score": fields.number("driving_score", highest=100.0),
        "network_faults": None
        if fields.version == 1
        else fields.optional("network_faults", _faults_from_json),
    }


def _faults_from_json(fields: _Fields) -> dict[NetworkFault, int]:
    return fields.all_counts(NetworkFault)


def _drive_from_json(fields: _Fields) -> DriveResult:
    families = fields.section("families")
    return DriveResult(
        **_tally_fields(fields),
        subject=fields.value("subject", str),
        towns=fields.items("towns", str),
        seeds=fields.items("seeds", int),
        families={name: Tally(**_tally_fields(families.section(name))) for name in families.content},
    )


def _verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "passed": verdict.passed,
        "reasons": verdict.reasons,
        "p_value": verdict.p_value,
        "ratio": verdict.ratio,
        "ratio_low95": verdict.ratio_low95,
        # JSON has no infinity.
        "ratio_high95": "unbounded" if math.isinf(verdict.ratio_high95) else verdict.ratio_high95,
    }


def _verdict_from_json(fields: _Fields) -> Verdict:
    unbounded = fields.content.get("ratio_high95") == "unbounded"
    return Verdict(
        passed=fields.value("passed", bool),
        reasons=fields.items("reasons", str),
        p_value=fields.number("p_value", highest=1.0),
        ratio=fields.number("ratio"),
        ratio_low95=fields.number("ratio_low95"),
        ratio_high95=math.inf if unbounded else fields.number("ratio_high95"),
    )
