"""Every real map at hand becomes a town or is refused with the reason; so are bad ones, with file and element."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.core.errors import MapError
from fleetloop.core.types import LaneKind, LaneUse, World
from fleetloop.sim.roads import TownLibrary
from fleetloop.sim.roads.checks import MAX_JUNCTIONS, check_network, fold_in
from fleetloop.sim.roads.network import NetEdge, NetLane, Network
from fleetloop.sim.rollout import Rollout, drive_demonstrator
from fleetloop.sim.routes import make_routes
from test_roads import MAPS, check_lanes, check_right_of_way, check_shapes, needs_maps

# File, road lanes for cars at least, longest drive in metres at least, share of those lanes from which 200 m can be
# driven at least.
TABLE = {
    "opendrive_carla/Town01.xodr": (50, 5000, 0.99),
    "opendrive_carla/Town02.xodr": (40, 5000, 0.99),
    "opendrive_carla/Town03.xodr": (200, 5000, 0.8),
    "opendrive_carla/Town04.xodr": (180, 5000, 0.95),
    "opendrive_dlr_a39/5g_living_lab_A39_Wolfsburg-West.xodr": (40, 600, 0.6),
    "opendrive_esmini/circle_300m.xodr": (4, 5000, 0.99),
    "opendrive_esmini/crest-curve.xodr": (2, 400, 0.99),
    "opendrive_esmini/curve_r100.xodr": (2, 700, 0.99),
    "opendrive_esmini/curves.xodr": (2, 1100, 0.99),
    "opendrive_esmini/e6mini.xodr": (8, 1400, 0.99),
    "opendrive_esmini/e6mini-lht.xodr": (7, 1400, 0.8),
    "opendrive_esmini/fabriksgatan.xodr": (8, 400, 0.3),
    "opendrive_esmini/fabriksgatan_traffic_lights.xodr": (8, 400, 0.3),
    "opendrive_esmini/jolengatan.xodr": (2, 700, 0.99),
    "opendrive_esmini/parking_demo.xodr": (20, 250, 0.1),
    "opendrive_esmini/straight_500m.xodr": (2, 450, 0.99),
    "opendrive_esmini/straight_500m_roadmarks.xodr": (2, 450, 0.99),
    "opendrive_esmini/striaghtAndCurves.xodr": (2, 1200, 0.99),
    "opendrive_esmini/two_plus_one.xodr": (20, 450, 0.4),
    "opendrive_esmini/velodrome.xodr": (6, 5000, 0.99),
    "sumo_dlr/bologna/acosta/acosta_buslanes.net.xml": (200, 5000, 0.9),
    "sumo_dlr/bologna/pasubio/pasubio_buslanes.net.xml": (140, 5000, 0.85),
    "sumo_ngsim/lankershim/map.net.xml": (90, 450, 0.3),
}
LARGE = {
    "osm_extracts/monaco.osm.gz": (700, 5000, 0.75),
    "osm_extracts/north-bayreuth.osm.gz": (1400, 5000, 0.75),
    "sumo_dlr/TAVF-Hamburg/network.net.xml.gz": (1000, 5000, 0.8),
    "sumo_dlr/Wildau/net.net.xml.gz": (600, 5000, 0.85),
}
REFUSED = {
    "lanelet2_karlsruhe/mapping_example.osm": "Lanelet2",
    "opendrive_esmini/straight_500m_signs.xodr": "signal '1' is empty",
}
LEFT_HAND = {"opendrive_esmini/e6mini-lht.xodr"}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> TownLibrary:
    return TownLibrary(tmp_path_factory.mktemp("towns"))


def drive(world: World) -> None:
    """A few routes of the demonstrator, as long as the map allows."""
    cars = world.lane_use & LaneUse.MOTOR > 0
    length_m = min(200.0, 0.5 * float(world.lane_reach_m[cars].max()))
    results = drive_demonstrator(Rollout(world, make_routes(3, [0], 3, length_m), worlds=3, agents=8))
    assert len(results) == 3 and all(result.finished for result in results)
    assert sum(result.critical_interventions for result in results) == 0
    assert sum(result.distance_m for result in results) > length_m


@needs_maps
def test_a_route_is_no_longer_than_the_road_goes_on(library: TownLibrary) -> None:
    """Nobody can drive two kilometres on a road of 500 m: routes end where it does."""
    world = library.world([library.add_file(MAPS / "opendrive_esmini/straight_500m.xodr")])
    results = drive_demonstrator(Rollout(world, make_routes(3, [0], 8, 2000.0), worlds=3, agents=8))
    lengths = [result.route.length_m for result in results]
    assert len(results) == 8 and all(result.finished for result in results)
    assert max(lengths) < 500.0 and min(lengths) > 100.0


def check_map(library: TownLibrary, name: str, lanes: int, longest_m: float, share: float) -> None:
    world = library.world([library.add_file(MAPS / name)])
    check_shapes(world)
    check_right_of_way(world)
    check_lanes(world, heading_tolerance=0.2, spacing_tolerance=0.2)
    cars = (world.lane_use & LaneUse.MOTOR > 0) & (world.lane_kind == LaneKind.ROAD)
    assert np.count_nonzero(cars) >= lanes
    assert world.lane_reach_m[cars].max() >= longest_m
    assert np.mean(world.lane_reach_m[cars] >= 200.0) >= share
    assert bool(world.town_left_hand[0]) == (name in LEFT_HAND)
    drive(world)


@needs_maps
def test_table_is_complete() -> None:
    endings = (".osm", ".osm.gz", ".xodr", ".net.xml", ".net.xml.gz")
    found = {str(path.relative_to(MAPS)) for path in MAPS.rglob("*") if path.name.endswith(endings)}
    assert found == {*TABLE, *LARGE, *REFUSED}


@needs_maps
@pytest.mark.parametrize("name", TABLE)
def test_map_becomes_a_town_that_can_be_driven(library: TownLibrary, name: str) -> None:
    check_map(library, name, *TABLE[name])


@needs_maps
@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_large_map_becomes_a_town_that_can_be_driven(library: TownLibrary, name: str) -> None:
    check_map(library, name, *LARGE[name])


@needs_maps
def test_who_keeps_left_has_the_oncoming_lanes_on_the_right(library: TownLibrary) -> None:
    """netconvert reads every OpenDRIVE road as if traffic kept right."""
    world = library.world([library.add_file(MAPS / "opendrive_esmini/e6mini-lht.xodr")])
    middle = world.lane_first_point + world.lane_point_count // 2
    places, headings = world.points[middle], world.headings[middle]
    left = np.stack([-np.sin(headings), np.cos(headings)], axis=1)
    for lane, along in enumerate(headings):
        oncoming = np.cos(headings - along) < 0.0
        assert oncoming.any()
        # The road bends: only who is about beside counts, and all of those are farther to the right.
        assert np.all((places[oncoming] - places[lane]) @ left[lane] < -2.0)


@needs_maps
@pytest.mark.parametrize("name", REFUSED)
def test_map_is_refused_with_the_reason(library: TownLibrary, name: str) -> None:
    with pytest.raises(MapError, match=REFUSED[name]):
        library.add_file(MAPS / name)


def net_xml(lanes: str) -> bytes:
    internal = '<edge id=":k_0" function="internal"/>'
    return f'<net version="1.20">{internal}{lanes}<junction id="j"/><junction id="k"/></net>'.encode()


def edge_xml(name: str = "a", shape: str = "0,0 300,0", **attributes: object) -> str:
    more = "".join(f' {key}="{value}"' for key, value in {"speed": 13.9, **attributes}.items())
    lane = f'<lane id="{name}_0" index="0" length="300" shape="{shape}"{more}/>'
    return f'<edge id="{name}" from="j" to="k">{lane}</edge>'


BAD = {
    "negative_speed": (edge_xml("main", speed=-13.9), ("lane main_0", "-13.9 m/s")),
    "no_speed": (edge_xml("main", speed=0), ("lane main_0", "0 m/s")),
    "nan_speed": (edge_xml("main", speed="nan"), ("lane main_0", "nan m/s")),
    "negative_width": (edge_xml("main", width=-3), ("lane main_0", "-3 m wide")),
    "absurd_width": (edge_xml("main", width=400), ("lane main_0", "400 m wide")),
    "degrees": (edge_xml(shape="7.4200,43.7300 7.4260,43.7350"), ("0.006 m", "degrees")),
    "far_apart": (edge_xml() + edge_xml("b", "9000000,0 9000300,0"), ("9,000 km", "projection")),
    "folded": (edge_xml("main", "0,0 150,0 60,0 300,2"), ("lane main_0", "point 1", "folds")),
    "stub": (edge_xml(shape="0,0 60,0"), ("longest drivable route is 60 m",)),
    "disconnected": (
        "".join(edge_xml(f"e{n}", f"{n * 100},0 {n * 100 + 40},0") for n in range(9)),
        ("longest drivable route is 40 m", "connected"),
    ),
    "no_cars": (edge_xml(allow="rail"), ("no lane that a car may use",)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_network_names_file_element_and_reason(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.net.xml"
    content, words = BAD[name]
    path.write_bytes(net_xml(content))
    with pytest.raises(MapError) as caught:
        TownLibrary(tmp_path / "towns").add_file(path)
    message = str(caught.value)
    assert path.name in message and "\n" not in message and ";" in message
    for word in words:
        assert word in message


def test_ten_thousand_junctions_are_refused_with_the_number(tmp_path: Path) -> None:
    root = ["<net>", '<edge id=":x_0" function="internal"/>']
    for number in range(10_001):
        shape = f"{number % 100 * 100},{number // 100 * 100} {number % 100 * 100 + 80},{number // 100 * 100}"
        root.append(
            f'<edge id="e{number}" from="n{number}" to="n{number + 1}">'
            f'<lane id="e{number}_0" index="0" speed="13.9" length="80" shape="{shape}"/></edge>'
        )
    path = tmp_path / "huge.net.xml.gz"
    path.write_bytes(gzip.compress(("".join(root) + "</net>").encode()))
    with pytest.raises(MapError, match=r"huge.*10,002 junctions.*2,500"):
        TownLibrary(tmp_path / "towns").add_file(path)


def test_an_osm_extract_off_the_globe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "projected.osm"
    nodes = "".join(f'<node id="{n}" lat="{5_000_000 + n}" lon="{600_000 + n * 100}"/>' for n in (1, 2, 3))
    ways = '<way id="9"><nd ref="1"/><nd ref="2"/><nd ref="3"/><tag k="highway" v="primary"/></way>'
    path.write_text(f'<osm version="0.6">{nodes}{ways}</osm>')
    with pytest.raises(MapError, match=r"projected\.osm"):
        TownLibrary(tmp_path / "towns").add_file(path)


def one_lane(shape: np.ndarray, speed_mps: float = 10.0, width_m: float = 3.5) -> Network:
    lane = NetLane("e", 0, speed_mps, width_m, shape, np.zeros(len(shape)), LaneUse.MOTOR)
    return Network(edges={"e": NetEdge("e", "j", "k", (lane,))})


@given(
    turns=st.lists(st.floats(-1.5, 1.5), min_size=2, max_size=12),
    step_m=st.floats(2.0, 40.0),
    fold=st.integers(1, 10),
)
def test_folds_are_found_where_they_are(turns: list[float], step_m: float, fold: int) -> None:
    headings = np.cumsum([0.0, *turns])
    moves = step_m * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    shape = np.concatenate([[[0.0, 0.0]], np.cumsum(moves, axis=0)])
    assert fold_in(shape) is None
    at = min(fold, len(shape) - 2)
    folded = np.insert(shape, at + 1, 2.0 * shape[at] - shape[at + 1], axis=0)
    folded[at + 2 :] = shape[at + 1 :]
    assert fold_in(folded) is not None


@given(speed=st.floats(max_value=0.0), width=st.floats(0.5, 10.0))
def test_speeds_that_are_none_are_refused(speed: float, width: float) -> None:
    with pytest.raises(MapError, match="lane e_0"):
        check_network(one_lane(np.array([[0.0, 0.0], [100.0, 0.0]]), speed, width), "town x")


def test_good_networks_pass() -> None:
    check_network(one_lane(np.array([[0.0, 0.0], [100.0, 0.0], [150.0, 60.0]])), "town x")
    assert MAX_JUNCTIONS >= 1000
