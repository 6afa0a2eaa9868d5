"""Counter-based random numbers: the same (seed, world, step, stream) gives the same bits.

No state is carried, so batch size, thread count and order of evaluation cannot change a result. The mixing
function is the finaliser of SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators",
OOPSLA 2014), applied once per key word.
"""

from enum import IntEnum

import numpy as np
from numba import njit

from fleetloop.core.kernels import KEEPS_FUNCTIONS


class Stream(IntEnum):
    """Names what a random number is for, so that two uses never share bits."""

    SPAWN = 1
    ROUTE = 2
    KIND = 3
    COLOUR = 4
    DRIVER = 5
    STEERING_NOISE = 6
    APPEARANCE = 7
    TOWN = 8
    SAMPLE = 9
    CLOCK = 11
    SCENARIO = 12
    DWELL = 13
    UPLOAD = 14
    MISLED = 15
    THINNED = 16


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S40 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(40)


@njit(inline="always", cache=KEEPS_FUNCTIONS)
def _mix(value):
    value = (value ^ (value >> _S30)) * _MIX_A
    value = (value ^ (value >> _S27)) * _MIX_B
    return value ^ (value >> _S31)


@njit(cache=KEEPS_FUNCTIONS)
def bits(seed, world, step, stream, index):
    """64 random bits for the key (seed, world, step, stream, index), all non-negative integers."""
    value = _mix(np.uint64(seed) + _GOLDEN)
    value = _mix(value ^ (np.uint64(world) + _GOLDEN))
    value = _mix(value ^ (np.uint64(step) + _GOLDEN))
    value = _mix(value ^ (np.uint64(stream) + _GOLDEN))
    return _mix(value ^ (np.uint64(index) + _GOLDEN))


@njit(cache=KEEPS_FUNCTIONS)
def uniform(seed, world, step, stream, index):
    """A float32 in [0, 1) with 24 random bits."""
    return np.float32(bits(seed, world, step, stream, index) >> _S40) * np.float32(1.0 / 16777216.0)


@njit(cache=KEEPS_FUNCTIONS)
def normal(seed, world, step, stream, index):
    """A standard normal float32 (Box-Muller on two independent uniforms)."""
    first = np.float32(1.0) - uniform(seed, world, step, stream, 2 * index)
    second = uniform(seed, world, step, stream, 2 * index + 1)
    return np.float32(np.sqrt(-2.0 * np.log(first)) * np.cos(2.0 * np.pi * second))


def generator(seed: int, stream: Stream, *key: int) -> np.random.Generator:
    """A NumPy generator for code outside the kernels, keyed like the kernels (Philox is counter-based)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, int(stream), *key])))
