"""Observation -> tensors, and the scales in which the network sees ego motion, navigation and the clock."""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from fleetloop.core.types import HISTORY_STEPS, LONGEST_STOOD_S, CameraRig, Observation
from fleetloop.policy.encoder import rig_geometry

MAX_CURVATURE_1PM = 0.2
"""Tightest curvature the network can ask for: a 5 m radius."""

EGO_FEATURES = 3
"""Of the newest speed."""
STOOD_FEATURES = 2
"""Of how long the vehicle has stood."""
MOTION_VALUES = 3
"""Numbers of a step of ego history without how long the vehicle has stood."""
PAST_CONTROL_FEATURES = MOTION_VALUES * HISTORY_STEPS
NAVIGATION_FEATURES, TURN_FEATURES = 28, 18
"""Of a navigation hint, and those of them that do not tell where a turn ends."""
TURN_VALUES = 6
"""Numbers of a hint that those are made of."""
CLOCK_FEATURES = 2

_FAR_AWAY_M = 1000.0
_SHORTEST_TURN_M, _LONGEST_TURN_M = 3.0, 60.0
_END_SCALE_M = 5.0
_STOPPED_S = 0.4
"""Who has stood for so long has surely stopped: the rules ask for 0.2 s (`sim.right_of_way`)."""


class Inputs(NamedTuple):
    """An Observation as tensors, every number finite."""

    images: tuple[UInt8[Tensor, "B cameras height width 3"], ...]
    geometry: tuple[Float32[Tensor, "cells features"], ...]
    """Where the cameras of each group are and look, the same for the whole batch."""
    ego_history: Float32[Tensor, "B 8 4"]
    navigation: Float32[Tensor, "B 10"]
    time_of_day_h: Float32[Tensor, " B"]


def finite(observation: Observation) -> Observation:
    """The observation, contiguous and of the contract's types, with neutral values for what is not finite.

    A sensor that fails must not stop the planner: unknown motion reads as standing still, an unknown junction
    as one far away, an unknown time as noon. Whether to drive on such input is not decided here.
    """
    navigation = np.array(observation.navigation, np.float32)
    for column, neutral in enumerate((_FAR_AWAY_M, 0.0, 0.0) * 2 + (0.0,) * 4):
        navigation[:, column] = np.nan_to_num(navigation[:, column], nan=neutral, posinf=neutral, neginf=0.0)
    return Observation(
        images=tuple(np.ascontiguousarray(images, np.uint8) for images in observation.images),
        ego_history=np.nan_to_num(
            np.asarray(observation.ego_history, np.float32), nan=0.0, posinf=0.0, neginf=0.0
        ),
        navigation=navigation,
        time_of_day_h=np.nan_to_num(
            np.asarray(observation.time_of_day_h, np.float32), nan=12.0, posinf=12.0, neginf=12.0
        ),
    )


def inputs_from(observation: Observation, rig: CameraRig, device: torch.device | str = "cpu") -> Inputs:
    """Tensors for a `DriverModel` on `device`, made finite, of what the cameras of `rig` saw."""
    clean = finite(observation)
    return Inputs(
        images=tuple(torch.from_numpy(images).to(device) for images in clean.images),
        geometry=tuple(torch.from_numpy(geometry).to(device) for geometry in rig_geometry(rig)),
        ego_history=torch.from_numpy(clean.ego_history).to(device),
        navigation=torch.from_numpy(clean.navigation).to(device),
        time_of_day_h=torch.from_numpy(clean.time_of_day_h).to(device),
    )


def control_from_curvature(curvature_1pm: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Cube-spaced curvature u in [-1, 1]: fine near straight on, coarse in turns.

    A change in u costs the same in the loss everywhere, and most driving needs small curvatures exactly.
    """
    scaled = (curvature_1pm / MAX_CURVATURE_1PM).clamp(-1.0, 1.0)
    return torch.sign(scaled) * scaled.abs().pow(1.0 / 3.0)


def curvature_from_control(control: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The inverse of `control_from_curvature`, 1/m."""
    limited = control.clamp(-1.0, 1.0)
    return MAX_CURVATURE_1PM * limited * limited * limited


def ego_features(
    ego_history: Float[Tensor, "B 8 values"], past_controls: bool, stood: bool
) -> Float[Tensor, "B features"]:
    """The newest speed in three scales and, when asked for, the whole history, and how long the vehicle has stood.

    Without the latter the first MOTION_VALUES of a step are enough.
    """
    speed = ego_history[:, -1, 0]
    parts = [torch.stack([speed / 10.0, (speed / 2.0).clamp(0.0, 1.0), (speed / 30.0).square()], dim=-1)]
    if past_controls:
        scaled = [
            ego_history[:, :, 0] / 10.0,
            ego_history[:, :, 1] / 4.0,
            ego_history[:, :, 2].clamp(-MAX_CURVATURE_1PM, MAX_CURVATURE_1PM) / MAX_CURVATURE_1PM,
        ]
        parts.append(torch.stack(scaled, dim=-1).flatten(1))
    if stood:
        seconds = ego_history[:, -1, 3].clamp(0.0, LONGEST_STOOD_S)
        stopped = (seconds / _STOPPED_S).clamp(max=1.0)
        parts.append(torch.stack([stopped, torch.log1p(seconds) / math.log1p(LONGEST_STOOD_S)], dim=-1))
    return torch.cat(parts, dim=-1)


def navigation_features(
    navigation: Float[Tensor, "B values"], turn_ends: bool = True
) -> Float[Tensor, "B features"]:
    """The features of the turns and, unless told otherwise, those of where they end.

    Without the latter the first TURN_VALUES of a hint are enough.
    """
    turns = _turn_features(navigation)
    return torch.cat([turns, _end_features(navigation)], dim=-1) if turn_ends else turns


def _turn_features(navigation: Float[Tensor, "B values"]) -> Float[Tensor, "B 18"]:
    """Nine numbers for each of the two next junctions.

    nearness 1 / (1 + d / 20), distance log(1 + d / 20), 1 at _FAR_AWAY_M; the signed angle (raw, sine, cosine) gated by
    nearness, so that a turn far ahead does not steer now; the last metres before it in two scales, for where to begin
    matters; its length, and the mean curvature that comes of it.
    """
    parts = []
    for first in (0, 3):
        distance_m = navigation[:, first].clamp(0.0, _FAR_AWAY_M)
        angle = navigation[:, first + 1].clamp(-math.pi, math.pi)
        length_m = navigation[:, first + 2].clamp(0.0, _LONGEST_TURN_M)
        nearness = 1.0 / (1.0 + distance_m / 20.0)
        curvature = (angle / length_m.clamp_min(_SHORTEST_TURN_M)) / (0.5 * MAX_CURVATURE_1PM)
        parts += [
            nearness,
            torch.log1p(distance_m / 20.0) / math.log1p(_FAR_AWAY_M / 20.0),
            nearness * angle,
            nearness * torch.sin(angle),
            nearness * torch.cos(angle),
            (distance_m / 4.0).clamp(max=1.0),
            (distance_m / 12.0).clamp(max=1.0),
            length_m / 20.0,
            nearness * curvature.clamp(-2.0, 2.0),
        ]
    return torch.stack(parts, dim=-1)


def _end_features(navigation: Float[Tensor, "B 10"]) -> Float[Tensor, "B 10"]:
    """Five numbers for each of the two next junctions, gated by nearness: of where it ends, seen from where it begins.

    Ahead and to the left; to the left of whoever would drive on from there to where the turn ends, which is zero on the
    line of the lane beyond; and the curvature of the circle that leads there (pure pursuit: Coulter, "Implementation of
    the pure pursuit path tracking algorithm", CMU-RI-TR-92-01, 1992), alone and beyond that of an arc of the angle and
    the length.
    """
    parts = []
    for number in range(2):
        distance_m, angle, length_m = navigation[:, 3 * number : 3 * number + 3].unbind(dim=-1)
        angle, length_m = angle.clamp(-math.pi, math.pi), length_m.clamp(0.0, _LONGEST_TURN_M)
        ahead_m, aside_m = (
            navigation[:, 6 + 2 * number : 8 + 2 * number].clamp(-_LONGEST_TURN_M, _LONGEST_TURN_M).unbind(-1)
        )
        across_m = aside_m * torch.cos(angle) - ahead_m * torch.sin(angle)
        chord_m2 = (ahead_m.square() + aside_m.square()).clamp_min(_SHORTEST_TURN_M**2)
        curvature = 2.0 * aside_m / chord_m2
        beyond = curvature - angle / length_m.clamp_min(_SHORTEST_TURN_M)
        nearness = 1.0 / (1.0 + distance_m.clamp(0.0, _FAR_AWAY_M) / 20.0)
        parts += [
            nearness * ahead_m / (2.0 * _END_SCALE_M),
            nearness * aside_m / _END_SCALE_M,
            nearness * across_m / _END_SCALE_M,
            nearness * (curvature / (0.5 * MAX_CURVATURE_1PM)).clamp(-2.0, 2.0),
            nearness * (beyond / (0.25 * MAX_CURVATURE_1PM)).clamp(-2.0, 2.0),
        ]
    return torch.stack(parts, dim=-1)


def clock_features(time_of_day_h: Float[Tensor, " B"]) -> Float[Tensor, "B 2"]:
    """Sine and cosine of the 24-hour clock."""
    phase = time_of_day_h * (2.0 * math.pi / 24.0)
    return torch.stack([torch.sin(phase), torch.cos(phase)], dim=-1)
