"""How the functions that draw pixels are compiled."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from fleetloop.core import kernels

P = ParamSpec("P")
R = TypeVar("R")


@overload
def device(function: Callable[P, R]) -> Callable[P, R]: ...
@overload
def device(*, entry: bool) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def device(function: Callable | None = None, *, entry: bool | None = None) -> Any:
    """`core.kernels.device` for float32 arithmetic that may be reordered."""
    compiled = kernels.device(entry=entry, fast=True)
    return compiled if function is None else compiled(function)
