"""Signs, night, rain and the gait of people in pictures."""

import math
from dataclasses import replace

import numpy as np
import pytest

from camera_scenes import (
    EGO_X_M,
    drawn_by,
    empty_scene,
    faultless,
    front_main,
    lit_pixels,
    nominal,
    one_agent,
    only,
    signed_world,
    with_signs,
)
from fleetloop.core.pinhole import focal_length_px
from fleetloop.core.types import SIGN_PIXELS, STREET_LAMP, AgentKind, Camera, Scene, World
from fleetloop.sim.cameras import Weather, appearance_of, render
from fleetloop.sim.cameras.project import project
from toy_world import toy_world

# Signs


def sign_ahead(distance_m: float, yaw: float = math.pi, height: int = 512) -> tuple[World, Camera, Scene]:
    """A world with one sign straight ahead of a camera that looks along the road."""
    world = with_signs(toy_world(), np.array([[EGO_X_M + distance_m, -1.75, 1.4, yaw, 0.4, 0.4]]))
    camera = Camera("front", (0.0, 0.0, 1.4), 0.0, 0.0, math.radians(45.0), height, height)
    return world, camera, empty_scene((EGO_X_M, -1.75, 0.0))


def test_a_sign_shows_its_picture_the_right_way_round() -> None:
    image = drawn_by(*sign_ahead(8.0))
    middle, radius = 256, 0.4 * focal_length_px(sign_ahead(8.0)[1]) / 8.0
    left, right = image[middle, int(middle - radius / 2)], image[middle, int(middle + radius / 2)]
    top = image[int(middle - 0.8 * radius), middle]
    assert left[0] > 2 * left[2] and right[2] > 2 * right[0] and top[:2].min() > 2 * top[2]


def test_a_sign_is_transparent_beyond_its_plate_and_grey_from_behind() -> None:
    world, camera, scene = sign_ahead(8.0)
    image, bare = drawn_by(world, camera, scene), drawn_by(toy_world(), camera, scene)
    changed = (image != bare).any(axis=-1)
    radius = 0.4 * focal_length_px(camera) / 8.0
    assert changed.sum() == pytest.approx(math.pi * radius**2, rel=0.02)
    behind = drawn_by(*sign_ahead(8.0, yaw=0.0))
    plate = behind[changed]
    assert (behind != bare).any(axis=-1).sum() == changed.sum()
    assert (plate.max(axis=1) - plate.min(axis=1)).max() < 25


def test_a_sign_is_hidden_by_what_stands_before_it() -> None:
    world, camera, scene = sign_ahead(20.0)
    scene.agent_pose[0, 0], scene.agent_kind[0, 0] = (EGO_X_M + 10.0, -1.75, 0.0), AgentKind.VAN
    assert np.array_equal(drawn_by(world, camera, scene), drawn_by(toy_world(), camera, scene))


def test_far_signs_are_averages_of_their_picture() -> None:
    """At a few pixels, red and blue parts keep their shares, wherever the sign is: they do not flicker."""
    reds = []
    for distance_m in np.linspace(44.0, 47.0, 7):
        world, camera, scene = sign_ahead(distance_m, height=192)
        changed = drawn_by(world, camera, scene) - drawn_by(toy_world(), camera, scene)
        plate = drawn_by(world, camera, scene)[np.abs(changed).max(axis=-1) > 0]
        reds.append((plate[:, 0] > plate[:, 2]).mean())
    assert np.std(reds) < 0.12


def test_a_sign_can_be_read_at_30_m() -> None:
    """With 1280 pixels across 45 degrees, strokes a sixteenth of the plate wide are told apart at 30 m."""
    face = np.full((1, SIGN_PIXELS, SIGN_PIXELS, 4), 255, np.uint8)
    face[0, :, np.arange(SIGN_PIXELS) // 3 % 2 == 0, :3] = 20
    world, camera, scene = sign_ahead(30.0, height=1280)
    row = drawn_by(world._replace(sign_images=face), camera, scene)[640, :, 1]
    radius = 0.4 * focal_length_px(camera) / 30.0
    plate = row[int(640 - radius + 2) : int(640 + radius - 2)]
    edges = np.flatnonzero(np.diff((plate > (plate.max() + plate.min()) / 2).astype(int)))
    assert 13 <= len(edges) <= 16
    assert plate.max() - plate.min() > 60


def test_signs_flash_in_the_head_lights() -> None:
    world, camera, scene = sign_ahead(30.0)
    dark = drawn_by(world, camera, scene, appearance_of(Weather.NIGHT, 1))
    aside = empty_scene((EGO_X_M, -1.75, 0.0))
    turned = replace(camera, yaw=-1.2)
    aside.ego_pose[0, 2] = 1.2
    unlit = drawn_by(world, turned, aside, appearance_of(Weather.NIGHT, 1))
    assert dark[250:262, 236:276].max() > 150
    assert unlit[250:262, 236:276].max() < 60


# Night, rain, and who has lamps


def test_head_lights_show_the_road_ahead_and_not_what_is_behind() -> None:
    scene, look = empty_scene((EGO_X_M, -1.75, 0.0)), appearance_of(Weather.NIGHT, 1)
    world = toy_world()
    ahead = drawn_by(world, front_main(4), scene, look)
    rows = [int(project(front_main(4), np.array([[x, 0.9, 0.0]]))[0][0, 1]) for x in (8.0, 20.0, 60.0)]
    near, middle, far = (ahead[row, 192 - 8 : 192 + 8].mean() for row in rows)
    assert near > middle > far and near > 90 and far < 30
    rear = replace(front_main(4), yaw=math.pi, position_in_ego=(-1.0, 0.0, 1.4))
    assert drawn_by(world, rear, scene, look)[200:, 150:250].mean() < 25


def test_a_street_lamp_lights_the_ground_below_it() -> None:
    world, look = signed_world(), appearance_of(Weather.NIGHT, 1)
    lamp = world.boxes[world.box_lamp == STREET_LAMP][0]
    camera = Camera("down", (0.0, 0.0, 1.4), 0.0, -0.5, 1.2, 96, 96)
    below = empty_scene((float(lamp[0]) - 4.0, float(lamp[1]), math.pi / 2))
    elsewhere = world._replace(box_lamp=np.zeros_like(world.box_lamp))
    camera = replace(camera, yaw=-math.pi / 2)
    lit, unlit = (drawn_by(w, camera, below, look)[48:].mean() for w in (world, elsewhere))
    assert lit > 2.0 * unlit


def test_oncoming_head_lights_glare_and_light_their_road() -> None:
    look = appearance_of(Weather.NIGHT, 1)
    scene = one_agent(AgentKind.CAR, 30.0, yaw=math.pi)
    scene.agent_pose[0, 0, 1] = 1.75
    faint = look._replace(glare=np.zeros(1, np.float32))
    image, without = (drawn_by(toy_world(), front_main(4), scene, each) for each in (look, faint))
    assert (image >= without).all() and (image > without).any(axis=-1).sum() > 60
    scene.agent_kind[:] = AgentKind.NONE
    alone = drawn_by(toy_world(), front_main(4), scene, faint)
    row, column = (project(front_main(4), np.array([[20.0, 3.5, 0.0]]))[0][0, ::-1]).astype(int)
    assert without[row, column].mean() > alone[row, column].mean() + 10


def test_lamps_do_not_glare_through_what_stands_before_them() -> None:
    look = appearance_of(Weather.NIGHT, 1)
    faint = look._replace(glare=np.zeros(1, np.float32))
    scene = one_agent(AgentKind.CAR, 30.0, yaw=math.pi)
    scene.agent_pose[0, 1], scene.agent_kind[0, 1] = (EGO_X_M + 12.0, -1.75, math.pi / 2), AgentKind.BUS
    # The bus stands across: neither its own lamps nor those behind it are seen.
    image, without = (drawn_by(toy_world(), front_main(4), scene, each) for each in (look, faint))
    assert np.array_equal(image[:, 150:234], without[:, 150:234])


def test_tail_lights_burn_in_the_dark_and_brake_lights_are_brighter() -> None:
    look = faultless(appearance_of(Weather.NIGHT, 1))
    plain, braking = (
        drawn_by(toy_world(), front_main(4), one_agent(AgentKind.CAR, 12.0, lights=lights), look)
        for lights in (0, 1)
    )
    assert lit_pixels(plain, (150, 14, 10)) > 0 == lit_pixels(plain, (255, 36, 24))
    assert lit_pixels(braking, (255, 36, 24)) > 0


def test_some_windows_are_lit_at_night_and_always_the_same() -> None:
    look, scene = appearance_of(Weather.NIGHT, 1), empty_scene((EGO_X_M, -1.75, 0.0))
    image = drawn_by(toy_world(), front_main(4), scene, look)
    warm = (image[..., 0] > 80) & (image[..., 0] > 1.5 * image[..., 2])
    assert 30 < warm[:120].sum() < 0.2 * warm[:120].size
    moved = empty_scene((EGO_X_M, -1.75, 0.0), clock_s=50.0)
    assert np.array_equal(image, drawn_by(toy_world(), front_main(4), moved, look))


def test_an_ambulance_flashes_left_and_right_in_turn() -> None:
    sides = []
    for clock_s in (0.1, 0.35):
        scene = one_agent(AgentKind.EMERGENCY, 14.0)
        scene.clock_s[:] = clock_s
        image = render(toy_world(), only(front_main(4)), scene, nominal(1))[0][0, 0].astype(int)
        blue = np.argwhere((np.abs(image - np.array((60, 120, 255))) < 8).all(axis=-1))
        assert len(blue)
        sides.append(blue[:, 1].mean() < image.shape[1] / 2)
    assert sides == [True, False]


def test_legs_swing_with_the_way_walked_and_rest_when_standing() -> None:
    scene, later = (one_agent(AgentKind.PEDESTRIAN, 8.0, math.pi / 2) for _ in range(2))
    later.clock_s[:] = 7.3
    first, second = (drawn_by(toy_world(), front_main(8), each) for each in (scene, later))
    assert np.array_equal(first, second)
    wide = []
    for side in np.arange(0.0, 1.5, 0.375):
        scene = one_agent(AgentKind.PEDESTRIAN, 8.0, math.pi / 2)
        scene.agent_pose[0, 0, 1] += side
        bare = one_agent(AgentKind.NONE, 8.0)
        changed = drawn_by(toy_world(), front_main(8), scene) != drawn_by(toy_world(), front_main(8), bare)
        # From the knees down.
        columns = np.flatnonzero(changed.any(axis=-1)[315:350].any(axis=0))
        wide.append(columns.max() - columns.min())
    assert max(wide) > 1.2 * min(wide)


def test_rain_streaks_change_and_leave_most_of_the_picture() -> None:
    look = appearance_of(Weather.RAIN, 1)
    dry = look._replace(rain=np.zeros(1, np.float32))
    scene, later = (empty_scene((EGO_X_M, -1.75, 0.0), clock_s=clock) for clock in (10.0, 10.1))
    wet_glass, clean = (drawn_by(toy_world(), front_main(), scene, each) for each in (look, dry))
    changed = (wet_glass != clean).any(axis=-1)
    assert 0.005 < changed.mean() < 0.15
    assert not np.array_equal(wet_glass, drawn_by(toy_world(), front_main(), later, look))


def test_a_wet_road_is_darker_nearby_and_mirrors_the_sky_far_away() -> None:
    scene, camera = empty_scene((EGO_X_M, -1.75, 0.0)), front_main(4)
    clear = faultless(appearance_of(Weather.OVERCAST, 1))
    wet = clear._replace(wetness=np.ones(1, np.float32))
    dry_image, wet_image = (drawn_by(toy_world(), camera, scene, each) for each in (clear, wet))
    row = int(project(camera, np.array([[45.0, 0.9, 0.0]]))[0][0, 1])
    assert wet_image[250, 185:199].mean() < 0.75 * dry_image[250, 185:199].mean()
    assert wet_image[row, 191].mean() > dry_image[row, 191].mean() * 0.8


@pytest.mark.parametrize("weather", Weather)
def test_every_weather_has_a_name_and_fits_the_ranges(weather: Weather) -> None:
    look = appearance_of(weather.value, 2)
    assert (look.darkness > 0.7).all() == weather.value.startswith("night")
    assert (look.rain > 0).all() == weather.value.endswith("rain")
    assert all(np.isfinite(array).all() for array in look[:-1])
    with pytest.raises(ValueError, match="hail"):
        appearance_of("hail", 1)
