"""The coach: what it sees, what it tells, that it learns, and that the network is taught its situations."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop import releases
from fleetloop.artifacts.checkpoint import copy_coach, read_checkpoint, read_coach, write_checkpoint
from fleetloop.artifacts.lineage import read_artifact, verify_artifact
from fleetloop.core.errors import BundleError, CheckpointError, ConfigError
from fleetloop.core.types import EGO, AgentKind, CameraRig
from fleetloop.curate.curate import CurateConfig
from fleetloop.policy.features import inputs_from
from fleetloop.policy.network import NetworkConfig, build_network
from fleetloop.policy.planner import SITUATION_WIDTH, Planner, planners_of
from fleetloop.practice.coaching import CoachConfig, Coaching
from fleetloop.practice.collector import Collector
from fleetloop.practice.practise import PractiseConfig
from fleetloop.releases.find import find_driver
from fleetloop.releases.restore import restore_checkpoint
from fleetloop.sim.cameras import equal_rig
from fleetloop.sim.privileged_view import (
    PRIVILEGED_FIELDS,
    PRIVILEGED_OTHER,
    PRIVILEGED_OWN,
    privileged_view,
    seeing_nobody,
)
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import make_routes
from fleetloop.sim.state_view import (
    OTHER_FIELDS,
    OTHERS,
    OWN_FIELDS,
    PREVIEW_FIELDS,
    PREVIEW_M,
    UNSEEN_FIELDS,
)
from fleetloop.stages.training import practise_checkpoint
from fleetloop.stages.workspace import network_of
from fleetloop.train.batches import BatchConfig, BatchSource, Moments
from fleetloop.train.coach import Coach, CoachDriver, coach_from, coach_inputs, fresh_coach
from fleetloop.train.imitate import ImitationConfig
from fleetloop.train.losses import loss_parts, plan_losses
from fleetloop.train.mirror import mirrored_batch
from fleetloop.vehicle.drive import DriveConfig
from tiny_loop import TINY, prepare
from toy_world import toy_world

RIG = CameraRig((equal_rig(32, 16).groups[0][:1],))
DRIVE = DriveConfig(vehicles=8, steps=120, agents=6, route_m=150.0)
CONFIG = CoachConfig(
    samples=48_000,
    batch_size=64,
    learning_rate=3e-3,
    warmup_samples=1_000,
    drive=DRIVE,
    batches_per_round=4,
    capacity=5_000,
    threads=1,
)
SIGNAL = OWN_FIELDS + len(PREVIEW_M) * PREVIEW_FIELDS
CONTROL = SIGNAL + 7


def driven(driver: CoachDriver | None, seed: int = 3, steps: int = 120) -> Moments:
    collector = Collector(
        toy_world(), RIG, make_routes(seed, [0], 10**6, 150.0), driver, DRIVE, CurateConfig(stride=2)
    )
    for _ in range(steps):
        collector.step()
    return collector.take_all()


def untrained_coach(seed: int = 0) -> Coach:
    torch.manual_seed(seed)
    return Coach(Planner(4)).eval()


def test_it_is_told_how_long_it_has_stood_if_its_network_is():
    waiting = driven(None, steps=20)
    waiting.ego_history[:, :, 3] = 5.0
    driving = waiting._replace(ego_history=waiting.ego_history * np.array([1, 1, 1, 0], np.float32))
    for stood in (True, False):
        coach = fresh_coach(build_network(NetworkConfig(planner=True, stood=stood), RIG))
        assert coach is not None
        one, other = (coach.situations_of(moments) for moments in (waiting, driving))
        assert np.array_equal(one, other) != stood


def test_it_sees_who_is_there_and_what_signs_and_lamps_show():
    rollout = Rollout(toy_world(), make_routes(1, [0], 10**6, 200.0), 6, 8)
    seen_lights = seen_signals = 0
    for _ in range(80):
        rollout.decide()
        rollout.look()
        rows, state = privileged_view(rollout).astype(np.float64), rollout.state
        assert rows.shape == (6, PRIVILEGED_FIELDS) and np.isfinite(rows).all()
        assert (rows[:, UNSEEN_FIELDS] == 0.0).all() and rows[:, 0].any()
        for w in range(6):
            colour, control = rollout.teaching.signal_colour[w], rollout.teaching.junction_control[w]
            assert np.flatnonzero(rows[w, SIGNAL : SIGNAL + 6]).tolist() == [1 + colour]
            assert np.flatnonzero(rows[w, CONTROL : CONTROL + 6]).tolist() == [1 + control]
            seen_signals += colour >= 0
            others = rows[w, PRIVILEGED_OWN:].reshape(OTHERS, PRIVILEGED_OTHER)
            x, y, yaw = state.pose[w, EGO].astype(np.float64)
            for i, other in enumerate(others):
                kind = rollout.scene.agent_kind[w, i]
                if kind == AgentKind.NONE or other[0] == 0.0:
                    assert (other == 0.0).all()
                    continue
                forward = np.array([np.cos(yaw), np.sin(yaw)])
                apart = rollout.scene.agent_pose[w, i, :2] - (x, y)
                assert 50.0 * other[1] == pytest.approx(apart @ forward, abs=0.1)
                lights = rollout.scene.agent_lights[w, i]
                assert other[OTHER_FIELDS : OTHER_FIELDS + 3].tolist() == [
                    bool(lights & bit) for bit in (1, 2, 4)
                ]
                nearness = other[OTHER_FIELDS + 3]
                assert nearness == pytest.approx(1.0 / (1.0 + np.hypot(*apart) / 10.0), abs=2e-3)
                seen_lights += lights != 0
        rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
    assert seen_lights and seen_signals


@given(st.integers(0, 2**31 - 1))
@settings(max_examples=20, deadline=None)
def test_a_situation_does_not_depend_on_the_order_of_road_users(seed: int):
    random, coach = np.random.default_rng(seed), untrained_coach()
    moments = driven_once()
    shuffled = moments.privileged.copy()
    others = shuffled[:, PRIVILEGED_OWN:].reshape(len(shuffled), OTHERS, PRIVILEGED_OTHER)
    others[:] = others[:, random.permutation(OTHERS)]
    told = coach.situations_of(moments)
    assert told.shape == (len(moments.town), SITUATION_WIDTH)
    assert np.allclose(told.mean(axis=1), 0.0, atol=1e-4) and np.allclose(told.std(axis=1), 1.0, atol=0.5)
    assert np.allclose(told, coach.situations_of(moments._replace(privileged=shuffled)), atol=1e-4)


_DRIVEN: list[Moments] = []


def driven_once() -> Moments:
    if not _DRIVEN:
        _DRIVEN.append(driven(None))
    return _DRIVEN[0]


def test_what_was_not_kept_is_not_known():
    moments = driven_once().select(np.arange(4))
    moments.privileged[1] = np.nan
    assert np.isfinite(untrained_coach().situations_of(moments)).all(axis=1).tolist() == [
        True,
        False,
        True,
        True,
    ]


def mean_loss(coach: Coach, moments: Moments) -> float:
    with torch.no_grad():
        losses = plan_losses(coach(coach_inputs(moments)), moments.labels, ImitationConfig())
    return float((losses["curvature"] + losses["acceleration"]).mean())


def test_it_learns_to_drive_and_is_found_again(tmp_path: Path):
    begins_as = untrained_coach()

    def coach_at(progress: Callable[[float], None] | None = None) -> Coach:
        coaching = Coaching(CONFIG, ImitationConfig(), CurateConfig(stride=2), begins_as, toy_world(), RIG, 1)
        return coaching.finish(tmp_path / "c", progress)

    shares: list[float] = []
    coach = coach_at(shares.append)
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert mean_loss(coach, driven_once()) < 0.8 * mean_loss(begins_as, driven_once())
    again = coach_at(shares.append)
    assert shares[-1] == 1.0 and shares.count(1.0) == 1
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in coach.state_dict().items())
    (tmp_path / "c").write_bytes(b"damaged")
    anew = coach_at()
    assert all(torch.equal(value, anew.state_dict()[name]) for name, value in coach.state_dict().items())
    # It drives; the safety driver has something to do, for it has hardly learned.
    assert len(driven(CoachDriver(coach, DRIVE.vehicles)).town) > 50


def check_that_a_release_keeps_its_coach(checkpoint: Path, tmp_path: Path) -> None:
    """A coach that lies beside the Bundle whose record names it is there again in what is restored; no other is."""
    bundle, restored = tmp_path / "bundle", tmp_path / "restored"
    shutil.copytree(Path(releases.__file__).parent / "reference", bundle)
    record = bundle / "driver.bundle.artifact.json"
    content = orjson.loads(record.read_bytes())
    content["made_by"]["config"]["coach"] = copy_coach(checkpoint, bundle)
    record.write_bytes(orjson.dumps(content))
    restore_checkpoint(find_driver(str(bundle)), restored)
    verify_artifact(restored)
    kept, told = read_coach(restored), read_coach(checkpoint)
    assert kept is not None and told is not None and kept.keys() == told.keys()
    assert all(torch.allclose(kept[name].float(), told[name], rtol=2**-10, atol=2**-24) for name in told)
    (bundle / "coach.safetensors").write_bytes(b"another")
    with pytest.raises(BundleError, match="did not teach"):
        find_driver(str(bundle))
    assert copy_coach(tmp_path / "bare", bundle) is None
    assert find_driver(str(bundle)).taught_by is None


def test_the_coach_of_who_practises_on_goes_on_too(tmp_path: Path):
    small = replace(CONFIG, samples=128, drive=replace(DRIVE, vehicles=4, steps=30), capacity=500)
    preset = replace(
        TINY,
        network=NetworkConfig(planner=True),
        imitate=ImitationConfig(samples=32, batch_size=16, warmup_samples=16, compile=False, gpu=False),
        practise=PractiseConfig(drive=small.drive, coach=small, first_drive_samples=16, batches_per_round=1),
        batches=BatchConfig(batch_size=16),
    )
    library = TownLibrary(prepare(tmp_path / "workspace") / "towns")
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    practise_checkpoint(first, ["grid-0"], library, preset, 0)
    told = read_coach(first)
    assert told is not None
    network, _ = network_of(first)
    coach = coach_from(told, network)
    assert coach is not None and not coach.training
    # Its planner is where the network's began.
    assert not torch.equal(coach.planner.linear.weight, planners_of(network)[0].linear.weight)
    practise_checkpoint(second, ["grid-0"], library, preset, 1, first)
    verify_artifact(second)
    kept = read_coach(second)
    assert kept is not None
    later = coach_from(kept, network)
    assert later is not None
    # It learned on, and speaks of situations as it did; another one would not.
    before, after, other = (one.situations_of(driven_once()) for one in (coach, later, untrained_coach(1)))
    assert 0.0 < np.square(after - before).mean() < 0.5 * np.square(other - before).mean()
    # With it the network is taught what situations are, and is not without.
    shutil.copytree(first, tmp_path / "bare")
    tensors, config, _ = read_checkpoint(first)
    write_checkpoint(tmp_path / "bare", tensors, config, [], 0, {})
    practise_checkpoint(third, ["grid-0"], library, preset, 1, tmp_path / "bare")
    assert read_coach(third) is None
    situation = [read_artifact(path).figures["loss_situation"] for path in (second, third)]
    assert float(situation[0]) > 0.0 and situation[1] == 0.0
    assert coach_from(told, build_network(NetworkConfig(), RIG)) is None
    with pytest.raises(CheckpointError, match="practise the network again"):
        coach_from({}, network)
    check_that_a_release_keeps_its_coach(second, tmp_path)
    (second / "coach.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="not safetensors"):
        read_coach(second)
    with pytest.raises(CheckpointError, match="was changed after it was made"):
        practise_checkpoint(tmp_path / "fourth", ["grid-0"], library, preset, 1, second)


def test_who_is_misled_drives_otherwise():
    coach, moments = untrained_coach(), driven_once().select(slice(0, 8))
    torch.nn.init.normal_(coach.planner.linear.weight)
    knowing, misled = CoachDriver(coach, 8), CoachDriver(coach, 8, 1, (0.0, 1.0))
    plans = [
        driver.plan(moments) for driver in (knowing, knowing, misled, CoachDriver(coach, 8, 1, (0.0, 1.0)))
    ]
    assert (plans[0].acceleration_mps2 == plans[1].acceleration_mps2).all()
    assert (plans[2].acceleration_mps2 == plans[3].acceleration_mps2).all()
    off = ~np.isclose(plans[0].acceleration_mps2, plans[2].acceleration_mps2, atol=0.5)
    assert (off == (misled._scale > 0.0)).all() and off.any() and not off.all()
    everybody = np.ones(8, bool)
    misled.reset(everybody)
    assert not misled._noise.any()


def test_who_overlooks_everybody_sees_what_one_sees_who_is_alone():
    alone, among = (Rollout(toy_world(), make_routes(2, [0], 10**6, 200.0), 6, agents) for agents in (1, 12))
    seen = 0
    for _ in range(60):
        for rollout in (alone, among):
            rollout.decide()
            rollout.look()
        rows, others = privileged_view(alone), privileged_view(among)
        assert np.array_equal(seeing_nobody(rows), rows)
        overlooked = seeing_nobody(others)
        assert not overlooked[:, PRIVILEGED_OWN:].any()
        changed = np.flatnonzero((overlooked != others)[:, :PRIVILEGED_OWN].any(axis=0))
        assert set(changed) <= {9, 10}
        seen += (others[:, 9] < 1.0).sum()
        for rollout in (alone, among):
            rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
    assert seen > 20


def test_it_overlooks_for_seconds_as_often_as_asked():
    coach, moments = untrained_coach(), driven_once().select(slice(0, 40))
    torch.nn.init.normal_(coach.planner.linear.weight)
    before = moments.privileged.copy()
    driver, again = (CoachDriver(coach, 40, 5, overlooking=0.25) for _ in range(2))
    overlooks = []
    for _ in range(1_500):
        driver._overlooked(moments)
        overlooks.append(driver._overlooks.copy())
    share, turns = np.mean(overlooks), np.abs(np.diff(np.array(overlooks, int), axis=0)).sum()
    assert share == pytest.approx(0.25, abs=0.05)
    assert 2 * share * 40 * 1_500 / turns == pytest.approx(30.0, rel=0.25)  # steps at a time
    assert np.array_equal(moments.privileged, before)
    plans = [CoachDriver(coach, 40).plan(moments), again.plan(moments)]
    differs = plans[0].acceleration_mps2 != plans[1].acceleration_mps2
    assert not (differs & ~again._overlooks).any()
    driver.reset(np.ones(40, bool))
    assert not driver._overlooks.any()


def test_a_network_is_taught_its_situations():
    coach, moments = untrained_coach(), driven_once()
    torch.manual_seed(0)
    network = build_network(NetworkConfig(planner=True), RIG)
    assert len(planners_of(network)) == 1 and not planners_of(build_network(NetworkConfig(), RIG))
    source = BatchSource(moments, toy_world(), RIG, BatchConfig(batch_size=16), 0, coach=coach)
    batch = source.batch(0)
    assert batch.situation is not None and batch.situation.shape == (16, SITUATION_WIDTH)
    told = torch.from_numpy(batch.situation).clone()
    earlier = torch.from_numpy(batch.earlier_images)
    inputs = inputs_from(batch.observation, batch.rig)
    with torch.no_grad():
        outputs = network.forward_pair(inputs, earlier, torch.from_numpy(batch.earlier_valid))
    config = ImitationConfig()
    parts = loss_parts(outputs._replace(situation=told), batch, config)
    assert parts["situation"] == 0.0
    off_by_one = loss_parts(outputs._replace(situation=told + 1.0), batch, config)
    assert off_by_one["situation"] == pytest.approx(1.0)
    weighed = off_by_one["total"] - parts["total"]
    assert weighed == pytest.approx(config.situation_weight, rel=1e-3)
    for unknown in (mirrored_batch(batch), replace(batch, situation=np.full_like(batch.situation, np.nan))):
        assert loss_parts(outputs, unknown, config)["situation"] == 0.0
    assert loss_parts(outputs._replace(situation=told[:, :0]), batch, config)["situation"] == 0.0
    side_by_side = outputs._replace(situation=told.repeat(1, 2))
    assert loss_parts(side_by_side, batch, config)["situation"] == 0.0


def test_settings_that_cannot_be_are_named():
    with pytest.raises(ConfigError, match="capacity"):
        CoachConfig(capacity=0)
