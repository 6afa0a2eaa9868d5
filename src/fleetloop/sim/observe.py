"""What a car knows of its surroundings: the scene that its cameras see, and what a phone would tell it."""

import numpy as np
from jaxtyping import Float32
from numba import njit, prange

from fleetloop.core.random import Stream, uniform
from fleetloop.core.types import (
    EGO,
    SCENE_AGENTS,
    STEP_S,
    UPCOMING_LANES,
    AgentKind,
    LaneKind,
    Scene,
    State,
    World,
)
from fleetloop.sim.paths import FAR_M, wrap

_NOBODY, _JUNCTION = int(AgentKind.NONE), int(LaneKind.JUNCTION)
_CLOCK = int(Stream.CLOCK)
HINT_RANGE_M = 150.0
"""Junctions further away are not announced."""
BRAKE_LIGHT_MPS2 = -0.5
_BRAKING, _LEFT, _RIGHT = 1, 2, 4


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


@njit(cache=True)
def _turn_of(world, lane):
    """Signed angle of a connector; positive to the left."""
    first = world.lane_first_point[lane]
    last = first + world.lane_point_count[lane] - 1
    return wrap(np.float64(world.headings[last] - world.headings[first]))


@njit(cache=True)
def _lights(world, state, w, a):
    lights = 0
    if state.acceleration[w, a] < BRAKE_LIGHT_MPS2 or state.speed[w, a] < 0.1:
        lights |= _BRAKING
    ahead = -state.along[w, a]
    for i in range(4):
        lane = state.path[w, a, i]
        if lane < 0 or ahead > 30.0:
            break
        if world.lane_kind[lane] == _JUNCTION:
            turn = _turn_of(world, lane)
            if turn > 0.6:
                lights |= _LEFT
            elif turn < -0.6:
                lights |= _RIGHT
            break
        ahead += world.lane_length_m[lane]
    return lights


@njit(cache=True)
def _see_world(world, state, w, scene):
    agents = state.kind.shape[1]
    distance = np.full(agents, FAR_M)
    for a in range(1, agents):
        if state.kind[w, a] != _NOBODY:
            dx = state.pose[w, a, 0] - state.pose[w, EGO, 0]
            dy = state.pose[w, a, 1] - state.pose[w, EGO, 1]
            distance[a] = dx * dx + dy * dy
    # Selection sort: the lists are short, and nearest first is the order wanted.
    for i in range(SCENE_AGENTS):
        nearest = np.int64(EGO)
        for a in range(1, agents):
            if distance[a] < distance[nearest]:
                nearest = a
        scene.agent_kind[w, i] = _NOBODY
        scene.agent_pose[w, i] = 0.0
        scene.agent_colour[w, i] = 0
        scene.agent_lights[w, i] = 0
        if nearest != EGO:
            distance[nearest] = FAR_M
            scene.agent_kind[w, i] = state.kind[w, nearest]
            scene.agent_pose[w, i] = state.pose[w, nearest]
            scene.agent_colour[w, i] = state.colour[w, nearest]
            scene.agent_lights[w, i] = _lights(world, state, w, nearest)


@njit(cache=True)
def _see_scene(world, state, scene, w):
    scene.town[w] = state.town[w]
    scene.clock_s[w] = state.clock_s[w]
    scene.ego_pose[w] = state.pose[w, EGO]
    _see_world(world, state, w, scene)


@njit(cache=True, parallel=True)
def see(world: World, state: State, scene: Scene):
    """Fill the scene with the nearest road users around the learner of each world."""
    for index in prange(state.seed.shape[0]):
        # One call with a signed index: prange counts in uint64, for which all callees would be compiled again.
        _see_scene(world, state, scene, np.int64(index))


@njit(cache=True)
def navigate(world: World, state: State, navigation: Float32[np.ndarray, "W 4"]):
    """Fill the navigation hint: metres to the next junction and signed angle to take there, twice."""
    for w in range(state.seed.shape[0]):
        start, found = -np.float64(state.along[w, EGO]), 0
        navigation[w] = np.array([HINT_RANGE_M, 0.0, HINT_RANGE_M, 0.0], np.float32)
        if state.kind[w, EGO] == _NOBODY:
            continue
        for i in range(UPCOMING_LANES):
            lane = state.path[w, EGO, i]
            if lane < 0 or start > HINT_RANGE_M or found == 2:
                break
            if world.lane_kind[lane] == _JUNCTION:
                navigation[w, 2 * found] = max(start, 0.0)
                navigation[w, 2 * found + 1] = _turn_of(world, lane)
                found += 1
            start += world.lane_length_m[lane]


@njit(cache=True)
def tell_time(state: State, time_of_day_h: Float32[np.ndarray, " W"]):
    """Fill the time of day: each world starts between 8 and 18 o'clock."""
    for w in range(state.seed.shape[0]):
        start = 8.0 + 10.0 * uniform(state.seed[w], 0, 0, _CLOCK, 0)
        time_of_day_h[w] = (start + state.step[w] * STEP_S / 3600.0) % 24.0
