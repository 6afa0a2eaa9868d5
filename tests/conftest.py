"""What all tests share."""

import numba
import pytest
from hypothesis import settings


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Kernels on one thread: on a few worlds, threads that wait for each other take longer than they save."""
    numba.set_num_threads(1)


# The same examples in every run: a test that fails, fails for everybody.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
