"""Half the bits where the device computes with them: bfloat16 pays only where it is not emulated."""

from functools import cache

import torch

_BFLOAT16_CAPABILITIES = ("avx512_bf16", "amx_bf16")


@cache
def _processor_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself.

    Without AVX-512's or AMX's instructions for it oneDNN emulates them: the tiny network then trained with 34
    samples/s instead of 299 (docs/benchmarks.md).
    """
    # An older PyTorch does not tell; float32 is right everywhere.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in _BFLOAT16_CAPABILITIES)


def uses_bfloat16(device: torch.device, wanted: bool = True) -> bool:
    """Whether `autocast` computes in bfloat16 there."""
    return wanted and (device.type != "cpu" or _processor_has_bfloat16())


def autocast(device: torch.device, bfloat16: bool) -> torch.autocast:
    """Matrix products and convolutions in bfloat16 where that is wanted and fast on `device`; else float32.

    Nothing is cached: a weight that is first used without gradients, as for what is remembered, would then have none
    (pytorch issue 112583).
    """
    enabled = uses_bfloat16(device, bfloat16)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)
