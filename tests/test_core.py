"""Core: geometry, random numbers, durable files, scenes as bytes."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.core.errors import InputError, StorageError
from fleetloop.core.files import replacing_file, replacing_folder, write_text
from fleetloop.core.geometry import wrap_angle
from fleetloop.core.random import Stream, bits, generator, normal, uniform
from fleetloop.core.scene import SCENE_BYTES, pack_scenes, unpack_scenes
from fleetloop.core.types import SCENE_AGENTS, AgentKind, Scene

angle = st.floats(-50.0, 50.0)


class TestGeometry:
    @given(angle)
    def test_wrapped_angle_is_the_same_direction(self, yaw: float) -> None:
        wrapped = wrap_angle(np.array(yaw))
        assert -np.pi <= wrapped < np.pi + 1e-12
        assert np.isclose(np.cos(wrapped), np.cos(yaw), atol=1e-9)
        assert np.isclose(np.sin(wrapped), np.sin(yaw), atol=1e-9)


class TestRandom:
    def test_uniform_fills_the_unit_interval_evenly(self) -> None:
        draws = np.array([uniform(7, 0, step, int(Stream.SPAWN), 0) for step in range(20_000)])
        assert draws.min() >= 0.0 and draws.max() < 1.0
        counts, _ = np.histogram(draws, 20, (0.0, 1.0))
        # Chi-squared with 19 degrees of freedom: 43.8 is its 99.9 % point.
        assert ((counts - 1000.0) ** 2 / 1000.0).sum() < 43.8

    def test_normal_has_mean_zero_and_variance_one(self) -> None:
        draws = np.array([normal(3, w, 0, int(Stream.STEERING_NOISE), 1) for w in range(20_000)])
        assert abs(draws.mean()) < 0.03
        assert abs(draws.std() - 1.0) < 0.03

    def test_every_word_of_the_key_matters(self) -> None:
        key = (11, 22, 33, 4, 5)
        first = bits(*key)
        assert first == bits(*key)
        for word in range(5):
            assert bits(*(value + (number == word) for number, value in enumerate(key))) != first

    def test_generator_is_keyed(self) -> None:
        assert generator(1, Stream.TOWN, 2).random() == generator(1, Stream.TOWN, 2).random()
        assert generator(1, Stream.TOWN, 2).random() != generator(1, Stream.TOWN, 3).random()
        assert generator(1, Stream.TOWN, 2).random() != generator(1, Stream.KIND, 2).random()


class TestFiles:
    def test_failed_write_keeps_the_old_file(self, tmp_path: Path) -> None:
        path = tmp_path / "figures.json"
        write_text(path, "old")
        with pytest.raises(RuntimeError), replacing_file(path) as partial:
            partial.write_text("half of the n")
            raise RuntimeError("killed")
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_failed_folder_keeps_the_old_folder(self, tmp_path: Path) -> None:
        path = tmp_path / "checkpoint"
        with replacing_folder(path) as partial:
            (partial / "weights").write_text("old")
        with pytest.raises(RuntimeError), replacing_folder(path) as partial:
            (partial / "weights").write_text("new")
            raise RuntimeError("killed")
        assert (path / "weights").read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_leftovers_of_a_killed_writer_are_not_mixed_in(self, tmp_path: Path) -> None:
        path = tmp_path / "report"
        leftover = tmp_path / "report.partial"
        leftover.mkdir()
        (leftover / "half").write_text("x")
        with replacing_folder(path) as partial:
            (partial / "whole").write_text("y")
        assert [entry.name for entry in path.iterdir()] == ["whole"]

    def test_an_old_folder_moved_aside_by_a_killed_writer_comes_back(self, tmp_path: Path) -> None:
        path, aside = tmp_path / "report", tmp_path / "report.replaced"
        aside.mkdir()
        (aside / "whole").write_text("old")
        with pytest.raises(RuntimeError), replacing_folder(path):
            raise RuntimeError("killed again")
        assert (path / "whole").read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_full_disk_is_one_sentence_with_the_mend(self, tmp_path: Path) -> None:
        path = tmp_path / "episode.mcap"
        with (
            pytest.raises(StorageError, match=r"episode\.mcap: the disk is full; free"),
            replacing_file(path),
        ):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        assert not path.exists()


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    batch = draw(st.integers(1, 4))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    return Scene(
        town=random.integers(0, 5, batch).astype(np.int32),
        clock_s=random.uniform(0, 600, batch).astype(np.float32),
        ego_pose=random.normal(0, 100, (batch, 3)).astype(np.float32),
        agent_pose=random.normal(0, 100, (batch, SCENE_AGENTS, 3)).astype(np.float32),
        agent_kind=random.choice([int(AgentKind.CAR), int(AgentKind.NONE)], (batch, SCENE_AGENTS)).astype(
            np.uint8
        ),
        agent_colour=random.integers(0, 8, (batch, SCENE_AGENTS)).astype(np.uint8),
        agent_lights=random.integers(0, 8, (batch, SCENE_AGENTS)).astype(np.uint8),
    )


class TestScene:
    @given(scenes())
    def test_round_trip_through_bytes(self, scene: Scene) -> None:
        content = pack_scenes(scene).tobytes()
        assert len(content) == SCENE_BYTES * len(scene.town)
        for kept, original in zip(unpack_scenes(content, scene.town), scene, strict=True):
            assert np.array_equal(kept, original)

    def test_wrong_length_is_refused(self) -> None:
        with pytest.raises(InputError, match="record it again"):
            unpack_scenes(b"\0" * (SCENE_BYTES - 1), np.zeros(1, np.int32))
