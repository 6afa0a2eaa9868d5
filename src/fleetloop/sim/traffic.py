"""What every road user wants to do next along its path: IDM behind leaders, signals, right of way.

One kernel decides for all, the demonstrator included: it sees nothing that a driver could not see (others'
positions, speeds and lamps; who has priority by signs), apart from knowing which way others will turn.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from numba import njit, prange

from fleetloop.core.random import Stream, uniform
from fleetloop.core.types import (
    EGO,
    STEP_S,
    UPCOMING_LANES,
    VEHICLE_SIZES,
    AgentKind,
    ConflictKind,
    Control,
    LaneKind,
    SignalColour,
    State,
    World,
)
from fleetloop.sim import behaviour
from fleetloop.sim.paths import FAR_M, lane_point
from fleetloop.sim.signals import signal_colour

_ROAD = int(LaneKind.ROAD)
_NOBODY = int(AgentKind.NONE)
_SIGNAL, _STOP = int(Control.SIGNAL), int(Control.STOP)
_RED, _YELLOW = int(SignalColour.RED), int(SignalColour.YELLOW)
_CROSS, _MERGE, _DIVERGE = int(ConflictKind.CROSS), int(ConflictKind.MERGE), int(ConflictKind.DIVERGE)
_DRIVER = int(Stream.DRIVER)
_LANES_INTO_CONFLICT = 4


class Decision(NamedTuple):
    """What each road user decided in a step."""

    acceleration: Float32[np.ndarray, "W A"]
    halt_m: Float32[np.ndarray, "W A"]
    """From the front bumper to where it means to stop for a line or a conflict; FAR_M when it does not."""
    lead_gap_m: Float32[np.ndarray, "W A"]
    """Bumper to bumper to the vehicle ahead on its path; FAR_M when there is none."""
    lead_speed: Float32[np.ndarray, "W A"]


def empty_decision(worlds: int, agents: int) -> Decision:
    """A Decision to be filled by `decide`."""
    return Decision(*(np.zeros((worlds, agents), np.float32) for _ in Decision._fields))


@njit(cache=True)
def front_m(kind):
    """From the rear axle to the front bumper."""
    return VEHICLE_SIZES[kind, 0] - VEHICLE_SIZES[kind, 3]


@njit(cache=True)
def _idm(speed, desired, gap, lead_speed, headway):
    """Acceleration of the Intelligent Driver Model (Treiber et al. 2000)."""
    product = math.sqrt(behaviour.MAXIMUM_ACCELERATION_MPS2 * behaviour.COMFORTABLE_DECELERATION_MPS2)
    wished = behaviour.STANDSTILL_GAP_M + max(
        speed * headway + speed * (speed - lead_speed) / (2.0 * product), 0.0
    )
    ratio = wished / max(gap, 0.1)
    # Bounded: someone slightly too fast for a bend lifts the foot, and does not brake hard.
    free = max(1.0 - (speed / max(desired, 0.1)) ** 4, -1.25)
    return behaviour.MAXIMUM_ACCELERATION_MPS2 * (free - ratio * ratio)


@njit(cache=True)
def _stop_at(speed, desired, distance, headway):
    """IDM for a standstill `distance` metres ahead, without braking much harder than that takes."""
    needed = speed * speed / (2.0 * max(distance + 0.5, 0.2))
    wished = _idm(speed, desired, distance + behaviour.STANDSTILL_GAP_M, 0.0, headway)
    return max(wished, -1.2 * needed - 0.5)


@njit(cache=True)
def _desired_speed(world, state, w, a, factor):
    """The speed wished for now, so that every bend ahead is met at a comfortable lateral acceleration."""
    along, index = np.float64(state.along[w, a]), 0
    speed = np.float64(state.speed[w, a])
    horizon = min(speed * speed / (2.0 * behaviour.BEND_DECELERATION_MPS2) + 6.0, behaviour.LOOKAHEAD_M)
    desired = 100.0
    ahead = 0.0
    while ahead <= horizon:
        lane = state.path[w, a, index]
        while along > world.lane_length_m[lane]:
            if index + 1 >= UPCOMING_LANES or state.path[w, a, index + 1] < 0:
                return desired
            along -= world.lane_length_m[lane]
            index += 1
            lane = state.path[w, a, index]
        curvature = lane_point(world, lane, along)[3]
        limit = min(world.lane_speed_limit_mps[lane], behaviour.CRUISE_SPEED_MPS) * factor
        bend = math.sqrt(behaviour.LATERAL_ACCELERATION_MPS2 / max(abs(curvature), 1e-3))
        here = min(limit, bend)
        desired = min(desired, math.sqrt(here * here + 2.0 * behaviour.BEND_DECELERATION_MPS2 * ahead))
        ahead += 2.5
        along += 2.5
    return desired


@njit(cache=True)
def _leader(world, state, w, a):
    """(gap, speed) of the nearest vehicle whose rear axle is ahead on the path of agent a."""
    front = front_m(state.kind[w, a])
    best, best_speed = np.float64(FAR_M), 0.0
    for b in range(state.kind.shape[1]):
        if b == a or state.kind[w, b] == _NOBODY:
            continue
        start = -state.along[w, a]
        for i in range(UPCOMING_LANES):
            lane = state.path[w, a, i]
            if lane < 0 or start > behaviour.LOOKAHEAD_M:
                break
            if state.path[w, b, 0] == lane:
                ahead = start + state.along[w, b]
                if ahead > 0.0 or (ahead == 0.0 and b < a):
                    gap = ahead - front - VEHICLE_SIZES[state.kind[w, b], 3]
                    if gap < best:
                        best, best_speed = gap, np.float64(state.speed[w, b])
                break
            start += world.lane_length_m[lane]
    return best, best_speed


@njit(cache=True)
def _time_to(distance, speed, acceleration, top):
    """Seconds to cover a distance when accelerating from `speed` up to `top`."""
    if distance <= 0.0:
        return 0.0
    top = max(top, speed, 0.5)
    gained = (top * top - speed * speed) / (2.0 * acceleration)
    if distance <= gained:
        return (math.sqrt(speed * speed + 2.0 * acceleration * distance) - speed) / acceleration
    return (top - speed) / acceleration + (distance - gained) / top


@njit(cache=True)
def _may_enter(world, state, w, other, lane, start):
    """Whether an approaching vehicle could enter its connector now: its signal is not red."""
    if start > -front_m(state.kind[w, other]):
        return True
    if world.lane_control[lane] != _SIGNAL:
        return True
    colour = signal_colour(world, world.lane_signal[lane], state.clock_s[w])
    return colour != _RED


@njit(cache=True)
def _is_held_up(state, w, b):
    """Whether somebody stands ahead of b in its lane: b cannot come before that one has gone."""
    for c in range(state.kind.shape[1]):
        if c == b or state.kind[w, c] == _NOBODY or state.path[w, c, 0] != state.path[w, b, 0]:
            continue
        if state.along[w, c] > state.along[w, b] and state.wait_s[w, c] > 0.5:
            return True
    return False


@njit(cache=True)
def _lets_go_first(world, state, w, a, b, lane, front, inside):
    """Whether b, `front` metres past its line, lets a go: a is in the junction already, or came to stand before b."""
    stands = state.speed[w, b] < 0.3 and state.wait_s[w, b] > 1.0 and (front < 1.0 or inside)
    has_to_stop = world.lane_control[lane] == _STOP and front < -2.0 and state.wait_s[w, b] < 0.2
    if not stands and not has_to_stop:
        return False
    if inside:
        return True
    if state.wait_s[w, a] <= 1.0:
        return False
    if state.wait_s[w, a] == state.wait_s[w, b]:
        return a < b
    return state.wait_s[w, a] > state.wait_s[w, b]


@njit(cache=True)
def _comes_between(world, state, w, a, b, k, position, inside, time_in, time_out):
    """Whether b, `position` metres along the other connector of conflict k, could be there while a is."""
    lane = world.conflict_lane[k]
    kind = state.kind[w, b]
    front = position + front_m(kind)
    rear = front - VEHICLE_SIZES[kind, 0]
    if rear > world.conflict_other_to_m[k] or _lets_go_first(world, state, w, a, b, lane, front, inside):
        return False
    if not _may_enter(world, state, w, b, lane, position):
        return False
    if position < 0.0 and _is_held_up(state, w, b):
        return False
    # The soonest it could be there, and the latest it could be gone.
    speed = np.float64(state.speed[w, b])
    soon = _time_to(world.conflict_other_from_m[k] - front, speed, 2.0, max(speed + 2.0, 8.0))
    late = _time_to(world.conflict_other_to_m[k] - rear, max(speed, 0.5), 0.5, max(speed, 5.0))
    impatience = min(state.wait_s[w, a] / behaviour.IMPATIENT_S, 1.0)
    margin = behaviour.GAP_MARGIN_S + (behaviour.SHORTEST_GAP_MARGIN_S - behaviour.GAP_MARGIN_S) * impatience
    return soon - margin < time_out and late + margin > time_in


@njit(cache=True)
def _gives_way(world, state, w, a, k, start):
    """Whether agent a, whose connector starts `start` metres ahead, must wait for somebody in conflict k."""
    kind = state.kind[w, a]
    speed = np.float64(state.speed[w, a])
    inside = start < front_m(kind)
    enter = start + world.conflict_from_m[k] - front_m(kind)
    leave = start + world.conflict_to_m[k] - front_m(kind) + VEHICLE_SIZES[kind, 0]
    time_in = _time_to(enter, speed, behaviour.MAXIMUM_ACCELERATION_MPS2, 7.0)
    time_out = _time_to(leave, speed, behaviour.MAXIMUM_ACCELERATION_MPS2, 7.0)
    for b in range(state.kind.shape[1]):
        if b == a or state.kind[w, b] == _NOBODY:
            continue
        position = np.float64(state.along[w, b])
        for j in range(_LANES_INTO_CONFLICT):
            lane = state.path[w, b, j]
            if lane < 0 or position < -80.0:
                break
            if lane == world.conflict_lane[k]:
                if _comes_between(world, state, w, a, b, k, position, inside, time_in, time_out):
                    return True
                break
            position -= world.lane_length_m[lane]
    return False


@njit(cache=True)
def _occupied(world, state, w, a, k, start):
    """(gap, speed) to stop before, or to follow, a vehicle whose body is in conflict k; FAR_M if there is none."""
    front = front_m(state.kind[w, a])
    line = start - front
    at_line = np.float64(state.speed[w, a]) ** 2 <= 2.0 * behaviour.LINE_DECELERATION_MPS2 * line
    enter = line + world.conflict_from_m[k]
    best, best_speed = np.float64(FAR_M), 0.0
    for b in range(state.kind.shape[1]):
        if b == a or state.kind[w, b] == _NOBODY:
            continue
        position = np.float64(state.along[w, b])
        for j in range(2):
            lane = state.path[w, b, j]
            if lane < 0:
                break
            if lane == world.conflict_lane[k]:
                other_front = position + front_m(state.kind[w, b])
                other_rear = other_front - VEHICLE_SIZES[state.kind[w, b], 0]
                if other_rear > world.conflict_other_to_m[k] + 0.3:
                    break
                inside = other_front > world.conflict_other_from_m[k] - 0.3
                # Two that turn into one lane side by side sort themselves out before they meet.
                merging = world.conflict_kind[k] == _MERGE and other_front > 0.0 and state.speed[w, b] > 0.5
                if not inside and not merging:
                    break
                if world.conflict_kind[k] == _CROSS:
                    # Wait for those who move close by, for those who stand outside: or all block each other.
                    point = line if at_line and state.wait_s[w, b] > 1.0 else enter
                    if enter > -0.5 and point - behaviour.STOP_MARGIN_M < best:
                        best, best_speed = point - behaviour.STOP_MARGIN_M, 0.0
                else:
                    # Merging or diverging: follow whoever is further on, measured from the common end.
                    if world.conflict_kind[k] == _MERGE:
                        mine = start + world.conflict_to_m[k]
                        theirs = world.conflict_other_to_m[k] - position
                    else:
                        mine = start
                        theirs = -position
                    gap = mine - theirs - front - VEHICLE_SIZES[state.kind[w, b], 3]
                    ahead = mine - theirs > 0.0 or (mine == theirs and b < a)
                    if not inside:
                        gap = max(gap, enter)
                    if ahead and gap < best:
                        best, best_speed = gap, np.float64(state.speed[w, b])
                break
            position -= world.lane_length_m[lane]
    return best, best_speed


@njit(cache=True)
def _must_stop_at(world, state, w, a, lane, start, line, exit_gap, exit_speed):
    """Whether agent a must stop at the line before a connector, whoever comes: for a lamp, a sign or want of room."""
    speed = np.float64(state.speed[w, a])
    if world.lane_control[lane] == _SIGNAL:
        colour = signal_colour(world, world.lane_signal[lane], state.clock_s[w])
        if colour == _RED:
            return True
        if colour == _YELLOW:
            return speed * speed <= 2.0 * behaviour.YELLOW_DECELERATION_MPS2 * max(line, 0.01)
    # Never stop in the middle of a junction: enter only when there is room behind it.
    room = exit_gap + front_m(state.kind[w, a]) - start - world.lane_length_m[lane]
    full = exit_speed < 2.0 and room < VEHICLE_SIZES[state.kind[w, a], 0] + 2.0 and exit_gap > line
    if full and world.conflict_start[lane + 1] > world.conflict_start[lane]:
        return True
    return world.lane_control[lane] == _STOP and line > 0.0 and (line > 2.0 or state.wait_s[w, a] < 0.2)


@njit(cache=True)
def _right_of_way_gap(world, state, w, a, lane, start, line):
    """Metres from the front bumper to where agent a waits for those who have right of way; FAR_M if it may go.

    That is the line; for those who cannot stop there any more, the place where the others' way begins.
    """
    square = np.float64(state.speed[w, a]) ** 2
    at_line = square <= 2.0 * behaviour.LINE_DECELERATION_MPS2 * line
    best = np.float64(FAR_M)
    for k in range(world.conflict_start[lane], world.conflict_start[lane + 1]):
        if not world.conflict_yield[k]:
            continue
        ahead = line if at_line else start + world.conflict_from_m[k] - front_m(state.kind[w, a])
        # Too late to stop: go, as people do.
        if square > 2.0 * behaviour.EMERGENCY_DECELERATION_MPS2 * (ahead - 0.3) or ahead < 0.3:
            continue
        if ahead < best and _gives_way(world, state, w, a, k, start):
            best = ahead
    return best


@njit(cache=True)
def _halt(world, state, w, a, lead_gap, lead_speed, headway, desired):
    """(acceleration, halting distance) that lines and conflicts ahead allow."""
    front = front_m(state.kind[w, a])
    speed = np.float64(state.speed[w, a])
    reach = min(speed * speed / 3.0 + 15.0, behaviour.LOOKAHEAD_M)
    look = max(speed * speed / (2.0 * behaviour.COMFORTABLE_DECELERATION_MPS2), 6.0)
    start = -np.float64(state.along[w, a])
    allowed, halt = 100.0, np.float64(FAR_M)
    for i in range(UPCOMING_LANES):
        lane = state.path[w, a, i]
        if lane < 0 or start - front > reach:
            break
        if world.lane_kind[lane] != _ROAD:
            line, point = start - front, np.float64(FAR_M)
            if line > -0.5 and _must_stop_at(world, state, w, a, lane, start, line, lead_gap, lead_speed):
                point = line
            elif line < 25.0:
                point = _right_of_way_gap(world, state, w, a, lane, start, line)
            if point < behaviour.LOOKAHEAD_M:
                point -= behaviour.STOP_MARGIN_M
                halt = min(halt, max(point, 0.0))
                allowed = min(allowed, _stop_at(speed, desired, point, headway))
                if line > -0.5:
                    return allowed, halt
            for k in range(world.conflict_start[lane], world.conflict_start[lane + 1]):
                if line < look or world.conflict_kind[k] == _DIVERGE:
                    gap, other_speed = _occupied(world, state, w, a, k, start)
                    if gap < behaviour.LOOKAHEAD_M:
                        if world.conflict_kind[k] == _CROSS:
                            halt = min(halt, max(gap, 0.0))
                            allowed = min(allowed, _stop_at(speed, desired, gap, headway))
                        else:
                            allowed = min(allowed, _idm(speed, desired, gap, other_speed, headway))
        start += world.lane_length_m[lane]
    return allowed, halt


@njit(cache=True)
def _decide_world(world, state, decision, w):
    for a in range(state.kind.shape[1]):
        if state.kind[w, a] == _NOBODY:
            continue
        draw = uniform(state.seed[w], 0, 0, _DRIVER, a)
        if a == EGO:
            draw = np.float32(1.0)
        low, high = behaviour.DESIRED_SPEED_FACTOR
        factor = low + (high - low) * draw
        headway = behaviour.TIME_HEADWAY_S[1] - 0.6 * (1.0 - draw)
        speed = np.float64(state.speed[w, a])
        desired = _desired_speed(world, state, w, a, factor)
        gap, lead_speed = _leader(world, state, w, a)
        acceleration = _idm(speed, desired, gap, lead_speed, headway)
        allowed, halt = _halt(world, state, w, a, gap, lead_speed, headway, desired)
        # Who stands need not brake: no more than what stops within the step, and holds.
        strongest = min(speed / STEP_S + 0.5, behaviour.EMERGENCY_DECELERATION_MPS2)
        decision.acceleration[w, a] = max(min(acceleration, allowed), -strongest)
        decision.halt_m[w, a] = halt
        decision.lead_gap_m[w, a] = gap
        decision.lead_speed[w, a] = lead_speed


@njit(cache=True, parallel=True)
def decide(world: World, state: State, decision: Decision):
    """Fill the decision of every road user from the state; reads only the state, so order does not matter."""
    for index in prange(state.seed.shape[0]):
        # One call with a signed index: prange counts in uint64, for which all callees would be compiled again.
        _decide_world(world, state, decision, np.int64(index))
