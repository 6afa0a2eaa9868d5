"""Closed-loop evaluation: every route once, in order; what is counted, and what is filmed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.artifacts.report import CriticalIntervention, Infraction, NetworkFault, OtherIntervention
from fleetloop.core.errors import ConfigError, MapError, ReportError
from fleetloop.core.types import Camera, CameraRig, LaneKind, Observation, Plan
from fleetloop.evaluate import closed_loop
from fleetloop.evaluate.clips import clips_beside, load_clips, save_clips
from fleetloop.evaluate.closed_loop import (
    CLIP_AFTER_STEPS,
    CLIP_BEFORE_STEPS,
    EvaluateConfig,
    FailureClip,
    drive_distance,
    drive_suite,
    family_of,
    summarise,
    tally,
)
from fleetloop.evaluate.faults import KINDS, faults_text
from fleetloop.safety.watchdog import Fault
from fleetloop.sim import rollout
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import Route, RouteResult, make_routes
from fleetloop.sim.safety_driver import Danger
from toy_world import toy_world

RIG = CameraRig(
    groups=(
        (Camera("forward", (1.5, 0.0, 1.4), 0.0, 0.0, 1.2, 32, 16),),
        (Camera("rear", (0.0, 0.0, 1.4), 3.14, 0.0, 1.2, 16, 16),),
    )
)
TOWNS = ["toy-0"]
CONFIG = EvaluateConfig(routes=5, route_m=40.0, vehicles=3, agents=4, clips=2)


class Steady:
    """The same controls at every step, from a while after the start of a route on."""

    def __init__(self, curvature_1pm: float, acceleration_mps2: float, end_m: float = 10.0) -> None:
        self.curvature_1pm, self.acceleration_mps2, self.end_m = curvature_1pm, acceleration_mps2, end_m
        self.resets = 0

    def reset(self, mask: np.ndarray) -> None:
        self.resets += int(mask.sum())

    def plan(self, observation: Observation) -> Plan:
        vehicles = len(observation.time_of_day_h)
        poses = np.zeros((vehicles, 8, 3), np.float32)
        poses[:, -1, 0] = self.end_m
        return Plan(
            np.full(vehicles, self.curvature_1pm, np.float32),
            np.full(vehicles, self.acceleration_mps2, np.float32),
            poses,
            np.ones(vehicles, np.float32),
        )


@pytest.fixture(autouse=True)
def short_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time runs out soon, so that those who do not get on do not hold up the tests."""
    monkeypatch.setattr(rollout, "SIGNALS_S", 25.0)


def suite(policy: Steady | None, config: EvaluateConfig = CONFIG, seed: int = 2):
    return drive_suite(toy_world(), TOWNS, RIG, config, seed, policy)


@pytest.fixture(scope="module")
def demonstrator() -> list[RouteResult]:
    return suite(None)[0]


def test_every_route_is_driven_once_and_results_are_in_their_order(demonstrator: list[RouteResult]):
    routes = list(make_routes(2, [0], CONFIG.routes, CONFIG.route_m))
    assert [result.route for result in demonstrator] == routes


def test_the_demonstrator_is_the_measure_of_progress(demonstrator: list[RouteResult]):
    counts = tally(demonstrator, demonstrator)
    assert counts.progress == pytest.approx(1.0)
    assert counts.routes == CONFIG.routes and counts.km > 0.04


def test_results_repeat_and_do_not_depend_on_how_many_drive_at_once(demonstrator: list[RouteResult]):
    assert suite(None)[0] == demonstrator
    for vehicles in (1, 5):
        assert suite(None, replace(CONFIG, vehicles=vehicles))[0] == demonstrator


@pytest.mark.parametrize("vehicles", [1, 3])
def test_as_many_routes_as_come_to_the_distance(vehicles: int, demonstrator: list[RouteResult]):
    """However many drive at once; the routes are those of the suite, in their order."""
    config = replace(CONFIG, vehicles=vehicles)
    made: list[int] = []

    def make_policy(count: int) -> Steady:
        made.append(count)
        return Steady(0.0, 0.5)

    world = toy_world()
    results, _, routes = drive_distance(world, TOWNS, RIG, config, 2, make_policy, 0.25)
    assert sum(result.own_m for result in results) >= 250.0 and max(made) <= vehicles
    longer = replace(CONFIG, routes=routes)
    expected, _ = drive_suite(world, TOWNS, RIG, longer, 2, Steady(0.0, 0.5))
    assert list(map(repr, results)) == list(map(repr, expected)) and routes > len(demonstrator)


def test_who_gets_nowhere_is_stopped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(closed_loop, "_MOST_ROUTES", 1)
    results, _, routes = drive_distance(toy_world(), TOWNS, RIG, CONFIG, 2, lambda _: Steady(0.0, -1.0), 0.15)
    assert routes == len(results) == 5 and sum(result.own_m for result in results) < 150.0


def test_the_hour_and_the_rain_of_all_routes():
    def seen(hour: float | None = None, rain: bool = False) -> Rollout:
        driven = Rollout(toy_world(), make_routes(2, [0], 4, 40.0), 4, 4, hour, rain)
        driven.decide()
        driven.observe(RIG, 0.5)
        return driven

    usual, wet_night = seen(), seen(hour=0.0, rain=True)
    assert (wet_night.appearance(0.5).darkness == 1.0).all()
    assert (wet_night.appearance(0.5).rain >= 0.35).all() and not usual.appearance(0.5).rain.all()
    np.testing.assert_array_equal(wet_night.state.started_h, 0.0)
    assert len(set(usual.state.started_h.tolist())) == 4
    np.testing.assert_array_equal(wet_night.state.pose, usual.state.pose)


def test_standing_still_is_no_way_to_be_safe(demonstrator: list[RouteResult]):
    results, _ = suite(Steady(0.0, -3.0))
    # On this short road, some route starts where it ends.
    long = [number for number, shown in enumerate(demonstrator) if shown.distance_m >= CONFIG.route_m]
    assert long and not any(results[number].success for number in long)
    assert tally(results, demonstrator).progress < 0.5
    assert all(result.duration_s < 60.0 for result in results)


def test_who_runs_out_of_time_has_failed_but_its_metres_count(
    demonstrator: list[RouteResult], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rollout, "SIGNALS_S", -13.0)
    results, _ = suite(None)
    assert all(result.duration_s <= 3.2 for result in results)
    late = [result for result in results if not result.finished]
    assert late
    counts = tally(results, demonstrator)
    assert counts.routes_finished < counts.routes
    assert counts.km == pytest.approx(sum(result.own_m for result in results) / 1000.0)
    assert sum(result.own_m for result in late) > 0.0


def test_leaving_the_road_is_a_critical_intervention_and_filmed(demonstrator: list[RouteResult]):
    policy = Steady(0.1, 1.0)
    results, clips = suite(policy)
    counts = tally(results, demonstrator)
    assert counts.critical_intervention_count > 0 and counts.successes < counts.routes
    assert policy.resets == CONFIG.routes
    assert len(clips) == CONFIG.clips
    happened = {danger.name.lower().replace("_", " ") for result in results for danger in result.dangers}
    for clip in clips:
        assert clip.frames.dtype == np.uint8 and clip.frames.ndim == 4 and clip.frames.shape[3] == 3
        assert 1 <= len(clip.frames) <= CLIP_BEFORE_STEPS + CLIP_AFTER_STEPS
        assert clip.town == "toy-0" and clip.happened in happened
        assert clip.seed in {result.route.seed for result in results}
    assert len({clip.seed for clip in clips}) == len(clips)


def test_clips_repeat(demonstrator: list[RouteResult]):
    first, again = (suite(Steady(0.1, 1.0))[1] for _ in range(2))
    assert all(np.array_equal(one.frames, other.frames) for one, other in zip(first, again, strict=True))


def test_clips_survive_their_file(tmp_path: Path):
    path, frames = clips_beside(tmp_path / "report"), np.arange(48, dtype=np.uint8).reshape(2, 2, 4, 3)
    assert load_clips(path, "release 1") == []
    save_clips(path, [])
    assert load_clips(path, "release 1") == []
    town = "a-map-with-a-long-name" * 4 + "-0a1b2c3d"
    save_clips(path, [FailureClip(frames, "red light", town, 2**40)])
    (kept,) = load_clips(path, "release 1")
    assert (kept.happened, kept.place, kept.release, kept.seed) == ("red light", town, "release 1", 2**40)
    assert np.array_equal(kept.frames, frames)
    content = path.read_bytes()
    for broken in (b"", content[:100], content[: len(content) // 2]):
        path.write_bytes(broken)
        with pytest.raises(ReportError, match=r"report-clips\.npz: is damaged; delete it"):
            load_clips(path, "release 1")


def test_the_demonstrator_is_not_filmed_nor_is_anybody_who_was_not_asked_for():
    assert suite(None)[1] == []
    assert suite(Steady(0.1, 1.0), replace(CONFIG, clips=0))[1] == []


@pytest.mark.parametrize("end_m", [1e30, float("inf"), float("nan")])
def test_a_plan_beyond_all_measure_can_be_filmed(end_m: float):
    _, clips = suite(Steady(0.1, 1.0, end_m), replace(CONFIG, routes=2))
    assert all(len(clip.frames) for clip in clips)


def test_what_the_safety_layer_does_is_counted_by_route(
    demonstrator: list[RouteResult], monkeypatch: pytest.MonkeyPatch
):
    """However many drive at once; a camera that is lost is counted, though nobody brakes for it."""
    plain = tally(suite(Steady(0.0, 0.5))[0], demonstrator)
    assert plain.network_faults == dict.fromkeys(NetworkFault, 0) and plain.braked_for_network == 0
    assert demonstrator[0].faults is None and tally(demonstrator, demonstrator).network_faults is None
    observe = Rollout.observe

    def observe_with_a_black_camera(self: Rollout, *arguments) -> Observation:
        observation = observe(self, *arguments)
        return replace(observation, images=(observation.images[0], np.zeros_like(observation.images[1])))

    monkeypatch.setattr(Rollout, "observe", observe_with_a_black_camera)
    for vehicles in (1, 3):
        config = replace(CONFIG, routes=4, vehicles=vehicles)
        results, _ = suite(Steady(0.0, 0.5, float("nan")), config)
        # The fault lasts as long as the route, and so begins once.
        assert [result.faults for result in results] == [["not_finite", "camera_lost"]] * 4
        counts = tally(results, demonstrator)
        assert counts.network_faults == dict.fromkeys(NetworkFault, 0) | {
            NetworkFault.NOT_FINITE: 4,
            NetworkFault.CAMERA_LOST: 4,
        }
        assert counts.braked_for_network == 4
        assert faults_text(counts.network_faults) == (
            "The safety layer braked for the network: the plan has numbers that are not finite (4). Cameras lost: 4."
        )


def test_every_fault_of_the_watchdog_has_a_name_in_reports():
    assert set(KINDS) == set(Fault) - {Fault.NONE}
    assert set(KINDS.values()) == set(NetworkFault) - {NetworkFault.CAMERA_LOST}


def test_progress_is_told_up_to_one():
    shares: list[float] = []
    drive_suite(toy_world(), TOWNS, RIG, CONFIG, 2, None, shares.append)
    assert shares[-1] == 1.0 and sorted(shares) == shares


def test_a_town_without_a_place_to_start_is_an_error():
    world = toy_world()
    roadless = world._replace(lane_kind=np.full_like(world.lane_kind, LaneKind.JUNCTION))
    with pytest.raises(MapError, match="no stretch of road"):
        drive_suite(roadless, TOWNS, RIG, CONFIG, 2, None)


@pytest.mark.parametrize(
    ("field", "value"), [("routes", 0), ("vehicles", 0), ("agents", -1), ("route_m", 0.0)]
)
def test_a_config_that_cannot_be_driven_names_its_field(field: str, value: float):
    with pytest.raises(ConfigError, match=f"evaluate: {field} is {value}"):
        replace(CONFIG, **{field: value})


def result(
    town: int = 0, distance_m: float = 100.0, finished: bool = True, dangers: list[Danger] | None = None
) -> RouteResult:
    return RouteResult(
        Route(town, 1, 100.0),
        distance_m=distance_m,
        duration_s=distance_m / 5.0,
        finished=finished,
        dangers=dangers or [],
    )


def test_counts_by_hand():
    """A good route, one with a red light and a collision prevented, one stuck halfway and one of touching.

    On the third, the safety driver drove 20 m, which earn nothing.
    """
    stuck = replace(result(distance_m=70.0, finished=False, dangers=[Danger.STUCK]), taken_over_m=20.0)
    touched = replace(result(distance_m=50.0, finished=False, dangers=[Danger.COLLISION]), collided=True)
    results = [
        result(),
        result(dangers=[Danger.RED_LIGHT, Danger.COLLISION]),
        stuck,
        touched,
    ]
    counts = tally(results, [result()])
    assert counts.km == pytest.approx(0.3)
    assert counts.critical_interventions == {
        CriticalIntervention.COLLISION: 2,
        CriticalIntervention.OFF_ROAD: 0,
        CriticalIntervention.RED_LIGHT: 1,
        CriticalIntervention.WRONG_WAY: 0,
    }
    assert counts.other_interventions == {OtherIntervention.STUCK: 1}
    assert counts.infractions[Infraction.COLLISION_VEHICLE] == 1
    assert (counts.routes, counts.routes_finished, counts.successes) == (4, 2, 1)
    assert counts.driving_score == pytest.approx((100.0 + 100.0 * 0.7 * 0.6 + 70.0 + 50.0 * 0.6) / 4)
    assert counts.progress == pytest.approx(300.0 / 320.0)


RESULTS = st.lists(
    st.builds(
        result,
        town=st.integers(0, 3),
        distance_m=st.floats(0.0, 150.0),
        finished=st.booleans(),
        dangers=st.lists(
            st.sampled_from([danger for danger in Danger if danger is not Danger.NONE]), max_size=4
        ),
    ),
    max_size=12,
)


@given(results=RESULTS)
def test_families_add_up_to_the_whole(results: list[RouteResult]):
    towns = ["grid-1", "organic-1", "grid-2", "monaco.osm-0a1b2c3d"]
    drive = summarise("x" * 64, towns, 5, results, results)
    assert set(drive.families) == {"grid", "organic", "monaco.osm"}
    parts = drive.families.values()
    assert sum(part.routes for part in parts) == drive.routes == len(results)
    assert sum(part.successes for part in parts) == drive.successes <= drive.routes_finished <= drive.routes
    assert sum(part.km for part in parts) == pytest.approx(drive.km)
    for kind in CriticalIntervention:
        assert sum(part.critical_interventions[kind] for part in parts) == drive.critical_interventions[kind]
    assert 0.0 <= drive.driving_score <= 100.0


def test_a_family_is_the_kind_of_a_town_or_a_real_town():
    towns = ("grid-12", "spider-1000", "Town01-0a1b2c3d")
    assert [family_of(Route(number, 1, 5.0), towns) for number in range(3)] == [
        "grid",
        "spider",
        "Town01",
    ]
