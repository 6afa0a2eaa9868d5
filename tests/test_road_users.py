"""Whom the demonstrator brakes for, and for whom it waits."""

import math

import numpy as np
import pytest

from fleetloop.core.labels import Labels, empty_labels
from fleetloop.core.scene import SCENE_DTYPE
from fleetloop.core.types import AgentKind, Control, SignalColour
from fleetloop.curate.curate import CurateConfig, label_weight, waiting
from fleetloop.curate.road_users import (
    BrakedFor,
    braked_for,
    closes_in,
    gives_way,
    nears_yellow,
)


def scene(*agents: tuple[AgentKind, float, float], yaw: float = 0.0) -> np.ndarray:
    """One scene of agents (kind, metres ahead, metres to the left) of an ego vehicle that looks along `yaw`."""
    record = np.zeros(1, SCENE_DTYPE)
    record["ego_pose"] = (10.0, -20.0, yaw)
    for i, (kind, ahead, left) in enumerate(agents):
        record["agent_kind"][0, i] = kind
        record["agent_pose"][0, i, :2] = (
            10.0 + ahead * math.cos(yaw) - left * math.sin(yaw),
            -20.0 + ahead * math.sin(yaw) + left * math.cos(yaw),
        )
    return record


def who(record: np.ndarray, acceleration: float = -2.0, speed: float = 6.0) -> BrakedFor:
    return BrakedFor(
        braked_for(np.array([acceleration], np.float32), np.array([speed], np.float32), record)[0]
    )


@pytest.mark.parametrize("yaw", [0.0, 1.0, -2.5])
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (AgentKind.CYCLIST, BrakedFor.CYCLIST),
        (AgentKind.CHILD, BrakedFor.PEDESTRIAN),
        (AgentKind.TRUCK, BrakedFor.VEHICLE),
    ],
)
def test_who_is_in_the_lane_ahead_is_braked_for(kind: AgentKind, expected: BrakedFor, yaw: float):
    assert who(scene((kind, 12.0, 0.5), yaw=yaw)) is expected
    assert who(scene((kind, 12.0, 0.5), yaw=yaw), acceleration=-0.5) is BrakedFor.NOBODY
    assert who(scene((kind, 12.0, 0.5), yaw=yaw), speed=0.2) is BrakedFor.NOBODY
    assert who(scene((kind, -12.0, 0.5), yaw=yaw)) is BrakedFor.NOBODY
    assert who(scene((kind, 25.0, 0.5), yaw=yaw)) is BrakedFor.NOBODY
    assert who(scene((kind, 25.0, 0.5), yaw=yaw), speed=8.0) is expected


def test_people_on_foot_are_braked_for_while_they_come():
    assert who(scene((AgentKind.PEDESTRIAN, 12.0, 4.0))) is BrakedFor.PEDESTRIAN
    assert who(scene((AgentKind.CYCLIST, 12.0, 4.0))) is BrakedFor.NOBODY
    assert who(scene((AgentKind.CAR, 12.0, -4.0))) is BrakedFor.NOBODY


def test_of_several_the_one_that_is_seldom_counts():
    car, cyclist = (AgentKind.CAR, 8.0, 0.0), (AgentKind.CYCLIST, 14.0, 0.0)
    pedestrian = (AgentKind.PEDESTRIAN, 11.0, 3.0)
    assert who(scene(car, pedestrian)) is BrakedFor.PEDESTRIAN
    assert who(scene(car, pedestrian, cyclist)) is BrakedFor.CYCLIST
    assert who(scene()) is BrakedFor.NOBODY


def behind(gap_m: float, lead_mps: float, acceleration: float = -3.0) -> Labels:
    """Labels of one moment behind somebody who drives so fast."""
    labels = empty_labels(1, 60.0)
    labels.lead_gap_m[:], labels.lead_speed_mps[:] = gap_m, lead_mps
    labels.acceleration_mps2[:] = acceleration
    return labels


@pytest.mark.parametrize(
    ("labels", "speed_mps", "expected"),
    [
        (behind(20.0, 0.0), 10.0, True),  # 2.8 m/s^2
        (behind(12.0, 5.0), 10.0, True),  # 1.25 m/s^2
        (behind(13.0, 5.0), 10.0, False),  # 1.14 m/s^2
        (behind(12.0, 9.0), 10.0, False),
        (behind(12.0, 12.0), 10.0, False),
        (behind(20.0, 0.0, acceleration=-1.0), 10.0, False),
        (behind(6.0, 0.0), 2.5, False),  # into a queue
        (behind(2.2, 0.0), 0.3, True),  # it rolls on nearer than anybody stands
        (behind(2.2, 0.0, acceleration=-0.5), 0.3, False),
        (behind(2.2, 0.0), 0.0, False),
        (behind(1.0, 0.0), 5.0, True),
        (empty_labels(1, 60.0), 15.0, False),
        (empty_labels(1), 15.0, False),
    ],
)
def test_who_closes_in_on_somebody_has_to_brake(labels: Labels, speed_mps: float, expected: bool):
    speed = np.array([speed_mps], np.float32)
    assert closes_in(labels, speed).tolist() == [expected]
    nobody = np.zeros(1, SCENE_DTYPE)
    plain, heavier = (
        label_weight(labels, speed, nobody, CurateConfig(closing_weight=weight)) for weight in (1.0, 4.0)
    )
    assert heavier / plain == pytest.approx(4.0 if expected else 1.0) and heavier.dtype == np.float32


def halting(
    halt_m: float,
    acceleration: float,
    colour: int,
    control: Control = Control.SIGNAL,
    line_m: float | None = None,
) -> Labels:
    """Labels of one moment at a junction; the line of the lamp is where it is to halt, if not said."""
    labels = empty_labels(1, 60.0)
    labels.halt_m[:], labels.acceleration_mps2[:] = halt_m, acceleration
    labels.signal_colour[:], labels.junction_control[:] = colour, control
    labels.stop_line_m[:] = halt_m if line_m is None else line_m
    return labels


@pytest.mark.parametrize(
    ("labels", "at_all", "at_green"),
    [
        (halting(0.0, -0.1, SignalColour.GREEN_YIELD), True, True),
        (halting(5.0, -2.0, SignalColour.GREEN), True, True),
        (halting(5.0, -2.0, -1), True, True),  # past the line
        (halting(0.0, -0.1, SignalColour.RED), False, False),
        (halting(3.0, -3.0, SignalColour.YELLOW), False, False),
        (halting(3.0, -3.0, SignalColour.RED, line_m=4.5), False, False),
        # Red is the lamp of the next junction.
        (halting(1.0, -1.0, SignalColour.RED, Control.STOP, line_m=40.0), True, False),
        (halting(5.0, -2.0, SignalColour.RED, line_m=40.0), True, True),
        (halting(0.0, 1.6, SignalColour.GREEN_YIELD), False, False),
        (halting(20.0, -2.0, SignalColour.GREEN_YIELD), False, False),
        (halting(0.0, -0.1, -1, Control.YIELD), True, False),
        (empty_labels(1, 60.0), False, False),
        (empty_labels(1), False, False),
    ],
)
def test_who_lets_others_pass_gives_way(labels: Labels, at_all: bool, at_green: bool):
    assert gives_way(labels).tolist() == [at_all]
    assert (gives_way(labels) & (labels.junction_control == Control.SIGNAL)).tolist() == [at_green]
    speed, nobody = np.zeros(1, np.float32), np.zeros(1, SCENE_DTYPE)
    plain = label_weight(labels, speed, nobody, CurateConfig(gives_way_weight=1.0, at_green_weight=1.0))
    heavier = label_weight(labels, speed, nobody, CurateConfig(gives_way_weight=2.0, at_green_weight=3.0))
    assert heavier / plain == pytest.approx((2.0 if at_all else 1.0) * (3.0 if at_green else 1.0))
    stands = np.zeros((1, 8, 4), np.float32)
    assert waiting(stands, labels).tolist() == [labels.acceleration_mps2[0] <= 0.3 and not at_all]
    assert not waiting(stands + np.float32(2.0), labels).any()


@pytest.mark.parametrize(
    ("colour", "line_m", "expected"),
    [
        (SignalColour.YELLOW, 12.0, True),
        (SignalColour.YELLOW, 0.0, True),
        (SignalColour.YELLOW, 40.0, False),
        (SignalColour.RED, 12.0, False),
        (-1, 12.0, False),
    ],
)
def test_moments_at_a_yellow_lamp_count_more(colour: int, line_m: float, expected: bool):
    labels = empty_labels(1, 60.0)
    labels.signal_colour[:], labels.stop_line_m[:] = colour, line_m
    assert nears_yellow(labels).tolist() == [expected]
    speed, nobody = np.ones(1, np.float32), np.zeros(1, SCENE_DTYPE)
    plain, heavier = (
        label_weight(labels, speed, nobody, CurateConfig(at_yellow_weight=weight)) for weight in (1.0, 5.0)
    )
    assert heavier / plain == pytest.approx(5.0 if expected else 1.0)
