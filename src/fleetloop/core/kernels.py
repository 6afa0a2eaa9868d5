"""How the functions that kernels are made of are compiled."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def device(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that kernels call for each world, agent or pixel; it must not allocate.

    Without `_nrt`, Numba counts references to every array that is taken out of a World or a State, and each call
    copies all their fields: inlined and uncounted, a step of traffic took a tenth of the time (docs/adr/0003).
    A function whose name begins with an underscore must not be called from Python: it has no entry for that, which
    halves the time that compiling it takes.
    """
    is_private = function.__name__.startswith("_")
    options = {"no_cpython_wrapper": is_private, "no_cfunc_wrapper": True}
    return cast(Any, njit)(cache=True, forceinline=True, _nrt=False, **options)(function)
