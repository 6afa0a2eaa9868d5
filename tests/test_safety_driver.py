"""The safety driver takes over when it must, and only then."""

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fleetloop.core.types import EGO, VEHICLE_SIZES, AgentKind, State, World
from fleetloop.sim.occupancy import empty_occupancy
from fleetloop.sim.prediction import boxes_touch, touching
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.sim.rollout import Rollout, drive_demonstrator
from fleetloop.sim.routes import make_routes
from fleetloop.sim.safety_driver import HORIZON_S, Danger, watch
from fleetloop.sim.traffic import decide, empty_decision
from toy_traffic import Car, open_road, put, through
from toy_world import Arm, Turn, toy_world

LINE_M = 288.0
"""Where the west arm's lane ends, in metres along it."""
FRONT_M = float(VEHICLE_SIZES[AgentKind.CAR, 0] - VEHICLE_SIZES[AgentKind.CAR, 3])
REAR_M = float(VEHICLE_SIZES[AgentKind.CAR, 3])


def danger(world: World, state: State, curvature: float = 0.0, acceleration: float = 0.0) -> Danger:
    """What the safety driver says of these controls."""
    decision = empty_decision(*state.kind.shape)
    decide(world, state, decision, empty_occupancy(*decision.halt_m.shape))
    found = np.zeros(1, np.int32)
    controls = np.full(1, curvature, np.float32), np.full(1, acceleration, np.float32)
    watch(world, state, decision, *controls, found, EGO)
    return Danger(int(found[0]))


rectangle = st.tuples(
    st.floats(-8.0, 8.0),
    st.floats(-8.0, 8.0),
    st.floats(-7.0, 7.0),
    st.floats(0.5, 12.0),
    st.floats(0.5, 3.0),
)


def polygon(x: float, y: float, yaw: float, length: float, width: float) -> shapely.Polygon:
    """The same rectangle for shapely."""
    corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * [0.5 * length, 0.5 * width]
    turned = corners @ np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    return shapely.Polygon(turned + np.array([x, y]))


@settings(max_examples=300, deadline=None)
@given(rectangle, rectangle)
def test_boxes_touch_agrees_with_shapely(one: tuple[float, ...], other: tuple[float, ...]):
    first, second = polygon(*one), polygon(*other)
    assume(not 0.0 < first.intersection(second).area < 1e-6)
    assume(not 0.0 < first.distance(second) < 1e-6)
    assert boxes_touch(*one, *other) == first.intersects(second)


def test_touching_names_whom():
    world = open_road()
    state = put(world, Car(50.0), Car(90.0), Car(54.0), Car(46.0))
    assert touching(world, state, 0, EGO) == 2
    assert touching(world, put(world, Car(50.0), Car(54.7)), 0, EGO) == -1


# --- It takes over


@pytest.mark.parametrize(
    "gap, acceleration, expected",
    [(12.0, 0.0, Danger.COLLISION), (12.0, -6.0, Danger.NONE), (25.0, 0.0, Danger.NONE)],
)
def test_a_wall_of_a_stopped_car(gap: float, acceleration: float, expected: Danger):
    """At 10 m/s for two seconds: 20 m; braking with 6 m/s^2 takes 8.3 m."""
    state = put(open_road(), Car(50.0, 10.0), Car(50.0 + FRONT_M + gap + REAR_M))
    assert danger(open_road(), state, 0.0, acceleration) is expected


@pytest.mark.parametrize("curvature, expected", [(-0.2, Danger.OFF_ROAD), (0.2, Danger.WRONG_WAY)])
def test_steering_off_the_lane(curvature: float, expected: Danger):
    """To the right lies the kerb, to the left the oncoming lane."""
    state = put(open_road(), Car(50.0, 9.0))
    assert danger(open_road(), state, curvature) is expected
    assert danger(open_road(), state, curvature / 20.0) is Danger.NONE


def test_being_in_the_oncoming_lane_or_backwards():
    world = open_road()
    assert danger(world, put(world, Car(50.0, 5.0, offset_m=3.0))) is Danger.WRONG_WAY
    assert danger(world, put(world, Car(50.0, 5.0, offset_m=-2.5))) is Danger.OFF_ROAD
    assert danger(world, put(world, Car(50.0, 0.0, turned=2.5))) is Danger.WRONG_WAY


def test_a_crash_with_oncoming_traffic_is_foreseen():
    """A left turn in front of somebody: nobody is in the way yet."""
    world = open_road()
    left, oncoming = through(Arm.WEST, Turn.LEFT), through(Arm.EAST, Turn.STRAIGHT)
    east_line = float(world.lane_length_m[oncoming[0]])
    turning = Car(LINE_M + 2.0, 5.0, left)
    assert danger(world, put(world, turning), 1.0 / 13.75, 1.0) is Danger.NONE
    state = put(world, turning, Car(east_line - 10.0, 11.0, oncoming))
    assert danger(world, state, 1.0 / 13.75, 1.0) is Danger.COLLISION


def test_driving_at_a_red_light():
    world = toy_world()
    state = put(world, Car(LINE_M - FRONT_M - 8.0, 9.0), clock_s=40.0)
    assert danger(world, state) is Danger.RED_LIGHT
    assert danger(world, state, 0.0, -6.0) is Danger.NONE
    green = put(world, Car(LINE_M - FRONT_M - 8.0, 9.0), clock_s=10.0)
    assert danger(world, green) is Danger.NONE
    # A moment after yellow ended it is not held against the driver.
    just_red = put(world, Car(LINE_M - FRONT_M - 8.0, 9.0), clock_s=28.3)
    assert danger(world, just_red) is Danger.NONE


# --- It does not


def test_a_rear_end_by_others_is_not_charged():
    """Somebody much faster comes from behind: within the horizon it would be on the learner's bumper."""
    world = open_road()
    behind = Car(100.0 - REAR_M - 6.0 - FRONT_M, 13.0)
    state = put(world, Car(100.0, 3.0), behind)
    assert 10.0 * HORIZON_S > 6.0
    assert danger(world, state) is Danger.NONE


def test_standing_is_never_dangerous():
    world = toy_world()
    state = put(world, Car(LINE_M - FRONT_M - 1.0), Car(LINE_M - FRONT_M - 12.0, 8.0), clock_s=40.0)
    assert danger(world, state, 0.2, -1.0) is Danger.NONE


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([*Turn]), st.floats(-25.0, 30.0), st.floats(-0.3, 0.3))
def test_driving_along_any_path_of_the_crossing_is_safe(turn: Turn, further: float, offset: float):
    world = open_road()
    car = Car(LINE_M + further, 4.0, through(Arm.WEST, turn), offset_m=offset)
    state = put(world, car)
    # What one would steer there: the path's own curvature.
    assert danger(world, state, float(state.curvature[0, 0])) is Danger.NONE


def test_the_demonstrator_drives_two_kilometres_without_an_alarm(tmp_path_factory: pytest.TempPathFactory):
    """Spider towns have turns sharper than 100 degrees."""
    world = TownLibrary(tmp_path_factory.mktemp("towns")).world(["spider-1", "organic-2", "grid-3"])
    junctions = np.flatnonzero(world.lane_kind == 2)
    first = world.lane_first_point[junctions]
    turns = world.headings[first + world.lane_point_count[junctions] - 1] - world.headings[first]
    assert np.abs((turns + np.pi) % (2 * np.pi) - np.pi).max() > np.deg2rad(100.0)
    results = drive_demonstrator(Rollout(world, make_routes(21, [0, 1, 2], 12, 200.0), 12))
    assert sum(result.distance_m for result in results) > 2000.0
    assert [result.dangers for result in results] == [[]] * 12
    assert all(result.success for result in results)
