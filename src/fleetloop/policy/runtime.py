"""The network as a vehicle runs it: ONNX Runtime, a batch of vehicles, and the memory between steps."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import onnxruntime
from jaxtyping import Bool, Float32

from fleetloop.core.errors import BundleError, InputError
from fleetloop.core.types import HISTORY_STEPS, MEASURED_SHAPES, PLAN_POSES, CameraRig, Observation, Plan
from fleetloop.policy.encoder import rig_geometry
from fleetloop.policy.features import MOTION_VALUES, TURN_VALUES, finite
from fleetloop.policy.heads import Decoded

OUTPUT_NAMES = Decoded._fields
"""Those of the ONNX file, but for the memory: first the fields of a Plan, then those of Readings."""
MEMORY_INPUTS = ("memory", "memory_valid")
MEMORY_OUTPUTS = ("memory_out", "memory_valid_out")
IMAGE_INPUT_NAMES = ("images_forward", "images_around")
GEOMETRY_INPUT_NAMES = ("geometry_forward", "geometry_around")
_SHAPES_BEFORE = {"navigation": (TURN_VALUES,), "ego_history": (HISTORY_STEPS, MOTION_VALUES)}
"""Of inputs that have grown; networks from before take what they took, which comes first."""


@dataclass(frozen=True)
class InputContract:
    """What a network must be fed, batch dimension left out."""

    image_shapes: tuple[tuple[int, int, int, int], ...]
    """cameras, height, width, 3 of each group."""
    memory_shape: tuple[int, int] | None
    navigation_values: int
    """Networks from before the hint told where a turn ends take the first TURN_VALUES of it."""
    history_values: int
    """Networks that are not told how long the vehicle has stood take the first MOTION_VALUES of each step."""


@dataclass(frozen=True)
class Readings:
    """What the auxiliary heads saw at the last step, for a person to look at; they do not drive."""

    signal_probabilities: Float32[np.ndarray, "W 5"]
    """No signal, red, yellow, green but yield, green."""
    stop_line_m: Float32[np.ndarray, " W"]
    lead_gap_m: Float32[np.ndarray, " W"]
    lead_speed_mps: Float32[np.ndarray, " W"]
    junction_probabilities: Float32[np.ndarray, "W 6"]
    """No junction near, then by Control."""
    halt_m: Float32[np.ndarray, " W"]
    """To where right of way asks it to stop."""
    birds_eye: Float32[np.ndarray, "W 3 16 24"]
    """Probability of there being something, by BirdsEyeLayer."""


class OnnxDriver:
    """Plans for `vehicles` at a time with the same cameras, remembering each one's past.

    Not safe to share between threads: the memory belongs to one sequence of calls.
    """

    def __init__(self, network: Path | bytes, rig: CameraRig, vehicles: int, threads: int = 1) -> None:
        """Load the network, from a file or from bytes that were verified already.

        `rig` is the vehicles' own: as many cameras of the same image sizes as the network was trained with,
        wherever they are and look.

        Raises:
            BundleError: the file is missing, is not ONNX, or its inputs and outputs are not those of a
                driver.
            InputError: the rig has other groups of cameras or image sizes than the network takes.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        path = network if isinstance(network, Path) else Path("network.onnx")
        try:
            self._session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a dozen unrelated classes
            raise BundleError(
                f"{path}: is missing or not a network ONNX Runtime can load; fetch the bundle again"
            ) from error
        self.contract = _contract(self._session, path)
        shapes = tuple((len(group), group[0].height, group[0].width, 3) for group in rig.groups)
        if shapes != self.contract.image_shapes:
            raise InputError(
                f"rig: its images are {shapes} (cameras, height, width, 3 of each group), the network takes "
                f"{self.contract.image_shapes}; scale the images or train a network for this rig"
            )
        self._geometry = dict(zip(GEOMETRY_INPUT_NAMES, rig_geometry(rig), strict=False))
        self.vehicles = vehicles
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._memory: dict[str, np.ndarray] = {}
        if self.contract.memory_shape is not None:
            steps, width = self.contract.memory_shape
            self._memory = {
                "memory": np.zeros((vehicles, steps, width), np.float32),
                "memory_valid": np.zeros((vehicles, steps), np.bool_),
            }
        self.readings: Readings | None = None

    def reset(self, mask: Bool[np.ndarray, " W"]) -> None:
        """Forget the past of the vehicles in `mask`: they were put somewhere else."""
        if self._memory:
            self._memory["memory_valid"] = self._memory["memory_valid"] & ~np.asarray(mask, bool)[:, None]
            self._memory["memory"] = self._memory["memory"] * self._memory["memory_valid"][:, :, None]

    def plan(self, observation: Observation) -> Plan:
        """Plans for all vehicles; the memory moves on by one step.

        Numbers that are not finite are replaced by neutral ones, and an image may be black: whether to drive
        on a plan made from such input is for the safety limits to say.

        Raises:
            InputError: an array's shape is not the one the network was made for.
        """
        values = cast(list[np.ndarray], self._session.run(self._outputs, self.feed(observation)))
        results = dict(zip(self._outputs, values, strict=True))
        if self._memory:
            self._memory = {name: results[f"{name}_out"] for name in MEMORY_INPUTS}
        self.readings = Readings(**{name: results[name] for name in OUTPUT_NAMES[4:]})
        return Plan(**{name: results[name] for name in OUTPUT_NAMES[:4]})

    def feed(self, observation: Observation) -> dict[str, np.ndarray]:
        """What the network is given for these observations now, its memory included.

        Raises:
            InputError: an array's shape is not the one the network was made for.
        """
        self._check(observation)
        clean = finite(observation)
        feed: dict[str, np.ndarray] = dict(zip(IMAGE_INPUT_NAMES, clean.images, strict=False))
        feed |= {name: getattr(clean, name) for name in MEASURED_SHAPES}
        feed["navigation"] = feed["navigation"][:, : self.contract.navigation_values]
        feed["ego_history"] = feed["ego_history"][:, :, : self.contract.history_values]
        return feed | self._geometry | self._memory

    def _check(self, observation: Observation) -> None:
        if len(observation.images) != len(self.contract.image_shapes):
            raise InputError(
                f"observation.images: {len(observation.images)} groups of cameras, the network was made for "
                f"{len(self.contract.image_shapes)}; use the rig it was trained with"
            )
        shapes = list(zip(IMAGE_INPUT_NAMES, self.contract.image_shapes, observation.images, strict=False))
        shapes += [(name, shape, getattr(observation, name)) for name, shape in MEASURED_SHAPES.items()]
        for name, shape, array in shapes:
            if array.shape != (self.vehicles, *shape):
                raise InputError(
                    f"observation.{name}: shape {array.shape}, the network takes {(self.vehicles, *shape)}; "
                    "use the rig and the number of vehicles it was made for"
                )
        for name, images in zip(IMAGE_INPUT_NAMES, observation.images, strict=False):
            if images.dtype != np.uint8:
                raise InputError(
                    f"observation.{name}: {images.dtype}, the network takes uint8; give RGB bytes"
                )


def _contract(session: onnxruntime.InferenceSession, path: Path) -> InputContract:
    """Read the contract off the network's inputs and outputs.

    Raises:
        BundleError: a name is missing or unknown, or a shape is not a driver's.
    """
    inputs = {entry.name: entry for entry in session.get_inputs()}
    outputs = {entry.name: entry for entry in session.get_outputs()}
    groups = [name for name in IMAGE_INPUT_NAMES if name in inputs]
    remembers = "memory" in inputs
    geometry = GEOMETRY_INPUT_NAMES[: len(groups)]
    expected_inputs = {*groups, *geometry, *MEASURED_SHAPES, *(MEMORY_INPUTS if remembers else ())}
    expected_outputs = {*OUTPUT_NAMES, *(MEMORY_OUTPUTS if remembers else ())}
    foreign = (set(inputs) ^ expected_inputs) | (set(outputs) ^ expected_outputs)
    if foreign or not groups:
        raise BundleError(
            f"{path}: inputs or outputs {sorted(foreign) or IMAGE_INPUT_NAMES} are missing or unknown; "
            "it is not a driver of this version, export it again"
        )
    for name, shape in MEASURED_SHAPES.items():
        if tuple(inputs[name].shape[1:]) not in (shape, _SHAPES_BEFORE.get(name)):
            raise BundleError(
                f"{path}: input {name} has shape {inputs[name].shape}; export the network again"
            )
    if tuple(outputs["poses_in_ego"].shape[1:]) != (PLAN_POSES, 3):
        raise BundleError(
            f"{path}: output poses_in_ego has shape {outputs['poses_in_ego'].shape}; export it again"
        )
    for name in groups:
        if len(inputs[name].shape) != 5 or inputs[name].type != "tensor(uint8)":
            raise BundleError(
                f"{path}: input {name} must be uint8 [B, cameras, height, width, 3]; export it again"
            )
    memory = inputs["memory"].shape if remembers else None
    if memory is not None and (len(memory) != 3 or not all(isinstance(size, int) for size in memory[1:])):
        raise BundleError(f"{path}: input memory has shape {memory}, not [B, steps, width]; export it again")
    return InputContract(
        image_shapes=tuple(tuple(inputs[name].shape[1:]) for name in groups),
        memory_shape=None if memory is None else (memory[1], memory[2]),
        navigation_values=inputs["navigation"].shape[1],
        history_values=inputs["ego_history"].shape[2],
    )
