"""Looking inside a network: what is told of it is what it does, and the pictures show it in the right place."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.core.types import BirdsEyeLayer, Observation
from fleetloop.evaluate.inside_view import (
    PREDICTED,
    TRUE,
    Truth,
    attention_opacity,
    birds_eye_picture,
    predictions_picture,
    truth_of,
)
from fleetloop.policy.export import TorchDriver
from fleetloop.policy.features import inputs_from
from fleetloop.policy.inside import InspectedDriver, look_inside
from fleetloop.policy.network import DriverNetwork, NetworkConfig, build_network
from fleetloop.policy.runtime import Readings
from fleetloop.sim.cameras import DEFAULT_RIG
from fleetloop.sim.demonstrator import empty_teaching


def observation(seed: int = 0) -> Observation:
    random = np.random.default_rng(seed)
    shapes = [(1, len(group), group[0].height, group[0].width, 3) for group in DEFAULT_RIG.groups]
    return Observation(
        tuple(random.integers(0, 256, shape, dtype=np.uint8) for shape in shapes),
        random.uniform(0.0, 4.0, (1, 8, 4)).astype(np.float32),
        np.array([[20.0, 1.0, 15.0, 80.0, -1.0, 15.0, 12.0, 7.0, 12.0, -7.0]], np.float32),
        np.array([9.0], np.float32),
    )


@pytest.fixture(scope="module")
def network() -> DriverNetwork:
    torch.manual_seed(1)
    network = build_network(NetworkConfig(), DEFAULT_RIG).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return network


def dimmed(network: DriverNetwork, group: int, camera: int, row: int, column: int, by: float) -> np.ndarray:
    """The two controls of the network in double precision when the features of one cell are `by` weaker."""
    calls: list[int] = []

    def dim(_: object, __: object, output: torch.Tensor) -> torch.Tensor | None:
        calls.append(0)
        if len(calls) != group + 1:
            return None
        changed = output.clone()
        changed[camera, :, row, column] *= 1.0 - by
        return changed

    hook = network.encoder.convolutions.register_forward_hook(dim)
    width = network.config.embedding_width
    earlier, valid = torch.zeros(1, width), torch.zeros(1, dtype=torch.bool)
    with torch.no_grad():
        outputs, _ = network(inputs_from(observation(), DEFAULT_RIG), earlier, valid)
    hook.remove()
    return np.array([outputs.curvature_control.item(), outputs.acceleration.item()])


@pytest.mark.parametrize("cell", [(0, 1, 2, 3), (0, 0, 0, 5), (1, 4, 1, 0), (1, 2, 0, 2)])
def test_attention_is_how_the_controls_change_when_a_cell_is_dimmed(
    cell: tuple[int, int, int, int], network: DriverNetwork
):
    group, camera, row, column = cell
    name = DEFAULT_RIG.groups[group][camera].name
    told = look_inside(network, observation(), DEFAULT_RIG).attention[name][row, column]
    change = dimmed(network, *cell, by=-0.02) - dimmed(network, *cell, by=0.02)
    assert told == pytest.approx(np.abs(change / 0.04).sum(), rel=0.05, abs=2e-4)


def test_looking_inside_changes_nothing(network: DriverNetwork):
    """The plans are those of the network that nobody looks into, its memory included; no gradient is left behind."""
    inspected, plain = InspectedDriver(network, DEFAULT_RIG), TorchDriver(network, DEFAULT_RIG, 1)
    for seed in range(6):
        seen, expected = (driver.plan(observation(seed)) for driver in (inspected, plain))
        np.testing.assert_array_equal(seen.poses_in_ego, expected.poses_in_ego)
        np.testing.assert_array_equal(seen.curvature_1pm, expected.curvature_1pm)
        inside = inspected.inside
        assert inside is not None
        np.testing.assert_array_equal(inside.poses_in_ego, expected.poses_in_ego[0])
        assert inside.spread_m[-1] == expected.spread_m[0]
        np.testing.assert_allclose(inside.experts.sum(axis=1), 1.0, atol=1e-6)
        assert ((inside.experts > 0.0).sum(axis=1) == 2).all() and inside.experts.shape == (2, 4)
        assert set(inside.attention) == {camera.name for camera in DEFAULT_RIG.cameras}
    assert all(parameter.grad is None for parameter in network.parameters())


def readings(gap_m: float, line_m: float = 79.0, signal: int = 0) -> Readings:
    probabilities = np.zeros((1, 5), np.float32)
    probabilities[0, signal] = 1.0
    line, gap, speed = (np.array([value], np.float32) for value in (line_m, gap_m, 3.0))
    rule, halt = np.eye(6, dtype=np.float32)[:1], np.full(1, 79.0, np.float32)
    return Readings(probabilities, line, gap, speed, rule, halt, np.zeros((1, 3, 16, 24), np.float32))


def straight() -> np.ndarray:
    return np.stack([np.linspace(1.0, 8.0, 8), np.zeros(8), np.zeros(8)], axis=1)


def rows_of(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows with pixels of a colour, in the middle camera of the first row."""
    height, width = 64 * 3, picture.shape[1]
    part = picture[:height, width // 3 : 2 * width // 3]
    return np.flatnonzero((part == colour).all(axis=2).any(axis=1))


@settings(deadline=None, max_examples=30)
@given(st.floats(3.0, 25.0), st.floats(1.0, 20.0))
def test_a_marker_is_lower_in_the_picture_the_nearer_it_is(gap_m: float, further_m: float):
    images = tuple(
        np.full((len(group), group[0].height, group[0].width, 3), 90, np.uint8)
        for group in DEFAULT_RIG.groups
    )
    near, far = (
        rows_of(predictions_picture(images, DEFAULT_RIG, straight(), 3, readings(distance)), PREDICTED)
        for distance in (gap_m, gap_m + further_m)
    )
    assert len(near) and len(far) and near.max() >= far.max() and np.ptp(near) >= np.ptp(far)


def test_the_truth_stands_beside_what_is_said():
    images = tuple(
        np.full((len(group), group[0].height, group[0].width, 3), 90, np.uint8)
        for group in DEFAULT_RIG.groups
    )
    said, truth = readings(10.0, 12.0, signal=1), Truth(1, 12.0, 20.0, 3.0, 4, 12.0)
    plain = predictions_picture(images, DEFAULT_RIG, straight(), 3)
    both = predictions_picture(images, DEFAULT_RIG, straight(), 3, said, 0, truth)
    assert both.shape[0] > plain.shape[0] and both.shape[1] == plain.shape[1]
    assert len(rows_of(both, PREDICTED)) and len(rows_of(both, TRUE)) and not len(rows_of(plain, PREDICTED))
    # Nothing is drawn of what is nowhere.
    nowhere = predictions_picture(images, DEFAULT_RIG, straight(), 3, readings(75.0))
    assert not len(rows_of(nowhere, PREDICTED))


def test_a_dark_signal_is_none():
    teaching = empty_teaching(2)
    teaching.signal_colour[:] = 4, 0
    assert truth_of(teaching, 0).signal == 0 and truth_of(teaching, 1).signal == 1


def test_a_network_that_is_broken_can_be_drawn(network: DriverNetwork):
    broken = build_network(NetworkConfig(), DEFAULT_RIG)
    with torch.no_grad():
        broken.heads.linear.bias.fill_(torch.nan)
    inside = look_inside(broken, observation(), DEFAULT_RIG)
    images = tuple(group[0] for group in observation().images)
    picture = predictions_picture(images, DEFAULT_RIG, inside.poses_in_ego, 2, inside=inside)
    assert picture.dtype == np.uint8
    cells = np.array([[np.nan, 1.0]], np.float32)
    assert attention_opacity(cells, {"a": cells}).tolist() == [[0, 170]]


def test_what_is_said_to_be_around_is_drawn_where_it_is():
    nothing = np.zeros((3, 16, 24), np.float32)
    empty = birds_eye_picture(nothing, 1)
    assert empty.shape == (64, 72, 3)
    white = np.argwhere((empty == TRUE).all(axis=-1))
    # The car stands 6 m before the rear edge and in the middle.
    assert white[:, 0].max() == 57 and set(white[:, 1]) == {35, 36}
    for layer in BirdsEyeLayer:
        # Seventh row ahead (22 to 26 m), second column from the right.
        said = nothing.copy()
        said[layer, 7, 1] = 1.0
        changed = np.argwhere((birds_eye_picture(said, 1) != empty).any(axis=-1))
        assert (changed.min(axis=0) == (32, 66)).all() and (changed.max(axis=0) == (35, 68)).all()
