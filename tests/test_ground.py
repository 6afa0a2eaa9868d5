"""The ground: surfaces, curbs and markings by kind, against slow references and on towns of every kind."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import KDTree

from fleetloop.core.types import (
    METRES_PER_PIXEL,
    TILE_M,
    TILE_PIXELS,
    Control,
    LaneKind,
    LaneUse,
    Surface,
    World,
)
from fleetloop.sim.roads import TownLibrary
from fleetloop.sim.roads.carriageways import Turn, main_use, turn_of
from fleetloop.sim.roads.markings import DOUBLE_INSET_M
from fleetloop.sim.roads.paint import CURB_M, Ground, Paint, rasterise
from fleetloop.sim.roads.stamps import ARROW_LENGTH_M, LETTER_LENGTH_M, arrow, bicycle, lettering
from small_towns import crossroads

ROADWAY = (Surface.ASPHALT, Surface.BUS_LANE, Surface.PARKING, Surface.JUNCTION)
MARKINGS = (Surface.WHITE_LINE, Surface.YELLOW_LINE, Surface.STOP_LINE, Surface.CROSSING)
KINDS = ("grid-7", "left_organic-3", "suburb-1", "roundabout-1", "highway-1", "yard-1", "buslane-1")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> TownLibrary:
    return TownLibrary(tmp_path_factory.mktemp("towns"))


@pytest.fixture(scope="module", params=KINDS)
def town(library: TownLibrary, request: pytest.FixtureRequest) -> World:
    return library.world([request.param])


def whole(ground: Ground) -> np.ndarray:
    """All of the ground as one picture [y, x]."""
    rows, columns = ground.tile_index.shape
    tiles = ground.tiles[ground.tile_index]
    return tiles.swapaxes(1, 2).reshape(rows * TILE_PIXELS, columns * TILE_PIXELS)


def whole_town(world: World) -> np.ndarray:
    return whole(Ground(world.tile_index.reshape(world.town_tiles_shape[0]), world.tiles))


def surface_at(picture: np.ndarray, world: World, points: np.ndarray) -> np.ndarray:
    columns, rows = np.floor((points - world.town_origin_m[0]) / METRES_PER_PIXEL).astype(int).T
    return picture[rows, columns]


def beside(world: World, lane: int, along_m: np.ndarray, left_m: float) -> np.ndarray:
    """Points beside a lane, from its own points and headings."""
    first, count = int(world.lane_first_point[lane]), int(world.lane_point_count[lane])
    at = np.arange(count) * world.lane_spacing_m[lane]
    heading = np.interp(along_m, at, np.unwrap(world.headings[first : first + count]))
    x, y = (np.interp(along_m, at, world.points[first : first + count, axis]) for axis in (0, 1))
    return np.stack([x - left_m * np.sin(heading), y + left_m * np.cos(heading)], axis=1)


def road_lanes(world: World, use: LaneUse = LaneUse.MOTOR) -> list[int]:
    return np.flatnonzero((world.lane_kind == LaneKind.ROAD) & (world.lane_use & use > 0)).tolist()


def connectors_after(world: World, lane: int) -> np.ndarray:
    return world.successors[world.successor_start[lane] : world.successor_start[lane + 1]]


def control_at_end(world: World, lane: int) -> set[int]:
    return {int(control) for control in world.lane_control[connectors_after(world, lane)]}


polygons = st.lists(
    st.tuples(
        st.sampled_from([*ROADWAY, *MARKINGS, Surface.SIDEWALK]),
        st.tuples(st.floats(2, 36), st.floats(2, 36)),
        st.tuples(st.floats(1, 20), st.floats(0.2, 12), st.floats(-3, 3)),
    ),
    min_size=1,
    max_size=12,
)


def rectangle(centre: tuple[float, float], size: tuple[float, float, float]) -> np.ndarray:
    length, breadth, yaw = size
    corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * [length / 2.0, breadth / 2.0]
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    return corners @ turn.T + centre


def painted(shapes: list) -> Paint:
    paint = Paint()
    for surface, centre, size in shapes:
        paint.add(surface, rectangle(centre, size))
    return paint


@settings(max_examples=25, deadline=None)
@given(shapes=polygons)
def test_composition_follows_the_rules_pixel_by_pixel(shapes: list) -> None:
    """Reference: surfaces and markings painted apart, then every pixel decided by itself."""
    size = (7, 7)
    picture = whole(rasterise(painted(shapes), np.zeros(2), size))
    apart = []
    for kinds in ((*ROADWAY, Surface.SIDEWALK), MARKINGS):
        layer = np.zeros_like(picture)
        for number, (surface, centre, extent) in enumerate(shapes):
            if surface in kinds:
                alone = Paint()
                alone.add(Surface.SIDEWALK, rectangle(centre, extent))
                layer[whole(rasterise(alone, np.zeros(2), size)) == Surface.SIDEWALK] = number + 1
        apart.append(layer)
    kinds = [Surface.GRASS, *(surface for surface, _, _ in shapes)]
    reach = round(CURB_M / METRES_PER_PIXEL)
    random = np.random.default_rng(1)
    roadway = np.isin(np.array(kinds, np.uint8)[apart[0]], ROADWAY)

    def near_road(row: int, column: int) -> bool:
        return bool(roadway[row - reach : row + reach + 1, column - reach : column + reach + 1].any())

    steps = range(-reach, reach + 1)
    for row, column in random.integers(2 * reach, len(picture) - 2 * reach, (400, 2)):
        below, above = kinds[apart[0][row, column]], kinds[apart[1][row, column]]
        expected = below
        if below not in ROADWAY and near_road(row, column):
            sliver = all(near_road(row + down, column + right) for down in steps for right in steps)
            expected = Surface.JUNCTION if sliver else Surface.CURB
        on_junction = above in (Surface.STOP_LINE, Surface.CROSSING)
        on_parking = above is not Surface.STOP_LINE
        if apart[1][row, column] and (
            expected in (Surface.ASPHALT, Surface.BUS_LANE)
            or (expected is Surface.JUNCTION and on_junction)
            or (expected is Surface.PARKING and on_parking)
        ):
            expected = above
        assert picture[row, column] == expected


@settings(max_examples=15, deadline=None)
@given(shapes=polygons, shift=st.tuples(st.integers(0, 120), st.integers(0, 120)))
def test_blocks_leave_no_seams(shapes: list, shift: tuple[int, int]) -> None:
    """The same polygons look the same wherever the borders of tiles and blocks run."""
    paint = painted(shapes)
    moved = np.array(shift) * METRES_PER_PIXEL
    far = np.array([-100.0, -100.0])
    first = whole(rasterise(paint, far, (24, 24)))
    second = whole(rasterise(paint, far - moved, (24, 24)))
    size = 24 * TILE_PIXELS - 120
    part = second[shift[1] : shift[1] + size, shift[0] : shift[0] + size]
    # Corners of polygons may round to the next pixel.
    assert np.mean(first[:size, :size] != part) < 2e-4


def test_grass_and_sidewalks_are_never_directly_beside_the_road(town: World) -> None:
    table = np.zeros(256, bool)
    table[[*ROADWAY, *MARKINGS]] = True
    road = table[town.tiles]
    soft = (town.tiles == Surface.GRASS) | (town.tiles == Surface.SIDEWALK)
    assert not (road[:, 1:] & soft[:, :-1]).any() and not (road[:, :-1] & soft[:, 1:]).any()
    assert not (road[:, :, 1:] & soft[:, :, :-1]).any() and not (road[:, :, :-1] & soft[:, :, 1:]).any()


def test_no_lane_is_crossed_by_a_curb(town: World) -> None:
    picture = whole_town(town)
    for lane in np.flatnonzero(town.lane_kind <= LaneKind.JUNCTION).tolist():
        along = np.linspace(0.0, town.lane_length_m[lane], 2 + int(town.lane_length_m[lane]))
        for left in (-1.0, 0.0, 1.0):
            seen = surface_at(picture, town, beside(town, lane, along, left))
            assert np.isin(seen, [*ROADWAY, *MARKINGS]).all()


def test_lane_ends_show_what_rules_them(tmp_path: Path) -> None:
    for kind, control in (
        ("priority_stop", Control.STOP),
        ("priority", Control.YIELD),
        ("traffic_light", Control.SIGNAL),
    ):
        world = crossroads(tmp_path, kind)
        picture, seen_controls = whole_town(world), set()
        for lane in road_lanes(world):
            controls = control_at_end(world, lane)
            end = np.full(25, world.lane_length_m[lane])
            across = np.linspace(-1.2, 1.2, 25)
            points = np.concatenate([beside(world, lane, end[:1], left) for left in across])
            heading = world.headings[world.lane_first_point[lane] + world.lane_point_count[lane] - 1]
            seen = surface_at(picture, world, points - 0.25 * np.array([np.cos(heading), np.sin(heading)]))
            painted_share = np.mean(seen == Surface.STOP_LINE)
            if control in controls and control is not Control.YIELD:
                assert painted_share > 0.95
                seen_controls.add(control)
            elif controls == {Control.YIELD}:
                assert 0.25 < painted_share < 0.75
                seen_controls.add(Control.YIELD)
            elif controls <= {Control.NONE}:
                assert painted_share == 0.0
        assert control in seen_controls


@pytest.mark.parametrize(("kmh", "kind"), [(30.0, "dashed"), (50.0, "double"), (100.0, "overtaking")])
def test_middle_line_says_whether_one_may_overtake(tmp_path: Path, kmh: float, kind: str) -> None:
    world = crossroads(tmp_path, "priority", kmh)
    picture = whole_town(world)
    lane = road_lanes(world)[0]
    half, length = float(world.lane_width_m[lane]) / 2.0, float(world.lane_length_m[lane])
    along = np.arange(5.0, length - 5.0, 1.0)
    middle = surface_at(picture, world, beside(world, lane, along, half)) == Surface.YELLOW_LINE
    inset = (
        surface_at(picture, world, beside(world, lane, along, half - DOUBLE_INSET_M)) == Surface.YELLOW_LINE
    )
    far = np.abs(along - length / 2.0) < length / 2.0 - 50.0
    if kind == "dashed":
        assert 0.2 < middle.mean() < 0.5 and not inset.any()
    elif kind == "double":
        assert inset.all() and not middle.any()
    else:
        assert inset[along > length - 30.0].all() or inset[along < 30.0].all()
        assert 0.2 < middle[far].mean() < 0.5 and not inset[far].any()


def test_lanes_of_one_direction_are_parted_by_dashes_and_edges_by_solid_lines(tmp_path: Path) -> None:
    world = crossroads(tmp_path, "traffic_light", 50.0, ("", ""))
    picture = whole_town(world)
    for lane in road_lanes(world):
        if world.lane_left[lane] < 0:
            continue
        along = np.arange(2.0, world.lane_length_m[lane] - 2.0, 0.5)
        between = surface_at(picture, world, beside(world, lane, along, world.lane_width_m[lane] / 2.0))
        assert 0.25 < np.mean(between == Surface.WHITE_LINE) < 0.45
        edge = surface_at(picture, world, beside(world, lane, along, 0.2 - world.lane_width_m[lane] / 2.0))
        assert np.mean(edge == Surface.WHITE_LINE) > 0.95


def test_arrows_show_where_a_lane_leads(tmp_path: Path) -> None:
    world = crossroads(tmp_path, "traffic_light", 50.0, ("", ""))
    picture, checked = whole_town(world), 0
    for lane in road_lanes(world):
        ways = connectors_after(world, lane)
        if not (world.lane_kind[ways] == LaneKind.JUNCTION).any():
            continue
        ends = world.lane_first_point[ways] + world.lane_point_count[ways] - 1
        turned = world.headings[ends] - world.headings[world.lane_first_point[ways]]
        turns = {turn_of(float(np.angle(np.exp(1j * turn)))) for turn in turned}
        start = world.lane_length_m[lane] - 4.5 - ARROW_LENGTH_M
        shaft = surface_at(picture, world, beside(world, lane, start + np.array([0.5, 1.0]), 0.0))
        assert np.all(shaft == Surface.WHITE_LINE)
        tip = surface_at(picture, world, beside(world, lane, start + np.array([3.8, 4.2]), 0.0))
        assert np.all(tip == Surface.WHITE_LINE) == (Turn.STRAIGHT in turns)
        checked += 1
    assert checked >= 8


def test_stamps_point_ahead_and_are_read_from_behind() -> None:
    straight = arrow(frozenset({Turn.STRAIGHT}))
    assert max(shape[:, 0].max() for shape in straight) == ARROW_LENGTH_M
    left, right = arrow(frozenset({Turn.LEFT})), arrow(frozenset({Turn.RIGHT}))
    for one, other in zip(left, right, strict=True):
        np.testing.assert_allclose(one[:, 0], other[:, 0])
        np.testing.assert_allclose(sorted(one[:, 1]), sorted(-other[:, 1]))
    assert max(shape[:, 1].max() for shape in left) > 1.0
    letters = lettering("L7")
    assert letters[:, 1].max() == pytest.approx(LETTER_LENGTH_M)
    # The foot of the L, near the reader, is broader than its top, and lies to the left of the 7.
    of_l = letters[letters[:, 2] > 0.0]
    breadth = of_l[:, 3] - of_l[:, 2]
    assert breadth[of_l[:, 0].argmin()] > breadth[of_l[:, 0].argmax()]
    assert len(bicycle()) > 10


def test_bus_lanes_are_red_and_lettered(tmp_path: Path) -> None:
    world = crossroads(tmp_path, "traffic_light", 50.0, ("bus", ""))
    picture = whole_town(world)
    buses = [lane for lane in road_lanes(world, LaneUse.BUS) if not world.lane_use[lane] & LaneUse.MOTOR]
    assert len(buses) == 8
    for lane in buses:
        along = np.arange(1.0, world.lane_length_m[lane] - 1.0, 1.0)
        seen = surface_at(picture, world, beside(world, lane, along, 1.2))
        assert np.mean(seen == Surface.BUS_LANE) > 0.9
        word = np.arange(8.0, 8.0 + LETTER_LENGTH_M, 1.0)
        seen = np.concatenate(
            [
                surface_at(picture, world, beside(world, lane, word, left))
                for left in np.arange(-0.9, 0.9, 0.1)
            ]
        )
        assert 0.2 < np.mean(seen == Surface.WHITE_LINE) < 0.8
        # The line to the lane for cars is solid.
        line = surface_at(picture, world, beside(world, lane, along[:-2], world.lane_width_m[lane] / 2.0))
        assert np.mean(line == Surface.WHITE_LINE) > 0.95


def test_crossings_of_the_network_are_striped_from_curb_to_curb(tmp_path: Path) -> None:
    world = crossroads(tmp_path, "traffic_light", 50.0, ("",), "--sidewalks.guess", "--crossings.guess")
    picture = whole_town(world)
    crossings = np.flatnonzero(world.lane_kind == LaneKind.CROSSING).tolist()
    assert len(crossings) == 8
    for lane in crossings:
        along = np.linspace(0.0, world.lane_length_m[lane], 60)
        seen = surface_at(picture, world, beside(world, lane, along, 0.0))
        assert 0.3 < np.mean(seen == Surface.CROSSING) < 0.7
        assert np.isin(
            seen, [Surface.CROSSING, Surface.JUNCTION, Surface.ASPHALT, Surface.CURB, Surface.SIDEWALK]
        ).all()


def test_people_walk_on_sidewalks_even_past_parking_bays(tmp_path: Path) -> None:
    options = ("--sidewalks.guess", "--crossings.guess")
    parked = False
    for lanes in (("",), ("", "")):
        world = crossroads(tmp_path, "priority", 50.0, lanes, *options)
        picture = whole_town(world)
        parked |= bool((picture == Surface.PARKING).any())
        allowed = [Surface.SIDEWALK, Surface.CURB]
        for lane in np.flatnonzero(world.lane_kind == LaneKind.WALK).tolist():
            if world.lane_length_m[lane] > 30.0:
                along = np.linspace(0.0, world.lane_length_m[lane], 80)
                seen = surface_at(picture, world, beside(world, lane, along, 0.0))
                assert np.isin(seen, allowed).mean() > 0.97
    assert parked


def test_main_use() -> None:
    assert main_use(LaneUse.MOTOR | LaneUse.BUS) is LaneUse.MOTOR
    assert main_use(LaneUse.BUS | LaneUse.BICYCLE) is LaneUse.BUS
    assert main_use(LaneUse.BICYCLE) is LaneUse.BICYCLE
    assert main_use(LaneUse.PEDESTRIAN) is LaneUse.PEDESTRIAN


def test_no_box_stands_on_a_lane(town: World) -> None:
    half = np.repeat(town.lane_width_m / 2.0, town.lane_point_count)
    driven = np.repeat(town.lane_kind <= LaneKind.JUNCTION, town.lane_point_count)
    points, half = town.points[driven], half[driven]
    tree = KDTree(points)
    steps = np.stack(np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5)), -1).reshape(-1, 2)
    for x, y, z, yaw, length, breadth, height in town.boxes[:, :7]:
        if z - height > 3.5:
            continue
        turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        for sample in steps * [length, breadth] @ turn.T + [x, y]:
            near = tree.query_ball_point(sample, 3.0)
            assert np.all(np.hypot(*(points[near] - sample).T) > half[near] - 0.01)


assert round(TILE_M / METRES_PER_PIXEL) == TILE_PIXELS
