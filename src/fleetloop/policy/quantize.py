"""The network in 8-bit integers, weights and what lies between; whether that is faster is for the processor to say."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from fleetloop.core.errors import BundleError
from fleetloop.core.files import replacing_file
from fleetloop.core.types import CameraRig, Observation
from fleetloop.policy.compact_weights import store_compactly
from fleetloop.policy.runtime import OnnxDriver

_QUANTIZED = ("Conv", "Gemm", "MatMul")
_KEPT = ("heads/linear", "planner/linear", "router", "basis")
"""Parts whose few weights stay float32: what they say is used as it is (controls, the choice of experts), or what they
take are a few numbers (where a camera is)."""

INT8_TOLERANCE = {
    "curvature_1pm": 0.03,
    "acceleration_mps2": 0.6,
    "poses_in_ego": 1.5,
    "spread_m": 0.3,
}
"""Largest difference from the float32 network's plans over a short drive with memory; poses up to two seconds ahead.

Measured with weights of 8 bits, on a processor where they do not overflow, on a trained tiny network over 240
observations (8 vehicles, 3 s; other ones than those it was calibrated with), the largest were 0.013, 0.29, 0.61 and
0.065, the means 0.0006, 0.043, 0.020 and 0.0075.
"""


class _Feeds(CalibrationDataReader):
    """What the float network was fed over a drive, its memory included."""

    def __init__(self, network: Path, rig: CameraRig, observations: Sequence[Observation]) -> None:
        driver = OnnxDriver(network, rig, len(observations[0].time_of_day_h))
        feeds = []
        for observation in observations:
            feeds.append(driver.feed(observation))
            driver.plan(observation)
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
        """The next feed, or None after the last."""
        return next(self._feeds, None)


def quantize_onnx(network: Path, path: Path, rig: CameraRig, observations: Sequence[Observation]) -> None:
    """Write `network` with weights and activations of convolutions and matrix products in 8 bits to `path`.

    Ranges of activations are the least and largest values over `observations`, which must follow one another in time;
    weights are scaled by channel, to 7 bits: x86 processors without VNNI add products of two weights of 8 bits in 16,
    which overflow without a word (ONNX Runtime, "Quantize ONNX models", on U8S8). Inputs, outputs and memory stay as
    they are.

    Raises:
        BundleError: there are no observations, or ONNX Runtime cannot quantise the network.
    """
    if not observations:
        raise BundleError(f"{network}: to quantise needs at least one observation; none was given")
    feeds = _Feeds(network, rig, observations)
    try:
        with tempfile.TemporaryDirectory() as folder, replacing_file(path) as partial:
            prepared = Path(folder) / "prepared.onnx"
            quant_pre_process(str(network), str(prepared), skip_symbolic_shape=True)
            nodes = onnx.load(str(prepared)).graph.node
            quantize_static(
                str(prepared),
                str(partial),
                feeds,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_QUANTIZED),
                nodes_to_exclude=[node.name for node in nodes if any(part in node.name for part in _KEPT)],
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            quantized = onnx.load(str(partial))
            store_compactly(quantized.graph)
            onnx.save(quantized, str(partial))
    except (RuntimeError, ValueError) as error:
        raise BundleError(f"{network}: cannot be quantised ({error}); release it in float32") from error


def is_int8(network: bytes) -> bool:
    """Whether an ONNX file computes in 8-bit integers, as `quantize_onnx` writes them."""
    return any(node.op_type == "DequantizeLinear" for node in onnx.load_from_string(network).graph.node)
