"""Who is on a lane or about to be: chains of entries by lane, made anew in every step.

With them, looking for those who matter to somebody costs no more than there are of them.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int16, Int32

from fleetloop.core.errors import ConfigError
from fleetloop.core.kernels import device
from fleetloop.core.types import VEHICLE_SIZES, AgentKind, LaneKind
from fleetloop.sim.behaviour import beyond_brisk

_ROAD, _WALK, _NOBODY = int(LaneKind.ROAD), int(LaneKind.WALK), int(AgentKind.NONE)
_BUCKETS = 128
_MASK = np.int32(_BUCKETS - 1)
LANES_AHEAD = 11
_ENTRIES_PER_AGENT = LANES_AHEAD // 2 + 3
"""At most every other lane ahead is a connector; and the lane one is on, and the one that one leaves."""
MOST_AGENTS = np.iinfo(np.int16).max // _ENTRIES_PER_AGENT
"""In a world: entries are numbered with 16 bits."""
BESIDE_M, PULLS_OUT_MPS = 0.1, 0.3
APPROACH_M = 80.0
"""Who is farther from a connector than this, or more than LANES_AHEAD lanes, does not approach it yet."""
_APPROACH_S = 15.0
"""By how much that grows with a speed above that of towns."""


class Occupancy(NamedTuple):
    """Entries of all worlds. An entry says: `agent` has its rear axle `position` metres along `lane`.

    There is one for the lane that somebody is on, one for the lane it is leaving, and one for each connector
    or crossing that it approaches, where the position is negative.
    """

    head: Int16[np.ndarray, "W buckets"]
    """The first entry of the chain of each bucket (the lowest bits of the lane's number), or -1."""
    following: Int16[np.ndarray, "W entries"]
    """The next entry of the same chain, or -1."""
    lane: Int32[np.ndarray, "W entries"]
    agent: Int16[np.ndarray, "W entries"]
    position: Float32[np.ndarray, "W entries"]
    off_lanes: Int16[np.ndarray, "W A"]
    """Those who are off the lanes, then -1."""


def empty_occupancy(worlds: int, agents: int) -> Occupancy:
    """An Occupancy to be filled by `occupy`.

    Raises:
        ConfigError: there are more than MOST_AGENTS agents.
    """
    if agents > MOST_AGENTS:
        raise ConfigError(f"agents: {agents} road users do not fit into a world; use at most {MOST_AGENTS}")
    shape = (worlds, _ENTRIES_PER_AGENT * agents)
    return Occupancy(
        head=np.full((worlds, _BUCKETS), -1, np.int16),
        following=np.full(shape, -1, np.int16),
        lane=np.full(shape, -1, np.int32),
        agent=np.full(shape, -1, np.int16),
        position=np.zeros(shape, np.float32),
        off_lanes=np.full((worlds, agents), -1, np.int16),
    )


@device
def first_entry(occupancy, w, lane):
    """The first entry that may be of a lane, or -1."""
    return np.int64(occupancy.head[w, lane & _MASK])


@device
def _enter(occupancy, w, entry, lane, agent, position):
    bucket = lane & _MASK
    occupancy.lane[w, entry] = lane
    occupancy.agent[w, entry] = agent
    occupancy.position[w, entry] = position
    occupancy.following[w, entry] = occupancy.head[w, bucket]
    occupancy.head[w, bucket] = entry


@device
def _is_beside(world, state, w, a):
    """Whether somebody stands wholly outside of its lane: parked at the kerb."""
    if state.changing_from[w, a] >= 0 or state.learner[w, a] or state.speed[w, a] > PULLS_OUT_MPS:
        return False
    half = 0.5 * (world.lane_width_m[state.path[w, a, 0]] + VEHICLE_SIZES[state.kind[w, a], 1])
    return abs(state.offset[w, a]) > half - BESIDE_M


@device
def occupy(world, state, occupancy, w):
    """Fill the entries of world w."""
    for bucket in range(_BUCKETS):
        occupancy.head[w, bucket] = -1
    count = walkers = 0
    occupancy.off_lanes[w, 0] = -1
    for a in range(state.kind.shape[1]):
        if state.kind[w, a] == _NOBODY:
            continue
        if state.path[w, a, 0] < 0:
            occupancy.off_lanes[w, walkers] = a
            walkers += 1
            if walkers < occupancy.off_lanes.shape[1]:
                occupancy.off_lanes[w, walkers] = -1
            continue
        if _is_beside(world, state, w, a):
            continue
        position = state.along[w, a]
        approach = APPROACH_M + _APPROACH_S * beyond_brisk(state.speed[w, a])
        for i in range(LANES_AHEAD):
            lane = state.path[w, a, i]
            if lane < 0 or position < -approach:
                break
            kind = world.lane_kind[lane]
            if i == 0 or (kind != _ROAD and kind != _WALK):
                _enter(occupancy, w, count, lane, a, position)
                count += 1
            position -= world.lane_length_m[lane]
        left = state.changing_from[w, a]
        if left >= 0:
            share = state.along[w, a] / world.lane_length_m[state.path[w, a, 0]]
            _enter(occupancy, w, count, left, a, share * world.lane_length_m[left])
            count += 1
