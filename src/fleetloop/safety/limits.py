"""The last limits on any plan before it moves the vehicle; nothing here is learned."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32

from fleetloop.core.types import Plan

if TYPE_CHECKING:
    # It judges plans before they are limited, by the same figures.
    from fleetloop.safety.watchdog import Watchdog

MAX_CURVATURE_1PM = 0.2
"""Tightest turn of a passenger car: a radius of 5 m (kerb-to-kerb turning circles of 10 to 12 m)."""

MAX_CURVATURE_RATE_1PMS = 0.3
"""About 0.8 rad/s at the wheels of a 2.8 m wheelbase: as fast as power steering turns them."""

LATERAL_SPEEDS_MPS = (5.0, 10.0)
MAX_LATERAL_ACCELERATION_MPS2 = (5.0, 3.0)
"""At LATERAL_SPEEDS_MPS and beyond, linear between.

From 10 m/s on 3 m/s^2: ISO 11270:2014 (lane keeping assistance), 5.4, and UN Regulation No. 79 (steering), 5.6.2.1.3,
for ACSF of category B1 in cars. Both are about keeping a lane, ISO 11270 from 20 m/s on, Regulation 79 from 10 km/h on;
so below 10 m/s these limits are laxer than Regulation 79, on purpose: turning at a junction with a 5 m radius at
5 m/s takes 5 m/s^2, which tyres still hold in the wet (friction about 0.6).
"""
MAX_LATERAL_JERK_MPS3 = (10.0, 5.0)
"""At LATERAL_SPEEDS_MPS and beyond, linear between.

From 10 m/s on 5 m/s^3: ISO 11270:2014, 5.4, and UN Regulation No. 79, 5.6.2.1.3, both as a moving average over half
a second; here it holds in every step, which is stricter.
"""

LONGITUDINAL_SPEEDS_MPS = (5.0, 20.0)
MAX_ACCELERATION_MPS2 = (4.0, 2.0)
"""At LONGITUDINAL_SPEEDS_MPS and beyond, linear between: ISO 15622:2018 (adaptive cruise control), 6.4."""
MAX_JERK_MPS3 = (5.0, 2.5)
"""For pressing the accelerator, at LONGITUDINAL_SPEEDS_MPS and beyond, linear between.

The figures with which ISO 15622:2018, 6.4, bounds the onset of braking, as a mean over one second. Here they bound
the onset of acceleration only: a last limit must never delay braking.
"""
MAX_BRAKING_MPS2 = 8.0
"""Emergency braking: dry asphalt allows about 8.

Adaptive cruise control stays within 3.5 m/s^2 above 20 m/s and 5 m/s^2 below 5 m/s, as a mean over two seconds
(ISO 15622:2018, 6.4), but the same plan must be able to brake
in an emergency, where UN Regulation No. 152 asks for at least 5.
"""

STOP_IN_LANE_BRAKING_MPS2 = 3.0
"""Where there is no usable plan: firm, yet those behind can follow.

UN Regulation No. 157, 5.5.1: a minimum risk manoeuvre slows the vehicle down inside its lane, with the aim of a
deceleration demand of no more than 4 m/s^2.
"""


@dataclass(frozen=True)
class Controls:
    """What the vehicle is told to do; W vehicles."""

    curvature_1pm: Float32[np.ndarray, " W"]
    acceleration_mps2: Float32[np.ndarray, " W"]


def limit_plan(
    plan: Plan | None, speed_mps: Float[np.ndarray, " W"], previous: Controls, interval_s: float
) -> Controls:
    """Controls for the next `interval_s`: the plan's, within the limits above.

    Where the plan is missing (None) or any number of it, or the speed, is not finite, the vehicle stops in
    its lane: it keeps the previous curvature and brakes with STOP_IN_LANE_BRAKING_MPS2. The limits hold for
    that as well.
    """
    known_speed = np.where(np.isfinite(speed_mps), np.abs(speed_mps), LONGITUDINAL_SPEEDS_MPS[1]).astype(
        np.float64
    )
    last_curvature = np.nan_to_num(previous.curvature_1pm, nan=0.0, posinf=0.0, neginf=0.0)
    last_acceleration = np.nan_to_num(previous.acceleration_mps2, nan=0.0, posinf=0.0, neginf=0.0)
    if plan is None:
        usable = np.zeros(known_speed.shape, bool)
        curvature, acceleration = last_curvature, last_acceleration
    else:
        usable = is_finite(plan) & np.isfinite(speed_mps)
        curvature, acceleration = plan.curvature_1pm, plan.acceleration_mps2
    return Controls(
        curvature_1pm=_limit_curvature(
            np.where(usable, curvature, last_curvature), known_speed, last_curvature, interval_s
        ),
        acceleration_mps2=_limit_acceleration(
            np.where(usable, acceleration, -STOP_IN_LANE_BRAKING_MPS2),
            known_speed,
            last_acceleration,
            interval_s,
        ),
    )


class SafetyLayer:
    """`limit_plan` for vehicles that drive step by step: it remembers what each carried out last.

    With a watchdog, a network that is late, silent or returns nonsense is replaced by it before the limits.
    """

    def __init__(self, vehicles: int, interval_s: float, watchdog: "Watchdog | None" = None) -> None:
        self._interval_s = interval_s
        self._previous = Controls(np.zeros(vehicles, np.float32), np.zeros(vehicles, np.float32))
        self.watchdog = watchdog

    def limit(
        self,
        plan: Plan | None,
        speed_mps: Float[np.ndarray, " W"],
        input_faults: Int32[np.ndarray, " W"] | None = None,
    ) -> Controls:
        """Controls for the next step.

        Args:
            plan: None where none came by its deadline.
            input_faults: `safety.watchdog.Fault` of what the plans were made from; only a watchdog heeds them.
        """
        if self.watchdog is not None:
            plan, speed_mps = self.watchdog.watch(plan, speed_mps, self._previous, input_faults)
        return limit_plan(plan, speed_mps, self._previous, self._interval_s)

    def remember(
        self,
        curvature_1pm: Float32[np.ndarray, " W"],
        acceleration_mps2: Float32[np.ndarray, " W"],
        ended: Bool[np.ndarray, " W"],
    ) -> None:
        """Take note of what was carried out, by whom ever; who `ended` begins anew, straight and with no force."""
        zero = np.float32(0.0)
        self._previous = Controls(
            np.where(ended, zero, curvature_1pm), np.where(ended, zero, acceleration_mps2)
        )
        if self.watchdog is not None:
            self.watchdog.forget(ended)


def is_finite(plan: Plan) -> Bool[np.ndarray, " W"]:
    """Whether every number of each vehicle's plan is finite."""
    return (
        np.isfinite(plan.curvature_1pm)
        & np.isfinite(plan.acceleration_mps2)
        & np.isfinite(plan.spread_m)
        & np.isfinite(plan.poses_in_ego).all(axis=(1, 2))
    )


def _limit_curvature(
    wanted_1pm: Float[np.ndarray, " W"],
    speed_mps: Float[np.ndarray, " W"],
    last_1pm: Float[np.ndarray, " W"],
    interval_s: float,
) -> Float32[np.ndarray, " W"]:
    """Within steering rate and lateral jerk of the last curvature, then within the lateral acceleration.

    The lateral acceleration comes last: when the vehicle is too fast for its curvature it straightens at
    once.
    """
    squared = np.maximum(speed_mps, 0.1) ** 2
    jerk = np.interp(speed_mps, LATERAL_SPEEDS_MPS, MAX_LATERAL_JERK_MPS3)
    step = np.minimum(MAX_CURVATURE_RATE_1PMS, jerk / squared) * interval_s
    lateral = np.interp(speed_mps, LATERAL_SPEEDS_MPS, MAX_LATERAL_ACCELERATION_MPS2)
    bound = np.minimum(MAX_CURVATURE_1PM, lateral / squared)
    near_last = np.clip(wanted_1pm, last_1pm - step, last_1pm + step)
    return np.clip(near_last, -bound, bound).astype(np.float32)


def _limit_acceleration(
    wanted_mps2: Float[np.ndarray, " W"],
    speed_mps: Float[np.ndarray, " W"],
    last_mps2: Float[np.ndarray, " W"],
    interval_s: float,
) -> Float32[np.ndarray, " W"]:
    """Braking at once, down to MAX_BRAKING_MPS2; letting go of the brake at once; accelerating gently."""
    jerk = np.interp(speed_mps, LONGITUDINAL_SPEEDS_MPS, MAX_JERK_MPS3)
    most = np.minimum(
        np.interp(speed_mps, LONGITUDINAL_SPEEDS_MPS, MAX_ACCELERATION_MPS2),
        np.maximum(last_mps2, 0.0) + jerk * interval_s,
    )
    return np.clip(wanted_mps2, -MAX_BRAKING_MPS2, most).astype(np.float32)
