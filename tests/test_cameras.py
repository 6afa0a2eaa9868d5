"""The rasteriser against a ray caster in NumPy, and what pictures must show."""

import math
import os
from dataclasses import replace

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_renderer
from camera_scenes import (
    DISAGREEING_SHARE,
    GREY_TOLERANCE,
    empty_scene,
    faultless,
    front_main,
    lit_pixels,
    nominal,
    one_agent,
    only,
    signed_world,
)
from fleetloop.core.pinhole import focal_length_px
from fleetloop.core.types import (
    VEHICLE_SIZES,
    AgentKind,
    Camera,
    CameraRig,
    Scene,
    SignalColour,
    World,
)
from fleetloop.sim.cameras import (
    DEFAULT_RIG,
    Appearance,
    Weather,
    appearance_of,
    appearances,
    equal_rig,
    image_shapes,
    render,
)
from fleetloop.sim.cameras.mosaic import draw_plan, mosaic
from fleetloop.sim.cameras.project import camera_from_ego, project, ray_directions
from fleetloop.sim.cameras.render import detail_of
from fleetloop.sim.cameras.samples import benchmark_scene
from fleetloop.sim.signals import signal_colour
from toy_world import CROSSING_X_M, toy_world

# The rasteriser against rays


def everybody() -> Scene:
    """Three moments of dense traffic with every kind of road user in it."""
    scene = benchmark_scene(toy_world(), 3, seed=5)
    kinds = [kind for kind in AgentKind if kind is not AgentKind.NONE]
    scene.agent_kind[:, :20] = np.tile(kinds, 2)
    return scene


@pytest.mark.parametrize("weather", [0.0, 1.0, *Weather])
def test_rasteriser_agrees_with_ray_caster(weather: float | Weather) -> None:
    world, scene, rig = signed_world(), everybody(), DEFAULT_RIG
    if isinstance(weather, Weather):
        look = appearance_of(weather, 3)
    else:
        look = appearances(np.array([11, 12, 13], np.uint64), weather)
    look = faultless(look)
    drawn = render(world, rig, scene, look)
    for b in range(3):
        for group, images in zip(rig.groups, drawn, strict=True):
            for camera, image in zip(group, images[b], strict=True):
                expected = reference_renderer.picture(world, camera, scene, look, b, float(detail_of(rig)))
                wrong = (np.abs(expected - image) > GREY_TOLERANCE).any(axis=-1)
                assert wrong.mean() < DISAGREEING_SHARE, (b, camera.name)


@pytest.mark.parametrize("weather", [Weather.CLEAR, Weather.NIGHT_RAIN])
def test_near_ground_of_large_pictures_is_blended(weather: Weather) -> None:
    world, scene = signed_world(), everybody()
    look = faultless(appearance_of(weather, 3))
    large = replace(front_main(10), pitch=-0.5, height=200)
    for height in (1.0, 4.0):
        camera = replace(large, position_in_ego=(1.9, 0.3, height))
        image = render(world, only(camera), scene, look)[0][0, 0]
        expected = reference_renderer.picture(world, camera, scene, look, 0, float(detail_of(only(camera))))
        wrong = (np.abs(expected - image) > GREY_TOLERANCE).any(axis=-1)
        assert wrong.mean() < DISAGREEING_SHARE


@settings(max_examples=12, deadline=None)
@given(
    x=st.floats(-1.5, 3.0),
    y=st.floats(-1.5, 1.5),
    yaw=st.floats(-math.pi, math.pi),
    pitch=st.floats(-0.5, 0.5),
    kind=st.sampled_from([AgentKind.CAR, AgentKind.BUS, AgentKind.PEDESTRIAN]),
)
def test_near_plane_and_cameras_inside_boxes(
    x: float, y: float, yaw: float, pitch: float, kind: AgentKind
) -> None:
    """Boxes that cross the near plane, or that hold the camera, are drawn as the rays see them."""
    world = toy_world()
    scene = one_agent(kind, 2.0 + x, yaw)
    scene.agent_pose[0, 0, 1] += y
    camera = Camera("any", (1.9, 0.0, 1.0), 0.3, pitch, 1.6, 48, 32)
    image = render(world, only(camera), scene, nominal(1))[0][0, 0]
    expected = reference_renderer.picture(world, camera, scene, nominal(1), 0)
    wrong = (np.abs(expected - image) > GREY_TOLERANCE).any(axis=-1)
    assert wrong.mean() < 0.03


# Determinism


@pytest.mark.parametrize("weather", [None, Weather.NIGHT_RAIN])
def test_same_bits_whatever_the_batch_and_the_threads(weather: Weather | None) -> None:
    world = signed_world()
    scene = benchmark_scene(world, 5, seed=1)
    look = appearance_of(weather, 5) if weather else appearances(np.arange(5, dtype=np.uint64), 1.0)
    # All tests run on one thread.
    single = render(world, DEFAULT_RIG, scene, look)
    threads = numba.get_num_threads()
    numba.set_num_threads(min(2, os.cpu_count() or 1))
    try:
        together = render(world, DEFAULT_RIG, scene, look)
    finally:
        numba.set_num_threads(threads)
    for first, second in zip(together, single, strict=True):
        assert np.array_equal(first, second)
    for b in (0, 3):
        alone = render(
            world,
            DEFAULT_RIG,
            Scene(*(array[b : b + 1] for array in scene)),
            Appearance(*(array[b : b + 1] for array in look)),
        )
        for first, second in zip(together, alone, strict=True):
            assert np.array_equal(first[b], second[0])


def test_out_is_filled_and_returned() -> None:
    scene = empty_scene((0.0, -1.75, 0.0), (50.0, 1.75, 3.0))
    out = tuple(np.zeros(shape, np.uint8) for shape in image_shapes(DEFAULT_RIG, 2))
    drawn = render(toy_world(), DEFAULT_RIG, scene, nominal(2), out)
    assert all(given_array is array for given_array, array in zip(out, drawn, strict=True))
    fresh = render(toy_world(), DEFAULT_RIG, scene, nominal(2))
    assert all(np.array_equal(first, second) for first, second in zip(out, fresh, strict=True))


def test_arrays_that_do_not_fit_are_refused() -> None:
    scene = empty_scene((0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="out"):
        render(toy_world(), DEFAULT_RIG, scene, nominal(1), (np.zeros((1, 1, 1, 1, 3), np.uint8),) * 2)
    with pytest.raises(ValueError, match="appearance"):
        render(toy_world(), DEFAULT_RIG, scene, nominal(2))


# What pictures show


def lamp_pixel(world: World, camera: Camera, scene: Scene, lamp: SignalColour) -> tuple[int, int]:
    """Row and column of the lamp of the signal ahead, straight on from the west."""
    index = int(np.flatnonzero((world.box_signal == 0) & (world.box_lamp == lamp))[0])
    x, y, yaw = (float(value) for value in scene.ego_pose[0])
    offset = world.boxes[index, :2] - (x, y)
    cosine, sine = math.cos(yaw), math.sin(yaw)
    ahead, left = cosine * offset[0] + sine * offset[1], cosine * offset[1] - sine * offset[0]
    pixels, visible = project(camera, np.array([[ahead, left, world.boxes[index, 2]]]))
    assert visible.all()
    return int(pixels[0, 1]), int(pixels[0, 0])


@pytest.mark.parametrize("distance_m", [15.0, 40.0])
def test_the_lit_lamp_is_bright_where_it_projects_and_the_others_are_dark(distance_m: float) -> None:
    world, camera = toy_world(), front_main(8)
    shown_at = {5.0: SignalColour.GREEN, 26.0: SignalColour.YELLOW, 40.0: SignalColour.RED}
    for clock_s, shown in shown_at.items():
        assert signal_colour(world, 0, clock_s) == shown
        scene = empty_scene((CROSSING_X_M - distance_m, -1.75, 0.05), clock_s=clock_s)
        image = render(world, only(camera), scene, nominal(1))[0][0, 0].astype(int)
        for lamp in (SignalColour.GREEN, SignalColour.YELLOW, SignalColour.RED):
            row, column = lamp_pixel(world, camera, scene, lamp)
            assert (image[row, column].max() > 180) == (lamp == shown), (clock_s, lamp)
        row, column = lamp_pixel(world, camera, scene, shown)
        red, green, _ = image[row, column]
        assert (green > red) == (shown is SignalColour.GREEN)


def test_a_red_lamp_is_seen_from_afar_in_the_narrow_camera() -> None:
    scene = empty_scene((CROSSING_X_M - 75.0, -1.75, 0.0), clock_s=40.0)
    image = render(toy_world(), DEFAULT_RIG, scene, nominal(1))[0][0, 0].astype(int)
    assert ((image[..., 0] > 200) & (image[..., 1] < 90)).any()


def test_green_yield_lights_the_green_lamp() -> None:
    world = toy_world()
    lamps = np.where(world.box_signal == 0, 1, world.box_signal).astype(np.int32)
    world = world._replace(box_signal=lamps)
    assert signal_colour(world, 1, 5.0) == SignalColour.GREEN_YIELD
    scene = empty_scene((CROSSING_X_M - 15.0, -1.75, 0.05), clock_s=5.0)
    image = render(world, only(front_main(8)), scene, nominal(1))[0][0, 0]
    original = toy_world()
    row, column = lamp_pixel(original, front_main(8), scene, SignalColour.GREEN)
    assert image[row, column, 1] > 180


def car_ahead(yaw: float = 0.0, lights: int = 0) -> np.ndarray:
    """A picture of a car 12 m ahead."""
    scene = one_agent(AgentKind.CAR, 12.0, yaw, lights)
    return render(toy_world(), only(front_main(4)), scene, nominal(1))[0][0, 0].astype(int)


def changed_by(kind: AgentKind, distance_m: float, camera: Camera) -> np.ndarray:
    """Which pixels somebody ahead changes."""
    scene = one_agent(kind, distance_m)
    image = render(toy_world(), only(camera), scene, nominal(1))[0][0, 0]
    scene.agent_kind[:] = AgentKind.NONE
    without = render(toy_world(), only(camera), scene, nominal(1))[0][0, 0]
    return (image != without).any(axis=-1)


@pytest.mark.parametrize("kind", [kind for kind in AgentKind if kind is not AgentKind.NONE])
def test_every_kind_is_seen_and_stands_on_the_ground(kind: AgentKind) -> None:
    slim = kind in (AgentKind.PEDESTRIAN, AgentKind.CYCLIST, AgentKind.CHILD, AgentKind.DEBRIS)
    assert changed_by(kind, 16.0, front_main()).sum() >= (2 if slim else 12)
    camera = front_main(4)
    changed = changed_by(kind, 16.0, camera)
    length, _, height, overhang = (float(size) for size in VEHICLE_SIZES[kind])
    rear = 16.0 - overhang
    pixels, _ = project(camera, np.array([[rear, 0.0, 0.0], [rear + length, 0.0, height]]))
    rows = np.flatnonzero(changed.any(axis=1))
    # The wheels of cars stand a little inside of their bumpers.
    assert -6.0 < rows.max() - pixels[0, 1] < 1.0
    assert rows.min() < pixels[1, 1] + 2.0


def test_nobody_is_drawn_for_kind_none() -> None:
    assert not changed_by(AgentKind.NONE, 10.0, front_main()).any()


def test_brake_lights_head_lights_and_indicators() -> None:
    red, amber, white = (255, 36, 24), (255, 150, 0), (250, 250, 236)
    plain, braking, oncoming = car_ahead(), car_ahead(lights=1), car_ahead(yaw=math.pi)
    assert lit_pixels(plain, red) == 0 < lit_pixels(braking, red)
    assert lit_pixels(plain, white) == 0 < lit_pixels(oncoming, white)
    assert lit_pixels(plain, amber) == 0
    left, right = car_ahead(lights=2), car_ahead(lights=4)
    half = left.shape[1] // 2
    assert lit_pixels(left[:, :half], amber) > 0 == lit_pixels(left[:, half:], amber)
    assert lit_pixels(right[:, half:], amber) > 0 == lit_pixels(right[:, :half], amber)


def test_the_line_in_the_middle_of_the_road_stays_visible_at_low_resolution() -> None:
    """Thin lines are averaged, not hit by chance: yellow is found in every row down to 25 m ahead."""
    camera = front_main()
    image = render(toy_world(), only(camera), empty_scene((-100.0, -1.75, 0.0)), nominal(1))[0][0, 0].astype(
        int
    )
    yellow = image[..., 0] - image[..., 2]
    pixels, _ = project(camera, np.array([[1.9 + 25.0, 1.75, 0.0]]))
    rows = yellow[math.ceil(pixels[0, 1]) :].max(axis=1)
    assert len(rows) > 25 and (rows > 25).all()


# Appearance


def test_appearances_are_keyed_by_their_seed_alone() -> None:
    some = appearances(np.array([5, 6, 7], np.uint64), 0.7)
    one = appearances(np.array([6], np.uint64), 0.7)
    for name in Appearance._fields:
        assert np.array_equal(getattr(some, name)[1], getattr(one, name)[0]), name
    assert not np.array_equal(some.surfaces[0], some.surfaces[1])


def test_no_variety_is_the_nominal_day_and_variety_stays_in_range() -> None:
    plain = nominal(4)
    for name in set(Appearance._fields) - {"noise_seed"}:
        assert (getattr(plain, name) == getattr(plain, name)[0]).all(), name
    wild = appearances(np.arange(200, dtype=np.uint64), 1.0)
    for array in wild[:-1]:
        assert np.isfinite(array).all()
    for name in ("surfaces", "paint", "sky_horizon", "sky_zenith"):
        assert (getattr(wild, name) >= 0).all() and (getattr(wild, name) <= 255).all()
    assert (wild.fog_end_m > wild.fog_start_m).all() and (wild.sun_direction[:, 2] > 0).all()
    with pytest.raises(ValueError, match="variety"):
        appearances(np.zeros(1, np.uint64), 1.5)


def test_noise_changes_with_time_and_camera_but_not_with_repetition() -> None:
    camera = front_main()
    rig = CameraRig(groups=((camera, camera),))
    look = nominal(1)._replace(noise=np.array([5.0], np.float32))
    clean = render(toy_world(), rig, empty_scene((0, -1.75, 0)), nominal(1))[0].astype(int)
    first = render(toy_world(), rig, empty_scene((0, -1.75, 0)), look)[0].astype(int)
    again = render(toy_world(), rig, empty_scene((0, -1.75, 0)), look)[0].astype(int)
    later = render(toy_world(), rig, empty_scene((0, -1.75, 0), clock_s=0.1), look)[0].astype(int)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, later)
    assert not np.array_equal(first[0, 0], first[0, 1])
    noise = (first - clean)[(clean > 30) & (clean < 225)]
    assert abs(noise.mean()) < 0.2
    assert noise.std() == pytest.approx(5.0, abs=0.3)


# Projection

ANGLE = st.floats(-math.pi, math.pi)
CAMERAS = st.builds(
    Camera,
    name=st.just("any"),
    position_in_ego=st.tuples(st.floats(-3, 3), st.floats(-2, 2), st.floats(0.3, 3)),
    yaw=ANGLE,
    pitch=st.floats(-1.2, 1.2),
    horizontal_field_of_view=st.floats(0.4, 2.4),
    width=st.integers(2, 64),
    height=st.integers(2, 64),
)


@settings(max_examples=60, deadline=None)
@given(camera=CAMERAS, distance_m=st.floats(1.0, 200.0))
def test_points_along_rays_project_onto_their_pixels(camera: Camera, distance_m: float) -> None:
    rays = ray_directions(camera).astype(np.float64)
    assert np.allclose(np.linalg.norm(rays, axis=-1), 1.0, atol=1e-5)
    points = np.asarray(camera.position_in_ego) + distance_m * rays.reshape(-1, 3)
    pixels, visible = project(camera, points)
    depth = points @ camera_from_ego(camera)[2, :3] + camera_from_ego(camera)[2, 3]
    seen = depth > 0.11
    columns, rows = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    expected = np.stack([columns.ravel(), rows.ravel()], axis=1)
    assert np.abs(pixels - expected)[seen].max(initial=0.0) < 0.02
    assert visible[seen].all()


@settings(max_examples=60, deadline=None)
@given(camera=CAMERAS)
def test_camera_from_ego_is_rigid_and_without_roll(camera: Camera) -> None:
    transform = camera_from_ego(camera)
    assert np.allclose(transform[:3, :3] @ transform[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(transform[:3, :3]) == pytest.approx(1.0)
    assert np.allclose(transform @ [*camera.position_in_ego, 1.0], [0, 0, 0, 1], atol=1e-9)
    assert transform[0, 2] == 0.0
    ahead = np.asarray(camera.position_in_ego) + 10.0 * transform[2, :3]
    pixels, visible = project(camera, ahead[None])
    assert visible.all() and np.allclose(pixels[0], [camera.width / 2, camera.height / 2])
    behind = np.asarray(camera.position_in_ego) - 10.0 * transform[2, :3]
    assert not project(camera, behind[None])[1].any()


def test_a_point_to_the_left_is_left_and_a_higher_one_higher() -> None:
    camera = front_main()
    pixels, visible = project(camera, np.array([[12.0, 0.0, 1.4], [12.0, 2.0, 1.4], [12.0, 0.0, 2.4]]))
    assert visible.all()
    assert pixels[1, 0] < pixels[0, 0] and pixels[2, 1] < pixels[0, 1]
    assert focal_length_px(camera) == pytest.approx(48.0)


# Pictures for people


def test_mosaic_shows_every_camera() -> None:
    scene = one_agent(AgentKind.CAR, 12.0)
    for rig in (DEFAULT_RIG, equal_rig(96, 64)):
        images = render(toy_world(), rig, scene, nominal(1))
        sheet = mosaic([group[0] for group in images], rig, scale=2)
        assert sheet.dtype == np.uint8 and sheet.shape[1] == 3 * 2 * 96 + 16
        assert sheet.std() > 20


def test_a_plan_is_drawn_where_it_leads() -> None:
    camera = front_main()
    image = np.zeros((256, 384, 3), np.uint8)
    ahead = np.column_stack([np.linspace(1.5, 12.0, 8), np.zeros(8), np.zeros(8)])
    drawn: np.ndarray = draw_plan(image, camera, ahead).max(axis=-1) > 0
    assert not drawn[:128].any() and drawn[-1, 192] and not drawn[-1, :20].any()
    # Curving to the left, with its heading.
    angle = np.linspace(0.1, 0.8, 8)
    left = np.column_stack([15 * np.sin(angle), 15 * (1 - np.cos(angle)), angle])
    turned = draw_plan(image, camera, left).any(axis=-1)
    assert np.flatnonzero(turned.any(axis=0)).mean() < np.flatnonzero(drawn.any(axis=0)).mean()
    assert not draw_plan(image, camera, np.zeros((8, 3))).any()
    backwards = draw_plan(image, camera, ahead * [-1.0, 1.0, 1.0])
    assert backwards.shape == image.shape


def test_equal_rig_is_one_group_of_eight() -> None:
    rig = equal_rig(320, 192)
    assert len(rig.groups) == 1 and len(rig.cameras) == 8
    assert image_shapes(rig, 2) == ((2, 8, 192, 320, 3),)
    assert [camera.name for camera in rig.cameras] == [camera.name for camera in DEFAULT_RIG.cameras]
