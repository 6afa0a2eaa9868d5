"""Thinking about cells one by one: order does not matter, memory does, and who is in a cell can be learnt."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.core.types import SightingLayer
from fleetloop.curate.curate import CurateConfig
from fleetloop.policy.encoder import GEOMETRY_FEATURES, cell_count
from fleetloop.policy.features import Inputs, inputs_from
from fleetloop.policy.glances import Glances
from fleetloop.policy.network import DriverNetwork, NetworkConfig, build_network, tells_sightings
from fleetloop.practice.collector import Collector
from fleetloop.sim.cameras import equal_rig
from fleetloop.sim.rollout import make_routes
from fleetloop.train.batches import BatchConfig, BatchSource
from fleetloop.train.imitate import ImitationConfig, Trainer
from fleetloop.train.losses import loss_parts
from fleetloop.train.mirror import mirrored_batch
from fleetloop.vehicle.drive import DriveConfig
from toy_world import toy_world

RIG = equal_rig(32, 16)
CELLS = sum(map(cell_count, RIG.cameras))
DRIVE = DriveConfig(vehicles=8, steps=60, agents=12, route_m=150.0)


def glancing(memory: bool = True) -> DriverNetwork:
    torch.manual_seed(0)
    return build_network(NetworkConfig(memory=memory, glances=True), RIG).eval()


def batch_source(size: int, **settings: bool) -> BatchSource:
    collector = Collector(
        toy_world(), RIG, make_routes(3, [0], 10**6, 150.0), None, DRIVE, CurateConfig(stride=2)
    )
    for _ in range(DRIVE.steps):
        collector.step()
    config = BatchConfig(batch_size=size, rig_variety=0.0, camera_dropout=0.0, **settings)
    return BatchSource(collector.take_all(), toy_world(), RIG, config, 0)


@given(st.integers(0, 10_000), st.integers(2, 12))
@settings(max_examples=20, deadline=None)
def test_the_order_of_cells_does_not_matter_but_where_they_look_does(seed: int, count: int):
    torch.manual_seed(seed)
    glances = Glances(8, 5, 16)
    cells, geometry, context = (
        torch.randn(3, count, 8),
        torch.randn(count, GEOMETRY_FEATURES),
        torch.randn(3, 5),
    )
    order = torch.randperm(count)
    with torch.no_grad():
        answers, sightings = glances(cells, geometry, None, context)
        turned, sightings_turned = glances(cells[:, order], geometry[order], None, context)
        elsewhere, _ = glances(cells, geometry + 1.0, None, context)
    torch.testing.assert_close(answers, turned, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sightings[:, order], sightings_turned, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(answers, elsewhere)


def observed(network: DriverNetwork) -> tuple[Inputs, torch.Tensor, torch.Tensor]:
    batch = batch_source(6).batch(0)
    return (
        inputs_from(batch.observation, batch.rig),
        torch.from_numpy(batch.earlier_images),
        torch.ones(6, dtype=torch.bool),
    )


def test_a_step_with_what_was_remembered_is_a_pair_of_pictures():
    network = glancing()
    inputs, earlier_images, valid = observed(network)
    with torch.no_grad():
        pair = network.forward_pair(inputs, earlier_images, valid)
        before = inputs._replace(images=(earlier_images, *inputs.images[1:]))
        _, remembered = network(
            before, torch.zeros(6, network.memory_width or 0), torch.zeros(6, dtype=torch.bool)
        )
        step, _ = network(inputs, remembered, valid)
        unknown = [
            network(inputs, memory, torch.zeros(6, dtype=torch.bool))[0].acceleration
            for memory in (remembered, torch.zeros_like(remembered))
        ]
    torch.testing.assert_close(pair.acceleration, step.acceleration)
    torch.testing.assert_close(pair.birds_eye_logits, step.birds_eye_logits)
    assert torch.equal(*unknown) and not torch.equal(unknown[0], step.acceleration)


@pytest.mark.parametrize("memory", [True, False])
def test_it_tells_of_each_cell_of_each_camera(memory: bool):
    network = glancing(memory)
    inputs, earlier_images, valid = observed(network)
    with torch.no_grad():
        outputs = network.forward_pair(inputs, earlier_images, valid)
        plain = build_network(NetworkConfig(memory=memory), RIG).forward_pair(inputs, earlier_images, valid)
    assert tells_sightings(network.config) and outputs.sightings.shape == (6, CELLS, len(SightingLayer))
    assert plain.sightings.shape[1] == 0 and not tells_sightings(NetworkConfig())


def test_who_is_in_a_cell_can_be_learnt():
    source = batch_source(16, sightings=True)
    network = glancing().train()
    trainer = Trainer(
        ImitationConfig(samples=10_000, learning_rate=2e-3, warmup_samples=100, compile=False), network
    )
    first = [trainer.update(source.batch(number))["sightings"] for number in range(4)]
    for number in range(4, 32):
        last = trainer.update(source.batch(number % 4))["sightings"]
    assert float(last) < 0.8 * float(torch.stack(first).mean())


def test_where_the_truth_is_not_known_nothing_is_learnt():
    batch = batch_source(6, sightings=True).batch(0)
    assert batch.sightings is not None and batch.sightings.shape == (6, CELLS, len(SightingLayer))
    assert np.isfinite(batch.sightings[..., SightingLayer.DISTANCE_M]).any()
    network = glancing()
    with torch.no_grad():
        outputs = network.forward_pair(
            inputs_from(batch.observation, batch.rig),
            torch.from_numpy(batch.earlier_images),
            torch.from_numpy(batch.earlier_valid),
        )
    config = ImitationConfig()
    assert loss_parts(outputs, batch, config)["sightings"] > 0.0
    assert loss_parts(outputs, mirrored_batch(batch), config)["sightings"] == 0.0
    silent = outputs._replace(sightings=outputs.sightings[:, :0])
    assert loss_parts(silent, batch, config)["sightings"] == 0.0
