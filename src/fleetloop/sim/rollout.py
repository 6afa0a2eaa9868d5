"""Many worlds driven at once under the safety driver: the closed loop that recording and evaluation share."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Int32

from fleetloop.core.errors import MapError
from fleetloop.core.kernels import device
from fleetloop.core.labels import Labels
from fleetloop.core.types import (
    EGO,
    HISTORY_STEPS,
    HISTORY_VALUES,
    NAVIGATION_VALUES,
    STEP_S,
    UPCOMING_LANES,
    AgentKind,
    CameraRig,
    Observation,
    Scene,
    SignalColour,
    State,
    World,
)
from fleetloop.sim.cameras import Appearance, appearances, render
from fleetloop.sim.daytime import start_clocks
from fleetloop.sim.demonstrator import empty_teaching, teach
from fleetloop.sim.health import find_broken, name_broken
from fleetloop.sim.motion import advance
from fleetloop.sim.observe import empty_scene, navigate, see, tell_time
from fleetloop.sim.occupancy import empty_occupancy
from fleetloop.sim.prediction import touching
from fleetloop.sim.routes import Route, RouteResult
from fleetloop.sim.safety_driver import Danger, watch
from fleetloop.sim.scenarios import set_up_scenario
from fleetloop.sim.spawn import LEARNER_NEEDED_M, spawn_world
from fleetloop.sim.traffic import Decision, decide, empty_decision

TAKE_OVER_STEPS = 20
"""The safety driver keeps the wheel at least two seconds."""
HAND_BACK_OFFSET_M = 0.5
HAND_BACK_DISTANCE_M = 10.0
"""And drives this far: through the red light, past what was in the way. Else one situation would count many times."""
STUCK_S = 8.0
"""Standing this long where the demonstrator would go is being stuck."""
WAITS_WITHIN_M = 4.0
"""But not nearer than this to the line of a red light or to who stands ahead: it waits as the demonstrator does, which
would only close up."""
BLOCKED_S = 90.0
"""Standing this long where the demonstrator would stand too ends the route without a verdict."""
SLOWEST_MPS, SIGNALS_S = 2.5, 45.0
"""A route must be finished within its length over this speed (the demonstrator makes good 5.6 m/s on average),
and what signals may take. Who runs out of time has failed the route; the metres count all the same."""
ROAD_END_M = 20.0
SHORTEST_ROUTE = 0.5
"""A route that a dead end cuts to less than this share of its length is blocked, not finished."""
SCENARIO_AGENTS = 20
"""Road users of a world in which a scenario is driven alone."""


@dataclass(frozen=True)
class RolloutStep:
    """What happened in one step; arrays over worlds."""

    curvature: Float32[np.ndarray, " W"]
    """Executed, whoever was driving."""
    acceleration: Float32[np.ndarray, " W"]
    danger: Int32[np.ndarray, " W"]
    """Danger of a take-over that began in this step, or COLLISION where the learner ran into somebody before one did;
    else NONE."""
    safety_driver: Bool[np.ndarray, " W"]
    """Who drove: True for the safety driver."""
    ended: Bool[np.ndarray, " W"]
    """The route ended with this step; the world holds the next one's first moment."""


@device
def touching_all(world, state, touched):
    for w in range(touched.shape[0]):
        touched[w] = touching(world, state, w, np.int64(EGO))


def empty_state(worlds: int, agents: int) -> State:
    """A State with nobody in it."""
    shape = (worlds, agents)
    return State(
        seed=np.zeros(worlds, np.uint64),
        town=np.zeros(worlds, np.int32),
        step=np.zeros(worlds, np.int32),
        clock_s=np.zeros(worlds, np.float32),
        started_h=np.zeros(worlds, np.float32),
        kind=np.full(shape, int(AgentKind.NONE), np.uint8),
        colour=np.zeros(shape, np.uint8),
        pose=np.zeros((*shape, 3), np.float32),
        speed=np.zeros(shape, np.float32),
        acceleration=np.zeros(shape, np.float32),
        curvature=np.zeros(shape, np.float32),
        path=np.full((*shape, UPCOMING_LANES), -1, np.int32),
        along=np.zeros(shape, np.float32),
        offset=np.zeros(shape, np.float32),
        wait_s=np.zeros(shape, np.float32),
        odometer_m=np.zeros(shape, np.float32),
        changing_from=np.full(shape, -1, np.int32),
        script=np.zeros(shape, np.uint8),
        script_value=np.zeros(shape, np.float32),
        script_trigger_m=np.zeros(shape, np.float32),
        learner=np.zeros(shape, np.uint8),
        history=np.zeros((*shape, HISTORY_STEPS, HISTORY_VALUES), np.float32),
    )


class Rollout:
    """A batch of worlds that works through a queue of routes.

    Use: `decide()` once a step, then look (`observe`, `teaching`), then `step(...)` with the controls wanted.
    A world whose queue is empty is switched off (`active` False) and stays as it is. One whose numbers go wrong is
    retired: its result names the failure, and the next route starts in its place.

    Args:
        agents: road users in a world, the learner among them.
        hour: of the day at which all routes begin, 0 to 24; without it each route's seed draws one.
        rain: it rains on all routes, whatever their seeds say.
    """

    def __init__(
        self,
        world: World,
        routes: Iterator[Route],
        worlds: int,
        agents: int = 20,
        hour: float | None = None,
        rain: bool = False,
    ) -> None:
        self.world = world
        self._hour, self._rain = hour, rain
        self.state = empty_state(worlds, agents)
        self.state.learner[:, EGO] = 1
        self.decision: Decision = empty_decision(worlds, agents)
        self._occupancy = empty_occupancy(worlds, agents)
        self.teaching: Labels = empty_teaching(worlds)
        self.scene: Scene = empty_scene(worlds)
        self.active = np.zeros(worlds, bool)
        self.safety_driver = np.zeros(worlds, bool)
        self.results: list[RouteResult] = []
        self._routes = routes
        self._current: list[RouteResult | None] = [None] * worlds
        self._held_steps = np.zeros(worlds, np.int32)
        self._idle_s = np.zeros(worlds, np.float32)
        self._taken_over_m = np.zeros(worlds, np.float32)
        self._danger = np.zeros(worlds, np.int32)
        self._touched = np.zeros(worlds, np.int32)
        self._curvature = np.zeros((worlds, agents), np.float32)
        self._broken = np.full((worlds, 2), -1, np.int32)
        self.navigation = np.zeros((worlds, NAVIGATION_VALUES), np.float32)
        """The hints of the last `observe` or `look`; likewise the time of day."""
        self.time_of_day_h = np.zeros(worlds, np.float32)
        self._needed_m = LEARNER_NEEDED_M
        for w in range(worlds):
            self._start_route(w)
        if not self.active.any():
            raise MapError("the town has no stretch of road to start from; choose a map with drivable lanes")

    @property
    def distance_m(self) -> float:
        """Driven by the learner so far, in all routes, those under way included."""
        return sum(result.distance_m for result in self.results) + float(
            self.state.odometer_m[self.active, EGO].sum()
        )

    @property
    def routes_under_way(self) -> list[RouteResult]:
        """Results of the routes that have not ended, up to now."""
        return [result for result in self._current if result is not None]

    def current_result(self, w: int) -> RouteResult | None:
        """The route that world w is driving."""
        return self._current[w]

    def _start_route(self, w: int) -> None:
        state = self.state
        for route in self._routes:
            state.seed[w], state.town[w], state.step[w] = route.seed, route.town, 0
            start_clocks(state, w)
            if self._hour is not None:
                state.started_h[w] = self._hour
            if spawn_world(self.world, state, w, self._needed_m):
                parameters = dict(route.parameters)
                if route.scenario and not set_up_scenario(self.world, state, w, route.scenario, parameters):
                    route = replace(route, scenario="")
                route = replace(route, length_m=min(route.length_m, self._drivable_m(w)))
                self._current[w] = RouteResult(route)
                self.active[w] = True
                self.safety_driver[w], self._held_steps[w], self._idle_s[w] = False, 0, 0.0
                return
        state.kind[w] = int(AgentKind.NONE)
        self._current[w] = None
        self.active[w] = False

    def _drivable_m(self, w: int) -> float:
        """How far the learner can drive from here; the last metres before a dead end are not asked for."""
        lane = self.state.path[w, EGO, 0]
        return max(float(self.world.lane_reach_m[lane] - self.state.along[w, EGO]) - ROAD_END_M, 1.0)

    def decide(self) -> None:
        """Let everybody decide, and the demonstrator say what it would do in the learner's place."""
        decide(self.world, self.state, self.decision, self._occupancy)
        teach(self.world, self.state, self.decision, self.teaching, EGO)

    def observe(self, rig: CameraRig, variety: float = 0.0, looks: Appearance | None = None) -> Observation:
        """What the learners' cameras, odometers and phones tell now.

        Args:
            rig: where the cameras are.
            variety: of weather and colours, 0 to 1; fixed by each route's seed. The light is that of the hour.
            looks: instead of that, light, weather and colours, one row for each world.
        """
        see(self.world, self.state, self.scene, EGO)
        navigate(self.world, self.state, self.navigation, EGO)
        tell_time(self.state, self.time_of_day_h)
        images = self._render(rig, self.appearance(variety) if looks is None else looks)
        return Observation(
            images, self.state.history[:, EGO].copy(), self.navigation.copy(), self.time_of_day_h.copy()
        )

    def appearance(self, variety: float) -> Appearance:
        """Light, weather and colours of each world, at the hour that `observe` or `look` told last."""
        return appearances(self.state.seed, variety, self.time_of_day_h, self._rain)

    def _render(self, rig: CameraRig, looks: Appearance) -> tuple[np.ndarray, ...]:
        """Pictures of the active worlds; the others' stay black, so that the tail of a suite costs little."""
        if self.active.all():
            return render(self.world, rig, self.scene, looks)
        chosen = np.flatnonzero(self.active)
        scene = Scene(*(array[chosen] for array in self.scene))
        looks = Appearance(*(array[chosen] for array in looks))
        drawn = render(self.world, rig, scene, looks)
        images = tuple(np.zeros((len(self.active), *group.shape[1:]), np.uint8) for group in drawn)
        for group, part in zip(images, drawn, strict=True):
            group[chosen] = part
        return images

    def look(self) -> tuple[Scene, Float32[np.ndarray, "W 6"], Float32[np.ndarray, " W"]]:
        """`scene`, `navigation` and `time_of_day_h`, without rendering; valid until the next call."""
        see(self.world, self.state, self.scene, EGO)
        navigate(self.world, self.state, self.navigation, EGO)
        tell_time(self.state, self.time_of_day_h)
        return self.scene, self.navigation, self.time_of_day_h

    def step(
        self, curvature: Float32[np.ndarray, " W"], acceleration: Float32[np.ndarray, " W"]
    ) -> RolloutStep:
        """Drive one step with the learner's (limited) controls, unless the safety driver must take over."""
        watch(self.world, self.state, self.decision, curvature, acceleration, self._danger, EGO)
        began = self._take_over()
        held = self.safety_driver.copy()
        curvature = np.where(held, self.teaching.curvature_1pm, curvature).astype(np.float32)
        acceleration = np.where(held, self.teaching.acceleration_mps2, acceleration).astype(np.float32)
        self._curvature[:, EGO] = curvature
        decision = self.decision
        decision.acceleration[:, EGO] = acceleration
        advance(
            self.world,
            self.state,
            decision.acceleration,
            self._curvature,
            decision.target_lane,
            self._needed_m,
        )
        find_broken(self.world, self.state, self._broken)
        ended = self._account(began)
        return RolloutStep(curvature, acceleration, began, held, ended)

    def _take_over(self) -> Int32[np.ndarray, " W"]:
        """Update who drives; the Danger of each take-over that begins now."""
        speed = self.state.speed[:, EGO]
        taught = self.teaching
        at_red = (taught.signal_colour == SignalColour.RED) & (taught.stop_line_m < WAITS_WITHIN_M)
        in_queue = (taught.lead_speed_mps < 0.3) & (taught.lead_gap_m < WAITS_WITHIN_M)
        goes_on = (taught.acceleration_mps2 > 0.3) & ~at_red & ~in_queue
        idle = (speed < 0.3) & goes_on & ~self.safety_driver
        self._idle_s[:] = np.where(idle, self._idle_s + STEP_S, 0.0)
        danger = np.where(
            (self._danger == Danger.NONE) & (self._idle_s > STUCK_S), int(Danger.STUCK), self._danger
        )
        began = np.where(self.active & ~self.safety_driver, danger, int(Danger.NONE)).astype(np.int32)
        self._held_steps[:] = np.where(self.safety_driver, self._held_steps + 1, 0)
        back = (
            self.safety_driver
            & (self._held_steps >= TAKE_OVER_STEPS)
            & (self.state.odometer_m[:, EGO] - self._taken_over_m >= HAND_BACK_DISTANCE_M)
            & (np.abs(self.state.offset[:, EGO]) < HAND_BACK_OFFSET_M)
            & (self._danger == Danger.NONE)
        )
        self.safety_driver &= ~back
        taken = began != Danger.NONE
        self._taken_over_m[taken] = self.state.odometer_m[taken, EGO]
        self.safety_driver |= taken
        return began

    def _account(self, began: Int32[np.ndarray, " W"]) -> Bool[np.ndarray, " W"]:
        """Write down what happened, also in `began`, end routes that are over and start the next ones."""
        touching_all(self.world, self.state, self._touched)
        ended = np.zeros(len(self.active), bool)
        for w in np.flatnonzero(self.active).tolist():
            result = self._current[w]
            assert result is not None
            if began[w] != Danger.NONE:
                result.dangers.append(Danger(int(began[w])))
            if self._broken[w, 0] >= 0:
                result.failure = name_broken(self.state, self._broken, w)
                ended[w] = True
                self.results.append(result)
                self._start_route(w)
                continue
            before_m = result.distance_m
            result.distance_m = float(self.state.odometer_m[w, EGO])
            if self.safety_driver[w]:
                result.taken_over_m += result.distance_m - before_m
            result.duration_s = float(self.state.step[w]) * STEP_S
            if self._touched[w] >= 0:
                if self._is_at_fault(w):
                    result.collided = True
                    if not self.safety_driver[w]:
                        began[w] = Danger.COLLISION
                        result.dangers.append(Danger.COLLISION)
                ended[w] = True
            elif result.distance_m >= result.route.length_m:
                result.finished = ended[w] = True
            elif result.duration_s > result.route.length_m / SLOWEST_MPS + SIGNALS_S:
                ended[w] = True
            elif self._at_dead_end(w):
                # On a map without loops that is where the route ends; a stub of it proves nothing.
                result.finished = result.distance_m >= SHORTEST_ROUTE * result.route.length_m
                result.blocked = not result.finished
                ended[w] = True
            elif self.state.wait_s[w, EGO] > BLOCKED_S:
                result.blocked = ended[w] = True
            if ended[w]:
                self.results.append(result)
                self._start_route(w)
        return ended

    def _at_dead_end(self, w: int) -> bool:
        """Whether the road ends here."""
        path, along = self.state.path[w, EGO], self.state.along[w, EGO]
        return bool(path[1] < 0 and along > self.world.lane_length_m[path[0]] - ROAD_END_M)

    def _is_at_fault(self, w: int) -> bool:
        """Whether a touch counts against the learner: not if it was run into from behind, or stood."""
        state, other = self.state, self._touched[w]
        yaw = state.pose[w, EGO, 2]
        delta = state.pose[w, other, :2] - state.pose[w, EGO, :2]
        behind = np.cos(yaw) * delta[0] + np.sin(yaw) * delta[1] < -1.0
        return not (behind or state.speed[w, EGO] < 0.1)


def drive_demonstrator(rollout: Rollout) -> list[RouteResult]:
    """Drive all routes with the demonstrator under the same safety driver: the yardstick."""
    while rollout.active.any():
        rollout.decide()
        rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
    return rollout.results
