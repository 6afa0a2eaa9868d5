"""The Report: closed-loop results of a driver against the one in service, and the gate's verdict.

Only what was counted or measured is stored; rates and their intervals are derived, so they can never disagree
with the counts. `report_file` writes and reads it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from scipy.special import gammaincinv


class CriticalIntervention(StrEnum):
    """Why the safety driver took over, where the plan was about to do harm."""

    COLLISION = "collision"
    OFF_ROAD = "off_road"
    RED_LIGHT = "red_light"
    WRONG_WAY = "wrong_way"


class OtherIntervention(StrEnum):
    """Why the safety driver took over without danger."""

    STUCK = "stuck"


class NetworkFault(StrEnum):
    """What was wrong with a network's plan or with what it was given: but for CAMERA_LOST the safety layer braked."""

    LATE = "late"
    SILENT = "silent"
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"
    JUMP = "jump"
    EGO_STATE = "ego_state"
    CAMERAS = "cameras"
    CAMERA_LOST = "camera_lost"
    """A single camera, blacked out for the network, which drives on."""


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


def counts_by_name(counts: Mapping[Any, int]) -> dict[str, int]:
    """Counts of StrEnums as JSON takes them: with exact strings as keys."""
    return {str(kind): count for kind, count in counts.items()}


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
    network_faults: Mapping[NetworkFault, int] | None = None
    """How often each began, also while the safety driver drove; None where nobody counted (the demonstrator, and
    Reports of schema 1)."""

    @property
    def braked_for_network(self) -> int | None:
        """How often the safety layer braked instead of carrying out a plan; None where nobody counted."""
        if self.network_faults is None:
            return None
        return sum(
            count for kind, count in self.network_faults.items() if kind is not NetworkFault.CAMERA_LOST
        )

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

    def key_figures(self) -> dict[str, float]:
        """What a driver is compared by."""
        return {
            "kpci": self.kpci,
            "kpci_low95": self.kpci_low95,
            "km": self.km,
            "critical_interventions": self.critical_intervention_count,
            "progress": self.progress,
            "success_rate": self.success_rate,
        }


@dataclass(frozen=True, kw_only=True)
class DriveResult(Tally):
    """How one driver did on a set of towns and seeds."""

    subject: str
    """Id of the Checkpoint, "demonstrator" or "untrained"."""
    towns: tuple[str, ...]
    seeds: tuple[int, ...]
    families: Mapping[str, Tally] = field(default_factory=dict)
    """The same counts for each scenario family (kind of town)."""

    def figures(self) -> dict[str, Any]:
        """The key figures, and how often what happened: one JSON object (there, null is infinite or not counted).

        `kpci_low95` is the one-sided 95 % lower bound, `kpci_interval95` the two-sided interval.
        """
        events = {**self.critical_interventions, **self.other_interventions}
        return {
            **self.key_figures(),
            "kpci_interval95": self.kpci_interval95,
            "routes": self.routes,
            "events": counts_by_name(events),
            "network_faults": None if self.network_faults is None else counts_by_name(self.network_faults),
            "towns": self.towns,
        }


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
        """The candidate's key figures, flat, for its lineage record; of the faults those that happened."""
        faults: dict[str, float] = {}
        if self.candidate.braked_for_network is not None:
            faults["braked_for_network"] = self.candidate.braked_for_network
        for kind, count in (self.candidate.network_faults or {}).items():
            if count:
                faults[f"fault_{kind}"] = count
        return self.candidate.key_figures() | faults
