"""The rasteriser's geometry against MuJoCo's renderer: the same boxes, seen by the same cameras."""

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from fleetloop.bench.measure import Measurement, median_of
from fleetloop.bench.peer import PeerMissingError, peer
from fleetloop.core.pinhole import camera_axes, focal_length_px
from fleetloop.core.types import BOX_CELL_M, SCENE_AGENTS, AgentKind, Camera, Scene, World
from fleetloop.progress import stage
from fleetloop.sim.cameras import appearances, equal_rig, render
from fleetloop.sim.cameras.project import NEAR_M

_GRID_CELLS = 6
"""Edge of the square of cells that the boxes stand in; its middle is the town frame's origin."""
_NEAREST_M = 1.0
"""From a camera to the sphere around a box."""


@dataclass(frozen=True)
class GeometrySize:
    """How much is compared."""

    width: int = 320
    height: int = 192
    scenes: int = 16
    boxes: int = 40
    smallest_mask_px: int = 100
    """Masks of single boxes are judged from this size on: a rim of half a pixel is half of a thin pole."""
    seed: int = 7


@dataclass(frozen=True)
class Masks:
    """Pixels that two renderers gave to the boxes of one picture."""

    ours: Bool[np.ndarray, "boxes height width"]
    theirs: Bool[np.ndarray, "boxes height width"]

    def overlaps(self) -> Float64[np.ndarray, "boxes 2"]:
        """Pixels in both masks and pixels in either, of each box."""
        both = (self.ours & self.theirs).sum(axis=(1, 2))
        either = (self.ours | self.theirs).sum(axis=(1, 2))
        return np.stack([both, either], axis=1).astype(np.float64)


def random_boxes(
    generator: np.random.Generator, count: int, cameras: Float64[np.ndarray, "cameras 3"]
) -> Float64[np.ndarray, "count 7"]:
    """Boxes that stand on the ground or float above it: centre x, y, z, yaw, half length, width, height; metres.

    None holds a camera (`cameras` are positions): what a renderer draws of a box from inside is a convention.
    """
    boxes: list[np.ndarray] = []
    while len(boxes) < count:
        distance, bearing = generator.uniform(3.0, 70.0), generator.uniform(-math.pi, math.pi)
        half = np.exp(generator.uniform(math.log(0.15), math.log(5.0), 3))
        lift = generator.uniform(0.0, 3.0) if generator.random() < 0.3 else 0.0
        centre = np.array([distance * math.cos(bearing), distance * math.sin(bearing), half[2] + lift])
        if np.linalg.norm(cameras - centre, axis=1).min() > np.linalg.norm(half) + _NEAREST_M:
            boxes.append(np.array([*centre, generator.uniform(-math.pi, math.pi), *half]))
    return np.array(boxes)


def world_of_boxes(world: World, boxes: Float64[np.ndarray, "count 7"]) -> World:
    """The first town of `world` with these static boxes, black, and no others; no signs and no lamps."""
    origin = -0.5 * _GRID_CELLS * BOX_CELL_M
    cells = np.floor((boxes[:, :2] - origin) / BOX_CELL_M).astype(np.int64)
    cell = cells[:, 1] * _GRID_CELLS + cells[:, 0]
    if (cells < 0).any() or (cells >= _GRID_CELLS).any() or (np.diff(cell) < 0).any():
        raise ValueError("boxes: they must be sorted by cell and within the grid")
    rows = np.concatenate([boxes, np.zeros((len(boxes), 3))], axis=1)
    start = np.searchsorted(cell, np.arange(_GRID_CELLS**2 + 1)).astype(np.int32)
    return world._replace(
        town_origin_m=np.full((1, 2), origin, np.float32),
        town_cells_shape=np.array([[_GRID_CELLS, _GRID_CELLS]], np.int32),
        town_first_cell=np.zeros(1, np.int32),
        cell_start=start,
        boxes=rows.astype(np.float32),
        box_signal=np.full(len(boxes), -1, np.int32),
        box_lamp=np.zeros(len(boxes), np.uint8),
        sign_start=np.zeros_like(start),
        signs=np.zeros((0, 6), np.float32),
        sign_image=np.zeros(0, np.int32),
    )


def _sorted_by_cell(boxes: np.ndarray) -> np.ndarray:
    cells = np.floor(boxes[:, :2] / BOX_CELL_M)
    return boxes[np.lexsort((cells[:, 0], cells[:, 1]))]


def _scene(ego_pose: np.ndarray) -> Scene:
    return Scene(
        town=np.zeros(1, np.int32),
        clock_s=np.zeros(1, np.float32),
        ego_pose=ego_pose[None].astype(np.float32),
        agent_pose=np.zeros((1, SCENE_AGENTS, 3), np.float32),
        agent_kind=np.full((1, SCENE_AGENTS), AgentKind.NONE, np.uint8),
        agent_colour=np.zeros((1, SCENE_AGENTS), np.uint8),
        agent_lights=np.zeros((1, SCENE_AGENTS), np.uint8),
    )


def our_masks(
    world: World, ego_pose: np.ndarray, width: int, height: int
) -> Bool[np.ndarray, "cameras boxes height width"]:
    """The pixels of every box in the pictures of eight cameras: those that change when the box changes colour.

    Args:
        world: of `world_of_boxes`.
        ego_pose: x, y, yaw in metres and radians.
    """
    rig, scene = equal_rig(width, height), _scene(ego_pose)
    look = appearances(np.zeros(1, np.uint64), 0.0)
    dark = render(world, rig, scene, look)[0][0]
    found = []
    for box in range(len(world.boxes)):
        coloured = world.boxes.copy()
        coloured[box, 7:10] = 255.0
        picture = render(world._replace(boxes=coloured), rig, scene, look)[0][0]
        found.append((picture != dark).any(axis=-1))
    return np.stack(found, axis=1)


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.9g}" for value in values)


def mujoco_model(
    mujoco: ModuleType,
    boxes: Float64[np.ndarray, "count 7"],
    cameras: tuple[Camera, ...],
    ego_pose: np.ndarray,
    ground: bool = False,
) -> Any:
    """An MjModel with the same boxes, the same cameras on a car at `ego_pose`, and a plane for the ground if asked for.

    MuJoCo's cameras look along -z, with y up; quaternions begin with the real part.
    """
    cosine, sine = math.cos(ego_pose[2]), math.sin(ego_pose[2])
    turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    lines = []
    for box in boxes:
        quaternion = np.array([math.cos(box[3] / 2.0), 0.0, 0.0, math.sin(box[3] / 2.0)])
        lines.append(
            f'<geom type="box" pos="{_numbers(box[:3])}" quat="{_numbers(quaternion)}" size="{_numbers(box[4:7])}"/>'
        )
    for camera in cameras:
        position = turn @ np.array(camera.position_in_ego) + np.array([*ego_pose[:2], 0.0])
        right, down, _ = camera_axes(camera) @ turn.T
        vertical = 2.0 * math.atan(camera.height / 2.0 / focal_length_px(camera))
        lines.append(
            f'<camera name="{camera.name}" pos="{_numbers(position)}" fovy="{math.degrees(vertical):.9g}" '
            f'xyaxes="{_numbers(np.concatenate([right, -down]))}"/>'
        )
    if ground:
        lines.append('<geom type="plane" size="300 300 1"/>')
    # With an extent of 1, znear is in metres; without samples there is no anti-aliasing, as with us.
    text = (
        f'<mujoco><statistic extent="1"/><visual><map znear="{NEAR_M}" zfar="400"/><quality offsamples="0"/>'
        f'<global offwidth="{cameras[0].width}" offheight="{cameras[0].height}"/></visual>'
        f"<worldbody>{''.join(lines)}</worldbody></mujoco>"
    )
    return mujoco.MjModel.from_xml_string(text)


def mujoco_renderer(mujoco: ModuleType, model: Any, width: int, height: int) -> Any:
    """A mujoco.Renderer without a screen.

    Raises:
        PeerMissingError: OpenGL cannot be had.
    """
    try:
        return mujoco.Renderer(model, height, width)
    except Exception as error:  # EGL and OSMesa raise whatever they please.
        raise PeerMissingError(
            f"mujoco: cannot draw without a screen ({error}); install libegl1 and libgl1-mesa-dri, or set MUJOCO_GL"
        ) from error


def mujoco_masks(
    boxes: np.ndarray, ego_pose: np.ndarray, width: int, height: int
) -> Bool[np.ndarray, "cameras boxes height width"]:
    """The same masks from MuJoCo's segmentation pictures.

    Raises:
        PeerMissingError: MuJoCo or OpenGL cannot be had.
    """
    mujoco = peer("mujoco")
    cameras = equal_rig(width, height).cameras
    model = mujoco_model(mujoco, boxes, cameras, ego_pose)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = mujoco_renderer(mujoco, model, width, height)
    found = []
    try:
        renderer.enable_segmentation_rendering()
        for camera in cameras:
            renderer.update_scene(data, camera.name)
            geoms = renderer.render()[..., 0]
            found.append(geoms[None] == np.arange(len(boxes))[:, None, None])
    finally:
        renderer.close()
    return np.stack(found)


def compare_scene(world: World, size: GeometrySize, number: int) -> list[Masks]:
    """Random boxes and a random pose of the learner's car; the masks of all eight cameras."""
    generator = np.random.default_rng([size.seed, number])
    ego_pose = np.array([*generator.uniform(-5.0, 5.0, 2), generator.uniform(-math.pi, math.pi)])
    ego_pose = ego_pose.astype(np.float32).astype(np.float64)
    cosine, sine = math.cos(ego_pose[2]), math.sin(ego_pose[2])
    places = np.array([camera.position_in_ego for camera in equal_rig(8, 8).cameras])
    in_town = places @ np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    boxes = random_boxes(generator, size.boxes, in_town + np.array([*ego_pose[:2], 0.0]))
    boxes = _sorted_by_cell(boxes.astype(np.float32).astype(np.float64))
    theirs = mujoco_masks(boxes, ego_pose, size.width, size.height)
    ours = our_masks(world_of_boxes(world, boxes), ego_pose, size.width, size.height)
    return [Masks(*pair) for pair in zip(ours, theirs, strict=True)]


def measure_picture_geometry(name: str, world: World, size: GeometrySize) -> Measurement:
    """Share of the boxes' pixels that the two renderers give to different boxes: 100 % (1 - IoU), scene by scene.

    Nothing is drawn at random but by `size.seed`, so every run on one machine gives the same figure.

    Raises:
        PeerMissingError: MuJoCo or OpenGL cannot be had.
    """
    scenes, single = [], []
    with stage(name) as progress:
        for number in range(size.scenes):
            overlaps = np.concatenate([masks.overlaps() for masks in compare_scene(world, size, number)])
            scenes.append(overlaps.sum(axis=0))
            large = overlaps[overlaps[:, 1] >= size.smallest_mask_px]
            single.append(large[:, 0] / large[:, 1])
            progress((number + 1) / size.scenes)
    both, either = np.sum(scenes, axis=0)
    ratios = np.concatenate(single)
    note = (
        f"of the pixels of boxes differ from MuJoCo {peer('mujoco').__version__}; {size.scenes} scenes of {size.boxes} "
        f"random boxes, eight cameras of {size.width}x{size.height}; mask IoU of all pixels {both / either:.5f}, of "
        f"{len(ratios)} masks of {size.smallest_mask_px} pixels or more: lowest {ratios.min():.3f}, "
        f"mean {ratios.mean():.4f}"
    )
    return median_of(
        name,
        [100.0 * float(1.0 - both / either) for both, either in scenes],
        "%",
        note,
        intersection_over_union=float(both / either),
        pixels=int(either),
        masks=len(ratios),
        lowest_mask=float(ratios.min()),
        mean_mask=float(ratios.mean()),
        share_of_masks_below_098=float((ratios < 0.98).mean()),
        seed=size.seed,
    )
