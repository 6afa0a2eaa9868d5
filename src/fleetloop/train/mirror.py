"""Samples seen in a mirror: where people drive on the right, the mirror shows a place where they drive on the left."""

from dataclasses import replace

import numpy as np

from fleetloop.core.labels import Labels
from fleetloop.core.types import Camera, CameraRig
from fleetloop.train.batch import Batch

_CURVATURE = 2
"""Column of the ego history."""
_ANGLES = (1, 4)
"""Columns of the navigation hint."""
_ACROSS, _YAW = 1, 2
"""Columns of a pose."""


def mirrored_rig(rig: CameraRig) -> CameraRig:
    """The rig with left and right exchanged. Its pictures are those of `rig`, flipped, of a world in a mirror."""

    def mirrored(camera: Camera) -> Camera:
        x, y, z = camera.position_in_ego
        return replace(camera, position_in_ego=(x, -y, z), yaw=-camera.yaw)

    return CameraRig(tuple(tuple(map(mirrored, group)) for group in rig.groups))


def mirrored_batch(batch: Batch) -> Batch:
    """The batch with left and right exchanged: pictures, motion, hint and labels."""
    observation = batch.observation
    earlier = batch.earlier_images
    return replace(
        batch,
        observation=replace(
            observation,
            images=tuple(map(_flipped, observation.images)),
            ego_history=_negated(observation.ego_history, (_CURVATURE,)),
            navigation=_negated(observation.navigation, _ANGLES),
        ),
        rig=mirrored_rig(batch.rig),
        earlier_images=None if earlier is None else _flipped(earlier),
        labels=_mirrored_labels(batch.labels),
        birds_eye=np.ascontiguousarray(batch.birds_eye[..., ::-1]),
        situation=None,  # nobody has taught the coach to drive in a mirror
    )


def _mirrored_labels(labels: Labels) -> Labels:
    return labels._replace(curvature_1pm=-labels.curvature_1pm, poses=_negated(labels.poses, (_ACROSS, _YAW)))


def _flipped(images: np.ndarray) -> np.ndarray:
    """Pictures [..., width, 3] with their columns in reverse order."""
    return np.ascontiguousarray(images[..., ::-1, :])


def _negated(values: np.ndarray, columns: tuple[int, ...]) -> np.ndarray:
    """A copy with these entries of the last axis negated."""
    copy = values.copy()
    copy[..., columns] *= -1.0
    return copy
