"""Batch: what a network is trained with at once."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from fleetloop.core.labels import Labels
from fleetloop.core.types import CameraRig, Observation

BIRDS_EYE_UNKNOWN = 255


@dataclass(frozen=True)
class Batch:
    """Training samples."""

    observation: Observation
    rig: CameraRig
    """Whose cameras saw it."""
    earlier_images: UInt8[np.ndarray, "B cameras height width 3"] | None
    """The forward group, MEMORY_DELAY_STEPS earlier; None when the network has no memory."""
    earlier_valid: Bool[np.ndarray, " B"]
    labels: Labels
    """Distances that are not finite count as far away; poses that are not finite are not known, and left out."""
    birds_eye: UInt8[np.ndarray, "B 3 16 24"]
    """1 or 0 by BirdsEyeLayer; BIRDS_EYE_UNKNOWN everywhere in a sample of which it is not known."""
    weight: Float32[np.ndarray, " B"]
    situation: Float32[np.ndarray, "B 64"] | None = None
    """What the coach makes of it; None without a coach, not finite in a sample of which it knows nothing."""
    sightings: Float32[np.ndarray, "B cells 2"] | None = None
    """Who is in each cell of the pictures, camera by camera, by SightingLayer; NaN where it is not known. None where
    nobody asks."""


def map_batches(function: Callable[[list[np.ndarray]], np.ndarray], batches: Sequence[Batch]) -> Batch:
    """A Batch each of whose arrays is `function` of those arrays of `batches`: to join them, or to pick rows."""

    def mapped(parts: Sequence[Any]) -> Any:
        first = parts[0]
        if isinstance(first, np.ndarray):
            return function(list(parts))
        if isinstance(first, Labels):
            return Labels(*map(mapped, zip(*parts, strict=True)))
        if isinstance(first, tuple):
            return tuple(map(mapped, zip(*parts, strict=True)))
        if isinstance(first, Batch | Observation):
            names = [field.name for field in dataclasses.fields(first)]
            return type(first)(**{name: mapped([getattr(part, name) for part in parts]) for name in names})
        return first  # the rig, or what there is none of

    return mapped(batches)
