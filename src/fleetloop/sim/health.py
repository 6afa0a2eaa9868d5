"""Finds worlds whose numbers went wrong, so that each is named and retired and the others drive on."""

import numpy as np
from jaxtyping import Int32
from numba import njit, prange

from fleetloop.core.kernels import device
from fleetloop.core.types import AgentKind, State, World

_NOBODY = int(AgentKind.NONE)
FARTHEST_M = 1.0e6
"""From a town's corner, or driven; farther is no place on a map."""
FASTEST_MPS = 200.0

_FIELDS = ("position", "heading", "speed", "acceleration", "curvature", "place on its path", "odometer")


@device
def _wrong_field(state, w, a):
    """Index into _FIELDS of the first number of an agent that is none, or beyond all measure; or -1."""
    x, y = abs(state.pose[w, a, 0]), abs(state.pose[w, a, 1])
    # A comparison with what is not a number is false.
    if not (x < FARTHEST_M and y < FARTHEST_M):
        return 0
    if not abs(state.pose[w, a, 2]) < FARTHEST_M:
        return 1
    if not (state.speed[w, a] >= 0.0 and state.speed[w, a] < FASTEST_MPS):
        return 2
    if not abs(state.acceleration[w, a]) < FARTHEST_M:
        return 3
    if not abs(state.curvature[w, a]) < FARTHEST_M:
        return 4
    if not (abs(state.along[w, a]) < FARTHEST_M and abs(state.offset[w, a]) < FARTHEST_M):
        return 5
    return -1 if abs(state.odometer_m[w, a]) < FARTHEST_M else 6


@device
def _look_at(world, state, broken, w):
    broken[w, 0] = broken[w, 1] = -1
    for a in range(state.kind.shape[1]):
        if state.kind[w, a] == _NOBODY:
            continue
        field = _wrong_field(state, w, a)
        if field < 0:
            continue
        if broken[w, 0] < 0:
            broken[w, 0], broken[w, 1] = a, field
        # Nothing may read these any more: indices are made of some.
        state.pose[w, a, 0], state.pose[w, a, 1] = world.town_origin_m[state.town[w], 0], 0.0
        state.pose[w, a, 2] = state.speed[w, a] = state.acceleration[w, a] = state.curvature[w, a] = 0.0
        state.along[w, a] = state.offset[w, a] = state.odometer_m[w, a] = 0.0
        state.history[w, a] = 0.0


@njit(cache=True, parallel=True)
def find_broken(world: World, state: State, broken: Int32[np.ndarray, "W 2"]):
    """Fill `broken` with the first agent of each world that has an impossible number, and which; -1 where all is well.

    Those numbers become 0, so that a look at the world before it is retired is harmless.
    """
    for index in prange(state.seed.shape[0]):
        # One call with a signed index: prange counts in uint64, for which all callees would be compiled again.
        _look_at(world, state, broken, np.int64(index))


def name_broken(state: State, broken: Int32[np.ndarray, "W 2"], w: int) -> str:
    """A sentence about what is wrong in world w."""
    agent, field = (int(number) for number in broken[w])
    kind = AgentKind(int(state.kind[w, agent])).name.lower()
    return (
        f"world {w} (town {int(state.town[w])}, seed {int(state.seed[w])}) at step {int(state.step[w])}: "
        f"{kind} {agent} has an impossible {_FIELDS[field]}; the world is retired"
    )
