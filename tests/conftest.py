"""What all tests share."""

import numba
import pytest


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Kernels on one thread: on a few worlds, threads that wait for each other take longer than they save."""
    numba.set_num_threads(1)
