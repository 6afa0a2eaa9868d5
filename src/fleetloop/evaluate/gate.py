"""The gate: may this candidate replace the network in service? Whatever cannot be computed fails it."""

import math
from collections.abc import Iterator, Mapping
from typing import TypeGuard

from fleetloop.artifacts.report import CriticalIntervention, DriveResult, Tally, Verdict
from fleetloop.evaluate.statistics import (
    EventCount,
    rate_ratio,
    rate_ratio_bounds,
    rate_ratio_excess_p_value,
    rate_ratio_p_value,
)

SIGNIFICANCE = 0.05
MINIMUM_PROGRESS = 0.8
"""Of the demonstrator's distance made good: standing still is no way to be safe."""
FAMILY_MARGIN = 1.25
"""A scenario family fails when, with 95 % confidence, its rate of critical interventions is more than this
many times that of the network in service. Families are small, so a lack of proof that one is no worse does
not fail it; the proof of being safer is asked of all of them together. There is no correction for their
number: a false alarm costs an evaluation on more seeds, a miss costs more."""


def decide(
    candidate: DriveResult,
    in_service: DriveResult | None,
    minimum_progress: float = MINIMUM_PROGRESS,
    family_margin: float = FAMILY_MARGIN,
    margin_by_family: Mapping[str, float] | None = None,
) -> Verdict:
    """Decide whether the candidate may be released.

    It passes when its critical interventions per km are fewer than those of the network in service with 95 %
    confidence (exact conditional test, one-sided), no scenario family is worse beyond its margin, and it
    makes good at least `minimum_progress` of the demonstrator's distance.

    Args:
        candidate: how the candidate drove.
        in_service: how the network in service drove the same seeds; for the first release, an untrained one.
        minimum_progress: below MINIMUM_PROGRESS only where the machinery is tried, not the driver.
        family_margin: highest tolerated ratio of rates in a scenario family.
        margin_by_family: exceptions from `family_margin`.
    """
    failures = list(_unusable(candidate, in_service))
    if failures or in_service is None:
        return Verdict(False, tuple(failures), math.nan, math.nan, math.nan, math.nan)
    first, second = _count(candidate), _count(in_service)
    p_value = rate_ratio_p_value(first, second)
    ratio = rate_ratio(first, second)
    low, high = rate_ratio_bounds(first, second)
    if not p_value <= SIGNIFICANCE:
        failures.append(
            f"The candidate is not proven safer: {first.events} critical interventions in {first.km:.1f} km "
            f"against {second.events} in {second.km:.1f} km give p = {p_value:.3f}, above {SIGNIFICANCE:g}."
        )
    if not candidate.progress >= minimum_progress:
        failures.append(
            f"The candidate makes good {candidate.progress:.2f} of the demonstrator's distance, "
            f"less than {minimum_progress:g}."
        )
    margins = margin_by_family or {}
    for name in sorted(candidate.families):
        margin = margins.get(name, family_margin)
        failures.extend(_worse_family(name, candidate.families[name], in_service.families[name], margin))
    if failures:
        return Verdict(False, tuple(failures), p_value, ratio, low, high)
    reason = (
        f"The candidate has {ratio:.2f} times the critical interventions per km of the network in service, "
        f"below {high:.2f} with 95 % confidence (p = {p_value:.2g}), and no scenario family is worse "
        "beyond its margin."
    )
    if minimum_progress < MINIMUM_PROGRESS:
        reason += f" It was asked for {minimum_progress:g} of the demonstrator's distance only."
    return Verdict(True, (reason,), p_value, ratio, low, high)


def _worse_family(name: str, candidate: Tally, in_service: Tally, margin: float) -> Iterator[str]:
    if not 1.0 <= margin < math.inf:
        yield f"The margin {margin} of scenario family {name} is not a number of at least 1."
        return
    first, second = _count(candidate), _count(in_service)
    p_value = rate_ratio_excess_p_value(first, second, margin)
    if not p_value > SIGNIFICANCE:
        yield (
            f"Scenario family {name} is worse beyond its margin of {margin:g}: "
            f"{first.events} critical interventions in {first.km:.1f} km "
            f"against {second.events} in {second.km:.1f} km (p = {p_value:.3f})."
        )


def _count(tally: Tally) -> EventCount:
    return EventCount(tally.critical_intervention_count, tally.km)


def _unusable(candidate: DriveResult, in_service: DriveResult | None) -> Iterator[str]:
    """A sentence for each reason why the two cannot be compared."""
    yield from _missing_metrics("The candidate", candidate)
    if in_service is None:
        yield "There is no result of a network in service to compare with."
        return
    yield from _missing_metrics("The network in service", in_service)
    if not candidate.seeds or candidate.seeds != in_service.seeds:
        yield "The candidate and the network in service did not drive the same seeds."
    if not candidate.towns or candidate.towns != in_service.towns:
        yield "The candidate and the network in service did not drive the same towns."
    if set(candidate.families) != set(in_service.families):
        yield "The candidate and the network in service did not drive the same scenario families."
    for name, tally in sorted(candidate.families.items()):
        yield from _missing_metrics(f"The candidate in scenario family {name}", tally)
    for name, tally in sorted(in_service.families.items()):
        yield from _missing_metrics(f"The network in service in scenario family {name}", tally)


def _missing_metrics(who: str, tally: Tally) -> Iterator[str]:
    if not _is_number(tally.km) or tally.km <= 0.0:
        yield f"{who} drove no distance (km is {tally.km})."
    for name in ("progress", "driving_score"):
        try:
            value = getattr(tally, name)
        except TypeError:
            value = None
        if not _is_number(value) or value < 0.0:
            yield f"{who} has no {name.replace('_', ' ')} ({value})."
    counts = tally.critical_interventions
    for kind in CriticalIntervention:
        count = counts.get(kind) if counts is not None else None
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            yield f"{who} has no count of critical interventions of kind {kind} ({count})."


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
