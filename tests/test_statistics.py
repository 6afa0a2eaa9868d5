"""Exact statistics against textbook values, brute force and simulated coverage."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, poisson

from fleetloop.artifacts.report import Infraction, kpci_interval, kpci_lower_bound, route_score
from fleetloop.evaluate.statistics import (
    EventCount,
    rate_ratio,
    rate_ratio_bounds,
    rate_ratio_excess_p_value,
    rate_ratio_p_value,
)

counts = st.integers(0, 60)
distances = st.floats(0.1, 1e4)
event_counts = st.builds(EventCount, counts, distances)


@pytest.mark.parametrize("events, low, high", [(0, 0.0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.39)])
def test_interval_matches_the_published_table(events: int, low: float, high: float):
    """Poisson limits as tabulated by Garwood (1936), here of the count over one kilometre."""
    kpci_low, kpci_high = kpci_interval(1.0, events)
    assert 1.0 / kpci_low == pytest.approx(high, rel=1e-3)
    assert kpci_high == math.inf if events == 0 else 1.0 / kpci_high == pytest.approx(low, rel=2e-3)


def test_without_an_event_the_lower_bound_is_the_rule_of_three():
    assert kpci_lower_bound(300.0, 0) == pytest.approx(300.0 / -math.log(0.05))
    assert kpci_interval(300.0, 0)[1] == math.inf


@given(counts, distances)
def test_interval_ends_are_where_the_poisson_tails_are_equal(events: int, km: float):
    low, high = kpci_interval(km, events)
    assert poisson.cdf(events, km / low) == pytest.approx(0.025)
    if events:
        assert low < km / events < high
        assert poisson.sf(events - 1, km / high) == pytest.approx(0.025)
    assert low < kpci_lower_bound(km, events) < high


@pytest.mark.parametrize("km", [0.0, -1.0, math.nan])
def test_no_distance_gives_no_interval(km: float):
    assert all(math.isnan(bound) for bound in (*kpci_interval(km, 3), kpci_lower_bound(km, 3)))


@pytest.mark.parametrize("mean", [0.5, 3.0, 12.0])
def test_interval_covers_the_truth_at_least_as_often_as_it_says(mean: float):
    events = np.random.default_rng(1).poisson(mean, 4000)
    bounds = {int(count): kpci_interval(1.0, int(count)) for count in np.unique(events)}
    covered = np.mean([bounds[int(count)][0] <= 1.0 / mean <= bounds[int(count)][1] for count in events])
    assert covered >= 0.95 - 0.01
    lower = {count: kpci_lower_bound(1.0, count) for count in bounds}
    assert np.mean([lower[int(count)] <= 1.0 / mean for count in events]) >= 0.95 - 0.01


@given(event_counts, event_counts, st.floats(0.2, 5.0))
def test_p_values_match_the_binomial_test(first: EventCount, second: EventCount, ratio: float):
    total = first.events + second.events
    share = ratio * first.km / (ratio * first.km + second.km)
    if total:
        less = binomtest(first.events, total, share, alternative="less").pvalue
        greater = binomtest(first.events, total, share, alternative="greater").pvalue
    else:
        less = greater = 1.0
    assert rate_ratio_p_value(first, second, ratio) == pytest.approx(less)
    assert rate_ratio_excess_p_value(first, second, ratio) == pytest.approx(greater)


@given(event_counts, event_counts)
def test_bounds_agree_with_the_tests(first: EventCount, second: EventCount):
    low, high = rate_ratio_bounds(first, second)
    ratio = rate_ratio(first, second)
    if not math.isnan(ratio):
        assert low <= ratio * (1 + 1e-9) and ratio <= high * (1 + 1e-9)
    if math.isfinite(high):
        assert rate_ratio_p_value(first, second, high) == pytest.approx(0.05)
    if low > 0.0:
        assert rate_ratio_excess_p_value(first, second, low) == pytest.approx(0.05)
    assert (low == 0.0) == (first.events == 0) and (high == math.inf) == (second.events == 0)


@given(event_counts, event_counts)
def test_swapping_the_drivers_inverts_the_bounds(first: EventCount, second: EventCount):
    low, high = rate_ratio_bounds(first, second)
    other_low, other_high = rate_ratio_bounds(second, first)
    assert low * other_high == pytest.approx(1.0) or (low == 0.0 and other_high == math.inf)
    assert high * other_low == pytest.approx(1.0) or (high == math.inf and other_low == 0.0)


def test_the_test_is_wrong_no_oftener_than_it_says():
    """Two equal drivers, 4,000 times: the better-looking one is called safer in at most 5 % of the cases."""
    random = np.random.default_rng(2)
    pairs = random.poisson((6.0, 12.0), (4000, 2))
    results = {
        pair: rate_ratio_p_value(EventCount(pair[0], 50.0), EventCount(pair[1], 100.0)) <= 0.05
        for pair in {(int(first), int(second)) for first, second in pairs}
    }
    assert np.mean([results[int(first), int(second)] for first, second in pairs]) <= 0.05 + 0.01


@pytest.mark.parametrize("events, km", [(-1, 1.0), (1, 0.0), (1, math.nan), (1, math.inf)])
def test_impossible_counts_are_rejected(events: int, km: float):
    with pytest.raises(ValueError, match="neither a count nor a distance"):
        EventCount(events, km)


def test_route_score_multiplies_the_penalties():
    assert route_score(1.0, {}) == 100.0
    assert route_score(0.5, {Infraction.RED_LIGHT: 2, Infraction.STOP_SIGN: 0}) == pytest.approx(50 * 0.49)
    assert route_score(0.0, {Infraction.RED_LIGHT: 1}) == 0.0
