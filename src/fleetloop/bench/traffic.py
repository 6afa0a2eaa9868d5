"""Agent-steps per second: how fast the worlds move, with nobody looking."""

from dataclasses import dataclass

import numpy as np

from fleetloop.bench.measure import REPEATS, Measurement, median_of, time_repeats
from fleetloop.core.types import EGO, AgentKind, World
from fleetloop.sim.motion import advance
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import make_routes
from fleetloop.sim.spawn import LEARNER_NEEDED_M


@dataclass(frozen=True)
class TrafficSize:
    """How much is simulated."""

    worlds: int = 64
    agents: int = 64
    """Road users in a world, where the streets have room for so many."""
    settle_steps: int = 100
    """Before the timing, so that queues and gaps are those of traffic under way."""
    steps: int = 200
    """In a repeat."""
    repeats: int = REPEATS


def measure_traffic(name: str, world: World, size: TrafficSize) -> Measurement:
    """Steps of all road users that there are; empty places count nothing.

    Timed are the decisions of everybody (IDM, right of way, signals), the demonstrator in the learner's place
    and the motion. Not timed: the safety driver, the accounts of routes, cameras.
    """
    towns = range(len(world.town_first_lane) - 1)
    rollout = Rollout(world, make_routes(0, towns, size.worlds, 1e9), size.worlds, size.agents)
    state, teaching = rollout.state, rollout.teaching
    moved: list[int] = []
    curvature = np.zeros_like(state.speed)

    def run(steps: int) -> int:
        agent_steps = 0
        for _ in range(steps):
            agent_steps += int(np.count_nonzero(state.kind != AgentKind.NONE))
            rollout.decide()
            curvature[:, EGO] = teaching.curvature_1pm
            decision = rollout.decision
            advance(world, state, decision.acceleration, curvature, decision.target_lane, LEARNER_NEEDED_M)
        return agent_steps

    run(size.settle_steps)
    seconds = time_repeats(name, lambda: moved.append(run(size.steps)), size.repeats)
    rates = [count / taken for count, taken in zip(moved[1:], seconds, strict=True)]
    present = sum(moved) / (len(moved) * size.steps * size.worlds)
    return median_of(
        name,
        rates,
        "agent-steps/s",
        f"{size.worlds} worlds with {present:.0f} of {size.agents} road users, decisions and motion, "
        "no safety driver, no cameras",
        worlds=size.worlds,
        agents=size.agents,
        agents_present=present,
        steps_per_repeat=size.steps,
    )
