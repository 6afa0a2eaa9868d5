"""What the kernels hand to one another: the columns of their rows, all in the ego frame, metres, float32."""

from enum import IntEnum


class CameraField(IntEnum):
    """Columns of a camera: position in the ego frame, its axes there, and the focal length in pixels."""

    X = 0
    Y = 1
    Z = 2
    RIGHT = 3
    DOWN = 6
    FORWARD = 9
    FOCAL_PX = 12


class BoxField(IntEnum):
    """Columns of a gathered box; colours already tinted and exposed, not yet shaded."""

    X = 0
    Y = 1
    Z = 2
    COSINE = 3
    SINE = 4
    HALF_LENGTH = 5
    HALF_WIDTH = 6
    HALF_HEIGHT = 7
    RADIUS = 8
    RED = 9
    GREEN = 10
    BLUE = 11
    GLOW = 12
    """1 for a lit lamp, which is neither shaded nor hidden by haze; else 0."""
    WINDOWS = 13
    """Of buildings: which of their windows are lit in the dark, as a number from 1; of others 0."""


class SignField(IntEnum):
    """Columns of a gathered sign."""

    X = 0
    Y = 1
    Z = 2
    COSINE = 3
    """Of the yaw of the normal of its face."""
    SINE = 4
    HALF_WIDTH = 5
    HALF_HEIGHT = 6
    IMAGE = 7


class LampField(IntEnum):
    """Columns of a lamp that lights what is near it; `lamps.lamp_light` says how."""

    X = 0
    Y = 1
    Z = 2
    COSINE = 3
    """Of the yaw of its beam; it and SINE are 0 where it shines all around."""
    SINE = 4
    RED = 5
    """Light on a surface that faces it from nearby, on the scale of the ambient light."""
    GREEN = 6
    BLUE = 7
    RANGE_M = 8
    """Nothing beyond is lit."""
    HALF_M = 9
    """At this distance half of the light is left."""
    GAIN = 10
    """A surface is fully lit from this inverse cosine between its normal and the light on."""
    BEAM = 11
    """Cosine, seen from above, of half the angle of the beam; -2 where it shines all around."""
    LIFT = 12
    """How fast the light fades above the lamp, by the tangent of the elevation; 0 where it does not."""
    NEARNESS_M = 13
    """Distance from the ego to the rim of the lit pool: the nearest are kept."""


class LightField(IntEnum):
    """Columns of a scene's light; colours take three columns."""

    SUN_X = 0
    """Direction towards the sun in the ego frame."""
    AMBIENT = 3
    SUN = 6
    HORIZON = 9
    ZENITH = 12
    FOG_START_M = 15
    FOG_PER_M = 16
    NOISE = 17
    LAMPS = 18
    """Strength of lamps; at 0 nothing is lit by them, and pictures are drawn faster."""
    WETNESS = 19
    RAIN = 20
    GLARE = 21
    EXPOSURE = 22


CAMERA_FIELDS = CameraField.FOCAL_PX + 1
BOX_FIELDS = len(BoxField)
SIGN_FIELDS = len(SignField)
LAMP_FIELDS = len(LampField)
LIGHT_FIELDS = LightField.EXPOSURE + 1
