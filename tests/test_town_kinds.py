"""Every kind of generated town keeps the promises of World, for cars, buses and people on foot."""

from pathlib import Path

import numpy as np
import pytest

from fleetloop.core.types import ConflictKind, Control, LaneKind, LaneUse, SignalColour, World
from fleetloop.sim.roads import TownLibrary
from fleetloop.sim.roads.conflicts import touching_stretches
from fleetloop.sim.roads.curves import centre_line
from fleetloop.sim.roads.generate import GeneratedTown, TownKind, parse_generated_key
from test_roads import check_lanes, check_right_of_way, check_shapes, conflict_sources, lane_points

KEYS = [f"{kind}-1" for kind in TownKind] + ["left_grid-2", "left_highway-2", "left_roundabout-2", "suburb-2"]
WALKED = [key for key in KEYS if not key.startswith("yard")]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> TownLibrary:
    return TownLibrary(tmp_path_factory.mktemp("towns"))


def successors(world: World, lane: int) -> list[int]:
    return world.successors[world.successor_start[lane] : world.successor_start[lane + 1]].tolist()


def lanes_of_kind(world: World, kind: LaneKind) -> list[int]:
    return np.flatnonzero(world.lane_kind == kind).tolist()


def for_cars(world: World) -> np.ndarray:
    return world.lane_use & LaneUse.MOTOR > 0


@pytest.mark.parametrize("key", KEYS)
def test_town_keeps_its_promises(library: TownLibrary, key: str) -> None:
    world = library.world([key])
    check_shapes(world)
    check_lanes(world)
    check_right_of_way(world)
    cars = for_cars(world)
    vehicles = LaneUse.MOTOR | LaneUse.BUS | LaneUse.BICYCLE
    driven = np.repeat(world.lane_use & vehicles > 0, world.lane_point_count)
    assert np.abs(world.curvatures[driven]).max() < 0.2
    # From everywhere a car can drive on for ever on lanes for cars alone.
    assert np.mean(world.lane_reach_m[cars] == 5000.0) > 0.99
    for lane in np.flatnonzero(cars & (world.lane_kind == LaneKind.ROAD)).tolist():
        assert any(cars[following] for following in successors(world, lane))
    assert world.town_left_hand.tolist() == [int(key.startswith("left_"))]


@pytest.mark.parametrize("key", KEYS)
def test_keys_name_towns_and_come_back(key: str) -> None:
    town = parse_generated_key(key)
    assert isinstance(town, GeneratedTown) and town.key == key


@pytest.mark.parametrize(
    "key", ["", "grid", "grid-", "left_-1", "castle-1", "grid-1234567890", "Grid-1", "left_left_grid-1"]
)
def test_other_keys_name_none(key: str) -> None:
    assert parse_generated_key(key) is None


@pytest.mark.parametrize("key", WALKED)
def test_people_can_always_walk_on_and_come_across_roads(library: TownLibrary, key: str) -> None:
    world = library.world([key])
    on_foot = world.lane_use == LaneUse.PEDESTRIAN
    assert np.all(
        (world.lane_kind[on_foot] == LaneKind.WALK) | (world.lane_kind[on_foot] == LaneKind.CROSSING)
    )
    # A walk that would run through a lane is closed, and leads nobody on.
    assert np.mean(world.lane_reach_m[on_foot] == 5000.0) > 0.85
    assert np.all(world.lane_speed_limit_mps[on_foot] == 1.5)
    crossings = lanes_of_kind(world, LaneKind.CROSSING)
    assert crossings
    arrivals = np.zeros(len(on_foot), int)
    for lane in np.flatnonzero(on_foot).tolist():
        for following in successors(world, lane):
            arrivals[following] += 1
    assert np.mean(arrivals[on_foot] >= 1) > 0.85


@pytest.mark.parametrize("key", WALKED)
def test_sidewalks_lie_beside_the_roads(library: TownLibrary, key: str) -> None:
    world = library.world([key])
    lane_of = np.repeat(np.arange(len(world.lane_kind)), world.lane_point_count)
    kinds = world.lane_kind[lane_of]
    vehicles = kinds < LaneKind.WALK
    walked = world.points[kinds == LaneKind.WALK][::4]
    half = world.lane_width_m[lane_of[vehicles]] / 2.0
    road = world.points[vehicles]
    beside = np.array([np.min(np.hypot(*(road - point).T) - half) for point in walked])
    # Where a walk meets a crossing it begins at the curb.
    assert np.mean(beside > 0.3) > 0.93 and beside.min() > -0.8


@pytest.mark.parametrize("key", WALKED)
def test_crossings_conflict_with_all_that_they_cross(library: TownLibrary, key: str) -> None:
    world = library.world([key])
    source = conflict_sources(world)
    pairs = {(int(a), int(b)): k for k, (a, b) in enumerate(zip(source, world.conflict_lane, strict=True))}
    vehicles = [
        lane for kind in (LaneKind.CONNECTOR, LaneKind.JUNCTION) for lane in lanes_of_kind(world, kind)
    ]
    for crossing in lanes_of_kind(world, LaneKind.CROSSING):
        path = lane_points(world, crossing)
        for lane in lanes_of_kind(world, LaneKind.ROAD):
            # Stop lines lie before the crossing.
            apart = np.hypot(*(lane_points(world, lane)[:, None] - path).transpose(2, 0, 1)).min()
            assert apart > 0.3
        for lane in vehicles:
            way = lane_points(world, lane)
            if np.hypot(*(way[:, None] - path).transpose(2, 0, 1)).min() < 0.7:
                k = pairs[lane, crossing]
                assert world.conflict_kind[k] == ConflictKind.CROSS
                signals = world.lane_signal[lane], world.lane_signal[crossing]
                if min(signals) < 0:
                    assert world.conflict_yield[k] == 1 and world.conflict_yield[pairs[crossing, lane]] == 0


@pytest.mark.parametrize("key", ["grid-1", "buslane-1", "left_grid-1"])
def test_who_turns_into_people_with_green_gives_way(library: TownLibrary, key: str) -> None:
    world = library.world([key])
    source = conflict_sources(world)
    turning = 0
    for k, lane in enumerate(source.tolist()):
        other = int(world.conflict_lane[k])
        mine, theirs = int(world.lane_signal[lane]), int(world.lane_signal[other])
        if world.lane_kind[other] != LaneKind.CROSSING or mine < 0 or theirs < 0:
            continue
        one, two = (
            world.phase_colour[world.phase_start[s] : world.phase_start[s + 1]] for s in (mine, theirs)
        )
        together = (two == SignalColour.GREEN) & np.isin(one, [SignalColour.GREEN, SignalColour.GREEN_YIELD])
        assert not np.any(together & (one == SignalColour.GREEN))
        assert world.conflict_yield[k] == together.any()
        turning += int(together.any())
    assert turning


def test_cars_keep_out_of_bus_lanes(library: TownLibrary) -> None:
    world = library.world(["buslane-1"])
    bus_only = (world.lane_use & LaneUse.BUS > 0) & ~for_cars(world)
    assert np.count_nonzero(bus_only & (world.lane_kind == LaneKind.ROAD)) >= 10
    for lane in np.flatnonzero(bus_only & (world.lane_kind == LaneKind.ROAD)).tolist():
        inner = world.lane_left[lane]
        assert world.lane_right[lane] == -1 and for_cars(world)[inner]
    assert np.all(world.lane_reach_m[bus_only] > 50.0)


def test_roundabouts_go_before_who_enters(library: TownLibrary) -> None:
    world = library.world(["roundabout-1"])
    source = conflict_sources(world)
    vehicles = (world.lane_kind[source] < LaneKind.WALK) & (
        world.lane_kind[world.conflict_lane] < LaneKind.WALK
    )
    entering = {
        lane for lane in lanes_of_kind(world, LaneKind.JUNCTION) if world.lane_control[lane] == Control.YIELD
    }
    assert len(entering) >= 8
    limits = world.lane_speed_limit_mps
    before = {
        following: lane
        for lane in lanes_of_kind(world, LaneKind.ROAD)
        for following in successors(world, lane)
    }
    for k in np.flatnonzero(vehicles & (world.conflict_kind != ConflictKind.DIVERGE)).tolist():
        one, two = int(source[k]), int(world.conflict_lane[k])
        from_ring, to_ring = limits[before[one]] < 9.0, limits[before[two]] < 9.0
        if from_ring and not to_ring:
            assert world.conflict_yield[k] == 0


def test_highway_has_limits_ramps_and_ending_lanes(library: TownLibrary) -> None:
    world = library.world(["highway-1"])
    kmh = np.round(world.lane_speed_limit_mps * 3.6)
    assert {50.0, 60.0, 100.0, 130.0} <= set(kmh.tolist())
    fast = (kmh >= 100.0) & (world.lane_use > 0)
    assert not np.any(world.lane_use[fast] & (LaneUse.BICYCLE | LaneUse.PEDESTRIAN))
    # Nobody has to brake below 80 km/h on the carriageway, where lanes begin and end neither.
    starts = world.bend_speed_mps[world.lane_first_point[fast]]
    assert starts.min() * 3.6 > 80.0
    zips = world.conflict_kind == ConflictKind.MERGE
    zips &= (world.lane_kind[conflict_sources(world)] == LaneKind.CONNECTOR) & (world.conflict_yield == 0)
    assert zips.any()


def test_yard_has_numbered_lanes_and_walking_pace(library: TownLibrary) -> None:
    world = library.world(["yard-1"])
    assert world.lane_speed_limit_mps.max() * 3.6 <= 20.1
    slow = np.isclose(world.lane_speed_limit_mps * 3.6, 15.0, atol=0.1) & (world.lane_kind == LaneKind.ROAD)
    assert np.count_nonzero(slow) >= 10
    assert LaneKind.CROSSING not in world.lane_kind


def test_touching_stretches_of_a_right_angle() -> None:
    way = centre_line(np.array([[0.0, 0.0], [30.0, 0.0]]))
    crossing = centre_line(np.array([[12.0, -8.0], [12.0, 8.0]]))
    stretches = touching_stretches(way, crossing, 1.25)
    assert stretches is not None
    (from_m, to_m), (first_m, last_m) = stretches
    assert from_m == pytest.approx(11.4, abs=0.5) and to_m == pytest.approx(12.6, abs=0.5)
    assert first_m == pytest.approx(8.0 - 1.75, abs=0.6) and last_m == pytest.approx(8.0 + 1.75, abs=0.6)
    far = centre_line(np.array([[12.0, 2.5], [12.0, 8.0]]))
    assert touching_stretches(way, far, 1.25) is None


def test_streets_of_old_keys_stay(tmp_path: Path) -> None:
    """Lanes for cars by kind, as they have been since the first release."""
    world = TownLibrary(tmp_path).world(["grid-7"])
    assert np.bincount(world.lane_kind)[:3].tolist() == [62, 8, 132]
