"""The learner's vehicle model against the single-track models of commonroad-vehicle-models, on the same inputs.

The reference are the kinematic (KS) and the dynamic (ST) single-track model of Althoff and Würsching, "CommonRoad:
Vehicle Models" (2020), with the parameters of their vehicle 2, a BMW 320i, on dry asphalt. An input is a steering
rate and an acceleration, each constant within a step. Our model takes the curvature and the acceleration of a step:
the curvature is that of the steering angle in the middle of the step, tan(angle) / wheelbase.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy.integrate import solve_ivp

from fleetloop.bench.measure import Measurement
from fleetloop.bench.peer import peer
from fleetloop.core.types import STEP_S
from fleetloop.progress import stage
from fleetloop.sim.motion import bicycle
from fleetloop.sim.rollout import empty_state

STEPS = 50
"""Of a manoeuvre: five seconds."""
_VEHICLE = 2
_TOLERANCE = 1e-10
"""Of the reference's integration, relative and absolute."""

Poses = Float64[np.ndarray, "steps 4"]
"""x, y (rear axle, metres), yaw (radians) and speed (m/s) after each step."""


@dataclass(frozen=True)
class Manoeuvre:
    """Inputs of five seconds, from a straight start at the origin."""

    name: str
    speed_mps: float
    steering_rate: Float64[np.ndarray, " steps"]
    """Of the front wheels, rad/s; constant within a step."""
    acceleration: Float64[np.ndarray, " steps"]


def _following(angle: Callable[[float], float]) -> Float64[np.ndarray, " steps"]:
    """Steering rates that bring the wheels to angle(t) at the end of every step; angle(0) must be 0."""
    angles = np.array([angle(step * STEP_S) for step in range(STEPS + 1)])
    return np.diff(angles) / STEP_S


def _turn(largest_angle: float, into_s: float, hold_s: float) -> Callable[[float], float]:
    def angle(time_s: float) -> float:
        back = into_s + hold_s
        return largest_angle * min(max(min(time_s / into_s, 1.0 - (time_s - back) / into_s), 0.0), 1.0)

    return angle


def _sine(amplitude: float, period_s: float, end_s: float) -> Callable[[float], float]:
    return lambda time_s: amplitude * math.sin(2.0 * math.pi * time_s / period_s) if time_s < end_s else 0.0


def _held(value: float, from_s: float = 0.0, to_s: float = STEPS * STEP_S) -> Float64[np.ndarray, " steps"]:
    times = (np.arange(STEPS) + 0.5) * STEP_S
    return np.where((times > from_s) & (times < to_s), value, 0.0)


def manoeuvres() -> list[Manoeuvre]:
    """What a car does in a town. Steering stays within vehicle 2's 0.4 rad/s."""
    none = np.zeros(STEPS)
    return [
        Manoeuvre("straight braking", 13.9, none, _held(-4.0, 0.5, 3.5)),
        Manoeuvre("starting from a stand", 0.0, none, _held(2.0)),
        Manoeuvre("90 degree turn at 5 m/s", 5.0, _following(_turn(0.36, 1.0, 1.3)), none),
        Manoeuvre("starting into a 90 degree turn", 0.5, _following(_turn(0.36, 1.2, 2.0)), _held(1.5)),
        Manoeuvre("lane change at 8 m/s", 8.0, _following(_sine(0.056, 4.0, 4.0)), none),
        Manoeuvre("lane change at 13.9 m/s", 13.9, _following(_sine(0.0186, 4.0, 4.0)), none),
        Manoeuvre("slalom at 8 m/s", 8.0, _following(_sine(0.075, 2.5, 5.0)), none),
        Manoeuvre("braking in a bend", 11.0, _following(_turn(0.05, 0.8, 3.4)), _held(-2.5, 1.0, 4.0)),
    ]


def bends() -> list[Manoeuvre]:
    """Steering into a bend at the town's limit of 50 km/h, ever sharper: lateral accelerations of 0.5 to 6 m/s^2."""
    speed, found = 13.9, []
    for lateral in (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0):
        angle = math.atan(_parameters_wheelbase() * lateral / speed**2)
        found.append(
            Manoeuvre(
                f"bend at {lateral:.1f} m/s^2", speed, _following(_turn(angle, 1.0, 10.0)), np.zeros(STEPS)
            )
        )
    return found


def _parameters() -> Any:
    return peer("vehiclemodels.vehicle_parameters").setup_vehicle_parameters(_VEHICLE)


def _parameters_wheelbase() -> float:
    parameters = _parameters()
    return float(parameters.a + parameters.b)


def _integrate(
    derivative: Callable[[Sequence[float], Sequence[float]], Sequence[float]],
    state: Sequence[float],
    manoeuvre: Manoeuvre,
) -> Float64[np.ndarray, "steps fields"]:
    """States after each step; integrated step by step, since inputs jump between them."""
    found = []
    for rate, acceleration in zip(manoeuvre.steering_rate, manoeuvre.acceleration, strict=True):
        inputs = [float(rate), float(acceleration)]
        solution = solve_ivp(
            lambda _, x, inputs=inputs: derivative(x, inputs),
            (0.0, STEP_S),
            state,
            rtol=_TOLERANCE,
            atol=_TOLERANCE,
        )
        state = solution.y[:, -1]
        found.append(state)
    return np.array(found)


def kinematic_reference(manoeuvre: Manoeuvre) -> Poses:
    """The kinematic single-track model (KS); its reference point is the rear axle, as ours.

    Raises:
        PeerMissingError: commonroad-vehicle-models is not installed.
    """
    model, parameters = peer("vehiclemodels.vehicle_dynamics_ks").vehicle_dynamics_ks, _parameters()
    states = _integrate(
        lambda x, u: model(x, u, parameters), [0.0, 0.0, 0.0, manoeuvre.speed_mps, 0.0], manoeuvre
    )
    return states[:, [0, 1, 4, 3]]


def dynamic_reference(manoeuvre: Manoeuvre) -> Poses:
    """The dynamic single-track model (ST), with tyres that slip; moved from its centre of mass to the rear axle.

    Raises:
        PeerMissingError: commonroad-vehicle-models is not installed.
    """
    model, parameters = peer("vehiclemodels.vehicle_dynamics_st").vehicle_dynamics_st, _parameters()
    behind = float(parameters.b)
    start = [behind, 0.0, 0.0, manoeuvre.speed_mps, 0.0, 0.0, 0.0]
    states = _integrate(lambda x, u: model(x, u, parameters), start, manoeuvre)
    x, y, speed, yaw, slip = states[:, [0, 1, 3, 4, 6]].T
    return np.stack([x - behind * np.cos(yaw), y - behind * np.sin(yaw), yaw, speed * np.cos(slip)], axis=1)


def our_poses(manoeuvre: Manoeuvre, wheelbase_m: float, first_angle: float = 0.0) -> Poses:
    """What our model makes of the same inputs: the curvature of the steering angle in the middle of each step.

    Args:
        first_angle: of the front wheels at the start, rad.
    """
    state = empty_state(1, 1)
    state.speed[0, 0] = manoeuvre.speed_mps
    angle = first_angle + np.cumsum(manoeuvre.steering_rate) * STEP_S
    curvature = np.tan(angle - 0.5 * manoeuvre.steering_rate * STEP_S) / wheelbase_m
    found = []
    for step in range(STEPS):
        bicycle(
            state,
            np.int64(0),
            np.int64(0),
            np.float32(curvature[step]),
            np.float32(manoeuvre.acceleration[step]),
        )
        found.append([*state.pose[0, 0].astype(np.float64), float(state.speed[0, 0])])
    return np.array(found)


def difference(ours: Poses, theirs: Poses) -> dict[str, float]:
    """How far apart two drives are: positions at worst and at the end, yaw at the end, lateral acceleration at most."""
    apart = np.hypot(*(ours[:, :2] - theirs[:, :2]).T)
    yaw_rate = np.diff(theirs[:, 2], prepend=0.0) / STEP_S
    return {
        "worst_mm": 1e3 * float(apart.max()),
        "end_mm": 1e3 * float(apart[-1]),
        "end_yaw_mrad": 1e3 * abs(float(ours[-1, 2] - theirs[-1, 2])),
        "driven_m": float(np.sum(np.hypot(*np.diff(theirs[:, :2], axis=0, prepend=np.zeros((1, 2))).T))),
        "turned_degrees": math.degrees(float(theirs[-1, 2])),
        "lateral_mps2": float(np.abs(yaw_rate * theirs[:, 3]).max()),
    }


def measure_vehicle_model(name: str) -> Measurement:
    """The largest distance between our rear axle and that of the kinematic single-track model, of all manoeuvres.

    The details have every manoeuvre, against the kinematic (`kinematic`) and the dynamic model (`dynamic`), and bends
    of growing lateral acceleration (`bends`): how far a model without slip holds. Nothing is random.

    Raises:
        PeerMissingError: commonroad-vehicle-models is not installed.
    """
    wheelbase = _parameters_wheelbase()
    kinematic, dynamic, by_lateral = {}, {}, {}
    with stage(name) as progress:
        driven = manoeuvres()
        for number, manoeuvre in enumerate(driven):
            ours = our_poses(manoeuvre, wheelbase)
            kinematic[manoeuvre.name] = difference(ours, kinematic_reference(manoeuvre))
            dynamic[manoeuvre.name] = difference(ours, dynamic_reference(manoeuvre))
            progress(0.5 * (number + 1) / len(driven))
        for manoeuvre in bends():
            ours = our_poses(manoeuvre, wheelbase)
            by_lateral[manoeuvre.name] = difference(ours, dynamic_reference(manoeuvre))
    worst = max(kinematic.values(), key=lambda found: found["worst_mm"])
    slipping = max(dynamic.values(), key=lambda found: found["worst_mm"])
    two = by_lateral["bend at 2.0 m/s^2"]
    note = (
        f"at worst from the kinematic single-track model in 5 s, of {len(kinematic)} manoeuvres; from the dynamic one "
        f"{slipping['worst_mm'] / 1e3:.2f} m in a manoeuvre with {slipping['lateral_mps2']:.1f} m/s^2 to the side, "
        f"{two['worst_mm'] / 1e3:.2f} m and {two['end_yaw_mrad']:.0f} mrad in a bend with 2 m/s^2"
    )
    details = {"note": note, "kinematic": kinematic, "dynamic": dynamic, "bends": by_lateral}
    return Measurement(name, worst["worst_mm"], "mm", {"repeats": 1, **details})
