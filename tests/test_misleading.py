"""The misled driver: who sees badly drives otherwise, for seconds, and what it learns from stays true."""

import math

import numpy as np
import torch

from fleetloop.core.types import Control
from fleetloop.policy.planner import SITUATION_WIDTH, Planner
from fleetloop.sim.privileged_view import (
    CONTROL_FIELDS,
    PRIVILEGED_FIELDS,
    PRIVILEGED_OTHER,
    PRIVILEGED_OWN,
)
from fleetloop.sim.state_view import LEAD_FIELDS, OTHERS
from fleetloop.train.batches import Moments, empty_moments
from fleetloop.train.coach import Coach, CoachDriver
from fleetloop.train.misleading import SEES_ALL, Misleading, Misled

VEHICLES = 400
EVERYBODY = np.ones(VEHICLES, bool)
BLIND = Misleading((0.0,), (math.pi,), (False,))
UNRULY = Misleading((0.0,), (0.0,), (True,))


def rows(control: Control | None = Control.YIELD) -> np.ndarray:
    """Somebody ahead, to the left, behind and to the right; a junction with this rule; a car to follow."""
    row = np.zeros((VEHICLES, PRIVILEGED_FIELDS), np.float16)
    others = row[:, PRIVILEGED_OWN:].reshape(VEHICLES, OTHERS, PRIVILEGED_OTHER)
    for number, (ahead, left) in enumerate(((0.2, 0.0), (0.0, 0.2), (-0.2, 0.0), (0.0, -0.2))):
        others[:, number, :3] = 1.0, ahead, left
    row[:, LEAD_FIELDS[0]], row[:, LEAD_FIELDS[1]] = 0.2, 0.5
    row[:, CONTROL_FIELDS.start + (0 if control is None else 1 + control)] = 1.0
    return row


def others_seen(seen: np.ndarray) -> np.ndarray:
    return seen[:, PRIVILEGED_OWN:].reshape(len(seen), OTHERS, PRIVILEGED_OTHER)[:, :4, 0] > 0.0


def moments(count: int) -> Moments:
    generator = np.random.default_rng(0)
    drawn = generator.uniform(-1.0, 1.0, (count, PRIVILEGED_FIELDS)).astype(np.float16)
    return empty_moments(count)._replace(privileged=drawn)


def test_who_sees_all_is_not_misled():
    assert (Misled(SEES_ALL, VEHICLES, 0).seen(rows()) == rows()).all()
    torch.manual_seed(0)
    assert CoachDriver(Coach(Planner(4)).eval(), 4).misled is None


def test_nobody_is_seen_in_the_blind_sector_and_what_is_given_is_left_alone():
    given = rows()
    seen = Misled(BLIND, VEHICLES, 0).seen(given)
    assert not others_seen(seen).any() and (given == rows()).all()
    assert (seen[:, LEAD_FIELDS[0]] == 1.0).all() and (seen[:, LEAD_FIELDS[1]] == 0.0).all()
    narrow = Misled(Misleading((0.0,), (0.5,), (False,)), VEHICLES, 0).seen(given)
    # A sector of one radian holds at most one of four at right angles; most look ahead.
    hidden = ~others_seen(narrow)
    assert (hidden.sum(axis=1) <= 1).all() and hidden[:, 0].mean() > hidden[:, 2].mean()
    # Who is not seen is not followed either.
    assert ((narrow[:, LEAD_FIELDS[0]] == 1.0) == hidden[:, 0]).all()


def test_the_rule_of_a_junction_without_lamps_is_taken_for_the_right_of_way():
    for control in Control:
        seen = Misled(UNRULY, VEHICLES, 0).seen(rows(control))
        taken = control if control == Control.SIGNAL else Control.NONE
        assert (np.flatnonzero(seen[0, CONTROL_FIELDS]) == [1 + taken]).all()
    # Where there is no junction, none is invented.
    assert (Misled(UNRULY, VEHICLES, 0).seen(rows(None)) == rows(None)).all()


def test_it_lasts_for_seconds():
    misled = Misled(Misleading(situation=(1.0,), blind_rad=(0.0, math.pi)), VEHICLES, 0)
    blind, noises = [], []
    for _ in range(200):
        misled.step()
        blind.append(~others_seen(misled.seen(rows()))[:, 0])
        noises.append(misled.noise.copy())
    changes = np.mean(np.array(blind[1:]) != np.array(blind[:-1]))
    # Three in a hundred look elsewhere at each step, and half of these change.
    assert abs(float(changes) - 0.015) < 0.003 and abs(np.mean(blind) - 0.5) < 0.06
    late = np.array(noises[100:])
    assert abs(late.std() - 1.0) < 0.05
    assert abs(np.mean(late[1:] * late[:-1]) - 0.95) < 0.05
    misled.reset(EVERYBODY)
    assert not misled.noise.any()


def test_who_is_misled_drives_otherwise_and_the_same_seed_alike():
    torch.manual_seed(0)
    coach, given = Coach(Planner(4)).eval(), moments(8)
    torch.nn.init.normal_(coach.planner.linear.weight)
    noisy = Misleading((0.0, 1.0), (0.0,), (False,))
    knowing, misled, alike = (
        CoachDriver(coach, 8),
        CoachDriver(coach, 8, 1, noisy),
        CoachDriver(coach, 8, 1, noisy),
    )
    expected, first, second = (driver.plan(given).acceleration_mps2 for driver in (knowing, misled, alike))
    assert (first == second).all()
    assert misled.misled is not None and misled.misled.noise.shape == (8, SITUATION_WIDTH)
    off = ~np.isclose(expected, first, atol=0.3)
    assert (off == (misled.misled.scale > 0.0)).all() and off.any() and not off.all()
