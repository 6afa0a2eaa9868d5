"""Moments kept to learn from: as many as memory allows, the oldest overwritten first."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fleetloop.core.errors import CheckpointError
from fleetloop.core.files import replacing_file
from fleetloop.core.labels import with_label_columns, without_label_columns
from fleetloop.train.batches import Moments, empty_moments


def _columns(moments: Moments) -> dict[str, Any]:
    return with_label_columns(moments._asdict())


class MomentBuffer:
    """A ring of at most `capacity` moments; memory is taken as it fills."""

    def __init__(self, capacity: int) -> None:
        self._arrays = empty_moments(capacity)
        self._capacity, self._count, self._next = capacity, 0, 0

    def __len__(self) -> int:
        return self._count

    def skip(self, count: int) -> None:
        """As if `count` moments had been added that others will overwrite."""
        self._next = (self._next + count) % self._capacity

    def append(self, moments: Moments) -> None:
        """Add moments; what is too old gives way."""
        count = len(moments.town)
        places = (self._next + np.arange(count)) % self._capacity
        kept = _columns(self._arrays)
        for name, values in _columns(moments).items():
            kept[name][places] = values
        self._next = (self._next + count) % self._capacity
        self._count = min(self._count + count, self._capacity)

    @property
    def moments(self) -> Moments:
        """Views of what is kept, in no particular order."""
        return self._arrays.select(slice(0, self._count))


def join_moments(parts: Sequence[Moments]) -> Moments:
    """Moments end to end; none for no parts."""
    columns = [_columns(part) for part in parts or [empty_moments(0)]]
    joined = {name: np.concatenate([of_part[name] for of_part in columns]) for name in columns[0]}
    return Moments(**without_label_columns(joined))


def thinned(moments: Moments, share: float, random: np.random.Generator) -> Moments:
    """About a `share` of the moments, those that weigh more rather than others.

    Who drives farther than it can remember so remembers nearly all that is seldom. Of what is kept, as much is expected
    to be drawn of everything as of the whole; together they weigh as so many moments did, for beside them are moments
    that others got into.
    """
    weight = moments.weight
    if share >= 1.0 or len(weight) == 0 or not weight.any():
        return moments
    chance = np.minimum(share * weight / weight.mean(), 1.0)
    kept = np.flatnonzero(random.random(len(weight)) < chance)
    chosen = moments.select(kept)
    return chosen._replace(weight=(share * weight[kept] / chance[kept]).astype(np.float32))


def write_moments(path: Path, moments: Moments) -> None:
    """Keep moments in a file."""
    with replacing_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **_columns(moments))


def read_moments(path: Path) -> Moments:
    """The inverse of `write_moments`.

    Raises:
        CheckpointError: the file is damaged or of another version.
    """
    none = _columns(empty_moments(0))
    try:
        with np.load(path, allow_pickle=False) as stored:
            columns = {name: stored[name] for name in none}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: is damaged; delete its folder and begin again") from error
    for name, values in columns.items():
        shape = (len(columns["town"]), *none[name].shape[1:])
        if values.dtype != none[name].dtype or values.shape != shape:
            raise CheckpointError(f"{path}: {name} is of another version; delete its folder and begin again")
    return Moments(**without_label_columns(columns))
