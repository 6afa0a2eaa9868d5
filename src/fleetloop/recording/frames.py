"""What a moment looks like to a person: the road from above, the cameras of the learner, time and speed."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from fleetloop.artifacts.episode import Driver
from fleetloop.core.types import STEP_S, VEHICLE_SIZES, AgentKind, State, World
from fleetloop.evaluate.inside_view import predictions_picture, truth_of
from fleetloop.recording.moment import Moment
from fleetloop.sim.cameras.mosaic import mosaic
from fleetloop.sim.roads.preview import map_image

_MAP_M_PER_PIXEL = 0.2
_VIEW_M = 64.0
"""Edge of the square seen from above."""
_LEARNER_COLOUR, _ACTOR_COLOUR, _OTHER_COLOUR = (40, 220, 120), (255, 90, 40), (120, 170, 255)
_SHEET_WIDTH = 960


class Overhead:
    """Draws the surroundings of the learner from above, north up."""

    def __init__(self, world: World, town: int) -> None:
        self.world, self.town = world, town
        self._map = map_image(world, town, _MAP_M_PER_PIXEL)

    def draw(self, moment: Moment, pixels: int) -> UInt8[np.ndarray, "pixels pixels 3"]:
        """The square of _VIEW_M around the learner: learner green, actors orange, others blue."""
        origin, state = self.world.town_origin_m[self.town], moment.state
        x, y = moment.pose[:2]
        corner = np.array([x, y]) - _VIEW_M / 2.0
        left, bottom = (corner - origin) / _MAP_M_PER_PIXEL
        size = round(_VIEW_M / _MAP_M_PER_PIXEL)
        top = self._map.shape[0] - bottom - size
        picture = Image.fromarray(self._map).crop(
            (round(left), round(top), round(left) + size, round(top) + size)
        )
        picture = picture.resize((pixels, pixels), Image.Resampling.BILINEAR)
        pen = ImageDraw.Draw(picture)
        for a in np.flatnonzero(state.kind[0] != AgentKind.NONE):
            outline = (_outline(state, int(a)) - corner) * (pixels / _VIEW_M)
            colour = (
                _LEARNER_COLOUR
                if a == moment.agent
                else _ACTOR_COLOUR
                if state.script[0, a]
                else _OTHER_COLOUR
            )
            points = [(float(px), float(pixels - py)) for px, py in outline]
            pen.polygon(points, fill=colour, outline=(0, 0, 0))
        return np.asarray(picture)


def _outline(state: State, a: int) -> Float[np.ndarray, "4 2"]:
    """Corners of a road user's body in the town's frame."""
    length, width, _, overhang = (float(value) for value in VEHICLE_SIZES[state.kind[0, a]])
    x, y, yaw = (float(value) for value in state.pose[0, a])
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


def frame(
    moment: Moment, overhead: Overhead, title: str, driver: Driver = Driver.DEMONSTRATOR
) -> UInt8[np.ndarray, "height width 3"]:
    """The road from above, the cameras, and above both the title, time, speed, and whether the safety driver drives."""
    inside, truth = moment.inside, truth_of(moment.teaching, 0)
    if inside is None:
        sheet = Image.fromarray(mosaic(moment.images, moment.rig, 1))
    else:
        poses = inside.poses_in_ego
        picture = predictions_picture(moment.images, moment.rig, poses, 1, truth=truth, inside=inside)
        sheet = Image.fromarray(picture)
    sheet = sheet.resize((_SHEET_WIDTH, round(sheet.height * _SHEET_WIDTH / sheet.width)))
    view = overhead.draw(moment, sheet.height)
    caption = f"{title}   {moment.step * STEP_S:.1f} s   {moment.speed_mps * 3.6:.0f} km/h"
    if driver is Driver.SAFETY_DRIVER:
        caption += "   safety driver"
    return compose(view, np.asarray(sheet), caption)
