"""The navigation hint, along whole routes, against a slow reading of the path."""

import cmath
import itertools
import math

import numpy as np
import pytest

from fleetloop.core.types import EGO, Control, LaneKind, World
from fleetloop.sim.behaviour import LOOKAHEAD_M
from fleetloop.sim.observe import ASIDE_M, HINT_RANGE_M, LONGEST_BEND, SHARP_BEND, TIGHT_BEND, TIGHT_BEND_1PM
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import make_routes
from toy_world import toy_world


def heading_of(world: World, lane: int, end: int) -> float:
    first, count = world.lane_first_point[lane], world.lane_point_count[lane]
    return float(world.headings[first + (count - 1 if end else 0)])


def nearest_turn(angle: float, turn: float) -> float:
    return min((angle + 2.0 * math.pi * number for number in range(-3, 4)), key=lambda left: abs(left - turn))


def end_of(world: World, first: int, last: int, seen_from: complex, heading: float) -> complex:
    """Where a turn ends, to the metre from its beginning, ahead and to the left of somebody."""
    begin, end = (complex(*world.points[point].tolist()) for point in (first, last))
    direction = cmath.rect(1.0, float(world.headings[first]))
    chord = (end - begin) / direction
    rounded = begin + complex(math.floor(chord.real + 0.5), math.floor(chord.imag + 0.5)) * direction
    return (rounded - seen_from) / cmath.rect(1.0, heading)


def wrapped(angle: float) -> float:
    return (angle + math.pi) % (2.0 * math.pi) - math.pi


def turns_of(world: World, lane: int) -> list[tuple[int, int]]:
    """(first, last point) of what is announced of a lane: all of it, or its tight bends."""
    first, count = int(world.lane_first_point[lane]), int(world.lane_point_count[lane])
    last, kind, length = first + count - 1, world.lane_kind[lane], float(world.lane_length_m[lane])
    turn = wrapped(heading_of(world, lane, 1) - heading_of(world, lane, 0))
    arc = length * (1.0 - math.cos(turn)) / turn if abs(turn) > 1e-3 else 0.0
    aside = end_of(
        world, first, last, complex(*world.points[first].tolist()), heading_of(world, lane, 0)
    ).imag
    tight = abs(turn) > TIGHT_BEND and abs(turn) / length > TIGHT_BEND_1PM
    leads_elsewhere = tight or abs(turn) > SHARP_BEND or abs(aside - arc) > ASIDE_M
    if kind == LaneKind.JUNCTION or (kind == LaneKind.CONNECTOR and leads_elsewhere):
        return [(first, last)]
    bends = [
        wrapped(float(world.headings[point + 1]) - float(world.headings[point]))
        for point in range(first, last)
    ]
    least, found, at = TIGHT_BEND_1PM * float(world.lane_spacing_m[lane]), [], first
    for side, run in itertools.groupby(bends, key=lambda bend: (bend > least) - (bend < -least)):
        pieces = [[]]
        for bend in run:
            if abs(sum(pieces[-1])) >= LONGEST_BEND:
                pieces.append([])
            pieces[-1].append(bend)
        for piece in pieces:
            if side and abs(sum(piece)) > TIGHT_BEND:
                found.append((at, at + len(piece)))
            at += len(piece)
    return found


def expected_hint(world: World, rollout: Rollout, w: int) -> list[float]:
    state, hint, ends = rollout.state, [], []
    lane_start = -float(state.along[w, EGO])
    for lane in state.path[w, EGO].tolist():
        if lane < 0 or lane_start > HINT_RANGE_M:
            break
        whole, lane_first = float(world.lane_length_m[lane]), int(world.lane_first_point[lane])
        spacing = float(world.lane_spacing_m[lane])
        for first, last in turns_of(world, lane):
            is_whole = last - first == world.lane_point_count[lane] - 1
            start = lane_start + (0.0 if is_whole else (first - lane_first) * spacing)
            length = whole if is_whole else (last - first) * spacing
            if start > HINT_RANGE_M or (start + length <= 0.0 and not is_whole):
                continue
            turn = wrapped(float(world.headings[last]) - float(world.headings[first]))
            x, y = world.points[first].tolist()
            heading = float(world.headings[first])
            if start <= 0.0:
                x, y, heading = state.pose[w, EGO].tolist()
                turn = nearest_turn(float(world.headings[last]) - heading, turn)
            end = end_of(world, first, last, complex(x, y), heading)
            hint += [max(start, 0.0), turn, length + min(start, 0.0)]
            ends += [end.real, end.imag]
        lane_start += whole
    missing = max(2 - len(ends) // 2, 0)
    hint += [HINT_RANGE_M, 0.0, 0.0] * missing
    ends += [0.0, 0.0] * missing
    return hint[:6] + ends[:4]


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


def winding(world: World) -> World:
    """The same with four bends in each road lane: left, right, a wide one, and one of more than half a turn.

    Points are moved along; where a lane ends the next one does not go on, which is of no consequence to the hint.
    """
    points, headings = world.points.copy(), world.headings.copy()
    for lane in np.flatnonzero(world.lane_kind == LaneKind.ROAD).tolist():
        first, count = int(world.lane_first_point[lane]), int(world.lane_point_count[lane])
        if count < 50:
            continue
        turn = np.zeros(count)
        turn[10:16], turn[18:24] = 0.1, -0.07
        turn[25:35], turn[36:46] = 0.019 * world.lane_spacing_m[lane], 0.35
        headings[first : first + count] += np.cumsum(turn).astype(np.float32)
        steps = world.lane_spacing_m[lane] * np.stack(
            [np.cos(headings[first : first + count]), np.sin(headings[first : first + count])], axis=1
        )
        points[first + 1 : first + count] = points[first] + np.cumsum(steps[:-1], axis=0)
    return world._replace(points=points.astype(np.float32), headings=headings)


@pytest.mark.parametrize("winds", [False, True])
def test_the_hint_is_what_the_path_says_and_turns_with_the_car(winds: bool):
    world = winding(toy_world()) if winds else toy_world()
    rollout = Rollout(world, make_routes(3, [0], 1_000, 200.0), worlds=6, agents=4)
    most_left, least_left = np.zeros(6), np.full(6, np.inf)
    inside, in_bends = 0, 0
    for _ in range(500):
        rollout.decide()
        _, navigation, _ = rollout.look()
        for w in range(6):
            assert navigation[w].tolist() == pytest.approx(expected_hint(world, rollout, w), abs=2e-3)
            if navigation[w, 0] == 0.0:
                inside += 1
                in_bends += world.lane_kind[rollout.state.path[w, EGO, 0]] == LaneKind.ROAD
                most_left[w] = max(most_left[w], abs(navigation[w, 1]))
                least_left[w] = min(least_left[w], abs(navigation[w, 1]))
        rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
    assert inside > 100
    assert (in_bends > 20) == winds
    if not winds:
        # Somebody turned: nearly all was to be done when it went in, and nearly nothing when it came out.
        turned = most_left > 1.3
        assert turned.any() and (least_left[turned] < 0.15).all()
