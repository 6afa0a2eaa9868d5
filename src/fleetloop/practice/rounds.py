"""One thread trains on the batches of a round while another drives and draws those of the next.

Of the two cores of a small machine each has one. Neither waits for the other within a round, so the same seed gives
the same bits.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numba
import torch

Prepared = TypeVar("Prepared")


def prepared_ahead(
    batches: range,
    size: int,
    prepare: Callable[[range], Prepared],
    before: Callable[[int], None],
) -> Iterator[tuple[range, Prepared]]:
    """Rounds of `size` batches, the last perhaps of fewer, each with what was prepared for it.

    Args:
        batches: numbers of all batches; at least one.
        prepare: called in the other thread with the numbers of a round's batches, round after round.
        before: called in this thread before each round but the first is prepared, when nothing is; with the number
            of the first batch that is not yet trained on.
    """
    rounds = [batches[start : start + size] for start in range(0, len(batches), size)]
    with ThreadPoolExecutor(1, "practice", _use_one_thread) as pool:
        pending = pool.submit(prepare, rounds[0])
        for numbers, following in zip(rounds, [*rounds[1:], None], strict=True):
            prepared = pending.result()
            if following is not None:
                before(numbers.start)
                pending = pool.submit(prepare, following)
            yield numbers, prepared


def _use_one_thread() -> None:
    """Both settings hold for the calling thread alone."""
    numba.set_num_threads(1)
    torch.set_num_threads(1)
