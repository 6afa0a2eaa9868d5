"""Exact statistics of rare events: is one driver safer than another, and how sure can we be?

Critical interventions are modelled as a Poisson process over distance. The interval of a single rate
(Garwood 1936) is in `fleetloop.artifacts.report`, beside the counts it is derived from.
"""

import math
from dataclasses import dataclass

from scipy.stats import beta, binom


@dataclass(frozen=True)
class EventCount:
    """Events seen over a distance, in km."""

    events: int
    km: float

    def __post_init__(self) -> None:
        if self.events < 0 or not 0.0 < self.km < math.inf:
            raise ValueError(f"{self.events} events over {self.km} km: neither a count nor a distance")


def rate_ratio_p_value(first: EventCount, second: EventCount, ratio: float = 1.0) -> float:
    """P-value of "`first` has at least `ratio` times the rate of `second`": small when `first` is safer.

    Exact conditional test (Przyborowski and Wilenski, "Homogeneity of results in testing samples from Poisson
    series", Biometrika 31, 1940): given the sum of both counts, the first is binomial.
    """
    return float(binom.cdf(first.events, first.events + second.events, _share(first, second, ratio)))


def rate_ratio_excess_p_value(first: EventCount, second: EventCount, ratio: float = 1.0) -> float:
    """P-value of "`first` has at most `ratio` times the rate of `second`": small when `first` is worse."""
    # sf is strict, so P(X >= events) is sf(events - 1).
    return float(binom.sf(first.events - 1, first.events + second.events, _share(first, second, ratio)))


def _share(first: EventCount, second: EventCount, ratio: float) -> float:
    """Of all events, the share expected in `first` if its rate is `ratio` times the other."""
    return ratio * first.km / (ratio * first.km + second.km)


def rate_ratio(first: EventCount, second: EventCount) -> float:
    """Rate of `first` over that of `second`; infinite if only `first` has events, NaN if neither has."""
    if second.events:
        return (first.events / first.km) / (second.events / second.km)
    return math.inf if first.events else math.nan


def rate_ratio_bounds(first: EventCount, second: EventCount, confidence: float = 0.95) -> tuple[float, float]:
    """One-sided lower and upper bound of the rate ratio, each at `confidence`; they agree with the tests.

    Clopper and Pearson's bounds ("The use of confidence or fiducial limits illustrated in the case of the
    binomial", Biometrika 26, 1934) of the first's share of all events, turned into a ratio of rates. For a
    two-sided 95 % interval ask for a confidence of 0.975.
    """
    tail = 1.0 - confidence
    lower = beta.ppf(tail, first.events, second.events + 1) if first.events else 0.0
    upper = beta.ppf(1.0 - tail, first.events + 1, second.events) if second.events else 1.0

    def ratio_of(share: float) -> float:
        return share / (1.0 - share) * (second.km / first.km) if share < 1.0 else math.inf

    return ratio_of(float(lower)), ratio_of(float(upper))
