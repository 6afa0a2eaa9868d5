"""Scenes to camera images."""

import functools
import threading
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from fleetloop.core.pinhole import camera_axes, focal_length_px
from fleetloop.core.types import Camera, CameraRig, Scene, Surface, World
from fleetloop.sim.cameras.appearance import Appearance
from fleetloop.sim.cameras.fields import BOX_FIELDS, CAMERA_FIELDS, LAMP_FIELDS, LIGHT_FIELDS, SIGN_FIELDS
from fleetloop.sim.cameras.gather import MAX_BOXES, MAX_SIGNS, gather
from fleetloop.sim.cameras.lamps import MAX_LAMPS
from fleetloop.sim.cameras.raster import draw
from fleetloop.sim.cameras.signs import sign_pictures

_DETAIL_FOCAL_PX = 116.0
"""Cameras up to this focal length (the finest of the usual rig) see the finer parts of road users only where they
fill pixels; with longer ones they are seen from farther away, in proportion, but at most _MOST_DETAIL times."""
_MOST_DETAIL = 5.0

_scratch = threading.local()


@functools.lru_cache(maxsize=64)
def camera_rows(group: tuple[Camera, ...]) -> Float32[np.ndarray, "cameras fields"]:
    """The cameras of a group as rows of CameraField; not to be written to."""
    rows = np.empty((len(group), CAMERA_FIELDS), np.float32)
    for row, camera in zip(rows, group, strict=True):
        row[:] = (*camera.position_in_ego, *camera_axes(camera).ravel(), focal_length_px(camera))
    return rows


class Gathered(NamedTuple):
    """What `gather` finds around the learners of a batch of scenes; rows by the enums of `cameras.fields`."""

    boxes: Float32[np.ndarray, "B boxes fields"]
    signs: Float32[np.ndarray, "B signs fields"]
    lamps: Float32[np.ndarray, "B lamps fields"]
    counts: Int32[np.ndarray, "B 3"]
    """How many boxes, signs and lamps there are."""
    light: Float32[np.ndarray, "B fields"]
    ground: Float32[np.ndarray, "B surfaces 3"]


def empty_gathered(batch: int) -> Gathered:
    """Room for what `gather` finds."""
    return Gathered(
        boxes=np.empty((batch, MAX_BOXES, BOX_FIELDS), np.float32),
        signs=np.empty((batch, MAX_SIGNS, SIGN_FIELDS), np.float32),
        lamps=np.empty((batch, MAX_LAMPS, LAMP_FIELDS), np.float32),
        counts=np.empty((batch, 3), np.int32),
        light=np.empty((batch, LIGHT_FIELDS), np.float32),
        ground=np.empty((batch, len(Surface), 3), np.float32),
    )


def _gathered(batch: int) -> Gathered:
    """`empty_gathered`, kept between calls and grown when a batch is larger than any before."""
    held: Gathered | None = getattr(_scratch, "held", None)
    if held is None or len(held.boxes) < batch:
        held = _scratch.held = empty_gathered(batch)
    return Gathered(*(array[:batch] for array in held))


@functools.lru_cache(maxsize=64)
def detail_of(rig: CameraRig) -> np.float32:
    """Factor on the range of the finer parts of road users."""
    finest = max((focal_length_px(camera) for camera in rig.cameras), default=1.0)
    return np.float32(min(max(finest / _DETAIL_FOCAL_PX, 1.0), _MOST_DETAIL))


def image_shapes(rig: CameraRig, batch: int) -> tuple[tuple[int, int, int, int, int], ...]:
    """Shapes of the arrays that `render` returns: (batch, cameras, height, width, 3) for each group."""
    return tuple((batch, len(group), group[0].height, group[0].width, 3) for group in rig.groups)


def check_rig(rig: CameraRig) -> None:
    """Make sure that the pictures of each group fit one array.

    Raises:
        ValueError: they differ in size.
    """
    for group in rig.groups:
        if len({(camera.width, camera.height) for camera in group}) != 1:
            raise ValueError("rig: the cameras of a group must have images of equal size")


def _check(rig: CameraRig, scene: Scene, appearance: Appearance, out: tuple[np.ndarray, ...]) -> None:
    check_rig(rig)
    batch = len(scene.town)
    if len(appearance.exposure) != batch:
        raise ValueError(
            f"appearance: expected {batch} rows, one for each scene, got {len(appearance.exposure)}"
        )
    shapes = image_shapes(rig, batch)
    for array, shape in zip(out, shapes, strict=True):
        if array.shape != shape or array.dtype != np.uint8 or not array.flags.c_contiguous:
            raise ValueError(f"out: expected contiguous uint8 arrays of shapes {shapes}")


def render(
    world: World,
    rig: CameraRig,
    scene: Scene,
    appearance: Appearance,
    out: tuple[np.ndarray, ...] | None = None,
) -> tuple[UInt8[np.ndarray, "B cameras height width 3"], ...]:
    """What every camera of the rig sees: RGB, one array for each group of the rig.

    Args:
        appearance: a row for each scene.
        out: arrays of `image_shapes(rig, batch)` to draw into; new ones without it.

    The learner's own car is not drawn. The same scene gives the same pictures whatever the batch and the
    number of threads.

    Raises:
        ValueError: arrays do not fit one another.
    """
    batch = len(scene.town)
    if out is None:
        out = tuple(np.empty(shape, np.uint8) for shape in image_shapes(rig, batch))
    _check(rig, scene, appearance, out)
    # Kernels are compiled for contiguous arrays only: slices of a scene would compile them anew.
    scene = Scene(*(np.ascontiguousarray(array) for array in scene))
    appearance = Appearance(*(np.ascontiguousarray(array) for array in appearance))
    boxes, signs, lamps, counts, light, ground = _gathered(batch)
    gather(
        scene,
        (
            world.town_origin_m,
            world.town_cells_shape,
            world.town_first_cell,
            world.cell_start,
            world.sign_start,
        ),
        (world.boxes, world.box_signal, world.box_lamp),
        (
            world.signal_cycle_s,
            world.signal_offset_s,
            world.phase_start,
            world.phase_end_s,
            world.phase_colour,
        ),
        (world.signs, world.sign_image),
        appearance,
        detail_of(rig),
        (boxes, signs, lamps),
        counts,
        light,
        ground,
    )
    tiles = (
        world.town_origin_m,
        world.town_tiles_shape,
        world.town_first_tile,
        world.tile_index,
        world.tiles.reshape(-1),
    )
    pictures = sign_pictures(world.sign_images)
    first_camera = 0
    for group, images in zip(rig.groups, out, strict=True):
        draw(
            camera_rows(group),
            scene,
            appearance.noise_seed,
            (boxes, signs, lamps),
            counts,
            light,
            ground,
            tiles,
            pictures,
            first_camera,
            images,
        )
        first_camera += len(group)
    return out
