"""Swapped cameras and mirrored pictures are found by how the world goes by; the kernels against slow references."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.core.pinhole import camera_axes
from fleetloop.core.types import NAVIGATION_VALUES, STEP_S, Camera, CameraRig, Observation
from fleetloop.safety.inputs import InputConfig, InputMonitor
from fleetloop.safety.mounts import MountConfig, MountMonitor
from fleetloop.safety.picture_motion import (
    CELL_COLUMNS,
    CELL_PIXELS,
    CELLS,
    COLUMNS,
    ROWS,
    MountFields,
    compare_mounts,
    mirrored,
    motion_sums,
    mount_fields,
    shrink,
)
from fleetloop.safety.watchdog import Fault
from fleetloop.sim.cameras import DEFAULT_RIG, SHUTTLE_RIG
from fleetloop.sim.cameras.project import project, ray_directions

SPEED_MPS, HALF_STREET_M, WALL_M = 8.0, 7.0, 9.0
EVERY_STEP = MountConfig(every_steps=1)


def waves(first: np.ndarray, second: np.ndarray, seed: int) -> np.ndarray:
    """A smooth texture over two lengths, 0 to 255, of waves of 2.5 m to 9 m."""
    random = np.random.default_rng(seed)
    total = np.zeros(first.shape)
    for _ in range(8):
        angle, length, phase = random.uniform(0, 2 * math.pi), random.uniform(2.5, 9.0), random.uniform(0, 7)
        along = math.cos(angle) * first + math.sin(angle) * second
        total += np.sin(2 * math.pi * along / length + phase)
    return 128.0 + 25.0 * total


def street(camera: Camera, pose: tuple[float, float, float]) -> np.ndarray:
    """What a camera of a vehicle at x, y, yaw sees of a straight street along x: a ground, two walls, a bright sky."""
    x, y, yaw = pose
    turn = np.array(
        [[math.cos(yaw), -math.sin(yaw), 0.0], [math.sin(yaw), math.cos(yaw), 0.0], [0.0, 0.0, 1.0]]
    )
    rays = ray_directions(camera).astype(np.float64) @ turn.T
    start = turn @ np.asarray(camera.position_in_ego) + (x, y, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        to_ground = np.where(rays[..., 2] < 0.0, -start[2] / rays[..., 2], np.inf)
        to_wall = (np.sign(rays[..., 1]) * HALF_STREET_M - start[1]) / rays[..., 1]
    to_wall = np.where(np.isfinite(to_wall), to_wall, np.inf)
    distance = np.minimum(np.minimum(to_ground, to_wall), 200.0)
    hit = start + distance[..., None] * rays
    wall = np.where(
        rays[..., 1] > 0.0, waves(hit[..., 0], hit[..., 2], 1), waves(hit[..., 0], hit[..., 2], 2)
    )
    seen = np.where(to_ground < to_wall, waves(hit[..., 0], hit[..., 1], 3), wall)
    seen = np.where((hit[..., 2] > WALL_M) | (distance >= 200.0), 230.0, seen)
    return np.repeat(np.clip(seen, 0.0, 255.0).astype(np.uint8)[..., None], 3, axis=2)


def drive(rig: CameraRig, steps: int, speed_mps: float = SPEED_MPS) -> list[Observation]:
    """One vehicle that winds along the street."""
    x, y, yaw, observations = 0.0, 0.0, 0.0, []
    for step in range(steps):
        curvature = 0.03 * math.cos(step / 8.0)
        images = tuple(
            np.stack([street(camera, (x, y, yaw)) for camera in group])[None] for group in rig.groups
        )
        history = np.zeros((1, 8, 4), np.float32)
        history[:, :, 0], history[:, :, 2] = speed_mps, curvature
        observations.append(
            Observation(
                images, history, np.zeros((1, NAVIGATION_VALUES), np.float32), np.zeros(1, np.float32)
            )
        )
        x, y = x + speed_mps * STEP_S * math.cos(yaw), y + speed_mps * STEP_S * math.sin(yaw)
        yaw += speed_mps * STEP_S * curvature
    return observations


@pytest.fixture(scope="module")
def drives() -> dict[str, list[Observation]]:
    """The same way in two vehicles."""
    return {"default": drive(DEFAULT_RIG, 60), "shuttle": drive(SHUTTLE_RIG, 60)}


def exchanged(observation: Observation, first: int, second: int) -> Observation:
    """The same with two of the five cameras around, or of the three forward ones, swapped; or 7 and 1."""
    forward, around = (images.copy() for images in observation.images)
    if (first, second) == (1, 7):
        forward[:, 1] = observation.images[1][:, 4].repeat(2, axis=1).repeat(2, axis=2)
        around[:, 4] = observation.images[0][:, 1, ::2, ::2]
    else:
        around[:, [first - 3, second - 3]] = observation.images[1][:, [second - 3, first - 3]]
    return replace(observation, images=(forward, around))


def watched(rig: CameraRig, observations: list[Observation]) -> MountMonitor:
    monitor = MountMonitor(1, rig, EVERY_STEP)
    for observation in observations:
        monitor.look(observation, np.ones(1, bool), np.ones((1, len(rig.cameras)), bool))
    return monitor


# The kernels, against slow references


@settings(max_examples=20, deadline=None)
@given(st.integers(ROWS, 70), st.integers(COLUMNS, 100), st.integers(0, 99))
def test_small_pictures_are_means_of_green_samples(height: int, width: int, seed: int):
    images = np.random.default_rng(seed).integers(0, 256, (3, 2, height, width, 3), np.uint8)
    rows, small = np.array([2, 0]), np.empty((2, 2, ROWS, COLUMNS), np.float32)
    shrink(images, rows, small)
    for i in range(ROWS):
        for j in range(COLUMNS):
            ys = (int(i * height / ROWS), int((i + 0.5) * height / ROWS))
            xs = (int(j * width / COLUMNS), int((j + 0.5) * width / COLUMNS))
            samples = [images[rows][:, :, y, x, 1].astype(float) for y in ys for x in xs]
            assert np.allclose(small[:, :, i, j], np.mean(samples, axis=0))


def sums_of(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """As `motion_sums`, by NumPy's own gradient."""
    y, x = np.gradient((before.astype(float) + now) / 2.0, axis=(-2, -1))
    t = now.astype(float) - before
    inner = np.zeros((ROWS, COLUMNS))
    inner[1:-1, 1:-1] = 1.0
    products = np.stack([x * x, x * y, y * y, x * t, y * t, t * t], axis=-1) * inner[..., None]
    cells = products.reshape(
        *before.shape[:2], ROWS // CELL_PIXELS, CELL_PIXELS, CELL_COLUMNS, CELL_PIXELS, 6
    )
    return cells.sum(axis=(3, 5)).reshape(*before.shape[:2], CELLS, 6)


def measured_sums(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    sums = np.empty((*before.shape[:2], CELLS, 6), np.float32)
    motion_sums(before.astype(np.float32), now.astype(np.float32), sums)
    return sums


def test_sums_of_cells_are_those_of_gradient_and_change():
    before, now = np.random.default_rng(1).uniform(0.0, 255.0, (2, 2, 3, ROWS, COLUMNS)).astype(np.float32)
    assert np.allclose(measured_sums(before, now), sums_of(before, now), rtol=1e-4, atol=1.0)


@settings(max_examples=30, deadline=None)
@given(st.floats(-1.0, 1.0), st.floats(-1.0, 1.0), st.integers(0, 99))
def test_a_picture_shifted_by_a_known_amount_tells_it(right: float, down: float, seed: int):
    y, x = np.mgrid[:ROWS, :COLUMNS].astype(float)
    # Waves of 2.5 pixels are too short for differences of neighbours: twice as long.
    pictures = [waves((x - dx) / 2.0, (y - dy) / 2.0, seed) for dx, dy in ((0.0, 0.0), (right, down))]
    xx, xy, yy, xt, yt, _ = measured_sums(*(picture[None, None] for picture in pictures))[0, 0].sum(axis=0)
    fitted = np.linalg.solve([[xx, xy], [xy, yy]], [-xt, -yt])
    assert np.abs(fitted - (right, down)).max() < 0.35 * max(abs(right), abs(down)) + 0.02


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 7), st.floats(5.0, 60.0), st.floats(0.0, 0.3), st.floats(-0.02, 0.02), st.booleans())
def test_fields_are_how_points_move_in_the_picture(
    number: int, depth_m: float, forward_m: float, yaw: float, shuttle: bool
):
    rig = SHUTTLE_RIG if shuttle else DEFAULT_RIG
    camera, fields = rig.cameras[number], mount_fields(rig)
    row, column = np.divmod(np.arange(CELLS), CELL_COLUMNS)
    pixels = np.stack([column + 0.5, row + 0.5], axis=1) * CELL_PIXELS
    scale = np.array([camera.width / COLUMNS, camera.height / ROWS])
    # Points at this depth along the rays of the middles of the cells, and the ego frame that moves on.
    finer = replace(camera, width=camera.width * 2, height=camera.height * 2)
    rays = ray_directions(finer).astype(float)
    middle = (pixels * scale * 2).astype(int)
    around = [rays[middle[:, 1] - a, middle[:, 0] - b] for a in (0, 1) for b in (0, 1)]
    axis = camera_axes(camera)[2]
    ray = np.mean(around, axis=0)
    points = np.asarray(camera.position_in_ego) + ray * (depth_m / (ray @ axis))[:, None]
    moved = points - (forward_m, 0.0, 0.0)
    cosine, sine = math.cos(yaw), math.sin(yaw)
    moved = moved @ np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    shift = (project(camera, moved)[0] - project(camera, points)[0]) / scale
    place = fields.place[number]
    ways = (forward_m - yaw * place[1]) * fields.ahead[number] + yaw * place[0] * fields.aside[number]
    expected = yaw * fields.turn[number] + ways / depth_m
    assert np.abs(shift - expected).max() < 0.02 + 0.1 * np.abs(expected).max()


def unexplained(
    sums: np.ndarray, fields: MountFields, mount: int, way: tuple[float, float], ground: bool
) -> np.ndarray:
    """Share of each cell's change that is left at the best of many nearnesses."""
    forward_m, yaw = way
    turn = yaw * fields.turn[mount].astype(float)
    shift = (forward_m - yaw * fields.place[mount, 1]) * fields.ahead[mount].astype(float)
    shift = shift + yaw * fields.place[mount, 0] * fields.aside[mount]
    nearest, least = np.maximum(0.6, 1.3 * fields.ground[mount]), np.zeros(CELLS)
    if ground:
        least = np.minimum(0.7 * fields.ground[mount], 2.0 / (np.linalg.norm(shift, axis=1) + 1e-6))
    best = np.full(CELLS, np.inf)
    xx, xy, yy, xt, yt, tt = sums.astype(float).T
    for share in np.linspace(0.0, 1.0, 2001):
        u, v = (turn + (least + share * (nearest - least))[:, None] * shift).T
        left = xx * u * u + 2 * xy * u * v + yy * v * v + 2 * (xt * u + yt * v) + tt
        best = np.minimum(best, left)
    return best / (tt + 8.0)


def test_mounts_are_compared_as_by_trying_every_nearness():
    before, now = np.random.default_rng(2).uniform(100.0, 120.0, (2, 1, 8, ROWS, COLUMNS)).astype(np.float32)
    sums, fields, way = measured_sums(before, now), mount_fields(DEFAULT_RIG), (0.7, 0.02)
    mirror = mirrored(fields)
    foreign, reflected = np.empty((1, 8, 8), np.float32), np.empty((1, 8), np.float32)
    forward_m, yaw = (np.full(1, value, np.float32) for value in way)
    compare_mounts(sums, forward_m, yaw, fields, mirror, foreign, reflected)
    for camera in range(8):
        own, free = (unexplained(sums[0, camera], fields, camera, way, ground) for ground in (True, False))
        other = unexplained(sums[0, camera], mirror, camera, way, False)
        assert reflected[0, camera] == pytest.approx(np.clip(other - free, -1, 1).mean(), abs=0.01)
        for mount in range(8):
            other = unexplained(sums[0, camera], fields, mount, way, True)
            assert foreign[0, camera, mount] == pytest.approx(np.clip(other - own, -1, 1).mean(), abs=0.01)


# What is found


@pytest.mark.parametrize("name", ["default", "shuttle"])
def test_cameras_in_their_places_are_left_alone(name: str, drives: dict[str, list[Observation]]):
    assert not watched(SHUTTLE_RIG if name == "shuttle" else DEFAULT_RIG, drives[name]).misplaced.any()


@pytest.mark.parametrize("name", ["default", "shuttle"])
@pytest.mark.parametrize("pair", [(3, 4), (5, 6), (3, 5), (4, 6), (3, 6), (5, 7), (3, 7), (1, 7)])
def test_two_swapped_cameras_are_found_and_named(
    name: str, pair: tuple[int, int], drives: dict[str, list[Observation]]
):
    rig = SHUTTLE_RIG if name == "shuttle" else DEFAULT_RIG
    monitor = watched(rig, [exchanged(seen, *pair) for seen in drives[name]])
    expected = np.arange(8)
    expected[list(pair)] = pair[::-1]
    assert monitor.shows[0].tolist() == expected.tolist() and not monitor.mirrored.any()


@pytest.mark.parametrize("upside_down", [False, True])
def test_a_mirrored_camera_is_found(upside_down: bool, drives: dict[str, list[Observation]]):
    def turned(seen: Observation) -> Observation:
        around = seen.images[1].copy()
        around[:, 1] = around[:, 1, :: -1 if upside_down else 1, ::-1].copy()
        return replace(seen, images=(seen.images[0], around))

    monitor = watched(DEFAULT_RIG, [turned(seen) for seen in drives["default"]])
    assert (
        np.flatnonzero(monitor.misplaced[0]).tolist() == np.flatnonzero(monitor.mirrored[0]).tolist() == [4]
    )


def test_who_creeps_or_whose_speed_is_unknown_finds_nothing(drives: dict[str, list[Observation]]):
    wrong = [exchanged(seen, 3, 4) for seen in drives["default"]]
    for speed in (1.0, math.nan):
        seen = [replace(o, ego_history=np.full((1, 8, 4), speed, np.float32)) for o in wrong]
        assert not watched(DEFAULT_RIG, seen).misplaced.any()


def test_pictures_are_compared_only_with_those_just_before_and_while_active(
    drives: dict[str, list[Observation]],
):
    wrong = [exchanged(seen, 3, 4) for seen in drives["default"]]
    sees = np.ones((1, 8), bool)
    monitors = [MountMonitor(1, DEFAULT_RIG, EVERY_STEP) for _ in range(3)]
    for seen in wrong:
        monitors[0].look(seen, np.zeros(1, bool), sees)
        monitors[1].look(seen, np.ones(1, bool), sees)
        monitors[1].miss()
        monitors[2].look(seen, np.ones(1, bool), sees)
        monitors[2].forget(np.ones(1, bool))
    assert not any(monitor.misplaced.any() for monitor in monitors)


def test_vehicles_take_turns_and_do_not_tell_of_each_other(drives: dict[str, list[Observation]]):
    def side_by_side(well: Observation, swapped: Observation) -> Observation:
        images = tuple(np.concatenate(pair) for pair in zip(well.images, swapped.images, strict=True))
        return replace(well, images=images, ego_history=np.repeat(well.ego_history, 2, axis=0))

    monitor = MountMonitor(2, DEFAULT_RIG, MountConfig(every_steps=2))
    for seen in drives["default"]:
        both = side_by_side(seen, exchanged(seen, 5, 6))
        monitor.look(both, np.ones(2, bool), np.ones((2, 8), bool))
    assert monitor.misplaced[0].sum() == 0 and np.flatnonzero(monitor.misplaced[1]).tolist() == [5, 6]


def test_swapped_cameras_read_black_are_named_and_stay_lost_until_forgotten(
    drives: dict[str, list[Observation]], caplog: pytest.LogCaptureFixture
):
    monitor, active = InputMonitor(1, DEFAULT_RIG, InputConfig(mounts=EVERY_STEP)), np.ones(1, bool)
    passed, began = drives["default"][0], np.zeros(8, int)
    for seen in drives["default"]:
        passed = monitor.check(exchanged(seen, 1, 7), active)
        began += monitor.began[0]
    assert began.tolist() == [0, 1, 0, 0, 0, 0, 0, 1]
    assert (
        not passed.images[0][0, 1].any() and not passed.images[1][0, 4].any() and passed.images[0][0, 0].any()
    )
    assert monitor.lost_text(0) == "lost cameras: front_main and rear are swapped"
    assert monitor.faults.tolist() == [Fault.NONE], "one forward camera may be lost"
    assert [record.message for record in caplog.records] == [f"{monitor.lost_text(0)} (vehicle 0)"]
    monitor.check(drives["default"][0], active)
    assert monitor.lost[0].sum() == 2, "cables do not heal"
    monitor.forget(active)
    monitor.check(drives["default"][0], active)
    assert not monitor.lost.any()


def test_a_rig_without_cameras_has_none_in_the_wrong_place():
    observation = Observation(
        (),
        np.zeros((2, 8, 4), np.float32),
        np.zeros((2, NAVIGATION_VALUES), np.float32),
        np.zeros(2, np.float32),
    )
    monitor = InputMonitor(2, CameraRig(()))
    assert monitor.check(observation, np.ones(2, bool)) is observation
    assert not monitor.lost.any()
