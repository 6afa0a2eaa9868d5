"""Practice: the ring of moments, what the collector keeps, and a tiny run that is killed and goes on to the bit."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.core.errors import CheckpointError, ConfigError
from fleetloop.core.labels import with_label_columns
from fleetloop.core.types import CameraRig, Observation, Plan
from fleetloop.curate.curate import CurateConfig
from fleetloop.policy.network import DriverNetwork, NetworkConfig, build_network
from fleetloop.practice import practise as practise_module
from fleetloop.practice.coaching import CoachConfig
from fleetloop.practice.collector import Collector, _Kept
from fleetloop.practice.moments import MomentBuffer, join_moments, read_moments, thinned, write_moments
from fleetloop.practice.practise import PractiseConfig, practise
from fleetloop.practice.seeing import SeeingConfig, learn_to_see
from fleetloop.sim.cameras import equal_rig
from fleetloop.sim.routes import make_routes
from fleetloop.sim.safety_driver import Danger
from fleetloop.train.batches import BatchConfig, BatchSource, Moments, empty_moments
from fleetloop.train.imitate import ImitationConfig
from fleetloop.train.losses import sightings_loss
from fleetloop.vehicle.drive import DriveConfig
from toy_world import toy_world

RIG = CameraRig((equal_rig(32, 16).groups[0][:1],))
DRIVE = DriveConfig(vehicles=3, steps=40, agents=4, route_m=150.0)
COACH = CoachConfig(
    samples=256, batch_size=32, warmup_samples=64, drive=DRIVE, batches_per_round=3, capacity=300
)
CONFIG = PractiseConfig(
    drive=DRIVE,
    coach=COACH,
    seeing=SeeingConfig(samples=64, batch_size=16, warmup_samples=16),
    first_misled_steps=20,
    curate=CurateConfig(stride=2),
    capacity=400,
    first_drive_samples=32,
    batches_per_round=2,
    steps_per_batch=2,
    stage_samples=64,
    watch_steps=30,
)
IMITATION = ImitationConfig(samples=192, batch_size=16, warmup_samples=16, compile=False, gpu=False)
BATCHES = BatchConfig(batch_size=16, sightings=True)


class Swerve:
    """A driver that turns off the road."""

    def reset(self, mask: np.ndarray) -> None:
        pass

    def plan(self, observation: Observation) -> Plan:
        count = len(observation.time_of_day_h)
        return Plan(
            np.full(count, 0.1, np.float32),
            np.full(count, 0.5, np.float32),
            np.zeros((count, 8, 3), np.float32),
            np.zeros(count, np.float32),
        )


def numbered(first: int, count: int) -> Moments:
    return empty_moments(count)._replace(weight=np.arange(first, first + count, dtype=np.float32))


@given(st.integers(1, 12), st.lists(st.integers(0, 12), max_size=8))
@settings(max_examples=60, deadline=None)
def test_the_newest_moments_are_kept(capacity: int, sizes: list[int]):
    buffer, everything = MomentBuffer(capacity), []
    for size in (min(size, capacity) for size in sizes):
        buffer.append(numbered(len(everything), size))
        everything += range(len(everything), len(everything) + size)
    assert (
        sorted(buffer.moments.weight.tolist()) == everything[-capacity:] if everything else len(buffer) == 0
    )


def collected(policy: Swerve | None, steps: int = 60) -> Moments:
    drive = replace(DRIVE, steps=steps)
    collector = Collector(toy_world(), RIG, make_routes(3, [0], 10**6, 150.0), policy, drive, CONFIG.curate)
    for _ in range(steps):
        collector.step()
    early = collector.take()
    late = collector.take_all()
    assert len(early.town) and len(late.town) and not len(collector.take().town)
    assert (collector.driven.critical > 0) == (policy is not None)
    return join_moments([early, late])


def test_what_led_to_a_take_over_weighs_more():
    demonstrated, swerved = collected(None), collected(Swerve())
    plain = 1.0 + CONFIG.curate.turning_weight * 2.0 + CONFIG.curate.braking_weight * 2.0
    plain += CONFIG.curate.starting_weight
    assert demonstrated.weight.max() <= plain
    assert np.mean(swerved.weight >= CONFIG.curate.before_take_over_weight) > 0.1
    for moments in (demonstrated, swerved):
        moved = moments.scene["ego_pose"][:, :2] - moments.earlier_scene["ego_pose"][:, :2]
        # 0.4 s at what the car did meanwhile: never a jump to another route.
        assert np.hypot(*moved.T).max() < 0.4 * (moments.ego_history[:, :, 0].max() + 1.0)


def test_a_take_over_says_nothing_of_the_route_before():
    collector = Collector(toy_world(), RIG, make_routes(3, [0], 10**6, 150.0), Swerve(), DRIVE, CONFIG.curate)
    of_both = [empty_moments(2)._replace(weight=np.ones(2, np.float32)) for _ in range(2)]
    vehicles, quiet = np.array([0, 1]), np.zeros(3, np.int32)
    collector._decide(_Kept(vehicles, np.zeros(2, np.int64), of_both[0], np.zeros(2, bool)), quiet)
    collector._routes_ended[0] = 1
    danger = np.full(3, int(Danger.COLLISION), np.int32)
    collector._decide(_Kept(vehicles, np.array([1, 0]), of_both[1], np.zeros(2, bool)), danger)
    factor = CONFIG.curate.before_take_over_weight
    assert of_both[0].weight.tolist() == [1.0, factor] and of_both[1].weight.tolist() == [factor, factor]
    # Nor does what led to two count twice.
    third = empty_moments(2)._replace(weight=np.ones(2, np.float32))
    collector._decide(_Kept(vehicles, np.array([1, 0]), third, np.zeros(2, bool)), danger)
    assert [moments.weight.tolist() for moments in (*of_both, third)] == [[1.0, factor]] + [
        [factor, factor]
    ] * 2


@given(st.integers(0, 2**31 - 1), st.floats(0.05, 0.9))
@settings(max_examples=40, deadline=None)
def test_thinned_moments_are_drawn_in_the_same_proportions(seed: int, share: float):
    random = np.random.default_rng(seed)
    weight = random.choice([1.0, 2.0, 50.0], 4_000, p=[0.6, 0.38, 0.02]).astype(np.float32)
    before = empty_moments(len(weight))._replace(weight=weight, town=weight.astype(np.int32))
    kept = thinned(before, share, random)
    assert len(kept.town) < 1.15 * share * len(weight) + 60
    assert kept.weight.sum() == pytest.approx(share * weight.sum(), rel=0.3)
    for each in (1, 2, 50):
        expected, chance = (weight == each).sum(), min(share * each / weight.mean(), 1.0)
        found = kept.weight[kept.town == each]
        assert np.allclose(found, share * each / chance)
        assert len(found) == pytest.approx(chance * expected, abs=5.0 * np.sqrt(expected * chance) + 1.0)


def test_all_are_kept_of_what_is_not_to_be_thinned():
    moments = empty_moments(3)._replace(weight=np.array([1.0, 0.0, 2.0], np.float32))
    assert thinned(moments, 1.0, np.random.default_rng(0)) is moments
    assert len(thinned(empty_moments(0), 0.5, np.random.default_rng(0)).town) == 0


def test_moments_survive_their_file(tmp_path: Path):
    moments = collected(None)
    write_moments(tmp_path / "m.npz", moments)
    kept = with_label_columns(read_moments(tmp_path / "m.npz")._asdict())
    for name, before in with_label_columns(moments._asdict()).items():
        assert before.dtype == kept[name].dtype and (before == kept[name]).all()
    content = (tmp_path / "m.npz").read_bytes()
    (tmp_path / "m.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"m\.npz"):
        read_moments(tmp_path / "m.npz")


def run(folder: Path, seed: int = 0, unseen: range | None = None) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    network = build_network(NetworkConfig(planner=True, sightings=True), RIG)
    imitation = replace(IMITATION, seed=seed)
    told: list[tuple[int, dict[str, float]]] = []
    result = practise(
        CONFIG,
        imitation,
        network,
        toy_world(),
        1,
        BATCHES,
        folder,
        lambda *said: told.append(said),
        unseen=unseen,
    )
    assert result.samples_seen == 192 and np.isfinite(result.losses["total"])
    assert [seen for seen, _ in told][-1] == 192
    watched = [(seen, figures) for seen, figures in told if "unseen_total" in figures]
    assert [seen for seen, _ in watched] == ([] if unseen is None else [64, 128, 192])
    for seen, figures in watched:
        told.remove((seen, figures))
        assert all(name.startswith("unseen_") and np.isfinite(value) for name, value in figures.items())
    for _, figures in told:
        assert figures["samples_per_s"] > 0.0 and 0.0 <= figures["waiting_share"] <= 1.0
        assert 0.0 < figures["learning_rate"] <= imitation.learning_rate
    assert result.waiting_share is not None and 0.0 <= result.waiting_share <= 1.0
    return result.network.state_dict()


def test_same_seed_same_bits_and_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = run(tmp_path / "whole")
    again = run(tmp_path / "again")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    watched = run(tmp_path / "watched", unseen=range(1))
    assert all(torch.equal(whole[name], watched[name]) for name in whole)
    assert any(not torch.equal(whole[name], other) for name, other in run(tmp_path / "seed", 1).items())

    class KilledError(Exception):
        pass

    written = []

    def save_twice(*arguments) -> None:
        if written:
            raise KilledError
        save_state(*arguments)
        written.append(arguments)

    save_state = practise_module.save_state
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(practise_module, "save_state", save_twice)
        run(tmp_path / "killed")
    assert len(written) == 1
    # Killed once more, when all was done but the weights were not yet safe, it has its figures all the same.
    for _ in range(2):
        resumed = run(tmp_path / "killed")
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_members_begin_with_an_eye_each_that_is_not_trained_twice(tmp_path: Path):
    config = NetworkConfig(planner=True, sightings=True)
    moments, world, path = collected(None), toy_world(), tmp_path / "eye.safetensors"
    seeing = SeeingConfig(samples=320, batch_size=16, warmup_samples=16)

    def begun() -> tuple[list[DriverNetwork], list[float]]:
        torch.manual_seed(0)
        networks, told = [build_network(config, RIG) for _ in range(2)], list[float]()
        learn_to_see(seeing, IMITATION, networks, world, RIG, moments, BATCHES, path, told.append)
        return networks, told

    torch.manual_seed(0)
    fresh, fresh_second = [build_network(config, RIG) for _ in range(2)]
    (first, second), told = begun()
    assert told[-1] == 1.0 and sorted(told) == told
    (again, second_again), told_again = begun()
    assert told_again == []
    for name, value in first.state_dict().items():
        is_of_eye = name.startswith(("encoder.convolutions.", "sightings."))
        assert torch.equal(value, again.state_dict()[name])
        assert torch.equal(value, fresh.state_dict()[name]) != is_of_eye
        other = second.state_dict()[name]
        assert torch.equal(other, second_again.state_dict()[name])
        assert torch.equal(other, fresh_second.state_dict()[name]) != is_of_eye
        assert not is_of_eye or not torch.equal(value, other)
    assert not torch.equal(first.enter.weight, second.enter.weight)
    batch = BatchSource(moments, world, RIG, BATCHES, 1).batch(0)
    assert batch.sightings is not None
    losses = []
    for network in (fresh, first):
        cells = [network.encoder.cells(torch.from_numpy(images)) for images in batch.observation.images]
        losses.append(sightings_loss(network.see(cells), torch.from_numpy(batch.sightings)).mean().item())
    assert losses[1] < 0.5 * losses[0]


def test_other_settings_begin_anew(tmp_path: Path):
    run(tmp_path / "run", 0)
    assert torch.equal(run(tmp_path / "run", 1)["enter.weight"], run(tmp_path / "other", 1)["enter.weight"])


@pytest.mark.parametrize(
    "config, message",
    [
        ({"overlooking": 1.0}, "practise: overlooking is 1.0; use 0 or more, and less than 1"),
        ({"overlooking": math.nan}, "practise: overlooking is nan"),
        ({"misled_kept": 1.5}, "practise: misled_kept is 1.5; use 0 to 1"),
    ],
)
def test_shares_that_are_none_are_refused(config: dict[str, float], message: str):
    with pytest.raises(ConfigError, match=message):
        PractiseConfig(**config)  # pyright: ignore[reportArgumentType]
    if "overlooking" in config:
        with pytest.raises(ConfigError, match="coach: overlooking"):
            CoachConfig(overlooking=config["overlooking"])
    PractiseConfig(misled_kept=1.0, overlooking=0.0)


def test_nothing_to_train_on_is_refused(tmp_path: Path):
    network = build_network(NetworkConfig(), RIG)
    with pytest.raises(ConfigError, match="samples"):
        practise(CONFIG, replace(IMITATION, samples=8), network, toy_world(), 1, BATCHES, tmp_path / "run")
    with pytest.raises(ConfigError, match="capacity"):
        PractiseConfig(capacity=0)
