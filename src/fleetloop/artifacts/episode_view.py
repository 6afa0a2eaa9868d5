"""The messages of an Episode that are only there to be looked at in Foxglove's 3D panel."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from foxglove.messages import (
    CameraCalibration,
    Color,
    CubePrimitive,
    FrameTransform,
    FrameTransforms,
    LinePrimitive,
    LinePrimitiveLineType,
    Point3,
    Pose,
    PosesInFrame,
    Quaternion,
    SceneEntity,
    SceneUpdate,
    Timestamp,
    Vector3,
)
from jaxtyping import Float, Float64
from scipy.spatial.transform import Rotation

from fleetloop.core.scene import SCENE_DTYPE
from fleetloop.core.types import VEHICLE_SIZES, AgentKind, Camera, CameraRig, LaneKind

TOWN_FRAME = "town"
EGO_FRAME = "ego"

_EGO_COLOUR = Color(r=0.1, g=0.5, b=1.0, a=0.9)
KIND_COLOURS = {
    AgentKind.CAR: (0.8, 0.8, 0.8),
    AgentKind.VAN: (0.8, 0.7, 0.5),
    AgentKind.TRUCK: (0.7, 0.5, 0.3),
    AgentKind.BUS: (0.9, 0.8, 0.1),
    AgentKind.CYCLIST: (0.2, 0.8, 0.3),
    AgentKind.PEDESTRIAN: (0.9, 0.2, 0.2),
    AgentKind.EMERGENCY: (0.3, 0.3, 1.0),
    AgentKind.CHILD: (1.0, 0.4, 0.7),
    AgentKind.BARRIER: (1.0, 0.5, 0.1),
    AgentKind.DEBRIS: (0.5, 0.4, 0.3),
}
"""Red, green, blue from 0 to 1, by which viewers tell road users apart."""
_OPACITY = 0.85
_LANE_COLOURS = {
    LaneKind.ROAD: Color(r=0.6, g=0.6, b=0.65, a=1.0),
    LaneKind.CONNECTOR: Color(r=0.6, g=0.6, b=0.65, a=1.0),
    LaneKind.JUNCTION: Color(r=0.4, g=0.4, b=0.6, a=1.0),
    LaneKind.WALK: Color(r=0.3, g=0.5, b=0.3, a=1.0),
    LaneKind.CROSSING: Color(r=0.75, g=0.75, b=0.4, a=1.0),
}
_LANE_PX = 1.5


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
        if kind in KIND_COLOURS:
            red, green, blue = KIND_COLOURS[AgentKind(kind)]
            users.append(_box(pose, kind, Color(r=red, g=green, b=blue, a=_OPACITY)))
    entity = SceneEntity(timestamp=timestamp(time_ns), frame_id=TOWN_FRAME, id="road_users", cubes=users)
    return SceneUpdate(entities=[entity]).encode()


def lane_map(lines: Mapping[LaneKind, Sequence[Float[np.ndarray, "points 2"]]], time_ns: int) -> bytes:
    """Centre lines of lanes in the town frame, as an encoded SceneUpdate."""
    drawn = [
        LinePrimitive(
            type=LinePrimitiveLineType.LineStrip,
            pose=_pose(0.0, 0.0, 0.0, 0.0),
            thickness=_LANE_PX,
            scale_invariant=True,
            points=[Point3(x=round(x, 2), y=round(y, 2), z=0.0) for x, y in line.tolist()],
            color=_LANE_COLOURS[kind],
        )
        for kind, of_kind in lines.items()
        for line in of_kind
    ]
    entity = SceneEntity(timestamp=timestamp(time_ns), frame_id=TOWN_FRAME, id="lanes", lines=drawn)
    return SceneUpdate(entities=[entity]).encode()


def camera_transforms(rig: CameraRig, time_ns: int) -> bytes:
    """The frames of the cameras (OpenCV axes) in the ego frame, as encoded FrameTransforms."""
    transforms = []
    for camera in rig.cameras:
        x, y, z = camera.position_in_ego
        turn_x, turn_y, turn_z, turn_w = camera_rotation(camera).tolist()
        transforms.append(
            FrameTransform(
                timestamp=timestamp(time_ns),
                parent_frame_id=EGO_FRAME,
                child_frame_id=camera.name,
                translation=Vector3(x=x, y=y, z=z),
                rotation=Quaternion(x=turn_x, y=turn_y, z=turn_z, w=turn_w),
            )
        )
    return FrameTransforms(transforms=transforms).encode()


def camera_calibration(camera: Camera, time_ns: int) -> bytes:
    """The pinhole model of a camera, as an encoded CameraCalibration."""
    focal = camera.width / 2.0 / math.tan(camera.horizontal_field_of_view / 2.0)
    middle_x, middle_y = camera.width / 2.0, camera.height / 2.0
    return CameraCalibration(
        timestamp=timestamp(time_ns),
        frame_id=camera.name,
        width=camera.width,
        height=camera.height,
        K=[focal, 0.0, middle_x, 0.0, focal, middle_y, 0.0, 0.0, 1.0],
        R=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        P=[focal, 0.0, middle_x, 0.0, 0.0, focal, middle_y, 0.0, 0.0, 0.0, 1.0, 0.0],
    ).encode()


def camera_rotation(camera: Camera) -> Float64[np.ndarray, " 4"]:
    """Quaternion x, y, z, w from camera axes (x right, y down, z forward) to the ego frame."""
    # Looking ahead the axes are right, down, forward; pitch turns about the camera's right, yaw about the ego's up.
    ahead = Rotation.from_matrix([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    return (Rotation.from_euler("ZY", [camera.yaw, -camera.pitch]) * ahead).as_quat()


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
