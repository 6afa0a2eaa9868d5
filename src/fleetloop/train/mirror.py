"""Samples seen in a mirror: where people drive on the left, it shows a place where they drive on the right."""

from dataclasses import replace

import numpy as np

from fleetloop.core.labels import Labels
from fleetloop.policy.mirror import flipped, mirrored_observation, mirrored_poses, mirrored_rig
from fleetloop.train.batch import Batch


def mirrored_batch(batch: Batch) -> Batch:
    """The batch with left and right exchanged: pictures, motion, hint and labels."""
    earlier = batch.earlier_images
    return replace(
        batch,
        observation=mirrored_observation(batch.observation),
        rig=mirrored_rig(batch.rig),
        earlier_images=None if earlier is None else flipped(earlier),
        labels=_mirrored_labels(batch.labels),
        birds_eye=np.ascontiguousarray(batch.birds_eye[..., ::-1]),
        # The middles of cells do not lie evenly in a picture: those of the mirrored one are other places.
        sightings=None,
        situation=None,  # nobody has taught the coach to drive in a mirror
    )


def _mirrored_labels(labels: Labels) -> Labels:
    return labels._replace(curvature_1pm=-labels.curvature_1pm, poses=mirrored_poses(labels.poses))
