"""Compiles the kernels before anything waits for them, on two cores: Numba keeps them on disk, whoever made them.

Numba compiles on one thread, more than a minute the first time. So what looks (cameras, surroundings, the demonstrator)
is compiled by a second process while this one compiles what moves. The second one keeps kernels alone on the disk, for
the functions that both need must not be written by two.
"""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fleetloop.core.kernels import KERNELS_ONLY
from fleetloop.core.second_process import second_process
from fleetloop.core.types import EGO, NAVIGATION_VALUES, World
from fleetloop.sim.birds_eye import birds_eye
from fleetloop.sim.cameras import DEFAULT_RIG, appearances, render
from fleetloop.sim.demonstrator import empty_teaching, teach
from fleetloop.sim.observe import empty_scene, navigate, see, tell_time
from fleetloop.sim.occupancy import empty_occupancy
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.sim.rollout import Rollout, empty_state
from fleetloop.sim.routes import make_routes
from fleetloop.sim.sightings import sightings
from fleetloop.sim.spawn import spawn_world
from fleetloop.sim.traffic import decide, empty_decision

_AGENTS = 8
_ROUTES = 1_000
"""Enough to find a place to start from."""
_MOVING_SHARE = 0.9
"""Of the bar; the rest is for what the other process makes."""


def compile_kernels(
    world: World, library: TownLibrary, key: str, progress: Callable[[float], None] | None = None
) -> None:
    """Compile what a rollout needs, or load what was compiled before; nothing is done in a process that has it.

    Args:
        key: of a town of the library, for the second process.
        progress: called with the share done, 0 to 1.

    Raises:
        MapError: no vehicle can be placed in the world.
    """
    tell = progress or (lambda share: None)
    rollout = Rollout(world, make_routes(1, [0], _ROUTES, 100.0), worlds=1, agents=_AGENTS)
    tell(0.05)
    # The first kernel that is needed tells whether they were compiled before.
    second: contextlib.AbstractContextManager = contextlib.nullcontext()
    if _was_compiled_now(spawn_world):
        second = second_process(__name__, [str(library.folder.resolve()), key], {KERNELS_ONLY: "1"})
    with second as other:
        decide(world, rollout.state, rollout.decision, empty_occupancy(1, _AGENTS))
        tell(0.5 * _MOVING_SHARE)
        zeros = np.zeros(1, np.float32)
        rollout.step(zeros, zeros)
        tell(_MOVING_SHARE)
        if other is not None:
            other.wait()
    # Comes from the disk if the second process got through; else, or if there was none, it is compiled now.
    compile_looking(world)
    tell(1.0)


def compile_looking(world: World) -> None:
    """Compile what looks at a world and changes nothing in it."""
    state, scene = empty_state(1, _AGENTS), empty_scene(1)
    see(world, state, scene, EGO)
    navigate(world, state, np.zeros((1, NAVIGATION_VALUES), np.float32), EGO)
    tell_time(state, np.zeros(1, np.float32))
    teach(world, state, empty_decision(1, _AGENTS), empty_teaching(1), EGO)
    birds_eye(world, scene)
    sightings(world, DEFAULT_RIG, scene, 16, 0.0)
    render(world, DEFAULT_RIG, scene, appearances(state.seed, 0.0))


def _was_compiled_now(kernel: Callable) -> bool:
    """Whether this process had to compile a kernel itself, since none was on disk."""
    return bool(getattr(kernel, "stats").cache_misses)  # noqa: B009


if __name__ == "__main__":
    compile_looking(TownLibrary(Path(sys.argv[1])).world([sys.argv[2]]))
