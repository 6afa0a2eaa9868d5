"""The network as ONNX, and the proof that the two give the same plans."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fleetloop.core.errors import BundleError, ConfigError
from fleetloop.core.files import replacing_file
from fleetloop.core.types import (
    HISTORY_STEPS,
    HISTORY_VALUES,
    NAVIGATION_VALUES,
    CameraRig,
    Observation,
    Plan,
)
from fleetloop.policy.compact_weights import rounded, store_compactly, stored_weights
from fleetloop.policy.encoder import rig_geometry
from fleetloop.policy.features import Inputs, inputs_from
from fleetloop.policy.heads import Outputs, decode
from fleetloop.policy.memory import MEMORY_DELAY_STEPS, advance
from fleetloop.policy.model import DriverModel
from fleetloop.policy.network import build_network, config_from_dict, config_to_dict
from fleetloop.policy.precision import autocast
from fleetloop.policy.runtime import (
    GEOMETRY_INPUT_NAMES,
    IMAGE_INPUT_NAMES,
    MEMORY_INPUTS,
    MEMORY_OUTPUTS,
    OUTPUT_NAMES,
    OnnxDriver,
)

OPSET = 18
CONFIG_PROPERTY = "fleetloop.network"
"""Metadata of the ONNX file: the network's config as JSON."""
IMPORT_TOLERANCE = 2e-3
"""Between a network that is built again and its ONNX file: metres, 1/m, m/s^2."""


class _StreamingDriver(nn.Module):
    """One step of the network with plain tensors in and out, in SI units."""

    def __init__(self, network: DriverModel) -> None:
        super().__init__()
        self.network = network
        self.groups = len(network.rig.groups)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        images, geometry = tensors[: self.groups], tensors[self.groups : 2 * self.groups]
        rest = tensors[2 * self.groups :]
        inputs = Inputs(images, geometry, *rest[:3])
        if self.network.memory_width is None:
            return tuple(decode(self.network(inputs)[0]))
        memory, valid = rest[3:]
        outputs, current = self.network(inputs, memory[:, 0], valid[:, 0])
        return *decode(outputs), *advance(memory, valid, current)


def _example_tensors(network: DriverModel, batch: int) -> tuple[Tensor, ...]:
    """Inputs of the right shapes and types."""
    images = [
        torch.zeros(batch, len(group), group[0].height, group[0].width, 3, dtype=torch.uint8)
        for group in network.rig.groups
    ]
    geometry = [torch.from_numpy(features) for features in rig_geometry(network.rig)]
    tensors = [*images, *geometry]
    tensors += [
        torch.zeros(batch, HISTORY_STEPS, HISTORY_VALUES),
        torch.zeros(batch, NAVIGATION_VALUES),
        torch.zeros(batch),
    ]
    width = network.memory_width
    if width is not None:
        tensors += [
            torch.zeros(batch, MEMORY_DELAY_STEPS, width),
            torch.zeros(batch, MEMORY_DELAY_STEPS, dtype=torch.bool),
        ]
    return tuple(tensors)


def export_onnx(network: DriverModel, path: Path) -> None:
    """Write the `rounded` network as one ONNX file, the batch dimension open; it computes in float32.

    Inputs are those of `OnnxDriver`: images as uint8 (scaled inside), where their cameras are (geometry, no
    batch), ego_history, navigation, time_of_day_h and, with memory, memory [B, 4, width] and memory_valid
    [B, 4]. Outputs are OUTPUT_NAMES in SI units, then the memory for the next step. The network's config travels
    along, so that `import_onnx` can build the network again.
    """
    groups = len(network.rig.groups)
    geometry = GEOMETRY_INPUT_NAMES[:groups]
    names = [*IMAGE_INPUT_NAMES[:groups], *geometry, "ego_history", "navigation", "time_of_day_h"]
    outputs: list[str] = list(OUTPUT_NAMES)
    if network.memory_width is not None:
        names += MEMORY_INPUTS
        outputs += MEMORY_OUTPUTS
    tensors = _example_tensors(network, 2)
    with replacing_file(path) as partial, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _StreamingDriver(rounded(network)).eval(),
            tensors,
            partial,
            input_names=names,
            output_names=outputs,
            dynamo=False,
            opset_version=OPSET,
            # What is folded loses its name; ONNX Runtime folds it when it loads the network.
            do_constant_folding=False,
            dynamic_axes={name: {0: "batch"} for name in (*names, *outputs) if name not in geometry},
        )
        model = onnx.load(str(partial))
        _keep_inputs(model.graph, dict(zip(names, tensors, strict=True)), unbatched=geometry)
        _keep_sightings(model.graph, network)
        store_compactly(model.graph)
        onnx.helper.set_model_props(model, {CONFIG_PROPERTY: json.dumps(config_to_dict(network.config))})
        onnx.save(model, str(partial))


def _keep_inputs(graph: onnx.GraphProto, tensors: dict[str, Tensor], unbatched: Sequence[str]) -> None:
    """Add the inputs that the network does not look at, which the exporter leaves out: vehicles give them all."""
    present = {entry.name for entry in graph.input}
    for name in (name for name in tensors if name not in present):
        kind = onnx.helper.np_dtype_to_tensor_dtype(tensors[name].numpy().dtype)
        shape: list[str | int] = list(tensors[name].shape)
        if name not in unbatched:
            shape[0] = "batch"
        graph.input.append(onnx.helper.make_tensor_value_info(name, kind, shape))


def _keep_sightings(graph: onnx.GraphProto, network: DriverModel) -> None:
    """Add the weights of who is in which cell: no output needs them, but whoever trains the network on does."""
    for key, value in network.state_dict().items():
        if "sightings" in key.split("."):
            graph.initializer.append(onnx.numpy_helper.from_array(value.cpu().numpy(), f"network.{key}"))


def import_onnx(content: bytes, rig: CameraRig, name: str) -> DriverModel:
    """The network that `export_onnx` wrote, to look inside or train on; proven to give the plans of the ONNX file.

    Args:
        rig: the one it was trained around, as a Bundle's contract has it.
        name: what errors call the content.

    Raises:
        BundleError: it does not hold what is needed (it computes in 8-bit integers, or an earlier version
            wrote it), or its plans differ.
    """
    try:
        model = onnx.load_from_string(content)
        properties = {entry.key: entry.value for entry in model.metadata_props}
        network = build_network(config_from_dict(json.loads(properties[CONFIG_PROPERTY])), rig)
        weights = stored_weights(model.graph)
        held = {name.removeprefix("network."): values for name, values in weights.items()}
        state = network.state_dict()
        for key, fresh in state.items():
            # Of equal vectors, as the zeros of biases that never learnt, the file keeps one.
            if key in held or fresh.dim() > 1:
                state[key] = torch.from_numpy(held[key].astype(np.float32))
        network.load_state_dict(state)
    except (DecodeError, KeyError, ValueError, RuntimeError, ConfigError) as error:
        raise BundleError(
            f"{name}: does not hold its network's config and weights; give the checkpoint instead"
        ) from error
    generator = np.random.default_rng(0)
    shapes = [(1, len(group), group[0].height, group[0].width, 3) for group in rig.groups]
    noise = Observation(
        images=tuple(generator.integers(0, 256, shape, dtype=np.uint8) for shape in shapes),
        ego_history=generator.uniform(0.0, 3.0, (1, HISTORY_STEPS, HISTORY_VALUES)).astype(np.float32),
        navigation=np.array([[30.0, 1.0, 20.0, 90.0, -1.0, 15.0, 16.0, 9.0, 12.0, -7.0]], np.float32),
        time_of_day_h=np.array([9.0], np.float32),
    )
    parity(network.eval(), content, [noise] * 2, IMPORT_TOLERANCE, name)
    return network


class TorchDriver:
    """The network stepped as a vehicle steps it: the reference for OnnxDriver."""

    def __init__(self, network: DriverModel, rig: CameraRig, vehicles: int, bfloat16: bool = False) -> None:
        self._network, self.rig, self._bfloat16 = network.eval(), rig, bfloat16
        width = network.memory_width or 0
        self._memory: Float[Tensor, "W 4 width"] = torch.zeros(vehicles, MEMORY_DELAY_STEPS, width)
        self._valid: Bool[Tensor, "W 4"] = torch.zeros(vehicles, MEMORY_DELAY_STEPS, dtype=torch.bool)

    def reset(self, mask: Bool[np.ndarray, " W"]) -> None:
        """Forget the past of the vehicles in `mask`."""
        self._valid[torch.from_numpy(np.asarray(mask, bool))] = False

    def _run(self, inputs: Inputs) -> tuple[Outputs, Float[Tensor, "W width"]]:
        """The network's outputs, and what to remember."""
        with autocast(torch.device("cpu"), self._bfloat16):
            return self._network(inputs, self._memory[:, 0], self._valid[:, 0])

    @torch.no_grad()
    def plan(self, observation: Observation) -> Plan:
        """Plans for all vehicles; the memory moves on by one step."""
        outputs, current = self._run(inputs_from(observation, self.rig))
        if self._network.memory_width is not None:
            self._memory, self._valid = advance(self._memory, self._valid, current.float())
        decoded = decode(outputs)
        return Plan(
            curvature_1pm=decoded.curvature_1pm.numpy(),
            acceleration_mps2=decoded.acceleration_mps2.numpy(),
            poses_in_ego=decoded.poses_in_ego.numpy(),
            spread_m=decoded.spread_m.numpy(),
        )


def parity(
    network: DriverModel,
    path: Path | bytes,
    observations: list[Observation],
    tolerance: float | Mapping[str, float],
    name: str = "network.onnx",
) -> float:
    """Largest absolute difference between the plans of PyTorch and ONNX Runtime over a sequence.

    The memory is carried on both sides, so its drift counts too. `name` is what errors call an ONNX file that is
    given as bytes. `tolerance` is one for all, or by field of the Plan.

    Raises:
        BundleError: it is beyond `tolerance`, or not a number, or there was nothing to compare.
    """
    name = str(path) if isinstance(path, Path) else name
    if not observations:
        raise BundleError(f"{name}: parity needs at least one observation; none was given")
    vehicles = len(observations[0].time_of_day_h)
    reference, exported = TorchDriver(network, network.rig, vehicles), OnnxDriver(path, network.rig, vehicles)
    largest = 0.0
    for observation in observations:
        expected, actual = reference.plan(observation), exported.plan(observation)
        for field in ("curvature_1pm", "acceleration_mps2", "poses_in_ego", "spread_m"):
            difference = float(np.abs(getattr(expected, field) - getattr(actual, field)).max())
            allowed = tolerance[field] if isinstance(tolerance, Mapping) else tolerance
            if not difference <= allowed:
                raise BundleError(
                    f"{name}: its plans differ from the checkpoint's by {difference:.2g} in {field}, more than "
                    f"{allowed:.2g}; export it again from the checkpoint"
                )
            largest = max(largest, difference)
    return largest
