"""The kernels' common ground: pixels as integers, and from them to bytes.

A pixel is one integer: the bits of its inverse depth (a positive float, so they order like an integer) above
its colour. Drawing something is a maximum, which needs no order; a pixel below DRAWN has no box in it.
Colours have CHANNEL_BITS bits a channel, at FULL times their value, so that FULL samples of the ground can be
summed. Where lamps light the scene, the low half of a box's pixel says at first which face is seen, and is
lit later; a colour that is final has the bit FINISHED, and one of ground that shines when wet the bit WETTED.
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
def unpack(image, out):
    """Pixels to bytes [height, width, 3]."""
    for row in range(image.shape[0]):
        pixels, line = image[row], out[row].reshape(3 * image.shape[1])
        for column in range(image.shape[1]):
            value = np.uint32(pixels[column]) >> _FULL_SHIFT
            line[3 * column] = np.uint8(value & _BYTE)
            line[3 * column + 1] = np.uint8((value >> _GREEN_SHIFT) & _BYTE)
            line[3 * column + 2] = np.uint8((value >> _BLUE_SHIFT) & _BYTE)


@device
def add_noise(out, strength, key):
    """Add triangular noise with a standard deviation in grey levels, from a hash of pixel, channel and key.

    The hash is Wellons' "lowbias32" (https://nullprogram.com/blog/2018/07/31/).
    """
    flat = out.reshape(out.size)
    key = np.uint32(key & _LOW_BITS)
    # The sum of two uniform bytes has a standard deviation of 104.5.
    scale = np.int32(strength * np.float32(65536.0 / 104.5) + _HALF)
    for index in range(len(flat)):
        value = np.uint32(index) + key
        value = np.uint32(value ^ (value >> np.uint32(16))) * np.uint32(0x7FEB352D)
        value = np.uint32(value ^ (value >> np.uint32(15))) * np.uint32(0x846CA68B)
        value = np.uint32(value ^ (value >> np.uint32(16)))
        noise = np.int32(value & _BYTE) + np.int32((value >> np.uint32(8)) & _BYTE) - np.int32(255)
        level = np.int32(flat[index]) + ((noise * scale + np.int32(32768)) >> np.int32(16))
        flat[index] = np.uint8(min(max(level, np.int32(0)), np.int32(255)))
