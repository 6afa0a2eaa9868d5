"""The gallery: pictures of every weather, road user, sign, kind of town and scenario, for people to look at."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fleetloop.core.files import replacing_file, storage_errors
from fleetloop.core.types import (
    BOX_CELL_M,
    EGO,
    SCENE_AGENTS,
    VEHICLE_SIZES,
    AgentKind,
    Camera,
    CameraRig,
    LaneKind,
    LaneUse,
    Scene,
    World,
)
from fleetloop.preview import town_preview
from fleetloop.recording import look, scenario_rollout
from fleetloop.recording.frames import Overhead, frame
from fleetloop.sim.cameras import DEFAULT_RIG, Weather, appearance_of, render
from fleetloop.sim.cameras.mosaic import labelled, mosaic
from fleetloop.sim.cameras.rig import scaled_rig
from fleetloop.sim.roads.generate import TownKind
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.sim.roads.signs import EXAMPLE_SIGNS, sign_face
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import make_routes
from fleetloop.sim.scenarios import FAMILIES

WEATHER_TOWN = "grid-1"
TOWNS = (*(f"{kind}-1" for kind in TownKind), "left_grid-1")
SCENARIO_TOWNS = ("grid-1", "organic-1", "buslane-1")

_WINDSCREEN_M = (1.9, 0.0, 1.4)
_OVERSAMPLING = 2
"""Pictures are drawn this much finer and then averaged."""
_PANEL_PX = (480, 320)
_USER_DISTANCE_M = 20.0
_ROAD_M, _SUN_WORTH_M = 70.0, 30.0
_COLOURS = {
    AgentKind.VAN: 0,
    AgentKind.TRUCK: 7,
    AgentKind.BUS: 11,
    AgentKind.CYCLIST: 8,
    AgentKind.CHILD: 10,
}
"""Paints of road users; others get _COLOUR."""
_COLOUR = 5
_STAGE_M = (32.0, 9.0, 3.0)
"""How far ahead and to either side the stage is cleared, and of boxes up to which half size."""
_SIGN_DISTANCES_M = (10.0, 30.0)
_SIGN_PX, _SIGN_COLUMNS = 144, 8
_SIGN_PICTURE_PX = 1280
"""Width of the picture, of 45 degrees, that the signs are cut from."""
_SIGN_HALF_M = 0.4
_WORLDS, _AGENTS, _WARM_UP_STEPS, _ROUTES = 32, 48, 150, 1_000
_VIEW_M, _VIEW_HALF_ANGLE_RAD = (6.0, 45.0), 0.5
_SCENARIO_SEED, _LONGEST_STEPS = 1, 600
_ACTOR_M, _ASIDE_WORTH_M, _CHILD_WORTH_M = 13.0, 40.0, 20.0
"""An actor is seen best at this distance; a radian to the side, and a child, count like that many metres."""


def write_gallery(
    library: TownLibrary, out: Path, progress: Callable[[float], None] | None = None
) -> list[Path]:
    """Write all pictures as PNG into the folder `out`; returns their paths, in the order of the gallery.

    Raises:
        MapError: a town cannot be made, or has no place for a scenario.
        StorageError: the folder cannot be written.
    """
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    world = library.world([WEATHER_TOWN])
    steps: list[Iterator[Path]] = [
        _weathers(world, out),
        _road_users(world, out),
        _signs(world, out),
        _towns(library, out),
        _scenarios(library, out),
    ]
    count = len(Weather) + 1 + len(AgentKind) - 1 + 1 + len(TOWNS) + len(FAMILIES)
    written: list[Path] = []
    for step in steps:
        for path in step:
            written.append(path)
            if progress is not None:
                progress(len(written) / count)
    return written


def _save(picture: UInt8[np.ndarray, "height width 3"], path: Path) -> Path:
    # A palette makes the files a quarter of the size, for they shall go into the documents.
    with replacing_file(path) as partial:
        Image.fromarray(picture).quantize(256).save(partial, "PNG", optimize=True)
    return path


def _photograph(
    world: World, scene: Scene, weather: Weather, size: tuple[int, int], degrees: float, pitch: float = 0.0
) -> UInt8[np.ndarray, "height width 3"]:
    """What a camera behind the windscreen sees, averaged from more pixels; size is width and height."""
    width, height = (edge * _OVERSAMPLING for edge in size)
    camera = Camera("gallery", _WINDSCREEN_M, 0.0, pitch, math.radians(degrees), width, height)
    picture = render(world, CameraRig(((camera,),)), scene, appearance_of(weather, 1))[0][0, 0]
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def _row_of(scene: Scene, w: int) -> Scene:
    return Scene(*(np.ascontiguousarray(array[w : w + 1]) for array in scene))


def _busy_moment(world: World) -> Scene:
    """A moment of traffic with many road users ahead, the same every time."""
    rollout = Rollout(world, make_routes(1, [0], _ROUTES, 500.0), worlds=_WORLDS, agents=_AGENTS)
    for _ in range(_WARM_UP_STEPS):
        rollout.decide()
        rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
    rollout.observe(DEFAULT_RIG)
    scene = rollout.scene
    offset = scene.agent_pose[:, :, :2] - scene.ego_pose[:, None, :2]
    bearing = np.arctan2(offset[..., 1], offset[..., 0]) - scene.ego_pose[:, 2:]
    bearing = np.abs((bearing + np.pi) % (2.0 * np.pi) - np.pi)
    distance = np.hypot(offset[..., 0], offset[..., 1])
    seen = (scene.agent_kind != AgentKind.NONE) & (bearing < _VIEW_HALF_ANGLE_RAD)
    seen &= (distance > _VIEW_M[0]) & (distance < _VIEW_M[1])
    kinds = [len(np.unique(scene.agent_kind[w][seen[w]])) for w in range(_WORLDS)]
    return _row_of(scene, int(np.argmax(seen.sum(axis=1) + 2 * np.array(kinds))))


def _weathers(world: World, out: Path) -> Iterator[Path]:
    """One moment under every weather, and what the eight cameras see of it."""
    scene = _busy_moment(world)
    for weather in Weather:
        yield _save(_photograph(world, scene, weather, (960, 540), 70.0), out / f"weather-{weather}.png")
    rows = []
    for rig, scale in ((scaled_rig(DEFAULT_RIG, 4), 1), (DEFAULT_RIG, 4)):
        images = render(world, rig, scene, appearance_of(Weather.CLEAR, 1))
        rows.append(mosaic([group[0] for group in images], rig, scale))
    yield _save(np.concatenate(rows), out / "cameras.png")


def _straight_road(world: World) -> np.ndarray:
    """Pose near the start of a long straight lane that cars use; of the long ones, the one with the sun behind."""
    sun = appearance_of(Weather.CLEAR, 1).sun_direction[0]
    best, pose = -math.inf, np.zeros(3, np.float32)
    for lane in np.flatnonzero((world.lane_kind == LaneKind.ROAD) & (world.lane_use & LaneUse.MOTOR > 0)):
        first, count = int(world.lane_first_point[lane]), int(world.lane_point_count[lane])
        heading, length = float(world.headings[first]), float(world.lane_length_m[lane])
        lit = -(math.cos(heading) * float(sun[0]) + math.sin(heading) * float(sun[1]))
        worth = min(length, _ROAD_M) + _SUN_WORTH_M * lit
        if worth > best and np.abs(world.curvatures[first : first + count]).max() < 0.002:
            best = worth
            index = first + min(round(10.0 / float(world.lane_spacing_m[lane])), count - 1)
            pose = np.array([*world.points[index], world.headings[index]], np.float32)
    return pose


def _without_boxes_ahead(world: World, ego: np.ndarray) -> World:
    """The world without what stands on and beside the road ahead of the learner; put below the ground."""
    boxes = world.boxes.copy()
    offset = boxes[:, :2] - ego[:2]
    ahead = math.cos(ego[2]) * offset[:, 0] + math.sin(ego[2]) * offset[:, 1]
    aside = math.cos(ego[2]) * offset[:, 1] - math.sin(ego[2]) * offset[:, 0]
    small = boxes[:, 4:6].max(axis=1) < _STAGE_M[2]
    boxes[small & (ahead > 0.0) & (ahead < _STAGE_M[0]) & (np.abs(aside) < _STAGE_M[1]), 2] = -100.0
    return world._replace(boxes=boxes)


def _staged(ego: np.ndarray, kind: AgentKind, distance_m: float, turned: float, lights: int = 0) -> Scene:
    """One road user, its middle straight ahead of the learner, turned from the learner's heading."""
    pose = np.zeros((1, SCENE_AGENTS, 3), np.float32)
    yaw = ego[2] + turned
    length, _, _, overhang = (float(value) for value in VEHICLE_SIZES[kind])
    back = length / 2.0 - overhang
    along = np.array([math.cos(ego[2]), math.sin(ego[2])]) * (distance_m + _WINDSCREEN_M[0])
    pose[0, 0] = (*(ego[:2] + along - back * np.array([math.cos(yaw), math.sin(yaw)])), yaw)
    kinds = np.full((1, SCENE_AGENTS), AgentKind.NONE, np.uint8)
    kinds[0, 0] = kind
    row = np.zeros((1, SCENE_AGENTS), np.uint8)
    colours, shown = row.copy(), row.copy()
    colours[0, 0], shown[0, 0] = _COLOURS.get(kind, _COLOUR), lights
    town, clock_s = np.zeros(1, np.int32), np.full(1, 0.2, np.float32)
    return Scene(town, clock_s, ego[None], pose, kinds, colours, shown)


def _road_users(world: World, out: Path) -> Iterator[Path]:
    """Every kind from behind, from ahead and from the side, at night, and as the network sees it at 20 m."""
    ego = _straight_road(world)
    world = _without_boxes_ahead(world, ego)
    for kind in AgentKind:
        if kind is AgentKind.NONE:
            continue
        length, width, height, _ = (float(value) for value in VEHICLE_SIZES[kind])
        distance = 2.0 + 1.9 * max(length, 1.6 * width, 1.4 * height)
        pitch = math.atan2(height / 2.0 - _WINDSCREEN_M[2], distance)
        views = (
            ("from behind", Weather.CLEAR, 0.6, 0),
            ("from ahead", Weather.CLEAR, math.pi + 0.6, 0),
            ("from the side", Weather.CLEAR, -math.pi / 2.0, 0),
            ("at night, braking", Weather.NIGHT, 0.4, 1),
            ("at night, oncoming", Weather.NIGHT, math.pi - 0.3, 2),
        )
        panels = []
        for title, weather, turned, lights in views:
            scene = _staged(ego, kind, distance, turned, lights)
            panels.append((title, _photograph(world, scene, weather, _PANEL_PX, 45.0, pitch)))
        scene = _staged(ego, kind, _USER_DISTANCE_M, 0.6)
        narrow = CameraRig(groups=(DEFAULT_RIG.groups[0][:1],))
        small = render(world, narrow, scene, appearance_of(Weather.CLEAR, 1))[0][0, 0]
        panels.append(("20 m away, 96 x 64 pixels", small))
        pictures = [np.asarray(labelled(picture, title, _PANEL_PX[0])) for title, picture in panels]
        rows = [np.concatenate(pictures[first : first + 3], axis=1) for first in (0, 3)]
        yield _save(np.concatenate(rows), out / f"road-user-{kind.name.lower()}.png")


def _with_sign(world: World, ego: np.ndarray, face: np.ndarray, distance_m: float) -> World:
    """The world with nothing beside its roads but one sign, ahead of the learner and facing it."""
    x, y = ego[:2] + (distance_m + _WINDSCREEN_M[0]) * np.array([math.cos(ego[2]), math.sin(ego[2])])
    column, row = np.floor((np.array([x, y]) - world.town_origin_m[0]) / BOX_CELL_M).astype(int)
    cell = int(world.town_first_cell[0]) + row * int(world.town_cells_shape[0, 1]) + column
    start = (np.arange(len(world.sign_start)) > cell).astype(np.int32)
    sign = [x, y, _WINDSCREEN_M[2], ego[2] + math.pi, _SIGN_HALF_M, _SIGN_HALF_M]
    return world._replace(
        cell_start=np.zeros_like(world.cell_start),
        sign_start=start,
        signs=np.array([sign], np.float32),
        sign_image=np.zeros(1, np.int32),
        sign_images=face[None],
    )


def _signs(world: World, out: Path) -> Iterator[Path]:
    """Every sign as a person reads it in a picture, 1280 pixels for 45 degrees, near and 30 m away."""
    ego = _straight_road(world)
    tiles = []
    height = _SIGN_PX * 2
    for key in EXAMPLE_SIGNS:
        for distance in _SIGN_DISTANCES_M:
            stage = _with_sign(world, ego, sign_face(key), distance)
            scene = _nobody(ego)
            camera = Camera("signs", _WINDSCREEN_M, 0.0, 0.0, math.radians(45.0), _SIGN_PICTURE_PX, height)
            picture = render(stage, CameraRig(((camera,),)), scene, appearance_of(Weather.CLEAR, 1))[0][0, 0]
            top, left = (height - _SIGN_PX) // 2, (_SIGN_PICTURE_PX - _SIGN_PX) // 2
            cut = np.ascontiguousarray(picture[top : top + _SIGN_PX, left : left + _SIGN_PX])
            tiles.append(np.asarray(labelled(cut, f"{key.replace(':', ' ')}, {distance:.0f} m", _SIGN_PX)))
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % _SIGN_COLUMNS)
    rows = [
        np.concatenate(tiles[first : first + _SIGN_COLUMNS], axis=1)
        for first in range(0, len(tiles), _SIGN_COLUMNS)
    ]
    yield _save(np.concatenate(rows), out / "signs.png")


def _nobody(ego: np.ndarray) -> Scene:
    scene = _staged(ego, AgentKind.CAR, 10.0, 0.0)
    scene.agent_kind[:] = AgentKind.NONE
    return scene


def _towns(library: TownLibrary, out: Path) -> Iterator[Path]:
    """Every kind of town from above, and what the cameras of a car in it see."""
    for key in TOWNS:
        path = out / f"town-{key}.png"
        town_preview(library.world([key]), 1, path)
        yield path


def _actors(rollout: Rollout) -> np.ndarray:
    """Which road users of world 0 a scenario has set up; all others if it marks none."""
    state = rollout.state
    marked = (
        (state.script[0] > 0) | (state.kind[0] == AgentKind.BARRIER) | (state.kind[0] == AgentKind.DEBRIS)
    )
    everybody = state.kind[0] != AgentKind.NONE
    chosen = marked if marked.any() else everybody
    chosen[EGO] = False
    return np.flatnonzero(chosen)


def _drive(rollout: Rollout, steps: int) -> Iterator[int]:
    """Let the demonstrator drive until the route ends, `steps` steps at most; yields after each."""
    for step in range(steps):
        rollout.decide()
        rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
        if not rollout.active.any():
            return
        yield step


def _best_step(world: World, name: str) -> int:
    """The step of a scenario at which an actor is best in view of the learner: near, and ahead."""
    rollout = scenario_rollout(world, name, _SCENARIO_SEED)
    actors, best, chosen = _actors(rollout), math.inf, 0
    for step in _drive(rollout, _LONGEST_STEPS):
        pose = rollout.state.pose[0]
        offset = pose[actors, :2] - pose[EGO, :2]
        distance = np.hypot(offset[:, 0], offset[:, 1])
        bearing = np.arctan2(offset[:, 1], offset[:, 0]) - pose[EGO, 2]
        bearing = np.abs((bearing + np.pi) % (2.0 * np.pi) - np.pi)
        away = np.abs(distance - _ACTOR_M) + _ASIDE_WORTH_M * np.maximum(bearing - 0.4, 0.0)
        away = away + np.where(rollout.state.kind[0, actors] == AgentKind.CHILD, -_CHILD_WORTH_M, 0.0)
        if away.min() < best:
            best, chosen = float(away.min()), step
    return chosen


def _scenarios(library: TownLibrary, out: Path) -> Iterator[Path]:
    """Every scenario as its actor is seen best: the road from above and the cameras."""
    world, fine = library.world(SCENARIO_TOWNS), scaled_rig(DEFAULT_RIG, 4)
    overheads: dict[int, Overhead] = {}
    for name in FAMILIES:
        step = _best_step(world, name)
        rollout = scenario_rollout(world, name, _SCENARIO_SEED)
        actors = _actors(rollout)
        for _ in _drive(rollout, step + 1):
            pass
        # The view from above marks actors by their script, which may have come to its end.
        rollout.state.script[0, actors] = np.maximum(rollout.state.script[0, actors], 1)
        town = int(rollout.state.town[0])
        if town not in overheads:
            overheads[town] = Overhead(world, town)
        yield _save(frame(look(rollout, fine), overheads[town], name), out / f"scenario-{name}.png")
