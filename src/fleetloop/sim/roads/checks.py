"""What a network must be like to become a town; everything else is refused with the element and the reason."""

import numpy as np
from jaxtyping import Float64

from fleetloop.core.errors import MapError
from fleetloop.core.types import LaneUse
from fleetloop.sim.roads.network import NetLane, Network

MAX_JUNCTIONS = 2_500
"""A grid of 4,900 took 3.2 GB and minutes to make."""

MAX_EXTENT_M = 100_000.0
MIN_EXTENT_M = 10.0
"""A map smaller than this is in degrees or kilometres."""

MAX_LANE_WIDTH_M = 30.0
FOLD_RAD = np.deg2rad(140.0)
"""A lane that turns by more within a point or two doubles back."""

MAX_FOLDED_SHARE = 0.01
_SEGMENT_M = 0.3
_VEHICLES = LaneUse.MOTOR | LaneUse.BUS | LaneUse.BICYCLE


def check_network(network: Network, subject: str) -> None:
    """Refuse what could not be driven or is not a map in metres; `subject` names the town or file.

    Raises:
        MapError: no lanes for cars, too many junctions, a wrong scale, or a lane whose speed limit, width or shape
            makes no sense.
    """
    lanes = [lane for edge in network.edges.values() for lane in edge.lanes if lane.users]
    if not any(lane.users & LaneUse.MOTOR for lane in lanes):
        raise MapError(f"{subject}: has no lane that a car may use; give a map with roads")
    junctions = {name for edge in network.edges.values() for name in (edge.from_junction, edge.to_junction)}
    if len(junctions) > MAX_JUNCTIONS:
        raise MapError(
            f"{subject}: has {len(junctions):,} junctions, and at most {MAX_JUNCTIONS:,} fit into a town; "
            "cut out a smaller part"
        )
    _check_extent(lanes, subject)
    for lane in lanes:
        _check_lane(lane, subject)
    _check_folds([lane for lane in lanes if lane.users & _VEHICLES], subject)


def _check_extent(lanes: list[NetLane], subject: str) -> None:
    corners = np.array([[lane.shape.min(axis=0), lane.shape.max(axis=0)] for lane in lanes])
    extent = float(np.max(corners[:, 1].max(axis=0) - corners[:, 0].min(axis=0)))
    if extent < MIN_EXTENT_M:
        raise MapError(
            f"{subject}: its roads lie within {extent:.4g} m, as if they were in degrees; "
            "project the map to metres first"
        )
    if extent > MAX_EXTENT_M:
        raise MapError(
            f"{subject}: its roads spread over {extent / 1000.0:,.0f} km, at most {MAX_EXTENT_M / 1000.0:,.0f} km are "
            "possible; check its projection or cut out a smaller part"
        )


def _check_lane(lane: NetLane, subject: str) -> None:
    name = f"{subject}: lane {lane.edge}_{lane.index}"
    if not lane.speed_mps > 0.0:
        raise MapError(f"{name} has a speed limit of {lane.speed_mps:g} m/s; give it one above 0")
    if not 0.0 < lane.width_m <= MAX_LANE_WIDTH_M:
        raise MapError(
            f"{name} is {lane.width_m:g} m wide; give it a width above 0 and up to {MAX_LANE_WIDTH_M:g} m"
        )


def _check_folds(lanes: list[NetLane], subject: str) -> None:
    """A few of many are closed later, as every lane too sharp to drive; more of them are no map."""
    folds = [(lane, place) for lane in lanes if (place := fold_in(lane.shape)) is not None]
    if len(folds) > MAX_FOLDED_SHARE * len(lanes):
        lane, place = folds[0]
        raise MapError(
            f"{subject}: lane {lane.edge}_{lane.index} folds back on itself at point {place} of its shape, and so do "
            f"{len(folds)} of {len(lanes)} lanes; draw them as lines without hairpins"
        )


def fold_in(shape: Float64[np.ndarray, "N 2"]) -> int | None:
    """The first point at which a line doubles back, by number; None if it never does.

    Steps of less than _SEGMENT_M do not count: surveyors stutter.
    """
    kept = [0]
    for point in range(1, len(shape)):
        if np.hypot(*(shape[point] - shape[kept[-1]])) >= _SEGMENT_M:
            kept.append(point)
    steps = np.diff(shape[kept], axis=0)
    headings = np.arctan2(steps[:, 1], steps[:, 0])
    turns = np.abs((np.diff(headings) + np.pi) % (2.0 * np.pi) - np.pi)
    folds = np.flatnonzero(turns > FOLD_RAD)
    return kept[int(folds[0]) + 1] if len(folds) else None
