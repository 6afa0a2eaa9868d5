"""The one table of channels of an Episode: topic, encoding, rate, and what each carries.

Numbers of our own travel as JSON with a schema, so that Foxglove can plot them; pictures, transforms and
boxes travel in Foxglove's own schemas, so that it can show them.
"""

from dataclasses import dataclass
from enum import StrEnum

import foxglove.messages as messages
import orjson
from foxglove import Schema

from fleetloop.core.labels import empty_labels
from fleetloop.core.scene import SCENE_DTYPE
from fleetloop.core.types import HISTORY_STEPS, HISTORY_VALUES, NAVIGATION_VALUES, PLAN_POSES, CameraRig

JsonFields = dict[str, tuple[int, ...] | type[str]]
"""Name to shape of a number or array of numbers; `str` for text."""


class Encoding(StrEnum):
    """How a message becomes bytes."""

    JSON = "json"
    PROTOBUF = "protobuf"
    SCENE = "fleetloop.scene"
    """One record of core.scene.SCENE_DTYPE."""


@dataclass(frozen=True)
class Channel:
    """One row of the table."""

    topic: str
    encoding: Encoding
    rate_hz: float
    """Nominal; 0 for what comes when it happens."""
    what: str
    schema: Schema
    fields: JsonFields
    """Of a JSON channel; of the others, empty."""


def json_channel(topic: str, rate_hz: float, what: str, fields: JsonFields) -> Channel:
    """A row for numbers of our own; its schema names every field."""
    properties = {name: _json_schema(shape) for name, shape in fields.items()}
    name = "fleetloop." + topic.strip("/").replace("/", "_").title()
    schema = {"title": name, "description": what, "type": "object", "properties": properties}
    data = orjson.dumps(schema)
    return Channel(
        topic, Encoding.JSON, rate_hz, what, Schema(name=name, encoding="jsonschema", data=data), fields
    )


def _json_schema(shape: tuple[int, ...] | type[str]) -> dict:
    if not isinstance(shape, tuple):
        return {"type": "string"}
    if not shape:
        return {"type": "number"}
    return {"type": "array", "items": _json_schema(shape[1:]), "minItems": shape[0], "maxItems": shape[0]}


STEP_HZ = 10.0
"""Of the simulated world; a real vehicle may be faster."""

VIEW_HZ = 2.0
"""Of the boxes for the 3D panel. /scene has them at each step; sent as often, they would double the bytes."""

EGO = json_channel(
    "/ego",
    STEP_HZ,
    "Ego motion: pose of the rear axle in the town, its derivatives, and the last 0.8 s as the network gets "
    "them (speed m/s, acceleration m/s^2, curvature 1/m, s that it has stood; newest last).",
    {
        "ego_pose": (3,),
        "speed_mps": (),
        "acceleration_mps2": (),
        "curvature_1pm": (),
        "ego_history": (HISTORY_STEPS, HISTORY_VALUES),
        "time_of_day_h": (),
    },
)
NAVIGATION = json_channel(
    "/navigation",
    STEP_HZ,
    "Hint: metres to the next junction, signed angle to take there (rad), its length (m); the same for the one after; "
    "then where each ends (m ahead, m to the left).",
    {"navigation": (NAVIGATION_VALUES,)},
)
PLAN = json_channel(
    "/plan",
    STEP_HZ,
    "What the driver wants, whoever drives: controls, poses in ego each 0.25 s, and its uncertainty.",
    {
        "plan_curvature_1pm": (),
        "plan_acceleration_mps2": (),
        "plan_poses": (PLAN_POSES, 3),
        "plan_spread_m": (),
    },
)
TEACHER = json_channel(
    "/teacher",
    STEP_HZ,
    "What the demonstrator would do, and what it looks at; privileged, from simulation only. "
    "signal_colour is a SignalColour, junction_control a Control, -1 for none; distances are null where there is "
    "nothing.",
    {name: values.shape[1:] for name, values in empty_labels(0)._asdict().items()},
)
CONTROL = json_channel(
    "/control",
    STEP_HZ,
    "What moved the vehicle, and who decided it. The last message of a step.",
    {"control_curvature_1pm": (), "control_acceleration_mps2": (), "driver": str},
)
EVENT = json_channel(
    "/event", 0.0, "A trigger that fired, with its value.", {"kind": str, "value": (), "text": str}
)
SCENE = Channel(
    "/scene",
    Encoding.SCENE,
    STEP_HZ,
    "All that a camera can see, enough to render the moment again; from simulation only.",
    Schema(name="fleetloop.Scene", encoding="numpy", data=repr(SCENE_DTYPE.descr).encode()),
    {},
)
FRAMES = Channel(
    "/tf",
    Encoding.PROTOBUF,
    STEP_HZ,
    "The ego frame in the town frame, for Foxglove's 3D panel.",
    messages.FrameTransform.get_schema(),
    {},
)
PLAN_VIEW = Channel(
    "/plan/poses",
    Encoding.PROTOBUF,
    VIEW_HZ,
    "The plan's poses in the ego frame, for Foxglove's 3D panel.",
    messages.PosesInFrame.get_schema(),
    {},
)
ROAD_USERS_VIEW = Channel(
    "/scene/road_users",
    Encoding.PROTOBUF,
    VIEW_HZ,
    "Boxes of the ego and of the other road users, for Foxglove's 3D panel; from simulation only.",
    messages.SceneUpdate.get_schema(),
    {},
)

LANES_VIEW = Channel(
    "/map/lanes",
    Encoding.PROTOBUF,
    0.0,
    "Centre lines of the town's lanes, for Foxglove's 3D panel; once, in recordings for people only.",
    messages.SceneUpdate.get_schema(),
    {},
)
CAMERA_FRAMES = Channel(
    "/tf/cameras",
    Encoding.PROTOBUF,
    0.0,
    "The cameras' frames in the ego frame; once, in recordings for people only.",
    messages.FrameTransforms.get_schema(),
    {},
)

CHANNELS = (
    *(EGO, NAVIGATION, PLAN, TEACHER, CONTROL, EVENT, SCENE),
    *(FRAMES, PLAN_VIEW, ROAD_USERS_VIEW),
)
"""All channels of a drive but the cameras, whose names come from the rig."""

STEP_CHANNELS = (EGO, NAVIGATION, PLAN, CONTROL)
"""Every step has a message on each of these."""

CAMERA_PREFIX = "/camera/"
CALIBRATION_PREFIX = "/calibration/"


def camera_channel(name: str) -> Channel:
    """The channel of one camera: JPEG pictures."""
    return Channel(
        CAMERA_PREFIX + name,
        Encoding.PROTOBUF,
        STEP_HZ,
        f"Pictures of camera {name}, JPEG.",
        messages.CompressedImage.get_schema(),
        {},
    )


def calibration_channel(name: str) -> Channel:
    """The channel of one camera's pinhole model; once, in recordings for people only."""
    return Channel(
        CALIBRATION_PREFIX + name,
        Encoding.PROTOBUF,
        0.0,
        f"Pinhole model of camera {name}.",
        messages.CameraCalibration.get_schema(),
        {},
    )


def known_channels(rig: CameraRig) -> list[Channel]:
    """Every channel that an Episode with this rig may have."""
    cameras = [make(camera.name) for camera in rig.cameras for make in (camera_channel, calibration_channel)]
    return [*CHANNELS, LANES_VIEW, CAMERA_FRAMES, *cameras]
