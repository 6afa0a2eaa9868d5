"""Imitation learning and its batches."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from fleetloop.artifacts.dataset import Samples
from fleetloop.core.errors import CheckpointError, ConfigError, DatasetError
from fleetloop.core.labels import empty_labels
from fleetloop.core.scene import SCENE_DTYPE
from fleetloop.core.types import NAVIGATION_VALUES, Camera, CameraRig, Observation
from fleetloop.policy.network import NetworkConfig
from fleetloop.train.batch import Batch
from fleetloop.train.batches import BatchConfig, sample_batches
from fleetloop.train.imitate import ImitationConfig, learning_rate_at, train
from toy_world import toy_world

RIG = CameraRig(
    groups=(
        (Camera("forward", (1.5, 0.0, 1.4), 0.0, 0.0, 1.2, 48, 32),),
        (Camera("rear", (0.0, 0.0, 1.4), 3.14, 0.0, 1.2, 32, 32),),
    )
)
SMALL = ImitationConfig(
    samples=32 * 24,
    batch_size=32,
    warmup_samples=64,
    compile=False,
    bfloat16=False,
    ema_decay=0.9,
    report_every_batches=4,
    save_every_samples=32 * 6,
)


def square_batches(first: int) -> Iterator[Batch]:
    """A bright square on dark noise; its column gives the curvature, its row the acceleration."""
    number = first
    while True:
        random = np.random.default_rng([7, number])
        size = 32
        images = random.integers(0, 40, (size, 1, 32, 48, 3), dtype=np.uint8)
        column, row = random.integers(0, 40, size), random.integers(0, 24, size)
        for sample in range(size):
            images[sample, 0, row[sample] : row[sample] + 8, column[sample] : column[sample] + 8] = 230
        around = random.integers(0, 40, (size, 1, 32, 32, 3), dtype=np.uint8)
        side = (20 - column) / 20.0
        yield Batch(
            observation=Observation(
                images=(images, around),
                ego_history=np.full((size, 8, 4), [5.0, 0.0, 0.0, 0.0], np.float32),
                navigation=np.tile(
                    np.array([150.0, 0.0, 20.0, 150.0, 0.0, 20.0, *[0.0] * 4], np.float32), (size, 1)
                ),
                time_of_day_h=np.full(size, 12.0, np.float32),
            ),
            rig=RIG,
            earlier_images=images.copy(),
            earlier_valid=np.ones(size, bool),
            labels=empty_labels(size)._replace(
                curvature_1pm=(0.2 * side**3).astype(np.float32),
                acceleration_mps2=((12.0 - row) / 4.0).astype(np.float32),
                poses=np.zeros((size, 8, 3), np.float32)
                + np.float32(0.5) * side[:, None, None].astype(np.float32),
                signal_colour=np.where(side > 0, 0, -1).astype(np.int8),
                junction_control=np.where(side > 0, 1, -1).astype(np.int8),
            ),
            birds_eye=np.where(
                random.random((size, 3, 16, 24)) < 0.5, side[:, None, None, None] > 0, 255
            ).astype(np.uint8),
            weight=np.ones(size, np.float32),
        )
        number += 1


def weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class TestTrain:
    @pytest.mark.parametrize("bfloat16", [False, True])
    def test_loss_falls_clearly(self, bfloat16: bool):
        config = dataclasses.replace(SMALL, samples=32 * 120, learning_rate=2e-3, bfloat16=bfloat16)
        seen: list[tuple[int, dict[str, float]]] = []
        result = train(
            config,
            NetworkConfig(),
            RIG,
            square_batches,
            progress=lambda samples, parts: seen.append((samples, parts)),
        )
        first, last = seen[0][1], result.losses
        assert last["curvature"] < 0.35 * first["curvature"]
        assert last["acceleration"] < 0.35 * first["acceleration"]
        assert last["signal"] < 0.5 * first["signal"]
        assert seen[-1][0] == result.samples_seen == 32 * 120
        assert [samples for samples, _ in seen] == sorted({samples for samples, _ in seen})

    def test_same_seed_gives_the_same_bits(self):
        results = [weights(train(SMALL, NetworkConfig(), RIG, square_batches).network) for _ in range(2)]
        assert same(*results)
        other = train(dataclasses.replace(SMALL, seed=1), NetworkConfig(), RIG, square_batches)
        assert not same(results[0], weights(other.network))

    @pytest.mark.parametrize("memory", [True, False])
    def test_killed_run_goes_on_to_the_bit(self, tmp_path: Path, memory: bool):
        network_config = NetworkConfig(memory=memory)
        expected = weights(train(SMALL, network_config, RIG, square_batches).network)
        state = tmp_path / "partial.safetensors"
        asked_from: list[int] = []

        class Killed(Exception):
            pass

        def killing(first: int) -> Iterator[Batch]:
            for number, batch in enumerate(square_batches(first), start=first):
                if number == 15:
                    raise Killed
                yield batch

        def continuing(first: int) -> Iterator[Batch]:
            asked_from.append(first)
            return square_batches(first)

        with pytest.raises(Killed):
            train(SMALL, network_config, RIG, killing, partial_state=state)
        assert state.exists()
        result = train(SMALL, network_config, RIG, continuing, partial_state=state)
        assert asked_from == [12]
        assert same(weights(result.network), expected)

    @pytest.mark.slow
    def test_compiled_learns_the_same_and_resumes_to_the_bit(self, tmp_path: Path):
        config = dataclasses.replace(
            SMALL, samples=32 * 8, save_every_samples=32 * 5, compile=True, bfloat16=True
        )
        state = tmp_path / "partial.safetensors"
        whole = train(config, NetworkConfig(), RIG, square_batches, partial_state=state)
        assert state.exists()
        rest = train(config, NetworkConfig(), RIG, square_batches, partial_state=state)
        assert same(weights(whole.network), weights(rest.network))
        eager = train(dataclasses.replace(config, compile=False), NetworkConfig(), RIG, square_batches)
        assert rest.losses["total"] == pytest.approx(eager.losses["total"], rel=0.1)

    def test_state_that_does_not_fit_is_not_used(self, tmp_path: Path):
        state = tmp_path / "partial.safetensors"
        expected = weights(train(SMALL, NetworkConfig(), RIG, square_batches, partial_state=state).network)
        content = state.read_bytes()
        state.write_bytes(content[: len(content) // 2])
        assert same(
            weights(train(SMALL, NetworkConfig(), RIG, square_batches, partial_state=state).network), expected
        )
        other = dataclasses.replace(SMALL, learning_rate=1e-4)
        starts: list[int] = []

        def watched(first: int) -> Iterator[Batch]:
            starts.append(first)
            return square_batches(first)

        train(other, NetworkConfig(), RIG, watched, partial_state=state)
        assert starts == [0]

    def test_warm_start_begins_with_the_given_weights(self):
        taught = weights(train(SMALL, NetworkConfig(), RIG, square_batches).network)
        barely = dataclasses.replace(SMALL, learning_rate=1e-9, seed=4)
        warm = weights(train(barely, NetworkConfig(), RIG, square_batches, initial=taught).network)
        assert all(torch.allclose(warm[name], taught[name], atol=1e-5) for name in taught)

    def test_wrong_initial_weights_are_refused(self):
        with pytest.raises(CheckpointError, match="config"):
            train(SMALL, NetworkConfig(), RIG, square_batches, initial={"foreign": torch.zeros(1)})

    def test_bad_configs_and_short_data_are_named(self):
        with pytest.raises(ConfigError, match="samples"):
            train(dataclasses.replace(SMALL, samples=1), NetworkConfig(), RIG, square_batches)
        with pytest.raises(ConfigError, match="ended"):
            train(SMALL, NetworkConfig(), RIG, lambda first: iter([next(square_batches(first))]))

    def test_loss_that_is_not_finite_is_named(self):
        def broken(first: int) -> Iterator[Batch]:
            for batch in square_batches(first):
                yield dataclasses.replace(
                    batch,
                    labels=batch.labels._replace(
                        acceleration_mps2=batch.labels.acceleration_mps2 * np.float32(np.nan)
                    ),
                )

        with pytest.raises(ConfigError, match="not finite"):
            train(SMALL, NetworkConfig(), RIG, broken)

    def test_learning_rate_rises_then_falls(self):
        rates = [learning_rate_at(samples, SMALL) for samples in range(0, SMALL.samples + 1, 32)]
        peak = int(np.argmax(rates))
        assert rates[peak] == pytest.approx(SMALL.learning_rate) and peak == 2
        assert (np.diff(rates[: peak + 1]) > 0).all() and (np.diff(rates[peak:]) < 0).all()
        assert rates[-1] == pytest.approx(0.01 * SMALL.learning_rate)


def made_up_samples(count: int) -> Samples:
    random = np.random.default_rng(0)
    scene = np.zeros(count, SCENE_DTYPE)
    scene["clock_s"] = random.uniform(1, 100, count)
    scene["ego_pose"][:, 0] = random.uniform(-150, 80, count)
    scene["ego_pose"][:, 1] = -1.75
    scene["agent_kind"][:] = 255
    earlier = scene.copy()
    earlier["ego_pose"][:, 0] -= 2.0
    earlier[0] = np.zeros((), SCENE_DTYPE)
    return Samples(
        sample_id=np.array([f"sample-{i}" for i in range(count)]),
        episode_id=np.array(["episode"] * count),
        timestamp_ns=np.arange(count),
        town=np.array(["toy"] * count),
        reasons=[("uniform",)] * count,
        weight=np.ones(count, np.float32),
        scene=scene,
        earlier_scene=earlier,
        ego_history=random.normal(size=(count, 8, 4)).astype(np.float32),
        navigation=random.normal(size=(count, NAVIGATION_VALUES)).astype(np.float32),
        time_of_day_h=random.uniform(0, 24, count).astype(np.float32),
        labels=empty_labels(count)._replace(curvature_1pm=np.arange(count, dtype=np.float32)),
        frames=[None] * count,
    )


class TestBatches:
    CONFIG = BatchConfig(batch_size=16)

    def take(self, samples: Samples, config: BatchConfig, start: int, count: int) -> list[Batch]:
        batches = sample_batches(samples, toy_world(), ["toy"], RIG, config, seed=5, start_batch=start)
        taken = [next(batches) for _ in range(count)]
        batches.close()  # type: ignore[attr-defined]
        return taken

    def test_batch_number_decides_its_bits(self):
        samples = made_up_samples(30)
        first, again = self.take(samples, self.CONFIG, 0, 4), self.take(samples, self.CONFIG, 2, 2)
        for expected, actual in zip(first[2:], again, strict=True):
            assert np.array_equal(expected.labels.curvature_1pm, actual.labels.curvature_1pm)
            assert np.array_equal(expected.earlier_valid, actual.earlier_valid)
            for left, right in zip(expected.observation.images, actual.observation.images, strict=True):
                assert np.array_equal(left, right)
        assert not np.array_equal(first[0].labels.curvature_1pm, first[1].labels.curvature_1pm)

    def test_rows_belong_together_and_images_show_something(self):
        samples = made_up_samples(30)
        config = dataclasses.replace(self.CONFIG, camera_dropout=0.0, memory_dropout=0.0)
        (batch,) = self.take(samples, config, 0, 1)
        chosen = batch.labels.curvature_1pm.astype(int)
        assert np.array_equal(batch.observation.navigation, samples.navigation[chosen])
        assert np.array_equal(batch.earlier_valid, chosen != 0)
        assert batch.earlier_images is not None
        assert batch.observation.images[0].shape == batch.earlier_images.shape == (16, 1, 32, 48, 3)
        assert (batch.observation.images[0].std(axis=(1, 2, 3, 4)) > 5).all()

    def test_a_lost_camera_was_lost_before(self):
        config = dataclasses.replace(self.CONFIG, camera_dropout=0.5, memory_dropout=0.0)
        (batch,) = self.take(made_up_samples(30), config, 0, 1)
        assert batch.earlier_images is not None
        black, earlier = (
            (images == 0).all(axis=(2, 3, 4))
            for images in (batch.observation.images[0], batch.earlier_images)
        )
        assert 0 < black.sum() < black.size
        remembered = batch.earlier_valid
        assert np.array_equal(black[remembered], earlier[remembered])

    def test_cameras_expose_for_themselves(self):
        samples = made_up_samples(4)
        config = dataclasses.replace(self.CONFIG, camera_dropout=0.0, variety=0.0, rig_variety=0.0)
        (plain,) = self.take(samples, dataclasses.replace(config, exposure_variety=0.0), 0, 1)
        (varied,) = self.take(samples, dataclasses.replace(config, exposure_variety=0.3), 0, 1)

        def brightness(images: np.ndarray) -> np.ndarray:
            return np.clip(images, 0, 180).mean(axis=(2, 3, 4))

        assert plain.earlier_images is not None and varied.earlier_images is not None
        pairs = zip(varied.observation.images, plain.observation.images, strict=True)
        ratios = [brightness(after) / brightness(before) for after, before in pairs]
        assert all(ratio.min() >= 1 / 1.32 and ratio.max() <= 1.32 for ratio in ratios)
        assert np.std(ratios[0]) > 0.03 and np.abs(ratios[0] - ratios[1]).max() > 0.05
        then = brightness(varied.earlier_images) / brightness(plain.earlier_images)
        remembered = plain.earlier_valid
        assert np.corrcoef(then[remembered, 0], ratios[0][remembered, 0])[0, 1] > 0.9

    def test_drawn_by_weight(self):
        samples = made_up_samples(8)
        weight = np.array([0, 0, 1, 1, 2, 4, 0, 0], np.float32)
        weighted = dataclasses.replace(samples, weight=weight)
        config = dataclasses.replace(self.CONFIG, batch_size=800, memory=False)
        (batch,) = self.take(weighted, config, 0, 1)
        counts = np.bincount(batch.labels.curvature_1pm.astype(int), minlength=8)
        assert np.abs(counts - 100 * weight).max() <= 2
        assert batch.earlier_images is None

    def test_frames_of_a_real_drive_are_decoded(self):
        import io

        from PIL import Image

        def jpeg(width: int, height: int, level: int) -> bytes:
            buffer = io.BytesIO()
            Image.new("RGB", (width, height), (level, level, level)).save(buffer, "JPEG")
            return buffer.getvalue()

        samples = made_up_samples(1)
        frames = (jpeg(48, 32, 50), jpeg(32, 32, 200))
        real = dataclasses.replace(samples, town=np.array([""]), frames=[frames])
        config = dataclasses.replace(self.CONFIG, camera_dropout=0.0, exposure_variety=0.0, frame_noise=0.0)
        (noisy,) = self.take(real, dataclasses.replace(config, frame_noise=60.0), 0, 1)
        assert noisy.observation.images[0].std(axis=(1, 2, 3, 4)).max() > 10.0
        (batch,) = self.take(real, config, 0, 1)
        assert np.abs(batch.observation.images[0].astype(int) - 50).max() <= 3
        assert np.abs(batch.observation.images[1].astype(int) - 200).max() <= 3
        assert not batch.earlier_valid.any()
        with pytest.raises(DatasetError, match="frames"):
            self.take(dataclasses.replace(real, frames=[frames[:1]]), config, 0, 1)
        with pytest.raises(DatasetError, match="picture"):
            self.take(dataclasses.replace(real, frames=[(b"no", b"no")]), config, 0, 1)

    def test_bad_data_sets_are_named(self):
        samples = made_up_samples(3)
        for change, match in (
            ({"town": np.array(["toy", "elsewhere", "toy"])}, "elsewhere"),
            ({"weight": np.zeros(3, np.float32)}, "weight"),
        ):
            with pytest.raises(DatasetError, match=match):
                self.take(dataclasses.replace(samples, **change), self.CONFIG, 0, 1)
        with pytest.raises(DatasetError, match="no samples"):
            self.take(samples.select(np.array([], np.int64)), self.CONFIG, 0, 1)
