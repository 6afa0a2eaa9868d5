"""Driving to learn from it: every moment a driver gets into is kept with what the demonstrator would do there."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Int64

from fleetloop.core.scene import pack_scenes
from fleetloop.core.types import EGO, STEP_S, CameraRig, Plan, Policy, World
from fleetloop.curate.curate import EARLIER_STEPS, CurateConfig, label_weight, waiting
from fleetloop.practice.moments import join_moments
from fleetloop.safety.limits import SafetyLayer
from fleetloop.sim.privileged_view import privileged_view
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import CRITICAL, Route
from fleetloop.sim.safety_driver import Danger
from fleetloop.train.batches import Moments
from fleetloop.train.coach import CoachDriver
from fleetloop.vehicle.drive import DriveConfig, disturb

_OUT_OF_STEP = 7
"""Vehicles are looked at in turn: neighbours in the batch are this many steps apart."""


class _Kept(NamedTuple):
    """Moments of one step, and the vehicles they are of."""

    vehicle: Int64[np.ndarray, " N"]
    route: Int64[np.ndarray, " N"]
    """How many routes the vehicle had ended before."""
    moments: Moments
    early: Bool[np.ndarray, " N"]
    """Whether it led to a take-over."""


@dataclass
class Driven:
    """How the driving was so far."""

    metres: float = 0.0
    """Not counting those of the safety driver."""
    critical: int = 0


class Collector:
    """Drives many vehicles and keeps moments; as `curate` does with Episodes, without writing any.

    What led to a take-over weighs more, so a moment is handed out only when that can be told.
    """

    def __init__(
        self,
        world: World,
        rig: CameraRig,
        routes: Iterator[Route],
        policy: Policy | CoachDriver | None,
        drive: DriveConfig,
        curate: CurateConfig,
    ) -> None:
        """Who drives, under the safety driver; None is the demonstrator, disturbed as when it is recorded."""
        self._rollout = Rollout(world, routes, drive.vehicles, drive.agents)
        self._rig, self._policy, self._drive, self._curate = rig, policy, drive, curate
        self._safety_layer = SafetyLayer(drive.vehicles, STEP_S)
        self._scenes: deque[np.ndarray] = deque(maxlen=EARLIER_STEPS + 1)
        self._undecided: deque[_Kept] = deque()
        self._ready: list[Moments] = []
        self._route_steps = np.zeros(drive.vehicles, np.int64)
        self._routes_ended = np.zeros(drive.vehicles, np.int64)
        self._steps = 0
        self.driven = Driven()

    def step(self) -> None:
        """Drive one step."""
        rollout, policy, state = self._rollout, self._policy, self._rollout.state
        rollout.decide()
        rollout.look()
        speed_mps = state.speed[:, EGO].copy()
        self._scenes.append(pack_scenes(rollout.scene))
        moments = self._look()
        kept = self._keep(moments)
        controls = self._safety_layer.limit(self._plan(moments), speed_mps)
        curvature, acceleration = controls.curvature_1pm, controls.acceleration_mps2
        if policy is None:
            scale_1pm = self._drive.steering_noise_1pm
            pull, brake = disturb(state.seed.copy(), state.step.copy(), speed_mps, scale_1pm)
            curvature, acceleration = curvature + pull, acceleration - brake
        step = rollout.step(curvature, acceleration)
        self._safety_layer.remember(step.curvature, step.acceleration, step.ended)
        if policy is not None and step.ended.any():
            policy.reset(step.ended)
        self._route_steps[:] = np.where(step.ended, 0, self._route_steps + 1)
        self._steps += 1
        self.driven.metres += float(speed_mps[~step.safety_driver].sum()) * STEP_S
        self.driven.critical += int(np.isin(step.danger, CRITICAL).sum())
        self._decide(kept, step.danger)
        self._routes_ended += step.ended

    def _look(self) -> Moments:
        """This step's moments of all vehicles; valid until the next step."""
        rollout, state = self._rollout, self._rollout.state
        ego_history = state.history[:, EGO].copy()
        return Moments(
            town=state.town,
            scene=self._scenes[-1],
            earlier_scene=self._scenes[0],
            ego_history=ego_history,
            navigation=rollout.navigation,
            time_of_day_h=rollout.time_of_day_h,
            labels=rollout.teaching,
            weight=label_weight(rollout.teaching, ego_history[:, -1, 0], self._scenes[-1], self._curate),
            privileged=privileged_view(rollout),
        )

    def _plan(self, moments: Moments) -> Plan | None:
        """What who drives wants to do."""
        if self._policy is None:
            return self._rollout.teaching.plan()
        if isinstance(self._policy, CoachDriver):
            return self._policy.plan(moments)
        return self._policy.plan(self._rollout.observe(self._rig, self._drive.variety))

    def _keep(self, moments: Moments) -> _Kept:
        """Those moments of this step that are looked at."""
        strides = np.where(
            waiting(moments.ego_history, moments.labels),
            self._curate.stride * self._curate.standing_stride,
            self._curate.stride,
        )
        turn = self._steps + _OUT_OF_STEP * np.arange(len(strides))
        usable = self._rollout.active & (self._route_steps >= EARLIER_STEPS)
        chosen = np.flatnonzero(usable & (turn % strides == 0))
        early = np.zeros(len(chosen), bool)
        return _Kept(chosen, self._routes_ended[chosen], moments.select(chosen), early)

    def _decide(self, kept: _Kept, danger: Int32[np.ndarray, " W"]) -> None:
        """Put `kept` with those that wait; what waited long enough is ready."""
        self._undecided.append(kept)
        began = danger != Danger.NONE
        if self._policy is not None and began.any():
            for vehicle, route, moments, early in self._undecided:
                led_to_it = began[vehicle] & (route == self._routes_ended[vehicle])
                # Those that led to two count as they do in curate: once.
                moments.weight[led_to_it & ~early] *= self._curate.before_take_over_weight
                early |= led_to_it
        if len(self._undecided) * STEP_S > self._curate.before_take_over_s:
            self._ready.append(self._undecided.popleft().moments)

    def take(self) -> Moments:
        """The moments that became ready since this was last called."""
        moments = join_moments(self._ready)
        self._ready.clear()
        return moments

    def take_all(self) -> Moments:
        """The same at the end of driving: nothing waits any more."""
        self._ready += [kept.moments for kept in self._undecided]
        self._undecided.clear()
        return self.take()
