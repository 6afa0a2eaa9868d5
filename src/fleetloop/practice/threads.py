"""Of the two cores of a small machine, one trains while the other drives and draws."""

import numba
import torch


def use_one_thread() -> None:
    """Both settings hold for the calling thread alone."""
    numba.set_num_threads(1)
    torch.set_num_threads(1)
