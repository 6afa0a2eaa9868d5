"""The library of towns: many are made in two processes, with the same result as in one."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fleetloop.core import second_process
from fleetloop.core.errors import MapError
from fleetloop.sim.roads import TownLibrary, library
from fleetloop.sim.roads.pack import load_world
from toy_world import toy_world

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
    towns = TownLibrary(tmp_path)
    towns.world(KEYS[3:4])
    towns.make_from_the_end(KEYS)
    made = {path.name.split(".")[0] for path in tmp_path.glob("*.npz")}
    assert made == set(KEYS[3:])


def test_a_town_that_neither_can_make_is_named(tmp_path: Path):
    with pytest.raises(MapError, match="nowhere-1"):
        TownLibrary(tmp_path).world([*KEYS[:1], *(f"nowhere-{seed}" for seed in range(1, 8))])


def test_two_who_write_the_same_town_at_once_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    both, save = threading.Barrier(2), np.savez_compressed

    def save_when_the_other_does(*arguments, **arrays) -> None:
        both.wait(60.0)
        save(*arguments, **arrays)

    monkeypatch.setattr(np, "savez_compressed", save_when_the_other_does)
    monkeypatch.setattr(library, "generate_network", lambda town, output: None)
    monkeypatch.setattr(library, "make_town", lambda network, key, subject: toy_world())
    with ThreadPoolExecutor(2) as executor:
        list(executor.map(lambda _: TownLibrary(tmp_path).world(["grid-1"]), range(2)))
    (kept,) = tmp_path.iterdir()
    world = load_world(kept)
    assert world is not None and np.array_equal(world.points, toy_world().points)


def test_what_the_second_process_was_making_is_cleared_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def once_the_other_is_at_work(network: Path, key: str, subject: str):
        latest = time.monotonic() + 60.0
        while not list(tmp_path.glob(".making-*/.making-*")) and time.monotonic() < latest:
            time.sleep(0.01)
        return toy_world()

    monkeypatch.setattr(library, "generate_network", lambda town, output: None)
    monkeypatch.setattr(library, "make_town", once_the_other_is_at_work)
    TownLibrary(tmp_path).world(KEYS)
    assert {path.suffix for path in tmp_path.iterdir()} == {".npz"}
