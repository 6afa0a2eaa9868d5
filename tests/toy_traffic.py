"""Road users put by hand on a World, for tests of traffic, the safety driver and the rollout."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleetloop.core.types import UPCOMING_LANES, AgentKind, State, World
from fleetloop.sim.motion import advance
from fleetloop.sim.occupancy import empty_occupancy
from fleetloop.sim.paths import path_point, rail_pose
from fleetloop.sim.rollout import empty_state
from fleetloop.sim.traffic import decide, empty_decision
from toy_world import Arm, Turn, connector, lane_in, lane_out, toy_world


def through(arm: Arm, turn: Turn) -> tuple[int, int, int]:
    """The lanes of a drive through the toy town's crossing."""
    return lane_in(arm), connector(arm, turn), lane_out(Arm((arm + turn + 1) % 4))


STRAIGHT_ON = through(Arm.WEST, Turn.STRAIGHT)
"""400 m along the main road, straight."""


def open_road() -> World:
    """The toy town with no signals and nobody to give way to: its main road is a plain straight road."""
    world = toy_world()
    return world._replace(
        lane_control=np.zeros_like(world.lane_control),
        lane_signal=np.full_like(world.lane_signal, -1),
        conflict_yield=np.zeros_like(world.conflict_yield),
    )


@dataclass(frozen=True)
class Car:
    """One road user on its path; `offset_m` to the left and `turned` (radians) matter for the learner only."""

    along_m: float
    speed_mps: float = 0.0
    path: Sequence[int] = STRAIGHT_ON
    kind: AgentKind = AgentKind.CAR
    offset_m: float = 0.0
    turned: float = 0.0
    wait_s: float = 0.0


def put(world: World, *cars: Car, clock_s: float = 0.0) -> State:
    """A State of one world with these road users, the learner first; along_m counts from the path's start."""
    state = empty_state(1, len(cars))
    state.clock_s[0], state.learner[0, 0] = clock_s, 1
    for a, car in enumerate(cars):
        lanes = np.full(UPCOMING_LANES, -1, np.int32)
        lanes[: len(car.path)] = car.path
        x, y, heading, curvature = path_point(world, lanes, float(car.along_m))
        yaw = heading if a == 0 else rail_pose(world, lanes, float(car.along_m), np.uint8(car.kind))[2]
        x, y = x - car.offset_m * np.sin(heading), y + car.offset_m * np.cos(heading)
        skipped, along = 0, car.along_m
        while along > world.lane_length_m[lanes[skipped]] and lanes[skipped + 1] >= 0:
            along -= float(world.lane_length_m[lanes[skipped]])
            skipped += 1
        state.kind[0, a] = car.kind
        state.path[0, a, : UPCOMING_LANES - skipped] = lanes[skipped:]
        state.pose[0, a] = x, y, yaw + car.turned
        state.along[0, a], state.offset[0, a] = along, car.offset_m
        state.speed[0, a], state.curvature[0, a], state.wait_s[0, a] = car.speed_mps, curvature, car.wait_s
    return state


def drive(world: World, state: State) -> None:
    """One step in which everybody does what it decided; the learner steers straight on."""
    decision = empty_decision(*state.kind.shape)
    decide(world, state, decision, empty_occupancy(*decision.halt_m.shape))
    straight = np.zeros_like(decision.acceleration)
    advance(world, state, decision.acceleration, straight, decision.target_lane, np.float32(200.0))
