"""NamedTuples of arrays between host and GPU, and whether there is a GPU."""

from collections.abc import Iterable
from typing import Any, TypeVar, cast

import numba.cuda
import numpy as np

from fleetloop.core.errors import ConfigError

cuda: Any = numba.cuda
"""Without types: what kernels read of it means something else there than outside."""
Arrays = TypeVar("Arrays", bound=tuple)


def require_gpu() -> None:
    """Make sure that kernels can run.

    Raises:
        ConfigError: there is no NVIDIA GPU, or no CUDA driver or toolkit.
    """
    if not cuda.is_available():
        raise ConfigError(
            "device: cuda needs an NVIDIA GPU with its driver and pip install 'fleetloop[cuda]'; use cpu instead"
        )


def on_gpu(arrays: Arrays) -> Arrays:
    """A copy on the GPU of every array of a NamedTuple. What has no elements becomes one element that nobody reads."""
    return cast(Any, type(arrays))(*(array_on_gpu(array) for array in arrays))


def array_on_gpu(array: np.ndarray) -> Any:
    """A copy of an array on the GPU; CUDA has no empty arrays, so these get a row of zeros."""
    if array.size == 0:
        array = np.zeros(tuple(max(length, 1) for length in array.shape), array.dtype)
    return cuda.to_device(np.ascontiguousarray(array))


def on_host(arrays: Arrays) -> Arrays:
    """A copy on the host of every array of a NamedTuple."""
    return cast(Any, type(arrays))(*(array.copy_to_host() for array in arrays))


def bytes_of(arrays: Iterable[Any]) -> int:
    """Bytes of all arrays together, those in tuples among them."""
    return sum(bytes_of(array) if isinstance(array, tuple) else int(array.nbytes) for array in arrays)
