"""The other side of the road: where people drive on the left, a mirror shows a place where they drive on the right."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from fleetloop.core.types import Camera, CameraRig, Observation, Plan
from fleetloop.policy.runtime import OnnxDriver

_CURVATURE = 2
"""Column of the ego history."""
_SIGNED = (1, 4, 7, 9)
"""Columns of the navigation hint: angles, and metres to the left."""
_ACROSS, _YAW = 1, 2
"""Columns of a pose."""


def mirrored_rig(rig: CameraRig) -> CameraRig:
    """The rig with left and right exchanged. Its pictures are those of `rig`, flipped, of a world in a mirror."""

    def mirrored(camera: Camera) -> Camera:
        x, y, z = camera.position_in_ego
        return replace(camera, position_in_ego=(x, -y, z), yaw=-camera.yaw)

    return CameraRig(tuple(tuple(map(mirrored, group)) for group in rig.groups))


def mirrored_observation(observation: Observation) -> Observation:
    """What the `mirrored_rig` of the rig that saw this sees in a mirror: pictures, motion and hint."""
    return replace(
        observation,
        images=tuple(map(flipped, observation.images)),
        ego_history=negated(observation.ego_history, (_CURVATURE,)),
        navigation=negated(observation.navigation, _SIGNED),
    )


def mirrored_poses(poses: np.ndarray) -> np.ndarray:
    """Poses [..., 3] (x, y, yaw) with left and right exchanged."""
    return negated(poses, (_ACROSS, _YAW))


def flipped(images: np.ndarray) -> np.ndarray:
    """Pictures [..., width, 3] with their columns in reverse order."""
    return np.ascontiguousarray(images[..., ::-1, :])


def negated(values: np.ndarray, columns: tuple[int, ...]) -> np.ndarray:
    """A copy with these entries of the last axis negated."""
    copy = values.copy()
    copy[..., columns] *= -1.0
    return copy


def make_driver(
    network: Path | bytes, rig: CameraRig, vehicles: int, threads: int, mirrored: bool
) -> OnnxDriver:
    """An OnnxDriver, or one that is shown a mirror."""
    return (MirroredDriver if mirrored else OnnxDriver)(network, rig, vehicles, threads)


class MirroredDriver(OnnxDriver):
    """A network that learnt to drive on one side of the road, on the other: it is shown a mirror, and its plan is
    turned round.

    Nothing is learnt for it and no weight is changed, so it forgets nothing of home; a vehicle that crosses the border
    uses the one driver or the other.
    """

    def __init__(self, network: Path | bytes, rig: CameraRig, vehicles: int, threads: int = 1) -> None:
        """As OnnxDriver; `rig` is the vehicles' own."""
        super().__init__(network, mirrored_rig(rig), vehicles, threads)

    def plan(self, observation: Observation) -> Plan:
        """Plans for all vehicles, as of OnnxDriver; readings are as the vehicle sees the world, not the network."""
        plan = super().plan(mirrored_observation(observation))
        if self.readings is not None:
            self.readings = replace(self.readings, birds_eye=self.readings.birds_eye[..., ::-1])
        return replace(
            plan, curvature_1pm=-plan.curvature_1pm, poses_in_ego=mirrored_poses(plan.poses_in_ego)
        )
