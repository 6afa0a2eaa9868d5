"""Bytes that a world and a camera take, counted from the arrays."""

import numpy as np

from fleetloop.bench.measure import Measurement
from fleetloop.core.types import World
from fleetloop.sim.cameras import appearances, equal_rig
from fleetloop.sim.cameras.render import empty_gathered
from fleetloop.sim.gpu.arrays import bytes_of
from fleetloop.sim.gpu.cameras import bytes_per_camera, bytes_per_scene
from fleetloop.sim.gpu.worlds import bytes_per_world
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import make_routes

_WORLDS = 4
_SIZES = ((96, 64), (320, 192))


def _held(value: object) -> int:
    """Bytes of an array, or of all arrays of a tuple."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    return sum(_held(part) for part in value) if isinstance(value, tuple) else 0


def measure_memory(name: str, world: World, agents: int = 64) -> Measurement:
    """Bytes of a world of a rollout with so many road users, and what its cameras and the towns take besides.

    The CPU's are the sizes of the arrays that a rollout holds; the GPU's are computed from the arrays that
    `sim.gpu` would make there, without making them.
    """
    rollout = Rollout(world, make_routes(0, [0], _WORLDS, 1e9), _WORLDS, agents)
    batch = sum(_held(value) for key, value in vars(rollout).items() if key != "world") / _WORLDS
    look = bytes_of(appearances(np.zeros(1, np.uint64), 0.0))
    towns = len(world.town_first_lane) - 1
    details: dict[str, object] = {
        "agents": agents,
        "state_bytes_per_world": bytes_of(rollout.state) / _WORLDS,
        "town_bytes": bytes_of(world) / towns,
        "gathered_bytes_per_world": bytes_of(empty_gathered(1)),
        "appearance_bytes_per_world": look,
        "gpu_bytes_per_world": bytes_per_world(agents),
        "gpu_gathered_bytes_per_world": bytes_per_scene(),
    }
    for width, height in _SIZES:
        camera = equal_rig(width, height).cameras[0]
        details[f"picture_bytes_{width}x{height}"] = 3 * width * height
        details[f"gpu_bytes_per_camera_{width}x{height}"] = bytes_per_camera(camera)
    note = (
        f"state, decisions and accounts with {agents} road users, no cameras; with cameras "
        f"{details['gathered_bytes_per_world']:,} + {look:,} more, and {3 * 96 * 64:,} for each picture of 96x64; "
        f"a town takes {details['town_bytes']:,.0f}; on a GPU {details['gpu_bytes_per_world']:,}, "
        f"{details['gpu_gathered_bytes_per_world']:,} + {look:,} and {details['gpu_bytes_per_camera_96x64']:,}"
    )
    return Measurement(name, batch, "bytes per world", {"note": note, **details})
