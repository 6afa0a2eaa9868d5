"""Who may use which lane, and who waits for whom where people cross: small towns in which every case is known."""

from pathlib import Path

import numpy as np

from fleetloop.core.types import Control, LaneKind, LaneUse, SignalColour, World
from small_towns import both_ways, crossroads, small_town

WALKS = ("--sidewalks.guess", "--crossings.guess", "--walkingareas")


def successors(world: World, lane: int) -> list[int]:
    return world.successors[world.successor_start[lane] : world.successor_start[lane + 1]].tolist()


def yields(world: World, lane: int, other: int) -> bool | None:
    """Whether `lane` gives way to `other`; None where they do not meet."""
    for k in range(world.conflict_start[lane], world.conflict_start[lane + 1]):
        if world.conflict_lane[k] == other:
            return bool(world.conflict_yield[k])
    return None


def turn(world: World, lane: int) -> float:
    first = world.lane_first_point[lane]
    last = first + world.lane_point_count[lane] - 1
    return float((world.headings[last] - world.headings[first] + np.pi) % (2.0 * np.pi) - np.pi)


def test_cycle_lanes_are_lanes_of_their_own(tmp_path: Path) -> None:
    world = crossroads(tmp_path, "priority", 50.0, ("bicycle", ""))
    roads = world.lane_kind == LaneKind.ROAD
    cycle = roads & (world.lane_use == LaneUse.BICYCLE)
    cars = roads & (world.lane_use & LaneUse.MOTOR > 0)
    assert np.count_nonzero(cycle) == np.count_nonzero(cars) == 8
    for lane in np.flatnonzero(cycle).tolist():
        beside = int(world.lane_left[lane])
        assert cars[beside] and world.lane_right[beside] == lane and world.lane_right[lane] == -1
    for lane in np.flatnonzero(~roads & (world.lane_use & LaneUse.MOTOR > 0)).tolist():
        assert cars[successors(world, lane)[0]]
    only_bicycles = np.flatnonzero(~roads & (world.lane_use == LaneUse.BICYCLE)).tolist()
    assert len(only_bicycles) >= 8
    assert all(world.lane_use[successors(world, lane)[0]] & LaneUse.BICYCLE for lane in only_bicycles)


def test_reach_of_cars_counts_no_bus_lane(tmp_path: Path) -> None:
    nodes = {"a": (0.0, 0.0, "priority"), "b": (300.0, 0.0, "priority"), "c": (600.0, 0.0, "priority")}
    streets = both_ways("a", "b", 50.0, ("bus", ""))
    streets += both_ways("b", "c", 50.0, ("bus",))
    world = small_town(tmp_path, nodes, streets)
    cars = world.lane_use & LaneUse.MOTOR > 0
    assert 250.0 < world.lane_reach_m[cars].max() < 310.0
    bus_lanes = (world.lane_use & LaneUse.BUS > 0) & ~cars
    assert world.lane_reach_m[bus_lanes].max() > 550.0


def test_where_people_wait_only_those_who_turn_give_way(tmp_path: Path) -> None:
    world = crossroads(tmp_path, "priority", 50.0, ("",), *WALKS)
    crossings = np.flatnonzero(world.lane_kind == LaneKind.CROSSING).tolist()
    assert len(crossings) == 8
    assert np.all(world.lane_control[crossings] == Control.YIELD)
    straight = turning = 0
    for lane in np.flatnonzero(world.lane_kind == LaneKind.JUNCTION).tolist():
        for crossing in crossings:
            mine, theirs = yields(world, lane, crossing), yields(world, crossing, lane)
            if mine is None:
                assert theirs is None
                continue
            assert mine != theirs
            if abs(turn(world, lane)) < 0.3:
                straight += 1
                assert theirs
            else:
                turning += mine
    assert straight and turning


def test_at_signals_people_and_those_who_drive_straight_never_go_together(tmp_path: Path) -> None:
    world = crossroads(tmp_path, "traffic_light", 50.0, ("",), *WALKS)
    crossings = np.flatnonzero(world.lane_kind == LaneKind.CROSSING).tolist()
    assert len(crossings) == 8 and np.all(world.lane_control[crossings] == Control.SIGNAL)

    def shown(lane: int) -> np.ndarray:
        signal = int(world.lane_signal[lane])
        return world.phase_colour[world.phase_start[signal] : world.phase_start[signal + 1]]

    for crossing in crossings:
        assert set(shown(crossing).tolist()) <= {SignalColour.RED, SignalColour.GREEN}
        for lane in np.flatnonzero(world.lane_kind == LaneKind.JUNCTION).tolist():
            mine = yields(world, lane, crossing)
            if mine is None:
                continue
            assert yields(world, crossing, lane) is False
            together = (shown(crossing) == SignalColour.GREEN) & (shown(lane) >= SignalColour.GREEN_YIELD)
            assert mine == together.any()
            if abs(turn(world, lane)) < 0.3:
                assert not mine


def test_people_turn_round_where_a_sidewalk_ends(tmp_path: Path) -> None:
    world = crossroads(tmp_path, "priority", 50.0, ("",), "--sidewalks.guess")
    walks = np.flatnonzero(world.lane_use == LaneUse.PEDESTRIAN)
    assert LaneKind.CROSSING not in world.lane_kind
    assert np.all(np.diff(world.successor_start)[walks] >= 1)
    assert np.all(world.lane_reach_m[walks] == 5000.0)
    ends = [
        lane for lane in walks.tolist() if abs(turn(world, lane)) > 3.0 and world.lane_length_m[lane] < 6.0
    ]
    assert len(ends) >= 8


def test_stop_lines_lie_before_crossings(tmp_path: Path) -> None:
    world = crossroads(tmp_path, "traffic_light", 50.0, ("", ""), *WALKS)
    lane_of = np.repeat(np.arange(len(world.lane_kind)), world.lane_point_count)
    crossed = world.points[world.lane_kind[lane_of] == LaneKind.CROSSING]
    driven = world.points[world.lane_kind[lane_of] == LaneKind.ROAD]
    apart = np.min(np.hypot(*(driven[:, None] - crossed[None]).transpose(2, 0, 1)))
    assert apart > 0.8
