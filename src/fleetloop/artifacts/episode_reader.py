"""Reads Episodes, and recovers those whose writer was killed."""

import io
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import zstandard
from jaxtyping import Int64, Shaped, UInt8
from mcap.exceptions import McapError, RecordLengthLimitExceeded
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Footer, Message, Metadata
from mcap.stream_reader import StreamReader, breakup_chunk
from PIL import Image

from fleetloop.artifacts import channels
from fleetloop.artifacts.channels import CAMERA_PREFIX
from fleetloop.artifacts.episode import (
    Driver,
    Episode,
    EpisodeEvent,
    EpisodeMetadata,
    metadata_from_json,
)
from fleetloop.artifacts.episode_writer import METADATA_NAME, EpisodeWriter
from fleetloop.core.errors import EpisodeError
from fleetloop.core.files import PARTIAL_SUFFIX
from fleetloop.core.labels import Labels, empty_labels
from fleetloop.core.scene import SCENE_BYTES, SCENE_DTYPE
from fleetloop.core.types import AgentKind, CameraRig, Control, SignalColour

RECORD_BYTES_LIMIT = 1 << 28
"""No record of an Episode comes near; the chunk that a killed writer left open claims 2^64 - 1 bytes."""

_CLASSES = {"signal_colour": SignalColour, "junction_control": Control}
_ALWAYS_KNOWN = ("curvature_1pm", "acceleration_mps2")
"""Labels that a network cannot be taught without."""

# What mcap and zstandard raise on bytes that end early or were changed.
_BROKEN = (McapError, zstandard.ZstdError, struct.error, ValueError, KeyError, IndexError, MemoryError)


@dataclass
class _Recording:
    """The messages of an MCAP file that could be read, in the order they were written."""

    metadata: dict[str, str] | None = None
    messages: list[tuple[str, int, bytes]] = field(default_factory=list)
    """Topic, time in ns, content."""
    is_complete: bool = False
    """The file ends as it should."""

    def by_topic(self) -> dict[str, list[tuple[int, bytes]]]:
        grouped: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
        for topic, time_ns, content in self.messages:
            grouped[topic].append((time_ns, content))
        return grouped


def read_episode(path: Path, with_images: bool = False) -> Episode:
    """Read a complete Episode.

    Args:
        with_images: decode the pictures too; they take most of the time and memory.

    Raises:
        EpisodeError: it is missing, empty, truncated, changed or foreign.
    """
    recording = _read_recording(path, with_images)
    metadata = _metadata(path, recording)
    if not recording.is_complete:
        raise EpisodeError(f"{path}: is truncated or damaged; recover_episode() keeps what can be read of it")
    by_topic = recording.by_topic()
    try:
        return _stack(path, metadata, by_topic, with_images)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise EpisodeError(
            f"{path}: a message does not fit the table of channels ({error}); record it again"
        ) from None


def read_frames(path: Path) -> list[tuple[int, tuple[bytes, ...]]]:
    """The recorded pictures as they are, JPEG: for each moment its timestamp_ns and one picture a camera.

    Raises:
        EpisodeError: it is missing, empty, truncated, changed or foreign.
    """
    recording = _read_recording(path, with_images=True)
    metadata = _metadata(path, recording)
    if not recording.is_complete:
        raise EpisodeError(f"{path}: is truncated or damaged; recover_episode() keeps what can be read of it")
    try:
        return _frames(metadata.rig, recording.by_topic())
    except (KeyError, ValueError, IndexError):
        raise EpisodeError(f"{path}: pictures of a camera are missing; record it again") from None


def decode_frames(
    rig: CameraRig, frames: tuple[bytes, ...]
) -> tuple[UInt8[np.ndarray, "cameras height width 3"], ...]:
    """JPEG pictures of all cameras of a rig as RGB arrays, one for each group.

    Raises:
        ValueError: the number or a size of the pictures does not fit the rig.
    """
    if len(frames) != len(rig.cameras):
        raise ValueError(f"frames: {len(frames)} pictures for {len(rig.cameras)} cameras")
    pictures = iter(frames)
    return tuple(
        np.stack([_decode_jpeg(next(pictures), (camera.height, camera.width, 3)) for camera in group])
        for group in rig.groups
    )


def recover_episode(partial: Path) -> Path:
    """Make an Episode of what a killed or failed writer left, or of a truncated file.

    Keeps every step that was written whole; pictures and messages move over byte for byte. PATH.partial
    becomes PATH and is removed; a truncated PATH becomes PATH without its damaged end.

    Returns:
        The path of the Episode.

    Raises:
        EpisodeError: nothing can be recovered: no whole step is left, or it never was an Episode.
        StorageError: the disk is full; the partial file stays.
    """
    recording = _read_recording(partial, with_images=True)
    metadata = _metadata(partial, recording)
    ends = [time_ns for topic, time_ns, _ in recording.messages if topic == channels.CONTROL.topic]
    if not ends:
        raise EpisodeError(
            f"{partial}: holds no whole step, there is nothing to recover; remove it and record again"
        )
    known = {channel.topic for channel in channels.known_channels(metadata.rig)}
    unknown = {topic for topic, _, _ in recording.messages} - known
    if unknown:
        raise EpisodeError(
            f"{partial}: its metadata lacks channel {min(unknown)}, it is damaged; record it again"
        )
    path = partial.with_name(partial.name.removesuffix(PARTIAL_SUFFIX))
    # The copy grows under a name of its own, so that the source outlives a second accident.
    copy = partial.with_name(path.stem + ".recovered" + path.suffix)
    writer = EpisodeWriter(copy, metadata)
    try:
        with writer:
            for topic, time_ns, content in recording.messages:
                if time_ns > ends[-1] and topic != channels.EVENT.topic:
                    continue
                writer.log(topic, content, time_ns)
                if topic == channels.CONTROL.topic:
                    writer.end_step(time_ns)
    finally:
        writer.partial.unlink(missing_ok=True)
    copy.replace(path)
    if partial != path:
        partial.unlink()
    return path


def _read_recording(path: Path, with_images: bool) -> _Recording:
    """Read as far as the bytes make sense.

    Raises:
        EpisodeError: the file is missing, empty, or not MCAP.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EpisodeError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    if not content:
        raise EpisodeError(f"{path}: is empty; record it again")
    if not content.startswith(b"\x89MCAP0\r\n"):
        raise EpisodeError(f"{path}: is not an MCAP recording; give the path of an Episode (.mcap)")
    recording = _Recording()
    topics: dict[int, str] = {}
    try:
        for record in _records(content):
            if isinstance(record, Message):
                topic = topics[record.channel_id]
                if with_images or not topic.startswith(CAMERA_PREFIX):
                    recording.messages.append((topic, record.log_time, record.data))
            elif isinstance(record, Channel):
                topics[record.id] = record.topic
            elif isinstance(record, Metadata) and record.name == METADATA_NAME:
                recording.metadata = record.metadata
        recording.is_complete = True
    except _BROKEN:
        pass
    return recording


def _records(content: bytes) -> Iterator[Any]:
    """Records of an MCAP file, those in chunks included."""
    reader = StreamReader(io.BytesIO(content), emit_chunks=True, record_size_limit=RECORD_BYTES_LIMIT)
    for record in reader.records:
        if isinstance(record, Chunk):
            if record.uncompressed_size > RECORD_BYTES_LIMIT:
                raise RecordLengthLimitExceeded(Opcode.CHUNK, record.uncompressed_size, RECORD_BYTES_LIMIT)
            yield from breakup_chunk(record, validate_crc=True)
        elif not isinstance(record, Footer):
            yield record


def _metadata(path: Path, recording: _Recording) -> EpisodeMetadata:
    if recording.metadata is None:
        if not recording.is_complete:
            raise EpisodeError(f"{path}: is truncated before its first step; record it again")
        raise EpisodeError(f"{path}: is an MCAP recording of something else; give the path of an Episode")
    fields: dict[str, Any] = dict(recording.metadata)
    try:
        for name in ("seed", "world", "rig", "triggers"):
            fields[name] = orjson.loads(fields.get(name, ""))
    except orjson.JSONDecodeError:
        raise EpisodeError(f"{path}: field {name} of the metadata cannot be used; record it again") from None
    return metadata_from_json(fields, str(path))


def _stack(
    path: Path, metadata: EpisodeMetadata, by_topic: dict[str, list[tuple[int, bytes]]], with_images: bool
) -> Episode:
    timestamps = np.array([time_ns for time_ns, _ in by_topic[channels.CONTROL.topic]], np.int64)
    if not len(timestamps):
        raise EpisodeError(f"{path}: holds no step; record it again")
    steps: dict[str, np.ndarray] = {}
    for channel in channels.STEP_CHANNELS:
        if [time_ns for time_ns, _ in by_topic[channel.topic]] != timestamps.tolist():
            raise EpisodeError(f"{path}: channel {channel.topic} lacks steps; record it again")
        steps |= _stack_json(channel, by_topic[channel.topic])
    scenes = np.zeros(len(timestamps), SCENE_DTYPE)
    scene_step = _step_of(timestamps, by_topic[channels.SCENE.topic])
    packed = b"".join(content for _, content in by_topic[channels.SCENE.topic])
    if len(packed) != len(scene_step) * SCENE_BYTES:
        raise EpisodeError(f"{path}: a scene was recorded by another version; record it again")
    scenes[scene_step] = np.frombuffer(packed, SCENE_DTYPE)
    _check_scenes(scenes)
    teacher, teacher_step = _stack_teacher(timestamps, by_topic[channels.TEACHER.topic])
    frames = _frames(metadata.rig, by_topic) if with_images else []
    images = None
    if with_images:
        decoded = [decode_frames(metadata.rig, pictures) for _, pictures in frames]
        images = tuple(
            np.stack([moment[index] for moment in decoded])
            if decoded
            else np.zeros((0, len(group), group[0].height, group[0].width, 3), np.uint8)
            for index, group in enumerate(metadata.rig.groups)
        )
    return Episode(
        metadata=metadata,
        timestamp_ns=timestamps,
        scenes=scenes,
        has_scene=_mask(len(timestamps), scene_step),
        teacher=teacher,
        has_teacher=_mask(len(timestamps), teacher_step),
        events=tuple(_event(time_ns, content) for time_ns, content in by_topic[channels.EVENT.topic]),
        image_step=_step_of(timestamps, frames).astype(np.int32),
        images=images,
        **steps,
    )


def _stack_json(channel: channels.Channel, messages: list[tuple[int, bytes]]) -> dict[str, np.ndarray]:
    rows = orjson.loads(b"[" + b",".join(content for _, content in messages) + b"]")
    stacked = {}
    for name, shape in channel.fields.items():
        if not isinstance(shape, tuple):
            stacked[name] = np.array([Driver[row[name].upper()] for row in rows], np.uint8)
        else:
            # JSON has neither infinities nor NaN: they are null, and NaN here.
            values = np.array([row[name] for row in rows], np.float32)
            stacked[name] = values.reshape(len(rows), *shape)
    return stacked


def _stack_teacher(
    timestamps: Int64[np.ndarray, " T"], messages: list[tuple[int, bytes]]
) -> tuple[Labels, np.ndarray]:
    step = _step_of(timestamps, messages)
    labels = empty_labels(len(timestamps))
    for name, values in _stack_json(channels.TEACHER, messages).items():
        if name in _CLASSES and not np.isin(values, [-1, *_CLASSES[name]]).all():
            raise ValueError(f"{name} is no {_CLASSES[name].__name__}")
        if name in _ALWAYS_KNOWN and not np.isfinite(values).all():
            raise ValueError(f"{name} is not finite")
        kept = getattr(labels, name)
        # A distance is null where there is nothing: it stays infinite.
        kept[step] = np.where(np.isnan(values) & np.isinf(kept[step]), kept[step], values)
    return labels, step


def _check_scenes(scenes: Shaped[np.ndarray, " T"]) -> None:
    """Refuse what nobody recorded: compiled code that draws a scene looks kinds up without asking.

    Raises:
        ValueError: a road user is of no kind, or is nowhere.
    """
    kinds = scenes["agent_kind"]
    if not np.isin(kinds, list(AgentKind)).all():
        raise ValueError("a scene has a road user of an unknown kind")
    poses = np.where((kinds != AgentKind.NONE)[..., None], scenes["agent_pose"], 0.0)
    if not all(np.isfinite(values).all() for values in (scenes["clock_s"], scenes["ego_pose"], poses)):
        raise ValueError("a scene has a pose or a time that is not finite")


def _frames(
    rig: CameraRig, by_topic: dict[str, list[tuple[int, bytes]]]
) -> list[tuple[int, tuple[bytes, ...]]]:
    of_camera = [by_topic[CAMERA_PREFIX + camera.name] for camera in rig.cameras]
    return [
        (moment[0][0], tuple(_image_data(content) for _, content in moment))
        for moment in zip(*of_camera, strict=True)
    ]


def _step_of(timestamps: Int64[np.ndarray, " T"], messages: list[tuple[int, Any]]) -> Int64[np.ndarray, " M"]:
    """Index of the step at which each message was written.

    Raises:
        ValueError: there is no such step.
    """
    times = np.array([time_ns for time_ns, _ in messages], np.int64)
    step = np.searchsorted(timestamps, times)
    if not np.array_equal(timestamps[np.minimum(step, len(timestamps) - 1)], times):
        raise ValueError("its time is that of no step")
    return step


def _mask(length: int, indices: np.ndarray) -> np.ndarray:
    mask = np.zeros(length, bool)
    mask[indices] = True
    return mask


def _event(time_ns: int, content: bytes) -> EpisodeEvent:
    fields = orjson.loads(content)
    value = float("nan") if fields["value"] is None else float(fields["value"])
    return EpisodeEvent(time_ns, str(fields["kind"]), value, str(fields["text"]))


def _image_data(message: bytes) -> bytes:
    """Field 2, data, of an encoded foxglove.CompressedImage, whose fields are all length-delimited.

    https://protobuf.dev/programming-guides/encoding/

    Raises:
        IndexError, ValueError: the message is cut or of another schema.
    """
    position = 0
    while True:
        tag = message[position]
        length, shift, position = 0, 0, position + 1
        while True:
            byte = message[position]
            length |= (byte & 0x7F) << shift
            shift, position = shift + 7, position + 1
            if byte < 0x80:
                break
        if tag == (2 << 3 | 2):
            return message[position : position + length]
        if tag & 7 != 2:
            raise ValueError("a picture is not a foxglove.CompressedImage")
        position += length


def _decode_jpeg(content: bytes, shape: tuple[int, int, int]) -> UInt8[np.ndarray, "height width 3"]:
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            if (image.height, image.width) != shape[:2]:
                raise ValueError(
                    f"a picture is {image.width}x{image.height}, its camera {shape[1]}x{shape[0]}"
                )
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError):
        raise ValueError("a picture is not a readable JPEG") from None
