"""Signs: faces that can be told apart, on posts that face the traffic they rule."""

from pathlib import Path

import numpy as np
import pytest

from fleetloop.core.geometry import wrap_angle
from fleetloop.core.types import BOX_CELL_M, SIGN_PIXELS, Control, LaneKind, LaneUse, World
from fleetloop.sim.roads import TownLibrary
from fleetloop.sim.roads.pack import pack
from fleetloop.sim.roads.regions import REGIONS, region_of
from fleetloop.sim.roads.sign_places import bus_lane_key, half_size
from fleetloop.sim.roads.signs import EXAMPLE_SIGNS, SIGN_KINDS, sign_face
from small_towns import CROSSROADS, Street, both_ways, crossroads, small_town

RIGHT, LEFT = -1.0, 1.0


def shown(world: World, key: str) -> np.ndarray:
    """Rows of the signs that show a content key."""
    images = [index for index, face in enumerate(world.sign_images) if np.array_equal(face, sign_face(key))]
    return world.signs[np.isin(world.sign_image, images)]


def angle(difference: float) -> float:
    return float(wrap_angle(np.array(difference)))


def lane_end(world: World, lane: int) -> tuple[np.ndarray, float]:
    last = world.lane_first_point[lane] + world.lane_point_count[lane] - 1
    return world.points[last], float(world.headings[last])


def road_lanes(world: World) -> list[int]:
    return np.flatnonzero(world.lane_kind == LaneKind.ROAD).tolist()


def controls(world: World, lane: int) -> set[int]:
    ways = world.successors[world.successor_start[lane] : world.successor_start[lane + 1]]
    return {int(control) for control in world.lane_control[ways]}


def in_lane_frame(point: np.ndarray, end: np.ndarray, heading: float) -> tuple[float, float]:
    """Metres ahead of a lane's end, and to its left."""
    delta = point - end
    cosine, sine = np.cos(heading), np.sin(heading)
    return float(cosine * delta[0] + sine * delta[1]), float(cosine * delta[1] - sine * delta[0])


def signs_at_end(world: World, lane: int, rows: np.ndarray, before_m: float) -> list[np.ndarray]:
    """Signs within before_m of a lane's end, beside it, that its drivers see from the front."""
    end, heading = lane_end(world, lane)
    found = []
    for row in rows:
        ahead, left = in_lane_frame(row[:2], end, heading)
        faces = abs(angle(float(row[3]) - heading - np.pi)) < 0.2
        if -before_m < ahead < 1.0 and abs(left) < 6.0 and faces:
            found.append(np.array([ahead, left]))
    return found


@pytest.mark.parametrize("key", EXAMPLE_SIGNS)
def test_face_is_a_plate_on_a_transparent_ground(key: str) -> None:
    face = sign_face(key)
    assert face.shape == (SIGN_PIXELS, SIGN_PIXELS, 4) and face.dtype == np.uint8
    middle = face[SIGN_PIXELS // 4 : -SIGN_PIXELS // 4, SIGN_PIXELS // 4 : -SIGN_PIXELS // 4]
    assert np.all(face[SIGN_PIXELS // 2 - 5 : SIGN_PIXELS // 2 + 5, 19:29, 3] == 255)
    assert 0.3 < np.mean(face[..., 3] > 127) <= 1.0
    # Contrast: what is written can be read.
    grey = middle[..., :3].astype(float).mean(axis=-1)
    assert key == "yield" or grey.max() - grey.min() > 60.0
    np.testing.assert_array_equal(face, sign_face(key))


def test_every_kind_has_an_example_and_no_two_faces_are_alike() -> None:
    assert {key.partition(":")[0] for key in EXAMPLE_SIGNS} == set(SIGN_KINDS)
    keys = sorted(
        {*EXAMPLE_SIGNS, *(f"speed:{limit}" for limit in range(10, 140, 10)), "number:3", "bus:7-19"}
    )
    faces = [sign_face(key).astype(float) for key in keys]
    for first in range(len(keys)):
        for second in range(first):
            difference = np.abs(faces[first] - faces[second]).mean()
            assert difference > 2.0, (keys[first], keys[second])


def test_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"sign elk:3: unknown kind 'elk'; use one of stop,"):
        sign_face("elk:3")


def test_faces_are_not_mirrored() -> None:
    """The upright of the P is on the left, the heap of the worker on the right."""
    parking = sign_face("parking")[..., :3].astype(int)
    white = parking.min(axis=-1) > 180
    inner = white[6:-6, 6:-6]
    assert inner[:, :18].sum() > inner[:, -18:].sum()
    works = sign_face("construction")
    dark = (works[..., :3].max(axis=-1) < 90) & (works[..., 3] > 200)
    assert dark[30:38, 26:36].sum() > dark[30:38, 12:20].sum()


@pytest.mark.parametrize(
    ("kind", "control", "key"),
    [("priority_stop", Control.STOP, "stop"), ("priority", Control.YIELD, "yield")],
)
@pytest.mark.parametrize("left_hand", [False, True])
def test_who_must_wait_sees_it_and_so_does_who_need_not(
    tmp_path: Path, kind: str, control: Control, key: str, left_hand: bool
) -> None:
    options = ("--lefthand", "true") if left_hand else ()
    world = crossroads(tmp_path, kind, 50.0, ("",), *options)
    assert bool(world.town_left_hand[0]) is left_hand
    side = LEFT if left_hand else RIGHT
    waiting, main = 0, 0
    rows, priority = shown(world, key), shown(world, "priority")
    for lane in road_lanes(world):
        found = signs_at_end(world, lane, rows, 4.0)
        ruled = controls(world, lane)
        if ruled == {control}:
            assert len(found) == 1
            _, left = found[0]
            assert left * side > world.lane_width_m[lane] / 2.0
            waiting += 1
        else:
            assert not found
        if ruled and ruled <= {Control.NONE, Control.YIELD} and Control.NONE in ruled:
            assert len(signs_at_end(world, lane, priority, 6.0)) == 1
            main += 1
    assert waiting == 2 and main == 2 and len(rows) == 2


def test_limits_are_shown_where_they_change_and_after_junctions(tmp_path: Path) -> None:
    nodes = CROSSROADS | {"x": (360.0, 0.0, "priority")}
    streets = [street for end in "enws" for street in both_ways("m", end, 50.0)]
    streets += both_ways("e", "x", 70.0)
    world = small_town(tmp_path, nodes, streets)
    assert len(shown(world, "speed:50")) == 4 + 4 + 1 - 1  # After the junction, from the dead ends, from x.
    (fast,) = shown(world, "speed:70")[np.argsort(shown(world, "speed:70")[:, 0])][:1]
    change = world.town_origin_m[0] + 40.0 + np.array([360.0, 180.0])
    ahead, left = in_lane_frame(fast[:2], change, 0.0)
    assert 0.0 < ahead < 15.0 and -6.0 < left < 0.0
    assert abs(angle(float(fast[3]) - np.pi)) < 0.1


def test_one_way_street_is_closed_at_its_end_and_named_at_its_start(tmp_path: Path) -> None:
    streets = [street for end in "ens" for street in both_ways("m", end)]
    streets.append(Street("w", "m"))
    world = small_town(tmp_path, CROSSROADS, streets)
    rows = shown(world, "no_entry")
    assert len(rows) == 2
    lanes = [lane for lane in road_lanes(world) if abs(angle(lane_end(world, lane)[1])) < 0.1]
    (west,) = [lane for lane in lanes if lane_end(world, lane)[0][0] < 200.0]
    end, heading = lane_end(world, west)
    for row in rows:
        ahead, left = in_lane_frame(row[:2], end, heading)
        assert -4.0 < ahead < 1.0 and 1.75 < abs(left) < 4.0
        assert abs(angle(float(row[3]) - heading)) < 0.1
    reverse = small_town(tmp_path, CROSSROADS, [*streets[:-1], Street("m", "w")])
    assert len(shown(reverse, "one_way")) == 1 and not len(shown(reverse, "no_entry"))


@pytest.mark.parametrize("left_hand", [False, True])
def test_bus_lanes_show_the_hours_of_their_region(tmp_path: Path, left_hand: bool) -> None:
    options = ("--lefthand", "true") if left_hand else ()
    world = crossroads(tmp_path, "traffic_light", 50.0, ("bus", ""), *options)
    key = bus_lane_key(region_of(left_hand))
    assert key == ("bus:7-19" if left_hand else "bus:7-9,16-19")
    assert len(shown(world, key)) == 8
    for row in shown(world, key):
        buses = [
            lane
            for lane in road_lanes(world)
            if world.lane_use[lane] & LaneUse.BUS and not world.lane_use[lane] & LaneUse.MOTOR
        ]
        near = min(np.hypot(*(world.points[world.lane_first_point[lane]] - row[:2])) for lane in buses)
        assert near < 20.0


def test_signs_of_bus_lanes_show_the_hours_of_the_region() -> None:
    assert bus_lane_key(REGIONS["continent"]) == "bus:7-9,16-19"
    assert bus_lane_key(REGIONS["island"]) == "bus:7-19"


def test_roundabouts_are_announced(tmp_path: Path) -> None:
    angles = np.arange(4) * np.pi / 2.0
    nodes = {f"r{n}": (25.0 * np.cos(a), 25.0 * np.sin(a), "priority") for n, a in enumerate(angles)}
    nodes |= {f"a{n}": (180.0 * np.cos(a), 180.0 * np.sin(a), "priority") for n, a in enumerate(angles)}
    streets = [street for n in range(4) for street in both_ways(f"r{n}", f"a{n}")]
    streets += [Street(f"r{n}", f"r{(n + 1) % 4}", attributes={"priority": "9"}) for n in range(4)]
    world = small_town(tmp_path, nodes, streets, ring=("r0", "r1", "r2", "r3"))
    assert len(shown(world, "roundabout")) == 4 and len(shown(world, "yield")) == 4
    # Both on one post, the right of way above.
    for row in shown(world, "roundabout"):
        above = shown(world, "yield")
        (same,) = above[np.hypot(*(above[:, :2] - row[:2]).T) < 0.05]
        assert same[2] - same[5] > row[2] + row[5]


def test_parking_lanes_of_a_yard_are_numbered_one_by_one(tmp_path: Path) -> None:
    world = TownLibrary(tmp_path).world(["yard-1"])
    numbers = [number for number in range(1, 40) if len(shown(world, f"number:{number}"))]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 8
    for number in numbers:
        (row,) = shown(world, f"number:{number}")
        starts = [world.points[world.lane_first_point[lane]] for lane in road_lanes(world)]
        lane = road_lanes(world)[int(np.argmin(np.hypot(*(np.array(starts) - row[:2]).T)))]
        heading = float(world.headings[world.lane_first_point[lane]])
        _, left = in_lane_frame(row[:2], world.points[world.lane_first_point[lane]], heading)
        # Over the middle of its lane, high enough for a truck, and facing who drives in.
        assert abs(left) < 0.1 and row[2] - row[5] > 3.9
        assert abs(angle(float(row[3]) - heading - np.pi)) < 0.1
    assert not len(shown(world, "no_entry"))


def test_signs_back_to_back_share_a_post(tmp_path: Path) -> None:
    streets = [street for end in "ens" for street in both_ways("m", end)]
    streets.append(Street("w", "m", attributes={"priority": "-5"}))
    world = small_town(tmp_path, CROSSROADS, streets)
    closed = shown(world, "no_entry")
    waiting = [row for row in shown(world, "yield") if np.hypot(*(closed[:, :2] - row[:2]).T).min() < 0.5]
    assert len(waiting) == 1
    posts = world.boxes[(world.boxes[:, 4] < 0.04) & (world.boxes[:, 5] < 0.04)]
    near = np.hypot(*(posts[:, :2] - waiting[0][:2]).T) < 0.5
    assert near.sum() == 1


def test_signs_lie_in_their_cells_and_packing_keeps_them(tmp_path: Path) -> None:
    towns = [crossroads(tmp_path, "priority_stop"), crossroads(tmp_path, "right_before_left", 30.0)]
    world = pack(towns)
    assert len(world.sign_start) == len(world.cell_start)
    assert world.sign_start[-1] == len(world.signs) == sum(len(town.signs) for town in towns)
    first = 0
    for number, town in enumerate(towns):
        rows, columns = town.town_cells_shape[0]
        for cell in range(rows * columns):
            here = slice(*world.sign_start[world.town_first_cell[number] + cell :][:2])
            places = (world.signs[here, :2] - town.town_origin_m[0]) / BOX_CELL_M
            assert np.all(np.floor(places) == [cell % columns, cell // columns])
        last = first + len(town.signs)
        np.testing.assert_array_equal(
            world.sign_images[world.sign_image[first:last]], town.sign_images[town.sign_image]
        )
        assert len(np.unique(town.sign_images.reshape(len(town.sign_images), -1), axis=0)) == len(
            town.sign_images
        )
        first = last


def test_what_is_written_is_high_enough_to_be_read_at_30_m() -> None:
    """In a picture 1280 pixels wide of a camera of 45 degrees, digits are at least 8 pixels high."""
    focal = 640.0 / np.tan(np.radians(22.5))
    for key in ("speed:50", "speed:130", "bus:7-9,16-19", "number:12"):
        dark = (sign_face(key)[..., :3].max(axis=-1) < 110)[4:-4, 12:-12].any(axis=1)
        starts = np.flatnonzero(np.diff(np.concatenate([[0], dark.astype(int), [0]]))).reshape(-1, 2)
        height_m = np.diff(starts, axis=1).max() / SIGN_PIXELS * 2.0 * half_size(key)
        assert height_m * focal / 30.0 >= 8.0, key
