"""Checkpoint: a folder with weights.safetensors, config.json and artifact.json. Nothing is ever unpickled.

One that was practised with a coach has the coach beside them, coach.safetensors: who practises on goes on with it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from safetensors import SafetensorError, safe_open

from fleetloop.artifacts.lineage import (
    Artifact,
    ArtifactKind,
    Figure,
    content_id,
    read_artifact,
    write_artifact,
)
from fleetloop.core.errors import CheckpointError
from fleetloop.core.files import replacing_folder, storage_errors, write_bytes

if TYPE_CHECKING:
    import torch

WEIGHTS_FILE = "weights.safetensors"
CONFIG_FILE = "config.json"
COACH_FILE = "coach.safetensors"


def write_checkpoint(
    path: Path,
    tensors: "Mapping[str, torch.Tensor | np.ndarray]",
    config: Mapping[str, Any],
    parents: Iterable[str],
    seed: int,
    figures: Mapping[str, Figure],
    coach: "Mapping[str, torch.Tensor] | None" = None,
) -> Artifact:
    """Write a checkpoint folder, all of it or nothing; an older one at `path` is replaced.

    Args:
        tensors: name to weights, of any dtype and device, e.g. a module's state_dict.
        config: all that is needed to rebuild the network; anything JSON can hold.
        parents: ids of the Dataset, and of the Checkpoint it started from.
        coach: weights of who told it what situations are.

    Raises:
        StorageError: the folder cannot be written.
    """
    with replacing_folder(path) as partial:
        (partial / WEIGHTS_FILE).write_bytes(_packed(tensors))
        if coach is not None:
            (partial / COACH_FILE).write_bytes(_packed(coach))
        options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY
        (partial / CONFIG_FILE).write_bytes(orjson.dumps(dict(config), option=options) + b"\n")
        return write_artifact(partial, ArtifactKind.CHECKPOINT, parents, dict(config), seed, figures)


def _packed(tensors: "Mapping[str, torch.Tensor | np.ndarray]") -> bytes:
    """The bytes of a safetensors file. Not save_file(): of a full disk it raises an error of its own."""
    # Here, because torch takes a second to import and most commands only read records.
    import torch
    from safetensors.torch import save

    # Cloned, since safetensors refuses tensors that share memory (tied weights).
    plain = {
        name: torch.as_tensor(value).detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    return save(plain)


def read_checkpoint(path: Path) -> "tuple[dict[str, torch.Tensor], dict[str, Any], Artifact]":
    """Read a checkpoint folder: weights on the CPU by name, config, and lineage.

    Raises:
        CheckpointError: it is missing, truncated or foreign.
    """
    artifact = read_artifact(path, ArtifactKind.CHECKPOINT)
    config = read_checkpoint_config(path)
    return _unpacked(path / WEIGHTS_FILE), config, artifact


def read_coach(path: Path) -> "dict[str, torch.Tensor] | None":
    """Weights of the coach of a checkpoint folder; None if it has none.

    Raises:
        CheckpointError: they are truncated or foreign.
    """
    return _unpacked(path / COACH_FILE) if (path / COACH_FILE).is_file() else None


def copy_coach(checkpoint: Path, folder: Path) -> str | None:
    """Put the coach of a checkpoint into another folder, in half precision: beside a release, to go on learning from.

    One that was there is replaced, or removed if the checkpoint has none.

    Returns:
        The sha256 of what was written, 64 hexadecimal digits; None if there is no coach.

    Raises:
        CheckpointError: its weights are truncated or foreign.
        StorageError: the disk is full.
    """
    coach, path = read_coach(checkpoint), folder / COACH_FILE
    if coach is None:
        with storage_errors(path):
            path.unlink(missing_ok=True)
        return None
    write_bytes(path, _packed({name: weights.half() for name, weights in coach.items()}))
    return content_id(path)


def _unpacked(name: Path) -> "dict[str, torch.Tensor]":
    with _open_weights(name, "pt") as weights:
        return {tensor: weights.get_tensor(tensor) for tensor in weights.keys()}  # noqa: SIM118 (no __iter__)


def read_checkpoint_config(path: Path) -> dict[str, Any]:
    """Read only the config of a checkpoint folder.

    Raises:
        CheckpointError: it is missing, truncated or foreign.
    """
    name = path / CONFIG_FILE
    try:
        config = orjson.loads(name.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(
            f"{name}: is missing; give the folder of a checkpoint, or train it again"
        ) from None
    except (orjson.JSONDecodeError, OSError):
        raise CheckpointError(
            f"{name}: is empty, truncated or unreadable; train the checkpoint again"
        ) from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{name}: is not the config of a checkpoint; train the checkpoint again")
    return config


def count_parameters(path: Path) -> int:
    """Numbers in all weights of a checkpoint folder, read from the header alone.

    Raises:
        CheckpointError: the weights are missing, truncated or foreign.
    """
    with _open_weights(path / WEIGHTS_FILE, "np") as weights:
        shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118
    return sum(int(np.prod(shape)) for shape in shapes)


def _open_weights(name: Path, framework: str) -> Any:
    try:
        return safe_open(name, framework=framework)
    except FileNotFoundError:
        raise CheckpointError(
            f"{name}: is missing; give the folder of a checkpoint, or train it again"
        ) from None
    except (SafetensorError, OSError):
        raise CheckpointError(
            f"{name}: is empty, truncated or not safetensors; train the checkpoint again"
        ) from None
