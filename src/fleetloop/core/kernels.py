"""How the functions that kernels are made of are compiled."""

import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast, overload

from numba import njit

from fleetloop.core.kernel_cache import know_what_kernels_are_made_of

know_what_kernels_are_made_of()

P = ParamSpec("P")
R = TypeVar("R")

KERNELS_ONLY = "FLEETLOOP_KEEP_KERNELS_ONLY"
"""Set in a process that compiles beside another one (sim/compiling.py)."""
KEEPS_FUNCTIONS = KERNELS_ONLY not in os.environ
"""Whether the functions that kernels call are kept on disk too. Numba numbers the signatures of each, and two processes
that number at the same time could swap two; the kernels themselves are each compiled by one process only."""


@overload
def device(function: Callable[P, R]) -> Callable[P, R]: ...
@overload
def device(
    *, entry: bool | None = None, fast: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def device(function: Callable | None = None, *, entry: bool | None = None, fast: bool = False) -> Any:
    """Compile a function that kernels call for each world, agent or pixel; it must not allocate.

    Kernels of the CPU and of the GPU (`sim.gpu`) call the same functions: numba-cuda compiles them anew.
    Without `_nrt`, Numba counts references to every array that is taken out of a World or a State, and each call
    copies all their fields: inlined and uncounted, a step of traffic took a tenth of the time (docs/adr/0003).

    Args:
        function: to be compiled; the decorator may be used without arguments.
        entry: whether Python may call the function, too: calling one without an entry ends the process, and an
            entry doubles the time that compiling takes. By default a function has one unless its name begins with
            an underscore.
        fast: for float32 on pixels: arithmetic may be reordered, and divisions are not checked for zero. With
            Python's errors loops with divisions could not use vector instructions, and the light of a lamp took
            nine times as long.
    """
    if function is None:
        return lambda function: _compiled(function, entry, fast)
    return _compiled(function, entry, fast)


def _compiled(function: Callable, entry: bool | None, fast: bool) -> Any:
    has_entry = not function.__name__.startswith("_") if entry is None else entry
    options: dict[str, Any] = {"fastmath": True, "error_model": "numpy"} if fast else {}
    options |= {"no_cpython_wrapper": not has_entry, "no_cfunc_wrapper": True}
    return cast(Any, njit)(cache=KEEPS_FUNCTIONS, forceinline=True, _nrt=False, **options)(function)
