"""Roads: the World of generated and real towns keeps every promise of core/types.py; bad maps are refused."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetloop.core.errors import MapError
from fleetloop.core.geometry import wrap_angle
from fleetloop.core.types import (
    BOX_CELL_M,
    METRES_PER_PIXEL,
    TILE_PIXELS,
    ConflictKind,
    Control,
    LaneKind,
    LaneUse,
    SignalColour,
    Surface,
    World,
)
from fleetloop.sim.roads import TownLibrary, curves
from fleetloop.sim.roads.pack import load_world, pack, save_world
from fleetloop.sim.roads.preview import map_image
from toy_world import toy_world

MAPS = Path(__file__).parents[2] / "shared/data/maps"
needs_maps = pytest.mark.skipif(not MAPS.is_dir(), reason="real maps (../shared/data/maps) are not here")
GO = (SignalColour.GREEN, SignalColour.GREEN_YIELD)
STREETS = [
    "grid",
    "organic",
    "spider",
    "suburb",
    "roundabout",
    "buslane",
    "cyclelane",
    "left_organic",
    "left_suburb",
]
TOWN_KEYS = st.tuples(st.sampled_from(STREETS), st.integers(0, 500)).map(lambda pair: f"{pair[0]}-{pair[1]}")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> TownLibrary:
    return TownLibrary(tmp_path_factory.mktemp("towns"))


def lane_points(world: World, lane: int) -> np.ndarray:
    first = world.lane_first_point[lane]
    return world.points[first : first + world.lane_point_count[lane]]


def conflict_sources(world: World) -> np.ndarray:
    return np.repeat(np.arange(len(world.lane_kind)), np.diff(world.conflict_start))


def main_user(world: World, lane: int) -> int:
    """For whom a lane is made: the lowest bit of its users."""
    return int(world.lane_use[lane]) & -int(world.lane_use[lane])


def colour_at(world: World, signal: int, clock_s: float) -> SignalColour:
    """Reference for the phase of a signal."""
    time = (clock_s + world.signal_offset_s[signal]) % world.signal_cycle_s[signal]
    first, last = world.phase_start[signal], world.phase_start[signal + 1]
    phase = first + np.searchsorted(world.phase_end_s[first:last], time, side="right")
    return SignalColour(world.phase_colour[min(phase, last - 1)])


def surface_at(world: World, town: int, points: np.ndarray) -> np.ndarray:
    """Reference for looking up the ground."""
    result = []
    for x, y in points - world.town_origin_m[town]:
        # By whole pixels: a point on the edge of a tile belongs to one pixel, however it is rounded.
        pixel_column, pixel_row = int(x / METRES_PER_PIXEL // 1), int(y / METRES_PER_PIXEL // 1)
        column, row = pixel_column // TILE_PIXELS, pixel_row // TILE_PIXELS
        rows, columns = world.town_tiles_shape[town]
        if not (0 <= row < rows and 0 <= column < columns):
            result.append(Surface.GRASS)
            continue
        tile = world.tile_index[world.town_first_tile[town] + row * columns + column]
        result.append(world.tiles[tile, pixel_row % TILE_PIXELS, pixel_column % TILE_PIXELS])
    return np.array(result)


def check_shapes(world: World) -> None:
    lanes, towns, signals = len(world.lane_kind), len(world.town_origin_m), len(world.signal_cycle_s)
    annotated = {
        name: hint.__args__ if hasattr(hint, "__args__") else hint
        for name, hint in World.__annotations__.items()
    }
    assert set(annotated) == set(world._fields)
    for name in (
        "points",
        "headings",
        "curvatures",
        "lane_length_m",
        "conflict_from_m",
        "boxes",
        "phase_end_s",
    ):
        assert getattr(world, name).dtype == np.float32, name
    for name in (
        "lane_kind",
        "lane_control",
        "conflict_kind",
        "conflict_yield",
        "tiles",
        "box_lamp",
        "phase_colour",
    ):
        assert getattr(world, name).dtype == np.uint8, name
    for name in ("lane_first_point", "successors", "conflict_lane", "tile_index", "cell_start", "box_signal"):
        assert getattr(world, name).dtype == np.int32, name
    for name in World._fields:
        array = getattr(world, name)
        assert np.all(np.isfinite(array)) if array.dtype.kind == "f" else array.dtype.kind in "iu", name
    starts = (
        (world.successor_start, lanes, len(world.successors)),
        (world.conflict_start, lanes, len(world.conflict_lane)),
        (world.phase_start, signals, len(world.phase_colour)),
        (world.town_first_lane, towns, lanes),
        (world.cell_start, int(np.prod(world.town_cells_shape, axis=1).sum()), len(world.boxes)),
    )
    for start, count, total in starts:
        assert start.shape == (count + 1,)
        assert start[0] == 0 and start[-1] == total and np.all(np.diff(start) >= 0)
    assert np.all(np.diff(world.phase_start) > 0)
    assert world.lane_first_point[-1] + world.lane_point_count[-1] == len(world.points)
    for lane_index in (world.successors, world.conflict_lane):
        assert np.all((lane_index >= 0) & (lane_index < lanes))
    for side in (world.lane_left, world.lane_right):
        assert np.all((side >= -1) & (side < lanes))
    assert np.all((world.lane_signal >= -1) & (world.lane_signal < signals))
    assert np.all((world.tile_index >= 0) & (world.tile_index < len(world.tiles)))
    assert len(world.tile_index) == np.prod(world.town_tiles_shape, axis=1).sum()
    assert not world.tiles[0].any()


def check_lanes(world: World, heading_tolerance: float = 0.15, spacing_tolerance: float = 0.03) -> None:
    for lane in range(len(world.lane_kind)):
        points = lane_points(world, lane)
        assert len(points) >= 2 and world.lane_spacing_m[lane] > 0.01
        steps = np.hypot(*np.diff(points, axis=0).T)
        error = steps - world.lane_spacing_m[lane]
        # People turn on the spot, and lanes are closed for it: there the chord is shorter than the arc.
        if world.lane_use[lane] not in (0, LaneUse.PEDESTRIAN):
            error = np.abs(error)
        assert np.all(error < spacing_tolerance * world.lane_spacing_m[lane] + 1e-3)
        assert world.lane_length_m[lane] == pytest.approx(
            world.lane_spacing_m[lane] * (len(points) - 1), rel=1e-4
        )
        # What no car can drive is open to nobody.
        is_open = world.lane_use[lane] != 0
        assert world.lane_reach_m[lane] >= (min(world.lane_length_m[lane], 4999.0) if is_open else 0.0)
        following = world.successors[world.successor_start[lane] : world.successor_start[lane + 1]]
        kind, kinds = world.lane_kind[lane], world.lane_kind[following]
        if kind == LaneKind.ROAD:
            assert np.all((kinds == LaneKind.CONNECTOR) | (kinds == LaneKind.JUNCTION))
        elif kind in (LaneKind.CONNECTOR, LaneKind.JUNCTION):
            assert len(following) == 1 and kinds[0] == LaneKind.ROAD
            if world.lane_use[lane] & LaneUse.MOTOR:
                assert not world.lane_use[lane] & ~world.lane_use[following[0]]
        else:
            # There is always a way on for people on foot: they can turn round.
            assert len(following) and np.all((kinds == LaneKind.WALK) | (kinds == LaneKind.CROSSING))
            assert kind == LaneKind.WALK or np.all(kinds == LaneKind.WALK)
            assert world.lane_use[lane] in (0, LaneUse.PEDESTRIAN)
        for other in following:
            assert np.hypot(*(lane_points(world, other)[0] - points[-1])) < 0.3
            end = world.headings[world.lane_first_point[lane] + world.lane_point_count[lane] - 1]
            assert abs(wrap_angle(world.headings[world.lane_first_point[other]] - end)) < heading_tolerance
            if world.lane_use[other] and main_user(world, lane) == main_user(world, other):
                best = min(world.lane_length_m[lane] + world.lane_reach_m[other], 5000.0)
                assert world.lane_reach_m[lane] >= best - 0.1
    for lane in np.flatnonzero(world.lane_left >= 0).tolist():
        assert world.lane_right[world.lane_left[lane]] == lane


def check_right_of_way(world: World) -> None:
    source = conflict_sources(world)
    pairs = {(int(a), int(b)): k for k, (a, b) in enumerate(zip(source, world.conflict_lane, strict=True))}
    assert len(pairs) == len(source)
    for (first, second), k in pairs.items():
        back = pairs[second, first]
        assert world.conflict_kind[back] == world.conflict_kind[k]
        assert world.conflict_other_from_m[back] == world.conflict_from_m[k]
        assert world.conflict_other_to_m[back] == world.conflict_to_m[k]
        assert 0.0 <= world.conflict_from_m[k] <= world.conflict_to_m[k] <= world.lane_length_m[first] + 1e-3
        yields = int(world.conflict_yield[k]) + int(world.conflict_yield[back])
        signals = int(world.lane_signal[first]), int(world.lane_signal[second])
        if world.conflict_kind[k] == ConflictKind.DIVERGE:
            assert yields == 0 and world.conflict_from_m[k] == 0.0
            continue
        if world.conflict_kind[k] == ConflictKind.MERGE:
            assert world.conflict_to_m[k] == world.lane_length_m[first]
        if world.conflict_kind[k] == ConflictKind.MERGE and world.lane_kind[first] == LaneKind.CONNECTOR:
            # Where a lane ends both take turns.
            assert yields <= 1
            continue
        if min(signals) < 0 or signals[0] == signals[1]:
            assert yields == 1
            continue
        for clock in np.arange(0.5, world.signal_cycle_s[signals[0]], 1.0):
            shown = [colour_at(world, signal, clock) for signal in signals]
            if all(colour in (*GO, SignalColour.OFF) for colour in shown):
                assert yields == 1
                yielding = shown[0] if world.conflict_yield[k] else shown[1]
                assert yielding is not SignalColour.GREEN
    connectors = world.lane_kind != LaneKind.ROAD
    assert np.all((world.lane_control == Control.SIGNAL) == (world.lane_signal >= 0))
    assert np.all(world.lane_control[~connectors] == Control.NONE)


def check_ground_and_boxes(world: World, town: int = 0) -> None:
    first, last = world.town_first_lane[town : town + 2]
    start, end = (
        world.lane_first_point[first],
        world.lane_first_point[last - 1] + world.lane_point_count[last - 1],
    )
    surfaces = surface_at(world, town, world.points[start:end][::3])
    kinds = np.repeat(world.lane_kind[first:last], world.lane_point_count[first:last])[::3]
    kerbside = np.isin(surfaces, [Surface.GRASS, Surface.SIDEWALK, Surface.CURB])
    assert not kerbside[kinds < LaneKind.WALK].any()
    walked = surfaces[kinds == LaneKind.WALK]
    assert np.count_nonzero(walked == Surface.SIDEWALK) >= 0.8 * len(walked)
    cells = world.town_cells_shape[town]
    for cell in range(int(cells.prod())):
        number = int(world.town_first_cell[town]) + cell
        boxes = world.boxes[world.cell_start[number] : world.cell_start[number + 1]]
        inside = (boxes[:, :2] - world.town_origin_m[town]) / BOX_CELL_M - [cell % cells[1], cell // cells[1]]
        assert np.all((inside > -1e-3) & (inside < 1.001))
        for x, y, z, yaw, length, breadth, height in boxes[:, :7]:
            if z - height < 0.5 and breadth > 2.0:  # a building
                grid = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), -1).reshape(-1, 2) * [length, breadth]
                turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
                assert np.all(surface_at(world, town, grid @ turn.T + [x, y]) == Surface.GRASS)
    lamps = world.box_signal >= 0
    assert set(world.box_signal[lamps]) <= set(range(len(world.signal_cycle_s)))
    assert set(world.box_lamp[lamps]) <= {SignalColour.RED, SignalColour.YELLOW, SignalColour.GREEN}


def check_world(world: World) -> None:
    check_shapes(world)
    check_lanes(world)
    check_right_of_way(world)
    check_ground_and_boxes(world)


@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(key=TOWN_KEYS)
def test_generated_town_keeps_its_promises(library: TownLibrary, key: str) -> None:
    world = library.world([key])
    check_world(world)
    assert np.all(world.lane_reach_m == 5000.0)
    driven = np.repeat(world.lane_use != LaneUse.PEDESTRIAN, world.lane_point_count)
    assert np.abs(world.curvatures[driven]).max() < 0.2
    extent = np.ptp(world.points, axis=0)
    assert 150.0 < extent.max() < 700.0


def test_every_signalised_lane_has_a_head_with_three_lamps_facing_it(library: TownLibrary) -> None:
    world = library.world(["grid-1"])
    connectors = np.flatnonzero(world.lane_signal >= 0)
    assert len(connectors)
    shown = {(int(s), int(lamp)) for s, lamp in zip(world.box_signal, world.box_lamp, strict=True) if s >= 0}
    roads = np.flatnonzero(world.lane_kind == LaneKind.ROAD)
    for road in roads.tolist():
        following = world.successors[world.successor_start[road] : world.successor_start[road + 1]]
        signals = {int(world.lane_signal[lane]) for lane in following} - {-1}
        if not signals:
            continue
        heads = [signal for signal in signals if (signal, SignalColour.RED) in shown]
        assert heads
        for signal in heads:
            lamps = {
                lamp: world.boxes[(world.box_signal == signal) & (world.box_lamp == lamp)][0]
                for lamp in (0, 1, 3)
            }
            assert lamps[0][2] > lamps[1][2] > lamps[3][2]
            end, heading = (
                lane_points(world, road)[-1],
                world.headings[world.lane_first_point[road] + world.lane_point_count[road] - 1],
            )
            ahead = np.array([np.cos(heading), np.sin(heading)]) @ (lamps[0][:2] - end)
            assert 2.0 < ahead < 8.0
            assert abs(wrap_angle(lamps[0][3] - heading)) < 1e-3


def test_same_key_same_bits_and_cache_round_trip(tmp_path: Path) -> None:
    first, second = TownLibrary(tmp_path / "a"), TownLibrary(tmp_path / "b")
    worlds = [first.world(["organic-3"]), second.world(["organic-3"]), first.world(["organic-3"])]
    for name in World._fields:
        for world in worlds[1:]:
            np.testing.assert_array_equal(getattr(worlds[0], name), getattr(world, name), err_msg=name)
    assert not list((tmp_path / "a").glob("*.partial")) and not list((tmp_path / "a").glob(".making-*"))


def test_damaged_or_foreign_cache_is_made_again(tmp_path: Path) -> None:
    library = TownLibrary(tmp_path)
    world = library.world(["grid-2"])
    (cache,) = tmp_path.glob("*.npz")
    whole = cache.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not a zip", whole[:-2000] + b"\0" * 2000):
        cache.write_bytes(content)
        assert load_world(cache) is None
    np.testing.assert_array_equal(library.world(["grid-2"]).points, world.points)
    save_world(cache, world)
    again = load_world(cache)
    assert again is not None and np.array_equal(again.tiles, world.tiles)


def test_a_cache_with_a_damaged_byte_is_never_another_town(tmp_path: Path) -> None:
    world, cache = toy_world(), tmp_path / "toy.npz"
    save_world(cache, world)
    whole = cache.read_bytes()
    for place in np.linspace(0, len(whole) - 1, 150).astype(int).tolist():
        cache.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        loaded = load_world(cache)
        assert loaded is None or all(map(np.array_equal, loaded, world)), place


def test_packing_keeps_every_town_as_it_was(library: TownLibrary) -> None:
    keys = ["grid-1", "spider-1", "grid-1", "organic-2"]
    alone = [library.world([key]) for key in keys]
    packed = pack(alone)
    check_shapes(packed)
    check_right_of_way(packed)
    for town, world in enumerate(alone):
        check_ground_and_boxes(packed, town)
        first, last = packed.town_first_lane[town : town + 2]
        assert last - first == len(world.lane_kind)
        start, end = (
            packed.lane_first_point[first],
            packed.lane_first_point[last - 1] + packed.lane_point_count[last - 1],
        )
        np.testing.assert_array_equal(packed.points[start:end], world.points)
        own = packed.successors[packed.successor_start[first] : packed.successor_start[last]]
        np.testing.assert_array_equal(own - first, world.successors)
        own = packed.conflict_lane[packed.conflict_start[first] : packed.conflict_start[last]]
        np.testing.assert_array_equal(own - first, world.conflict_lane)
        np.testing.assert_array_equal(map_image(packed, town, 1.0), map_image(world, 0, 1.0))
    np.testing.assert_array_equal(np.asarray(library.world(keys).boxes), packed.boxes)


@settings(max_examples=60, deadline=None)
@given(
    start=st.tuples(st.floats(-20, 20), st.floats(-20, 20), st.floats(-3, 3)),
    ahead=st.floats(8, 30),
    aside=st.floats(-6, 6),
    turn=st.floats(-1.0, 1.0),
)
def test_joining_curves_meet_both_poses(
    start: tuple[float, float, float], ahead: float, aside: float, turn: float
) -> None:
    first = np.array(start)
    middle = start[2] + turn / 2.0
    offset = [
        ahead * np.cos(middle) - aside * np.sin(middle),
        ahead * np.sin(middle) + aside * np.cos(middle),
        turn,
    ]
    last = first + offset
    shares, peak = curves.fit_joining_curves(first[None], last[None])
    dense = curves.joining_curve(first, last, shares[0])
    line = curves.centre_line(dense, first[2], last[2])
    np.testing.assert_allclose(line.points[[0, -1]], [first[:2], last[:2]], atol=1e-9)
    inner = np.unwrap(np.concatenate([[first[2]], curves.tangents(dense), [last[2]]]))
    assert np.abs(np.diff(inner)).max() < 0.15
    assert np.abs(line.curvatures).max() <= peak[0] * 1.15 + 0.01


@settings(max_examples=60, deadline=None)
@given(angles=st.lists(st.floats(-0.9, 0.9), min_size=1, max_size=8), steps=st.integers(8, 30))
def test_smoothing_keeps_ends_and_removes_kinks(angles: list[float], steps: int) -> None:
    headings = np.cumsum([0.0, *angles])
    moves = steps * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    shape = np.concatenate([[[0.0, 0.0]], np.cumsum(moves, axis=0)])
    smoothed = curves.smooth(shape)
    np.testing.assert_allclose(smoothed[[0, -1]], shape[[0, -1]], atol=1e-9)
    assert np.abs(np.diff(curves.tangents(smoothed))).max() < 0.12
    assert curves.peak_curvature(smoothed) < 0.4


REAL = {
    "monaco": ("osm_extracts/monaco.osm.gz", 0.5),
    "Town01": ("opendrive_carla/Town01.xodr", 0.5),
    "acosta": ("sumo_dlr/bologna/acosta/acosta_buslanes.net.xml", 0.5),
    "north-bayreuth": ("osm_extracts/north-bayreuth.osm.gz", 0.5),
    "hamburg": ("sumo_dlr/TAVF-Hamburg/network.net.xml.gz", 0.3),
}


@needs_maps
@pytest.mark.parametrize(
    "name",
    [
        "Town01",
        "acosta",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("monaco", "north-bayreuth", "hamburg")),
    ],
)
def test_real_map_becomes_a_town(name: str, tmp_path: Path) -> None:
    library, (file, share) = TownLibrary(tmp_path), REAL[name]
    key = library.add_file(MAPS / file)
    assert library.add_file(MAPS / file) == key
    world = library.world([key])
    check_shapes(world)
    check_right_of_way(world)
    # Hairpins: the chord between points a metre apart is shorter than the arc.
    check_lanes(world, heading_tolerance=0.2, spacing_tolerance=0.2)
    assert np.mean(world.lane_reach_m >= 1000.0) > share
    driven = np.repeat(world.lane_kind < LaneKind.WALK, world.lane_point_count)  # walks turn on the spot
    assert np.mean(np.abs(world.curvatures[driven]) > 0.2) < 0.01
    assert (TownLibrary(tmp_path).world([key]).boxes == world.boxes).all()


OSM_START = '<osm version="0.6">'
BAD_MAPS = {
    "empty.osm": b"",
    "blank.xodr": b"  \n",
    "text.osm": b"roads",
    "foreign.osm": b"<html><body/></html>",
    "wrong_root.net.xml": b"<osm></osm>",
    "cut.net.xml": b'<net version="1.20"><edge id="a"',
    "cut.osm.gz": gzip.compress(OSM_START.encode() * 2000)[:-12],
    "plain.osm.gz": OSM_START.encode(),
    "lanelet.osm": b'<osm><way id="1"><tag k="type" v="lanelet"/></way></osm>',
    "nothing.osm": b'<osm version="0.6"><node id="1" lat="43.7" lon="7.4"/></osm>',
    "nothing.xodr": b'<OpenDRIVE><header revMajor="1" revMinor="4"/></OpenDRIVE>',
    "no_roads.net.xml": b'<net version="1.20"><location netOffset="0,0"/></net>',
    "bomb.net.xml": b'<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa">]><net>&b;</net>',
    "map.pdf": b"%PDF",
    "only_walking.net.xml": (
        b'<net><edge id="a" from="j" to="k"><lane id="a_0" index="0" allow="pedestrian" speed="1" '
        b'length="300" shape="0,0 300,0"/></edge></net>'
    ),
    "short.net.xml": (
        b'<net><edge id=":j_0" function="internal"><lane id=":j_0_0" index="0" speed="1" length="1" '
        b'shape="0,0 1,0"/></edge><edge id="a" from="j" to="k">'
        b'<lane id="a_0" index="0" speed="9" length="50" shape="0,0 50,0"/>'
        b"</edge></net>"
    ),
    "no_shape.net.xml": (
        b'<net><edge id=":j_0" function="internal"/><edge id="a" from="j" to="k">'
        b'<lane id="a_0" index="0" speed="9" length="50" shape="0,0"/></edge></net>'
    ),
    "nan.net.xml": (
        b'<net><edge id=":j_0" function="internal"/><edge id="a" from="j" to="k">'
        b'<lane id="a_0" index="0" speed="9" length="50" shape="0,0 nan,4"/></edge></net>'
    ),
}


@pytest.mark.parametrize("name", BAD_MAPS)
def test_bad_map_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(BAD_MAPS[name])
    library = TownLibrary(tmp_path / "towns")
    with pytest.raises(MapError) as caught:
        library.add_file(path)
    message = str(caught.value)
    assert name in message and "\n" not in message and ";" in message
    assert not (tmp_path / "towns").exists() or not list((tmp_path / "towns").iterdir())


@needs_maps
def test_lanelet2_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="Lanelet2"):
        TownLibrary(tmp_path).add_file(MAPS / "lanelet2_karlsruhe/mapping_example.osm")


def test_missing_map_and_unknown_town_are_refused(tmp_path: Path) -> None:
    library = TownLibrary(tmp_path)
    with pytest.raises(MapError, match="does not exist"):
        library.add_file(tmp_path / "absent.osm")
    (tmp_path / "folder.osm").mkdir()
    with pytest.raises(MapError, match="folder"):
        library.add_file(tmp_path / "folder.osm")
    for key in ("atlantis", "grid-x", "../grid-1", "monaco-00000000", ""):
        with pytest.raises(MapError, match="town"):
            library.world([key])
    with pytest.raises(MapError, match="empty"):
        library.world([])
