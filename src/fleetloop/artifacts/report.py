"""The Report: closed-loop results of a driver against the one in service, and the gate's verdict.

Only what was counted or measured is stored; rates and their intervals are derived, so they can never disagree
with the counts. In JSON, null stands for a figure that could not be computed (NaN here).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import orjson
from scipy.special import gammaincinv

from fleetloop.core.errors import ReportError
from fleetloop.core.files import write_bytes

SCHEMA_VERSION = 1
MAXIMUM_REPORT_BYTES = 16 * 2**20


class CriticalIntervention(StrEnum):
    """Why the safety driver took over, where the plan was about to do harm."""

    COLLISION = "collision"
    OFF_ROAD = "off_road"
    RED_LIGHT = "red_light"
    WRONG_WAY = "wrong_way"


class OtherIntervention(StrEnum):
    """Why the safety driver took over without danger."""

    STUCK = "stuck"


class Infraction(StrEnum):
    """What CARLA's leaderboard punishes."""

    COLLISION_PEDESTRIAN = "collision_pedestrian"
    COLLISION_VEHICLE = "collision_vehicle"
    COLLISION_STATIC = "collision_static"
    RED_LIGHT = "red_light"
    STOP_SIGN = "stop_sign"


INFRACTION_PENALTY = {
    Infraction.COLLISION_PEDESTRIAN: 0.50,
    Infraction.COLLISION_VEHICLE: 0.60,
    Infraction.COLLISION_STATIC: 0.65,
    Infraction.RED_LIGHT: 0.70,
    Infraction.STOP_SIGN: 0.80,
}
"""Factors of the CARLA Autonomous Driving Leaderboard 1.0, "Infractions and shutdown events"."""

PREVENTED_INFRACTION = {
    CriticalIntervention.COLLISION: Infraction.COLLISION_VEHICLE,
    CriticalIntervention.OFF_ROAD: Infraction.COLLISION_STATIC,
    CriticalIntervention.RED_LIGHT: Infraction.RED_LIGHT,
    CriticalIntervention.WRONG_WAY: Infraction.COLLISION_VEHICLE,
}
"""What a take-over counts as in the driving score: CARLA has no safety driver; what was prevented counts."""


def route_score(completion: float, infractions: Mapping[Infraction, int]) -> float:
    """CARLA's driving score of one route, 0 to 100: completion (0 to 1) times the product of the penalties.

    The driving score of a drive is the mean over its routes (CARLA Leaderboard 1.0, "Evaluation").
    """
    penalty = math.prod(INFRACTION_PENALTY[kind] ** count for kind, count in infractions.items())
    return 100.0 * completion * penalty


def kpci_interval(km: float, critical_interventions: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided exact interval of the kilometres per critical intervention, from the Poisson model.

    Garwood, "Fiducial limits for the Poisson distribution", Biometrika 28 (1936): the mean count lies between
    the Gamma(k) quantile at alpha/2 and the Gamma(k + 1) quantile at 1 - alpha/2. Without an event the upper
    end is infinite. NaN where `km` is not a positive number.
    """
    tail = (1.0 - confidence) / 2.0
    return _kpci_at_least(km, critical_interventions, tail), _kpci_at_most(km, critical_interventions, tail)


def kpci_lower_bound(km: float, critical_interventions: int, confidence: float = 0.95) -> float:
    """One-sided lower bound of the km per critical intervention (Garwood 1936); NaN without distance."""
    return _kpci_at_least(km, critical_interventions, 1.0 - confidence)


def _kpci_at_least(km: float, events: int, tail: float) -> float:
    return km / float(gammaincinv(events + 1, 1.0 - tail)) if km > 0.0 else math.nan


def _kpci_at_most(km: float, events: int, tail: float) -> float:
    if not km > 0.0:
        return math.nan
    return km / float(gammaincinv(events, tail)) if events > 0 else math.inf


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What was counted while driving."""

    km: float
    progress_m: float
    """Distance made good along the routes."""
    demonstrator_progress_m: float
    """What the demonstrator makes good on the same seeds in the same time."""
    critical_interventions: Mapping[CriticalIntervention, int]
    """Every kind is present, be it with 0."""
    other_interventions: Mapping[OtherIntervention, int]
    infractions: Mapping[Infraction, int]
    routes: int
    routes_finished: int
    successes: int
    """Routes finished in time without a critical intervention or an infraction."""
    driving_score: float
    """Mean of `route_score`, 0 to 100."""

    @property
    def critical_intervention_count(self) -> int:
        """Critical interventions of all kinds."""
        return sum(self.critical_interventions.values())

    @property
    def kpci(self) -> float:
        """Kilometres per critical intervention; infinite without one, NaN without distance."""
        if not self.km > 0.0:
            return math.nan
        count = self.critical_intervention_count
        return self.km / count if count else math.inf

    @property
    def kpci_interval95(self) -> tuple[float, float]:
        """Two-sided 95 % interval of `kpci`."""
        return kpci_interval(self.km, self.critical_intervention_count)

    @property
    def kpci_low95(self) -> float:
        """One-sided 95 % lower bound of `kpci`."""
        return kpci_lower_bound(self.km, self.critical_intervention_count)

    @property
    def progress(self) -> float:
        """Distance made good over the demonstrator's on the same seeds; NaN without the latter."""
        if not self.demonstrator_progress_m > 0.0:
            return math.nan
        return self.progress_m / self.demonstrator_progress_m

    @property
    def success_rate(self) -> float:
        """Share of routes that were a success; NaN without routes."""
        return self.successes / self.routes if self.routes else math.nan


@dataclass(frozen=True, kw_only=True)
class DriveResult(Tally):
    """How one driver did on a set of towns and seeds."""

    subject: str
    """Id of the Checkpoint, "demonstrator" or "untrained"."""
    towns: tuple[str, ...]
    seeds: tuple[int, ...]
    families: Mapping[str, Tally] = field(default_factory=dict)
    """The same counts for each scenario family (kind of town)."""


@dataclass(frozen=True)
class Verdict:
    """What the gate decided, and why."""

    passed: bool
    reasons: tuple[str, ...]
    """One sentence each."""
    p_value: float
    """Of the hypothesis that the candidate is not safer; NaN where it could not be computed."""
    ratio: float
    """Critical interventions per km of the candidate over those of the network in service."""
    ratio_low95: float
    """One-sided 95 % bounds each: `ratio_high95` is below 1 exactly when `p_value` is below 0.05."""
    ratio_high95: float
    """Infinite where the data do not bound it."""


@dataclass(frozen=True)
class Report:
    """Closed-loop results of a candidate, and of the driver in service on the same seeds."""

    candidate: DriveResult
    in_service: DriveResult | None
    verdict: Verdict | None
    settings: Mapping[str, str | int | float | bool | None]
    """What else the result depends on: steps, traffic, rig, time of day ..."""

    def figures(self) -> dict[str, float]:
        """The candidate's key figures, flat, for its lineage record and for tables."""
        return {
            "kpci": self.candidate.kpci,
            "kpci_low95": self.candidate.kpci_low95,
            "km": self.candidate.km,
            "critical_interventions": self.candidate.critical_intervention_count,
            "progress": self.candidate.progress,
            "success_rate": self.candidate.success_rate,
        }


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
    if fields.value("schema_version", int) != SCHEMA_VERSION:
        raise ReportError(f"{name}: schema_version is not {SCHEMA_VERSION}; evaluate again with this version")
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
        return _Fields(self.value(key, dict), self.name, f"{self.where}{key}.")

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
        section = self.section(key)
        if set(section.content) != set(kinds):
            raise self.error(key, f"must count exactly {', '.join(kinds)}")
        return {kind: section.count(kind) for kind in kinds}

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
        "critical_interventions": _by_name(tally.critical_interventions),
        "other_interventions": _by_name(tally.other_interventions),
        "infractions": _by_name(tally.infractions),
        "routes": tally.routes,
        "routes_finished": tally.routes_finished,
        "successes": tally.successes,
        "driving_score": tally.driving_score,
    }


def _by_name(counts: Mapping[Kind, int]) -> dict[str, int]:
    # orjson takes exact strings as keys, not enums.
    return {kind.value: count for kind, count in counts.items()}


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
    }


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
