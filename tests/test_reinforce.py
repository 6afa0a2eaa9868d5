"""Learning by reinforcement: its arithmetic against a slow reference, and a tiny run from end to end."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.core.errors import ConfigError
from fleetloop.core.labels import empty_labels
from fleetloop.core.types import NAVIGATION_VALUES, CameraRig, Observation
from fleetloop.policy.network import AnyNetwork, EnsembleConfig, NetworkConfig, build_network
from fleetloop.policy.planner import Intention
from fleetloop.sim.cameras import equal_rig
from fleetloop.sim.routes import Route, make_routes
from fleetloop.train import reinforce as module
from fleetloop.train.batch import Batch
from fleetloop.train.experience import AdvantageScale, Experience, advantages_of, end_to_end
from fleetloop.train.reinforce import ReinforcementConfig, controls_of, policy_of, reinforce
from toy_world import toy_world

RIG = CameraRig((equal_rig(32, 16).groups[0][:1],))
SMALL = ReinforcementConfig(
    samples=64, vehicles=4, agents=4, steps=8, epochs=1, batch_size=16, critic_warmup=1, gpu=False
)


def experience(
    reward: np.ndarray, value: np.ndarray, ended: np.ndarray, wrong: np.ndarray | None = None
) -> Experience:
    count = len(reward)
    empty = np.zeros(count, np.float32)
    seen = Observation(
        (), np.zeros((count, 8, 4), np.float32), np.zeros((count, NAVIGATION_VALUES), np.float32), empty
    )
    labels = Batch(
        *(seen, RIG, None, np.ones(count, bool), empty_labels(count)),
        *(np.zeros((count, 3, 16, 24), np.uint8), empty),
    )
    nothing = torch.zeros(count)
    return Experience(
        labels, nothing, nothing, nothing, nothing, nothing, nothing,
        torch.from_numpy(value), torch.from_numpy(reward), torch.from_numpy(ended),
        torch.from_numpy(ended if wrong is None else wrong),
        torch.zeros(count, dtype=torch.bool), torch.ones(count, dtype=torch.bool), torch.zeros(count, 0),
    )  # fmt: skip


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_advantages_are_the_discounted_sum_of_surprises(seed: int):
    """The definition, term by term: Schulman et al. (2016), equation 16."""
    random = np.random.default_rng(seed)
    count, vehicles = 9, 3
    reward, value = random.normal(size=(2, count, vehicles)).astype(np.float32)
    ended, last = random.random((count, vehicles)) < 0.3, random.normal(size=vehicles).astype(np.float32)
    wrong = ended & (random.random((count, vehicles)) < 0.5)
    steps = [experience(*parts) for parts in zip(reward, value, ended, wrong, strict=True)]
    actual = advantages_of(steps, torch.from_numpy(last), SMALL.discount, SMALL.trace).numpy()
    following = np.concatenate([value[1:], last[None]])
    for start in range(count):
        for w in range(vehicles):
            total, factor = 0.0, 1.0
            for t in range(start, count):
                # After what went wrong nothing comes; a route that is over goes on in thought.
                comes = following[t, w] if not ended[t, w] else 0.0 if wrong[t, w] else value[t, w]
                total += factor * (reward[t, w] + SMALL.discount * comes - value[t, w])
                if ended[t, w]:
                    break
                factor *= SMALL.discount * SMALL.trace
            assert actual[start, w] == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize("count", [0, 1])
def test_next_to_nothing_to_learn_from_is_finite(count: int):
    ones = np.ones(3, np.float32)
    step = experience(ones, ones, np.zeros(3, bool))
    step = replace(step, counts=torch.arange(3) < count, memory=torch.zeros(3, 4), state=torch.zeros(3, 5))
    taught = end_to_end([step, step], torch.ones(2, 3))
    assert len(taught.action) == len(taught.batch.weight) == 2 * count
    one = end_to_end([step], torch.ones(1, 3))
    assert one.advantage.tolist() == [0.0] * count


def test_a_round_without_danger_counts_no_more_than_it_is_worth():
    """Most rounds have none; what a little speed gains in them must stay small beside a critical intervention."""
    random, scale = np.random.default_rng(3), AdvantageScale()
    quiet = [torch.from_numpy(random.normal(0.0, 0.01, 512)) for _ in range(40)]
    for number, advantage in enumerate(quiet):
        advantage[: 2 * (number % 10 == 0)] = -1.0
        scaled = scale.scaled(advantage)
        if number >= 20:
            # Of 512 a tenth of two are 1, the others some 0.01.
            assert scaled[2:].std().item() == pytest.approx(0.01 / math.sqrt(2e-3 * 0.2 + 1e-4), rel=0.2)
    gone_on = AdvantageScale()
    gone_on.load(scale.tensors())
    assert torch.equal(gone_on.scaled(quiet[0]), scale.scaled(quiet[0]))


def test_what_is_tried_lasts_and_is_as_wide_as_asked_for():
    config = replace(SMALL, persistence=0.9, curvature_spread=0.1, acceleration_spread=0.2)
    nothing = torch.zeros(4_000)
    intended = Intention(nothing, nothing, torch.zeros(4_000, 8, 3), torch.zeros(()))
    leaning = torch.zeros(4_000, 2)
    tried: list[torch.Tensor] = []
    torch.manual_seed(0)
    for _ in range(60):
        action = policy_of(intended, leaning, config).sample()
        leaning = config.persistence * (action - controls_of(intended))
        tried.append(action)
    assert tried[-1].std(dim=0).tolist() == pytest.approx([0.1, 0.2], rel=0.05)
    apart = torch.corrcoef(torch.stack([tried[-1][:, 1], tried[-11][:, 1]]))[0, 1].item()
    assert apart == pytest.approx(0.9**10, abs=0.05)


def routes(stage: int) -> Iterator[Route]:
    return make_routes(1 + stage, [0], 10_000, 100.0)


def run(
    config: ReinforcementConfig,
    network_config: AnyNetwork | None = None,
    partial_state: Path | None = None,
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    torch.manual_seed(5)
    network = build_network(network_config or NetworkConfig(), RIG)
    taught = reinforce(config, network, RIG, toy_world(), routes, None, partial_state)
    assert taught.samples == config.samples
    return taught.network.state_dict(), taught.figures


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    first, figures = run(SMALL)
    second, _ = run(SMALL)
    other, _ = run(replace(SMALL, seed=1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert {"km", "critical", "policy", "imitation", "value"} <= set(figures)


@pytest.mark.parametrize("planner_only", [False, True])
def test_an_interrupted_run_ends_in_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planner_only: bool
):
    config = replace(SMALL, samples=160, stage_samples=64, critic_warmup=3, planner_only=planner_only)
    planner, state = NetworkConfig(planner=True), tmp_path / "state.safetensors"
    whole, _ = run(config, planner)
    save, kept = module._Learner.save, 0

    def save_and_die(learner: Any, path: Path, rounds: int) -> None:
        nonlocal kept
        save(learner, path, rounds)
        kept += 1
        if kept < 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(module._Learner, "save", save_and_die)
    # In the first stage the policy has not learnt yet, in the second it begins to.
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(config, planner, state)
    gone_on, _ = run(config, planner, state)
    assert all(torch.equal(whole[name], gone_on[name]) for name in whole)
    assert kept == 2
    # What another run left is not gone on from.
    other, _ = run(replace(config, seed=1), planner, state)
    assert any(not torch.equal(whole[name], other[name]) for name in whole)


def test_while_the_critic_warms_up_the_policy_stays():
    torch.manual_seed(5)
    fresh = build_network(NetworkConfig(), RIG).state_dict()
    kept, _ = run(replace(SMALL, critic_warmup=2))
    assert all(torch.equal(fresh[name], kept[name]) for name in fresh)


@pytest.mark.parametrize(("limit", "updates"), [(-1.0, 2), (100.0, 4)])
def test_a_policy_that_has_gone_too_far_waits_for_the_next_round(
    monkeypatch: pytest.MonkeyPatch, limit: float, updates: int
):
    update, count = module._Learner._update_policy, 0

    def counted(learner: Any, some: Any) -> dict[str, float]:
        nonlocal count
        count += 1
        return update(learner, some)

    monkeypatch.setattr(module._Learner, "_update_policy", counted)
    # Two rounds in which the policy learns, of two batches each.
    run(replace(SMALL, critic_warmup=0, divergence_limit=limit))
    assert count == updates


def test_of_a_network_with_a_planner_that_alone_may_learn():
    with_planner = NetworkConfig(planner=True)
    torch.manual_seed(5)
    fresh = build_network(with_planner, RIG).state_dict()
    kept, figures = run(replace(SMALL, planner_only=True), with_planner)
    moved = {name for name in fresh if not torch.equal(fresh[name], kept[name])}
    assert moved and all(name.startswith("heads.planner.") for name in moved)
    assert {"policy", "imitation", "value"} <= set(figures)
    everything, _ = run(SMALL, with_planner)
    assert any(
        not torch.equal(fresh[name], everything[name]) for name in fresh if name.startswith("encoder.")
    )


def test_the_planners_of_networks_that_drive_as_one_learn_together():
    pair = EnsembleConfig((NetworkConfig(planner=True), NetworkConfig(planner=True, memory=False)))
    torch.manual_seed(5)
    fresh = build_network(pair, RIG).state_dict()
    kept, figures = run(replace(SMALL, planner_only=True), pair)
    moved = {name for name in fresh if not torch.equal(fresh[name], kept[name])}
    assert {name.split(".heads.planner.")[0] for name in moved} == {"members.0", "members.1"}
    assert all(".heads.planner." in name for name in moved)
    assert {"policy", "imitation", "value"} <= set(figures)


def test_wrong_settings_are_named():
    with_planner, without = NetworkConfig(planner=True), NetworkConfig()
    for config, counts in ((without, "0 of 1"), (EnsembleConfig((with_planner, without)), "1 of 2")):
        network = build_network(config, RIG)
        with pytest.raises(ConfigError, match=f"{counts} networks have a planner"):
            reinforce(replace(SMALL, planner_only=True), network, RIG, toy_world(), routes)
    with pytest.raises(ConfigError, match="epochs"):
        ReinforcementConfig(epochs=0)
    with pytest.raises(ConfigError, match="persistence"):
        ReinforcementConfig(persistence=1.0)
    with pytest.raises(ConfigError, match="samples"):
        ReinforcementConfig(samples=10)
    with pytest.raises(ConfigError, match=r"critical_penalty_m is 0\.0; use 1 or more"):
        ReinforcementConfig(critical_penalty_m=0.0)
    network = build_network(NetworkConfig(memory=False), RIG)
    with pytest.raises(ConfigError, match="memory"):
        reinforce(SMALL, network, RIG, toy_world(), routes)
