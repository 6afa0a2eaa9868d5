"""What every road user wants to do next: IDM behind leaders, signals, right of way, lane changes.

One kernel decides for all, the demonstrator included: it sees nothing that a driver could not see (others'
positions, speeds and lamps; who has priority by signs), apart from knowing which way others will turn.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32
from numba import njit, prange

from fleetloop.core.kernels import device
from fleetloop.core.random import Stream, uniform
from fleetloop.core.types import STEP_S, AgentKind, Script, State, World
from fleetloop.sim import behaviour
from fleetloop.sim.bus_stops import serve_stop
from fleetloop.sim.following import desired_speed, front_m, idm, is_on_foot, leader, temperament
from fleetloop.sim.lane_change import choose_lane, may_pull_out
from fleetloop.sim.occupancy import Occupancy, occupy
from fleetloop.sim.paths import FAR_M
from fleetloop.sim.right_of_way import force_through, halt
from fleetloop.sim.scripts import act, corridor_gap, insists, is_obstacle

_NOBODY = int(AgentKind.NONE)
_DRIVER = int(Stream.DRIVER)
_EMERGENCY, _NO_SCRIPT = int(AgentKind.EMERGENCY), int(Script.NONE)
_PULL_OUT = int(Script.PULL_OUT)


class Decision(NamedTuple):
    """What each road user decided in a step."""

    acceleration: Float32[np.ndarray, "W A"]
    halt_m: Float32[np.ndarray, "W A"]
    """From the front bumper to where it must stop, for a line or a conflict; FAR_M when it need not."""
    lead_gap_m: Float32[np.ndarray, "W A"]
    """Bumper to bumper to the vehicle ahead on its path; FAR_M when there is none."""
    lead_speed: Float32[np.ndarray, "W A"]
    target_lane: Int32[np.ndarray, "W A"]
    """The neighbouring lane that it changes to now, or -1."""


def empty_decision(worlds: int, agents: int) -> Decision:
    """A Decision to be filled by `decide`."""
    shape = (worlds, agents)
    return Decision(
        acceleration=np.zeros(shape, np.float32),
        halt_m=np.zeros(shape, np.float32),
        lead_gap_m=np.zeros(shape, np.float32),
        lead_speed=np.zeros(shape, np.float32),
        target_lane=np.full(shape, -1, np.int32),
    )


@device
def _mind_walkers(state, occupancy, w, a, speed, desired, headway):
    """Acceleration that those who are off the lanes and come into the way of a allow."""
    allowed, front = 100.0, np.float64(front_m(state.kind[w, a]))
    reach = behaviour.look_ahead_m(speed)
    for index in range(occupancy.off_lanes.shape[1]):
        b = np.int64(occupancy.off_lanes[w, index])
        if b < 0:
            break
        gap, along = corridor_gap(state, w, a, b, front)
        if gap < reach:
            allowed = min(allowed, idm(speed, desired, max(gap, 0.1), along, headway))
    return allowed


@device
def _decide_agent(world, state, decision, occupancy, w, a):
    # A learner's place is taken by the demonstrator: brisk, but no faster than allowed.
    draw = np.float32(1.0) if state.learner[w, a] else uniform(state.seed[w], 0, 0, _DRIVER, a)
    factor, headway = temperament(draw)
    speed = np.float64(state.speed[w, a])
    desired = desired_speed(world, state, w, a, factor)
    gap, ahead = np.float64(FAR_M), -1
    if not is_on_foot(state.kind[w, a]):
        # People on foot walk around each other.
        gap, ahead = leader(world, state, occupancy, w, a)
    lead_speed = np.float64(state.speed[w, ahead]) if ahead >= 0 else 0.0
    room = behaviour.DEMONSTRATED_ROOM_M if state.learner[w, a] else 0.0
    acceleration = idm(speed, desired, gap - room, lead_speed, headway)
    acceleration = min(acceleration, _mind_walkers(state, occupancy, w, a, speed, desired, headway))
    acceleration = min(acceleration, serve_stop(world, state, w, a, desired, headway))
    allowed, stop = 100.0, np.float64(FAR_M)
    if not insists(state, w, a):
        allowed, stop = halt(world, state, occupancy, w, a, gap, lead_speed, headway, desired)
    elif state.kind[w, a] == _EMERGENCY and state.script[w, a] == _NO_SCRIPT:
        allowed = force_through(world, state, occupancy, w, a, headway, desired)
    # Who stands need not brake: no more than what stops within the step, and holds.
    strongest = min(speed / STEP_S + 0.5, behaviour.EMERGENCY_DECELERATION_MPS2)
    decision.acceleration[w, a] = max(min(acceleration, allowed), -strongest)
    decision.halt_m[w, a] = stop
    decision.lead_gap_m[w, a] = gap
    decision.lead_speed[w, a] = lead_speed
    decision.target_lane[w, a] = choose_lane(world, state, occupancy, w, a, gap, ahead, desired, headway)


@device(entry=False)
def decide_one(world, state, decision, occupancy, w, a):
    """Fill the decision of agent a of world w; the occupancy of the world is filled already."""
    kind = state.kind[w, a]
    decision.target_lane[w, a] = -1
    if kind == _NOBODY:
        return
    if is_obstacle(kind) or state.path[w, a, 0] < 0:
        decision.acceleration[w, a] = 0.0
        decision.halt_m[w, a] = FAR_M
    else:
        _decide_agent(world, state, decision, occupancy, w, a)
    act(world, state, decision.acceleration, decision.target_lane, w, a)
    if state.script[w, a] == _PULL_OUT and not may_pull_out(
        world, state, occupancy, w, a, behaviour.TIME_HEADWAY_S[0]
    ):
        decision.acceleration[w, a] = -np.float64(state.speed[w, a]) / STEP_S


@device
def _decide_world(world, state, decision, occupancy, w):
    occupy(world, state, occupancy, w)
    for a in range(state.kind.shape[1]):
        decide_one(world, state, decision, occupancy, w, a)


@njit(cache=True, parallel=True)
def decide(world: World, state: State, decision: Decision, occupancy: Occupancy):
    """Fill the decision of every road user from the state; reads only the state, so order does not matter.

    `occupancy` is filled on the way: who is where.
    """
    for index in prange(state.seed.shape[0]):
        # One call with a signed index: prange counts in uint64, for which all callees would be compiled again.
        _decide_world(world, state, decision, occupancy, np.int64(index))
