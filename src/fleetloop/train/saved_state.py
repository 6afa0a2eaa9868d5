"""The state of a training that was not finished, in a file: written whole or not at all, never unpickled."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

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
