"""The same work for several networks, at the same time where there are cores for it."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Given = TypeVar("Given")
Made = TypeVar("Made")


def learner_threads(learners: int, device: torch.device) -> int:
    """How many of so many networks learn at the same time on a device. It changes no bit of what they learn."""
    # One GPU does one thing after the other.
    return min(learners, os.cpu_count() or 1) if device.type == "cpu" else 1


class SideBySide:
    """Calls a function for several arguments in as many threads of its own; of one thread, in the caller's."""

    def __init__(self, threads: int, torch_threads: int) -> None:
        """`torch_threads` are PyTorch's within each."""
        self._pool = None
        if threads > 1:
            self._pool = ThreadPoolExecutor(threads, "learner", lambda: torch.set_num_threads(torch_threads))

    def map(self, function: Callable[[Given], Made], arguments: Iterable[Given]) -> Iterator[Made]:
        """What `function` makes of each argument, in their order."""
        return map(function, arguments) if self._pool is None else self._pool.map(function, arguments)
