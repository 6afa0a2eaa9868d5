"""Careful drivers let others in, mind the lamp past the line, and see bodies that come into their way."""

import numpy as np
import pytest

from fleetloop.core.types import AgentKind, Control, LaneKind, SignalColour, State, World
from fleetloop.sim.behaviour import ENTRY_M, LOOKAHEAD_M
from fleetloop.sim.demonstrator import empty_teaching, teach
from fleetloop.sim.following import front_m
from fleetloop.sim.occupancy import empty_occupancy
from fleetloop.sim.traffic import Decision, decide, empty_decision
from toy_traffic import STRAIGHT_ON, Car, put, through
from toy_world import Arm, Turn, toy_world

FRONT_M = 3.7
"""From a car's rear axle to its front bumper."""


def decided(world: World, state: State) -> Decision:
    decision = empty_decision(*state.kind.shape)
    decide(world, state, decision, empty_occupancy(*state.kind.shape))
    return decision


def without_signals() -> World:
    world = toy_world()
    return world._replace(
        lane_control=np.where(world.lane_kind == LaneKind.JUNCTION, int(Control.YIELD), 0).astype(np.uint8),
        lane_signal=np.full_like(world.lane_signal, -1),
    )


@pytest.mark.parametrize(
    "speed, waited_s, lets_in", [(5.0, 20.0, True), (5.0, 5.0, False), (11.0, 20.0, False)]
)
def test_who_drives_slowly_lets_in_who_waited_long(speed: float, waited_s: float, lets_in: bool):
    """Who comes from the south has priority over who stands in the west."""
    world = without_signals()
    mine, theirs = through(Arm.SOUTH, Turn.STRAIGHT), through(Arm.WEST, Turn.STRAIGHT)
    me = Car(float(world.lane_length_m[mine[0]]) - FRONT_M - 12.0, speed, mine)
    other = Car(float(world.lane_length_m[theirs[0]]) - FRONT_M - 1.0, 0.0, theirs, wait_s=waited_s)
    alone, both = (decided(world, put(world, me, *others)).acceleration[0, 0] for others in ((), (other,)))
    assert (both < alone - 0.5) == lets_in


@pytest.mark.parametrize(
    "past_m, speed, waits",
    [
        (1.2, 0.0, True),
        (4.0, 0.0, False),
        (0.8, 2.0, True),
        (1.2, 2.0, True),
        (0.8, 5.0, False),
        (2.2, 0.5, False),
    ],
)
def test_who_is_just_past_the_line_minds_the_lamp(past_m: float, speed: float, waits: bool):
    """Whose rear axle nearly is in the junction clears it, and so does who cannot stop before."""
    world = toy_world()
    line = float(world.lane_length_m[STRAIGHT_ON[0]])
    state = put(world, Car(line - FRONT_M + past_m, speed), clock_s=40.0)
    decision = decided(world, state)
    assert (
        decision.acceleration[0, 0] < -2.0
        if waits and speed
        else (decision.acceleration[0, 0] < 0.1) == waits
    )
    teaching = empty_teaching(1)
    teach(world, state, decision, teaching, 0)
    seen = past_m < ENTRY_M
    assert teaching.signal_colour[0] == (SignalColour.RED if seen else -1)
    assert teaching.stop_line_m[0] == (0.0 if seen else LOOKAHEAD_M)


def test_who_walks_does_not_stand_still_on_the_road_for_a_lamp():
    world = toy_world()
    line = float(world.lane_length_m[STRAIGHT_ON[0]])
    past_m = line + 1.0 - float(front_m(AgentKind.PEDESTRIAN))
    walker = put(world, Car(past_m, 1.3, kind=AgentKind.PEDESTRIAN), clock_s=40.0)
    assert decided(world, walker).acceleration[0, 0] > -0.5


@pytest.mark.parametrize(
    "line_m, speed, learner_stops, others_stop",
    [
        (20.0, 10.0, True, True),
        (16.0, 10.0, True, False),  # a little late: on to the junction's edge it takes 2.8 m/s2
        (13.0, 10.0, False, False),
        (1.0, 3.5, True, False),
        (-0.8, 2.0, True, False),
        (-1.0, 5.0, False, False),
    ],
)
def test_the_demonstrator_stops_at_yellow_wherever_that_keeps_it_outside(
    line_m: float, speed: float, learner_stops: bool, others_stop: bool
):
    """Who began to brake too late is not told to go on after all."""
    world = toy_world()
    line = float(world.lane_length_m[STRAIGHT_ON[0]])
    state = put(world, Car(line - FRONT_M - line_m, speed), clock_s=26.0)
    for learner, stops in ((1, learner_stops), (0, others_stop)):
        state.learner[0, 0] = learner
        assert (decided(world, state).acceleration[0, 0] < -1.5) == stops


@pytest.mark.parametrize(
    "past_m, speed, waits_m",
    [
        (-1.5, 1.0, 0.5),  # to its place before the line
        (-0.2, 1.0, 0.23),
        (0.2, 2.0, 0.8),
        (0.5, 0.0, 0.0),
        (1.3, 1.5, 0.0),
        (1.8, 0.3, 8.7),  # in the junction
        (0.5, 4.0, 10.0),  # too late
    ],
)
def test_who_has_to_give_way_does_so_at_the_junctions_edge(past_m: float, speed: float, waits_m: float):
    """Past the line by a metre or so the demonstrator stays where it is, instead of rolling up to the others' way."""
    world = without_signals()
    theirs = through(Arm.SOUTH, Turn.STRAIGHT)
    line = float(world.lane_length_m[STRAIGHT_ON[0]])
    other = Car(float(world.lane_length_m[theirs[0]]) - FRONT_M - 20.0, 10.0, theirs)
    decision = decided(world, put(world, Car(line - FRONT_M + past_m, speed), other))
    assert decision.halt_m[0, 0] == pytest.approx(waits_m, abs=0.05)
    # It stops within half a metre of there, or goes on.
    needed = -(speed**2) / (2.0 * (waits_m + 0.5))
    assert (decision.acceleration[0, 0] <= needed + 1e-6) == (waits_m < 2.0)


@pytest.mark.parametrize("beside_m, brakes", [(1.4, True), (4.0, False)])
def test_a_body_that_sticks_out_into_the_junction_is_seen(beside_m: float, brakes: bool):
    """Nobody's way crosses here by the rules: a lorry stands askew in the junction, beside the middle of the way."""
    world = without_signals()._replace(conflict_start=np.zeros(len(toy_world().lane_kind) + 1, np.int32))
    line = float(world.lane_length_m[STRAIGHT_ON[0]])
    state = put(
        world, Car(line - 15.0, 8.0), Car(line + 6.0, 0.0, through(Arm.NORTH, Turn.STRAIGHT), AgentKind.TRUCK)
    )
    x, y, yaw = state.pose[0, 0]
    ahead = 22.0
    state.pose[0, 1] = x + ahead * np.cos(yaw), y + ahead * np.sin(yaw) - beside_m, yaw
    # On a way that leads off, as far as the rules know; it stands.
    state.path[0, 1], state.path[0, 1, 0] = -1, -1
    decision, teaching = decided(world, state), empty_teaching(1)
    decision.acceleration[0, 0] = 0.5
    teach(world, state, decision, teaching, 0)
    assert (teaching.acceleration_mps2[0] < -1.0) == brakes
    assert teaching.acceleration_mps2[0] <= decision.acceleration[0, 0]
