"""Moments kept to learn from: as many as memory allows, the oldest overwritten first."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fleetloop.core.errors import CheckpointError
from fleetloop.core.files import replacing_file
from fleetloop.core.scene import SCENE_DTYPE
from fleetloop.core.types import HISTORY_STEPS, NAVIGATION_VALUES, PLAN_POSES
from fleetloop.train.batches import Moments

_FIELDS: dict[str, tuple[np.dtype, tuple[int, ...]]] = {
    "town": (np.dtype(np.int32), ()),
    "scene": (SCENE_DTYPE, ()),
    "earlier_scene": (SCENE_DTYPE, ()),
    "ego_history": (np.dtype(np.float32), (HISTORY_STEPS, 3)),
    "navigation": (np.dtype(np.float32), (NAVIGATION_VALUES,)),
    "time_of_day_h": (np.dtype(np.float32), ()),
    "label_curvature_1pm": (np.dtype(np.float32), ()),
    "label_acceleration_mps2": (np.dtype(np.float32), ()),
    "label_poses": (np.dtype(np.float32), (PLAN_POSES, 3)),
    "signal_colour": (np.dtype(np.int8), ()),
    "stop_line_m": (np.dtype(np.float32), ()),
    "lead_gap_m": (np.dtype(np.float32), ()),
    "lead_speed_mps": (np.dtype(np.float32), ()),
    "junction_control": (np.dtype(np.int8), ()),
    "halt_m": (np.dtype(np.float32), ()),
    "weight": (np.dtype(np.float32), ()),
}


class MomentBuffer:
    """A ring of at most `capacity` moments; memory is taken as it fills."""

    def __init__(self, capacity: int) -> None:
        self._arrays = Moments(
            **{name: np.zeros((capacity, *shape), dtype) for name, (dtype, shape) in _FIELDS.items()}
        )
        self._capacity, self._count, self._next = capacity, 0, 0

    def __len__(self) -> int:
        return self._count

    def append(self, moments: Moments) -> None:
        """Add moments; what is too old gives way."""
        count = len(moments.town)
        places = (self._next + np.arange(count)) % self._capacity
        for kept, values in zip(self._arrays, moments, strict=True):
            kept[places] = values
        self._next = (self._next + count) % self._capacity
        self._count = min(self._count + count, self._capacity)

    @property
    def moments(self) -> Moments:
        """Views of what is kept, in no particular order."""
        return self._arrays.select(slice(0, self._count))


def join_moments(parts: Sequence[Moments]) -> Moments:
    """Moments end to end; none for no parts."""
    if not parts:
        return Moments(**{name: np.zeros((0, *shape), dtype) for name, (dtype, shape) in _FIELDS.items()})
    return Moments(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def write_moments(path: Path, moments: Moments) -> None:
    """Keep moments in a file."""
    with replacing_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **moments._asdict())


def read_moments(path: Path) -> Moments:
    """The inverse of `write_moments`.

    Raises:
        CheckpointError: the file is damaged or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            moments = Moments(**{name: stored[name] for name in Moments._fields})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: is damaged; delete its folder and begin again") from error
    for name, values in moments._asdict().items():
        dtype, shape = _FIELDS[name]
        if values.dtype != dtype or values.shape != (len(moments.town), *shape):
            raise CheckpointError(f"{path}: {name} is of another version; delete its folder and begin again")
    return moments
