"""The navigation hint, along whole routes, against a slow reading of the path."""

import cmath
import math

import numpy as np
import pytest

from fleetloop.core.types import EGO, Control, LaneKind, World
from fleetloop.sim.behaviour import LOOKAHEAD_M
from fleetloop.sim.observe import ASIDE_M, HINT_RANGE_M, SHARP_BEND, TIGHT_BEND, TIGHT_BEND_1PM
from fleetloop.sim.rollout import Rollout, make_routes
from toy_world import toy_world


def heading_of(world: World, lane: int, end: int) -> float:
    first, count = world.lane_first_point[lane], world.lane_point_count[lane]
    return float(world.headings[first + (count - 1 if end else 0)])


def nearest_turn(angle: float, turn: float) -> float:
    return min((angle + 2.0 * math.pi * number for number in range(-3, 4)), key=lambda left: abs(left - turn))


def end_of(world: World, lane: int, seen_from: complex, heading: float) -> complex:
    """Where the lane ends, to the metre from its beginning, ahead and to the left of somebody."""
    first, count = world.lane_first_point[lane], world.lane_point_count[lane]
    begin, end = (complex(*world.points[point].tolist()) for point in (first, first + count - 1))
    direction = cmath.rect(1.0, heading_of(world, lane, 0))
    chord = (end - begin) / direction
    rounded = begin + complex(math.floor(chord.real + 0.5), math.floor(chord.imag + 0.5)) * direction
    return (rounded - seen_from) / cmath.rect(1.0, heading)


def changes_lane(world: World, lane: int, turn: float) -> bool:
    length, heading = float(world.lane_length_m[lane]), heading_of(world, lane, 0)
    begin = complex(*world.points[world.lane_first_point[lane]].tolist())
    arc = length * (1.0 - math.cos(turn)) / turn if abs(turn) > 1e-3 else 0.0
    return abs(end_of(world, lane, begin, heading).imag - arc) > ASIDE_M


def expected_hint(world: World, rollout: Rollout, w: int) -> list[float]:
    state, hint, ends = rollout.state, [], []
    start = -float(state.along[w, EGO])
    for number, lane in enumerate(state.path[w, EGO].tolist()):
        if lane < 0 or start > HINT_RANGE_M or len(hint) == 6:
            break
        turn = heading_of(world, lane, 1) - heading_of(world, lane, 0)
        turn = (turn + math.pi) % (2.0 * math.pi) - math.pi
        tight = abs(turn) > TIGHT_BEND and abs(turn) / world.lane_length_m[lane] > TIGHT_BEND_1PM
        bends = tight or abs(turn) > SHARP_BEND or changes_lane(world, lane, turn)
        if world.lane_kind[lane] == LaneKind.JUNCTION or (
            world.lane_kind[lane] == LaneKind.CONNECTOR and bends
        ):
            x, y = world.points[world.lane_first_point[lane]].tolist()
            heading = heading_of(world, lane, 0)
            if number == 0:
                x, y, heading = state.pose[w, EGO].tolist()
                turn = nearest_turn(heading_of(world, lane, 1) - heading, turn)
            end = end_of(world, lane, complex(x, y), heading)
            ends += [end.real, end.imag]
            hint += [max(start, 0.0), turn, float(world.lane_length_m[lane]) + min(start, 0.0)]
        start += float(world.lane_length_m[lane])
    missing = 2 - len(ends) // 2
    return hint + [HINT_RANGE_M, 0.0, 0.0] * missing + ends + [0.0, 0.0] * missing


def expected_control(world: World, rollout: Rollout, w: int) -> int:
    start = -float(rollout.state.along[w, EGO])
    for lane in rollout.state.path[w, EGO].tolist():
        if lane < 0 or start > LOOKAHEAD_M:
            break
        if world.lane_kind[lane] == LaneKind.JUNCTION:
            return int(world.lane_control[lane])
        start += float(world.lane_length_m[lane])
    return -1


def test_the_teacher_tells_the_rule_at_the_next_junction_and_where_it_halts():
    """What a learner is to read from signs and lamps, and what follows from it."""
    world = toy_world()
    rollout = Rollout(world, make_routes(5, [0], 1_000, 200.0), worlds=6, agents=8)
    rules, halts = set(), 0
    for _ in range(300):
        rollout.decide()
        teaching = rollout.teaching
        for w in range(6):
            assert teaching.junction_control[w] == expected_control(world, rollout, w)
        rules |= set(teaching.junction_control.tolist())
        halting = teaching.halt_m < LOOKAHEAD_M
        halts += int(halting.sum())
        # Who must stop at a line that is no farther than it takes to stop brakes.
        near = halting & (teaching.halt_m < 8.0) & (rollout.state.speed[:, EGO] > 5.0)
        assert (teaching.acceleration_mps2[near] < 0.0).all()
        rollout.step(teaching.curvature_1pm, teaching.acceleration_mps2)
    assert rules == {-1, int(Control.SIGNAL)}
    assert halts > 30


def test_the_hint_is_what_the_path_says_and_turns_with_the_car():
    world = toy_world()
    rollout = Rollout(world, make_routes(3, [0], 1_000, 200.0), worlds=6, agents=4)
    most_left, least_left = np.zeros(6), np.full(6, np.inf)
    inside = 0
    for _ in range(500):
        rollout.decide()
        _, navigation, _ = rollout.look()
        for w in range(6):
            assert navigation[w].tolist() == pytest.approx(expected_hint(world, rollout, w), abs=2e-3)
            if navigation[w, 0] == 0.0:
                inside += 1
                most_left[w] = max(most_left[w], abs(navigation[w, 1]))
                least_left[w] = min(least_left[w], abs(navigation[w, 1]))
        rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
    assert inside > 100
    # Somebody turned: nearly all was to be done when it went in, and nearly nothing when it came out.
    turned = most_left > 1.3
    assert turned.any() and (least_left[turned] < 0.15).all()
