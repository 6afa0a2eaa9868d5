"""A census of an evaluation: where a driver spends its time, and what leads to each of its interventions.

A rate tells how good a driver is, not why it is no better. Beside each moment stands what the demonstrator would have
done in it, so that hesitation shows as time in which it would have gone.
"""

import math
from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int8, Int32, UInt8, UInt64

from fleetloop.core.labels import Labels
from fleetloop.core.types import EGO, STEP_S, AgentKind, Control, Plan, SignalColour
from fleetloop.sim.behaviour import LOOKAHEAD_M
from fleetloop.sim.rollout import WAITS_WITHIN_M, Rollout, RolloutStep
from fleetloop.sim.safety_driver import Danger

SPEEDS_MPS = (0.3, 1.0, 2.0, 5.0)
"""Between the bands of speed; below the first a car stands."""
_GOES_MPS2, _STAYS_MPS2 = 0.5, 0.1
"""Who would accelerate with more would go if there is room, with less would stay or brake."""
_SLOW_BANDS = 3
_BEFORE_S = (3.0, 2.0, 1.0, 0.5, 0.0)
_NEAREST, _NEAR_M = 6, 60.0


class Place(StrEnum):
    """What rules the next junction, or the one that the car is in."""

    ROAD = "road"
    """No junction near, or nobody to give way to."""
    SIGN = "sign"
    """Yield, stop, or who comes from the right goes first."""
    RED = "red"
    """Or yellow."""
    GREEN_YIELD = "green_yield"
    GREEN = "green"
    PAST_SIGNAL = "past_signal"
    """In a junction with signals, beyond the line; or the lamps are off."""


class Would(StrEnum):
    """What the demonstrator would do in the driver's place."""

    GO = "go"
    ROLL = "roll"
    """A little on: slowly, or no farther than a car's length, to where it has to wait."""
    STAY = "stay"


_PLACES, _WOULD = list(Place), list(Would)


class _Moment(NamedTuple):
    """Of all W worlds, before a step."""

    active: Bool[np.ndarray, " W"]
    """Under way, and driven by the driver."""
    seed: UInt64[np.ndarray, " W"]
    town: Int32[np.ndarray, " W"]
    step: Int32[np.ndarray, " W"]
    asked_mps2: Float32[np.ndarray, " W"]
    labels: Labels
    kind: UInt8[np.ndarray, "W agents"]
    pose: Float32[np.ndarray, "W agents 3"]
    speed: Float32[np.ndarray, "W agents"]


class Census:
    """Counts time and keeps the seconds before interventions, over any number of drives."""

    def __init__(self) -> None:
        self._towns: Sequence[str] = ()
        self._steps = np.zeros((len(_PLACES), len(SPEEDS_MPS) + 1, len(_WOULD)), np.int64)
        self._recent: deque[_Moment] = deque(maxlen=round(max(_BEFORE_S) / STEP_S) + 1)
        self._interventions: list[dict[str, Any]] = []

    def begin(self, towns: Sequence[str]) -> None:
        """Another drive begins, in towns of these names."""
        self._towns = towns
        self._recent.clear()

    def see(self, rollout: Rollout, plan: Plan) -> None:
        """A moment, before its step, and what the driver asks for."""
        state = rollout.state
        moment = _Moment(
            active=rollout.active & ~rollout.safety_driver,
            seed=state.seed.copy(),
            town=state.town.copy(),
            step=state.step.copy(),
            asked_mps2=plan.acceleration_mps2.copy(),
            labels=rollout.teaching.copy(),
            kind=state.kind.copy(),
            pose=state.pose.copy(),
            speed=state.speed.copy(),
        )
        self._recent.append(moment)
        band = np.searchsorted(SPEEDS_MPS, moment.speed[:, EGO], side="right")
        cells = (places(moment.labels), band, demonstrated(moment.labels))
        np.add.at(self._steps, tuple(index[moment.active] for index in cells), 1)

    def note(self, step: RolloutStep) -> None:
        """What came of the moment seen last."""
        for w in np.flatnonzero(step.danger != Danger.NONE).tolist():
            now = self._recent[-1]
            self._interventions.append(
                {
                    "kind": Danger(int(step.danger[w])).name.lower(),
                    "town": self._towns[int(now.town[w])],
                    "route_seed": int(now.seed[w]),
                    "time_s": round(float(now.step[w]) * STEP_S, 1),
                    "before": self._before(w),
                }
            )

    def _before(self, w: int) -> list[dict[str, Any]]:
        """The moments that led to what happens now in world w, on this route."""
        told, now = [], self._recent[-1]
        for before_s in _BEFORE_S:
            steps = round(before_s / STEP_S)
            if steps < len(self._recent) and self._recent[-1 - steps].seed[w] == now.seed[w]:
                told.append({"before_s": before_s, **_told(self._recent[-1 - steps], w)})
        return told

    def hesitation_s(self, place: Place | None = None) -> float:
        """Seconds below 2 m/s in which the demonstrator would have gone, in all or in one kind of place."""
        where = slice(None) if place is None else _PLACES.index(place)
        return float(self._steps[where, :_SLOW_BANDS, _WOULD.index(Would.GO)].sum()) * STEP_S

    @property
    def driven_s(self) -> float:
        """Seconds driven by the driver."""
        return float(self._steps.sum()) * STEP_S

    def text(self) -> str:
        """One sentence for people."""
        where = sorted(_PLACES, key=lambda place: -self.hesitation_s(place))
        parts = [
            f"{place.replace('_', ' ')} {self.hesitation_s(place):.0f}"
            for place in where
            if self.hesitation_s(place)
        ]
        told = f" ({', '.join(parts)})" if parts else ""
        slow_s, all_s = self.hesitation_s(), self.driven_s
        return f"Below 2 m/s, where the demonstrator would go: {slow_s:.0f} of {all_s:.0f} s{told}."

    def to_json(self) -> dict[str, Any]:
        """Seconds by Place, by band of speed (each from the speed that names it) and by what the demonstrator would do;
        every intervention with the moments before it, positions in the car's frame."""
        bands = [f"{speed:g}" for speed in (0.0, *SPEEDS_MPS)]
        seconds = {
            place.value: {
                band: {
                    would.value: round(float(count) * STEP_S, 1)
                    for would, count in zip(_WOULD, row, strict=True)
                }
                for band, row in zip(bands, rows, strict=True)
            }
            for place, rows in zip(_PLACES, self._steps, strict=True)
        }
        return {"seconds_by_place_and_speed_mps": seconds, "interventions": self._interventions}


def places(labels: Labels) -> Int8[np.ndarray, " N"]:
    """Number of the Place of each of N moments, in the order of Place."""
    control, colour = labels.junction_control, labels.signal_colour
    signs = (Control.YIELD, Control.STOP, Control.RIGHT_BEFORE_LEFT)
    place = np.full(len(control), _PLACES.index(Place.ROAD), np.int8)
    # A sign comes last: a signal that is told beside it is one of the junctions after it.
    for is_there, what in (
        (control == Control.SIGNAL, Place.PAST_SIGNAL),
        (np.isin(colour, (SignalColour.RED, SignalColour.YELLOW)), Place.RED),
        (colour == SignalColour.GREEN_YIELD, Place.GREEN_YIELD),
        (colour == SignalColour.GREEN, Place.GREEN),
        (np.isin(control, signs), Place.SIGN),
    ):
        place[is_there] = _PLACES.index(what)
    return place


def demonstrated(labels: Labels) -> Int8[np.ndarray, " N"]:
    """Number of what the demonstrator would do, in the order of Would."""
    acceleration_mps2, room_m = labels.acceleration_mps2, np.minimum(labels.halt_m, labels.lead_gap_m)
    goes = (acceleration_mps2 > _GOES_MPS2) & (room_m >= WAITS_WITHIN_M)
    stays = acceleration_mps2 < _STAYS_MPS2
    number = np.full(len(acceleration_mps2), _WOULD.index(Would.ROLL), np.int8)
    number[goes], number[stays] = _WOULD.index(Would.GO), _WOULD.index(Would.STAY)
    return number


def _told(moment: _Moment, w: int) -> dict[str, Any]:
    """A moment of world w, in numbers that a person can read."""
    labels = moment.labels
    colour, control = int(labels.signal_colour[w]), int(labels.junction_control[w])
    return {
        "speed_mps": _round(moment.speed[w, EGO]),
        "asked_mps2": _round(moment.asked_mps2[w]),
        "demonstrator_mps2": _round(labels.acceleration_mps2[w]),
        "control": None if control < 0 else Control(control).name.lower(),
        "signal": None if colour < 0 else SignalColour(colour).name.lower(),
        "stop_line_m": _in_sight(labels.stop_line_m[w]),
        "halt_m": _in_sight(labels.halt_m[w]),
        "lead_gap_m": _in_sight(labels.lead_gap_m[w]),
        "near": _near(moment, w),
    }


def _near(moment: _Moment, w: int) -> list[dict[str, Any]]:
    """The nearest road users, as they lie from the car."""
    pose, x, y, yaw = moment.pose[w], *moment.pose[w, EGO].tolist()
    away = pose[:, :2] - (x, y)
    distance_m = np.hypot(away[:, 0], away[:, 1])
    there = (moment.kind[w] != AgentKind.NONE) & (distance_m < _NEAR_M)
    there[EGO] = False
    cosine, sine = math.cos(yaw), math.sin(yaw)
    return [
        {
            "kind": AgentKind(int(moment.kind[w, a])).name.lower(),
            "ahead_m": _round(cosine * away[a, 0] + sine * away[a, 1]),
            "left_m": _round(cosine * away[a, 1] - sine * away[a, 0]),
            "heading_deg": round(math.degrees(math.remainder(float(pose[a, 2]) - yaw, 2.0 * math.pi))),
            "speed_mps": _round(moment.speed[w, a]),
        }
        for a in np.argsort(np.where(there, distance_m, np.inf))[: min(_NEAREST, int(there.sum()))].tolist()
    ]


def _round(value: float | np.floating) -> float:
    """To a tenth."""
    return round(float(value), 1)


def _in_sight(distance_m: float | np.floating) -> float | None:
    """A distance; None for what is not there."""
    return _round(distance_m) if distance_m < LOOKAHEAD_M else None
