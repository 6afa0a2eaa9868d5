"""What towns are alive with: buses at stops, cars that pull out of bays, emergency vehicles."""

import numpy as np
import pytest

from fleetloop.core.types import EGO, VEHICLE_SIZES, AgentKind, Script, State, World
from fleetloop.sim import behaviour
from fleetloop.sim.observe import empty_scene, see
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import make_routes
from toy_traffic import Car, drive, open_road, put, through
from toy_world import Arm, Turn, lane_in, toy_world

FRONT_OF_BUS_M = float(VEHICLE_SIZES[AgentKind.BUS, 0] - VEHICLE_SIZES[AgentKind.BUS, 3])


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> World:
    return TownLibrary(tmp_path_factory.mktemp("towns")).world(["grid-1"])


def _stop_at(along_m: float) -> World:
    world = open_road()
    stops = world.lane_bus_stop_m.copy()
    stops[lane_in(Arm.WEST)] = along_m
    return world._replace(lane_bus_stop_m=stops)


def test_a_bus_stands_at_its_stop_for_its_time_and_drives_on():
    world = _stop_at(120.0)
    state = put(world, Car(5.0, 8.0), Car(60.0, 9.0, kind=AgentKind.BUS))
    stood = []
    for _ in range(700):
        drive(world, state)
        if state.speed[0, 1] < 0.05:
            stood.append(float(state.along[0, 1]) + FRONT_OF_BUS_M)
    low, high = behaviour.DWELL_S
    assert low - 0.5 < 0.1 * len(stood) < high + 2.0
    assert np.ptp(stood) < 0.3
    assert stood[0] == pytest.approx(120.0, abs=1.5)
    # The car behind waited and was not run into.
    assert state.odometer_m[0, EGO] > 100.0


def test_cars_and_lorries_do_not_stop_at_bus_stops():
    world = _stop_at(120.0)
    state = put(world, Car(5.0, 8.0), Car(60.0, 9.0))
    for _ in range(100):
        drive(world, state)
        assert state.speed[0].min() > 3.0


def test_a_standing_bus_indicates_towards_the_kerb():
    world = _stop_at(120.0)
    state = put(world, Car(80.0, 8.0), Car(120.0 - FRONT_OF_BUS_M, kind=AgentKind.BUS))
    scene = empty_scene(1)
    see(world, state, scene, EGO)
    assert scene.agent_lights[0, 0] & 6 == 4


def _parked(world: World, ego_at_m: float, ego_speed_mps: float) -> State:
    offset = -(0.5 * float(world.lane_width_m[lane_in(Arm.WEST)]) + behaviour.BAY_MIDDLE_M)
    state = put(world, Car(ego_at_m, ego_speed_mps), Car(100.0, offset_m=offset))
    state.script[0, 1], state.script_trigger_m[0, 1] = Script.PULL_OUT, 40.0
    return state


def test_a_parked_car_waits_for_a_gap_and_then_joins_the_traffic():
    world = open_road()
    state = _parked(world, 65.0, 9.0)
    passed_at_rest = False
    for _ in range(300):
        before = float(state.speed[0, 1])
        drive(world, state)
        if state.along[0, EGO] > 100.0 and before < 0.1:
            passed_at_rest = True
    assert passed_at_rest
    assert state.script[0, 1] == Script.NONE and state.offset[0, 1] == 0.0
    assert state.speed[0, 1] > 3.0


def test_a_car_far_behind_lets_a_parked_car_out_without_a_collision():
    world = open_road()
    state = _parked(world, 62.0, 3.0)
    nearest = np.inf
    for _ in range(200):
        drive(world, state)
        nearest = min(nearest, float(np.hypot(*(state.pose[0, 0, :2] - state.pose[0, 1, :2]))))
    assert state.odometer_m[0, 1] > 20.0
    assert nearest > 2.0


def test_who_pulls_out_indicates_towards_the_road():
    world = open_road()
    state = _parked(world, 90.0, 0.0)
    scene = empty_scene(1)
    state.script_trigger_m[0, 1] = 5.0
    see(world, state, scene, EGO)
    assert scene.agent_lights[0, 0] & 6 == 0
    state.script_trigger_m[0, 1] = 40.0
    see(world, state, scene, EGO)
    assert scene.agent_lights[0, 0] & 6 == 2


def test_everybody_gives_way_to_an_emergency_vehicle():
    """The learner has green all the while; an ambulance comes against red from the side."""
    world = toy_world()
    west, south = (float(world.lane_length_m[lane_in(arm)]) for arm in (Arm.WEST, Arm.SOUTH))
    paths = (
        through(Arm.WEST, Turn.STRAIGHT),
        through(Arm.SOUTH, Turn.STRAIGHT),
    )
    state = put(
        world,
        Car(west - 45.0, 10.0, path=paths[0]),
        Car(south - 35.0, 8.0, path=paths[1], kind=AgentKind.EMERGENCY),
        clock_s=2.0,
    )
    first, nearest = -1, np.inf
    for _ in range(200):
        drive(world, state)
        nearest = min(nearest, float(np.hypot(*(state.pose[0, 0, :2] - state.pose[0, 1, :2]))))
        for a in (0, 1):
            if first < 0 and state.kind[0, a] != AgentKind.NONE and state.path[0, a, 0] == paths[a][1]:
                first = a
    assert first == 1
    assert nearest > 3.0


def test_towns_have_stops_and_bays_and_a_life(town: World):
    assert (town.lane_bus_stop_m >= 0.0).sum() >= 2
    stops = town.lane_bus_stop_m >= 0.0
    assert (town.lane_bus_stop_m[stops] < town.lane_length_m[stops] - 20.0).all()
    assert (town.lane_bay_m >= 0.0).sum() >= 2
    rollout = Rollout(town, make_routes(3, [0], 1000, 600.0), 32, 30)
    kinds, parked = set[int](), 0
    for _ in range(60):
        rollout.decide()
        rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
        kinds |= set(np.unique(rollout.state.kind).tolist())
        parked += int((rollout.state.script == Script.PULL_OUT).sum())
    assert {AgentKind.BUS, AgentKind.EMERGENCY, AgentKind.CYCLIST} <= kinds
    assert parked > 0
