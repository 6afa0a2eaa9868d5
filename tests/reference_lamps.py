"""The light of lamps in NumPy, slow and obvious, in float64. Only tests use it."""

import math
from typing import NamedTuple

import numpy as np

from fleetloop.core.types import STREET_LAMP, VEHICLE_SIZES, AgentKind, Scene, World
from fleetloop.sim.cameras.appearance import Appearance
from fleetloop.sim.cameras.gather import LAMPS_FROM
from fleetloop.sim.cameras.lamps import (
    BEAM_BACK_M,
    BLUE_LIGHT,
    HEAD_LIGHT,
    LAMPS_RANGE_M,
    MAX_LAMPS,
    STREET_LIGHT,
)

OTHERS_RANGE_M = 38.0


def strength_of(look: Appearance, b: int) -> float:
    return min(max((float(look.darkness[b]) - LAMPS_FROM) / (1.0 - LAMPS_FROM), 0.0), 1.0)


class Lamp(NamedTuple):
    """A row of LampField in the town frame."""

    place: np.ndarray
    direction: np.ndarray
    colour: np.ndarray
    range_m: float
    half_m: float
    gain: float
    beam: float
    lift: float


def _lamp(kind: tuple, place: tuple[float, float, float], yaw: float | None, strength: float) -> Lamp:
    direction = np.zeros(3) if yaw is None else np.array([math.cos(yaw), math.sin(yaw), 0.0])
    return Lamp(np.array(place), direction, np.array(kind[5:8]) * strength, *kind[8:13])


def lamps_of(world: World, scene: Scene, look: Appearance, b: int) -> list[Lamp]:
    """The ego's own first, then the nearest of the others."""
    strength, ego = strength_of(look, b), scene.ego_pose[b].astype(np.float64)
    if strength == 0.0:
        return []
    found: list[tuple[float, Lamp]] = []

    def add(kind: tuple, place: tuple[float, float, float], yaw: float | None) -> None:
        lamp = _lamp(kind, place, yaw, strength)
        middle, reach = lamp.place, lamp.range_m
        if yaw is not None:
            lamp = lamp._replace(range_m=OTHERS_RANGE_M)
            middle, reach = lamp.place + lamp.direction * OTHERS_RANGE_M / 2, OTHERS_RANGE_M / 2
        nearness = math.hypot(middle[0] - ego[0], middle[1] - ego[1]) - reach
        if nearness <= LAMPS_RANGE_M:
            found.append((nearness, lamp))

    lit = (AgentKind.CAR, AgentKind.VAN, AgentKind.TRUCK, AgentKind.BUS, AgentKind.EMERGENCY)
    for kind, pose in zip(scene.agent_kind[b], scene.agent_pose[b].astype(np.float64), strict=True):
        x, y, yaw = pose
        if kind in lit:
            front = float(VEHICLE_SIZES[kind, 0] - VEHICLE_SIZES[kind, 3]) - BEAM_BACK_M
            add(HEAD_LIGHT, (x + front * math.cos(yaw), y + front * math.sin(yaw), HEAD_LIGHT[2]), yaw)
        if kind == AgentKind.EMERGENCY:
            add(BLUE_LIGHT, (x, y, BLUE_LIGHT[2]), None)
    for box, lamp in zip(world.boxes.astype(np.float64), world.box_lamp, strict=True):
        if lamp == STREET_LAMP:
            add(STREET_LIGHT, (box[0], box[1], box[2] - box[6]), None)
    front = float(VEHICLE_SIZES[AgentKind.CAR, 0] - VEHICLE_SIZES[AgentKind.CAR, 3]) - BEAM_BACK_M
    place = (ego[0] + front * math.cos(ego[2]), ego[1] + front * math.sin(ego[2]), HEAD_LIGHT[2])
    found.sort(key=lambda item: item[0])
    return [_lamp(HEAD_LIGHT, place, float(ego[2]), strength)] + [lamp for _, lamp in found[: MAX_LAMPS - 1]]


def lamp_light(lamp: Lamp, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Share of the lamp's colour that falls on each point."""
    way = points - lamp.place
    square, level = (way**2).sum(axis=-1), np.hypot(way[..., 0], way[..., 1])
    window = np.maximum(1.0 - square / lamp.range_m**2, 0.0) ** 2
    facing = np.clip(-(way * normals).sum(axis=-1) / np.sqrt(square) * lamp.gain, 0.0, 1.0)
    rim = np.clip(((way @ lamp.direction) / level - lamp.beam) / (1.0 - lamp.beam), 0.0, 1.0) ** 2
    lift = np.clip(1.0 - lamp.lift * way[..., 2] / level, 0.1, 1.0)
    return (
        window * lamp.half_m**2 / (lamp.half_m**2 + square) * facing * (rim if lamp.beam > -1 else 1.0) * lift
    )


def mirrored(lamp: Lamp, points: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """Share of the lamp that wet ground sends to the eye."""
    way = lamp.place - points
    distance, level = np.linalg.norm(way, axis=-1), np.hypot(way[..., 0], way[..., 1])
    window = np.maximum(1.0 - distance**2 / lamp.range_m**2, 0.0)
    rim = np.clip((-(way @ lamp.direction) / level - lamp.beam) / (1.0 - lamp.beam), 0.0, 1.0)
    to_eye = eye - points
    half = way / distance[..., None] + to_eye / np.linalg.norm(to_eye, axis=-1)[..., None]
    share = half[..., 2] / np.linalg.norm(half, axis=-1)
    return np.maximum(share, 0.0) ** 128 * window * (rim if lamp.beam > -1 else 1.0)
