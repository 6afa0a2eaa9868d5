"""Short clips as data addresses, so that a page holds them itself."""

import base64
import io
import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image

_SMALL_PIXELS = 640
"""Clips narrower than this are doubled, or yuv420p would smear the colours of their few pixels."""

_SAME_BYTES = {"threads": "1", "x264-params": "cpu-independent=1"}
"""The same pictures give the same file. Some of x264's assembly differs by CPU and by where a buffer lies
in memory: without `cpu-independent` one encoding in two to a hundred differed."""


def encode_clip(frames: UInt8[np.ndarray, "T H W 3"], rate_hz: int = 10) -> tuple[str, str]:
    """RGB frames as (media type, data address): H.264 in MP4, or animated WebP where PyAV has no H.264.

    Raises:
        ValueError: there are no frames, or they are not RGB bytes.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(f"a clip is uint8 [T, H, W, 3], not {frames.dtype} {list(frames.shape)}")
    if frames.shape[2] < _SMALL_PIXELS:
        frames = frames.repeat(2, axis=1).repeat(2, axis=2)
    if "libx264" in av.codecs_available:
        media_type, content = "video/mp4", encode_h264(frames, rate_hz)
    else:
        media_type, content = "image/webp", _encode_webp(frames, rate_hz)
    return media_type, f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def encode_h264(frames: UInt8[np.ndarray, "T H W 3"], rate_hz: int) -> bytes:
    """RGB frames as the bytes of an MP4 file with H.264."""
    # To move the index to the front, the muxer opens its file again by name.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with H264File(path, rate_hz) as video:
            for image in frames:
                video.write(image)
        return path.read_bytes()


class H264File:
    """An MP4 file with H.264 that grows frame by frame; a context manager."""

    def __init__(self, path: Path, rate_hz: int) -> None:
        self.frames = 0
        """Written so far."""
        self._rate_hz = rate_hz
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        self._stream: Any = None

    def __enter__(self) -> "H264File":
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()

    def write(self, image: UInt8[np.ndarray, "H W 3"]) -> None:
        """Append an RGB frame; all are of one size."""
        # yuv420p, which every browser plays, takes even sizes only.
        height, width = image.shape[:2]
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._stream is None:
            options = _SAME_BYTES | {"crf": "24"}
            self._stream = self._container.add_stream("libx264", rate=self._rate_hz, options=options)
            self._stream.height, self._stream.width = image.shape[:2]
            self._stream.pix_fmt = "yuv420p"
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        self.frames += 1


def _encode_webp(frames: UInt8[np.ndarray, "T H W 3"], rate_hz: int) -> bytes:
    images = [Image.fromarray(image) for image in frames]
    buffer = io.BytesIO()
    images[0].save(
        buffer, "WEBP", save_all=True, append_images=images[1:], duration=1000 // rate_hz, loop=0, quality=70
    )
    return buffer.getvalue()
