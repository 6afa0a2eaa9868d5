"""Sets a scene: the learner and the actors of a scenario on a town's lanes, in the State of one world."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from fleetloop.core.errors import ConfigError
from fleetloop.core.types import (
    EGO,
    UPCOMING_LANES,
    VEHICLE_SIZES,
    AgentKind,
    LaneKind,
    LaneUse,
    Script,
    State,
    World,
)
from fleetloop.sim.paths import lane_point, rail_pose
from fleetloop.sim.prediction import touching
from fleetloop.sim.spawn import COLOURS, LEARNER_NEEDED_M, NEEDED_M, extend_path

_VEHICLES = (AgentKind.CAR, AgentKind.VAN, AgentKind.TRUCK, AgentKind.BUS, AgentKind.EMERGENCY)
CLEAR_M = 60.0
"""Ordinary traffic this near to the learner or to an actor leaves the stage."""

T = TypeVar("T")


class _Places:
    """What has been looked for in the towns of a World."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.found: dict[Hashable, Any] = {}


# Of the World used last, which it keeps alive: scenarios are set up again and again in the same towns.
_last_places: _Places | None = None


@dataclass
class Stage:
    """One world of a State that a scenario is set up in. Metres, m/s; offsets are to the left of a lane's middle."""

    world: World
    state: State
    w: int
    random: np.random.Generator
    actors: list[int] = field(default_factory=list)

    def lanes(self, *kinds: LaneKind) -> np.ndarray:
        """Lanes of the town, of these kinds."""
        town = int(self.state.town[self.w])
        first, last = (int(lane) for lane in self.world.town_first_lane[town : town + 2])
        lanes = np.arange(first, last)
        return lanes[np.isin(self.world.lane_kind[lanes], [int(kind) for kind in kinds])]

    def successors(self, lane: int) -> list[int]:
        """Lanes that may follow."""
        first, last = self.world.successor_start[lane], self.world.successor_start[lane + 1]
        return [int(following) for following in self.world.successors[first:last]]

    def once_in_town(self, name: Hashable, find: Callable[[], T]) -> T:
        """What `find` finds in the town, looked for only once; it must follow from the World and the name alone."""
        global _last_places
        places = _last_places
        if places is None or places.world is not self.world:
            places = _last_places = _Places(self.world)
        key = (int(self.state.town[self.w]), name)
        if key not in places.found:
            places.found[key] = find()
        return places.found[key]

    def straight_lanes(self, length_m: float, has_neighbour: bool = False) -> np.ndarray:
        """Road lanes at least this long that hardly bend, and lead on."""
        return self.once_in_town(
            ("straight lanes", length_m, has_neighbour), lambda: self._straight_lanes(length_m, has_neighbour)
        )

    def _straight_lanes(self, length_m: float, has_neighbour: bool) -> np.ndarray:
        world, lanes = self.world, self.lanes(LaneKind.ROAD)
        chosen = []
        for lane in lanes[(world.lane_length_m[lanes] >= length_m) & (world.lane_reach_m[lanes] >= 400.0)]:
            first, count = world.lane_first_point[lane], world.lane_point_count[lane]
            beside = self.neighbour(int(lane)) >= 0
            straight = np.abs(world.curvatures[first : first + count]).max() < 0.02
            if straight and world.lane_use[lane] & LaneUse.MOTOR and (beside or not has_neighbour):
                chosen.append(int(lane))
        return np.array(chosen, np.int64)

    def neighbour(self, lane: int) -> int:
        """A lane for cars beside, of the same direction, or -1; the left one if there are two."""
        for beside in (int(self.world.lane_left[lane]), int(self.world.lane_right[lane])):
            if beside >= 0 and self.world.lane_use[beside] & LaneUse.MOTOR:
                return beside
        return -1

    def outer_side(self) -> float:
        """-1 where the kerb is on the right, +1 where it is on the left (left-hand traffic)."""
        return 1.0 if self.world.town_left_hand[self.state.town[self.w]] else -1.0

    def put_learner(self, path: Sequence[int], along_m: float, speed_mps: float) -> None:
        """Put the learner on the first lane of `path`, to drive that way."""
        state, w = self.state, self.w
        self._put_on_path(EGO, path, along_m, LEARNER_NEEDED_M)
        x, y, heading, curvature = lane_point(self.world, int(path[0]), float(along_m))
        state.pose[w, EGO] = x, y, heading
        state.curvature[w, EGO], state.speed[w, EGO] = curvature, speed_mps
        state.history[w, EGO] = 0.0
        state.history[w, EGO, :, 0] = speed_mps

    def _put_on_path(self, a: int, path: Sequence[int], along_m: float, needed_m: np.float32) -> None:
        state, w = self.state, self.w
        state.path[w, a] = -1
        state.path[w, a, : len(path)] = path
        state.along[w, a], state.offset[w, a], state.changing_from[w, a] = along_m, 0.0, -1
        state.acceleration[w, a] = state.wait_s[w, a] = state.odometer_m[w, a] = 0.0
        if len(path) < UPCOMING_LANES:
            extend_path(self.world, state, w, a, len(path), needed_m)

    def _next_actor(self, kind: AgentKind, script: Script, value: float, trigger_m: float) -> int:
        state, w = self.state, self.w
        a = state.kind.shape[1] - 1 - len(self.actors)
        if a <= EGO:
            raise ConfigError(
                f"scenario: has more than {len(self.actors)} actors, and its worlds have no more agents than that; "
                "give them more"
            )
        self.actors.append(a)
        state.kind[w, a], state.script[w, a] = kind, script
        state.script_value[w, a], state.script_trigger_m[w, a] = value, trigger_m
        state.colour[w, a] = self.random.integers(COLOURS)
        return a

    def add(
        self,
        kind: AgentKind,
        path: Sequence[int],
        along_m: float,
        speed_mps: float = 0.0,
        script: Script = Script.NONE,
        value: float = 0.0,
        trigger_m: float = 0.0,
        offset_m: float = 0.0,
    ) -> int:
        """Put an actor on the first lane of `path`; its number."""
        state, w = self.state, self.w
        a = self._next_actor(kind, script, value, trigger_m)
        self._put_on_path(a, path, along_m, NEEDED_M)
        x, y, yaw = rail_pose(self.world, state.path[w, a], float(along_m), np.uint8(kind))
        state.pose[w, a] = x - offset_m * math.sin(yaw), y + offset_m * math.cos(yaw), yaw
        state.offset[w, a], state.speed[w, a] = offset_m, speed_mps
        return a

    def add_beside(
        self,
        kind: AgentKind,
        lane: int,
        along_m: float,
        offset_m: float,
        turned: float = 0.0,
        script: Script = Script.STAND,
        value: float = 0.0,
        trigger_m: float = 0.01,
    ) -> int:
        """Put an actor off the lanes, `offset_m` beside the middle of one, turned from its direction; its number.

        What is given as a place is the middle of the actor's body.
        """
        state, w = self.state, self.w
        a = self._next_actor(kind, script, value, trigger_m)
        x, y, heading, _ = lane_point(self.world, lane, float(along_m))
        yaw = heading + turned
        back = VEHICLE_SIZES[kind, 0] / 2.0 - VEHICLE_SIZES[kind, 3]
        x -= offset_m * math.sin(heading) + back * math.cos(yaw)
        y += offset_m * math.cos(heading) - back * math.sin(yaw)
        state.pose[w, a] = x, y, yaw
        state.path[w, a] = -1
        state.speed[w, a] = state.acceleration[w, a] = state.wait_s[w, a] = state.odometer_m[w, a] = 0.0
        state.offset[w, a], state.changing_from[w, a] = 0.0, -1
        return a

    def inside_each_other(self) -> tuple[int, int] | None:
        """Two of the learner and the actors that touch, the first of them a vehicle; None if nobody does.

        Cones and barriers may touch each other.
        """
        for a in (EGO, *self.actors):
            if self.state.kind[self.w, a] in _VEHICLES:
                b = int(touching(self.world, self.state, self.w, np.int64(a)))
                if b >= 0:
                    return a, b
        return None

    def send_actors_away(self) -> None:
        """Leave the world without its actors."""
        self.state.kind[self.w, self.actors] = AgentKind.NONE
        self.state.script[self.w, self.actors] = Script.NONE

    def clear(self) -> None:
        """Send away ordinary traffic that is near the learner or an actor."""
        state, w = self.state, self.w
        keep = [EGO, *self.actors]
        places = state.pose[w, keep, :2]
        for a in range(state.kind.shape[1]):
            if a not in keep and np.hypot(*(places - state.pose[w, a, :2]).T).min() < CLEAR_M:
                state.kind[w, a] = AgentKind.NONE
