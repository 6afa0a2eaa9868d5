"""The library of towns: many are made in two processes, with the same result as in one."""

from pathlib import Path

import numpy as np
import pytest

from fleetloop.core import second_process
from fleetloop.core.errors import MapError
from fleetloop.sim.roads import TownLibrary

KEYS = [f"{kind}-{seed}" for seed in range(31, 34) for kind in ("spider", "organic")]


def test_towns_made_by_two_processes_are_those_made_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shares: list[float] = []
    by_two = TownLibrary(tmp_path / "two").world(KEYS, shares.append)
    assert shares == pytest.approx([(number + 1) / len(KEYS) for number in range(len(KEYS))])
    monkeypatch.setattr(second_process.sys, "executable", "/no/such/python")
    by_one = TownLibrary(tmp_path / "one").world(KEYS)
    for name, expected, actual in zip(by_one._fields, by_one, by_two, strict=True):
        np.testing.assert_array_equal(actual, expected, err_msg=name)


def test_the_second_process_stops_at_what_is_made_already(tmp_path: Path):
    library = TownLibrary(tmp_path)
    library.world(KEYS[3:4])
    library.make_from_the_end(KEYS)
    made = {path.name.split(".")[0] for path in tmp_path.glob("*.npz")}
    assert made == set(KEYS[3:])


def test_a_town_that_neither_can_make_is_named(tmp_path: Path):
    with pytest.raises(MapError, match="nowhere-1"):
        TownLibrary(tmp_path).world([*KEYS[:1], *(f"nowhere-{seed}" for seed in range(1, 8))])
