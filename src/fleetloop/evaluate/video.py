"""Short clips as data addresses, so that a page holds them itself."""

import base64
import io
import tempfile
from pathlib import Path

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
    # yuv420p, which every browser plays, takes even sizes only.
    height, width = frames.shape[1:3]
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    # To move the index to the front, the muxer opens its file again by name.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with av.open(path, "w", options={"movflags": "faststart"}) as container:
            stream = container.add_stream("libx264", rate=rate_hz, options=_SAME_BYTES | {"crf": "24"})
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            for image in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        return path.read_bytes()


def _encode_webp(frames: UInt8[np.ndarray, "T H W 3"], rate_hz: int) -> bytes:
    images = [Image.fromarray(image) for image in frames]
    buffer = io.BytesIO()
    images[0].save(
        buffer, "WEBP", save_all=True, append_images=images[1:], duration=1000 // rate_hz, loop=0, quality=70
    )
    return buffer.getvalue()
