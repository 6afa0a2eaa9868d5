"""What goes on in a network, for the Rerun viewer: a glow in its cameras, its predictions in space and in numbers."""

import io
from typing import Any

import numpy as np
from PIL import Image

from fleetloop.artifacts.episode_writer import encode_jpeg
from fleetloop.evaluate.inside_view import (
    ATTENTION_COLOUR,
    PREDICTED,
    SHOWN_M,
    SIGNAL_NAMES,
    TRUE,
    attention_opacity,
    marker_corners,
    panel,
    truth_of,
)
from fleetloop.policy.inside import Inside
from fleetloop.recording.moment import Moment

EGO_FRAME = "town/ego"
CAMERAS = f"{EGO_FRAME}/cameras"
INSIDE = "inside"
INSIDE_PANEL = f"{INSIDE}/panel"
_PANEL_WIDTH = 960
_OPACITY_STEP = np.uint8(10)
_BAND_COLOUR = (120, 170, 255)


def log_inside(stream: Any, rerun: Any, moment: Moment, inside: Inside) -> None:
    """Log what the network that drives sees in this step, says, and whom it asks."""
    truth, readings = truth_of(moment.teaching, 0), inside.readings
    for camera in moment.rig.cameras:
        if camera.name in inside.attention:
            content = _glow(inside, camera.name, (camera.width, camera.height))
            image = rerun.EncodedImage(contents=content, media_type="image/png", draw_order=1.0)
            stream.log(f"{CAMERAS}/{camera.name}/attention", image)
    poses = np.nan_to_num(inside.poses_in_ego.astype(np.float64))
    spread = np.nan_to_num(inside.spread_m.astype(np.float64))
    across = spread[:, None] * np.stack([-np.sin(poses[:, 2]), np.cos(poses[:, 2])], axis=1)
    rims = [np.pad(poses[:, :2] + side * across, ((0, 0), (0, 1))) for side in (1.0, -1.0)]
    stream.log(f"{EGO_FRAME}/plan_spread", rerun.LineStrips3D(rims, colors=[_BAND_COLOUR], radii=[0.04]))
    signal = int(np.argmax(readings.signal_probabilities[0]))
    predicted = float(readings.lead_gap_m[0]), float(readings.stop_line_m[0]) if signal else np.inf
    true = truth.lead_gap_m, truth.stop_line_m if truth.signal else np.inf
    for name, colour, (lead_m, line_m) in (("predicted", PREDICTED, predicted), ("true", TRUE, true)):
        strips = [
            np.concatenate([corners, corners[:1]])
            for distance_m, is_line in ((lead_m, False), (line_m, True))
            if 0.0 <= distance_m < SHOWN_M
            for corners in [marker_corners(poses, distance_m, is_line)]
        ]
        marks = rerun.LineStrips3D(strips, colors=[colour], radii=[0.05])
        stream.log(f"{EGO_FRAME}/ahead/{name}", marks if strips else rerun.Clear(recursive=False))
    _log_numbers(stream, rerun, inside)
    picture = panel(_PANEL_WIDTH, readings, 0, truth, inside)
    stream.log(INSIDE_PANEL, rerun.EncodedImage(contents=encode_jpeg(picture), media_type="image/jpeg"))


def _log_numbers(stream: Any, rerun: Any, inside: Inside) -> None:
    """Every reading, the weights of experts and the spread of the plan's end, as curves."""
    readings = inside.readings
    for name, share in zip(SIGNAL_NAMES, readings.signal_probabilities[0], strict=True):
        stream.log(f"{INSIDE}/signal/{name}", rerun.Scalars(float(share)))
    for name in ("stop_line_m", "lead_gap_m", "lead_speed_mps", "halt_m"):
        stream.log(f"{INSIDE}/{name}", rerun.Scalars(float(getattr(readings, name)[0])))
    stream.log(f"{INSIDE}/spread_m", rerun.Scalars(float(inside.spread_m[-1])))
    for block, weights in enumerate(inside.experts):
        stream.log(f"{INSIDE}/experts/{block}", rerun.BarChart(weights.astype(np.float64)))


def _glow(inside: Inside, name: str, size: tuple[int, int]) -> bytes:
    """The attention in a camera as a PNG that lies over its picture."""
    glow = Image.new("RGBA", size, (*ATTENTION_COLOUR, 0))
    opacity = Image.fromarray(attention_opacity(inside.attention[name], inside.attention))
    smooth = np.asarray(opacity.resize(size, Image.Resampling.BILINEAR))
    # In steps nobody sees, for the sake of its size: a quarter of what PNG makes of a smooth one.
    glow.putalpha(Image.fromarray(smooth // _OPACITY_STEP * _OPACITY_STEP))
    buffer = io.BytesIO()
    glow.save(buffer, "PNG")
    return buffer.getvalue()
