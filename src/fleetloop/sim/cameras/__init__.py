"""What the learner's cameras see: rigs, appearances, the renderer, projection and pictures for people."""

from fleetloop.sim.cameras.appearance import Appearance, Weather, appearance_of, appearances
from fleetloop.sim.cameras.render import image_shapes, render
from fleetloop.sim.cameras.rig import (
    DEFAULT_RIG,
    RIGS,
    SHUTTLE_RIG,
    equal_rig,
    rig_named,
    scaled_rig,
    varied_rig,
)

__all__ = [
    "DEFAULT_RIG",
    "RIGS",
    "SHUTTLE_RIG",
    "Appearance",
    "Weather",
    "appearance_of",
    "appearances",
    "equal_rig",
    "image_shapes",
    "render",
    "rig_named",
    "scaled_rig",
    "varied_rig",
]
