"""The census of an evaluation: where time goes, and what leads to interventions."""

from dataclasses import replace

import numpy as np
import orjson
import pytest

from fleetloop.core.types import Control, SignalColour
from fleetloop.evaluate.census import Census, Place, Would, demonstrated, places
from fleetloop.evaluate.closed_loop import drive_distance, drive_suite
from fleetloop.sim.demonstrator import empty_teaching
from fleetloop.sim.safety_driver import Danger
from test_closed_loop import CONFIG, RIG, TOWNS, Steady, short_routes
from toy_world import toy_world

__all__ = ["short_routes"]  # a fixture that every test here uses, too


def census_of(policy: Steady | None, routes: int = CONFIG.routes):
    census = Census()
    config = replace(CONFIG, routes=routes)
    results, _ = drive_suite(toy_world(), TOWNS, RIG, config, 2, policy, census=census)
    return census, results


def seconds(census: Census) -> np.ndarray:
    """By place, band of speed and what the demonstrator would do, as it is written."""
    table = orjson.loads(orjson.dumps(census.to_json()))["seconds_by_place_and_speed_mps"]
    return np.array([[list(cell.values()) for cell in place.values()] for place in table.values()])


def test_all_time_that_the_driver_drives_is_counted_and_nothing_is_changed():
    census, results = census_of(None)
    assert seconds(census).sum() == pytest.approx(sum(result.duration_s for result in results), abs=0.01)
    assert census.driven_s == pytest.approx(seconds(census).sum())
    assert census.to_json()["interventions"] == []
    assert results == drive_suite(toy_world(), TOWNS, RIG, CONFIG, 2, None)[0]


def test_who_stands_hesitates_and_what_led_to_each_take_over_is_kept():
    census, results = census_of(Steady(0.0, -1.0))
    assert seconds(census)[:, 0].sum() > 0.5 * census.driven_s
    assert 0.0 < census.hesitation_s() <= census.driven_s
    assert sum(map(census.hesitation_s, Place)) == pytest.approx(census.hesitation_s())
    assert f"{census.hesitation_s():.0f} of {census.driven_s:.0f} s" in census.text()
    told = census.to_json()["interventions"]
    expected = sorted(
        (result.route.seed, danger.name.lower()) for result in results for danger in result.dangers
    )
    assert sorted((entry["route_seed"], entry["kind"]) for entry in told) == expected and expected
    stuck = next(entry for entry in told if entry["kind"] == Danger.STUCK.name.lower())
    assert stuck["town"] == TOWNS[0] and stuck["time_s"] >= 8.0
    assert [moment["before_s"] for moment in stuck["before"]] == [3.0, 2.0, 1.0, 0.5, 0.0]
    for moment in stuck["before"]:
        assert (
            moment["speed_mps"] == 0.0 and moment["asked_mps2"] == -1.0 and moment["demonstrator_mps2"] > 0.3
        )


def test_who_is_run_into_lies_ahead_the_nearest_first():
    census, _ = census_of(Steady(0.0, 2.0), routes=20)
    told = [entry for entry in census.to_json()["interventions"] if entry["kind"] == "collision"]
    assert told
    for entry in told:
        before = entry["before"][-1]["near"]
        away = [np.hypot(other["ahead_m"], other["left_m"]) for other in before]
        assert away == sorted(away) and away[-1] < 60.1
        assert any(other["ahead_m"] > 0.0 and abs(other["left_m"]) < 12.0 for other in before)


def test_moments_of_the_route_before_are_not_told():
    census, _ = census_of(Steady(0.1, 2.0), routes=20)
    told = census.to_json()["interventions"]
    assert any(entry["time_s"] < 3.0 for entry in told)
    for entry in told:
        assert all(moment["before_s"] <= entry["time_s"] + 0.05 for moment in entry["before"])


def test_rounds_of_a_distance_add_up():
    census = Census()
    results, _, _ = drive_distance(
        toy_world(), TOWNS, RIG, CONFIG, 2, lambda _: Steady(0.0, 0.5), 0.25, census=census
    )
    taken_over = any(result.taken_over_m for result in results)
    total_s = sum(result.duration_s for result in results)
    assert census.driven_s <= total_s + 0.01 and (
        taken_over or census.driven_s == pytest.approx(total_s, abs=0.01)
    )
    assert len(results) > CONFIG.routes and census.driven_s > 0.5 * total_s


@pytest.mark.parametrize(
    ("control", "colour", "place"),
    [
        (-1, -1, Place.ROAD),
        (Control.NONE, -1, Place.ROAD),
        (Control.STOP, -1, Place.SIGN),
        (Control.RIGHT_BEFORE_LEFT, -1, Place.SIGN),
        (Control.SIGNAL, SignalColour.RED, Place.RED),
        (Control.SIGNAL, SignalColour.YELLOW, Place.RED),
        (Control.SIGNAL, SignalColour.GREEN_YIELD, Place.GREEN_YIELD),
        (Control.SIGNAL, SignalColour.GREEN, Place.GREEN),
        (Control.SIGNAL, -1, Place.PAST_SIGNAL),
        (-1, SignalColour.RED, Place.RED),
        (Control.STOP, SignalColour.RED, Place.SIGN),
    ],
)
def test_places(control: int, colour: int, place: Place):
    labels = empty_teaching(1)
    labels.junction_control[:], labels.signal_colour[:] = control, colour
    assert list(Place)[places(labels)[0]] == place


@pytest.mark.parametrize(
    ("acceleration_mps2", "halt_m", "lead_gap_m", "would"),
    [
        (1.5, 60.0, 60.0, Would.GO),
        (1.5, 10.0, 10.0, Would.GO),
        (1.5, 3.0, 60.0, Would.ROLL),
        (1.5, 60.0, 3.0, Would.ROLL),
        (0.3, 60.0, 60.0, Would.ROLL),
        (0.0, 60.0, 60.0, Would.STAY),
        (-2.0, 3.0, 3.0, Would.STAY),
    ],
)
def test_who_would_only_close_up_rolls(
    acceleration_mps2: float, halt_m: float, lead_gap_m: float, would: Would
):
    labels = empty_teaching(1)
    labels.acceleration_mps2[:], labels.halt_m[:], labels.lead_gap_m[:] = (
        acceleration_mps2,
        halt_m,
        lead_gap_m,
    )
    assert list(Would)[demonstrated(labels)[0]] == would
