"""Clips that tell a person what happens: the eight cameras of a car, and the road around it from above."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from fleetloop.core.errors import MapError
from fleetloop.core.files import write_bytes
from fleetloop.core.types import EGO, STEP_S, VEHICLE_SIZES, AgentKind, CameraRig, State, World
from fleetloop.evaluate.video import encode_h264
from fleetloop.sim.cameras import DEFAULT_RIG
from fleetloop.sim.cameras.mosaic import mosaic
from fleetloop.sim.cameras.rig import scaled_rig
from fleetloop.sim.roads.preview import map_image
from fleetloop.sim.rollout import Rollout, Route, route_seed
from fleetloop.sim.scenarios import family_named

CLIP_HZ = 10
_MAP_M_PER_PIXEL = 0.2
_VIEW_M = 64.0
"""Edge of the square seen from above."""
_TRIES = 200
_LEARNER_COLOUR, _ACTOR_COLOUR, _OTHER_COLOUR = (40, 220, 120), (255, 90, 40), (120, 170, 255)
_SHEET_WIDTH = 960


class Overhead:
    """Draws the surroundings of the learner from above, north up."""

    def __init__(self, world: World, town: int) -> None:
        self.world, self.town = world, town
        self._map = map_image(world, town, _MAP_M_PER_PIXEL)

    def draw(self, state: State, w: int, pixels: int) -> UInt8[np.ndarray, "pixels pixels 3"]:
        """The square of _VIEW_M around the learner of world w: learner green, actors orange, others blue."""
        origin = self.world.town_origin_m[self.town]
        x, y = state.pose[w, EGO, :2]
        corner = np.array([x, y]) - _VIEW_M / 2.0
        left, bottom = (corner - origin) / _MAP_M_PER_PIXEL
        size = round(_VIEW_M / _MAP_M_PER_PIXEL)
        top = self._map.shape[0] - bottom - size
        picture = Image.fromarray(self._map).crop(
            (round(left), round(top), round(left) + size, round(top) + size)
        )
        picture = picture.resize((pixels, pixels), Image.Resampling.BILINEAR)
        pen = ImageDraw.Draw(picture)
        for a in np.flatnonzero(state.kind[w] != AgentKind.NONE):
            outline = (_outline(state, w, int(a)) - corner) * (pixels / _VIEW_M)
            colour = _LEARNER_COLOUR if a == EGO else _ACTOR_COLOUR if state.script[w, a] else _OTHER_COLOUR
            points = [(float(px), float(pixels - py)) for px, py in outline]
            pen.polygon(points, fill=colour, outline=(0, 0, 0))
        return np.asarray(picture)


def _outline(state: State, w: int, a: int) -> np.ndarray:
    """Corners of a road user's body in the town's frame, [4, 2]."""
    length, width, _, overhang = (float(value) for value in VEHICLE_SIZES[state.kind[w, a]])
    x, y, yaw = (float(value) for value in state.pose[w, a])
    corners = np.array([[-overhang, -width / 2], [length - overhang, -width / 2]])
    corners = np.concatenate([corners, corners[::-1] * [1.0, -1.0]])
    turned = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    return corners @ turned + [x, y]


def compose(
    overhead: UInt8[np.ndarray, "H H 3"], cameras: UInt8[np.ndarray, "H W 3"], caption: str
) -> UInt8[np.ndarray, "height width 3"]:
    """One frame: the caption above, the view from above on the left, the cameras on the right."""
    bar = Image.new("RGB", (overhead.shape[1] + cameras.shape[1], 28), (18, 18, 20))
    font = ImageFont.load_default(size=15)
    ImageDraw.Draw(bar).text((8, 5), caption, fill=(235, 235, 235), font=font)
    return np.concatenate([np.asarray(bar), np.concatenate([overhead, cameras], axis=1)])


def scenario_frame(
    rollout: Rollout, overhead: Overhead, rig: CameraRig, name: str
) -> UInt8[np.ndarray, "height width 3"]:
    """What world 0 of a scenario looks like now: the road from above, the cameras of `rig`, time and speed."""
    images = [group[0] for group in rollout.observe(rig).images]
    sheet = Image.fromarray(mosaic(images, rig, 1))
    sheet = sheet.resize((_SHEET_WIDTH, round(sheet.height * _SHEET_WIDTH / sheet.width)))
    state = rollout.state
    view = overhead.draw(state, 0, sheet.height)
    caption = f"{name}   {float(state.step[0]) * STEP_S:.1f} s   {state.speed[0, EGO] * 3.6:.0f} km/h"
    return compose(view, np.asarray(sheet), caption)


def scenario_rollout(world: World, name: str, seed: int, agents: int = 20) -> Rollout:
    """One world that begins with a scenario, at the first place that a town has for it.

    Raises:
        ConfigError: there is no such family.
        MapError: the town has no place for it.
    """
    family = family_named(name)
    towns = len(world.town_first_lane) - 1
    for number in range(_TRIES):
        route = Route(number % towns, route_seed(seed, number), family.length_m, name)
        rollout = Rollout(world, iter([route]), worlds=1, agents=agents)
        result = rollout.current_result(0)
        if result is not None and result.route.scenario:
            return rollout
    raise MapError(f"scenario {name}: the town has no place for it; use another --town or --key")


def scenario_clip(
    world: World,
    name: str,
    seed: int,
    out: Path,
    progress: Callable[[float], None] | None = None,
    rig: CameraRig = DEFAULT_RIG,
) -> str:
    """Write an MP4 of a scenario with the demonstrator driving; returns how it went, in a few words.

    Raises:
        ConfigError, MapError: as `scenario_rollout`.
        StorageError: the file cannot be written.
    """
    rollout = scenario_rollout(world, name, seed)
    current = rollout.current_result(0)
    assert current is not None
    overhead = Overhead(world, current.route.town)
    fine = scaled_rig(rig, 3)
    frames: list[np.ndarray] = []
    while rollout.active.any():
        rollout.decide()
        frames.append(scenario_frame(rollout, overhead, fine, name))
        rollout.step(rollout.teaching.curvature, rollout.teaching.acceleration)
        if progress is not None:
            progress(min(current.distance_m / current.route.length_m, 1.0))
    write_bytes(out, encode_h264(np.stack(frames), CLIP_HZ))
    result = rollout.results[0]
    happened = ", ".join(danger.name.lower().replace("_", " ") for danger in result.dangers)
    if happened:
        return f"the safety driver took over: {happened}"
    return "passed" if result.success else "not finished"
