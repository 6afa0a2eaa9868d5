"""The GPU's kernels through NVIDIA's compiler, which needs no GPU: numba-cuda, NVVM and NVRTC are enough.

What Python and Numba allow, a GPU may not: this finds functions that numba-cuda cannot type, and tables that are too
large. `pip install 'fleetloop[cuda]' 'numba-cuda[cu13]'` brings what it takes (some 350 MB).
"""

from typing import Any

import numba.cuda
import numpy as np
import pytest
from numba import typeof

from fleetloop.core.types import NAVIGATION_VALUES
from fleetloop.sim.cameras import DEFAULT_RIG, appearances, image_shapes
from fleetloop.sim.cameras.gather import MAX_BOXES
from fleetloop.sim.cameras.render import camera_rows, empty_gathered
from fleetloop.sim.cameras.signs import sign_pictures
from fleetloop.sim.demonstrator import empty_teaching
from fleetloop.sim.gpu import raster, traffic
from fleetloop.sim.observe import empty_scene
from fleetloop.sim.occupancy import empty_occupancy
from fleetloop.sim.rollout import empty_state
from fleetloop.sim.traffic import empty_decision
from toy_world import toy_world

COMPUTE_CAPABILITY = (9, 0)
CONSTANT_BYTES = 64 * 1024
"""What a kernel may have of constant memory, where tables go."""

CUDA: Any = numba.cuda


def _has_compiler() -> bool:
    if getattr(CUDA, "implementation", "") != "NVIDIA":
        return False
    try:
        CUDA.compile_ptx(lambda array: None, (typeof(np.zeros(1)),), cc=COMPUTE_CAPABILITY)
    except Exception:  # whichever library is missing, each has its own error
        return False
    return True


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not _has_compiler(), reason="numba-cuda with NVVM and NVRTC is not installed"),
]


def _kernels() -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """Every kernel, and arguments of the types that it gets; on the host they have the types of their copies."""
    world, worlds, agents = toy_world(), 2, 4
    state, decision = empty_state(worlds, agents), empty_decision(worlds, agents)
    occupancy = empty_occupancy(worlds, agents)
    teaching, scene = empty_teaching(worlds), empty_scene(worlds)
    controls, per_world = np.zeros((worlds, agents), np.float32), np.zeros(worlds, np.int32)
    flags, needed = np.zeros(worlds, np.uint8), np.float32(0.0)
    gathered, look = empty_gathered(worlds), appearances(state.seed, 0.0)
    cameras, images = (
        camera_rows(DEFAULT_RIG.groups[0]),
        np.zeros(image_shapes(DEFAULT_RIG, worlds)[0], np.uint8),
    )
    height, width = images.shape[2:4]
    tiles = (world.town_origin_m, world.town_tiles_shape, world.town_first_tile, world.tile_index)
    grid = (*tiles, world.tiles.reshape(-1))
    seen = np.zeros((8, MAX_BOXES), np.uint8)
    cells = (world.town_origin_m, world.town_cells_shape, world.town_first_cell, world.cell_start)
    signals = (world.signal_cycle_s, world.signal_offset_s, world.phase_start, world.phase_end_s)
    drawn = (cameras, scene, *gathered, grid, sign_pictures(world.sign_images), seen, images)
    return {
        "occupy": (traffic.occupy_worlds, (world, state, occupancy)),
        "decide": (traffic.decide_agents, (world, state, decision, occupancy)),
        "teach": (traffic.teach_worlds, (world, state, decision, teaching)),
        "watch": (traffic.watch_worlds, (world, state, decision, controls, controls, per_world)),
        "follow": (traffic.follow_teaching, (state, teaching, controls, controls)),
        "move first": (traffic.move_first, (world, state, decision, controls, controls, needed, flags)),
        "move others": (traffic.move_others, (world, state, decision, controls, needed, flags)),
        "end": (traffic.end_steps, (world, state, flags)),
        "spawn": (traffic.spawn_worlds, (world, state, flags, needed)),
        "touch": (traffic.touch_worlds, (world, state, per_world)),
        "see": (
            traffic.see_worlds,
            (world, state, scene, np.zeros((worlds, NAVIGATION_VALUES), np.float32), look.noise),
        ),
        "gather": (
            raster.gather_scenes,
            (
                *(scene, (*cells, world.sign_start), (world.boxes, world.box_signal, world.box_lamp)),
                *((*signals, world.phase_colour), (world.signs, world.sign_image), look, needed),
                *gathered,
            ),
        ),
        "rows": (raster.row_drawer(raster.rows_of_band(height, width), width), drawn),
        "pixels": (raster.pixel_drawer(), drawn),
        "finish": (
            raster.finish_pictures,
            (
                *(cameras, scene, look.noise_seed, gathered.boxes, gathered.counts, gathered.light),
                *(seen, 0, images),
            ),
        ),
    }


@pytest.mark.parametrize("name", _kernels())
def test_kernel_compiles_for_a_gpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Device:
        compute_capability = COMPUTE_CAPABILITY

    # Functions that kernels call are compiled for the GPU at hand; there need not be one.
    monkeypatch.setattr("numba.cuda.dispatcher.get_current_device", lambda: Device)
    kernel, arguments = _kernels()[name]
    fast = bool(kernel.targetoptions.get("fastmath"))
    types = tuple(typeof(argument) for argument in arguments)
    code, _ = CUDA.compile_ptx(kernel.py_func, types, cc=COMPUTE_CAPABILITY, device=False, fastmath=fast)
    assert ".entry" in code and _constant_bytes(code) < CONSTANT_BYTES


def _constant_bytes(code: str) -> int:
    """Of all tables: lines such as `.const .align 4 .b8 name[12400] = {...}`."""
    lines = [line for line in code.splitlines() if ".const " in line and "[" in line]
    return sum(int(line.split("[", 1)[1].split("]", 1)[0]) for line in lines)
