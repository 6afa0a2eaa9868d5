"""The watchdog: what the vehicle does when the network is late, silent or returns nonsense; nothing is learned.

It follows the path of the last good plan, by its own odometry, and brakes; if good plans do not come back at once, it
stops the vehicle in its lane (the minimal risk manoeuvre of UN Regulation No. 157, paragraph 5.5). Pure functions of
what they are given: time passes in steps, and no clock is read here (see `safety.deadline` for that).

UN Regulation No. 157 lets a manoeuvre end only at standstill (5.5.3), for it begins after a driver had ten seconds to
take over. Here it begins after a third of a second, so it is broken off as soon as the network has proved itself again:
standing in a lane is a risk too.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int32

from fleetloop.core.types import PLAN_POSE_INTERVAL_S, PLAN_POSES, Plan
from fleetloop.safety.limits import (
    LONGITUDINAL_SPEEDS_MPS,
    MAX_JERK_MPS3,
    STOP_IN_LANE_BRAKING_MPS2,
    Controls,
    is_finite,
)
from fleetloop.safety.paths import apart_m, pursue, seen_from

PLAN_S = PLAN_POSES * PLAN_POSE_INTERVAL_S
"""How far into the future a plan reaches."""

IMPOSSIBLE_CURVATURE_1PM = 0.5
IMPOSSIBLE_ACCELERATION_MPS2 = 12.0
"""Beyond these a plan is nonsense, not merely too bold for the limits: no car turns within a radius of 2 m, nor do
tyres on dry asphalt hold more than about 1.2 g."""
IMPOSSIBLE_GAIN_MPS = 10.0
"""A plan whose poses are farther away than a car gets that is this much faster all along is nonsense; twice what the
limits let it gain in PLAN_S, so that rough poses pass."""
BACKWARDS_M = 3.0
"""A plan that ends this far behind the car is nonsense: the vehicle has no reverse gear to plan for."""

_JUMP_AGE_S = 0.5
"""Plans farther apart in time may differ as they like."""


class Fault(IntEnum):
    """What is wrong with a vehicle's plan, or with what it was made from."""

    NONE = 0
    LATE = 1
    """No plan came by its deadline."""
    SILENT = 2
    """No plan for `WatchdogConfig.silent_steps` in a row."""
    NOT_FINITE = 3
    OUT_OF_RANGE = 4
    JUMP = 5
    """The plan leads somewhere else than the one before."""
    EGO_STATE = 6
    """The speed, or another number that the network was given, is not finite."""
    CAMERAS = 7
    """More cameras are lost than a network may drive without."""


FAULT_TEXTS = {
    Fault.LATE: "the network was late",
    Fault.SILENT: "the network is silent",
    Fault.NOT_FINITE: "the plan has numbers that are not finite",
    Fault.OUT_OF_RANGE: "the plan is beyond what a car can do",
    Fault.JUMP: "the plan jumped to another path",
    Fault.EGO_STATE: "the ego state has numbers that are not finite",
    Fault.CAMERAS: "too many forward cameras are lost",
}


@dataclass(frozen=True)
class WatchdogConfig:
    """How patient the watchdog is."""

    silent_steps: int = 3
    """After so many faults in a row the vehicle is stopped; fewer are bridged: path followed, brake building up."""
    good_plans: int = 10
    """So many in a row end the stopping."""
    follow_s: float = 5.0
    """The last good plan's path is followed for this long, beyond its end with the curvature of its end; then the
    steering is held. Braking from 13 m/s takes no longer."""
    jump_m: float = 5.0
    """Two plans in a row whose paths are this far apart sideways: more than a lane (3 m to 3.5 m), for to begin to
    change lanes is no fault. The demonstrator's plans never were farther apart than 3.4 m in 73 km."""


class WatchState(NamedTuple):
    """What the watchdog remembers; W vehicles, paths in each vehicle's present frame."""

    path: Float64[np.ndarray, "W 9 3"]
    """x, y, yaw of the last good plan, from where it was made on."""
    path_age_s: Float64[np.ndarray, " W"]
    """Infinite where there is none."""
    braking_mps2: Float64[np.ndarray, " W"]
    """Acceleration of the last good plan where it braked, else 0."""
    seen: Float64[np.ndarray, "W 9 3"]
    """As `path`, of the last plan that was sane, though it may have jumped."""
    seen_age_s: Float64[np.ndarray, " W"]
    speed_mps: Float64[np.ndarray, " W"]
    """Measured last, or reckoned from what was carried out since; NaN before the first."""
    bad_steps: Int32[np.ndarray, " W"]
    good_steps: Int32[np.ndarray, " W"]
    stopping: Bool[np.ndarray, " W"]


class Watched(NamedTuple):
    """What the watchdog says of one step."""

    plan: Plan
    """To be carried out, after the limits: the network's own, or the watchdog's."""
    speed_mps: Float[np.ndarray, " W"]
    """As given, where it is finite; else reckoned."""
    faults: Int32[np.ndarray, " W"]
    """Fault."""
    in_charge: Bool[np.ndarray, " W"]
    """Where the watchdog drives, not the network."""


def fresh_state(vehicles: int) -> WatchState:
    """Nothing seen yet."""
    return WatchState(
        path=np.zeros((vehicles, PLAN_POSES + 1, 3)),
        path_age_s=np.full(vehicles, np.inf),
        braking_mps2=np.zeros(vehicles),
        seen=np.zeros((vehicles, PLAN_POSES + 1, 3)),
        seen_age_s=np.full(vehicles, np.inf),
        speed_mps=np.full(vehicles, np.nan),
        bad_steps=np.zeros(vehicles, np.int32),
        good_steps=np.zeros(vehicles, np.int32),
        stopping=np.zeros(vehicles, bool),
    )


def missing_plan(vehicles: int) -> Plan:
    """Stands for no plan at all where a record must have one: every number is NaN."""
    nothing = np.full(vehicles, np.nan, np.float32)
    return Plan(
        nothing, nothing.copy(), np.full((vehicles, PLAN_POSES, 3), np.nan, np.float32), nothing.copy()
    )


def watch(
    state: WatchState,
    plan: Plan | None,
    speed_mps: Float[np.ndarray, " W"],
    previous: Controls,
    interval_s: float,
    config: WatchdogConfig,
    input_faults: Int32[np.ndarray, " W"] | None = None,
) -> tuple[WatchState, Watched]:
    """Judge the plans of one step, and say what to carry out.

    Args:
        plan: None where none came by its deadline.
        speed_mps: measured now; what is not finite is a fault.
        previous: what was carried out since the last call.
        input_faults: Fault of what the plans were made from.

    Returns:
        The state for the next step; plans of vehicles without a fault are those given, to the bit.
    """
    vehicles = len(speed_mps)
    state, reckoned = _move(state, speed_mps, previous, interval_s)
    faults = np.zeros(vehicles, np.int32) if input_faults is None else input_faults.astype(np.int32)
    faults = np.where(np.isfinite(speed_mps), faults, int(Fault.EGO_STATE)).astype(np.int32)
    if plan is not None:
        found, sane = _judge(state, plan, reckoned, config)
        faults = np.where(faults == Fault.NONE, found, faults).astype(np.int32)
        state = _take(state, plan, sane, faults == Fault.NONE)
    else:
        faults = np.where(faults == Fault.NONE, int(Fault.LATE), faults).astype(np.int32)
    bad_steps = np.where(faults != Fault.NONE, state.bad_steps + 1, 0).astype(np.int32)
    good_steps = np.where(faults != Fault.NONE, 0, state.good_steps + 1).astype(np.int32)
    given_up = bad_steps >= config.silent_steps
    stopping = given_up | (state.stopping & (good_steps < config.good_plans))
    faults[given_up & (faults == Fault.LATE)] = int(Fault.SILENT)
    in_charge = stopping | (faults != Fault.NONE)
    state = state._replace(bad_steps=bad_steps, good_steps=good_steps, stopping=stopping)
    speed = np.where(np.isfinite(speed_mps), speed_mps, reckoned) if in_charge.any() else speed_mps
    if in_charge.any():
        plan = _with_stops(state, plan, reckoned, previous, interval_s, config, in_charge)
    assert plan is not None
    return state, Watched(plan, speed, faults, in_charge)


class Watchdog:
    """`watch` for vehicles that drive step by step; belongs to one SafetyLayer."""

    def __init__(self, vehicles: int, interval_s: float, config: WatchdogConfig | None = None) -> None:
        self._config = config or WatchdogConfig()
        self._interval_s = interval_s
        self._state = fresh_state(vehicles)
        self.faults = np.zeros(vehicles, np.int32)
        """Fault of each vehicle in the last step."""
        self.began = np.zeros(vehicles, bool)
        """Where a fault began in the last step, or turned into another."""
        self.in_charge = np.zeros(vehicles, bool)
        """Where the watchdog drove in the last step, not the network."""

    def watch(
        self,
        plan: Plan | None,
        speed_mps: Float[np.ndarray, " W"],
        previous: Controls,
        input_faults: Int32[np.ndarray, " W"] | None = None,
    ) -> tuple[Plan, Float[np.ndarray, " W"]]:
        """The plan to carry out and the speed to reckon with; see the function of the same name."""
        self._state, watched = watch(
            self._state, plan, speed_mps, previous, self._interval_s, self._config, input_faults
        )
        self.began = (watched.faults != self.faults) & (watched.faults != Fault.NONE)
        self.faults, self.in_charge = watched.faults, watched.in_charge
        return watched.plan, watched.speed_mps

    def forget(self, vehicles: Bool[np.ndarray, " W"]) -> None:
        """Begin anew with these vehicles: they were put somewhere else."""
        if vehicles.any():
            fresh = fresh_state(int(vehicles.sum()))
            for array, value in zip(self._state, fresh, strict=True):
                array[vehicles] = value
            self.faults = np.where(vehicles, int(Fault.NONE), self.faults).astype(np.int32)


def _move(
    state: WatchState, speed_mps: Float[np.ndarray, " W"], previous: Controls, interval_s: float
) -> tuple[WatchState, Float64[np.ndarray, " W"]]:
    """Odometry: paths into the frame of where the vehicles are now; and their speeds, reckoned where unknown."""
    before = np.nan_to_num(state.speed_mps, nan=0.0)
    reckoned = np.maximum(before + np.nan_to_num(previous.acceleration_mps2) * interval_s, 0.0)
    speed = np.where(np.isfinite(speed_mps), np.abs(speed_mps), reckoned).astype(np.float64)
    distance = 0.5 * (np.where(np.isfinite(state.speed_mps), before, speed) + speed) * interval_s
    turned = distance * np.nan_to_num(previous.curvature_1pm.astype(np.float64))
    moved = state._replace(
        path=seen_from(state.path, distance, turned),
        path_age_s=state.path_age_s + interval_s,
        seen=seen_from(state.seen, distance, turned),
        seen_age_s=state.seen_age_s + interval_s,
        speed_mps=speed,
    )
    return moved, speed


def _judge(
    state: WatchState, plan: Plan, speed_mps: Float64[np.ndarray, " W"], config: WatchdogConfig
) -> tuple[Int32[np.ndarray, " W"], Bool[np.ndarray, " W"]]:
    """Fault of each plan, and which are sane: finite and in range."""
    finite = is_finite(plan)
    with np.errstate(invalid="ignore", over="ignore"):
        farthest = np.hypot(plan.poses_in_ego[:, :, 0], plan.poses_in_ego[:, :, 1]).max(axis=1)
        possible = (
            (np.abs(plan.curvature_1pm) <= IMPOSSIBLE_CURVATURE_1PM)
            & (np.abs(plan.acceleration_mps2) <= IMPOSSIBLE_ACCELERATION_MPS2)
            & (plan.spread_m >= 0.0)
            & (farthest <= PLAN_S * (speed_mps + IMPOSSIBLE_GAIN_MPS))
            & (plan.poses_in_ego[:, -1, 0] >= -BACKWARDS_M)
        )
    sane = finite & possible
    near = sane & (state.seen_age_s <= _JUMP_AGE_S)
    jumped = np.zeros(len(sane), bool)
    if near.any():
        apart = apart_m(plan.poses_in_ego[near, :, :2].astype(np.float64), state.seen[near])
        jumped[near] = apart > config.jump_m
    faults = np.where(jumped, int(Fault.JUMP), int(Fault.NONE))
    faults = np.where(possible, faults, int(Fault.OUT_OF_RANGE))
    return np.where(finite, faults, int(Fault.NOT_FINITE)).astype(np.int32), sane


def _take(
    state: WatchState, plan: Plan, sane: Bool[np.ndarray, " W"], good: Bool[np.ndarray, " W"]
) -> WatchState:
    """Remember the plans that are sane, and those that are good."""
    poses = np.zeros((len(sane), PLAN_POSES + 1, 3))
    poses[:, 1:] = np.where(sane[:, None, None], plan.poses_in_ego, 0.0)
    braking = np.where(good, np.minimum(plan.acceleration_mps2, 0.0), state.braking_mps2)
    return state._replace(
        path=np.where(good[:, None, None], poses, state.path),
        path_age_s=np.where(good, 0.0, state.path_age_s),
        braking_mps2=braking.astype(np.float64),
        seen=np.where(sane[:, None, None], poses, state.seen),
        seen_age_s=np.where(sane, 0.0, state.seen_age_s),
    )


def _with_stops(
    state: WatchState,
    plan: Plan | None,
    speed_mps: Float64[np.ndarray, " W"],
    previous: Controls,
    interval_s: float,
    config: WatchdogConfig,
    in_charge: Bool[np.ndarray, " W"],
) -> Plan:
    """The plan, with the watchdog's own controls for the vehicles that it is in charge of.

    The brake builds up with the jerk of ISO 15622:2018 to STOP_IN_LANE_BRAKING_MPS2, so that a single late plan is
    hardly felt. Where the last good plan braked harder, so does the watchdog, as long as that plan reached.
    """
    chosen = np.flatnonzero(in_charge)
    speed = speed_mps[chosen]
    last = np.nan_to_num(previous.acceleration_mps2[chosen].astype(np.float64))
    jerk = np.interp(speed, LONGITUDINAL_SPEEDS_MPS, MAX_JERK_MPS3)
    braking = np.maximum(np.minimum(last, 0.0) - jerk * interval_s, -STOP_IN_LANE_BRAKING_MPS2)
    age = state.path_age_s[chosen]
    braking = np.where(age <= PLAN_S, np.minimum(braking, state.braking_mps2[chosen]), braking)
    held = np.nan_to_num(previous.curvature_1pm[chosen].astype(np.float64))
    followed = pursue(state.path[chosen], held, speed)
    base = missing_plan(len(in_charge)) if plan is None else plan
    arrays = {name: np.array(getattr(base, name), np.float32) for name in Plan.__dataclass_fields__}
    arrays["curvature_1pm"][chosen] = np.where(age <= config.follow_s, followed, held)
    arrays["acceleration_mps2"][chosen] = braking
    arrays["poses_in_ego"][chosen] = np.where((age < np.inf)[:, None, None], state.path[chosen, 1:], 0.0)
    arrays["spread_m"][chosen] = 0.0
    return replace(base, **arrays)
