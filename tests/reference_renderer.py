"""A slow, obvious renderer: every ray against every box, in float64. Only tests use it."""

import math

import numpy as np

from fleetloop.core.types import (
    METRES_PER_PIXEL,
    TILE_PIXELS,
    VEHICLE_SIZES,
    Camera,
    Scene,
    SignalColour,
    Surface,
    World,
)
from fleetloop.sim.cameras.appearance import Appearance
from fleetloop.sim.cameras.parts import (
    BRAKE_COLOUR,
    MATERIAL_COLOURS,
    PART_START,
    PARTS,
    Material,
    SeenFrom,
)
from fleetloop.sim.cameras.project import NEAR_M, camera_axes, focal_length_px
from fleetloop.sim.signals import signal_colour


def _agent_boxes(scene: Scene, look: Appearance, b: int) -> list[tuple]:
    """(centre, yaw, half sizes, colour, glows) of the road users' parts, town frame."""
    ego, found = scene.ego_pose[b].astype(np.float64), []
    blinks = math.floor(float(scene.clock_s[b]) * 3.0) % 2 == 0
    for i, kind in enumerate(scene.agent_kind[b]):
        if kind >= len(VEHICLE_SIZES):
            continue
        x, y, yaw = scene.agent_pose[b, i].astype(np.float64)
        distance = math.hypot(x - ego[0], y - ego[1])
        ahead_of_it = math.cos(yaw) * (ego[0] - x) + math.sin(yaw) * (ego[1] - y) > 0
        lights = int(scene.agent_lights[b, i])
        for part in PARTS[PART_START[kind] : PART_START[kind + 1]].astype(np.float64):
            material, seen_from = Material(int(part[6])), SeenFrom(int(part[7]))
            hidden = seen_from is (SeenFrom.BEHIND if ahead_of_it else SeenFrom.FRONT)
            bit = {Material.INDICATOR_LEFT: 2, Material.INDICATOR_RIGHT: 4}.get(material)
            if hidden or distance > part[8] or (bit and not (blinks and lights & bit)):
                continue
            glows = bit is not None or material is Material.HEAD or (material is Material.TAIL and lights & 1)
            colour = MATERIAL_COLOURS[material].astype(np.float64)
            if material is Material.PAINT:
                colour = look.paint[b, scene.agent_colour[b, i] % look.paint.shape[1]].astype(np.float64)
            elif material is Material.TAIL and glows:
                colour = np.array(BRAKE_COLOUR)
            if not glows:
                colour = colour * look.exposure[b]
            centre = (
                x + math.cos(yaw) * part[0] - math.sin(yaw) * part[1],
                y + math.sin(yaw) * part[0] + math.cos(yaw) * part[1],
                part[2],
            )
            found.append((np.array(centre), yaw, part[3:6], colour, bool(glows)))
    return found


def _static_boxes(world: World, scene: Scene, look: Appearance, b: int) -> list[tuple]:
    ego, found = scene.ego_pose[b].astype(np.float64), []
    for box, signal, lamp in zip(
        world.boxes.astype(np.float64), world.box_signal, world.box_lamp, strict=True
    ):
        distance = math.hypot(box[0] - ego[0], box[1] - ego[1])
        half, colour, glows = box[4:7], box[7:10] * look.static_tint[b] * look.exposure[b], False
        if distance - max(half[0], half[1]) > 110.0:
            continue
        if signal >= 0:
            shown = signal_colour(world, signal, scene.clock_s[b])
            glows = (SignalColour.GREEN if shown == SignalColour.GREEN_YIELD else shown) == lamp
            if not glows and distance > 45.0:
                continue
            half = np.maximum(half, 0.0045 * distance) if glows else half
            colour = box[7:10] if glows else colour * 0.12
        found.append((box[:3], box[3], half, colour, glows))
    return found


def _hits(origin: np.ndarray, rays: np.ndarray, centre: np.ndarray, yaw: float, half: np.ndarray) -> tuple:
    """Distance along each ray (in lengths of the ray) to a box, inf for none, and the axis that is hit.

    Only faces that look at the origin count, and only beyond the near plane.
    """
    turn = np.array([[math.cos(yaw), math.sin(yaw), 0], [-math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
    start, directions = turn @ (origin - centre), rays @ turn.T
    best, hit_axis = np.full(len(rays), np.inf), np.zeros(len(rays), int)
    for axis in range(3):
        if abs(start[axis]) <= half[axis]:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (math.copysign(half[axis], start[axis]) - start[axis]) / directions[:, axis]
            points = start + t[:, None] * directions
        others = [k for k in range(3) if k != axis]
        hit = (t >= NEAR_M) & (t < best) & (np.abs(points[:, others]) <= half[others]).all(axis=1)
        best[hit], hit_axis[hit] = t[hit], axis
    return best, hit_axis, np.sign(start)


def _surface(world: World, town: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    rows, columns = world.town_tiles_shape[town]
    column = np.floor((x - world.town_origin_m[town, 0]) / METRES_PER_PIXEL).astype(int)
    row = np.floor((y - world.town_origin_m[town, 1]) / METRES_PER_PIXEL).astype(int)
    inside = (row >= 0) & (column >= 0) & (row < rows * TILE_PIXELS) & (column < columns * TILE_PIXELS)
    row, column = np.where(inside, row, 0), np.where(inside, column, 0)
    cell = world.town_first_tile[town] + row // TILE_PIXELS * columns + column // TILE_PIXELS
    surface = world.tiles[world.tile_index[cell], row % TILE_PIXELS, column % TILE_PIXELS]
    return np.where(inside, surface, Surface.GRASS)


def _haze(look: Appearance, b: int, colour: np.ndarray, depth: float, share: float = 1.0) -> np.ndarray:
    start, end = float(look.fog_start_m[b]), float(look.fog_end_m[b])
    fog = share * min(max((depth - start) / (end - start), 0.0), 1.0)
    horizon = np.minimum(look.sky_horizon[b] * look.exposure[b], 255.0)
    colour = np.minimum(colour, 255.0)
    return colour + fog * (horizon - colour)


def _background(world: World, camera: Camera, scene: Scene, look: Appearance, b: int) -> np.ndarray:
    """Sky and ground, [height, width, 3]."""
    focal, (right, down, forward) = focal_length_px(camera), camera_axes(camera)
    camera_height = camera.position_in_ego[2]
    horizon, zenith = (
        np.minimum(c[b] * look.exposure[b], 255.0) for c in (look.sky_horizon, look.sky_zenith)
    )
    lit = look.ambient[b] + look.sun[b] * max(float(look.sun_direction[b, 2]), 0.0)
    palette = look.surfaces[b] * lit * look.exposure[b]
    x0, y0, yaw = scene.ego_pose[b].astype(np.float64)
    image = np.empty((camera.height, camera.width, 3))
    columns = np.arange(camera.width) - camera.width / 2
    patterns = {1: [(0.5, 0.5)], 2: [(0.25, 0.75), (0.75, 0.25)]}
    patterns[4] = [(0.125, 0.375), (0.375, 0.125), (0.625, 0.875), (0.875, 0.625)]
    for row in range(camera.height):
        middle = forward + (row + 0.5 - camera.height / 2) / focal * down
        if -middle[2] * 400.0 <= camera_height:
            share = min(max(2.2 * middle[2] / np.linalg.norm(middle), 0.0), 1.0)
            image[row] = horizon + share * (zenith - horizon)
            continue
        depth = camera_height / -middle[2]
        footprint = max(depth / focal, depth**2 / focal / camera_height / 6.0)
        samples = 4 if footprint > 0.2 else 2 if footprint > 0.1 else 1
        total = np.zeros((camera.width, 3))
        for below, beside in patterns[samples]:
            rays = forward + (row + below - camera.height / 2) / focal * down
            rays = rays + ((columns + beside) / focal)[:, None] * right
            t = camera_height / np.maximum(-rays[:, 2], camera_height / 400.0)
            x, y = (camera.position_in_ego[k] + t * rays[:, k] for k in (0, 1))
            surface = _surface(
                world,
                int(scene.town[b]),
                x0 + math.cos(yaw) * x - math.sin(yaw) * y,
                y0 + math.sin(yaw) * x + math.cos(yaw) * y,
            )
            total += palette[surface].clip(max=255.0)
        image[row] = _haze(look, b, total / samples, depth)
    return image


def picture(world: World, camera: Camera, scene: Scene, look: Appearance, b: int) -> np.ndarray:
    """What the camera sees in scene b of the batch, [height, width, 3], float; without noise."""
    focal, axes = focal_length_px(camera), camera_axes(camera)
    x0, y0, yaw = scene.ego_pose[b].astype(np.float64)
    turn = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
    origin = turn @ np.asarray(camera.position_in_ego) + (x0, y0, 0.0)
    axes = axes @ turn.T
    u = (np.arange(camera.width) + 0.5 - camera.width / 2) / focal
    v = (np.arange(camera.height) + 0.5 - camera.height / 2) / focal
    rays = (axes[2] + u[None, :, None] * axes[0] + v[:, None, None] * axes[1]).reshape(-1, 3)
    image = _background(world, camera, scene, look, b).reshape(-1, 3)
    nearest = np.full(len(rays), np.inf)
    for centre, box_yaw, half, colour, glows in _agent_boxes(scene, look, b) + _static_boxes(
        world, scene, look, b
    ):
        depth = (centre - origin) @ axes[2]
        if depth < -np.linalg.norm(half):
            continue
        t, axis, side = _hits(origin, rays, centre, box_yaw, half)
        normals = (
            np.array(
                [
                    [math.cos(box_yaw), math.sin(box_yaw), 0],
                    [-math.sin(box_yaw), math.cos(box_yaw), 0],
                    [0, 0, 1],
                ]
            )
            * side[:, None]
        )
        for face in range(3):
            hit = (t < nearest) & (axis == face)
            shade = look.ambient[b] + look.sun[b] * max(float(normals[face] @ look.sun_direction[b]), 0.0)
            face_depth = float(depth + half[face] * normals[face] @ axes[2])
            lit = colour if glows else colour * shade
            image[hit] = _haze(look, b, lit, face_depth, 0.25 if glows else 1.0)
            nearest[hit] = t[hit]
    return image.reshape(camera.height, camera.width, 3)
