"""Others in the frame of the learner's path, against a path walked along in centimetres."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from fleetloop.core.types import EGO, UPCOMING_LANES, VEHICLE_SIZES, AgentKind, State, World
from fleetloop.sim.path_frame import PATH_FIELDS, beside_path
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import make_routes
from fleetloop.sim.state_view import OTHERS
from toy_world import toy_world


def path_of(world: World, state: State, w: int, a: int, back_m: float, ahead_m: float) -> np.ndarray:
    """Rows of metres from an agent, x, y and heading, every 5 cm along its path; straight on before it begins."""
    rows: list[tuple[float, float, float, float]] = []
    begin = -float(state.along[w, a])
    for index in range(UPCOMING_LANES):
        lane = int(state.path[w, a, index])
        if lane < 0:
            break
        first, count = int(world.lane_first_point[lane]), int(world.lane_point_count[lane])
        points, headings = (
            world.points[first : first + count],
            np.unwrap(world.headings[first : first + count]),
        )
        at = np.arange(count) * float(world.lane_spacing_m[lane])
        metres = np.arange(0.0, float(world.lane_length_m[lane]), 0.05)
        x, y = (np.interp(metres, at, points[:, axis]) for axis in range(2))
        if index == 0:
            before = np.arange(-back_m, 0.0, 0.05)
            rows += [
                (begin + b, x[0] + b * math.cos(headings[0]), y[0] + b * math.sin(headings[0]), headings[0])
                for b in before
            ]
        rows += zip(begin + metres, x, y, np.interp(metres, at, headings), strict=True)
        begin += float(world.lane_length_m[lane])
    path = np.array(rows)
    return path[(path[:, 0] > -back_m) & (path[:, 0] < ahead_m)]


def metres(scaled: np.ndarray, unit: float, most: float) -> np.ndarray:
    return np.sign(scaled) * unit * np.expm1(np.abs(scaled) * math.log1p(most / unit))


def metres_away(state: State, w: int) -> np.ndarray:
    """How far the others are from the learner, in the order of their numbers; infinitely where there is nobody."""
    away = np.hypot(*(state.pose[w, 1:, :2] - state.pose[w, EGO, :2]).T.astype(np.float64))
    away[state.kind[w, 1:] == AgentKind.NONE] = np.inf
    return away


def counted(compare: Callable[[World, State, int, np.ndarray], tuple[int, int]]) -> np.ndarray:
    """What `compare` counts in all, asked about each of eight learners every two seconds."""
    world = toy_world()
    rollout = Rollout(world, make_routes(4, [0], 10**6, 300.0), 8, 12)
    counts = np.zeros(2, int)
    for step in range(240):
        rollout.decide()
        if step % 20 == 19:
            rows = beside_path(world, rollout.state)
            assert rows.shape == (8, OTHERS, PATH_FIELDS) and np.isfinite(rows).all()
            for w in range(8):
                counts += compare(world, rollout.state, w, rows[w])
        rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
    return counts


def test_they_are_where_a_walk_along_the_path_finds_them():
    compared, bends = counted(compare_places)
    assert compared > 200 and bends > 20


def compare_places(world: World, state: State, w: int, rows: np.ndarray) -> tuple[int, int]:
    """Compare whoever is near the path; how many they were, and how many beside a bend of it."""
    path = path_of(world, state, w, EGO, 10.0, 70.0)
    away = metres_away(state, w)
    compared = bends = 0
    for row, b in zip(rows, 1 + np.argsort(away, kind="stable"), strict=False):
        if not np.isfinite(away[b - 1]):
            assert (row == 0.0).all()
            continue
        size, yaw = VEHICLE_SIZES[state.kind[w, b]], float(state.pose[w, b, 2])
        ahead = size[0] / 2.0 - size[3]
        x, y = state.pose[w, b, 0] + ahead * math.cos(yaw), state.pose[w, b, 1] + ahead * math.sin(yaw)
        apart = np.hypot(path[:, 1] - x, path[:, 2] - y)
        along, px, py, heading = path[np.argmin(apart)]
        # Beyond its ends, and far from a bend, the nearest point jumps.
        if not -8.0 < along < 60.0 or apart.min() > 6.0:
            continue
        aside = -math.sin(heading) * (x - px) + math.cos(heading) * (y - py)
        assert metres(row[0], 5.0, 60.0) == pytest.approx(along, abs=1.0)
        assert metres(row[1], 1.0, 20.0) == pytest.approx(aside, abs=0.6)
        turned, speed = yaw - heading, float(state.speed[w, b])
        assert row[2:4] == pytest.approx([math.cos(turned), math.sin(turned)], abs=0.2)
        assert 15.0 * row[4:6] == pytest.approx(speed * row[2:4], abs=1e-3)
        arrives = min(max(along, 0.0) / max(float(state.speed[w, EGO]), 1.0), 4.0)
        there = aside + speed * math.sin(turned) * arrives
        assert metres(row[6], 1.0, 20.0) == pytest.approx(there, abs=0.8 + 0.25 * speed * arrives)
        compared, bends = compared + 1, bends + (abs(heading - path[0, 3]) > 0.2)
    return compared, bends


def test_ways_meet_where_a_walk_along_both_finds_it():
    meet, apart = counted(compare_meetings)
    assert meet > 100 and apart > 100


def compare_meetings(world: World, state: State, w: int, rows: np.ndarray) -> tuple[int, int]:
    """Compare those in the middle of their lanes; how many come into the path ahead, and how many do not."""
    path = path_of(world, state, w, EGO, 0.0, 75.0)
    away = metres_away(state, w)
    meet = apart = 0
    for row, b in zip(rows, 1 + np.argsort(away, kind="stable"), strict=False):
        if not np.isfinite(away[b - 1]) or state.path[w, b, 0] < 0 or abs(state.offset[w, b]) > 0.05:
            continue
        way = path_of(world, state, w, int(b), 0.0, 66.0)
        way = way[way[:, 0] >= 0.0]
        size = VEHICLE_SIZES[state.kind[w, b]]
        axles = max(round((size[0] - 2.0 * size[3]) / 0.05), 6)
        rear, front = way[:-axles], way[axles:]
        yaw = np.arctan2(front[:, 2] - rear[:, 2], front[:, 1] - rear[:, 1])
        middle = (size[0] / 2.0 - size[3]) * np.stack([np.cos(yaw), np.sin(yaw)], axis=1) + rear[:, 1:3]
        distances = np.hypot(
            path[None, ::4, 1] - middle[::4, None, 0], path[None, ::4, 2] - middle[::4, None, 1]
        )
        nearest = distances.min(axis=1)
        near = np.flatnonzero(nearest[rear[::4, 0] < 55.0] < 1.8)
        if not len(near):
            if nearest.min() > 2.2:
                assert row[7] == 0.0
                apart += 1
            continue
        gone, along = rear[4 * near[0], 0], path[4 * distances[near[0]].argmin(), 0]
        # Who only brushes the path, or meets it at its ends, may be taken either way.
        if np.min(nearest[near]) > 1.2 or not 2.0 < along < 55.0 or len(near) < 15:
            continue
        assert row[7] == 1.0
        assert metres(row[8], 5.0, 60.0) == pytest.approx(along, abs=3.5)
        assert metres(row[9], 5.0, 60.0) == pytest.approx(gone, abs=3.5)
        meet += 1
    return meet, apart
