"""Weights of releases: few bits that hold exactly what the rounded network holds."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fleetloop.policy.compact_weights import rounded, store_compactly, stored_weights

ROWS, COLUMNS = 100, 300


class Matrix(nn.Module):
    """A network that is one large matrix."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weights)


def rounded_weights(weights: torch.Tensor) -> torch.Tensor:
    return rounded(Matrix(weights)).weight.detach()  # pyright: ignore


def graph_of(weights: np.ndarray) -> onnx.ModelProto:
    """y = x W."""
    value = onnx.helper.make_tensor_value_info
    nodes = [onnx.helper.make_node("MatMul", ["x", "weight"], ["y"])]
    graph = onnx.helper.make_graph(
        nodes,
        "matrix",
        [value("x", onnx.TensorProto.FLOAT, [None, weights.shape[0]])],
        [value("y", onnx.TensorProto.FLOAT, [None, weights.shape[1]])],
        [onnx.numpy_helper.from_array(weights, "weight")],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)


@given(exponent=st.integers(-18, 4), seed=st.integers(0, 1000), dead=st.integers(0, ROWS))
def test_what_is_rounded_is_stored_in_8_bits_and_read_again_exactly(exponent: int, seed: int, dead: int):
    torch.manual_seed(seed)
    weights = torch.randn(ROWS, COLUMNS) * 10.0 ** (exponent * torch.rand(ROWS, 1))
    weights[:dead] = 0.0
    kept = rounded_weights(weights)
    largest = weights.abs().amax(dim=1, keepdim=True)
    assert ((kept - weights).abs() <= 0.505 / 127.0 * largest).all()
    assert torch.equal(rounded_weights(kept), kept)
    model = graph_of(kept.numpy())
    store_compactly(model.graph)
    assert model.graph.initializer[0].data_type == onnx.TensorProto.INT8
    assert np.array_equal(stored_weights(model.graph)["weight"], kept.numpy())


def test_a_runtime_computes_with_what_was_stored():
    torch.manual_seed(0)
    kept = rounded_weights(torch.randn(ROWS, COLUMNS)).numpy()
    model = graph_of(kept)
    store_compactly(model.graph)
    given_rows = np.random.default_rng(0).normal(size=(4, ROWS)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (product,) = session.run(None, {"x": given_rows})
    assert np.allclose(product, given_rows @ kept, atol=1e-4)  # pyright: ignore


@pytest.mark.parametrize(
    ("shape", "kind"), [((20, 300), onnx.TensorProto.FLOAT16), ((ROWS, COLUMNS), onnx.TensorProto.FLOAT)]
)
def test_what_few_bits_do_not_hold_exactly_is_left_alone(shape: tuple[int, int], kind: int):
    torch.manual_seed(0)
    weights = torch.randn(shape)
    if kind == onnx.TensorProto.FLOAT16:
        weights = rounded_weights(weights)
    model = graph_of(weights.numpy())
    store_compactly(model.graph)
    assert model.graph.initializer[0].data_type == kind
    assert np.array_equal(stored_weights(model.graph)["weight"], weights.numpy())
