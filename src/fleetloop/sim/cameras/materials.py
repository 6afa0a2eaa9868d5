"""What the parts of road users are made of, and from where they are seen."""

from enum import IntEnum, IntFlag

import numpy as np


class Material(IntEnum):
    """What a part is made of; decides its colour."""

    PAINT = 0
    """The colour of the road user."""
    GLASS = 1
    DARK = 2
    """Tyres, bumpers, underside."""
    CARGO = 3
    SKIN = 4
    TAIL = 5
    """Dim red; lit while braking, faintly lit in the dark."""
    HEAD = 6
    INDICATOR_LEFT = 7
    """Amber; not there unless lit."""
    INDICATOR_RIGHT = 8
    SECOND_PAINT = 9
    """Another of the paints: trousers, a bag."""
    HAIR = 10
    WHITE = 11
    STRIPE = 12
    """Red of emergency vehicles and of barriers."""
    BLUE_LEFT = 13
    """Of a blue lamp that flashes in turn with BLUE_RIGHT."""
    BLUE_RIGHT = 14
    BEACON = 15
    """Amber, flashing: on barriers."""
    WOOD = 16
    METAL = 17
    SIGN_LIT = 18
    """The line display of a bus."""


class SeenFrom(IntFlag):
    """From which side a part can be seen, so that hidden ones cost nothing."""

    ANYWHERE = 0
    FRONT = 1
    BEHIND = 2
    LEFT = 4
    RIGHT = 8


MATERIAL_COLOURS = np.array(
    [
        (0, 0, 0),
        (36, 48, 64),
        (26, 26, 28),
        (214, 212, 204),
        (214, 164, 130),
        (112, 14, 14),
        (250, 250, 236),
        (255, 150, 0),
        (255, 150, 0),
        (0, 0, 0),
        (58, 42, 30),
        (240, 240, 238),
        (206, 26, 24),
        (16, 30, 110),
        (16, 30, 110),
        (150, 96, 10),
        (150, 108, 66),
        (134, 138, 142),
        (255, 176, 40),
    ],
    np.float32,
)
"""RGB by Material, of lamps when they are not lit; the paints come from the Appearance."""

BRAKE_COLOUR = (255.0, 36.0, 24.0)
TAIL_COLOUR = (150.0, 14.0, 10.0)
"""Of tail lamps that burn in the dark."""
BLUE_COLOUR = (60.0, 120.0, 255.0)
BEACON_COLOUR = (255.0, 176.0, 20.0)
SECOND_PAINT_STEP = 5
"""SECOND_PAINT is the paint this many places further in the list."""
STRIDE_M = 1.5
"""Metres that somebody on foot covers with a left and a right step."""
