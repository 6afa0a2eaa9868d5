"""What stands beside the roads: lamps, parked cars, sites and districts, and that it does not become too much."""

from pathlib import Path

import numpy as np
import pytest

from fleetloop.core.types import STREET_LAMP, LaneKind, Surface, World
from fleetloop.sim.roads import TownLibrary
from fleetloop.sim.roads.furniture import LAMP_HEIGHT_M
from fleetloop.sim.roads.signs import sign_face
from fleetloop.sim.roads.town import make_town
from small_towns import CROSSROADS, both_ways, small_network
from test_ground import surface_at, whole_town

GLASS, CONE, RAIL = (38, 44, 52), (236, 104, 24), (168, 172, 176)
CONTAINERS = ((40, 84, 140), (164, 60, 44), (52, 116, 82), (198, 150, 50), (126, 128, 130))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> TownLibrary:
    return TownLibrary(tmp_path_factory.mktemp("towns"))


def boxes_of(world: World, *colours: tuple[int, int, int]) -> np.ndarray:
    same = [np.all(world.boxes[:, 7:10] == np.array(colour, np.float32), axis=1) for colour in colours]
    return world.boxes[np.any(same, axis=0)]


def in_view(world: World) -> np.ndarray:
    """How many boxes are within 110 m of the start of each road lane."""
    starts = world.points[world.lane_first_point[world.lane_kind == LaneKind.ROAD]]
    square = (world.boxes[None, :, 0] - starts[:, None, 0]) ** 2 + (
        world.boxes[None, :, 1] - starts[:, None, 1]
    ) ** 2
    return (square < 110.0**2).sum(axis=1)


def test_street_lamps_hang_over_the_roadside_on_posts(library: TownLibrary) -> None:
    world = library.world(["grid-7"])
    heads = world.boxes[world.box_lamp == STREET_LAMP]
    assert len(heads) > 40 and np.all(world.box_signal[world.box_lamp == STREET_LAMP] == -1)
    assert np.allclose(heads[:, 2], LAMP_HEIGHT_M)
    posts = world.boxes[np.isclose(world.boxes[:, 2] + world.boxes[:, 6], LAMP_HEIGHT_M)]
    for head in heads:
        assert np.hypot(*(posts[:, :2] - head[:2]).T).min() < 1.0


def test_parked_cars_stand_in_bays(library: TownLibrary) -> None:
    parked = 0
    for key in ("grid-7", "suburb-1", "organic-3"):
        world = library.world([key])
        cars = boxes_of(world, GLASS)
        parked += len(cars)
        if len(cars):
            assert np.all(surface_at(whole_town(world), world, cars[:, :2]) == Surface.PARKING)
    assert parked > 10


def test_construction_sites_are_announced_and_leave_the_lanes_free(tmp_path: Path) -> None:
    streets = [street for end in "enws" for street in both_ways("m", end, 50.0, ("", ""))]
    network = small_network(tmp_path, CROSSROADS, streets)
    found = 0
    for seed in range(12):
        world = make_town(network, f"town{seed}", "town")
        cones = boxes_of(world, CONE)
        if not len(cones):
            continue
        found += 1
        faces = [np.array_equal(face, sign_face("construction")) for face in world.sign_images]
        signs = world.signs[np.isin(world.sign_image, np.flatnonzero(faces))]
        assert len(cones) == 7 * len(signs)
        for sign in signs:
            near = np.hypot(*(cones[:, :2] - sign[:2]).T)
            assert 15.0 < near.min() < 30.0
        points = world.points[np.repeat(world.lane_kind <= LaneKind.JUNCTION, world.lane_point_count)]
        for cone in cones:
            assert np.hypot(*(points - cone[:2]).T).min() > 1.75 + 0.1
    assert found >= 3


def test_districts_look_different(library: TownLibrary) -> None:
    worlds = {kind: library.world([f"{kind}-1"]) for kind in ("grid", "suburb", "highway", "yard")}
    assert {kind for kind, world in worlds.items() if len(boxes_of(world, RAIL)) > 20} == {"highway"}
    containers = {kind: len(boxes_of(world, *CONTAINERS)) for kind, world in worlds.items()}
    assert containers["yard"] >= 3 and max(containers["grid"], containers["suburb"]) == 0
    heights = {}
    for kind, world in worlds.items():
        walls = world.boxes[(world.boxes[:, 5] > 3.0) & (world.boxes[:, 2] - world.boxes[:, 6] < 0.01)]
        heights[kind] = 2.0 * walls[:, 6].mean()
    assert heights["grid"] > heights["suburb"] + 1.0


@pytest.mark.parametrize(
    "key", ["grid-7", "organic-3", "spider-2", "suburb-1", "highway-1", "buslane-1", "yard-1", "cyclelane-1"]
)
def test_a_scene_has_room_for_its_boxes(library: TownLibrary, key: str) -> None:
    """Few enough that all are drawn together with the road users, and fast."""
    count = in_view(library.world([key]))
    assert count.mean() < 270 and count.max() < 500
