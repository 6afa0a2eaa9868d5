"""Releases keep matrices in 16 bits (IEEE 754 half precision), half the bytes; they compute in float32."""

import copy

import numpy as np
import onnx
import torch

from fleetloop.policy.model import DriverModel


def rounded(network: DriverModel) -> DriverModel:
    """A copy whose matrices hold what 16 bits can (IEEE 754 half precision), as its release keeps them."""
    copied = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in copied.parameters():
            half = parameter.half().float()
            if parameter.dim() > 1 and half.isfinite().all():
                parameter.copy_(half)
    return copied


def store_in_16_bits(graph: onnx.GraphProto) -> None:
    """Store matrices in half precision where that loses nothing; they are widened when the network is loaded."""
    widened: list[onnx.NodeProto] = []
    names: dict[str, str] = {}
    for tensor in graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.ndim < 2:
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if np.array_equal(half.astype(np.float32), values):
            name = tensor.name
            names[name] = f"{name}.float32"
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, name))
            widened.append(onnx.helper.make_node("Cast", [name], [names[name]], to=onnx.TensorProto.FLOAT))
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    nodes = [*widened, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
