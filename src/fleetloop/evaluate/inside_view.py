"""Pictures of what a network sees, attends to and predicts, beside the truth where it is known."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from fleetloop.core.labels import Labels
from fleetloop.core.types import (
    BIRDS_EYE_CELL_M,
    BIRDS_EYE_ORIGIN_M,
    VEHICLE_SIZES,
    AgentKind,
    BirdsEyeLayer,
    Camera,
    CameraRig,
)
from fleetloop.policy.inside import Inside
from fleetloop.policy.runtime import Readings
from fleetloop.sim.behaviour import LOOKAHEAD_M
from fleetloop.sim.cameras.mosaic import PLAN_HALF_WIDTH_M, draw_plan, mosaic
from fleetloop.sim.cameras.project import project

PREDICTED, TRUE = (255, 176, 32), (235, 235, 235)
"""Colours of what the network says, and of how it is."""
SIGNAL_NAMES = ("none", "red", "yellow", "yield", "green")
JUNCTION_NAMES = ("none", "free", "yield", "stop", "signal", "right first")
"""The rule at the next junction, by Control."""
_SIGNAL_COLOURS = ((120, 120, 126), (226, 60, 50), (240, 200, 40), (150, 220, 110), (40, 190, 90))
_BAND_COLOUR, ATTENTION_COLOUR = (120, 170, 255), (255, 60, 120)
_MARKER_HEIGHT_M, _MARKER_HALF_WIDTH_M, _STOP_LINE_HALF_WIDTH_M = 1.5, 0.95, 1.7
SHOWN_M = LOOKAHEAD_M - 2.0
"""What is said to be farther away is said to be nowhere."""
_FARTHEST_M = 100.0
"""Of a plan that is drawn."""
_STRONGEST_OPACITY = 170
_BIRDS_EYE_PIXELS_PER_M = 1
_PANEL_HEIGHT, _BACKGROUND, _TEXT, _DIM = 74, (18, 18, 20), (235, 235, 235), (150, 150, 156)


@dataclass(frozen=True)
class Truth:
    """What the auxiliary heads ought to say."""

    signal: int
    """Index into SIGNAL_NAMES."""
    stop_line_m: float
    lead_gap_m: float
    lead_speed_mps: float
    junction: int
    """Index into JUNCTION_NAMES."""
    halt_m: float


def truth_of(teaching: Labels, w: int) -> Truth:
    """What the demonstrator knows in world w; a dark signal counts as none."""
    signal = int(teaching.signal_colour[w]) + 1
    return Truth(
        signal=signal if signal < len(SIGNAL_NAMES) else 0,
        stop_line_m=float(teaching.stop_line_m[w]),
        lead_gap_m=float(teaching.lead_gap_m[w]),
        lead_speed_mps=float(teaching.lead_speed_mps[w]),
        junction=int(teaching.junction_control[w]) + 1,
        halt_m=float(teaching.halt_m[w]),
    )


def predictions_picture(
    images: tuple[UInt8[np.ndarray, "cameras height width 3"], ...],
    rig: CameraRig,
    poses_in_ego: Float[np.ndarray, "8 3"],
    scale: int,
    readings: Readings | None = None,
    w: int = 0,
    truth: Truth | None = None,
    inside: Inside | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """The cameras of one vehicle, and drawn into the forward ones the plan and what the network predicts.

    Below them a panel with the numbers, if there are any. A frame stands where the leading car, a bar where the stop
    line is said to be (orange) and is (white), along the plan.

    Args:
        images: an array for each group of `rig`.
        scale: enlarges the pictures, see `mosaic`.
        readings: row w of them is the vehicle's.
        inside: adds the spread of the plan as a band, attention as a glow, and the weights of experts.
    """
    # A network may ask for anything; a picture shows what is near.
    poses = np.clip(np.nan_to_num(np.asarray(poses_in_ego, np.float64)), -_FARTHEST_M, _FARTHEST_M)
    readings = readings if inside is None else inside.readings
    shown = []
    for index, (group, of_group) in enumerate(zip(rig.groups, images, strict=True)):
        large = of_group.repeat(scale, axis=1).repeat(scale, axis=2)
        drawn = []
        for camera, image in zip(group, large, strict=True):
            picture = image
            if inside is not None:
                picture = draw_attention(picture, camera, inside.attention)
            if index == 0:
                if inside is not None:
                    band = PLAN_HALF_WIDTH_M + np.nan_to_num(
                        inside.spread_m.astype(np.float64), nan=_FARTHEST_M
                    )
                    band = np.minimum(band, _FARTHEST_M)
                    picture = draw_plan(picture, camera, poses, _BAND_COLOUR, band, 70)
                picture = draw_plan(picture, camera, poses)
                picture = _draw_ahead(picture, camera, poses, readings, w, truth)
            drawn.append(picture)
        shown.append(np.stack(drawn))
    sheet = mosaic(shown, rig, scale)
    if readings is None:
        return sheet
    return np.concatenate([sheet, panel(sheet.shape[1], readings, w, truth, inside)])


def draw_attention(
    image: UInt8[np.ndarray, "height width 3"],
    camera: Camera,
    attention: Mapping[str, Float32[np.ndarray, "rows columns"]],
) -> UInt8[np.ndarray, "height width 3"]:
    """A copy of a camera's image with a glow where the network attends; strongest where it does most in any camera."""
    cells = attention.get(camera.name)
    if cells is None:
        return image
    picture = Image.fromarray(image).convert("RGBA")
    glow = Image.new("RGBA", picture.size, (*ATTENTION_COLOUR, 0))
    opacity = attention_opacity(cells, attention)
    glow.putalpha(Image.fromarray(opacity).resize(picture.size, Image.Resampling.BILINEAR))
    return np.asarray(Image.alpha_composite(picture, glow).convert("RGB"))


def attention_opacity(
    cells: Float32[np.ndarray, "rows columns"], attention: Mapping[str, Float32[np.ndarray, "rows columns"]]
) -> UInt8[np.ndarray, "rows columns"]:
    """How strongly each cell of a camera glows, 0 to 255, beside the strongest of all cameras."""
    strongest = max(float(np.nan_to_num(other).max(initial=0.0)) for other in attention.values())
    share = np.nan_to_num(cells) / max(strongest, 1e-12)
    return (np.clip(share, 0.0, 1.0) * _STRONGEST_OPACITY).astype(np.uint8)


def _draw_ahead(
    image: np.ndarray,
    camera: Camera,
    poses: np.ndarray,
    readings: Readings | None,
    w: int,
    truth: Truth | None,
) -> np.ndarray:
    """The leading car and the stop line, as they are (first, so that it lies below) and as they are said to be."""
    marks: list[tuple[float, float, tuple[int, int, int]]] = []
    if truth is not None:
        marks.append((truth.lead_gap_m, truth.stop_line_m if truth.signal else np.inf, TRUE))
    if readings is not None:
        has_signal = int(np.argmax(readings.signal_probabilities[w])) > 0
        line_m = float(readings.stop_line_m[w]) if has_signal else np.inf
        marks.append((float(readings.lead_gap_m[w]), line_m, PREDICTED))
    if not marks:
        return image
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    scale = image.shape[1] / camera.width
    for lead_m, line_m, colour in marks:
        for distance_m, is_line in ((lead_m, False), (line_m, True)):
            if not 0.0 <= distance_m < SHOWN_M:
                continue
            corners = marker_corners(poses, distance_m, is_line)
            pixels, in_sight = project(camera, corners)
            if in_sight.any():
                points = [(float(x), float(y)) for x, y in np.clip(scale * pixels, -4096.0, 4096.0)]
                pen.line([*points, points[0]], fill=colour, width=max(1, round(scale * 0.6)))
    return np.asarray(picture)


def marker_corners(
    poses_in_ego: Float[np.ndarray, "8 3"], distance_m: float, is_line: bool
) -> Float[np.ndarray, "4 3"]:
    """Corners in the ego frame of what marks a stop line or a leading car, so far from the front bumper on the plan."""
    half_width = _STOP_LINE_HALF_WIDTH_M if is_line else _MARKER_HALF_WIDTH_M
    height = 0.0 if is_line else _MARKER_HEIGHT_M
    length, _, _, overhang = (float(value) for value in VEHICLE_SIZES[AgentKind.CAR])
    along = distance_m + length - overhang
    points = np.concatenate([np.zeros((1, 3)), poses_in_ego])
    travelled = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points[:, :2], axis=0).T))])
    within = min(along, travelled[-1])
    x, y, yaw = (np.interp(within, travelled, column) for column in points.T)
    # Beyond the plan, straight on.
    x, y = x + (along - within) * np.cos(yaw), y + (along - within) * np.sin(yaw)
    left = half_width * np.array([-np.sin(yaw), np.cos(yaw), 0.0])
    foot, up = np.array([x, y, 0.0]), np.array([0.0, 0.0, height])
    return np.stack([foot + left, foot - left, foot - left + up, foot + left + up])


def panel(
    width: int, readings: Readings, w: int = 0, truth: Truth | None = None, inside: Inside | None = None
) -> UInt8[np.ndarray, "height width 3"]:
    """What the network says: signal, stop line, leading car, weights of its experts, what is around it."""
    picture = Image.new("RGB", (width, _PANEL_HEIGHT), _BACKGROUND)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=13)

    def write(x: float, y: float, text: str, colour: tuple[int, int, int] = _TEXT) -> None:
        pen.text((x, y), text, fill=colour, font=font)

    unit = width / 880.0
    write(8 * unit, 4, "signal")
    for number, (name, colour) in enumerate(zip(SIGNAL_NAMES, _SIGNAL_COLOURS, strict=True)):
        share = float(np.nan_to_num(readings.signal_probabilities[w, number]))
        x = (60 + 62 * number) * unit
        pen.rectangle((x, 22, x + 54 * unit, 48), outline=colour if share >= 0.5 else (60, 60, 64))
        pen.rectangle((x, 48 - 26 * share, x + 54 * unit, 48), fill=colour)
        write(x, 4, name, TRUE if truth is not None and truth.signal == number else _DIM)
        write(x, 52, f"{share:.0%}", _TEXT if share >= 0.5 else _DIM)
    x = 390 * unit
    for number, (name, said, known) in enumerate(_rows(readings, w, truth)):
        y = 1 + 18 * number
        write(x, y, name)
        write(x + 74 * unit, y, said, PREDICTED)
        write(x + 146 * unit, y, known, TRUE)
    grid = birds_eye_picture(readings.birds_eye[w], _BIRDS_EYE_PIXELS_PER_M)
    grid_left = width - grid.shape[1] - 6
    picture.paste(Image.fromarray(grid), (grid_left, (_PANEL_HEIGHT - grid.shape[0]) // 2))
    if inside is not None:
        _draw_experts(pen, inside.experts, (620 * unit, grid_left - 8), write)
    return np.asarray(picture)


def _rows(readings: Readings, w: int, truth: Truth | None) -> list[tuple[str, str, str]]:
    """Name, what is said and how it is, of each line of text in the panel."""
    rows = []
    for name, field in (
        ("stop line", "stop_line_m"),
        ("car ahead", "lead_gap_m"),
        ("its speed", "lead_speed_mps"),
    ):
        unit = "m/s" if field == "lead_speed_mps" else "m"
        known = "" if truth is None else _amount(getattr(truth, field), unit)
        rows.append((name, _amount(float(getattr(readings, field)[w]), unit), known))
    rule = JUNCTION_NAMES[int(np.argmax(readings.junction_probabilities[w]))]
    halt = _amount(float(readings.halt_m[w]), "m")
    known = "" if truth is None else f"{JUNCTION_NAMES[truth.junction]}, {_amount(truth.halt_m, 'm')}"
    return [*rows, ("rule, halt", f"{rule}, {halt}", known)]


def birds_eye_picture(
    probabilities: Float32[np.ndarray, "3 16 24"], pixels_per_m: int
) -> UInt8[np.ndarray, "height width 3"]:
    """What is said to be around the car (white), ahead at the top: road grey, vehicles blue, people orange."""
    shares = np.clip(np.nan_to_num(probabilities), 0.0, 1.0)[:, ::-1, ::-1, None]
    colour = np.asarray(_BACKGROUND) * (1.0 - shares[BirdsEyeLayer.ROAD]) + 110 * shares[BirdsEyeLayer.ROAD]
    for layer, tint in ((BirdsEyeLayer.VEHICLES, _BAND_COLOUR), (BirdsEyeLayer.PEOPLE, PREDICTED)):
        colour = colour * (1.0 - shares[layer]) + np.asarray(tint) * shares[layer]
    for axis, metres in enumerate(BIRDS_EYE_CELL_M):
        colour = colour.repeat(round(metres * pixels_per_m), axis=axis)
    height, width, _ = colour.shape
    column = width + round(BIRDS_EYE_ORIGIN_M[1] * pixels_per_m)
    row = height + round(BIRDS_EYE_ORIGIN_M[0] * pixels_per_m)
    length = round(VEHICLE_SIZES[AgentKind.CAR, 0] * pixels_per_m)
    colour[row - length : row, column - 1 : column + 1] = TRUE
    return colour.astype(np.uint8)


def _amount(value: float, unit: str) -> str:
    far = unit == "m"
    if not np.isfinite(value) or (far and value >= SHOWN_M):
        return "none" if far else "–"
    return f"{value:.0f} {unit}" if far else f"{value:.1f} {unit}"


def _draw_experts(
    pen: ImageDraw.ImageDraw,
    experts: Float32[np.ndarray, "blocks experts"],
    between: tuple[float, float],
    write,
) -> None:
    """A bar for each expert of each block, between these columns."""
    left, right = between
    write(left, 4, "experts, block by block")
    blocks, count = experts.shape
    each = (right - left) / max(blocks * (count + 1), 1)
    for block in range(blocks):
        for expert in range(count):
            x = left + each * (block * (count + 1) + expert)
            share = float(np.nan_to_num(experts[block, expert]))
            pen.rectangle((x, 22, x + 0.8 * each, 66), outline=(60, 60, 64))
            pen.rectangle((x, 66 - 44 * share, x + 0.8 * each, 66), fill=_BAND_COLOUR)
