"""Releases keep matrices in few bits; they compute in float32.

Large matrices are whole numbers of 8 bits times a scale for each row, what a unit of the next layer reads; small ones
are in half precision (IEEE 754). Unlike in 8-bit integers (`policy.quantize`) nothing but weights is rounded, and the
network plans the same (docs/adr/0024).
"""

import copy

import numpy as np
import onnx
import torch
from jaxtyping import Float, Float32, Shaped
from torch import Tensor

from fleetloop.policy.model import DriverModel

_LARGE = 20_000
"""Numbers of a matrix from which on 8 bits are worth it."""
_LARGEST_INTEGER = 127
_SCALE_SUFFIX = ".scale"


def rounded(network: DriverModel) -> DriverModel:
    """A copy whose matrices hold what their few bits can, as its release keeps them."""
    copied = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in copied.parameters():
            if parameter.dim() > 1:
                half = parameter.half().float()
                if half.isfinite().all():
                    parameter.copy_(half if parameter.numel() < _LARGE else _rounded_to_8_bits(parameter))
    return copied


def _rounded_to_8_bits(weights: Float[Tensor, "rows *columns"]) -> Float[Tensor, "rows *columns"]:
    """The nearest of the whole numbers from -127 to 127 times a scale for each row.

    The scale has a mantissa of 8 bits, so that all products fit a float32, and a row's largest number divided by 127
    is its scale again.
    """
    largest = weights.abs().flatten(1).amax(dim=1).reshape(-1, *[1] * (weights.dim() - 1))
    scale = (largest / _LARGEST_INTEGER).bfloat16().float()
    whole = (weights / scale.where(scale > 0.0, 1.0)).round().clamp(-_LARGEST_INTEGER, _LARGEST_INTEGER)
    return whole * scale


def store_compactly(graph: onnx.GraphProto) -> None:
    """Store matrices in 8 bits, or else in half precision, where that loses nothing.

    They are widened when the network is loaded: plain casts and products of constants, which any runtime folds.
    """
    widening: list[onnx.NodeProto] = []
    names: dict[str, str] = {}
    scales: list[onnx.TensorProto] = []
    for tensor in graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.ndim < 2:
            continue
        narrow = _narrowed(values)
        if narrow is None:
            continue
        stored, scale = narrow
        name, wide = tensor.name, f"{tensor.name}.float32"
        tensor.CopyFrom(onnx.numpy_helper.from_array(stored, name))
        widened = wide if scale is None else f"{name}.whole"
        widening.append(onnx.helper.make_node("Cast", [name], [widened], to=onnx.TensorProto.FLOAT))
        if scale is not None:
            scales.append(onnx.numpy_helper.from_array(scale, name + _SCALE_SUFFIX))
            widening.append(onnx.helper.make_node("Mul", [widened, name + _SCALE_SUFFIX], [wide]))
        names[name] = wide
    graph.initializer.extend(scales)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    nodes = [*widening, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _narrowed(
    values: Float32[np.ndarray, "rows *columns"],
) -> tuple[Shaped[np.ndarray, "rows *columns"], Float32[np.ndarray, "rows *ones"] | None] | None:
    """A matrix in the fewest bits that hold it exactly, and for 8 bits the scale of its rows; None if none do."""
    if values.size >= _LARGE:
        largest = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
        scale = largest / np.float32(_LARGEST_INTEGER)
        whole = np.rint(values / np.where(scale > 0.0, scale, np.float32(1.0)))
        if np.array_equal(whole * scale, values):
            return whole.astype(np.int8), scale
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return (half, None) if np.array_equal(half.astype(np.float32), values) else None


def stored_weights(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """All constants of a network by their names: those in 8 bits times their scale, others as they are stored."""
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    wide: dict[str, np.ndarray] = {}
    for name, values in held.items():
        scale = held.get(name + _SCALE_SUFFIX)
        wide[name] = values if scale is None else values * scale
    return wide
