"""Traffic lights: over each lane past the stop line, on an arm from a post at the kerb."""

import numpy as np

from fleetloop.core.types import Control, SignalColour
from fleetloop.sim.roads.boxes import POLE_COLOUR, Boxes, Site
from fleetloop.sim.roads.carriageways import Carriageway
from fleetloop.sim.roads.lanes import LaneTable
from fleetloop.sim.roads.signals import Signal

HEAD_PAST_STOP_LINE_M = 5.0
"""Far enough that the wide camera of a car that waits at the line still has the lamps in its picture."""

HEAD_HEIGHT_M = 4.3
"""Of a signal head's middle: trucks pass below it."""

_HEAD_HALF_SIZE = (0.175, 0.45, 0.75)
_HEAD_SPACING_M = 0.95
_LAMP_HALF_M, _LAMP_PROTRUSION_M, _LAMP_PITCH_M = 0.225, 0.06, 0.5
_LAMPS = (
    (SignalColour.RED, 1.0, (255, 40, 30)),
    (SignalColour.YELLOW, 0.0, (255, 190, 0)),
    (SignalColour.GREEN, -1.0, (40, 255, 90)),
)
_POST_FROM_KERB_M = 0.8
_POST_CLEARANCE_M = 0.3
_HEAD_COLOUR = (25, 25, 28)

_Pose = tuple[float, float, float]


def add_signal_heads(
    boxes: Boxes,
    site: Site,
    lanes: LaneTable,
    ways: tuple[Carriageway, ...],
    signals: list[Signal],
    signal_of: list[int],
) -> None:
    """Heads for all approaches that signals rule."""
    for way in ways:
        if way.control is not Control.SIGNAL:
            continue
        heads = _heads(lanes, way, signals, signal_of)
        for signal, pose in heads:
            _add_head(boxes, signal, pose)
        if heads:
            _add_post(boxes, site, way, [pose for _, pose in heads])


def _heads(
    lanes: LaneTable, way: Carriageway, signals: list[Signal], signal_of: list[int]
) -> list[tuple[int, _Pose]]:
    """Over each lane a head for each signal that differs, from left to right."""
    heads = []
    for lane, track in zip(way.numbers, way.tracks, strict=True):
        different: dict[tuple[object, ...], tuple[int, float]] = {}
        for connector in lanes.successors[lane] if lane >= 0 else ():
            number = connector - len(lanes.road_lanes)
            signal, turn = signal_of[number], lanes.connectors[number].turn_rad
            if signal >= 0:
                shown = signals[signal].appearance
                if shown not in different or turn > different[shown][1]:
                    different[shown] = (signal, turn)
        order = sorted(different.values(), key=lambda item: -item[1])
        for position, (signal, _) in enumerate(order):
            lateral = ((len(order) - 1) / 2.0 - position) * _HEAD_SPACING_M
            heads.append((signal, track.pose(track.length_m + HEAD_PAST_STOP_LINE_M, lateral)))
    return heads


def _add_head(boxes: Boxes, signal: int, pose: _Pose) -> None:
    x, y, heading = pose
    boxes.add((x, y, HEAD_HEIGHT_M), heading, _HEAD_HALF_SIZE, _HEAD_COLOUR)
    back = _HEAD_HALF_SIZE[0] + _LAMP_PROTRUSION_M / 2.0
    place = (x - back * np.cos(heading), y - back * np.sin(heading))
    half_size = (_LAMP_PROTRUSION_M / 2.0, _LAMP_HALF_M, _LAMP_HALF_M)
    for lamp, position, colour in _LAMPS:
        z = HEAD_HEIGHT_M + position * _LAMP_PITCH_M
        boxes.add((*place, z), heading, half_size, colour, signal, lamp)


def _add_post(boxes: Boxes, site: Site, way: Carriageway, heads: list[_Pose]) -> None:
    """Beside the stop line, unless another lane runs there, with an arm to the farthest head."""
    track = way.tracks[0]
    x, y, heading = track.pose(track.length_m, way.kerb_m + way.outer * _POST_FROM_KERB_M)
    if site.from_lanes_m(np.array([[x, y]]))[0] <= _POST_CLEARANCE_M:
        return
    top = HEAD_HEIGHT_M + _HEAD_HALF_SIZE[2] + 0.1
    boxes.add((x, y, top / 2.0), heading, (0.09, 0.09, top / 2.0), POLE_COLOUR)
    furthest = max(heads, key=lambda head: np.hypot(head[0] - x, head[1] - y))
    delta_x, delta_y = furthest[0] - x, furthest[1] - y
    middle = ((furthest[0] + x) / 2.0, (furthest[1] + y) / 2.0, top)
    half_size = (float(np.hypot(delta_x, delta_y)) / 2.0, 0.06, 0.06)
    boxes.add(middle, float(np.arctan2(delta_y, delta_x)), half_size, POLE_COLOUR)
