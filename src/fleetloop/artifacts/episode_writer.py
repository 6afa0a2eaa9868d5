"""Writes an Episode as MCAP with the Foxglove SDK: opens in Foxglove as it is, survives a killed writer.

Measured on one core, 96x64 drawn street pictures: a JPEG (quality 90, colour at full resolution, since a
signal's lamp is a pixel or two) costs 0.05 ms and 2.6 kB, H.264 (ultrafast) 0.05 ms and 0.7 kB. JPEG is taken
all the same: every picture stands alone, so that none is lost with its group of pictures when a writer is
killed, and the very bytes can move on into a Dataset that is read at random.
"""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import foxglove
import numpy as np
import orjson
from foxglove import messages
from foxglove.mcap import MCAPWriteOptions
from jaxtyping import Float, UInt8
from PIL import Image

from fleetloop.artifacts import channels
from fleetloop.artifacts.channels import CALIBRATION_PREFIX, CAMERA_PREFIX, Channel
from fleetloop.artifacts.episode import (
    EPISODE_MAXIMUM_S,
    EpisodeEvent,
    EpisodeMetadata,
    EpisodeStep,
    metadata_to_json,
)
from fleetloop.artifacts.episode_view import (
    camera_calibration,
    camera_transforms,
    frame_transform,
    lane_map,
    plan_poses,
    road_users,
    timestamp,
)
from fleetloop.core.errors import EpisodeError
from fleetloop.core.files import PARTIAL_SUFFIX, storage_errors
from fleetloop.core.labels import Labels
from fleetloop.core.scene import SCENE_BYTES
from fleetloop.core.types import LaneKind

METADATA_NAME = "fleetloop.episode"
CHUNK_BYTES = 64 * 1024
FLUSH_NS = 1_000_000_000
"""Recorded time after which the open chunk is closed: what a killed writer can lose."""

JPEG_QUALITY = 90
VIEW_INTERVAL_NS = round(1e9 / channels.VIEW_HZ)


class EpisodeWriter:
    """Records steps and events; a context manager.

    The file grows as PATH.partial and takes its name when the block ends without an error. After an error or
    a kill the partial file stays: `recover_episode` makes an Episode of what it holds. The bytes depend on
    what is written alone: the same steps make the same file.
    """

    def __init__(self, path: Path, metadata: EpisodeMetadata) -> None:
        """Start recording to `path` (.mcap); an older partial file is overwritten.

        Raises:
            StorageError: the file cannot be written.
        """
        self.path = path
        self.metadata = metadata
        self.partial = path.with_name(path.name + PARTIAL_SUFFIX)
        self._first_ns: int | None = None
        self._last_ns: int | None = None
        self._flushed_ns: int | None = None
        self._viewed_ns: int | None = None
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _RememberingFile(self.partial)
        options = MCAPWriteOptions(chunk_size=CHUNK_BYTES, compression_threads=0, profile="fleetloop")
        self._context = foxglove.Context()
        self._writer: Any = foxglove.open_mcap(self._file, context=self._context, writer_options=options)
        fields = metadata_to_json(metadata)
        as_text = {
            name: value if isinstance(value, str) else orjson.dumps(value).decode()
            for name, value in fields.items()
        }
        self._writer.write_metadata(METADATA_NAME, as_text)
        self._table = {channel.topic: channel for channel in channels.known_channels(metadata.rig)}
        self._open: dict[str, foxglove.Channel] = {}
        self._writer.flush()
        if self._file.error is not None:
            self._finish()
            self.partial.unlink(missing_ok=True)
        self._raise_storage_error()

    def __enter__(self) -> "EpisodeWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._finish()

    def write_step(self, step: EpisodeStep) -> None:
        """Append one step.

        Raises:
            EpisodeError: the step is not later than the last one, is past a minute, or a field does not fit.
            StorageError: the disk is full.
        """
        time_ns = int(step.timestamp_ns)
        self._check_time(time_ns)
        if step.images is not None:
            self._write_images(step.images, time_ns)
        if step.scene is not None:
            if len(step.scene) != SCENE_BYTES:
                raise EpisodeError(
                    f"{self.path}: scene has {len(step.scene)} bytes, not {SCENE_BYTES}; pack it anew"
                )
            self.log(channels.SCENE.topic, step.scene, time_ns)
        if step.teacher is not None:
            self._log_json(channels.TEACHER, step.teacher, time_ns)
        self._write_view(step, time_ns)
        for channel in channels.STEP_CHANNELS:
            self._log_json(channel, step, time_ns)
        self.end_step(time_ns)

    def write_scenery(
        self, lanes: Mapping[LaneKind, Sequence[Float[np.ndarray, "points 2"]]], time_ns: int
    ) -> None:
        """Append what stands still, for a viewer: lines of lanes in the town frame, and where the cameras look.

        Raises:
            StorageError: the disk is full.
        """
        self.log(channels.LANES_VIEW.topic, lane_map(lanes, time_ns), time_ns)
        self.log(channels.CAMERA_FRAMES.topic, camera_transforms(self.metadata.rig, time_ns), time_ns)
        for camera in self.metadata.rig.cameras:
            self.log(CALIBRATION_PREFIX + camera.name, camera_calibration(camera, time_ns), time_ns)
        self._raise_storage_error()

    def write_event(self, event: EpisodeEvent) -> None:
        """Append an event, at any time.

        Raises:
            StorageError: the disk is full.
        """
        fields = {"kind": event.kind, "value": np.float32(event.value), "text": event.text}
        content = orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY)
        self.log(channels.EVENT.topic, content, int(event.timestamp_ns))
        self._raise_storage_error()

    def log(self, topic: str, content: bytes, time_ns: int) -> None:
        """Append one encoded message as it is; for recovery, which copies them."""
        channel = self._open.get(topic)
        if channel is None:
            row = self._table[topic]
            channel = foxglove.Channel(
                topic, message_encoding=row.encoding, schema=row.schema, context=self._context
            )
            self._open[topic] = channel
        channel.log(content, log_time=time_ns)

    def end_step(self, time_ns: int) -> None:
        """Close the open chunk when it is due.

        Raises:
            StorageError: the disk is full.
        """
        self._first_ns = time_ns if self._first_ns is None else self._first_ns
        self._last_ns = time_ns
        if self._flushed_ns is None or time_ns - self._flushed_ns >= FLUSH_NS:
            self._flushed_ns = time_ns
            self._writer.flush()
        self._raise_storage_error()

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises:
            EpisodeError: no step was written.
            StorageError: the disk is full.
        """
        self._finish()
        self._raise_storage_error()
        if self._last_ns is None:
            self.partial.unlink()
            raise EpisodeError(f"{self.path}: no step was recorded; record at least one")
        with storage_errors(self.path):
            self.partial.replace(self.path)

    def _finish(self) -> None:
        self._writer.close()
        self._file.close()
        for channel in self._open.values():
            channel.close()
            # The SDK keeps every channel it ever made, 26 kB for each Episode, for its own foxglove.log().
            getattr(foxglove.channel, "_channels_by_id", {}).pop(channel.id(), None)

    def _raise_storage_error(self) -> None:
        if self._file.error is not None:
            with storage_errors(self.path):
                raise self._file.error

    def _check_time(self, time_ns: int) -> None:
        if self._last_ns is None or self._first_ns is None:
            return
        if time_ns <= self._last_ns:
            raise EpisodeError(
                f"{self.path}: timestamp_ns {time_ns} is not after {self._last_ns}; write steps in order"
            )
        if time_ns - self._first_ns > EPISODE_MAXIMUM_S * 1e9:
            raise EpisodeError(
                f"{self.path}: is longer than {EPISODE_MAXIMUM_S:.0f} s; close it and begin another Episode"
            )

    def _log_json(self, channel: Channel, source: EpisodeStep | Labels, time_ns: int) -> None:
        fields: dict[str, Any] = {}
        for name, shape in channel.fields.items():
            value = getattr(source, name)
            if shape is str:
                fields[name] = value.name.lower()
            elif shape == ():
                fields[name] = np.float32(value)
            else:
                array = np.ascontiguousarray(value, np.float32)
                if array.shape != shape:
                    raise EpisodeError(
                        f"{self.path}: field {name} has shape {array.shape}, not {shape}; reshape it"
                    )
                fields[name] = array
        self.log(channel.topic, orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY), time_ns)

    def _write_images(
        self, images: tuple[UInt8[np.ndarray, "cameras height width 3"], ...], time_ns: int
    ) -> None:
        groups = self.metadata.rig.groups
        expected = [(len(group), group[0].height, group[0].width, 3) for group in groups]
        if [array.shape for array in images] != expected:
            raise EpisodeError(
                f"{self.path}: images do not fit the rig, which has shapes {expected}; render them with it"
            )
        for group, pictures in zip(groups, images, strict=True):
            for camera, picture in zip(group, pictures, strict=True):
                message = messages.CompressedImage(
                    timestamp=timestamp(time_ns),
                    frame_id=camera.name,
                    data=encode_jpeg(picture),
                    format="jpeg",
                )
                self.log(CAMERA_PREFIX + camera.name, message.encode(), time_ns)

    def _write_view(self, step: EpisodeStep, time_ns: int) -> None:
        self.log(channels.FRAMES.topic, frame_transform(step.ego_pose, time_ns), time_ns)
        if self._viewed_ns is not None and time_ns - self._viewed_ns < VIEW_INTERVAL_NS:
            return
        self._viewed_ns = time_ns
        self.log(channels.PLAN_VIEW.topic, plan_poses(step.plan_poses, time_ns), time_ns)
        if step.scene is not None:
            self.log(channels.ROAD_USERS_VIEW.topic, road_users(step.scene, time_ns), time_ns)


def encode_jpeg(picture: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """An RGB picture as JPEG."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return content.getvalue()


class _RememberingFile:
    """A file that remembers the first error, and from then on takes everything and keeps nothing.

    The SDK only logs that a write failed; the recorder must know, and stop with a sentence for the user.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._position = self._end = 0
        self.error: OSError | None = None

    def write(self, data: bytes | bytearray) -> int:
        written = len(data)
        if self.error is None:
            try:
                written = self._file.write(data)
            except OSError as error:
                self.error = error
        self._position += written
        self._end = max(self._end, self._position)
        return written

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        self._position = start + offset
        if self.error is None:
            self._file.seek(self._position)
        return self._position

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        try:
            if self.error is None:
                os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            self.error = self.error or error
