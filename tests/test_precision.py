"""Bfloat16 is used where the device computes with it, and nowhere else."""

import pytest
import torch

from fleetloop.policy import precision
from fleetloop.policy.precision import autocast, uses_bfloat16

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(params=["avx512_bf16", "amx_bf16", "avx2"])
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """A processor that has one capability; whether that is bfloat16."""
    names = ("avx2", "avx512_bf16", "amx_bf16")
    found = {name: name == request.param for name in names}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    precision._processor_has_bfloat16.cache_clear()
    yield request.param != "avx2"
    precision._processor_has_bfloat16.cache_clear()


def test_used_where_the_processor_has_it(processor: bool):
    assert uses_bfloat16(CPU) == processor
    assert uses_bfloat16(GPU)
    assert not uses_bfloat16(CPU, wanted=False) and not uses_bfloat16(GPU, wanted=False)


def test_products_are_of_that_type(processor: bool):
    one = torch.ones(2, 2)
    with autocast(CPU, True):
        assert (one @ one).dtype == (torch.bfloat16 if processor else torch.float32)
    with autocast(CPU, False):
        assert (one @ one).dtype == torch.float32


def test_float32_where_it_cannot_be_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    precision._processor_has_bfloat16.cache_clear()
    assert not uses_bfloat16(CPU)
    precision._processor_has_bfloat16.cache_clear()
