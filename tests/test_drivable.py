"""Lanes that no car can drive are closed; roads on different levels do not meet."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import KDTree

from fleetloop.core.types import EGO, LaneKind, State, World
from fleetloop.sim.observe import empty_scene, see
from fleetloop.sim.prediction import touching
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.sim.rollout import Rollout, drive_demonstrator
from fleetloop.sim.routes import make_routes
from toy_traffic import Car, open_road, put

MAPS = Path(__file__).parents[2] / "shared/data/maps"
REAL = (
    "osm_extracts/monaco.osm.gz",
    "sumo_dlr/bologna/acosta/acosta_buslanes.net.xml",
    "opendrive_carla/Town03.xodr",
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> TownLibrary:
    return TownLibrary(tmp_path_factory.mktemp("towns"))


def peak_curvature(world: World) -> np.ndarray:
    ends = world.lane_first_point + world.lane_point_count
    return np.array(
        [np.abs(world.curvatures[a:b]).max() for a, b in zip(world.lane_first_point, ends, strict=True)]
    )


@pytest.mark.parametrize("name", REAL)
def test_real_maps_are_driven_without_a_critical_intervention(library: TownLibrary, name: str):
    if not MAPS.exists():
        pytest.skip("the real maps are not here (../shared/data/maps)")
    world = library.world([library.add_file(MAPS / name)])
    driven = np.isin(world.lane_kind, (LaneKind.ROAD, LaneKind.CONNECTOR, LaneKind.JUNCTION))
    sharp = driven & (peak_curvature(world) > 0.206)
    assert not world.lane_use[sharp].any() and not world.lane_reach_m[sharp].any()
    results = drive_demonstrator(Rollout(world, make_routes(5, [0], 16, 500.0), 16))
    assert sum(result.critical_interventions for result in results) <= 1
    assert sum(result.finished for result in results) >= 15


def points_of(world: World, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All points of these lanes with their heights, and the lane of each."""
    lane = np.repeat(np.arange(len(world.lane_kind)), world.lane_point_count)
    kept = chosen[lane]
    return np.column_stack([world.points, world.heights_m])[kept], lane[kept]


@pytest.mark.parametrize("name", REAL)
def test_nobody_walks_where_cars_drive_except_on_crossings(library: TownLibrary, name: str):
    if not MAPS.exists():
        pytest.skip("the real maps are not here (../shared/data/maps)")
    world = library.world([library.add_file(MAPS / name)])
    is_open = world.lane_use > 0
    driven, _ = points_of(world, is_open & (world.lane_kind <= LaneKind.JUNCTION))
    walked, lane = points_of(world, is_open & (world.lane_kind == LaneKind.WALK))
    if not len(walked):
        return
    tree = KDTree(driven[:, :2])
    for place, number in zip(walked, lane, strict=True):
        near = driven[tree.query_ball_point(place[:2], 0.9)]
        apart = np.abs(near[:, 2] - place[2])
        assert not (apart < 1.9).any(), f"lane {number} at {place}"


def test_generated_towns_need_nothing_closed(library: TownLibrary):
    world = library.world(["grid-3", "suburb-2", "roundabout-2"])
    on_foot = np.isin(world.lane_kind, (LaneKind.WALK, LaneKind.CROSSING))
    assert world.lane_use[~on_foot].all() and not world.heights_m.any()
    assert np.mean(world.lane_use[on_foot] > 0) > 0.99


def crossed(world: World, height_m: float) -> tuple[World, State]:
    """Two cars at the same place, one of them on a road that is higher by so much."""
    state = put(world, Car(150.0), Car(150.0, path=(0,)), Car(150.0))
    heights = world.heights_m.copy()
    first = world.lane_first_point[state.path[0, 1, 0]]
    upper = world._replace(heights_m=heights)
    # The second car is put on a lane of its own, which is the same line, but higher.
    state.path[0, 1, 0] = 1
    start = world.lane_first_point[1]
    heights[start : start + world.lane_point_count[1]] = height_m
    assert first != start
    state.along[0, 1] = 10.0
    state.kind[0, 2] = 255
    return upper, state


@pytest.mark.parametrize("height_m, meets", [(0.0, True), (1.5, True), (6.0, False)])
def test_who_passes_on_another_level_is_neither_hit_nor_seen(height_m: float, meets: bool):
    world, state = crossed(open_road(), height_m)
    assert touching(world, state, 0, EGO) == (1 if meets else -1)
    scene = empty_scene(1)
    see(world, state, scene, EGO)
    assert (scene.agent_kind[0, 0] != 255) == meets
