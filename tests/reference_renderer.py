"""A slow, obvious renderer: every ray against every box and sign, in float64. Only tests use it.

It draws neither the halos of lamps nor what rain does to the picture itself nor noise.
"""

import math
from typing import NamedTuple

import numpy as np

from fleetloop.core.pinhole import camera_axes, focal_length_px
from fleetloop.core.types import (
    METRES_PER_PIXEL,
    SIGN_PIXELS,
    STREET_LAMP,
    TILE_PIXELS,
    VEHICLE_SIZES,
    Camera,
    Scene,
    SignalColour,
    Surface,
    World,
)
from fleetloop.sim.cameras.appearance import Appearance
from fleetloop.sim.cameras.boxes import SMALLEST_PX
from fleetloop.sim.cameras.gather import LIT_FROM, WET_DARKER, WETTED
from fleetloop.sim.cameras.ground import (
    BLENDED_FOCAL_PX,
    BLENDED_M,
    RIM_SHARPNESS,
    STRAIGHT_MIRROR,
    WET_MIRROR,
)
from fleetloop.sim.cameras.materials import (
    BEACON_COLOUR,
    BLUE_COLOUR,
    BRAKE_COLOUR,
    MATERIAL_COLOURS,
    SECOND_PAINT_STEP,
    STRIDE_M,
    TAIL_COLOUR,
    Material,
    SeenFrom,
)
from fleetloop.sim.cameras.parts import PART_START, PARTS
from fleetloop.sim.cameras.project import NEAR_M
from fleetloop.sim.cameras.signs import BACK_COLOUR, RETROREFLECTION, SHADED
from fleetloop.sim.cameras.statics import BUILDING_HALF_M
from fleetloop.sim.cameras.windows import (
    DARK_GLASS,
    DIMMEST_WINDOW,
    GLASS_MIRROR,
    GLASS_SHARE,
    LIT_WINDOWS,
    SMALLEST_CELL_PX,
    WINDOW_CELL_M,
    WINDOW_COLOUR,
    WINDOW_FROM,
    WINDOW_TO,
)
from fleetloop.sim.signals import signal_colour
from reference_lamps import Lamp, lamp_light, lamps_of, mirrored, strength_of


class _Box(NamedTuple):
    """Town frame, metres; colours exposed and tinted."""

    centre: np.ndarray
    yaw: float
    half: np.ndarray
    colour: np.ndarray
    glows: bool
    pattern: int = 0


class _Pixels(NamedTuple):
    """What each ray of a picture sees, before it is lit."""

    albedo: np.ndarray
    normal: np.ndarray
    depth: np.ndarray
    point: np.ndarray
    wet: np.ndarray
    slope: np.ndarray
    """Sine of the angle under which the middle of the pixel's row looks down."""
    final: np.ndarray
    """True where albedo is the colour to show already."""


def _glow_and_colour(
    material: Material, lights: int, clock_s: float, dark: bool
) -> tuple[bool | None, tuple[float, ...]]:
    """Whether a part is lit (None: it is not there), and its colour."""
    blinks = math.floor(clock_s * 3.0) % 2 == 0
    flash_left = math.floor(clock_s * 4.0) % 2 == 0
    plain = tuple(MATERIAL_COLOURS[material].astype(float))
    if material in (Material.INDICATOR_LEFT, Material.INDICATOR_RIGHT):
        bit = 2 if material is Material.INDICATOR_LEFT else 4
        return (True if blinks and lights & bit else None), plain
    if material is Material.TAIL:
        return bool(lights & 1 or dark), BRAKE_COLOUR if lights & 1 else TAIL_COLOUR if dark else plain
    if material in (Material.BLUE_LEFT, Material.BLUE_RIGHT):
        lit = (material is Material.BLUE_LEFT) == flash_left
        return lit, BLUE_COLOUR if lit else plain
    if material is Material.BEACON:
        return blinks, BEACON_COLOUR if blinks else plain
    return material in (Material.HEAD, Material.SIGN_LIT), plain


def _agent_boxes(scene: Scene, look: Appearance, b: int, detail: float) -> list[_Box]:
    """The road users' parts, town frame."""
    ego, found = scene.ego_pose[b].astype(np.float64), []
    dark = float(look.darkness[b]) >= LIT_FROM
    for i, kind in enumerate(scene.agent_kind[b]):
        if kind >= len(VEHICLE_SIZES):
            continue
        x, y, yaw = scene.agent_pose[b, i].astype(np.float64)
        cosine, sine = math.cos(yaw), math.sin(yaw)
        distance = math.hypot(x - ego[0], y - ego[1])
        ahead, aside = (
            cosine * (ego[0] - x) + sine * (ego[1] - y),
            cosine * (ego[1] - y) - sine * (ego[0] - x),
        )
        hidden = (SeenFrom.BEHIND if ahead > 0 else SeenFrom.FRONT) | (
            SeenFrom.RIGHT if aside > 0 else SeenFrom.LEFT
        )
        gait = math.sin(2.0 * math.pi / STRIDE_M * (x * cosine + y * sine))
        lights = int(scene.agent_lights[b, i])
        for part in PARTS[PART_START[kind] : PART_START[kind + 1]].astype(np.float64):
            material = Material(int(part[6]))
            lit, colour = _glow_and_colour(material, lights, float(scene.clock_s[b]), dark)
            range_m = part[8] * detail * (2.5 if dark and lit else 1.0)
            if SeenFrom(int(part[7])) & hidden or distance > range_m or lit is None:
                continue
            if material in (Material.PAINT, Material.SECOND_PAINT):
                row = int(scene.agent_colour[b, i])
                row += SECOND_PAINT_STEP if material is Material.SECOND_PAINT else 0
                colour = look.paint[b, row % look.paint.shape[1]].astype(np.float64)
            colour = np.array(colour) * (1.0 if lit else look.exposure[b])
            along = part[0] + part[9] * gait
            centre = (x + cosine * along - sine * part[1], y + sine * along + cosine * part[1], part[2])
            half = part[3:6].copy()
            if dark and lit:
                half[1:] = np.maximum(half[1:], 0.0022 * distance)
            found.append(_Box(np.array(centre), yaw, half, colour, lit))
    return found


def _pattern(box: np.ndarray) -> int:
    """Of the lit windows of a building, 0 for what is none."""
    if (box[4:7] < np.array(BUILDING_HALF_M, np.float32)).any():
        return 0
    across = math.floor(np.float32(box[0]) * np.float32(7.0))
    return 1 + abs(across + 64 * math.floor(box[1])) % 4096


def _static_boxes(world: World, scene: Scene, look: Appearance, b: int) -> list[_Box]:
    ego, found = scene.ego_pose[b].astype(np.float64), []
    dark = float(look.darkness[b]) >= LIT_FROM
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
        elif lamp == STREET_LAMP and dark:
            glows, colour = True, box[7:10]
        found.append(_Box(box[:3], box[3], half, colour, bool(glows), _pattern(box)))
    return found


def _window(box: _Box, side: int, points: np.ndarray) -> np.ndarray:
    """0 for wall, 1 for dark glass, above for lit windows. Sides 0 and 1 are the ends, 2 and 3 the others."""
    along = np.array([math.cos(box.yaw), math.sin(box.yaw)])
    if side < 2:
        along = np.array([-along[1], along[0]])
    across = (points[:, :2] - box.centre[:2]) @ along / WINDOW_CELL_M[0] + 128.0
    up = (points[:, 2] - box.centre[2] + box.half[2]) / WINDOW_CELL_M[1]
    column, floor = np.trunc(across).astype(np.int64), np.trunc(up).astype(np.int64)
    glass = (across - column > WINDOW_FROM[0]) & (across - column < WINDOW_TO[0])
    glass &= (up - floor > WINDOW_FROM[1]) & (up - floor < WINDOW_TO[1])
    glass &= (floor + 1) * WINDOW_CELL_M[1] < 2.0 * box.half[2] + 0.5
    value = (box.pattern * 262144 + column * 512 + floor * 4 + side) & 0xFFFFFFFF
    value = ((value ^ (value >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    value = ((value ^ (value >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return np.where(glass, 1.0 + np.maximum(LIT_WINDOWS - ((value >> 16) & 255), 0) / LIT_WINDOWS, 0.0)


def _hits(origin: np.ndarray, rays: np.ndarray, box: _Box) -> tuple:
    """Distance along each ray (in lengths of the ray) to a box, inf for none, the axis that is hit, the sides.

    Only faces that look at the origin count, and only beyond the near plane.
    """
    cosine, sine = math.cos(box.yaw), math.sin(box.yaw)
    turn = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    start, directions = turn @ (origin - box.centre), rays @ turn.T
    best, hit_axis = np.full(len(rays), np.inf), np.zeros(len(rays), int)
    for axis in range(3):
        if abs(start[axis]) <= box.half[axis]:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (math.copysign(box.half[axis], start[axis]) - start[axis]) / directions[:, axis]
            points = start + t[:, None] * directions
        others = [k for k in range(3) if k != axis]
        hit = (t >= NEAR_M) & (t < best) & (np.abs(points[:, others]) <= box.half[others]).all(axis=1)
        best[hit], hit_axis[hit] = t[hit], axis
    return best, hit_axis, turn * np.sign(start)[:, None]


def _surface(world: World, town: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Surfaces at places in pixels of the town's ground."""
    rows, columns = world.town_tiles_shape[town]
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    inside = (row >= 0) & (column >= 0) & (row < rows * TILE_PIXELS) & (column < columns * TILE_PIXELS)
    row, column = np.where(inside, row, 0), np.where(inside, column, 0)
    cell = world.town_first_tile[town] + row // TILE_PIXELS * columns + column // TILE_PIXELS
    surface = world.tiles[world.tile_index[cell], row % TILE_PIXELS, column % TILE_PIXELS]
    return np.where(inside, surface, Surface.GRASS)


def _spline(distance: np.ndarray) -> np.ndarray:
    """The quadratic B-spline."""
    far = np.abs(distance)
    return np.where(far <= 0.5, 0.75 - far**2, 0.5 * np.maximum(1.5 - far, 0.0) ** 2)


def _blended(world: World, town: int, x: np.ndarray, y: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Colours of surfaces whose rims are rounded over the pixels of the town's ground."""
    own, middle_x, middle_y = _surface(world, town, x, y), np.floor(x) + 0.5, np.floor(y) + 0.5
    others, total = np.zeros(len(x)), np.zeros((len(x), 3))
    for beside in (-1, 0, 1):
        for above in (-1, 0, 1):
            surface = _surface(world, town, middle_x + beside, middle_y + above)
            weight = _spline(middle_x + beside - x) * _spline(middle_y + above - y) * (surface != own)
            others += weight
            total += weight[:, None] * colours[surface]
    share = np.clip((others - 0.5) * RIM_SHARPNESS + 0.5, 0.0, 1.0)[:, None]
    return (1.0 - share) * colours[own] + share * total / np.maximum(others, 1e-9)[:, None]


def _fog(look: Appearance, b: int, depth: np.ndarray | float) -> np.ndarray:
    start, end = float(look.fog_start_m[b]), float(look.fog_end_m[b])
    return np.clip((np.asarray(depth) - start) / (end - start), 0.0, 1.0)


def _sky(look: Appearance, b: int, slope: float) -> np.ndarray:
    """Colour of the sky at an elevation with this sine."""
    ends = [np.minimum(c[b] * look.exposure[b], 255.0) for c in (look.sky_horizon, look.sky_zenith)]
    return ends[0] + min(max(2.2 * slope, 0.0), 1.0) * (ends[1] - ends[0])


def _haze(look: Appearance, b: int, colour: np.ndarray, fog: np.ndarray | float) -> np.ndarray:
    colour = np.minimum(colour, 255.0)
    return colour + np.asarray(fog)[..., None] * (_sky(look, b, 0.0) - colour)


def _mirror(look: Appearance, b: int, slope: float) -> float:
    return (
        float(look.wetness[b]) * WET_MIRROR * (STRAIGHT_MIRROR + (1.0 - STRAIGHT_MIRROR) * (1.0 - slope) ** 5)
    )


def _palette(look: Appearance, b: int) -> np.ndarray:
    """Colours of the surfaces, lit by day and unlit where lamps light them."""
    wetted = np.array([WETTED.get(surface, 1.0) for surface in Surface])
    palette = look.surfaces[b] * look.exposure[b] * (1.0 - look.wetness[b] * WET_DARKER * wetted)[:, None]
    if strength_of(look, b) == 0.0:
        palette = palette * (look.ambient[b] + look.sun[b] * max(float(look.sun_direction[b, 2]), 0.0))
    return palette.clip(max=255.0)


def _footprint(depth: float, focal: float, height: float) -> float:
    return max(depth / focal, depth**2 / focal / height / 6.0)


def _samples(depth: float, focal: float, height: float) -> list[tuple[float, float]]:
    """Where in a pixel the ground is sampled: down and to the right."""
    footprint = _footprint(depth, focal, height)
    if footprint > 0.2:
        return [(0.125, 0.375), (0.375, 0.125), (0.625, 0.875), (0.875, 0.625)]
    return [(0.25, 0.75), (0.75, 0.25)] if footprint > 0.1 else [(0.5, 0.5)]


def _background(world: World, camera: Camera, scene: Scene, look: Appearance, b: int) -> tuple:
    """Sky and ground [height, width, 3], the depth of each row (0 for sky), and which ground shines when wet."""
    focal, (right, down, forward) = focal_length_px(camera), camera_axes(camera)
    camera_height, palette, by_day = camera.position_in_ego[2], _palette(look, b), strength_of(look, b) == 0.0
    town, (x0, y0, yaw) = int(scene.town[b]), scene.ego_pose[b].astype(np.float64)
    image, depths = np.empty((camera.height, camera.width, 3)), np.zeros(camera.height)
    wet = np.zeros((camera.height, camera.width), bool)
    columns = np.arange(camera.width) - camera.width / 2
    for row in range(camera.height):
        middle = forward + (row + 0.5 - camera.height / 2) / focal * down
        slope = -middle[2] / np.linalg.norm(middle)
        if -middle[2] * 400.0 <= camera_height:
            image[row] = _sky(look, b, -slope)
            continue
        depth = depths[row] = camera_height / -middle[2]
        shining = palette
        if by_day:
            mirror = _mirror(look, b, slope) * (np.arange(len(palette)) != Surface.GRASS)[:, None]
            shining = palette + mirror * (_sky(look, b, slope) - palette)
        total = np.zeros((camera.width, 3))
        pattern = _samples(depth, focal, camera_height)
        for number, (below, beside) in enumerate(pattern):
            rays = forward + (row + below - camera.height / 2) / focal * down
            rays = rays + ((columns + beside) / focal)[:, None] * right
            t = camera_height / np.maximum(-rays[:, 2], camera_height / 400.0)
            x, y = (camera.position_in_ego[k] + t * rays[:, k] for k in (0, 1))
            x, y = (
                x0 + math.cos(yaw) * x - math.sin(yaw) * y - world.town_origin_m[town, 0],
                y0 + math.sin(yaw) * x + math.cos(yaw) * y - world.town_origin_m[town, 1],
            )
            x, y = x / METRES_PER_PIXEL, y / METRES_PER_PIXEL
            surface = _surface(world, town, x, y)
            if focal >= BLENDED_FOCAL_PX and _footprint(depth, focal, camera_height) <= BLENDED_M:
                total += _blended(world, town, x, y, shining)
            else:
                total += shining[surface]
            if number == 0:
                wet[row] = surface != Surface.GRASS
        image[row] = total / len(pattern)
        if by_day:
            image[row] = _haze(look, b, image[row], _fog(look, b, np.full(camera.width, depth)))
    return image, depths, wet


def _draw_box(box: _Box, view: tuple, look: Appearance, b: int, held: _Pixels) -> None:
    """Draw a box where it is nearer than `held.depth`; `view`: origin, rays, forward axis, focal length."""
    origin, rays, forward, focal = view
    by_day = strength_of(look, b) == 0.0
    depth = float((box.centre - origin) @ forward)
    radius = float(np.linalg.norm(box.half))
    if depth < -radius or (not box.glows and radius * focal <= depth * SMALLEST_PX):
        return
    t, axis, normals = _hits(origin, rays, box)
    for face in range(3):
        hit = (t < held.depth) & (axis == face)
        held.depth[hit], held.normal[hit], held.albedo[hit] = t[hit], normals[face], box.colour
        held.wet[hit] = False
        held.point[hit] = origin + t[hit, None] * rays[hit]
        held.final[hit] = by_day or box.glows
        face_depth = depth + box.half[face] * float(normals[face] @ forward)
        if box.glows:
            held.albedo[hit] = _haze(look, b, box.colour, 0.25 * _fog(look, b, face_depth))
        elif by_day:
            facing = max(float(normals[face] @ look.sun_direction[b]), 0.0)
            lit = np.minimum(box.colour * (look.ambient[b] + look.sun[b] * facing), 255.0)
            glass = np.zeros(len(t))
            if box.pattern and face < 2:
                glass[:] = GLASS_SHARE
                if focal * WINDOW_CELL_M[0] >= SMALLEST_CELL_PX * face_depth:
                    glass[hit] = _window(box, 2 * face, held.point[hit]) > 0.0
            pane = np.minimum(DARK_GLASS * lit + GLASS_MIRROR * _sky(look, b, 1.0), 255.0)
            colour = lit + glass[hit, None] * (pane - lit)
            held.albedo[hit] = _haze(look, b, colour, _fog(look, b, face_depth))
        elif box.pattern and face < 2:
            axis_side = 2 * face + int(normals[face] @ _axis(box, face) > 0)
            glass = np.zeros(len(t))
            glass[hit] = _window(box, axis_side, held.point[hit])
            held.albedo[hit & (glass == 1.0)] *= DARK_GLASS
            lit_up = hit & (glass > 1.0)
            bright = DIMMEST_WINDOW + (1.0 - DIMMEST_WINDOW) * (glass[lit_up] - 1.0)
            colour = bright[:, None] * np.array(WINDOW_COLOUR)
            held.albedo[lit_up] = _haze(look, b, colour, _fog(look, b, held.depth[lit_up]))
            held.final[lit_up] = True


def _axis(box: _Box, axis: int) -> np.ndarray:
    cosine, sine = math.cos(box.yaw), math.sin(box.yaw)
    return np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])[axis]


def _sign_light(
    sign: np.ndarray, normal: np.ndarray, front: bool, lamps: list[Lamp], look: Appearance, b: int, ego
):
    """Light that comes back from a plate."""
    light = look.ambient[b] + look.sun[b] * max(float(normal @ look.sun_direction[b]), SHADED)
    for number, lamp in enumerate(lamps):
        share = float(lamp_light(lamp, sign[:3], normal))
        if number == 0 and front and (sign[:2] - ego[:2]) @ normal[:2] < 0.0:
            way = sign[:2] - lamp.place[:2]
            level = math.hypot(*way)
            rim = (way @ lamp.direction[:2] / level - lamp.beam) / (1.0 - lamp.beam)
            back = max(1.0 - level**2 / lamp.range_m**2, 0.0) * min(max(rim, 0.0), 1.0)
            share = max(share, RETROREFLECTION * back)
        light = light + share * lamp.colour
    return light


def _texels(image: np.ndarray, level: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Colours times alpha, and alpha, between the pixels of a halved picture; u and v from 0 to 1."""
    picture = image.astype(np.float64)
    picture[..., :3] *= picture[..., 3:] / 255.0
    for _ in range(level):
        edge = len(picture) // 2
        picture = picture.reshape(edge, 2, edge, 2, 4).mean(axis=(1, 3))
    edge = len(picture)
    column, row = np.clip(u * edge - 0.5, 0, edge - 1), np.clip(v * edge - 0.5, 0, edge - 1)
    left, top = column.astype(int), row.astype(int)
    right, below = np.minimum(left + 1, edge - 1), np.minimum(top + 1, edge - 1)
    across, down = (column - left)[:, None], (row - top)[:, None]
    upper = picture[top, left] + across * (picture[top, right] - picture[top, left])
    lower = picture[below, left] + across * (picture[below, right] - picture[below, left])
    return upper + down * (lower - upper)


def _draw_signs(
    world: World, scene: Scene, look: Appearance, b: int, lamps: list[Lamp], view: tuple, held: _Pixels
) -> None:
    """Draw all signs where they are nearer than `held.depth`."""
    origin, rays, forward, focal = view
    ego = scene.ego_pose[b].astype(np.float64)
    for sign, image in zip(world.signs.astype(np.float64), world.sign_image, strict=True):
        if math.hypot(sign[0] - ego[0], sign[1] - ego[1]) > 110.0:
            continue
        normal = np.array([math.cos(sign[3]), math.sin(sign[3]), 0.0])
        right, offset = np.array([-normal[1], normal[0], 0.0]), (sign[:3] - origin) @ normal
        with np.errstate(divide="ignore", invalid="ignore"):
            t = offset / (rays @ normal)
        points = origin + np.where(np.isfinite(t), t, 0.0)[:, None] * rays - sign[:3]
        u, v = points @ right / sign[4], points[:, 2] / sign[5]
        hit = (t >= NEAR_M) & (t < held.depth) & (np.abs(u) <= 1.0) & (np.abs(v) <= 1.0)
        depth = float((sign[:3] - origin) @ forward)
        ratio = SIGN_PIXELS * max(depth, NEAR_M) / (focal * 2.0 * sign[5])
        level = min(max(math.ceil(math.log2(ratio) - 0.5), 0), 4)
        texels = _texels(world.sign_images[image], level, (u[hit] + 1.0) / 2.0, (1.0 - v[hit]) / 2.0)
        hit[np.flatnonzero(hit)[texels[:, 3] < 127.5]] = False
        texels = texels[texels[:, 3] >= 127.5]
        front = offset < 0.0
        colour = texels[:, :3] * 255.0 / texels[:, 3:] if front else np.array(BACK_COLOUR)
        light = _sign_light(sign, normal if front else -normal, front, lamps, look, b, ego)
        held.albedo[hit] = _haze(look, b, colour * light * look.exposure[b], _fog(look, b, depth))
        held.depth[hit], held.final[hit] = t[hit], True


def _light_up(held: _Pixels, lamps: list[Lamp], look: Appearance, b: int, origin: np.ndarray) -> None:
    """Give the pixels that are not final the light of moon and lamps."""
    todo = ~held.final
    point, normal, wet = held.point[todo], held.normal[todo], held.wet[todo]
    light = look.ambient[b] + np.maximum(normal @ look.sun_direction[b], 0.0)[:, None] * look.sun[b]
    shine = np.zeros_like(light)
    for lamp in lamps:
        light = light + lamp_light(lamp, point, normal)[:, None] * lamp.colour
        shine += (wet * look.wetness[b] * mirrored(lamp, point, origin))[:, None] * lamp.colour
    colour = np.minimum(held.albedo[todo] * light, 255.0)
    mirror = np.array([_mirror(look, b, slope) for slope in held.slope[todo]]) * wet
    colour = np.minimum(colour + mirror[:, None] * (_sky(look, b, 0.0) - colour) + 255.0 * shine, 255.0)
    held.albedo[todo] = _haze(look, b, colour, _fog(look, b, held.depth[todo]))


def picture(
    world: World, camera: Camera, scene: Scene, look: Appearance, b: int, detail: float = 1.0
) -> np.ndarray:
    """What the camera sees in scene b of the batch, [height, width, 3], float.

    `detail` is that of the rig: see `render.detail_of`.
    """
    focal, axes = focal_length_px(camera), camera_axes(camera)
    x0, y0, yaw = scene.ego_pose[b].astype(np.float64)
    turn = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
    origin = turn @ np.asarray(camera.position_in_ego) + (x0, y0, 0.0)
    axes = axes @ turn.T
    u = (np.arange(camera.width) + 0.5 - camera.width / 2) / focal
    v = (np.arange(camera.height) + 0.5 - camera.height / 2) / focal
    rays = (axes[2] + u[None, :, None] * axes[0] + v[:, None, None] * axes[1]).reshape(-1, 3)
    background, depths, wet = _background(world, camera, scene, look, b)
    middle = axes[2] + v[:, None] * axes[1]
    slope = np.clip(-middle[:, 2] / np.linalg.norm(middle, axis=1), 0.0, 1.0)
    row_depth = np.repeat(depths, camera.width)
    by_day = strength_of(look, b) == 0.0
    held = _Pixels(
        albedo=background.reshape(-1, 3),
        normal=np.tile([0.0, 0.0, 1.0], (len(rays), 1)),
        depth=np.full(len(rays), np.inf),
        point=origin + row_depth[:, None] * rays,
        wet=wet.reshape(-1),
        slope=np.repeat(slope, camera.width),
        final=(row_depth == 0.0) | by_day,
    )
    lamps = lamps_of(world, scene, look, b)
    for box in _agent_boxes(scene, look, b, detail) + _static_boxes(world, scene, look, b):
        _draw_box(box, (origin, rays, axes[2], focal), look, b, held)
    _draw_signs(world, scene, look, b, lamps, (origin, rays, axes[2], focal), held)
    ground = np.isinf(held.depth)
    held.depth[ground] = row_depth[ground]
    _light_up(held, lamps, look, b, origin)
    return held.albedo.reshape(camera.height, camera.width, 3)
