"""Who goes first: signals, signs, crossings, and the room that there is behind a junction."""

import math

import numpy as np

from fleetloop.core.kernels import device
from fleetloop.core.types import (
    UPCOMING_LANES,
    VEHICLE_SIZES,
    AgentKind,
    ConflictKind,
    Control,
    LaneKind,
    SignalColour,
)
from fleetloop.sim import behaviour
from fleetloop.sim.following import front_m, idm, is_on_foot, stop_at
from fleetloop.sim.occupancy import first_entry
from fleetloop.sim.paths import FAR_M
from fleetloop.sim.signals import signal_colour

_ROAD, _WALK, _CROSSING = int(LaneKind.ROAD), int(LaneKind.WALK), int(LaneKind.CROSSING)
_CONNECTOR = int(LaneKind.CONNECTOR)
_EMERGENCY = int(AgentKind.EMERGENCY)
_SIGNAL, _STOP = int(Control.SIGNAL), int(Control.STOP)
_RED, _YELLOW = int(SignalColour.RED), int(SignalColour.YELLOW)
_CROSS, _MERGE, _DIVERGE = int(ConflictKind.CROSS), int(ConflictKind.MERGE), int(ConflictKind.DIVERGE)

_ZIP_M = 18.0
"""This far before two lanes become one, people sort themselves out."""
_ZIP_SHARE = 0.5
"""Metres of gap that are still to be gained, for each metre before the place where the two become one."""
_BEHIND_M = 2.0
"""Between two that merge, at least."""
_SPEEDING = 1.1
"""Nobody who comes is expected to drive faster than this times the limit, unless it does."""
_EXIT_M = 6.0
"""A crossing this far along a connector is at the junction's exit, where there is room to wait before it."""
_NEAREST_M, _EDGE_M = 0.3, 0.5
"""Nobody stops any more who is nearer than this to where it would have to wait, or to the junction's edge."""
_DECIDED_M = 35.0
"""Right of way is decided this much nearer than one looks ahead: 25 m before the line in a town."""
_MERGED_MPS = 7.0
"""The speed that somebody who has to give way has reached when merging, at least."""


@device
def _time_to(distance, speed, acceleration, top):
    """Seconds to cover a distance when accelerating from `speed` up to `top`."""
    if distance <= 0.0:
        return 0.0
    top = max(top, speed, 0.5)
    gained = (top * top - speed * speed) / (2.0 * acceleration)
    if distance <= gained:
        return (math.sqrt(speed * speed + 2.0 * acceleration * distance) - speed) / acceleration
    return (top - speed) / acceleration + (distance - gained) / top


@device
def _may_enter(world, state, w, other, lane, start):
    """Whether an approaching road user could enter its connector now: its signal is not red."""
    if start > -front_m(state.kind[w, other]):
        return True
    if world.lane_control[lane] != _SIGNAL:
        return True
    return signal_colour(world, world.lane_signal[lane], state.clock_s[w]) != _RED


@device
def _is_held_up(state, occupancy, w, b):
    """Whether somebody stands ahead of b in its lane: b cannot come before that one has gone."""
    if is_on_foot(state.kind[w, b]):
        return False
    lane = state.path[w, b, 0]
    entry = first_entry(occupancy, w, lane)
    while entry >= 0:
        c = np.int64(occupancy.agent[w, entry])
        stands = occupancy.lane[w, entry] == lane and c != b and state.wait_s[w, c] > 0.5
        if stands and occupancy.position[w, entry] > state.along[w, b]:
            return True
        entry = np.int64(occupancy.following[w, entry])
    return False


@device
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


@device
def _comes_between(
    world, state, occupancy, w, a, b, k, position, inside, time_in, time_out, speed_out, forces
):
    """Whether b, `position` metres along the other connector of conflict k, could be there while a is.

    That is from `time_in` to `time_out`, when a drives at `speed_out`. Who `forces` its way will be
    there, whatever its signal shows.
    """
    lane = world.conflict_lane[k]
    kind = state.kind[w, b]
    front = position + front_m(kind)
    rear = front - VEHICLE_SIZES[kind, 0]
    if rear > world.conflict_other_to_m[k] or _lets_go_first(world, state, w, a, b, lane, front, inside):
        return False
    if not forces and not _may_enter(world, state, w, b, lane, position):
        return False
    if position < 0.0 and _is_held_up(state, occupancy, w, b):
        return False
    # The soonest it could be there, and the latest it could be gone.
    speed = np.float64(state.speed[w, b])
    on_foot = is_on_foot(kind)
    soon_top, late_top = 1.8, 1.0
    if not on_foot:
        limit = max(world.lane_speed_limit_mps[lane], world.lane_speed_limit_mps[state.path[w, b, 0]])
        soon_top = max(min(max(speed + 2.0, 8.0), _SPEEDING * limit), speed)
        late_top = max(min(5.0, limit), speed)
    begin, end = np.float64(world.conflict_other_from_m[k]), np.float64(world.conflict_other_to_m[k])
    if world.conflict_kind[k] == _MERGE:
        # The one follows the other then: it needs room to slow down, not the whole way for itself.
        slower = max(soon_top - speed_out, 0.0)
        end = begin + _BEHIND_M
        begin -= _BEHIND_M + slower * slower / (2.0 * behaviour.COMFORTABLE_DECELERATION_MPS2)
    soon = _time_to(begin - front, speed, 2.0, soon_top)
    late = _time_to(end - rear, max(speed, 0.5), 0.5, late_top)
    impatience = min(state.wait_s[w, a] / behaviour.IMPATIENT_S, 1.0)
    margin = behaviour.GAP_MARGIN_S + (behaviour.SHORTEST_GAP_MARGIN_S - behaviour.GAP_MARGIN_S) * impatience
    if state.learner[w, a]:
        margin += behaviour.DEMONSTRATED_GAP_MARGIN_S
    if world.conflict_kind[k] == _MERGE and speed > behaviour.BRISK_MPS:
        # Nor may it have to brake hard afterwards, behind somebody who is much slower.
        slower = max(speed - max(np.float64(state.speed[w, a]), _MERGED_MPS), 0.0)
        margin += slower * slower / (2.0 * behaviour.SAFE_DECELERATION_MPS2 * speed)
    return soon - margin < time_out and late + margin > time_in


@device
def _will_not_stop(world, state, w, a, b, k, position):
    """Whether b would have to brake so hard to stop before conflict k that a, who has priority, does not rely on it."""
    room = world.conflict_other_from_m[k] - position - front_m(state.kind[w, b])
    speed = np.float64(state.speed[w, b])
    expected = behaviour.EXPECTED_DECELERATION_MPS2
    if is_on_foot(state.kind[w, a]):
        expected = behaviour.COMFORTABLE_DECELERATION_MPS2
    return speed > behaviour.CREEP_SPEED_MPS and speed * speed > 2.0 * expected * max(room, 0.0)


@device
def _gives_way(world, state, occupancy, w, a, k, start):
    """Whether agent a, whose connector starts `start` metres ahead, must wait for somebody in conflict k."""
    other = world.conflict_lane[k]
    entry = first_entry(occupancy, w, other)
    if entry < 0:
        return False
    kind = state.kind[w, a]
    speed = np.float64(state.speed[w, a])
    inside = start < front_m(kind)
    lane_limit = world.lane_speed_limit_mps[other]
    top = 1.4 if is_on_foot(kind) else min(7.0, np.float64(lane_limit))
    enter = start + world.conflict_from_m[k] - front_m(kind)
    # Where two ways become one, a is out of the other's way when it is wholly in it, and ahead.
    last = world.conflict_from_m[k] if world.conflict_kind[k] == _MERGE else world.conflict_to_m[k]
    leave = start + last - front_m(kind) + VEHICLE_SIZES[kind, 0]
    speed_out = min(
        math.sqrt(speed * speed + 2.0 * behaviour.MAXIMUM_ACCELERATION_MPS2 * max(leave, 0.0)),
        max(top, speed),
    )
    time_in = _time_to(enter, speed, behaviour.MAXIMUM_ACCELERATION_MPS2, top)
    time_out = _time_to(leave, speed, behaviour.MAXIMUM_ACCELERATION_MPS2, top)
    has_priority = not world.conflict_yield[k]
    while entry >= 0:
        b = np.int64(occupancy.agent[w, entry])
        if occupancy.lane[w, entry] == other and b != a:
            position = np.float64(occupancy.position[w, entry])
            # Everybody gives way to blue lights.
            forces = state.kind[w, b] == _EMERGENCY or _will_not_stop(world, state, w, a, b, k, position)
            if (forces or not has_priority) and _comes_between(
                *(world, state, occupancy, w, a, b, k, position, inside, time_in, time_out, speed_out, forces)
            ):
                return True
        entry = np.int64(occupancy.following[w, entry])
    return False


@device
def _lets_in(world, state, occupancy, w, a, lane, k, line):
    """Whether a, who has priority in conflict k and drives slowly, lets somebody go first who has stood there long.

    Who stands as long as it takes to drive up to the junction is seen to wait.
    """
    other = world.conflict_lane[k]
    kind = world.lane_kind[other]
    signals = world.lane_control[other] == _SIGNAL or world.lane_control[lane] == _SIGNAL
    if kind in (_CROSSING, _WALK) or signals:
        return False
    square = np.float64(state.speed[w, a]) ** 2
    late = square > 2.0 * behaviour.BEND_DECELERATION_MPS2 * max(line - behaviour.STOP_MARGIN_M, 0.0)
    if (
        (late and square > 0.1)
        or square > behaviour.LETS_IN_BELOW_MPS**2
        or state.wait_s[w, a] > behaviour.LETS_IN_S
    ):
        return False
    entry = first_entry(occupancy, w, other)
    while entry >= 0:
        b = np.int64(occupancy.agent[w, entry])
        if occupancy.lane[w, entry] == other and b != a:
            front = np.float64(occupancy.position[w, entry]) + front_m(state.kind[w, b])
            waits = (
                state.wait_s[w, b] > state.wait_s[w, a] + behaviour.LET_IN_AFTER_S and state.speed[w, b] < 1.5
            )
            if waits and front > -2.5 and front < world.conflict_other_from_m[k]:
                return True
        entry = np.int64(occupancy.following[w, entry])
    return False


@device
def _in_the_way(world, state, w, a, b, k, position, start, at_line):
    """(gap, speed) that b, `position` metres along the other connector of conflict k, leaves a; FAR_M if it does not
    matter."""
    front = front_m(state.kind[w, a])
    line = start - front
    enter = line + world.conflict_from_m[k]
    other_front = position + front_m(state.kind[w, b])
    other_rear = other_front - VEHICLE_SIZES[state.kind[w, b], 0]
    if other_rear > world.conflict_other_to_m[k] + 0.3:
        return np.float64(FAR_M), 0.0
    inside = other_front > world.conflict_other_from_m[k] - 0.3
    # Two that turn into one lane side by side sort themselves out before they meet.
    # Where a lane ends there is no line to wait at: they do so before it.
    early = _ZIP_M if world.lane_kind[world.conflict_lane[k]] == _CONNECTOR else 0.0
    merging = world.conflict_kind[k] == _MERGE and other_front > -early and state.speed[w, b] > 0.5
    if not inside and not merging:
        return np.float64(FAR_M), 0.0
    if world.conflict_kind[k] == _CROSS:
        # Wait for those who move close by, for those who stand outside: or all block each other.
        waits = state.wait_s[w, b] > 1.0 and not is_on_foot(state.kind[w, b])
        point = line if at_line and waits else enter
        return (point - behaviour.STOP_MARGIN_M if enter > -0.5 else np.float64(FAR_M)), 0.0
    # Merging or diverging: follow whoever's front is further on, measured from the common end.
    mine, theirs = start, -position
    if world.conflict_kind[k] == _MERGE:
        mine = start + world.conflict_to_m[k]
        theirs = world.conflict_other_to_m[k] - position
    gap = mine - theirs - front - VEHICLE_SIZES[state.kind[w, b], 3]
    lead = mine - front - theirs + front_m(state.kind[w, b])
    ahead = lead > 0.0 or (lead == 0.0 and b < a)
    if not inside:
        # There is time left to fall back.
        gap = max(gap + _ZIP_SHARE * max(enter, 0.0), 0.35 * enter)
    return (gap if ahead else np.float64(FAR_M)), np.float64(state.speed[w, b])


@device
def _occupied(world, state, occupancy, w, a, k, start):
    """(gap, speed) to stop before, or to follow, somebody whose body is in conflict k; FAR_M if there is nobody."""
    other = world.conflict_lane[k]
    best, best_speed = np.float64(FAR_M), 0.0
    entry = first_entry(occupancy, w, other)
    line = start - front_m(state.kind[w, a])
    at_line = np.float64(state.speed[w, a]) ** 2 <= 2.0 * behaviour.LINE_DECELERATION_MPS2 * line
    while entry >= 0:
        b = np.int64(occupancy.agent[w, entry])
        position = np.float64(occupancy.position[w, entry])
        # A body reaches no farther back than a bus is long.
        if occupancy.lane[w, entry] == other and b != a and position > -_ZIP_M - 12.0:
            gap, speed = _in_the_way(world, state, w, a, b, k, position, start, at_line)
            if gap < best:
                best, best_speed = gap, speed
        entry = np.int64(occupancy.following[w, entry])
    return best, best_speed


@device
def _can_stay_outside(kind, speed, line):
    """Whether a driver can still stop outside the junction, be it past the line: for somebody on foot, or too late."""
    room = line + behaviour.ENTRY_M
    # Who walks is on the road there.
    if is_on_foot(kind) or room <= 0.0:
        return False
    return speed * speed <= max(2.0 * behaviour.YELLOW_DECELERATION_MPS2 * room, 1.0)


@device
def _must_stop_at(world, state, w, a, lane, start, line, exit_gap, exit_speed):
    """Whether agent a must stop at the line before a connector, whoever comes: for a lamp, a sign or want of room."""
    speed = np.float64(state.speed[w, a])
    if world.lane_control[lane] == _SIGNAL:
        colour = signal_colour(world, world.lane_signal[lane], state.clock_s[w])
        if colour == _RED:
            return True
        if colour == _YELLOW:
            # The demonstrator also where it takes the room beyond the line: who learns from it brakes a little late,
            # and is then not to be told to go on after all.
            if state.learner[w, a]:
                return _can_stay_outside(state.kind[w, a], speed, line)
            return speed * speed <= 2.0 * behaviour.YELLOW_DECELERATION_MPS2 * max(line, 0.01)
    # Never stop in the middle of a junction: enter only when there is room behind it.
    room = exit_gap + front_m(state.kind[w, a]) - start - world.lane_length_m[lane]
    full = exit_speed < 2.0 and room < VEHICLE_SIZES[state.kind[w, a], 0] + 2.0 and exit_gap > line
    if full and world.conflict_start[lane + 1] > world.conflict_start[lane]:
        return True
    return world.lane_control[lane] == _STOP and line > 0.0 and (line > 2.0 or state.wait_s[w, a] < 0.2)


@device
def _right_of_way_gap(world, state, occupancy, w, a, lane, start, line):
    """Metres from the front bumper to where agent a waits, and to where it must wait by the rules; FAR_M if it may go.

    That is the line, or the crossing at the junction's exit; for those who cannot stop at the line any more, the
    place where the others' way begins, and before it the junction's edge for the demonstrator. The two differ where
    others take a right of way that is not theirs: nobody may count on being let through.
    """
    speed = np.float64(state.speed[w, a])
    square = speed**2
    at_line = line > _NEAREST_M and square <= 2.0 * behaviour.LINE_DECELERATION_MPS2 * line
    edge = line + behaviour.ENTRY_M
    at_edge = state.learner[w, a] and edge > _EDGE_M and _can_stay_outside(state.kind[w, a], speed, line)
    # Where it comes to stand in comfort, if that is before the edge.
    edge = min(edge, behaviour.STOP_MARGIN_M + square / (2.0 * behaviour.COMFORTABLE_DECELERATION_MPS2))
    best, due = np.float64(FAR_M), np.float64(FAR_M)
    for k in range(world.conflict_start[lane], world.conflict_start[lane + 1]):
        first = not world.conflict_yield[k] and world.conflict_kind[k] != _DIVERGE
        if first and 0.0 < line < best and _lets_in(world, state, occupancy, w, a, lane, k, line):
            best = line
        if not world.conflict_yield[k] and world.conflict_kind[k] != _CROSS:
            continue
        ahead = start + world.conflict_from_m[k] - front_m(state.kind[w, a])
        is_exit = world.lane_kind[world.conflict_lane[k]] == _CROSSING and world.conflict_from_m[k] > _EXIT_M
        if at_line and not is_exit:
            ahead = line
        elif at_edge and not is_exit:
            ahead = min(ahead, edge)
        # Too late to stop: go, as people do.
        late = square > 2.0 * behaviour.EMERGENCY_DECELERATION_MPS2 * (ahead - _NEAREST_M)
        if late or ahead < _NEAREST_M:
            continue
        if ahead < max(best, due) and _gives_way(world, state, occupancy, w, a, k, start):
            best = min(best, ahead)
            if world.conflict_yield[k]:
                due = min(due, ahead)
    return best, due


@device
def halt(world, state, occupancy, w, a, lead_gap, lead_speed, headway, desired):
    """(acceleration, halting distance) that lines, crossings and conflicts ahead allow."""
    front = front_m(state.kind[w, a])
    speed = np.float64(state.speed[w, a])
    far = behaviour.look_ahead_m(speed)
    reach = min(speed * speed / 3.0 + 15.0, far)
    look = max(speed * speed / (2.0 * behaviour.COMFORTABLE_DECELERATION_MPS2), 6.0)
    start = -np.float64(state.along[w, a])
    allowed, stop = 100.0, np.float64(FAR_M)
    for i in range(UPCOMING_LANES):
        lane = state.path[w, a, i]
        if lane < 0 or start - front > reach:
            break
        kind = world.lane_kind[lane]
        if kind != _ROAD and kind != _WALK:
            line, point, due = start - front, np.float64(FAR_M), np.float64(FAR_M)
            before = line > -0.5 or _can_stay_outside(state.kind[w, a], speed, line)
            if before and _must_stop_at(world, state, w, a, lane, start, line, lead_gap, lead_speed):
                point, due = line, line
            elif line < far - _DECIDED_M:
                point, due = _right_of_way_gap(world, state, occupancy, w, a, lane, start, line)
            if due < far:
                stop = min(stop, max(due - behaviour.STOP_MARGIN_M, 0.0))
            if point < far:
                short = point - behaviour.STOP_MARGIN_M
                allowed = min(allowed, stop_at(speed, desired, short, headway))
                if point <= line and line > -0.5:
                    return allowed, stop
            for k in range(world.conflict_start[lane], world.conflict_start[lane + 1]):
                if line < look or world.conflict_kind[k] == _DIVERGE:
                    gap, other_speed = _occupied(world, state, occupancy, w, a, k, start)
                    if gap < far:
                        if world.conflict_kind[k] == _CROSS:
                            stop = min(stop, max(gap, 0.0))
                            allowed = min(allowed, stop_at(speed, desired, gap, headway))
                        else:
                            allowed = min(allowed, idm(speed, desired, gap, other_speed, headway))
        start += world.lane_length_m[lane]
    return allowed, stop


@device
def _is_not_ones_turn(world, state, w, lane):
    """Whether a lamp or the right of way asks somebody to wait before a connector."""
    if world.lane_control[lane] == _SIGNAL:
        colour = signal_colour(world, world.lane_signal[lane], state.clock_s[w])
        return colour in (_RED, _YELLOW)
    waits = 0
    for k in range(world.conflict_start[lane], world.conflict_start[lane + 1]):
        waits += world.conflict_yield[k]
    return waits > 0


@device
def force_through(world, state, occupancy, w, a, headway, desired):
    """Acceleration of an emergency vehicle at the junctions ahead: slowly where it is not its turn, and into nobody."""
    front = front_m(state.kind[w, a])
    speed = np.float64(state.speed[w, a])
    far = behaviour.look_ahead_m(speed)
    start, allowed = -np.float64(state.along[w, a]), 100.0
    for i in range(UPCOMING_LANES):
        lane = state.path[w, a, i]
        if lane < 0 or start - front > far:
            break
        kind = world.lane_kind[lane]
        if kind != _ROAD and kind != _WALK:
            line = start - front
            if _is_not_ones_turn(world, state, w, lane):
                square = behaviour.WARY_MPS**2 + 2.0 * behaviour.BEND_DECELERATION_MPS2 * max(line, 0.0)
                slow = min(desired, math.sqrt(square))
                allowed = min(allowed, idm(speed, slow, np.float64(FAR_M), 0.0, headway))
            for k in range(world.conflict_start[lane], world.conflict_start[lane + 1]):
                gap, other_speed = _occupied(world, state, occupancy, w, a, k, start)
                if gap < far:
                    if world.conflict_kind[k] == _CROSS:
                        allowed = min(allowed, stop_at(speed, desired, gap, headway))
                    else:
                        allowed = min(allowed, idm(speed, desired, gap, other_speed, headway))
        start += world.lane_length_m[lane]
    return allowed
