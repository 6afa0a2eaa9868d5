"""A recording for the Rerun viewer (rerun.io): cameras, boxes, lanes and plan in space, controls over time."""

import contextlib
import importlib
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fleetloop.artifacts.episode_view import KIND_COLOURS
from fleetloop.artifacts.episode_writer import encode_jpeg
from fleetloop.core.errors import ConfigError
from fleetloop.core.files import replacing_file
from fleetloop.core.pinhole import camera_axes, focal_length_px
from fleetloop.core.types import VEHICLE_SIZES, AgentKind, CameraRig, LaneKind
from fleetloop.recording.closing import close_file
from fleetloop.recording.moment import DrivenStep, Moment
from fleetloop.recording.rerun_inside import CAMERAS, EGO_FRAME, INSIDE_PANEL, log_inside
from fleetloop.recording.scenery import lane_lines

TIMELINE = "time"
"""Seconds since the recording began."""
MAP, USERS = "town/map", "town/road_users"
SERIES = {"speed": "km/h", "curvature": "1/m", "acceleration": "m/s²"}
"""Curves over time and their units; of the latter two, what was wanted and what was carried out."""
_EYE_M = (-16.0, 9.0), (14.0, 0.0)
"""Along the learner's heading and above the road: where the eye is at first, and what it looks at."""
_LANE_COLOURS = {
    LaneKind.ROAD: (150, 150, 160),
    LaneKind.CONNECTOR: (150, 150, 160),
    LaneKind.JUNCTION: (110, 110, 140),
    LaneKind.WALK: (90, 130, 90),
    LaneKind.CROSSING: (190, 190, 110),
}
_EGO_COLOUR, _OTHER_COLOUR, _PLAN_COLOUR = (40, 130, 255), (170, 170, 170), (40, 220, 120)
_WANTED_COLOUR, _CARRIED_OUT_COLOUR = (40, 220, 120), (40, 130, 255)


def rerun_modules() -> tuple[Any, Any]:
    """rerun and rerun.blueprint.

    Raises:
        ConfigError: Rerun is not installed.
    """
    try:
        return importlib.import_module("rerun"), importlib.import_module("rerun.blueprint")
    except ImportError as error:
        raise ConfigError(
            f"{error.name}: is not installed, which the viewer and .rrd need; run pip install "
            "'fleetloop[rerun]', or record .mp4"
        ) from error


class _RerunLog:
    """Logs the steps of a recording, with a blueprint that lays out its views; where to, a subclass says."""

    def __init__(self, towns: Sequence[str], title: str) -> None:
        self.paths: list[Path] = []
        self._rerun, self._blueprint = rerun_modules()
        self._towns, self._written = towns, 0
        self._stream = self._rerun.RecordingStream("fleetloop")
        self._stream.send_recording_name(title)
        self._rig: CameraRig | None = None

    def _begin(self, layout: Any) -> None:
        """Open what is logged to, laid out so."""
        raise NotImplementedError

    def write(self, step: DrivenStep) -> None:
        """Log a step."""
        moment, stream = step.moment, self._stream
        if self._rig is None:
            self._rig = moment.rig
            self._begin(self._layout(moment))
            self._log_constants(moment.rig)
        stream.set_time(TIMELINE, duration=step.time_s)
        if step.begins:
            self._log_town(moment)
        self._log_ego(step)
        self._log_users(moment)
        self._log_images(moment)
        self._log_series(step)
        if moment.inside is not None:
            log_inside(self._stream, self._rerun, moment, moment.inside)
        self._written += 1

    def _layout(self, moment: Moment) -> Any:
        """The town from behind the learner and the cameras side by side, what is inside below them, then the curves."""
        views, rig = self._blueprint, moment.rig
        x, y, yaw = (float(value) for value in moment.pose)
        behind, ahead = (
            [x + along * math.cos(yaw), y + along * math.sin(yaw), height] for along, height in _EYE_M
        )
        eye = views.EyeControls3D(position=behind, look_target=ahead, tracking_entity=EGO_FRAME)
        space = views.Spatial3DView(origin="town", name="town", eye_controls=eye)
        curves = [views.TimeSeriesView(origin=name, name=f"{name}, {unit}") for name, unit in SERIES.items()]
        pictures = [
            views.Spatial2DView(origin=f"{CAMERAS}/{camera.name}", name=camera.name.replace("_", " "))
            for camera in rig.cameras
        ]
        rows = [views.Horizontal(space, views.Grid(*pictures, grid_columns=3), column_shares=[1, 1])]
        shares = [6]
        if moment.inside is not None:
            # As wide as the window: it is a strip of text and bars.
            rows.append(views.Spatial2DView(origin=INSIDE_PANEL, name="what the network says, and how it is"))
            shares.append(2)
        rows.append(views.Horizontal(*curves))
        return views.Blueprint(views.Vertical(*rows, row_shares=[*shares, 2]), collapse_panels=True)

    def _log_constants(self, rig: CameraRig) -> None:
        """Axes, cameras and the names of curves."""
        rerun, stream = self._rerun, self._stream
        stream.log("town", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        for camera in rig.cameras:
            entity = f"{CAMERAS}/{camera.name}"
            ego_from_camera = camera_axes(camera).T
            pose = rerun.Transform3D(translation=camera.position_in_ego, mat3x3=ego_from_camera)
            lens = rerun.Pinhole(
                focal_length=focal_length_px(camera),
                width=camera.width,
                height=camera.height,
                camera_xyz=rerun.ViewCoordinates.RDF,
                image_plane_distance=1.0,
            )
            stream.log(entity, pose, lens, static=True)
        length, width, height, overhang = (float(value) for value in VEHICLE_SIZES[AgentKind.CAR])
        body = rerun.Boxes3D(
            centers=[[length / 2.0 - overhang, 0.0, height / 2.0]],
            sizes=[[length, width, height]],
            colors=[_EGO_COLOUR],
        )
        stream.log(f"{EGO_FRAME}/body", body, static=True)
        for name, colour in (("wanted", _WANTED_COLOUR), ("carried_out", _CARRIED_OUT_COLOUR)):
            line = rerun.SeriesLines(colors=[colour], names=[name.replace("_", " ")])
            for series in ("curvature", "acceleration"):
                stream.log(f"{series}/{name}", line, static=True)
        stream.log("speed", rerun.SeriesLines(colors=[_EGO_COLOUR], names=["speed"]), static=True)

    def _log_town(self, moment: Moment) -> None:
        self._stream.log(MAP, self._rerun.Clear(recursive=True))
        for kind, lines in lane_lines(moment.world, moment.town).items():
            strips = [np.pad(line, ((0, 0), (0, 1))) for line in lines]
            drawn = self._rerun.LineStrips3D(strips, colors=[_LANE_COLOURS[kind]], radii=[0.06])
            self._stream.log(f"{MAP}/{kind.name.lower()}", drawn)
        town = self._towns[moment.town] if moment.town < len(self._towns) else f"town {moment.town}"
        self._stream.log("events", self._rerun.TextLog(f"{town}, seed {moment.seed}"))

    def _log_ego(self, step: DrivenStep) -> None:
        rerun, (x, y, yaw) = self._rerun, (float(value) for value in step.moment.pose)
        turn = rerun.Quaternion(xyzw=[0.0, 0.0, math.sin(yaw / 2.0), math.cos(yaw / 2.0)])
        self._stream.log(EGO_FRAME, rerun.Transform3D(translation=[x, y, 0.0], quaternion=turn))
        poses = np.nan_to_num(step.plan.poses_in_ego[0].astype(np.float64))
        line = np.concatenate([np.zeros((1, 3)), np.pad(poses[:, :2], ((0, 0), (0, 1)))])
        line[:, 2] = 0.1
        strip = rerun.LineStrips3D([line], colors=[_PLAN_COLOUR], radii=[0.12])
        self._stream.log(f"{EGO_FRAME}/plan", strip)

    def _log_users(self, moment: Moment) -> None:
        """Boxes of all other road users of the world."""
        rerun, state = self._rerun, moment.state
        present = state.kind[0] != AgentKind.NONE
        present[moment.agent] = False
        kinds, (x, y, yaw) = state.kind[0, present], state.pose[0, present].astype(np.float64).T
        length, width, height, overhang = VEHICLE_SIZES[kinds].astype(np.float64).T
        ahead = length / 2.0 - overhang
        centres = np.stack([x + ahead * np.cos(yaw), y + ahead * np.sin(yaw), height / 2.0], axis=1)
        zeros = np.zeros_like(yaw)
        turns = np.stack([zeros, zeros, np.sin(yaw / 2.0), np.cos(yaw / 2.0)], axis=1)
        boxes = rerun.Boxes3D(
            centers=centres,
            sizes=np.stack([length, width, height], axis=1),
            quaternions=turns,
            colors=[_kind_colour(int(kind)) for kind in kinds],
            labels=[AgentKind(int(kind)).name.lower() for kind in kinds],
            show_labels=False,
        )
        self._stream.log(USERS, boxes)

    def _log_images(self, moment: Moment) -> None:
        for group, pictures in zip(moment.rig.groups, moment.images, strict=True):
            for camera, picture in zip(group, pictures, strict=True):
                image = self._rerun.EncodedImage(contents=encode_jpeg(picture), media_type="image/jpeg")
                self._stream.log(f"{CAMERAS}/{camera.name}", image)

    def _log_series(self, step: DrivenStep) -> None:
        plan, scalars, log = step.plan, self._rerun.Scalars, self._stream.log
        log("speed", scalars(step.moment.speed_mps * 3.6))
        log("curvature/wanted", scalars(float(plan.curvature_1pm[0])))
        log("curvature/carried_out", scalars(step.curvature_1pm))
        log("acceleration/wanted", scalars(float(plan.acceleration_mps2[0])))
        log("acceleration/carried_out", scalars(step.acceleration_mps2))
        log("driver", self._rerun.TextLog(step.driver.name.lower().replace("_", " ")))


class RerunFile(_RerunLog):
    """Writes the steps of a recording as an .rrd."""

    def __init__(self, path: Path, towns: Sequence[str], title: str) -> None:
        super().__init__(towns, title or path.stem)
        self._path, self._open = path, contextlib.ExitStack()
        self._partial = self._open.enter_context(replacing_file(path))

    def _begin(self, layout: Any) -> None:
        self._stream.save(self._partial, default_blueprint=layout)

    def close(self, failed: bool) -> None:
        """Finish the file; after a failure, or without a step, there is none."""
        self._stream.disconnect()
        self.paths += close_file(self._open, self._path, failed, is_empty=not self._written)


class RerunViewer(_RerunLog):
    """Shows the steps of a recording while they are driven, in a viewer that it opens, at most at the speed of life."""

    def __init__(self, towns: Sequence[str], title: str) -> None:
        require_display()
        super().__init__(towns, title)
        self._started_s = 0.0

    def _begin(self, layout: Any) -> None:
        self._stream.spawn(default_blueprint=layout)
        self._started_s = time.monotonic()

    def write(self, step: DrivenStep) -> None:
        """Show a step, when its time has come."""
        super().write(step)
        time.sleep(max(self._started_s + step.time_s - time.monotonic(), 0.0))

    def close(self, failed: bool) -> None:
        """The viewer stays open."""
        self._stream.disconnect()


def require_display() -> None:
    """Refuse to open a window where there is none to be had.

    Raises:
        ConfigError: a Unix other than macOS, and neither X nor Wayland is there.
    """
    windowless = sys.platform not in ("win32", "darwin")
    if windowless and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise ConfigError(
            "view: there is no display to show it on; use --view-file drive.rrd (or .mp4) and open that elsewhere"
        )


def _kind_colour(kind: int) -> tuple[int, int, int]:
    red, green, blue = KIND_COLOURS.get(AgentKind(kind), (0.7, 0.7, 0.7))
    return round(255 * red), round(255 * green), round(255 * blue)
