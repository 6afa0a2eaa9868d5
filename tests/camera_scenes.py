"""Made-up moments and worlds that the tests of the cameras share."""

import functools

import numpy as np

from fleetloop.core.types import (
    BOX_CELL_M,
    SCENE_AGENTS,
    SIGN_PIXELS,
    STREET_LAMP,
    AgentKind,
    Camera,
    CameraRig,
    Scene,
    World,
)
from fleetloop.sim.cameras import DEFAULT_RIG, Appearance, appearances, render, scaled_rig
from toy_world import toy_world

EGO_X_M = -120.0
"""On the main road, too far from the crossing to see its lamps."""

GREY_TOLERANCE = 3
"""Grey levels by which float32 and the order of rounding may change a channel."""

DISAGREEING_SHARE = 0.012
"""Of pixels: rims of boxes, and samples of the ground on the border of two surfaces, may fall either way."""


def empty_scene(*ego_poses: tuple[float, float, float], clock_s: float = 0.0) -> Scene:
    batch = len(ego_poses)
    return Scene(
        town=np.zeros(batch, np.int32),
        clock_s=np.full(batch, clock_s, np.float32),
        ego_pose=np.array(ego_poses, np.float32),
        agent_pose=np.zeros((batch, SCENE_AGENTS, 3), np.float32),
        agent_kind=np.full((batch, SCENE_AGENTS), AgentKind.NONE, np.uint8),
        agent_colour=np.zeros((batch, SCENE_AGENTS), np.uint8),
        agent_lights=np.zeros((batch, SCENE_AGENTS), np.uint8),
    )


def nominal(batch: int) -> Appearance:
    return appearances(np.arange(batch, dtype=np.uint64), 0.0)


def only(camera: Camera) -> CameraRig:
    return CameraRig(groups=((camera,),))


def front_main(factor: int = 1) -> Camera:
    return scaled_rig(DEFAULT_RIG, factor).groups[0][1]


def sign_face() -> np.ndarray:
    """Left half red, right half blue, the uppermost quarter yellow, round."""
    face = np.zeros((SIGN_PIXELS, SIGN_PIXELS, 4), np.uint8)
    face[:, :24, 0], face[:, 24:, 2] = 220, 220
    face[:12, :, :3] = (230, 220, 20)
    rows, columns = np.indices(face.shape[:2]) + 0.5 - SIGN_PIXELS / 2
    face[np.hypot(rows, columns) < 24.0, 3] = 255
    return face


def with_signs(world: World, signs: np.ndarray) -> World:
    """The world with these signs (rows as in World.signs), all with the face of `sign_face`."""
    columns = int(world.town_cells_shape[0, 1])
    cells = np.floor((signs[:, :2] - world.town_origin_m[0]) / BOX_CELL_M).astype(int)
    cell = cells[:, 1] * columns + cells[:, 0]
    order = np.argsort(cell, kind="stable")
    return world._replace(
        signs=signs[order].astype(np.float32),
        sign_start=np.searchsorted(cell[order], np.arange(len(world.cell_start))).astype(np.int32),
        sign_image=np.zeros(len(signs), np.int32),
        sign_images=sign_face()[None],
    )


@functools.lru_cache
def signed_world() -> World:
    """The toy town with signs on both sides of the main road, and every other tree a street lamp."""
    places = [(x, side * 5.0, 2.2) for x in np.arange(-190.0, 190.0, 24.0) for side in (-1.0, 1.0)]
    signs = [(*place, np.pi if place[1] < 0 else 0.2, 0.45, 0.4) for place in places]
    world = toy_world()
    crowns = np.flatnonzero((world.boxes[:, 6] == np.float32(1.4)) & (world.boxes[:, 4] < 1.5))[::2]
    boxes, lamps = world.boxes.copy(), world.box_lamp.copy()
    boxes[crowns, 4:7], boxes[crowns, 2], boxes[crowns, 7:10] = (0.3, 0.3, 0.1), 5.0, (255.0, 220.0, 160.0)
    lamps[crowns] = STREET_LAMP
    return with_signs(world._replace(boxes=boxes, box_lamp=lamps), np.array(signs))


def one_agent(
    kind: AgentKind, distance_m: float, yaw: float = 0.0, lights: int = 0, colour: int = 4
) -> Scene:
    """The learner on the main road, somebody straight ahead."""
    scene = empty_scene((EGO_X_M, -1.75, 0.0))
    scene.agent_pose[0, 0] = (EGO_X_M + distance_m, -1.75, yaw)
    scene.agent_kind[0, 0] = kind
    scene.agent_lights[0, 0] = lights
    scene.agent_colour[0, 0] = colour
    return scene


def lit_pixels(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(image - np.array(colour)) < 8).all(axis=-1).sum())


def drawn_by(world: World, camera: Camera, scene: Scene, look: Appearance | None = None) -> np.ndarray:
    return render(world, only(camera), scene, look or nominal(1))[0][0, 0].astype(int)


def faultless(look: Appearance) -> Appearance:
    """Without what the reference does not draw."""
    nothing = np.zeros(len(look.exposure), np.float32)
    return look._replace(noise=nothing, rain=nothing, glare=nothing)
