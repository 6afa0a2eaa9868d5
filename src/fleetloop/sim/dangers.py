"""What comes of each acceleration: how soon the safety driver's rule would find danger."""

import numpy as np
from numba import njit, prange

from fleetloop.core.kernels import device
from fleetloop.core.labels import DANGER_HORIZON_S, TRIED_ACCELERATIONS_MPS2, Labels
from fleetloop.core.types import AgentKind, State, World
from fleetloop.sim.safety_driver import first_danger
from fleetloop.sim.traffic import Decision

_NOBODY = int(AgentKind.NONE)
_INTERVAL_S = 0.2
"""How soon is told to this."""


@device(entry=False)
def _foretell_one(world, state, decision, teaching, w, a):
    if state.kind[w, a] == _NOBODY:
        return
    curvature = np.float64(teaching.curvature_1pm[w])
    for i in range(len(TRIED_ACCELERATIONS_MPS2)):
        acceleration = TRIED_ACCELERATIONS_MPS2[i]
        _, time = first_danger(
            *(world, state, decision, w, a, curvature, acceleration, DANGER_HORIZON_S, _INTERVAL_S)
        )
        teaching.danger_s[w, i] = time


@njit(cache=True, parallel=True)
def foretell(world: World, state: State, decision: Decision, teaching: Labels, agent):
    """Fill `danger_s`, for an agent of each world, given what `teach` filled in this step.

    As dear as all the rest of a step, so only who keeps labels asks for it.
    """
    for index in prange(state.seed.shape[0]):
        # One call with a signed index: prange counts in uint64, for which all callees would be compiled again.
        _foretell_one(world, state, decision, teaching, np.int64(index), np.int64(agent))
