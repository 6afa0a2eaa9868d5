"""How weights move."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fleetloop.policy.network import NetworkConfig, build_network
from fleetloop.sim.cameras import DEFAULT_RIG
from fleetloop.train.optimiser import HIDDEN_RATE, Optimiser, is_hidden, orthogonalised
from fleetloop.train.saved_state import load_optimiser, optimiser_tensors


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), seed=st.integers(0, 1_000))
def test_orthogonalising_keeps_directions_and_evens_out_how_far(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(rows, rows, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(columns, columns, generator=generator))
    kept = min(rows, columns)
    # Not so small that five iterations do not lift it.
    singular = torch.linspace(1.0, 0.2, kept)
    matrix = left[:, :kept] @ torch.diag(singular) @ right[:, :kept].T
    result = left.T @ orthogonalised(matrix) @ right
    lengths = result.diagonal()
    assert ((lengths > 0.6) & (lengths < 1.3)).all()
    assert (result[:kept, :kept] - torch.diag(lengths)).abs().max() < 1e-3


def test_what_moves_by_muon_is_between_pictures_and_heads() -> None:
    network = build_network(NetworkConfig(planner=True, sightings=True), DEFAULT_RIG)
    hidden = {name for name, parameter in network.named_parameters() if is_hidden(name, parameter)}
    convolutions = {f"encoder.convolutions.{number}.weight" for number in (0, 2, 4, 6)}
    experts = {f"blocks.{block}.{way}.weight" for block in range(2) for way in ("up", "down")}
    assert hidden == convolutions | experts | {"encoder.project.weight", "enter.weight", "measured.2.weight"}


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _optimiser(network: nn.Module) -> Optimiser:
    return Optimiser(dict(network.named_parameters()), learning_rate=1e-3, weight_decay=0.01)


def _learn(network: nn.Module, optimiser: Optimiser, steps: int) -> float:
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randn(16, 3, 8, 8, generator=generator)
    answers = torch.randn(16, 4, generator=generator)
    loss = torch.tensor(torch.inf)
    for _ in range(steps):
        loss = (network(pictures) - answers).square().mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return loss.item()


def test_a_convolution_moves_as_far_however_steep_it_is() -> None:
    moved = []
    for steepness in (1e-4, 1.0):
        network = _network()
        optimiser = _optimiser(network)
        convolution = dict(network.named_parameters())["0.weight"]
        before = convolution.detach().clone()
        (steepness * network(torch.ones(1, 3, 8, 8)).sum()).backward()
        optimiser.step()
        moved.append((convolution.detach() - before).norm().item())
    # Eight directions at most, each by about the rate.
    assert 0.0 < moved[0] < 1.3 * 8**0.5 * HIDDEN_RATE * 1e-3
    assert moved[0] == pytest.approx(moved[1], rel=0.05)


def test_it_learns_what_is_asked_and_leaves_alone_what_has_no_gradient() -> None:
    network = _network()
    idle = nn.Parameter(torch.randn(3, 3, 3, 3))
    before = idle.detach().clone()
    optimiser = Optimiser({**dict(network.named_parameters()), "idle": idle}, 1e-3, 0.01)
    assert _learn(network, optimiser, 200) < 0.01
    assert torch.equal(idle.detach(), before)


def test_what_was_saved_goes_on_to_the_bit() -> None:
    through, first = _network(), _network()
    _learn(through, _optimiser(through), 7)
    _learn(first, begun := _optimiser(first), 4)
    saved = {
        name: value.clone()
        for name, value in optimiser_tensors(begun, dict(first.named_parameters())).items()
    }
    again = _network()
    again.load_state_dict(first.state_dict())
    resumed = _optimiser(again)
    load_optimiser(resumed, dict(again.named_parameters()), saved)
    _learn(again, resumed, 3)
    for expected, actual in zip(through.parameters(), again.parameters(), strict=True):
        assert torch.equal(expected, actual)
