"""Scenes to camera images on the GPU."""

from enum import StrEnum
from typing import Any

import numpy as np

from fleetloop.core.types import Camera, CameraRig, Scene, World
from fleetloop.sim.cameras.appearance import Appearance
from fleetloop.sim.cameras.gather import MAX_BOXES
from fleetloop.sim.cameras.render import camera_rows, check_rig, detail_of, empty_gathered, image_shapes
from fleetloop.sim.cameras.signs import sign_pictures
from fleetloop.sim.gpu import raster
from fleetloop.sim.gpu.arrays import array_on_gpu, bytes_of, on_gpu, require_gpu
from fleetloop.sim.gpu.traffic import launch

_FINISHING_THREADS = 64


class Rasteriser(StrEnum):
    """How pictures are shared out among threads; `gpu.raster` says more."""

    ROWS = "rows"
    """A block for each band of a picture with its z-buffer in shared memory, a thread for each row."""
    PIXELS = "pixels"
    """A thread for each pixel."""


def bytes_per_scene() -> int:
    """Bytes that GpuCameras keeps on the GPU for each scene, whatever its cameras."""
    return bytes_of(empty_gathered(1))


def bytes_per_camera(camera: Camera) -> int:
    """Bytes that GpuCameras keeps on the GPU for each picture: its own, and which lamps are seen in it."""
    return 3 * camera.width * camera.height + MAX_BOXES


class GpuCameras:
    """A rig for a batch of scenes: pictures appear in `images`, on the GPU, and are drawn over by the next call.

    `images` has an array [B, cameras, height, width, 3] for each group of the rig; `torch.as_tensor` of one is a
    tensor on the same memory. Nothing is allocated after the start.
    """

    def __init__(self, world: World, world_on_gpu: World, rig: CameraRig, batch: int) -> None:
        """Make room for the pictures.

        Args:
            world: on the host, `world_on_gpu` its copy (`arrays.on_gpu`).
            batch: number of scenes.

        Raises:
            ConfigError: there is no GPU.
            ValueError: the cameras of a group differ in size, or are too wide.
        """
        require_gpu()
        check_rig(rig)
        self._batch, self._detail = batch, detail_of(rig)
        self._cameras = [array_on_gpu(camera_rows(group)) for group in rig.groups]
        self._pictures = array_on_gpu(sign_pictures(world.sign_images))
        self._world, self._tiles = world_on_gpu, world_on_gpu.tiles.reshape(-1)
        shapes = image_shapes(rig, batch)
        self._bands = [raster.rows_of_band(height, width) for _, _, height, width, _ in shapes]
        self.images: tuple[Any, ...] = tuple(array_on_gpu(np.zeros(shape, np.uint8)) for shape in shapes)
        self._gathered = on_gpu(empty_gathered(batch))
        most = max(shape[1] for shape in shapes)
        self._seen = array_on_gpu(np.zeros((batch * most, MAX_BOXES), np.uint8))

    def render(
        self, scene: Scene, appearance: Appearance, rasteriser: Rasteriser = Rasteriser.ROWS
    ) -> tuple[Any, ...]:
        """Draw what every camera sees into `images`; scene and appearance are on the GPU, a row for each scene.

        The pictures are those of `cameras.render` within the tolerance of the tests.
        """
        self._gather(scene, appearance)
        world, gathered, first_camera = self._world, self._gathered, 0
        grid = (
            *(world.town_origin_m, world.town_tiles_shape, world.town_first_tile, world.tile_index),
            self._tiles,
        )
        for cameras, rows, images in zip(self._cameras, self._bands, self.images, strict=True):
            _, count, height, width, _ = images.shape
            pictures = self._batch * count
            if rasteriser is Rasteriser.ROWS:
                kernel = raster.row_drawer(rows, width)[(pictures, -(-height // rows)), rows]
            else:
                tiles = (-(-height // raster.TILE_ROWS), -(-width // raster.TILE_COLUMNS))
                kernel = raster.pixel_drawer()[(pictures, *tiles), raster.TILE_ROWS * raster.TILE_COLUMNS]
            kernel(
                *(cameras, scene, *self._gathered, grid, self._pictures, self._seen, images),
            )
            raster.finish_pictures[pictures, _FINISHING_THREADS](
                *(cameras, scene, appearance.noise_seed, gathered.boxes, gathered.counts, gathered.light),
                *(self._seen, first_camera, images),
            )
            first_camera += count
        return self.images

    def _gather(self, scene: Scene, appearance: Appearance) -> None:
        world = self._world
        launch(
            *(raster.gather_scenes, self._batch, scene),
            (
                *(world.town_origin_m, world.town_cells_shape, world.town_first_cell),
                *(world.cell_start, world.sign_start),
            ),
            (world.boxes, world.box_signal, world.box_lamp),
            (
                *(world.signal_cycle_s, world.signal_offset_s),
                *(world.phase_start, world.phase_end_s, world.phase_colour),
            ),
            *((world.signs, world.sign_image), appearance, self._detail, *self._gathered),
        )
