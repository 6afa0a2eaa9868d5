"""Episode: one recorded drive segment of at most a minute, as it is written and as it is read back."""

import math
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, Shaped, UInt8

from fleetloop.core.errors import EpisodeError
from fleetloop.core.labels import Labels
from fleetloop.core.types import Camera, CameraRig

EPISODE_MAXIMUM_S = 60.0
"""Longest span of one Episode; a longer drive is cut into several."""


class Driver(IntEnum):
    """Who decided the control that moved the vehicle."""

    DEMONSTRATOR = 0
    NETWORK = 1
    SAFETY_DRIVER = 2


@dataclass(frozen=True)
class EpisodeStep:
    """One step of a drive. Poses: x, y, yaw; metres, radians."""

    timestamp_ns: int
    """Simulated time, or a vehicle's clock."""
    ego_pose: Float32[np.ndarray, " 3"]
    """In the town's frame."""
    speed_mps: float
    acceleration_mps2: float
    curvature_1pm: float
    control_curvature_1pm: float
    """What was carried out, after the safety layer."""
    control_acceleration_mps2: float
    driver: Driver
    plan_curvature_1pm: float
    """What the driver asked for."""
    plan_acceleration_mps2: float
    plan_poses: Float32[np.ndarray, "8 3"]
    """In ego."""
    plan_spread_m: float
    ego_history: Float32[np.ndarray, "8 4"]
    """As in an Observation."""
    navigation: Float32[np.ndarray, " 10"]
    """As in an Observation."""
    time_of_day_h: float
    scene: bytes | None
    """SCENE_BYTES, a record of core.scene; None on a real drive."""
    teacher: Labels | None
    """Of this moment, its distances infinite where there is nothing; from simulation only."""
    images: tuple[UInt8[np.ndarray, "cameras height width 3"], ...] | None
    """RGB, an array for each group of the rig; None when the cameras are not recorded at this step."""


@dataclass(frozen=True)
class EpisodeEvent:
    """A trigger that fired."""

    timestamp_ns: int
    kind: str
    """The trigger's name."""
    value: float
    text: str


@dataclass(frozen=True)
class EpisodeMetadata:
    """What is constant through an Episode."""

    vehicle: str
    release: str
    """Id of the Bundle that drove, or "" where none did."""
    town: str
    """Key of the town."""
    seed: int
    world: int
    """Index of the world among those of the seed."""
    driver: Driver
    """Who was meant to drive."""
    rig: CameraRig
    triggers: tuple[str, ...]
    """Names of the triggers for which the Episode was kept; empty when it was recorded anyway."""


@dataclass(frozen=True)
class Episode:
    """A whole Episode: the fields of EpisodeStep, stacked over its T steps."""

    metadata: EpisodeMetadata
    timestamp_ns: Int64[np.ndarray, " T"]
    ego_pose: Float32[np.ndarray, "T 3"]
    speed_mps: Float32[np.ndarray, " T"]
    acceleration_mps2: Float32[np.ndarray, " T"]
    curvature_1pm: Float32[np.ndarray, " T"]
    control_curvature_1pm: Float32[np.ndarray, " T"]
    control_acceleration_mps2: Float32[np.ndarray, " T"]
    driver: UInt8[np.ndarray, " T"]
    """Driver."""
    plan_curvature_1pm: Float32[np.ndarray, " T"]
    plan_acceleration_mps2: Float32[np.ndarray, " T"]
    plan_poses: Float32[np.ndarray, "T 8 3"]
    plan_spread_m: Float32[np.ndarray, " T"]
    ego_history: Float32[np.ndarray, "T 8 4"]
    navigation: Float32[np.ndarray, "T 10"]
    time_of_day_h: Float32[np.ndarray, " T"]
    scenes: Shaped[np.ndarray, " T"]
    """Records of SCENE_DTYPE; zeros where a step has none."""
    has_scene: Bool[np.ndarray, " T"]
    teacher: Labels
    """Those of `empty_labels` where a step has none."""
    has_teacher: Bool[np.ndarray, " T"]
    events: tuple[EpisodeEvent, ...]
    image_step: Int32[np.ndarray, " M"]
    """Index of the step of each moment at which the cameras were recorded."""
    images: tuple[UInt8[np.ndarray, "M cameras height width 3"], ...] | None
    """RGB, an array for each group of the rig; None unless they were asked for."""

    @property
    def duration_s(self) -> float:
        """From the first step to the last."""
        return float(self.timestamp_ns[-1] - self.timestamp_ns[0]) * 1e-9

    @property
    def distance_m(self) -> float:
        """Length of the driven line."""
        return float(np.linalg.norm(np.diff(self.ego_pose[:, :2].astype(np.float64), axis=0), axis=1).sum())

    @property
    def figures(self) -> dict[str, float | int | str]:
        """Key figures for the record of lineage."""
        return {
            "town": self.metadata.town,
            "driver": self.metadata.driver.name.lower(),
            "steps": len(self.timestamp_ns),
            "duration_s": round(self.duration_s, 3),
            "distance_m": round(self.distance_m, 2),
            "events": len(self.events),
            "pictures": len(self.image_step) * len(self.metadata.rig.cameras),
        }


def rig_to_json(rig: CameraRig) -> list[list[dict[str, Any]]]:
    """A rig as JSON: groups of cameras, each an object with the fields of Camera."""
    return [[asdict(camera) for camera in group] for group in rig.groups]


def rig_from_json(groups: Any) -> CameraRig:
    """The inverse of `rig_to_json`.

    Raises:
        ValueError: it is not a rig; the text names the camera's field.
    """
    if not isinstance(groups, list) or not all(isinstance(group, list) for group in groups):
        raise ValueError("rig: is not a list of groups of cameras")
    return CameraRig(tuple(tuple(_camera_from_json(camera) for camera in group) for group in groups))


def _camera_from_json(fields: Any) -> Camera:
    if not isinstance(fields, dict) or set(fields) != set(Camera.__dataclass_fields__):
        raise ValueError(f"rig: a camera needs exactly the fields {', '.join(Camera.__dataclass_fields__)}")
    if not isinstance(fields["name"], str):
        raise ValueError("rig: a camera's name must be a text")
    position = fields["position_in_ego"]
    if not isinstance(position, list | tuple) or len(position) != 3:
        raise ValueError("rig: position_in_ego needs three numbers")
    numbers = [*position, fields["yaw"], fields["pitch"], fields["horizontal_field_of_view"]]
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise ValueError("rig: a camera's position and angles must be finite numbers")
    if not all(isinstance(fields[name], int) and fields[name] > 0 for name in ("width", "height")):
        raise ValueError("rig: a camera's width and height must be positive whole numbers")
    return Camera(**{**fields, "position_in_ego": tuple(float(value) for value in position)})


def metadata_to_json(metadata: EpisodeMetadata) -> dict[str, Any]:
    """Metadata as JSON values by field name."""
    return {
        "vehicle": metadata.vehicle,
        "release": metadata.release,
        "town": metadata.town,
        "seed": int(metadata.seed),
        "world": int(metadata.world),
        "driver": metadata.driver.name.lower(),
        "rig": rig_to_json(metadata.rig),
        "triggers": list(metadata.triggers),
    }


def metadata_from_json(fields: dict[str, Any], name: str) -> EpisodeMetadata:
    """The inverse of `metadata_to_json`; `name` is what an error shall call the Episode.

    Raises:
        EpisodeError: a field is missing or cannot be used.
    """
    try:
        return EpisodeMetadata(
            vehicle=str(fields["vehicle"]),
            release=str(fields["release"]),
            town=str(fields["town"]),
            seed=int(fields["seed"]),
            world=int(fields["world"]),
            driver=Driver[str(fields["driver"]).upper()],
            rig=rig_from_json(fields["rig"]),
            triggers=tuple(str(trigger) for trigger in fields["triggers"]),
        )
    except KeyError as error:
        raise EpisodeError(
            f"{name}: metadata lacks or cannot use {error}; record the Episode again with this version"
        ) from None
    except (TypeError, ValueError) as error:
        raise EpisodeError(f"{name}: {error}; record the Episode again with this version") from None
