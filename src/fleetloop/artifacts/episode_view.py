"""The messages of an Episode that are only there to be looked at in Foxglove's 3D panel."""

import math

import numpy as np
from foxglove.messages import (
    Color,
    CubePrimitive,
    FrameTransform,
    Pose,
    PosesInFrame,
    Quaternion,
    SceneEntity,
    SceneUpdate,
    Timestamp,
    Vector3,
)
from jaxtyping import Float

from fleetloop.core.scene import SCENE_DTYPE
from fleetloop.core.types import VEHICLE_SIZES, AgentKind

TOWN_FRAME = "town"
EGO_FRAME = "ego"

_EGO_COLOUR = Color(r=0.1, g=0.5, b=1.0, a=0.9)
_COLOURS = {
    AgentKind.CAR: Color(r=0.8, g=0.8, b=0.8, a=0.8),
    AgentKind.VAN: Color(r=0.8, g=0.7, b=0.5, a=0.8),
    AgentKind.TRUCK: Color(r=0.7, g=0.5, b=0.3, a=0.8),
    AgentKind.BUS: Color(r=0.9, g=0.8, b=0.1, a=0.8),
    AgentKind.CYCLIST: Color(r=0.2, g=0.8, b=0.3, a=0.9),
    AgentKind.PEDESTRIAN: Color(r=0.9, g=0.2, b=0.2, a=0.9),
}


def timestamp(time_ns: int) -> Timestamp:
    """Nanoseconds as Foxglove's Timestamp."""
    return Timestamp(sec=time_ns // 1_000_000_000, nsec=time_ns % 1_000_000_000)


def frame_transform(ego_pose: Float[np.ndarray, " 3"], time_ns: int) -> bytes:
    """The ego frame in the town frame, as an encoded FrameTransform."""
    x, y, yaw = map(float, ego_pose)
    return FrameTransform(
        timestamp=timestamp(time_ns),
        parent_frame_id=TOWN_FRAME,
        child_frame_id=EGO_FRAME,
        translation=Vector3(x=x, y=y, z=0.0),
        rotation=_yaw(yaw),
    ).encode()


def plan_poses(poses: Float[np.ndarray, "8 3"], time_ns: int) -> bytes:
    """The plan in the ego frame, as an encoded PosesInFrame."""
    stamped = [_pose(x, y, 0.1, yaw) for x, y, yaw in np.asarray(poses).tolist()]
    return PosesInFrame(timestamp=timestamp(time_ns), frame_id=EGO_FRAME, poses=stamped).encode()


def road_users(scene: bytes, time_ns: int) -> bytes:
    """Boxes of the ego and the other road users in the town frame, as an encoded SceneUpdate."""
    record = np.frombuffer(scene, SCENE_DTYPE)[0]
    kinds = record["agent_kind"].tolist()
    users = [_box(record["ego_pose"].tolist(), AgentKind.CAR, _EGO_COLOUR)]
    for kind, pose in zip(kinds, record["agent_pose"].tolist(), strict=True):
        if kind in _COLOURS:
            users.append(_box(pose, kind, _COLOURS[AgentKind(kind)]))
    entity = SceneEntity(timestamp=timestamp(time_ns), frame_id=TOWN_FRAME, id="road_users", cubes=users)
    return SceneUpdate(entities=[entity]).encode()


def _box(rear_axle: list[float], kind: int, colour: Color) -> CubePrimitive:
    length, width, height, overhang = VEHICLE_SIZES[kind].tolist()
    x, y, yaw = rear_axle
    forward = 0.5 * length - overhang
    # Millimetres are plenty to look at, and shorter numbers compress.
    centre_x, centre_y = round(x + forward * math.cos(yaw), 3), round(y + forward * math.sin(yaw), 3)
    return CubePrimitive(
        pose=_pose(centre_x, centre_y, 0.5 * height, yaw),
        size=Vector3(x=length, y=width, z=height),
        color=colour,
    )


def _pose(x: float, y: float, z: float, yaw: float) -> Pose:
    return Pose(position=Vector3(x=x, y=y, z=z), orientation=_yaw(yaw))


def _yaw(yaw: float) -> Quaternion:
    return Quaternion(x=0.0, y=0.0, z=math.sin(0.5 * yaw), w=math.cos(0.5 * yaw))
