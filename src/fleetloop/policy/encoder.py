"""One convolutional encoder for all cameras; the cameras' geometry generates how their cells are pooled."""

import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from fleetloop.core.types import Camera, CameraRig

STRIDE = 16
"""Pixels of an image that one cell of the feature map stands for, along each axis."""

FIRST_CENTRE_PX = 2.0
"""From the edge of an image to the middle of what the first cell stands for."""
_RAY_OCTAVES = 5
GEOMETRY_FEATURES = 3 * (1 + 2 * _RAY_OCTAVES) + 3 + 1


def cell_rays(camera: Camera) -> Float32[np.ndarray, "cells 3"]:
    """Unit direction, in the ego frame, that the centre of each cell's receptive field looks along.

    Row by row. The first convolution (6x6, stride 4, padding 1) centres its output i on pixel 4 i + 1.5, each 3x3 of
    stride 2 and padding 1 on input 2 i, and those of stride 1 on their own place: cell i is centred on pixel
    16 i + 1.5, 16 i + 2 from the edge.
    """
    focal_px = 0.5 * camera.width / math.tan(0.5 * camera.horizontal_field_of_view)
    column_px = np.arange(0, camera.width, STRIDE) + FIRST_CENTRE_PX - 0.5 * camera.width
    row_px = np.arange(0, camera.height, STRIDE) + FIRST_CENTRE_PX - 0.5 * camera.height
    row, column = np.meshgrid(row_px, column_px, indexing="ij")
    forward, left, up = np.ones(row.size), -column.ravel() / focal_px, -row.ravel() / focal_px
    pitched_forward = math.cos(camera.pitch) * forward - math.sin(camera.pitch) * up
    pitched_up = math.sin(camera.pitch) * forward + math.cos(camera.pitch) * up
    rays = np.stack(
        [
            math.cos(camera.yaw) * pitched_forward - math.sin(camera.yaw) * left,
            math.sin(camera.yaw) * pitched_forward + math.cos(camera.yaw) * left,
            pitched_up,
        ],
        axis=-1,
    )
    return (rays / np.linalg.norm(rays, axis=-1, keepdims=True)).astype(np.float32)


def geometry_features(cameras: tuple[Camera, ...]) -> Float32[np.ndarray, "cells features"]:
    """What the pooling weights are generated from, for the cells of all cameras of a group, camera by camera.

    The ray and its sines and cosines at octaves (as positional encodings do: Tancik et al., "Fourier features
    let networks learn high frequency functions", NeurIPS 2020), the mount position, and the angle a cell
    spans, which tells a narrow camera from a wide one that looks the same way.
    """
    features = []
    for camera in cameras:
        rays = cell_rays(camera)
        octaves = np.concatenate([rays * 2.0**octave for octave in range(_RAY_OCTAVES)], axis=-1)
        mount = np.broadcast_to(np.array(camera.position_in_ego) / 2.0, rays.shape)
        span = math.log(camera.horizontal_field_of_view / camera.width * STRIDE / 0.2)
        features.append(
            np.concatenate(
                [rays, np.sin(octaves), np.cos(octaves), mount, np.full_like(rays[:, :1], span)], axis=-1
            )
        )
    return np.concatenate(features).astype(np.float32)


def cell_count(camera: Camera) -> int:
    """How many cells the picture of a camera has."""
    return (camera.height // STRIDE) * (camera.width // STRIDE)


@lru_cache(maxsize=64)
def rig_geometry(rig: CameraRig) -> tuple[Float32[np.ndarray, "cells features"], ...]:
    """`geometry_features` of each group of the rig: the network's input that says where its cameras are."""
    return tuple(map(geometry_features, rig.groups))


class CameraEncoder(nn.Module):
    """Images -> one embedding for each group of cameras.

    A flatten-and-project layer would tie the network to one rig. Here the weight that a cell has in the
    embedding is generated from the cell's geometry: `basis` functions of the ray weigh the cells, and a
    linear layer mixes what they gathered. Geometry is an input, one for the whole batch, so the same weights
    work with cameras placed elsewhere.

    The first convolution goes straight to a quarter of the resolution: at equal processor time that beat two
    convolutions of stride 2 in every reading tried (lane offset, heading, gap ahead, signal colour).
    """

    def __init__(self, channels: tuple[int, ...], basis: int, width: int) -> None:
        """`channels` of three convolutions that bring images to STRIDE, and of more that keep the cells."""
        super().__init__()
        layers: list[nn.Module] = []
        for number, (inputs, outputs) in enumerate(zip((3, *channels[:-1]), channels, strict=True)):
            kernel, stride = ((6, 4), (3, 2), (3, 2))[number] if number < 3 else (3, 1)
            convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=1)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)  # pyright: ignore[reportArgumentType]
            layers += [convolution, nn.ReLU(inplace=True)]
        self.convolutions = nn.Sequential(*layers)
        self.channels = channels[-1]
        self.basis = nn.Sequential(nn.Linear(GEOMETRY_FEATURES, 128), nn.ReLU(), nn.Linear(128, basis))
        self.project = nn.Linear(channels[-1] * basis, width)

    def cells(self, images: UInt8[Tensor, "B cameras height width 3"]) -> Float[Tensor, "B cells channels"]:
        """The feature maps of the cameras of one group of a rig, camera by camera and row by row."""
        batch, cameras, height, width, _ = images.shape
        # Already channels-last in memory: the permutation copies nothing.
        pixels = images.reshape(batch * cameras, height, width, 3).permute(0, 3, 1, 2)
        scaled = pixels.to(
            torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        )
        cells = self.convolutions(scaled * (1.0 / 64.0) - 2.0)
        return cells.permute(0, 2, 3, 1).reshape(batch, -1, self.channels)

    def pool(
        self, cells: Float[Tensor, "B cells channels"], geometry: Float32[Tensor, "cells features"]
    ) -> Float[Tensor, "B width"]:
        """Embedding of the cells of one group of a rig, given that group's `geometry_features`."""
        weights = self.basis(geometry) / math.sqrt(cells.shape[1])
        gathered = torch.matmul(cells.transpose(1, 2), weights.to(cells.dtype))
        return self.project(gathered.flatten(1))

    def forward(
        self,
        images: UInt8[Tensor, "B cameras height width 3"],
        geometry: Float32[Tensor, "cells features"],
    ) -> Float[Tensor, "B width"]:
        """Embedding of the cameras of one group of a rig, and that group's `geometry_features`."""
        return self.pool(self.cells(images), geometry)
