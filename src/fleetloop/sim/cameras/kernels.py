"""How the functions that draw pixels are compiled."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def device(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that kernels call for each pixel, box or sign, in float32; it must not allocate.

    As `core.kernels.device` inlined and without counting references (docs/adr/0003): pictures took a seventh less
    time. With Python's errors each division would be checked for zero, and loops with divisions could not use
    vector instructions: the light of a lamp took nine times as long.
    """
    options = {"fastmath": True, "error_model": "numpy", "forceinline": True, "_nrt": False}
    return cast(Any, njit)(cache=True, **options)(function)
