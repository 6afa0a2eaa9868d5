"""A policy that is not waited for beyond its deadline: the only place of the safety layer that looks at a clock."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from jaxtyping import Bool

from fleetloop.core.errors import ConfigError
from fleetloop.core.types import STEP_S, Observation, Plan, Policy

PLAN_BUDGET_S = STEP_S
"""From the cameras' frames to the plan: the vehicle decides anew in every step."""

_log = logging.getLogger(__name__)


class DeadlinePolicy:
    """Asks another policy for plans in a thread, and gives None where none came within the budget.

    A plan that comes too late was made for a moment that has passed, and is dropped; until it has come, the policy is
    not asked again. Errors before the first plan are raised, as the vehicle still stands; later ones count as no plan
    and are logged, for a vehicle that moves must be stopped, not left alone.
    """

    def __init__(self, policy: Policy, budget_s: float = PLAN_BUDGET_S) -> None:
        """Wrap `policy`.

        Raises:
            ConfigError: the budget is not above 0.
        """
        if not budget_s > 0.0:
            raise ConfigError(f"plan budget: {budget_s} s is no time to plan in; use more than 0")
        self._policy, self._budget_s = policy, budget_s
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="policy")
        self._under_way: Future[Plan | None] | None = None
        self._resets: list[Bool[np.ndarray, " W"]] = []
        self._has_planned = False

    def reset(self, mask: Bool[np.ndarray, " W"]) -> None:
        """Forget the past of the vehicles in `mask`, before the next plan is asked for."""
        self._resets.append(np.array(mask, bool))

    def plan(self, observation: Observation) -> Plan | None:
        """Plans for all vehicles, or None: late, or still busy with an earlier moment."""
        if self._under_way is not None:
            if not self._under_way.done():
                return None
            self._result(self._under_way)
        resets, self._resets = self._resets, []
        future = self._executor.submit(self._ask, observation, resets)
        try:
            future.exception(self._budget_s)
        except TimeoutError:
            self._under_way = future
            return None
        self._under_way = None
        return self._result(future)

    def _ask(self, observation: Observation, resets: list[Bool[np.ndarray, " W"]]) -> Plan | None:
        for mask in resets:
            self._policy.reset(mask)
        return self._policy.plan(observation)

    def _result(self, future: "Future[Plan | None]") -> Plan | None:
        try:
            plan = future.result()
        except Exception as error:
            if not self._has_planned:
                raise
            _log.error("the network failed: %s", error)
            return None
        self._has_planned = True
        return plan
