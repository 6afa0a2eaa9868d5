"""The kernels' common ground: pixels as integers, and from them to bytes.

A pixel is one integer: the bits of its inverse depth (a positive float, so they order like an integer) above
its colour. Drawing something is a maximum, which needs no order; a pixel below DRAWN has no box in it.
Colours have CHANNEL_BITS bits a channel, at FULL times their value, so that FULL samples of the ground can be
summed. Where lamps light the scene, the low half of a box's pixel says at first which face is seen, and is
lit later; a colour that is final has the bit FINISHED, and one of ground that shines when wet the bit WETTED.

Whoever draws has a window of the picture: the whole of it, or a part that nobody else draws. `image` is the array
of the window's pixels, and `view` (row and column of the window's upper left pixel, height and width of the whole
picture) says where it is. The pixels come out the same however a picture is cut into windows.
"""

import numpy as np

from fleetloop.sim.cameras.fields import LightField
from fleetloop.sim.cameras.kernels import device

CHANNEL_BITS = 10
FULL = 4
DEPTH_SHIFT = np.uint64(32)
DRAWN = np.uint64(1 << 32)
FINISHED = np.uint64(1 << 31)
WETTED = np.uint64(1 << 30)

_FOG_START, _FOG_PER_M = int(LightField.FOG_START_M), int(LightField.FOG_PER_M)
_GREEN_SHIFT, _BLUE_SHIFT = np.uint32(CHANNEL_BITS), np.uint32(2 * CHANNEL_BITS)
_FULL_SHIFT = np.uint32(FULL.bit_length() - 1)
_BYTE = np.uint32(255)
_CHANNEL, _PART = np.uint32((1 << CHANNEL_BITS) - 1), np.float32(1.0 / FULL)
_LOW_BITS = np.uint64(0xFFFFFFFF)
_ZERO, _HALF, _ONE, _WHITE = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(255.0)


@device
def packed(red, green, blue, scale):
    """A colour (0 to 255 a channel, cut there) times scale (at most FULL) as one integer."""
    red = np.uint32(min(red, _WHITE) * scale + _HALF)
    green = np.uint32(min(green, _WHITE) * scale + _HALF)
    blue = np.uint32(min(blue, _WHITE) * scale + _HALF)
    return red | (green << _GREEN_SHIFT) | (blue << _BLUE_SHIFT)


@device
def unpacked(value):
    """Red, green and blue of a packed colour at full scale, 0 to 255."""
    colour = np.uint32(value & _LOW_BITS)
    return (
        np.float32(colour & _CHANNEL) * _PART,
        np.float32((colour >> _GREEN_SHIFT) & _CHANNEL) * _PART,
        np.float32((colour >> _BLUE_SHIFT) & _CHANNEL) * _PART,
    )


@device
def fog_share(light, depth):
    """Share of haze at a depth along the optical axis."""
    return min(max((depth - light[_FOG_START]) * light[_FOG_PER_M], _ZERO), _ONE)


@device
def window_bounds(image, view):
    """Left, top, right and bottom of a window in pixels of the picture."""
    top, left = view[0], view[1]
    return (
        np.float32(left),
        np.float32(top),
        np.float32(left + image.shape[1]),
        np.float32(top + image.shape[0]),
    )


@device
def rgb_bytes(pixel):
    """The colour of a finished pixel as three bytes."""
    value = np.uint32(pixel) >> _FULL_SHIFT
    return (
        np.uint8(value & _BYTE),
        np.uint8((value >> _GREEN_SHIFT) & _BYTE),
        np.uint8((value >> _BLUE_SHIFT) & _BYTE),
    )


@device
def unpack(image, out):
    """Pixels to bytes [height, width, 3]."""
    for row in range(image.shape[0]):
        pixels, line = image[row], out[row].reshape(3 * image.shape[1])
        for column in range(image.shape[1]):
            line[3 * column], line[3 * column + 1], line[3 * column + 2] = rgb_bytes(pixels[column])


@device
def noise_scale(strength):
    """What `noisy` takes for a standard deviation in grey levels."""
    # The sum of two uniform bytes has a standard deviation of 104.5.
    return np.int32(strength * np.float32(65536.0 / 104.5) + _HALF)


@device
def noisy(level, index, key, scale):
    """A byte of the picture, the index-th, with triangular noise from a hash of index and key (uint32).

    The hash is Wellons' "lowbias32" (https://nullprogram.com/blog/2018/07/31/).
    """
    # Sums and products have 64 bits, as Numba makes them; interpreted, they would else be cut to 32.
    value = np.uint64(index) + np.uint64(key)
    value = np.uint64(np.uint32(value ^ (value >> np.uint64(16)))) * np.uint64(0x7FEB352D)
    value = np.uint64(np.uint32(value ^ (value >> np.uint64(15)))) * np.uint64(0x846CA68B)
    value = np.uint32(value ^ (value >> np.uint64(16)))
    noise = np.int32(value & _BYTE) + np.int32((value >> np.uint32(8)) & _BYTE) - np.int32(255)
    noisy_level = np.int32(level) + ((noise * scale + np.int32(32768)) >> np.int32(16))
    return np.uint8(min(max(noisy_level, np.int32(0)), np.int32(255)))


@device
def low_bits(key):
    """The lower half of 64 random bits."""
    return np.uint32(key & _LOW_BITS)


@device
def add_noise(out, strength, key):
    """`noisy` for all bytes of a picture; `key` are 64 random bits."""
    flat = out.reshape(out.size)
    key = low_bits(key)
    scale = noise_scale(strength)
    for index in range(len(flat)):
        flat[index] = noisy(flat[index], index, key, scale)
