"""What cameras do to a picture: each exposes for itself, and its sensor is noisy."""

import numpy as np
from jaxtyping import Float, UInt8, UInt64
from numba import njit

from fleetloop.core.random import bits

_UNIT = 256
"""Of the fixed-point factors: bytes times 16 bits fit the processor's widest integer instructions."""
_NOISE_UNIT = 32
_NOISE_COUNT = 1 << 16
# Drawn once: pictures begin at places of their own in it.
_NOISE = np.clip(
    np.round(np.random.Generator(np.random.Philox(0)).standard_normal(_NOISE_COUNT) * _NOISE_UNIT), -127, 127
).astype(np.int8)


def add_camera_faults(
    images: UInt8[np.ndarray, "B cameras height width 3"],
    exposure: Float[np.ndarray, "B cameras"],
    noise: Float[np.ndarray, "B cameras"],
    seed: UInt64[np.ndarray, " B"],
) -> None:
    """Expose each picture by a factor and add noise of a standard deviation in grey levels, in place.

    The noise is the same for dark and bright pixels: pictures are coded close to the square root of light, and
    that makes the spread of photons counted constant (Anscombe, "The transformation of Poisson, binomial and
    negative-binomial data", Biometrika 35, 1948).
    """
    batch, cameras = exposure.shape
    rows = images.reshape(batch * cameras, -1)
    assert np.shares_memory(rows, images), "pictures must lie in one piece of memory"
    factors = np.round(_UNIT * exposure).astype(np.int32).ravel()
    levels = np.round(_UNIT / _NOISE_UNIT * noise).astype(np.int32).ravel()
    _add(rows, factors, levels, np.repeat(seed, cameras), cameras, _NOISE)


@njit(cache=True, nogil=True)
def _add(rows, factors, levels, seeds, cameras, noise):
    count = rows.shape[1]
    half = _UNIT // 2
    for number in range(len(rows)):
        factor, level = factors[number], levels[number]
        row = rows[number]
        if level == 0:
            if factor != _UNIT:
                for index in range(count):
                    row[index] = min((np.int32(row[index]) * factor + half) >> 8, 255)
            continue
        # Round and round, for a picture may have more bytes than there is noise.
        start = np.int64(bits(seeds[number], number % cameras, 0, 0, 0) % np.uint64(_NOISE_COUNT))
        for index in range(count):
            drawn = np.int32(noise[(start + index) & (_NOISE_COUNT - 1)])
            value = (np.int32(row[index]) * factor + drawn * level + half) >> 8
            row[index] = min(max(value, 0), 255)
