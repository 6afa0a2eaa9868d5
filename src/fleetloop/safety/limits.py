"""The last limits on any plan before it moves the vehicle; nothing here is learned."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from fleetloop.core.types import Plan

MAX_CURVATURE_1PM = 0.2
"""Tightest turn of a passenger car: a radius of 5 m (kerb-to-kerb turning circles of 10 to 12 m)."""

MAX_CURVATURE_RATE_1PMS = 0.3
"""About 0.8 rad/s at the wheels of a 2.8 m wheelbase: as fast as power steering turns them."""

LATERAL_SPEEDS_MPS = (5.0, 10.0)
MAX_LATERAL_ACCELERATION_MPS2 = (5.0, 3.0)
"""At LATERAL_SPEEDS_MPS and beyond, linear between.

From 10 m/s on 3 m/s^2: ISO 11270:2014 (lane keeping) and UN Regulation No. 79 (ACSF category B1). Those
standards are about keeping a lane; turning at a junction with a 5 m radius at 5 m/s takes 5 m/s^2, which
tyres still hold in the wet (friction about 0.6).
"""
MAX_LATERAL_JERK_MPS3 = (10.0, 5.0)
"""At LATERAL_SPEEDS_MPS and beyond, linear between.

From 10 m/s on 5 m/s^3: ISO 11270:2014 and UN Regulation No. 79, both as a mean over half a second.
"""

LONGITUDINAL_SPEEDS_MPS = (5.0, 20.0)
MAX_ACCELERATION_MPS2 = (4.0, 2.0)
"""At LONGITUDINAL_SPEEDS_MPS and beyond, linear between: ISO 15622:2018 (adaptive cruise control)."""
MAX_JERK_MPS3 = (5.0, 2.5)
"""For pressing the accelerator, at LONGITUDINAL_SPEEDS_MPS and beyond, linear between.

The figures with which ISO 15622:2018 bounds the onset of braking, as a mean over one second. Here they bound
the onset of acceleration only: a last limit must never delay braking.
"""
MAX_BRAKING_MPS2 = 8.0
"""Emergency braking: dry asphalt allows about 8.

Adaptive cruise control stays within 3.5 to 5 m/s^2 (ISO 15622:2018), but the same plan must be able to brake
in an emergency, where UN Regulation No. 152 asks for at least 5.
"""

STOP_IN_LANE_BRAKING_MPS2 = 3.0
"""Where there is no usable plan: firm, yet those behind can follow.

UN Regulation No. 157 bounds the deceleration of a minimal risk manoeuvre by 4 m/s^2.
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
        usable = _is_finite(plan) & np.isfinite(speed_mps)
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
    """`limit_plan` for vehicles that drive step by step: it remembers what each carried out last."""

    def __init__(self, vehicles: int, interval_s: float) -> None:
        self._interval_s = interval_s
        self._previous = Controls(np.zeros(vehicles, np.float32), np.zeros(vehicles, np.float32))

    def limit(self, plan: Plan | None, speed_mps: Float[np.ndarray, " W"]) -> Controls:
        """Controls for the next step."""
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


def _is_finite(plan: Plan) -> Bool[np.ndarray, " W"]:
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
