"""The four types the loop is written in: World, State, Observation and Plan, and the enums they hold.

World and State are NamedTuples of plain arrays so that the Numba kernels take them as they are. In the shape
comments: P points, L lanes, K conflicts, S signals, T towns, B static boxes, N signs, W worlds in a batch, A agents a
world.
A vehicle's pose is that of its rear axle: x, y in metres, yaw in radians, in the town's frame (ISO 8855).
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8, UInt64

STEP_S = 0.1
"""Seconds a step of the simulated world takes."""

HISTORY_STEPS = 8
"""Steps of ego history in an Observation (0.8 s)."""

HISTORY_VALUES = 4
"""Numbers of a step of ego history: speed, acceleration, curvature, and how long the vehicle has stood."""

LONGEST_STOOD_S = 60.0
"""What ego history says of whoever has stood for longer."""

NAVIGATION_VALUES = 10
"""Numbers of a navigation hint: metres, angle and length of each of two turns, then where each ends: metres ahead and
to the left."""

PLAN_POSES = 8
"""Future poses in a Plan, PLAN_POSE_INTERVAL_S apart: two seconds."""

PLAN_POSE_INTERVAL_S = 0.25

UPCOMING_LANES = 12
"""Lanes of its own path, the current one first, that every agent carries."""

SCENE_AGENTS = 24
"""The nearest road users that a Scene keeps."""

EGO = 0
"""Index of the learner among the agents of a world."""


class LaneKind(IntEnum):
    """What part of the network a lane is."""

    ROAD = 0
    CONNECTOR = 1
    """Joins two road lanes where there is nothing to decide (a bend, a lane gained)."""
    JUNCTION = 2
    """Crosses a junction."""
    WALK = 3
    """A sidewalk or path, one lane for each direction."""
    CROSSING = 4
    """Where people on foot cross a road; it has conflicts with the connectors and lanes that it crosses."""


class LaneUse(IntFlag):
    """Who may use a lane."""

    MOTOR = 1
    """Cars, vans, trucks."""
    BUS = 2
    BICYCLE = 4
    PEDESTRIAN = 8
    MOTOR_OFF_HOURS = 16
    """Cars, vans, trucks while the town's bus lanes are open to all."""


class Control(IntEnum):
    """What rules the entry into a connector; shown by signs, markings or lamps."""

    NONE = 0
    YIELD = 1
    STOP = 2
    SIGNAL = 3
    RIGHT_BEFORE_LEFT = 4


class ConflictKind(IntEnum):
    """How two connectors of one junction meet."""

    CROSS = 0
    MERGE = 1
    DIVERGE = 2


class SignalColour(IntEnum):
    """What a signal shows to one connector."""

    RED = 0
    YELLOW = 1
    GREEN_YIELD = 2
    """Green, but give way to conflicting traffic that has green too (a permissive left turn)."""
    GREEN = 3
    OFF = 4
    """Dark or blinking: right of way holds as without a signal."""


class AgentKind(IntEnum):
    """Road users; the index into VEHICLE_SIZES."""

    CAR = 0
    VAN = 1
    TRUCK = 2
    BUS = 3
    CYCLIST = 4
    PEDESTRIAN = 5
    EMERGENCY = 6
    """An ambulance or the like, with blue lights and a siren."""
    CHILD = 7
    BARRIER = 8
    """Closes a lane at a construction site; stands."""
    DEBRIS = 9
    """Something that fell onto the road; lies still."""
    NONE = 255


class Script(IntEnum):
    """What an actor of a scenario does besides driving; it acts once the first learner is near."""

    NONE = 0
    STAND = 1
    """Stands, then drives off as usual."""
    RUN = 2
    """Stands off the lanes, then goes straight ahead at script_value m/s."""
    BRAKE = 3
    """Drives, then brakes with script_value m/s^2 until it stands."""
    CUT_IN = 4
    """Drives, then changes into the learner's lane."""
    SLOW = 5
    """Drives at most at script_value m/s, from the start."""
    INSIST = 6
    """Heeds neither signals nor right of way, from the start."""
    PULL_OUT = 7
    """Stands in a parking bay, indicates, and drives off into a gap; then it is like all others."""


# length, width, height, rear overhang behind the rear axle; metres.
VEHICLE_SIZES = np.array(
    [
        [4.6, 1.9, 1.5, 0.9],
        [5.4, 2.0, 2.2, 1.0],
        [8.0, 2.4, 3.2, 1.6],
        [11.5, 2.5, 3.1, 2.8],
        [1.8, 0.6, 1.7, 0.5],
        [0.5, 0.6, 1.75, 0.25],
        [6.0, 2.1, 2.6, 1.2],
        [0.35, 0.45, 1.2, 0.17],
        [0.4, 2.4, 1.1, 0.2],
        [0.8, 0.8, 0.5, 0.4],
    ],
    dtype=np.float32,
)
WHEELBASE_M = 2.8
"""Of the learner's car."""


class Surface(IntEnum):
    """What the ground is made of; one byte of a tile."""

    GRASS = 0
    ASPHALT = 1
    WHITE_LINE = 2
    YELLOW_LINE = 3
    SIDEWALK = 4
    CROSSING = 5
    STOP_LINE = 6
    CURB = 7
    PARKING = 8
    BUS_LANE = 9
    JUNCTION = 10


TILE_PIXELS = 64
"""A tile of ground is TILE_PIXELS squared bytes: one page of memory."""

METRES_PER_PIXEL = 0.1
TILE_M = TILE_PIXELS * METRES_PER_PIXEL
BOX_CELL_M = 32.0
"""Edge of a cell of the grid that finds static boxes and signs."""
SIGN_PIXELS = 48
"""Edge of the picture of a sign."""
STREET_LAMP = 200
"""In box_lamp: the head of a street lamp, lit by night."""


class World(NamedTuple):
    """Everything that is constant, for one or more towns packed one after the other.

    Lanes, points, signals and boxes of all towns share one numbering, so a kernel needs the town only to look
    up the ground and the boxes. Start arrays are CSR offsets: entries of lane i are [start[i], start[i + 1]).
    """

    points: Float32[np.ndarray, "P 2"]
    """Centre lines, evenly spaced within a lane (about 1 m): metre s is at index s / lane_spacing_m."""
    headings: Float32[np.ndarray, " P"]
    heights_m: Float32[np.ndarray, " P"]
    """Above the lowest road, only to tell levels apart: cameras and motion know a flat world."""
    curvatures: Float32[np.ndarray, " P"]
    """Signed, smoothed, 1/m; positive turns left."""
    bend_speed_mps: Float32[np.ndarray, " P"]
    """The highest speed from which every bend in the rest of the lane is met in comfort."""
    lane_first_point: Int32[np.ndarray, " L"]
    lane_point_count: Int32[np.ndarray, " L"]
    lane_spacing_m: Float32[np.ndarray, " L"]
    lane_length_m: Float32[np.ndarray, " L"]
    lane_width_m: Float32[np.ndarray, " L"]
    lane_speed_limit_mps: Float32[np.ndarray, " L"]
    lane_kind: UInt8[np.ndarray, " L"]
    lane_use: UInt8[np.ndarray, " L"]
    """Bits of LaneUse."""
    lane_reach_m: Float32[np.ndarray, " L"]
    """Longest distance that can be driven from the lane's start without a dead end, capped at 5,000 m."""
    lane_ends: UInt8[np.ndarray, " L"]
    """1 where a lane just ends, and its connector moves over into the way of the lane beside."""
    lane_bus_stop_m: Float32[np.ndarray, " L"]
    """Where the front of a bus stands at the lane's stop, metres along it; -1 where it has none."""
    lane_bay_m: Float32[np.ndarray, " L"]
    """Middle of the parking bay beside the lane that cars may pull out of, metres along it; -1 where there is none."""
    lane_left: Int32[np.ndarray, " L"]
    """The neighbouring lane of the same direction on this side, or -1."""
    lane_right: Int32[np.ndarray, " L"]
    successor_start: Int32[np.ndarray, " L+1"]
    successors: Int32[np.ndarray, " successors"]
    """Road lanes are followed by connectors; a connector by exactly one road lane."""
    lane_control: UInt8[np.ndarray, " L"]
    """Of connectors: what rules the entry (Control)."""
    lane_signal: Int32[np.ndarray, " L"]
    """Of connectors: the signal that rules it, or -1."""

    conflict_start: Int32[np.ndarray, " L+1"]
    conflict_lane: Int32[np.ndarray, " K"]
    conflict_kind: UInt8[np.ndarray, " K"]
    conflict_from_m: Float32[np.ndarray, " K"]
    """On this connector, the stretch where vehicles on the two would touch."""
    conflict_to_m: Float32[np.ndarray, " K"]
    conflict_other_from_m: Float32[np.ndarray, " K"]
    conflict_other_to_m: Float32[np.ndarray, " K"]
    conflict_yield: UInt8[np.ndarray, " K"]
    """1 when this connector must give way to the other."""

    signal_cycle_s: Float32[np.ndarray, " S"]
    signal_offset_s: Float32[np.ndarray, " S"]
    """Phase time is (clock + offset) modulo cycle."""
    phase_start: Int32[np.ndarray, " S+1"]
    phase_end_s: Float32[np.ndarray, " phases"]
    phase_colour: UInt8[np.ndarray, " phases"]

    town_first_lane: Int32[np.ndarray, " T+1"]
    town_left_hand: UInt8[np.ndarray, " T"]
    """1 where traffic keeps left."""
    town_bus_lane_hours: Float32[np.ndarray, "T 2 2"]
    """From when to when, hours of the day, bus lanes are closed to motor vehicles; twice a day, or never (0, 0)."""
    town_origin_m: Float32[np.ndarray, "T 2"]
    """Lower left corner of the grids of tiles and of boxes."""
    town_tiles_shape: Int32[np.ndarray, "T 2"]
    """Rows (y) and columns (x) of the grid of tiles."""
    town_first_tile: Int32[np.ndarray, " T"]
    """Where the town's grid starts in tile_index, row by row."""
    tile_index: Int32[np.ndarray, " cells"]
    tiles: UInt8[np.ndarray, "tiles 64 64"]
    """Ground by Surface; [row (y up), column (x)]; tile 0 is all grass."""
    town_cells_shape: Int32[np.ndarray, "T 2"]
    town_first_cell: Int32[np.ndarray, " T"]
    cell_start: Int32[np.ndarray, " cells+1"]
    """Static boxes whose centre is in a cell of BOX_CELL_M, row by row, towns one after the other."""
    boxes: Float32[np.ndarray, "B 10"]
    """centre x, y, z, yaw, half length, half width, half height, red, green, blue (0 to 255)."""
    box_signal: Int32[np.ndarray, " B"]
    """The signal whose lamp this box is, or -1."""
    box_lamp: UInt8[np.ndarray, " B"]
    """For a signal's lamp, the SignalColour at which it is lit (GREEN stands for both greens); or STREET_LAMP."""
    sign_start: Int32[np.ndarray, " cells+1"]
    """Signs whose centre is in a cell, in the order of cell_start."""
    signs: Float32[np.ndarray, "N 6"]
    """centre x, y, z, yaw of the normal of the face, half width, half height."""
    sign_image: Int32[np.ndarray, " N"]
    sign_images: UInt8[np.ndarray, "images 48 48 4"]
    """What the signs show, RGBA, row 0 at the top; transparent outside of the plate."""


class State(NamedTuple):
    """What changes, batched over worlds."""

    seed: UInt64[np.ndarray, " W"]
    town: Int32[np.ndarray, " W"]
    step: Int32[np.ndarray, " W"]
    clock_s: Float32[np.ndarray, " W"]
    """Simulated time, which signals and lamps follow."""
    started_h: Float32[np.ndarray, " W"]
    """Time of day at step 0, hours; `sim.daytime.hour_of` says what it is now."""
    kind: UInt8[np.ndarray, "W A"]
    colour: UInt8[np.ndarray, "W A"]
    pose: Float32[np.ndarray, "W A 3"]
    speed: Float32[np.ndarray, "W A"]
    acceleration: Float32[np.ndarray, "W A"]
    curvature: Float32[np.ndarray, "W A"]
    path: Int32[np.ndarray, "W A 12"]
    """The next UPCOMING_LANES lanes, the current one first; -1 past a dead end. Who is off the lanes has none."""
    along: Float32[np.ndarray, "W A"]
    """Metres of the rear axle along the current lane."""
    offset: Float32[np.ndarray, "W A"]
    """Metres of the rear axle to the left of the current lane's centre line."""
    wait_s: Float32[np.ndarray, "W A"]
    """How long the agent has stood; creeping below 2.5 m/s keeps it."""
    odometer_m: Float32[np.ndarray, "W A"]
    changing_from: Int32[np.ndarray, "W A"]
    """The neighbouring lane that the agent still partly is in while it changes lanes, or -1."""
    script: UInt8[np.ndarray, "W A"]
    """Script of actors."""
    script_value: Float32[np.ndarray, "W A"]
    script_trigger_m: Float32[np.ndarray, "W A"]
    """The actor acts once the first learner is this near; 0 when it has begun to act."""
    learner: UInt8[np.ndarray, "W A"]
    """1 where the agent is steered from outside, 0 where it runs along its lanes by itself."""
    history: Float32[np.ndarray, "W A 8 4"]
    """The last HISTORY_STEPS steps of learners, newest last: speed, acceleration, curvature, wait_s."""


class Scene(NamedTuple):
    """What a camera can see, and nothing else: enough to render a moment again. B is the batch."""

    town: Int32[np.ndarray, " B"]
    clock_s: Float32[np.ndarray, " B"]
    """Simulated time; the signals' phases follow from it."""
    ego_pose: Float32[np.ndarray, "B 3"]
    agent_pose: Float32[np.ndarray, "B 24 3"]
    """The nearest SCENE_AGENTS other road users; rear axle."""
    agent_kind: UInt8[np.ndarray, "B 24"]
    """AgentKind.NONE where there is nobody."""
    agent_colour: UInt8[np.ndarray, "B 24"]
    agent_lights: UInt8[np.ndarray, "B 24"]
    """Bits: 1 braking, 2 left indicator, 4 right indicator."""


class BirdsEyeLayer(IntEnum):
    """What a grid of the surroundings tells, layer by layer."""

    VEHICLES = 0
    """And what else stands or lies on the road."""
    PEOPLE = 1
    """On foot or on a bicycle."""
    ROAD = 2
    """Where one could drive."""


class SightingLayer(IntEnum):
    """Who is in a cell of a picture."""

    VEHICLE = 0
    """Or what else stands or lies on the road."""
    PERSON = 1
    """On foot or on a bicycle."""


BIRDS_EYE_CELLS = (16, 24)
"""Ahead, and from right to left."""
BIRDS_EYE_SHAPE = (len(BirdsEyeLayer), *BIRDS_EYE_CELLS)
"""Of a grid with all layers."""
BIRDS_EYE_CELL_M = (4.0, 3.0)
BIRDS_EYE_ORIGIN_M = (-6.0, -36.0)
"""Of the grid's rear right corner, in ego."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera. Angles in radians; OpenCV image axes (x right, y down, z forward)."""

    name: str
    position_in_ego: tuple[float, float, float]
    """From the rear axle on the ground: forward, left, up; metres."""
    yaw: float
    pitch: float
    """Positive looks up."""
    horizontal_field_of_view: float
    width: int
    height: int


@dataclass(frozen=True)
class CameraRig:
    """Cameras in groups of equal image size; images of a group share one array."""

    groups: tuple[tuple[Camera, ...], ...]

    @property
    def cameras(self) -> tuple[Camera, ...]:
        """All cameras, group by group."""
        return tuple(camera for group in self.groups for camera in group)


@dataclass(frozen=True)
class Observation:
    """What the network may know; B is the batch."""

    images: tuple[UInt8[np.ndarray, "B cameras height width 3"], ...]
    """RGB, an array for each group of the rig."""
    ego_history: Float32[np.ndarray, "B 8 4"]
    """speed m/s, acceleration m/s^2, curvature 1/m, and for how many seconds it has stood since it last drove faster
    than 2.5 m/s, at most LONGEST_STOOD_S; newest last."""
    navigation: Float32[np.ndarray, "B 10"]
    """Of the next junction, sharp bend or change of lane metres to it, signed angle to take there, metres that it is
    long; the same for the one after; then, of both, where it ends: metres ahead and to the left of where it begins,
    along the direction in which it begins."""
    time_of_day_h: Float32[np.ndarray, " B"]


MEASURED_SHAPES: dict[str, tuple[int, ...]] = {
    "ego_history": (HISTORY_STEPS, HISTORY_VALUES),
    "navigation": (NAVIGATION_VALUES,),
    "time_of_day_h": (),
}
"""Of what an Observation holds besides images; the batch is left out."""


@dataclass(frozen=True)
class Plan:
    """What a driver wants to do; B is the batch."""

    curvature_1pm: Float32[np.ndarray, " B"]
    acceleration_mps2: Float32[np.ndarray, " B"]
    poses_in_ego: Float32[np.ndarray, "B 8 3"]
    """x, y, yaw at PLAN_POSE_INTERVAL_S, 2 PLAN_POSE_INTERVAL_S, ..."""
    spread_m: Float32[np.ndarray, " B"]
    """Expected error of the last pose: the network's uncertainty; 0 from a demonstrator."""


class Policy(Protocol):
    """What drives a batch of vehicles; the network's runtime is one."""

    def reset(self, mask: Bool[np.ndarray, " W"]) -> None:
        """Forget the past of the vehicles in `mask`."""
        ...

    def plan(self, observation: Observation) -> Plan | None:
        """Plans for all vehicles; None where none came in time."""
        ...
