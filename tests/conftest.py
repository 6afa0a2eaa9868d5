"""What all tests share."""

import numba
import pytest
import torch
from hypothesis import settings


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """On a few worlds, threads that wait for each other take longer than they save; other tests run beside these."""
    numba.set_num_threads(1)
    torch.set_num_threads(1)


# The same examples in every run: a test that fails, fails for everybody.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
