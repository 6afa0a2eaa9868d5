"""Which expert fires where: weights that add up, situations that are told apart, a picture of both."""

import numpy as np
import pytest
import torch

from fleetloop.core.errors import ConfigError
from fleetloop.evaluate.expert_map import ExpertMap, ExpertMapConfig, expert_picture, map_experts
from fleetloop.policy.network import NetworkConfig, build_network
from fleetloop.sim.cameras import DEFAULT_RIG
from toy_world import toy_world


def test_experts_by_situation():
    torch.manual_seed(0)
    network = build_network(NetworkConfig(), DEFAULT_RIG).eval()
    config = ExpertMapConfig(steps=15, vehicles=3, agents=4)
    shares: list[float] = []
    found, again = (
        map_experts(network, toy_world(), ["toy-0"], DEFAULT_RIG, config, 5, shares.append) for _ in range(2)
    )
    for share in found.shares.values():
        assert share.shape == (2, 4)
        np.testing.assert_allclose(share.sum(axis=1), 1.0, atol=1e-6)
    counts = found.counts
    assert counts["toy"] == counts["drives on the right"] == 3 * 15 * 3 and "drives on the left" not in counts
    assert counts["night"] >= 45 and counts["rain"] >= 45
    doing = ("standing", "on the road", "junction, straight", "junction, left", "junction, right")
    assert sum(counts.get(name, 0) for name in doing) == counts["toy"]
    assert found.to_json() == again.to_json() and shares[-1] == 1.0
    picture = expert_picture(found)
    assert picture.dtype == np.uint8 and picture.shape[0] > 26 * len(counts)


def test_shares_by_hand():
    found, gates = ExpertMap(), np.array([[[1.0, 0.0]], [[0.5, 0.5]], [[0.0, 1.0]]])
    found.add("here", np.array([True, True, False]), gates)
    found.add("here", np.array([False, False, True]), gates)
    found.add("nowhere", np.zeros(3, bool), gates)
    assert found.to_json() == {"here": {"steps": 3, "shares": [[0.5, 0.5]]}}


def test_a_map_of_nothing_names_its_field():
    with pytest.raises(ConfigError, match="experts: steps is 0"):
        ExpertMapConfig(steps=0)
