"""Pictures for people: the cameras of a car on one sheet, and a plan drawn into a camera's image."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from fleetloop.core.pinhole import camera_axes, focal_length_px
from fleetloop.core.types import WHEELBASE_M, Camera, CameraRig
from fleetloop.sim.cameras.project import NEAR_M

# As around a car: what looks ahead on top, below it the others from left to right; the rear in the middle.
_LAYOUT = (
    ("front_narrow", "front_main", "front_wide"),
    ("left_rear", "left_forward", "rear", "right_forward", "right_rear"),
)
_GAP_PX = 4
_BACKGROUND = (18, 18, 20)
_LABEL = (255, 255, 255)
_PLAN_COLOUR = (40, 220, 120)
PLAN_HALF_WIDTH_M = 0.9
_PLAN_STEP_M = 0.5


def labelled(image: np.ndarray, name: str, width: int) -> Image.Image:
    """A camera's image `width` pixels wide, its name in the corner."""
    height = round(width * image.shape[0] / image.shape[1])
    shrunk = width < image.shape[1]
    resampling = Image.Resampling.BOX if shrunk else Image.Resampling.NEAREST
    picture = Image.fromarray(image).resize((width, height), resampling)
    draw = ImageDraw.Draw(picture)
    size = max(10, width // 24)
    draw.text(
        (size // 3, size // 4),
        name.replace("_", " "),
        fill=_LABEL,
        font=ImageFont.load_default(size=size),
        stroke_width=1,
        stroke_fill=(0, 0, 0),
    )
    return picture


def _rows(rig: CameraRig) -> list[list[str]]:
    """Names of the cameras, row by row; cameras that the layout does not know come last."""
    names = [camera.name for camera in rig.cameras]
    rows = [[name for name in row if name in names] for row in _LAYOUT]
    known = {name for row in _LAYOUT for name in row}
    others = [name for name in names if name not in known]
    return [row for row in [*rows, *(others[i : i + 3] for i in range(0, len(others), 3))] if row]


def mosaic(
    images: Sequence[UInt8[np.ndarray, "cameras height width 3"]], rig: CameraRig, scale: int = 4
) -> UInt8[np.ndarray, "height width 3"]:
    """The cameras of one moment laid out as around a car, each with its name.

    `images` has an array for each group of the rig. The widest cameras are magnified `scale` times when three
    of them fill a row; every row is stretched to the same width.
    """
    pictures = {
        camera.name: image
        for group, of_group in zip(rig.groups, images, strict=True)
        for camera, image in zip(group, of_group, strict=True)
    }
    sheet_width = 3 * scale * max(camera.width for camera in rig.cameras) + 4 * _GAP_PX
    rows = []
    for names in _rows(rig):
        width = (sheet_width - _GAP_PX * (len(names) + 1)) // max(len(names), 3)
        rows.append([labelled(pictures[name], name, width) for name in names])
    heights = [max(picture.height for picture in row) for row in rows]
    sheet = Image.new("RGB", (sheet_width, sum(heights) + _GAP_PX * (len(rows) + 1)), _BACKGROUND)
    top = _GAP_PX
    for row, height in zip(rows, heights, strict=True):
        for place, picture in enumerate(row):
            sheet.paste(picture, (_GAP_PX + place * (picture.width + _GAP_PX), top))
        top += height + _GAP_PX
    return np.asarray(sheet)


def _path(poses_in_ego: np.ndarray, half_width_m: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left and right rim of the ground that the plan covers, evenly sampled, [N, 3] in the ego frame."""
    poses = np.concatenate([np.zeros((1, 3)), np.asarray(poses_in_ego, np.float64)])
    travelled = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(poses[:, :2], axis=0).T))])
    wanted = np.arange(0.0, travelled[-1] + 1e-9, _PLAN_STEP_M)
    x, y, yaw = (
        np.interp(wanted, travelled, column) for column in (poses[:, 0], poses[:, 1], np.unwrap(poses[:, 2]))
    )
    # The plan is of the rear axle; the ribbon starts where the car's front wheels stand.
    x, y = x + WHEELBASE_M * np.cos(yaw), y + WHEELBASE_M * np.sin(yaw)
    # What is known of the poses holds for the present one as of the first.
    widths = np.broadcast_to(half_width_m, len(poses_in_ego))
    half_width = np.interp(wanted, travelled, np.concatenate([widths[:1], widths]))
    across = half_width[:, None] * np.stack([-np.sin(yaw), np.cos(yaw), np.zeros_like(yaw)], axis=1)
    middle = np.stack([x, y, np.zeros_like(x)], axis=1)
    return middle + across, middle - across


def _clip_near(polygon: np.ndarray) -> np.ndarray:
    """The part of a polygon [N, 3] in camera axes that lies beyond the near plane."""
    kept = []
    for start, end in zip(np.roll(polygon, 1, axis=0), polygon, strict=True):
        if (start[2] < NEAR_M) != (end[2] < NEAR_M):
            kept.append(start + (NEAR_M - start[2]) / (end[2] - start[2]) * (end - start))
        if end[2] >= NEAR_M:
            kept.append(end)
    return np.array(kept).reshape(-1, 3)


def draw_plan(
    image: UInt8[np.ndarray, "height width 3"],
    camera: Camera,
    poses_in_ego: Float[np.ndarray, "N 3"],
    colour: tuple[int, int, int] = _PLAN_COLOUR,
    half_width_m: float | Float[np.ndarray, " N"] = PLAN_HALF_WIDTH_M,
    opacity: int = 130,
) -> UInt8[np.ndarray, "height width 3"]:
    """A copy of a camera's image with a plan's future poses drawn as a ribbon on the ground.

    The image may be of any size with the camera's aspect. A plan shorter than half a metre leaves no ribbon.
    `half_width_m` is the ribbon's, the same everywhere or one for each pose; `opacity` goes up to 255.
    """
    height, width = image.shape[:2]
    scale = width / camera.width
    picture = Image.fromarray(image).convert("RGBA")
    overlay = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(overlay)
    left, right = _path(poses_in_ego, half_width_m)
    axes, position = camera_axes(camera), np.asarray(camera.position_in_ego)
    focal = scale * focal_length_px(camera)
    for index in range(len(left) - 1):
        strip = np.stack([left[index], left[index + 1], right[index + 1], right[index]])
        polygon = _clip_near((strip - position) @ axes.T)
        if len(polygon) >= 3:
            pixels = focal * polygon[:, :2] / polygon[:, 2:] + np.array([width / 2.0, height / 2.0])
            pen.polygon([(float(x), float(y)) for x, y in pixels], fill=(*colour, opacity))
    return np.asarray(Image.alpha_composite(picture, overlay).convert("RGB"))
