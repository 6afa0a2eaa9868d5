"""Sky and ground. Cameras have no roll: a row of the image sees level ground at one depth, along a line."""

import math

import numpy as np
from numba import njit

from fleetloop.core.types import METRES_PER_PIXEL, TILE_PIXELS, Surface
from fleetloop.sim.cameras.fields import CameraField, LightField
from fleetloop.sim.cameras.kernels import device
from fleetloop.sim.cameras.pixels import DRAWN, FULL, WETTED, fog_share, packed, unpacked

GROUND_DEPTH_M = 400.0
"""Farther ground is drawn as the horizon."""

# A pixel that covers more than this of the ground takes four samples; below the second figure one is enough.
_FOUR_SAMPLES_M, _TWO_SAMPLES_M = np.float32(0.2), np.float32(0.1)
BLENDED_M, BLENDED_FOCAL_PX = 0.025, 400.0
"""Where pixels cover less than this of the ground, the rims of its surfaces are rounded: in pictures for people, with
longer focal lengths than those of pictures for networks, which it would make half as fast."""
RIM_SHARPNESS = 4.0
"""From one surface to the next the colour changes within about this part of METRES_PER_PIXEL."""
# Along the view the ground is foreshortened, and lines across the road are broad: larger footprints will do.
_LENGTH_PER_WIDTH = np.float32(1.0 / 6.0)
_ZENITH_SLOPE = np.float32(1.0 / 2.2)
"""Sine of the elevation at which the sky has the colour of the zenith."""
STRAIGHT_MIRROR, WET_MIRROR = 0.02, 0.8
"""Reflectance of water seen straight on, and the share of a wet road that mirrors like it."""

_RIGHT, _DOWN, _FORWARD = int(CameraField.RIGHT), int(CameraField.DOWN), int(CameraField.FORWARD)
_FOCAL = int(CameraField.FOCAL_PX)
_HORIZON, _ZENITH = int(LightField.HORIZON), int(LightField.ZENITH)
_LAMPS, _WETNESS = int(LightField.LAMPS), int(LightField.WETNESS)
_GRASS, _SURFACES = int(Surface.GRASS), len(Surface)
_TILE_SHIFT = np.uint32(TILE_PIXELS.bit_length() - 1)
_TILE_MASK, _TILE_AREA = np.uint32(TILE_PIXELS - 1), np.uint32(TILE_PIXELS * TILE_PIXELS)
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_STRAIGHT, _WET_MIRROR = np.float32(STRAIGHT_MIRROR), np.float32(WET_MIRROR)
_WETTED_BIT = np.uint32(WETTED)
_BLENDED_M, _BLENDED_FOCAL, _BLENDED = np.float32(BLENDED_M), np.float32(BLENDED_FOCAL_PX), 0
_SHARPNESS, _THREE_QUARTERS = np.float32(RIM_SHARPNESS), np.float32(0.75)
_FAR, _PIXELS_PER_M = np.float32(GROUND_DEPTH_M), np.float32(1.0 / METRES_PER_PIXEL)


@device
def row_ray(camera, row, height):
    """The ray through the middle column of a row (a fraction is allowed), per metre of depth, ego frame."""
    down = (row - np.float32(height) * _HALF) / camera[_FOCAL]
    return (
        camera[_FORWARD] + down * camera[_DOWN],
        camera[_FORWARD + 1] + down * camera[_DOWN + 1],
        camera[_FORWARD + 2] + down * camera[_DOWN + 2],
    )


@device
def row_depth(camera, row, height):
    """Depth of the ground in the middle of a row, or 0 where the sky is seen."""
    _, _, z = row_ray(camera, np.float32(row) + _HALF, height)
    return camera[2] / -z if -z * _FAR > camera[2] else _ZERO


@device
def row_slope(camera, row, height):
    """Sine of the angle under which the middle of a row looks down."""
    x, y, z = row_ray(camera, np.float32(row) + _HALF, height)
    return -z / math.sqrt(x * x + y * y + z * z)


@device
def _sky_colour(camera, light, row, height):
    """Packed colour of a row of the sky, from the elevation of its middle."""
    x, y, z = row_ray(camera, np.float32(row) + _HALF, height)
    share = min(max(z / math.sqrt(x * x + y * y + z * z) / _ZENITH_SLOPE, _ZERO), _ONE)
    return packed(
        light[_HORIZON] + share * (light[_ZENITH] - light[_HORIZON]),
        light[_HORIZON + 1] + share * (light[_ZENITH + 1] - light[_HORIZON + 1]),
        light[_HORIZON + 2] + share * (light[_ZENITH + 2] - light[_HORIZON + 2]),
        np.float32(FULL),
    )


@device
def clear(camera, light, image, view):
    """Start a picture: sky above, nothing where the ground will be."""
    for row in range(image.shape[0]):
        sky = row_depth(camera, view[0] + row, view[2]) == _ZERO
        colour = _sky_colour(camera, light, view[0] + row, view[2])
        image[row, :] = np.uint64(colour) if sky else np.uint64(0)


@device
def mirror_share(light, slope):
    """Share of light that a wet road mirrors where it is seen under an angle with this sine.

    Schlick's approximation of Fresnel's equations (Computer Graphics Forum 13, 1994), for water.
    """
    grazing = _ONE - slope
    square = grazing * grazing
    return light[_WETNESS] * _WET_MIRROR * (_STRAIGHT + (_ONE - _STRAIGHT) * square * square * grazing)


@device
def _palette(ground, light, mirror, slope, fog, scale, palette):
    """Fill palette [2, surfaces]: packed colours with a share of the sky mirrored, under haze, times scale.

    The first row, for the first sample of a pixel, also says what shines when wet.
    """
    sky = min(slope / _ZENITH_SLOPE, _ONE)
    sky_red = light[_HORIZON] + sky * (light[_ZENITH] - light[_HORIZON])
    sky_green = light[_HORIZON + 1] + sky * (light[_ZENITH + 1] - light[_HORIZON + 1])
    sky_blue = light[_HORIZON + 2] + sky * (light[_ZENITH + 2] - light[_HORIZON + 2])
    for surface in range(_SURFACES):
        mirrored = _ZERO if surface == _GRASS else mirror
        red, green, blue = ground[surface, 0], ground[surface, 1], ground[surface, 2]
        red, green = red + mirrored * (sky_red - red), green + mirrored * (sky_green - green)
        blue += mirrored * (sky_blue - blue)
        colour = packed(
            red + fog * (light[_HORIZON] - red),
            green + fog * (light[_HORIZON + 1] - green),
            blue + fog * (light[_HORIZON + 2] - blue),
            scale,
        )
        palette[0, surface] = palette[1, surface] = colour
        if surface != _GRASS:
            palette[0, surface] |= _WETTED_BIT


@device
def samples_per_pixel(depth, focal, height_m):
    """How many samples of the ground a pixel at a depth takes, for a camera `height_m` above it; 0: one, blended."""
    across = depth / focal
    footprint = max(across, across * depth / height_m * _LENGTH_PER_WIDTH)
    if footprint > _FOUR_SAMPLES_M:
        return 4
    if footprint > _TWO_SAMPLES_M:
        return 2
    return _BLENDED if footprint <= _BLENDED_M and focal >= _BLENDED_FOCAL else 1


@device
def _surface_at(column, row, tile_rows, tile_columns, index, tiles):
    """The surface of a pixel of the ground; outside of the town is grass."""
    if column < 0 or row < 0 or column >= tile_columns << _TILE_SHIFT or row >= tile_rows << _TILE_SHIFT:
        return np.uint32(_GRASS)
    i, j = np.uint32(row), np.uint32(column)
    tile = np.uint32(index[(i >> _TILE_SHIFT) * tile_columns + (j >> _TILE_SHIFT)])
    pixel = ((i & _TILE_MASK) << _TILE_SHIFT) + (j & _TILE_MASK)
    return np.uint32(tiles[tile * _TILE_AREA + pixel])


@device
def _spline(offset, step):
    """Quadratic B-spline: weight of the pixel `step` (-1, 0 or 1) away, for a place `offset` from its own's middle."""
    if step == 0:
        return _THREE_QUARTERS - offset * offset
    reach = _HALF + np.float32(step) * offset
    return _HALF * reach * reach


@device
def _blend_row(start_x, start_y, step_x, step_y, tile_rows, tile_columns, index, tiles, palette, line, left):
    """As `_sample_row`, but with rims of surfaces rounded, so that they have no steps.

    The share of other surfaces than its own in the nine pixels around it, smoothed, is sharpened around one half.
    Its own surface also says whether it shines when wet.
    """
    rows, columns = np.int32(tile_rows), np.int32(tile_columns)
    for column in range(len(line)):
        if line[column] >= DRAWN:
            continue
        along = np.float32(left + column)
        x, y = start_x + along * step_x, start_y + along * step_y
        j, i = np.int32(math.floor(x)), np.int32(math.floor(y))
        x, y = x - np.float32(j) - _HALF, y - np.float32(i) - _HALF
        own = _surface_at(j, i, rows, columns, index, tiles)
        others, red, green, blue = _ZERO, _ZERO, _ZERO, _ZERO
        for above in range(-1, 2):
            for beside in range(-1, 2):
                surface = _surface_at(j + beside, i + above, rows, columns, index, tiles)
                if surface != own:
                    weight = _spline(x, beside) * _spline(y, above)
                    of_red, of_green, of_blue = unpacked(palette[surface])
                    others += weight
                    red += weight * of_red
                    green += weight * of_green
                    blue += weight * of_blue
        colour = palette[own]
        share = min((others - _HALF) * _SHARPNESS + _HALF, _ONE)
        if share > _ZERO:
            own_red, own_green, own_blue = unpacked(colour)
            scale = share / others
            colour = (colour & _WETTED_BIT) | packed(
                (_ONE - share) * own_red + scale * red,
                (_ONE - share) * own_green + scale * green,
                (_ONE - share) * own_blue + scale * blue,
                np.float32(FULL),
            )
        line[column] += np.uint64(colour)


@device
def _sample_row(start_x, start_y, step_x, step_y, tile_rows, tile_columns, index, tiles, palette, line, left):
    """Add one sample of the ground to each pixel of a piece of a row that no box covers.

    start, of the row, and step are in pixels of the ground; the piece begins `left` pixels later; index and tiles
    are flat. Outside of the town is grass.
    """
    width = np.float32(tile_columns << _TILE_SHIFT)
    height = np.float32(tile_rows << _TILE_SHIFT)
    first, last = np.float32(left), np.float32(left + len(line) - 1)
    first_x, first_y = start_x + first * step_x, start_y + first * step_y
    end_x, end_y = start_x + last * step_x, start_y + last * step_y
    inside = (
        min(min(first_x, end_x), min(first_y, end_y)) >= _ZERO
        and max(first_x, end_x) < width
        and max(first_y, end_y) < height
    )
    for column in range(len(line)):
        if line[column] < DRAWN:
            along = np.float32(left + column)
            x, y = start_x + along * step_x, start_y + along * step_y
            surface = np.uint32(_GRASS)
            if inside or (x >= _ZERO and y >= _ZERO and x < width and y < height):
                # Unsigned, because a signed index might count from the end, and checking that costs time.
                i, j = np.uint32(np.int32(y)), np.uint32(np.int32(x))
                tile = np.uint32(index[(i >> _TILE_SHIFT) * tile_columns + (j >> _TILE_SHIFT)])
                pixel = ((i & _TILE_MASK) << _TILE_SHIFT) + (j & _TILE_MASK)
                surface = np.uint32(tiles[tile * _TILE_AREA + pixel])
            line[column] += np.uint64(palette[surface])


@device
def _draw_row(camera, ego, row, view, samples, origin, tiles_shape, index, tiles, palette, line):
    """Sample the ground for a piece of a row. No two samples of a pixel share a column or a row in it."""
    _, left, height, width = view
    cosine, sine = math.cos(ego[2]), math.sin(ego[2])
    blended = samples == _BLENDED
    samples = max(samples, 1)
    for sample in range(samples):
        place = (3 * sample + 1) % 4 if samples == 4 else samples - 1 - sample
        across = (np.float32(place) + _HALF) / np.float32(samples) - np.float32(width) * _HALF
        down = (np.float32(sample) + _HALF) / np.float32(samples)
        x, y, z = row_ray(camera, np.float32(row) + down, height)
        depth = camera[2] / max(-z, camera[2] / _FAR)
        per_pixel = depth / camera[_FOCAL]
        x = camera[0] + depth * x + per_pixel * across * camera[_RIGHT]
        y = camera[1] + depth * y + per_pixel * across * camera[_RIGHT + 1]
        step_x, step_y = per_pixel * camera[_RIGHT], per_pixel * camera[_RIGHT + 1]
        first_x = (ego[0] - origin[0] + cosine * x - sine * y) * _PIXELS_PER_M
        first_y = (ego[1] - origin[1] + sine * x + cosine * y) * _PIXELS_PER_M
        by_x, by_y = (
            (cosine * step_x - sine * step_y) * _PIXELS_PER_M,
            (sine * step_x + cosine * step_y) * _PIXELS_PER_M,
        )
        rows, columns = np.uint32(tiles_shape[0]), np.uint32(tiles_shape[1])
        if blended:
            _blend_row(first_x, first_y, by_x, by_y, rows, columns, index, tiles, palette[0], line, left)
        else:
            colours = palette[0 if sample == 0 else 1]
            _sample_row(first_x, first_y, by_x, by_y, rows, columns, index, tiles, colours, line, left)


@device
def draw_ground_window(camera, ego, light, ground, origin, tiles_shape, index, tiles, image, view, palette):
    """Colour the pixels below the horizon that no box covers; without haze where lamps will light them.

    `ground` [surfaces, 3] are the lit colours; `index` starts at the town's grid of tiles; `tiles` is flat;
    `palette` is room for uint32 [2, surfaces].
    """
    palette_fog, palette_samples = -_ONE, 0
    lit_later, wet = light[_LAMPS] > _ZERO, light[_WETNESS] > _ZERO
    for place in range(image.shape[0]):
        row = view[0] + place
        depth = row_depth(camera, row, view[2])
        if depth == _ZERO:
            continue
        samples, fog, mirror, slope = samples_per_pixel(depth, camera[_FOCAL], camera[2]), _ZERO, _ZERO, _ZERO
        if not lit_later:
            fog = fog_share(light, depth)
            if wet:
                slope = row_slope(camera, row, view[2])
                mirror = mirror_share(light, slope)
        if fog != palette_fog or samples != palette_samples or mirror > _ZERO:
            palette_fog, palette_samples = fog, samples
            _palette(ground, light, mirror, slope, fog, np.float32(FULL // max(samples, 1)), palette)
        _draw_row(camera, ego, row, view, samples, origin, tiles_shape, index, tiles, palette, image[place])


@njit(cache=True, fastmath=True, error_model="numpy")
def draw_ground(camera, ego, light, ground, origin, tiles_shape, index, tiles, image):
    """`draw_ground_window` for a whole picture."""
    view = (0, 0, image.shape[0], image.shape[1])
    palette = np.empty((2, _SURFACES), np.uint32)
    draw_ground_window(camera, ego, light, ground, origin, tiles_shape, index, tiles, image, view, palette)
