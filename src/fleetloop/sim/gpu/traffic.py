"""Kernels of the world: a thread for each road user where they do not touch one another, else for each world.

Each is a launch of the device functions that the CPU's kernels of the same name call.
"""

from typing import Any

import numpy as np

from fleetloop.core.types import EGO, AgentKind
from fleetloop.sim.daytime import hour_of
from fleetloop.sim.demonstrator import teach_one
from fleetloop.sim.gpu.arrays import cuda
from fleetloop.sim.motion import end_step, move
from fleetloop.sim.observe import navigate_one, see_scene
from fleetloop.sim.occupancy import occupy
from fleetloop.sim.prediction import touching
from fleetloop.sim.safety_driver import watch_one
from fleetloop.sim.spawn import spawn_world
from fleetloop.sim.traffic import decide_one

_NOBODY = int(AgentKind.NONE)
_THREADS = 128


def launch(kernel: Any, count: int, *arguments: Any) -> None:
    """Run a kernel that asks `cuda.grid(1)` for its number, with `count` threads."""
    threads = min(_THREADS, count)
    kernel[-(-count // threads), threads](*arguments)


@cuda.jit
def occupy_worlds(world, state, occupancy):
    """A thread for each world: the chains of who is on a lane are made one entry after the other."""
    w = np.int64(cuda.grid(1))
    if w < state.seed.shape[0]:
        occupy(world, state, occupancy, w)


@cuda.jit
def decide_agents(world, state, decision, occupancy):
    """A thread for each road user: deciding reads the state only."""
    index, agents = np.int64(cuda.grid(1)), np.int64(state.kind.shape[1])
    if index < state.seed.shape[0] * agents:
        decide_one(world, state, decision, occupancy, index // agents, index % agents)


@cuda.jit
def teach_worlds(world, state, decision, teaching):
    """A thread for each world: what the demonstrator would do in the first learner's place."""
    w = np.int64(cuda.grid(1))
    if w < state.seed.shape[0]:
        teach_one(world, state, decision, teaching, w, np.int64(EGO))


@cuda.jit
def watch_worlds(world, state, decision, curvature, acceleration, danger):
    """A thread for each world: the Danger of the first learner's controls, of [W, A]."""
    w = np.int64(cuda.grid(1))
    if w < state.seed.shape[0]:
        watch_one(world, state, decision, curvature[:, EGO], acceleration[:, EGO], danger, w, np.int64(EGO))


@cuda.jit
def follow_teaching(state, teaching, curvature, acceleration):
    """A thread for each world: the demonstrator's answer as the first learner's controls."""
    w = np.int64(cuda.grid(1))
    if w < state.seed.shape[0]:
        curvature[w, EGO], acceleration[w, EGO] = teaching.curvature_1pm[w], teaching.acceleration_mps2[w]


@cuda.jit
def move_first(world, state, decision, curvature, acceleration, needed_m, awake):
    """A thread for each world: the learners' controls are taken over, and the first agent moves.

    The others look at where it is then. Fill `awake` [W] with whether there is a first agent at all.
    """
    w = np.int64(cuda.grid(1))
    if w < state.seed.shape[0]:
        awake[w] = np.uint8(state.kind[w, EGO] != _NOBODY)
        for a in range(state.kind.shape[1]):
            if state.learner[w, a]:
                decision.acceleration[w, a] = acceleration[w, a]
        if awake[w]:
            move(
                *(world, state, decision.acceleration, curvature, decision.target_lane, needed_m),
                *(w, np.int64(EGO)),
            )


@cuda.jit
def move_others(world, state, decision, curvature, needed_m, awake):
    """A thread for each road user but the first of a world."""
    index, others = np.int64(cuda.grid(1)), np.int64(state.kind.shape[1] - 1)
    if index < state.seed.shape[0] * others:
        w, a = index // others, index % others + 1
        if awake[w]:
            move(world, state, decision.acceleration, curvature, decision.target_lane, needed_m, w, a)


@cuda.jit
def end_steps(world, state, awake):
    """A thread for each world: whoever comes back elsewhere must be clear of those who came back before."""
    w = np.int64(cuda.grid(1))
    if w < state.seed.shape[0] and awake[w]:
        end_step(world, state, w)


@cuda.jit
def spawn_worlds(world, state, chosen, needed_m):
    """A thread for each world: those with chosen [W] = 1 are filled anew by their seeds.

    Afterwards `chosen` is 2 where the first learner found no place.
    """
    w = np.int64(cuda.grid(1))
    if w < state.seed.shape[0] and chosen[w]:
        state.step[w] = 0
        if not spawn_world(world, state, w, needed_m):
            chosen[w] = 2


@cuda.jit
def touch_worlds(world, state, touched):
    """A thread for each world: whom the first learner touches."""
    w = np.int64(cuda.grid(1))
    if w < state.seed.shape[0]:
        touched[w] = touching(world, state, w, np.int64(EGO))


@cuda.jit
def see_worlds(world, state, scene, navigation, hours):
    """A thread for each world: what the first learner's cameras, phone and clock tell."""
    w = np.int64(cuda.grid(1))
    if w < state.seed.shape[0]:
        see_scene(world, state, scene, w, np.int64(EGO))
        navigate_one(world, state, navigation, w, np.int64(EGO))
        hours[w] = hour_of(state, w)
