"""The state of a training that was not finished, in a file: written whole or not at all, never unpickled."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from fleetloop.core.files import replacing_file


def write_state(path: Path, tensors: dict[str, Tensor], batches_seen: int, made_with: str) -> None:
    """Write the state after `batches_seen` batches; `made_with` says of which training it is.

    Raises:
        StorageError: the disk is full.
    """
    metadata = {"batches_seen": str(batches_seen), "config": made_with}
    with replacing_file(path) as partial:
        # Not save_file(): of a full disk it raises an error of its own.
        partial.write_bytes(save(tensors, metadata))


def read_state(path: Path, made_with: str) -> tuple[dict[str, Tensor], int] | None:
    """Tensors and batches seen; None when the file is missing, damaged, or of another training."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("config") != made_with:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, int(metadata["batches_seen"])
    except (SafetensorError, KeyError, ValueError, FileNotFoundError):
        return None


def optimiser_tensors(
    optimiser: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], prefix: str = "optimiser"
) -> dict[str, Tensor]:
    """The moments of these parameters, named for them; none of one that has not learnt yet."""
    return {
        f"{prefix}.{key}.{name}": value
        for name, parameter in parameters.items()
        for key, value in optimiser.state[parameter].items()
    }


def load_optimiser(
    optimiser: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    state: Mapping[str, Tensor],
    prefix: str = "optimiser",
) -> None:
    """The inverse of `optimiser_tensors`, of `train.optimiser` and AdamW."""
    for name, parameter in parameters.items():
        moments: dict[str, Tensor] = {}
        for key in ("step", "exp_avg", "exp_avg_sq", "momentum"):
            value = state.get(f"{prefix}.{key}.{name}")
            if value is not None and key == "step":
                moments[key] = value.to(parameter.device, copy=True)
            elif value is not None:
                moment = torch.zeros_like(parameter, memory_format=torch.preserve_format)
                moments[key] = moment.copy_(value)
        if moments:
            optimiser.state[parameter] = moments
