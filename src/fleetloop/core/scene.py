"""A Scene as bytes: what Episodes and Datasets keep so that a moment can be rendered again."""

import numpy as np
from jaxtyping import Int32

from fleetloop.core.errors import InputError
from fleetloop.core.types import SCENE_AGENTS, Scene

SCENE_DTYPE = np.dtype(
    [
        ("clock_s", "<f4"),
        ("ego_pose", "<f4", 3),
        ("agent_pose", "<f4", (SCENE_AGENTS, 3)),
        ("agent_kind", "u1", SCENE_AGENTS),
        ("agent_colour", "u1", SCENE_AGENTS),
        ("agent_lights", "u1", SCENE_AGENTS),
    ]
)
"""Packed little-endian record; the town is named beside it, since its index depends on what is loaded."""

SCENE_BYTES = SCENE_DTYPE.itemsize


def pack_scenes(scene: Scene) -> np.ndarray:
    """A batch of scenes as records of SCENE_DTYPE, shape [B]; `.tobytes()` of an element is SCENE_BYTES long."""
    records = np.zeros(len(scene.clock_s), SCENE_DTYPE)
    for name in SCENE_DTYPE.names or ():
        records[name] = getattr(scene, name)
    return records


def unpack_scenes(content: bytes | np.ndarray, town: Int32[np.ndarray, " B"]) -> Scene:
    """The inverse of `pack_scenes`, given the index of each scene's town in the World at hand.

    Raises:
        InputError: the bytes are not a whole number of scenes, one for each town.
    """
    if isinstance(content, bytes):
        if len(content) != SCENE_BYTES * len(town):
            raise InputError(
                f"scene: expected {SCENE_BYTES * len(town)} bytes, got {len(content)}; "
                "it was written by another version, record it again"
            )
        content = np.frombuffer(content, SCENE_DTYPE)
    return Scene(town=np.asarray(town, np.int32), **{name: content[name] for name in SCENE_DTYPE.names or ()})
