"""What holds for traffic whatever happens, and the kernels against slow references."""

import itertools
import os

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fleetloop.core.types import (
    EGO,
    STEP_S,
    UPCOMING_LANES,
    VEHICLE_SIZES,
    AgentKind,
    Control,
    LaneKind,
    SignalColour,
    State,
    World,
)
from fleetloop.sim import behaviour
from fleetloop.sim.motion import advance
from fleetloop.sim.occupancy import empty_occupancy
from fleetloop.sim.paths import path_point, project
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import make_routes
from fleetloop.sim.signals import signal_colour
from fleetloop.sim.traffic import decide, empty_decision
from toy_traffic import STRAIGHT_ON, Car, drive, open_road, put, through
from toy_world import Arm, Turn, toy_world

NOBODY = int(AgentKind.NONE)
GREEN_FOR_MAIN_S, RED_FOR_MAIN_S = 2.0, 40.0


def path_metres(world: World, state: State) -> np.ndarray:
    """How far each road user of the first world is along STRAIGHT_ON."""
    start = {lane: world.lane_length_m[list(STRAIGHT_ON[:i])].sum() for i, lane in enumerate(STRAIGHT_ON)}
    return np.array([start[int(p[0])] + s for p, s in zip(state.path[0], state.along[0], strict=True)])


def gaps(world: World, state: State) -> np.ndarray:
    """Bumper to bumper between neighbours on STRAIGHT_ON, nobody left out."""
    there = state.kind[0] != NOBODY
    kinds = state.kind[0, there]
    rear = path_metres(world, state._replace(path=state.path[:, there], along=state.along[:, there]))
    rear = rear - VEHICLE_SIZES[kinds, 3]
    order = np.argsort(rear)
    front = rear[order] + VEHICLE_SIZES[kinds[order], 0]
    return rear[order][1:] - front[:-1]


# --- Following


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(3.0, 20.0),
            st.floats(0.0, 1.0),
            st.sampled_from([AgentKind.CAR, AgentKind.VAN, AgentKind.TRUCK]),
        ),
        min_size=4,
        max_size=8,
    ),
    st.integers(0, 2**62),
)
def test_nobody_overlaps_or_reverses_on_a_straight_road(
    queue: list[tuple[float, float, AgentKind]], seed: int
):
    world = open_road()
    rear, speed, cars = 60.0, 0.0, []
    for gap, share, kind in queue:
        # From the front of the queue back; nobody so fast that no brakes could help.
        rear = rear - gap - float(VEHICLE_SIZES[kind, 0])
        speed = share * float(np.sqrt(speed**2 + 2.0 * 3.0 * (gap - 2.5 if gap > 2.5 else 0.0)))
        cars.append(Car(rear + float(VEHICLE_SIZES[kind, 3]) + 200.0, min(speed, 13.0), kind=kind))
    # The first one starts from a standstill.
    cars.insert(0, Car(200.0 + 60.0 + 0.9, 0.0))
    state = put(world, *cars)
    state.seed[0] = seed
    for _ in range(120):
        drive(world, state)
        assert (state.speed >= 0.0).all()
        assert (gaps(world, state) > 0.0).all()


@pytest.mark.parametrize("speed", [3.0, 8.0, 12.0])
def test_the_equilibrium_gap_is_that_of_the_model(speed: float):
    """Treiber et al. 2000, eq. (5): s_e(v) = (s0 + v T) / sqrt(1 - (v / v0)^4)."""
    world = open_road()
    headway, desired = behaviour.TIME_HEADWAY_S[1], float(world.lane_speed_limit_mps[0])
    gap = (behaviour.STANDSTILL_GAP_M + speed * headway) / np.sqrt(1.0 - (speed / desired) ** 4)
    gap += behaviour.DEMONSTRATED_ROOM_M
    between = gap + float(VEHICLE_SIZES[AgentKind.CAR, 0])
    decision = empty_decision(1, 2)
    for further, sign in ((0.0, 0), (1.0, 1), (-1.0, -1)):
        state = put(world, Car(20.0, speed), Car(20.0 + between + further, speed))
        decide(world, state, decision, empty_occupancy(*decision.halt_m.shape))
        assert decision.lead_gap_m[0, EGO] == pytest.approx(gap + further, abs=1e-3)
        if sign:
            assert np.sign(decision.acceleration[0, EGO]) == sign
        else:
            assert decision.acceleration[0, EGO] == pytest.approx(0.0, abs=1e-3)


def test_a_follower_settles_at_the_equilibrium_gap():
    world, speed = open_road(), 5.0
    state = put(world, Car(5.0, 8.0), Car(40.0, speed))
    decision = empty_decision(1, 2)
    for _ in range(500):
        decide(world, state, decision, empty_occupancy(*decision.halt_m.shape))
        kept = decision.acceleration * np.array([1.0, 0.0], np.float32)
        advance(world, state, kept, np.zeros((1, 2), np.float32), decision.target_lane, np.float32(1.0))
    expected = behaviour.DEMONSTRATED_ROOM_M + (
        behaviour.STANDSTILL_GAP_M + speed * behaviour.TIME_HEADWAY_S[1]
    ) / np.sqrt(1.0 - (speed / float(world.lane_speed_limit_mps[0])) ** 4)
    assert gaps(world, state)[0] == pytest.approx(expected, rel=0.02)


def test_who_stands_is_not_asked_to_brake():
    world = open_road()
    state = put(world, Car(50.0, 0.0), Car(50.0 + 4.6 + 1.0, 0.0))
    decision = empty_decision(1, 2)
    decide(world, state, decision, empty_occupancy(*decision.halt_m.shape))
    assert -0.5 <= decision.acceleration[0, EGO] <= 0.0


# --- Lamps and right of way


def test_a_car_stops_at_red_and_goes_at_green():
    world = toy_world()
    state = put(world, Car(220.0, 10.0), clock_s=RED_FOR_MAIN_S - 10.0)
    front = float(VEHICLE_SIZES[AgentKind.CAR, 0] - VEHICLE_SIZES[AgentKind.CAR, 3])
    line = float(world.lane_length_m[STRAIGHT_ON[0]])
    for _ in range(200):
        drive(world, state)
    assert state.speed[0, EGO] < 0.1
    assert line - 2.5 < path_metres(world, state)[EGO] + front < line
    for _ in range(200):
        drive(world, state)
    assert path_metres(world, state)[EGO] > line


@pytest.mark.parametrize("speed, goes", [(10.0, True), (6.0, False)])
def test_yellow_stops_those_who_can_stop(speed: float, goes: bool):
    world = toy_world()
    front = float(VEHICLE_SIZES[AgentKind.CAR, 0] - VEHICLE_SIZES[AgentKind.CAR, 3])
    line = float(world.lane_length_m[STRAIGHT_ON[0]])
    # 10 m before the line: 36 / 6 = 6 m are enough to stop, 100 / 6 = 16.7 m are not there.
    state = put(world, Car(line - front - 10.0, speed), clock_s=25.1)
    for _ in range(28):
        drive(world, state)
    assert (path_metres(world, state)[EGO] + front > line) == goes


def test_a_left_turn_lets_oncoming_traffic_pass():
    """Also one who nosed past the line: it waits before the others' way."""
    world = toy_world()
    left, oncoming = through(Arm.WEST, Turn.LEFT), through(Arm.EAST, Turn.STRAIGHT)
    line = float(world.lane_length_m[left[0]])
    for along in (line - 6.0, line - 3.0):
        state = put(world, Car(along, 2.0, left), Car(40.0, 11.0, oncoming), clock_s=GREEN_FOR_MAIN_S)
        passed, turned = -1, -1
        for step in range(150):
            decision = empty_decision(1, 2)
            decide(world, state, decision, empty_occupancy(*decision.halt_m.shape))
            x, y, yaw = state.pose[0, EGO]
            target_x, target_y, _, _ = path_point(world, state.path[0, EGO], float(state.along[0, EGO]) + 3.5)
            side = -np.sin(yaw) * (target_x - x) + np.cos(yaw) * (target_y - y)
            steer = np.zeros_like(decision.acceleration)
            steer[0, EGO] = 2.0 * side / 3.5**2
            advance(world, state, decision.acceleration, steer, decision.target_lane, np.float32(1.0))
            if passed < 0 and (state.path[0, 1, 0] == oncoming[2] or state.kind[0, 1] == NOBODY):
                passed = step
            if turned < 0 and state.path[0, EGO, 0] == left[2]:
                turned = step
        assert 0 <= passed < turned


def test_who_queues_behind_another_is_not_waited_for():
    """A yielding car waits for the first of a queue, never for the second, whom the first one holds up."""
    world = toy_world()
    world = world._replace(
        lane_control=np.where(world.lane_kind == LaneKind.JUNCTION, int(Control.YIELD), 0).astype(np.uint8),
        lane_signal=np.full_like(world.lane_signal, -1),
    )
    from_west = through(Arm.WEST, Turn.STRAIGHT)
    right, straight = through(Arm.SOUTH, Turn.RIGHT), through(Arm.SOUTH, Turn.STRAIGHT)
    line, other_line = float(world.lane_length_m[from_west[0]]), float(world.lane_length_m[straight[0]])
    first = Car(other_line - 4.8, 0.0, right, wait_s=5.0)
    second = Car(other_line - 11.6, 0.0, straight, wait_s=60.0)
    decision = empty_decision(1, 3)
    decide(
        world,
        put(world, Car(line - 4.7, 0.0, from_west, wait_s=30.0), first, second),
        decision,
        empty_occupancy(*decision.halt_m.shape),
    )
    assert decision.acceleration[0, EGO] > 1.0
    lone = put(world, Car(line - 4.7, 0.0, from_west, wait_s=30.0), second)
    decision = empty_decision(1, 2)
    decide(world, lone, decision, empty_occupancy(*decision.halt_m.shape))
    assert decision.acceleration[0, EGO] < 0.1


class RedLineWatch:
    """Raises where a front bumper enters a junction at red though its driver could have stopped at yellow."""

    def __init__(self, world: World, shape: tuple[int, int]) -> None:
        self.world = world
        self.may_clear = np.full(shape, -1)
        """The connector that each road user could not stop for any more when it showed yellow."""
        self.crossed = 0

    def line_ahead(self, state: State, w: int, a: int) -> tuple[int, float]:
        """(connector, metres from the front bumper) of the first signalled line not passed yet, or (-1, 0)."""
        kind = state.kind[w, a]
        start = -float(state.along[w, a])
        front = float(VEHICLE_SIZES[kind, 0] - VEHICLE_SIZES[kind, 3])
        for lane in state.path[w, a]:
            if lane < 0 or start - front > 40.0:
                break
            signalled = self.world.lane_kind[lane] != LaneKind.ROAD and (
                self.world.lane_control[lane] == Control.SIGNAL
            )
            if signalled and start - front > 0.0:
                return int(lane), start - front
            start += float(self.world.lane_length_m[lane])
        return -1, 0.0

    def step(self, rollout: Rollout) -> None:
        """Let one step pass and look at everybody."""
        state = rollout.state
        every = list(itertools.product(*map(range, state.kind.shape)))
        before = {}
        for w, a in every:
            if state.kind[w, a] == NOBODY:
                continue
            lane, line = self.line_ahead(state, w, a)
            before[w, a] = lane
            too_late = state.speed[w, a] ** 2 > 2.0 * behaviour.YELLOW_DECELERATION_MPS2 * line
            if too_late and lane >= 0 and self.colour(state, w, lane) == SignalColour.YELLOW:
                self.may_clear[w, a] = lane
        old = (state.seed.copy(), state.odometer_m.copy())
        rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
        for (w, a), lane in before.items():
            replaced = state.seed[w] != old[0][w] or state.odometer_m[w, a] < old[1][w, a]
            # Who changes lanes has another line ahead.
            replaced = replaced or state.changing_from[w, a] >= 0
            if lane < 0 or replaced or state.kind[w, a] == NOBODY or self.line_ahead(state, w, a)[0] == lane:
                continue
            self.crossed += 1
            if self.colour(state, w, lane) == SignalColour.RED:
                assert self.may_clear[w, a] == lane, f"world {w}, road user {a} ran a red light"

    def colour(self, state: State, w: int, lane: int) -> int:
        return signal_colour(self.world, self.world.lane_signal[lane], state.clock_s[w])


def check_network(world: World, state: State) -> None:
    """Everybody's path is connected, and everybody is on it."""
    for w, a in itertools.product(*map(range, state.kind.shape)):
        if state.kind[w, a] == NOBODY:
            continue
        path = state.path[w, a]
        for lane, following in itertools.pairwise(path):
            first, last = world.successor_start[lane], world.successor_start[lane + 1]
            assert following in world.successors[first:last] or (
                following == -1 and (lane < 0 or first == last)
            )
        town = state.town[w]
        assert world.town_first_lane[town] <= path[0] < world.town_first_lane[town + 1]
        assert -1e-3 <= state.along[w, a] <= world.lane_length_m[path[0]] + 1e-3
        x, y, _, _ = path_point(world, path, float(state.along[w, a]))
        bound = 0.05 + abs(float(state.offset[w, a])) if a != EGO else 1.0
        assert np.hypot(x - state.pose[w, a, 0], y - state.pose[w, a, 1]) < bound


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**62))
def test_nobody_passes_red_or_leaves_the_toy_town(seed: int):
    world = toy_world()
    rollout = Rollout(world, make_routes(seed, [0], 9, 300.0), 3, 8)
    watch = RedLineWatch(world, (3, 8))
    for step in range(400):
        rollout.decide()
        watch.step(rollout)
        assert (rollout.state.speed >= 0.0).all()
        if step % 20 == 0:
            check_network(world, rollout.state)
    assert watch.crossed > 0


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> TownLibrary:
    return TownLibrary(tmp_path_factory.mktemp("towns"))


@pytest.fixture(scope="module")
def towns(library: TownLibrary) -> World:
    return library.world(["grid-1", "organic-1"])


def test_nobody_passes_red_or_leaves_a_generated_town(towns: World):
    rollout = Rollout(towns, make_routes(5, [0, 1], 6, 400.0), 6, 16)
    watch = RedLineWatch(towns, (6, 16))
    for step in range(500):
        rollout.decide()
        watch.step(rollout)
        assert (rollout.state.speed >= 0.0).all()
        if step % 50 == 0:
            check_network(towns, rollout.state)
    assert watch.crossed > 20
    assert not any(result.collided for result in rollout.results)


# --- The same seed, the same bits


def trajectories(world: World, routes: list, worlds: int) -> dict[int, list[bytes]]:
    """For each route's seed, what every step looks like: poses, speeds, clocks, and lanes within the town."""
    rollout = Rollout(world, iter(routes), worlds, 10)
    seen: dict[int, list[bytes]] = {}
    state = rollout.state
    while rollout.active.any():
        rollout.decide()
        for w in np.flatnonzero(rollout.active):
            lanes = state.path[w] - np.where(state.path[w] >= 0, world.town_first_lane[state.town[w]], 0)
            there = state.kind[w] != NOBODY
            moment = b"".join(
                part.tobytes()
                for part in (state.kind[w], state.pose[w, there], state.speed[w, there], lanes[there])
            )
            seen.setdefault(int(state.seed[w]), []).append(moment)
        rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
    return seen


def test_the_same_seed_gives_the_same_bits(towns: World):
    routes = list(make_routes(3, [0, 1], 6, 60.0))
    alone = trajectories(towns, routes, 1)
    assert trajectories(towns, routes, 6) == alone
    assert trajectories(towns, routes[::-1], 4) == alone
    assert len(alone) == 6


def test_threads_do_not_change_a_bit(towns: World):
    if (os.cpu_count() or 1) < 2:
        pytest.skip("needs two cores")
    routes = list(make_routes(4, [0, 1], 6, 40.0))
    before = numba.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results.append(trajectories(towns, routes, 6))
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


def test_other_towns_beside_it_do_not_change_a_bit(library: TownLibrary):
    """A town drives the same whatever is loaded before it."""
    alone = trajectories(library.world(["organic-1"]), list(make_routes(9, [0], 3, 80.0)), 3)
    beside = trajectories(library.world(["grid-1", "organic-1"]), list(make_routes(9, [1], 3, 80.0)), 3)
    assert alone == beside


# --- Paths


def slow_projection(world: World, path: np.ndarray, x: float, y: float) -> tuple[float, float]:
    """(along, offset) of the nearest of many points of the path."""
    lanes = path[path >= 0]
    total = float(world.lane_length_m[lanes].sum())
    along = np.arange(0.0, total, 0.01)
    points, before = [], 0.0
    for lane in lanes:
        first, count = int(world.lane_first_point[lane]), int(world.lane_point_count[lane])
        own = world.points[first : first + count].astype(np.float64)
        here = along[(along >= before) & (along < before + world.lane_length_m[lane])] - before
        at = np.arange(count) * float(world.lane_spacing_m[lane])
        points.append(np.stack([np.interp(here, at, own[:, 0]), np.interp(here, at, own[:, 1])], 1))
        before += float(world.lane_length_m[lane])
    line = np.concatenate(points)
    distance = np.hypot(line[:, 0] - x, line[:, 1] - y)
    nearest = int(np.argmin(distance))
    ahead = line[min(nearest + 50, len(line) - 1)] - line[max(nearest - 50, 0)]
    side = ahead[0] * (y - line[nearest, 1]) - ahead[1] * (x - line[nearest, 0])
    return float(along[nearest]), float(np.copysign(distance[nearest], side))


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(list(itertools.product(Arm, Turn))),
    st.floats(0.05, 0.95),
    st.floats(-1.6, 1.6),
    st.floats(-1.5, 1.5),
)
def test_projection_onto_the_path_agrees_with_a_search(
    way: tuple[Arm, Turn], share: float, offset: float, guess_off: float
):
    world = toy_world()
    path = np.full(UPCOMING_LANES, -1, np.int32)
    path[:3] = through(*way)
    # Within 60 m of the crossing, where it bends.
    middle = float(world.lane_length_m[path[0]] + 0.5 * world.lane_length_m[path[1]])
    along = middle + (share - 0.5) * 120.0
    x, y, heading, _ = path_point(world, path, along)
    x, y = x - offset * np.sin(heading), y + offset * np.cos(heading)
    found_along, found_offset, found_heading, _ = project(world, path, along + guess_off, x, y)
    assert_allclose([found_along, found_offset], [along, offset], atol=0.06)
    assert_allclose(slow_projection(world, path, x, y), [found_along, found_offset], atol=0.08)
    assert abs(np.sin(found_heading - heading)) < 0.02


def test_the_bicycle_and_the_rails_agree():
    """The learner is a bicycle, the others slide along their lanes: at equal speed they cover the same ground."""
    world = open_road()
    state = put(world, Car(50.0, 6.0), Car(120.0, 6.0))
    kept = np.zeros((1, 2), np.float32)
    for _ in range(50):
        advance(world, state, kept, kept, np.full((1, 2), -1, np.int32), np.float32(1.0))
    assert_allclose(path_metres(world, state), [50.0 + 300 * STEP_S, 120.0 + 300 * STEP_S], atol=1e-3)
