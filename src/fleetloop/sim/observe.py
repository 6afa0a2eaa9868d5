"""What a car knows of its surroundings: the scene that its cameras see, and what a phone would tell it."""

import math

import numpy as np
from jaxtyping import Float32
from numba import njit, prange

from fleetloop.core.kernels import device
from fleetloop.core.types import (
    NAVIGATION_VALUES,
    SCENE_AGENTS,
    UPCOMING_LANES,
    AgentKind,
    LaneKind,
    Scene,
    Script,
    State,
    World,
)
from fleetloop.sim.bus_stops import is_dwelling
from fleetloop.sim.daytime import hour_of
from fleetloop.sim.paths import FAR_M, LEVEL_M, height_of, turn_of, wrap
from fleetloop.sim.scripts import blocks, has_begun

_NOBODY, _JUNCTION, _CONNECTOR = int(AgentKind.NONE), int(LaneKind.JUNCTION), int(LaneKind.CONNECTOR)
_NO_SCRIPT, _PULL_OUT = int(Script.NONE), int(Script.PULL_OUT)
HINT_RANGE_M = 600.0
"""Junctions further away are not announced: 16 s before at the highest limit."""
SHARP_BEND = 0.7
"""Bends of the road that turn by more (40 degrees) are announced like junctions,"""
TIGHT_BEND, TIGHT_BEND_1PM = 0.2, 0.02
"""and so are those of a radius below 50 m that turn by more than 11 degrees, nobody drives them at 40 km/h: whole lanes
that join two roads, and the bends of a road."""
LONGEST_BEND = 2.8
"""Bends of a road that turn by more are told in pieces: half a turn to the left would read as one to the right."""
ASIDE_M = 1.5
"""So is where the way goes to another lane: it ends so far beside the arc that its angle and its length make."""
BRAKE_LIGHT_MPS2 = -0.5
_BRAKING, _LEFT, _RIGHT = 1, 2, 4
_GRADE = 0.08
"""Roads seldom climb more steeply."""


def empty_scene(worlds: int) -> Scene:
    """A Scene to be filled by `see`."""
    return Scene(
        town=np.zeros(worlds, np.int32),
        clock_s=np.zeros(worlds, np.float32),
        ego_pose=np.zeros((worlds, 3), np.float32),
        agent_pose=np.zeros((worlds, SCENE_AGENTS, 3), np.float32),
        agent_kind=np.full((worlds, SCENE_AGENTS), _NOBODY, np.uint8),
        agent_colour=np.zeros((worlds, SCENE_AGENTS), np.uint8),
        agent_lights=np.zeros((worlds, SCENE_AGENTS), np.uint8),
    )


@device
def _lights(world, state, w, a):
    lights = 0
    if state.acceleration[w, a] < BRAKE_LIGHT_MPS2 or state.speed[w, a] < 0.1:
        lights |= _BRAKING
    if state.path[w, a, 0] < 0:
        return lights
    if state.script[w, a] != _NO_SCRIPT and blocks(state, w, a):
        # Hazard lights: both.
        return lights | _LEFT | _RIGHT
    kerb, road = (_LEFT, _RIGHT) if world.town_left_hand[state.town[w]] else (_RIGHT, _LEFT)
    if state.script[w, a] == _PULL_OUT and state.offset[w, a] != 0.0:
        return lights | road if has_begun(state, w, a) else 0
    if is_dwelling(world, state, w, a):
        return lights | kerb
    ahead = -state.along[w, a]
    for i in range(4):
        lane = state.path[w, a, i]
        if lane < 0 or ahead > 30.0:
            break
        if world.lane_kind[lane] == _JUNCTION:
            turn = turn_of(world, lane)
            if turn > 0.6:
                lights |= _LEFT
            elif turn < -0.6:
                lights |= _RIGHT
            break
        ahead += world.lane_length_m[lane]
    return lights


@device
def next_nearest(world, state, w, viewer, after, last):
    """(squared distance, agent) of whoever comes next by distance from the viewer; (FAR_M, -1) after the last one."""
    best, chosen = np.float64(FAR_M), -1
    for a in range(state.kind.shape[1]):
        if a == viewer or state.kind[w, a] == _NOBODY:
            continue
        dx = np.float64(state.pose[w, a, 0] - state.pose[w, viewer, 0])
        dy = np.float64(state.pose[w, a, 1] - state.pose[w, viewer, 1])
        square = dx * dx + dy * dy
        is_next = square > after or (square == after and a > last)
        # Who passes on another level is hidden by the bridge.
        if is_next and square < best and _in_sight(world, state, w, viewer, a, square):
            best, chosen = square, a
    return best, chosen


@device
def _in_sight(world, state, w, viewer, a, square):
    """Whether no bridge is between: roads climb a bit, and who is off the lanes is on any level."""
    if state.path[w, viewer, 0] < 0 or state.path[w, a, 0] < 0:
        return True
    apart = abs(height_of(world, state, w, viewer) - height_of(world, state, w, a))
    return apart < LEVEL_M or apart < LEVEL_M + _GRADE * math.sqrt(square)


@device(entry=False)
def see_scene(world, state, scene, w, viewer):
    """Fill the scene of world w with the nearest road users around an agent."""
    scene.town[w] = state.town[w]
    scene.clock_s[w] = state.clock_s[w]
    for axis in range(3):
        scene.ego_pose[w, axis] = state.pose[w, viewer, axis]
    square, a = -1.0, -1
    for i in range(SCENE_AGENTS):
        square, a = next_nearest(world, state, w, viewer, square, a)
        if a < 0:
            # Nobody is left; later rounds start beyond everybody.
            square = np.float64(FAR_M)
            scene.agent_kind[w, i] = _NOBODY
            for axis in range(3):
                scene.agent_pose[w, i, axis] = 0.0
            scene.agent_colour[w, i] = 0
            scene.agent_lights[w, i] = 0
            continue
        scene.agent_kind[w, i] = state.kind[w, a]
        for axis in range(3):
            scene.agent_pose[w, i, axis] = state.pose[w, a, axis]
        scene.agent_colour[w, i] = state.colour[w, a]
        scene.agent_lights[w, i] = _lights(world, state, w, a)


@njit(cache=True, parallel=True)
def see(world: World, state: State, scene: Scene, agent):
    """Fill the scene with the nearest road users around an agent of each world."""
    for index in prange(state.seed.shape[0]):
        # One call with a signed index: prange counts in uint64, for which all callees would be compiled again.
        see_scene(world, state, scene, np.int64(index), np.int64(agent))


@device
def _announced(world, lane):
    """Whether a phone speaks of this lane: where the car crosses a junction or changes to another lane, or the road
    turns sharply."""
    kind = world.lane_kind[lane]
    if kind != _CONNECTOR:
        return kind == _JUNCTION
    turn, length = turn_of(world, lane), np.float64(world.lane_length_m[lane])
    if abs(turn) > min(max(TIGHT_BEND, TIGHT_BEND_1PM * length), SHARP_BEND):
        return True
    arc = length * (1.0 - math.cos(turn)) / turn if abs(turn) > 1e-3 else 0.0
    first = world.lane_first_point[lane]
    last = first + world.lane_point_count[lane] - 1
    x, y = np.float64(world.points[first, 0]), np.float64(world.points[first, 1])
    _, aside = _end_of(world, first, last, x, y, np.float64(world.headings[first]))
    return abs(aside - arc) > ASIDE_M


@device
def _next_bend(world, point, last, spacing):
    """(first, last point) of the next tight bend from a point on, within a lane that is not announced as a whole."""
    least = TIGHT_BEND_1PM * spacing
    while point < last:
        # Most of a road is straight, and this is asked of every metre of it.
        if abs(world.headings[point + 1] - world.headings[point]) <= least:
            point += 1
            continue
        begin, turn = point, 0.0
        bend = wrap(np.float64(world.headings[point + 1] - world.headings[point]))
        side = 1.0 if bend > 0.0 else -1.0
        while point < last and side * bend > least and abs(turn) < LONGEST_BEND:
            turn += bend
            point += 1
            if point < last:
                bend = wrap(np.float64(world.headings[point + 1] - world.headings[point]))
        if abs(turn) > TIGHT_BEND:
            return begin, point
        point += point == begin
    return -1, -1


@device
def _end_of(world, first, last, x, y, heading):
    """(metres ahead, metres to the left) of where a turn ends, seen by whoever is at (x, y) and heads there.

    To the metre, for a map knows the lanes but not their middles: the end is moved to where it is whole metres ahead
    and aside of the turn's first point.
    """
    begin_x, begin_y = np.float64(world.points[first, 0]), np.float64(world.points[first, 1])
    chord_x, chord_y = world.points[last, 0] - begin_x, world.points[last, 1] - begin_y
    along = np.float64(world.headings[first])
    cosine, sine = math.cos(along), math.sin(along)
    ahead = math.floor(chord_x * cosine + chord_y * sine + 0.5)
    aside = math.floor(chord_y * cosine - chord_x * sine + 0.5)
    from_x = begin_x + ahead * cosine - aside * sine - x
    from_y = begin_y + ahead * sine + aside * cosine - y
    cosine, sine = math.cos(heading), math.sin(heading)
    return from_x * cosine + from_y * sine, from_y * cosine - from_x * sine


@device
def _tell_turn(world, state, navigation, w, viewer, found, first, last, start_m, length_m):
    """Write the turn between two points, `start_m` from the viewer and so long, as the hint of this number."""
    turn = wrap(np.float64(world.headings[last] - world.headings[first]))
    x, y = np.float64(world.points[first, 0]), np.float64(world.points[first, 1])
    heading = np.float64(world.headings[first])
    if start_m <= 0.0:
        x, y = np.float64(state.pose[w, viewer, 0]), np.float64(state.pose[w, viewer, 1])
        heading = np.float64(state.pose[w, viewer, 2])
        # What is left: of all angles that lead there, the one nearest to the whole turn's.
        turn += wrap(np.float64(world.headings[last]) - heading - turn)
    navigation[w, 3 * found] = max(start_m, 0.0)
    navigation[w, 3 * found + 1] = turn
    navigation[w, 3 * found + 2] = length_m + min(start_m, 0.0)
    ahead, aside = _end_of(world, first, last, x, y, heading)
    navigation[w, 6 + 2 * found] = ahead
    navigation[w, 7 + 2 * found] = aside


@device(entry=False)
def navigate_one(world, state, navigation, w, viewer):
    """Fill the navigation hint of an agent of world w."""
    start, found = -np.float64(state.along[w, viewer]), 0
    for value in range(NAVIGATION_VALUES):
        navigation[w, value] = HINT_RANGE_M if value in (0, 3) else 0.0
    if state.kind[w, viewer] == _NOBODY:
        return
    for i in range(UPCOMING_LANES):
        lane = state.path[w, viewer, i]
        if lane < 0 or start > HINT_RANGE_M or found == 2:
            break
        first = np.int64(world.lane_first_point[lane])
        last = first + world.lane_point_count[lane] - 1
        length = np.float64(world.lane_length_m[lane])
        if _announced(world, lane):
            _tell_turn(world, state, navigation, w, viewer, found, first, last, start, length)
            found += 1
        else:
            spacing = np.float64(world.lane_spacing_m[lane])
            begin, end = _next_bend(world, first, last, spacing)
            while begin >= 0 and found < 2:
                begin_m, end_m = start + (begin - first) * spacing, start + (end - first) * spacing
                if begin_m > HINT_RANGE_M:
                    break
                if end_m > 0.0:
                    _tell_turn(
                        world, state, navigation, w, viewer, found, begin, end, begin_m, end_m - begin_m
                    )
                    found += 1
                begin, end = _next_bend(world, end, last, spacing)
        start += length


@device
def navigate(world: World, state: State, navigation: Float32[np.ndarray, "W 10"], viewer):
    """Fill the navigation hint of an agent of each world: metres to the next junction (or sharp bend, or change of
    lane), the signed angle to take there, positive to the left, and the metres over which it is taken; the same for the
    one after; then where each of the two ends, metres ahead and to the left of where it begins (`_end_of`).

    While the agent is in the junction the distance is 0, the angle is what is left to turn from its present heading,
    as the arrow of a phone that is mounted in the car turns with it, the length is what is left to drive, and the end
    is told as it lies from the agent.
    """
    for w in range(state.seed.shape[0]):
        navigate_one(world, state, navigation, w, viewer)


@device
def tell_time(state: State, time_of_day_h: Float32[np.ndarray, " W"]):
    """Fill the time of day, hours."""
    for w in range(state.seed.shape[0]):
        time_of_day_h[w] = hour_of(state, w)
