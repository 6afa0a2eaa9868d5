"""How soon accelerations end badly, and the network that heeds what it thinks of that."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.core.labels import DANGER_HORIZON_S, TRIED_ACCELERATIONS_MPS2
from fleetloop.core.types import EGO, State, World
from fleetloop.policy.heads import RISK_HORIZON_S, RISK_LIMIT, Heads, decode, wary
from fleetloop.sim.dangers import foretell
from fleetloop.sim.demonstrator import empty_teaching, teach
from fleetloop.sim.occupancy import empty_occupancy
from fleetloop.sim.safety_driver import HORIZON_S, Danger, watch
from fleetloop.sim.traffic import decide, empty_decision
from fleetloop.train.losses import risk_loss
from toy_traffic import Car, open_road, put

TRIED = np.array(TRIED_ACCELERATIONS_MPS2)


def taught(world: World, state: State) -> tuple[np.ndarray, list[Danger]]:
    """Seconds until danger for each acceleration tried, and what the safety driver says of each."""
    decision = empty_decision(*state.kind.shape)
    decide(world, state, decision, empty_occupancy(*decision.halt_m.shape))
    teaching = empty_teaching(1)
    teach(world, state, decision, teaching, EGO)
    foretell(world, state, decision, teaching, EGO)
    found, dangers = np.zeros(1, np.int32), []
    for acceleration in TRIED:
        watch(
            world, state, decision, teaching.curvature_1pm, np.full(1, acceleration, np.float32), found, EGO
        )
        dangers.append(Danger(int(found[0])))
    return teaching.danger_s[0], dangers


@given(st.floats(6.0, 80.0), st.floats(0.0, 13.0), st.floats(0.0, 10.0), st.floats(-0.6, 0.6))
@settings(max_examples=40, deadline=None)
def test_danger_within_its_horizon_is_what_the_safety_driver_finds(
    gap: float, speed: float, lead_speed: float, offset: float
):
    world = open_road()
    state = put(world, Car(50.0, speed, offset_m=offset), Car(50.0 + 4.6 + gap, lead_speed))
    danger_s, dangers = taught(world, state)
    assert np.isfinite(danger_s).all() and (danger_s > 0.0).all() and (danger_s <= DANGER_HORIZON_S).all()
    for seconds, danger in zip(danger_s, dangers, strict=True):
        # The labels look at every 0.2 s, the safety driver at every 0.1 s.
        if seconds < HORIZON_S - 0.3:
            assert danger is not Danger.NONE
        if seconds > HORIZON_S + 0.3:
            assert danger is Danger.NONE
    # On a straight road harder braking is never worse.
    assert (np.diff(danger_s) <= 0.2 + 1e-6).all()


def test_a_standing_car_ahead_is_met_in_time():
    """20 m ahead of the front bumper, at 10 m/s, 2 s; braking with 3 m/s^2 and more stops before it."""
    front_and_rear = 3.7 + 0.9
    danger_s, _ = taught(open_road(), put(open_road(), Car(50.0, 10.0), Car(50.0 + front_and_rear + 20.0)))
    constant = list(TRIED).index(0.0)
    assert danger_s[constant] == pytest.approx(2.0, abs=0.21)
    assert (danger_s[TRIED <= -3.0] == DANGER_HORIZON_S).all()
    assert (danger_s[constant + 1 :] < danger_s[constant] + 1e-6).all()


def slowly(wanted: float, risks: np.ndarray) -> float:
    """The same by looking at ten thousand accelerations."""
    inside = min(max(wanted, TRIED[0]), TRIED[-1])
    grid = np.linspace(TRIED[0], inside, 10_001)
    allowed = grid[np.interp(grid, TRIED, risks) <= RISK_LIMIT]
    if np.interp(inside, TRIED, risks) <= RISK_LIMIT:
        return wanted
    if len(allowed):
        return min(float(allowed.max()), wanted)
    possible = inside >= TRIED
    return min(float(TRIED[possible][np.argmin(risks[possible])]), wanted)


@given(
    st.floats(-9.0, 5.0, width=32),
    st.lists(
        st.sampled_from([0.0, 0.01, 0.04, 0.06, 0.1, 0.5, 0.9]), min_size=len(TRIED), max_size=len(TRIED)
    ),
)
@settings(max_examples=200, deadline=None)
def test_the_highest_acceleration_that_is_not_risky(wanted: float, listed: list[float]):
    risks = np.array(listed, np.float32)
    chosen = float(wary(torch.tensor([wanted]), torch.from_numpy(risks)[None])[0])
    assert chosen <= wanted
    assert chosen == pytest.approx(slowly(wanted, risks), abs=2e-3)


def test_a_small_change_of_risk_changes_little():
    risks = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.01, 0.0, 0.0])
    wanted, before = torch.full((200,), 1.5), risks.repeat(200, 1)
    before[:, 5], before[:, 6] = torch.linspace(0.03, 0.08, 200), 0.2
    assert wary(wanted, before).diff().abs().max() < 0.05


def test_fresh_heads_find_nothing_risky():
    torch.manual_seed(0)
    outputs = Heads(16)(torch.randn(32, 16), torch.full((32,), 5.0), torch.zeros(()))
    decoded = decode(outputs)
    assert decoded.risks.max() < RISK_LIMIT
    torch.testing.assert_close(decoded.acceleration_mps2, 3.0 * outputs.acceleration)


def test_the_loss_leaves_out_what_is_not_known():
    danger_s = torch.full((3, len(TRIED)), DANGER_HORIZON_S)
    danger_s[1] = RISK_HORIZON_S - 0.1
    danger_s[2] = torch.nan
    logits = torch.full((3, len(TRIED)), -10.0, requires_grad=True)
    loss = risk_loss(logits, danger_s)
    loss.sum().backward()
    assert loss[0] < 1e-3 and loss[1] > 9.0 and loss[2] == 0.0
    assert logits.grad is not None and torch.isfinite(logits.grad).all() and not logits.grad[2].any()
