"""Scenes to camera images on the GPU."""

from enum import StrEnum
from typing import Any

import numpy as np

from fleetloop.core.types import CameraRig, Scene, Surface, World
from fleetloop.sim.cameras.appearance import Appearance
from fleetloop.sim.cameras.fields import BOX_FIELDS, LAMP_FIELDS, LIGHT_FIELDS, SIGN_FIELDS
from fleetloop.sim.cameras.gather import MAX_BOXES, MAX_SIGNS
from fleetloop.sim.cameras.lamps import MAX_LAMPS
from fleetloop.sim.cameras.render import camera_rows, check_rig, detail_of, image_shapes
from fleetloop.sim.cameras.signs import sign_pictures
from fleetloop.sim.gpu import raster
from fleetloop.sim.gpu.arrays import array_on_gpu, bytes_of, require_gpu
from fleetloop.sim.gpu.traffic import launch

_FINISHING_THREADS = 64


class Rasteriser(StrEnum):
    """How pictures are shared out among threads; `gpu.raster` says more."""

    ROWS = "rows"
    """A block for each band of a picture with its z-buffer in shared memory, a thread for each row."""
    PIXELS = "pixels"
    """A thread for each pixel."""


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
        self._tiles = array_on_gpu(world.tiles.reshape(-1))
        self._world = world_on_gpu
        shapes = image_shapes(rig, batch)
        self._bands = [raster.rows_of_band(height, width) for _, _, height, width, _ in shapes]
        self.images: tuple[Any, ...] = tuple(array_on_gpu(np.zeros(shape, np.uint8)) for shape in shapes)
        self._boxes = array_on_gpu(np.zeros((batch, MAX_BOXES, BOX_FIELDS), np.float32))
        self._plates = array_on_gpu(np.zeros((batch, MAX_SIGNS, SIGN_FIELDS), np.float32))
        self._lamps = array_on_gpu(np.zeros((batch, MAX_LAMPS, LAMP_FIELDS), np.float32))
        self._counts = array_on_gpu(np.zeros((batch, 3), np.int32))
        self._light = array_on_gpu(np.zeros((batch, LIGHT_FIELDS), np.float32))
        self._ground = array_on_gpu(np.zeros((batch, len(Surface), 3), np.float32))
        most = max(shape[1] for shape in shapes)
        self._seen = array_on_gpu(np.zeros((batch * most, MAX_BOXES), np.uint8))

    @property
    def scene_bytes(self) -> int:
        """Bytes on the GPU for what is gathered around the learners."""
        return bytes_of((self._boxes, self._plates, self._lamps, self._counts, self._light, self._ground))

    @property
    def picture_bytes(self) -> int:
        """Bytes on the GPU for pictures, and for which lamps are seen in each."""
        return bytes_of((*self.images, self._seen))

    def render(
        self, scene: Scene, appearance: Appearance, rasteriser: Rasteriser = Rasteriser.ROWS
    ) -> tuple[Any, ...]:
        """Draw what every camera sees into `images`; scene and appearance are on the GPU, a row for each scene.

        The pictures are those of `cameras.render` within the tolerance of the tests.
        """
        self._gather(scene, appearance)
        world, first_camera = self._world, 0
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
                *(cameras, scene, self._boxes, self._plates, self._lamps, self._counts, self._light),
                *(self._ground, grid, self._pictures, self._seen, images),
            )
            raster.finish_pictures[pictures, _FINISHING_THREADS](
                *(cameras, scene, appearance.noise_seed, self._boxes, self._counts, self._light),
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
            *((world.signs, world.sign_image), appearance, self._detail),
            *(self._boxes, self._plates, self._lamps, self._counts, self._light, self._ground),
        )
