"""Closed-loop evaluation: a driver on unseen routes, through the safety layer, under the safety driver."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fleetloop.artifacts.report import (
    PREVENTED_INFRACTION,
    CriticalIntervention,
    DriveResult,
    Infraction,
    OtherIntervention,
    Tally,
    route_score,
)
from fleetloop.core.checks import check_at_least, check_shares
from fleetloop.core.errors import ConfigError, MapError
from fleetloop.core.labels import Labels
from fleetloop.core.types import EGO, STEP_S, CameraRig, Observation, Plan, Policy, World
from fleetloop.evaluate.census import Census
from fleetloop.evaluate.faults import FaultLog, count_faults
from fleetloop.evaluate.gate import MINIMUM_PROGRESS
from fleetloop.evaluate.inside_view import predictions_picture, truth_of
from fleetloop.policy.runtime import Readings
from fleetloop.safety.inputs import InputMonitor
from fleetloop.safety.limits import SafetyLayer
from fleetloop.safety.watchdog import Watchdog, missing_plan
from fleetloop.sim.cameras import rig_named
from fleetloop.sim.rollout import SIGNALS_S, SLOWEST_MPS, Rollout
from fleetloop.sim.routes import Route, RouteResult, make_routes
from fleetloop.sim.safety_driver import Danger
from fleetloop.sim.scenarios import FAMILIES, family_named

_CRITICAL = {
    Danger.COLLISION: CriticalIntervention.COLLISION,
    Danger.OFF_ROAD: CriticalIntervention.OFF_ROAD,
    Danger.WRONG_WAY: CriticalIntervention.WRONG_WAY,
    Danger.RED_LIGHT: CriticalIntervention.RED_LIGHT,
}
CLIP_BEFORE_STEPS, CLIP_AFTER_STEPS = 25, 8
_CLIP_SCALE = 3
"""Enlarges the small pictures of the cameras."""
_MADE_GOOD, _MOST_ROUTES = 0.9, 10
"""Share of its routes that a driver is taken to make good before it has driven."""


@dataclass(frozen=True)
class EvaluateConfig:
    """A suite of routes: the same towns, seeds and lengths for every driver."""

    routes: int = 64
    route_m: float = 400.0
    vehicles: int = 64
    """Worlds driven at the same time; the result does not depend on it."""
    agents: int = 20
    variety: float = 0.5
    clips: int = 4
    """Failures to keep as clips of all cameras."""
    minimum_progress: float = MINIMUM_PROGRESS
    """Of the demonstrator's distance, that the gate asks for."""
    scenario_share: float = 0.0
    """Of routes that begin with a scenario, each family in turn."""
    scenario: str = ""
    """The one family that these begin with; a route for which its town has no place is left out then."""
    rig: str = "default"
    """Name of the cameras of the vehicles: default are those that the network was made for; it may never have seen
    another layout."""
    hour: float | None = None
    """Of the day at which all routes begin, 0 to 24; without it each route's seed draws one."""
    rain: bool = False
    """It rains on all routes; without it on those that their seed draws."""
    mirrored: bool = False
    """The network drives by what it sees in a mirror (`MirroredDriver`): for the other side of the road."""

    def __post_init__(self) -> None:
        check_at_least("evaluate", self, ("routes", "vehicles", "agents"))
        if not self.route_m > 0.0:
            raise ConfigError(f"evaluate: route_m is {self.route_m}; use a length above 0")
        rig_named(self.rig)
        check_shares("evaluate", self, ["scenario_share"])
        if self.scenario:
            family_named(self.scenario)
        if self.hour is not None and not 0.0 <= self.hour < 24.0:
            raise ConfigError(f"evaluate: hour is {self.hour}; use 0 up to 24")

    @property
    def families(self) -> tuple[str, ...]:
        """Scenario families that routes begin with, in turn."""
        return (self.scenario,) if self.scenario else tuple(FAMILIES)


@dataclass(frozen=True)
class FailureClip:
    """The seconds around a critical intervention."""

    frames: np.ndarray
    """[T, height, width, 3] uint8 at 10 Hz; all cameras, with plan and predictions drawn in."""
    happened: str
    town: str
    seed: int


def drive_suite(
    world: World,
    towns: Sequence[str],
    rig: CameraRig,
    config: EvaluateConfig,
    seed: int,
    policy: Policy | None,
    progress: Callable[[float], None] | None = None,
    first: int = 0,
    census: Census | None = None,
) -> tuple[list[RouteResult], list[FailureClip]]:
    """Drive every route of the suite once; results in the order of the routes.

    A driver that runs out of time on a route has failed it. A route on which no vehicle can be placed is left
    out, for every driver alike.

    Args:
        policy: what drives; None is the demonstrator. Its number of vehicles is `config.vehicles`.
        progress: called with the share done, 0 to 1.
        first: leave out so many routes at the beginning.
        census: sees every moment, and what comes of it.

    Returns:
        Results, and clips of the first critical interventions, at most one of each of as many worlds.

    Raises:
        MapError: no vehicle can be placed in these towns.
    """
    numbers, families = range(len(towns)), config.families
    routes = list(make_routes(seed, numbers, config.routes, config.route_m, families, config.scenario_share))
    routes = routes[first:]
    rollout = Rollout(world, iter(routes), config.vehicles, config.agents, config.hour, config.rain)
    film = _Film(rollout, towns, rig, config.clips if policy is not None else 0)
    watchdog = None if policy is None else Watchdog(config.vehicles, STEP_S)
    safety_layer, inputs = SafetyLayer(config.vehicles, STEP_S, watchdog), InputMonitor(config.vehicles, rig)
    faults = None if watchdog is None else FaultLog(watchdog, inputs)
    if census is not None:
        census.begin(towns)
    while rollout.active.any():
        rollout.decide()
        if policy is None:
            shown = plan = rollout.teaching.plan()
        else:
            observation = inputs.check(rollout.observe(rig, config.variety), rollout.active)
            plan = policy.plan(observation)
            shown = missing_plan(config.vehicles) if plan is None else plan
            film.expose(observation, shown, getattr(policy, "readings", None))
        if census is not None:
            census.see(rollout, shown)
        controls = safety_layer.limit(plan, rollout.state.speed[:, EGO], inputs.faults)
        if faults is not None:
            faults.note(rollout.state.seed, rollout.active)
        step = rollout.step(controls.curvature_1pm, controls.acceleration_mps2)
        film.note(step.danger, step.ended)
        if census is not None:
            census.note(step)
        safety_layer.remember(step.curvature, step.acceleration, step.ended)
        if policy is not None and step.ended.any():
            policy.reset(step.ended)
            inputs.forget(step.ended)
        if progress is not None:
            progress((len(rollout.results) + sum(map(_share, rollout.routes_under_way))) / len(routes))
    order = {route.seed: number for number, route in enumerate(routes)}
    results = rollout.results if faults is None else faults.added_to(rollout.results)
    results = sorted(results, key=lambda result: order[result.route.seed])
    if config.scenario:
        results = [r for r in results if r.route.scenario or not routes[order[r.route.seed]].scenario]
    return results, film.clips


def drive_distance(
    world: World,
    towns: Sequence[str],
    rig: CameraRig,
    config: EvaluateConfig,
    seed: int,
    make_policy: Callable[[int], Policy],
    km: float,
    progress: Callable[[float], None] | None = None,
    census: Census | None = None,
) -> tuple[list[RouteResult], list[FailureClip], int]:
    """Drive as many routes of the suite, in their order, as come to `km` kilometres of the driver's own.

    How many are driven in a round follows from what came of those before, and so does not depend on
    `config.vehicles`. A driver that gets nowhere is stopped after _MOST_ROUTES times the routes that would do.

    Args:
        make_policy: a driver for so many vehicles, at most `config.vehicles`.
        progress: called with the share done, 0 to 1.
        census: as for `drive_suite`.

    Returns:
        Results and clips as of `drive_suite`, and the number of routes; `config.routes` does not count.

    Raises:
        MapError: no vehicle can be placed in these towns, or none of them has a place for `config.scenario`.
    """
    family_m = family_named(config.scenario).length_m if config.scenario else config.route_m
    route_km = max(_MADE_GOOD * min(family_m, config.route_m) / 1000.0, 1e-3)
    results: list[RouteResult] = []
    clips: list[FailureClip] = []
    driven, own_km, most = 0, 0.0, math.ceil(_MOST_ROUTES * km / route_km)
    while own_km < km and driven < most:
        per_route = own_km / driven if own_km > 0.0 else route_km
        total = min(driven + max(math.ceil((km - own_km) / per_route), 1), most)
        vehicles = min(config.vehicles, total - driven)
        left = max(config.clips - len(clips), 0)
        part = replace(config, routes=total, vehicles=vehicles, clips=left)
        done, share = own_km / km, progress or (lambda _: None)

        def report(rest: float, done: float = done, share: Callable[[float], None] = share) -> None:
            share(done + (1.0 - done) * rest)

        policy = make_policy(vehicles)
        more, more_clips = drive_suite(world, towns, rig, part, seed, policy, report, driven, census)
        results, clips, driven = [*results, *more], [*clips, *more_clips], total
        own_km = sum(result.own_m for result in results) / 1000.0
    if not results and config.scenario:
        raise MapError(f"scenario {config.scenario}: no town has a place for it; evaluate in other towns")
    return results, clips, driven


def _share(result: RouteResult) -> float:
    """How much of a route is done: of its length, or of the time that it may take."""
    limit_s = result.route.length_m / SLOWEST_MPS + SIGNALS_S
    return min(max(result.distance_m / result.route.length_m, result.duration_s / limit_s), 1.0)


@dataclass(frozen=True)
class _Exposure:
    """What is known of all worlds at one step."""

    observation: Observation
    plan: Plan
    readings: Readings | None
    """Predictions, of a network that tells them."""
    teaching: Labels

    def picture(self, w: int, rig: CameraRig) -> np.ndarray:
        """All cameras of one vehicle; the plan and the predictions are drawn into the forward ones."""
        images = tuple(group[w] for group in self.observation.images)
        poses, truth = self.plan.poses_in_ego[w], truth_of(self.teaching, w)
        return predictions_picture(
            images, rig, poses, _CLIP_SCALE, self.readings, w, None if self.readings is None else truth
        )


@dataclass
class _Take:
    """A clip that is still being filmed."""

    happened: str
    town: str
    seed: int
    left_steps: int
    frames: list[np.ndarray]


class _Film:
    """Keeps the seconds around the first critical intervention in each of the first worlds that have one."""

    def __init__(self, rollout: Rollout, towns: Sequence[str], rig: CameraRig, clips: int) -> None:
        self.clips: list[FailureClip] = []
        self._rollout, self._towns, self._rig, self._wanted = rollout, towns, rig, clips
        self._recent: deque[_Exposure] = deque(maxlen=CLIP_BEFORE_STEPS)
        self._takes: dict[int, _Take] = {}
        self._filmed: set[int] = set()
        self._route_steps = np.zeros(len(rollout.active), np.int64)
        """Of the present route, those exposed."""

    def expose(self, observation: Observation, plan: Plan, readings: Readings | None) -> None:
        """What the cameras show, what the plan says and what the network predicts in this step."""
        if len(self.clips) >= self._wanted:
            self._recent.clear()
            return
        teaching = self._rollout.teaching.copy()
        exposure = _Exposure(observation, plan, readings, teaching)
        self._recent.append(exposure)
        self._route_steps += 1
        for w, take in list(self._takes.items()):
            take.frames.append(exposure.picture(w, self._rig))
            take.left_steps -= 1
            if take.left_steps == 0:
                self._finish(w)

    def note(self, danger: np.ndarray, ended: np.ndarray) -> None:
        """What the safety driver did in this step."""
        if len(self.clips) >= self._wanted:
            return
        for w in np.flatnonzero(ended & np.isin(np.arange(len(ended)), list(self._takes))).tolist():
            self._finish(w)
        self._route_steps[ended] = 0
        for w in np.flatnonzero(np.isin(danger, list(_CRITICAL)) & ~ended).tolist():
            if w not in self._filmed and len(self._filmed) < self._wanted:
                self._begin(w, Danger(int(danger[w])))

    def _begin(self, w: int, danger: Danger) -> None:
        state = self._rollout.state
        count = min(len(self._recent), int(self._route_steps[w]))
        before = list(self._recent)[len(self._recent) - count :]
        self._filmed.add(w)
        self._takes[w] = _Take(
            happened=danger.name.lower().replace("_", " "),
            town=self._towns[int(state.town[w])],
            seed=int(state.seed[w]),
            left_steps=CLIP_AFTER_STEPS,
            frames=[exposure.picture(w, self._rig) for exposure in before],
        )

    def _finish(self, w: int) -> None:
        take = self._takes.pop(w)
        self.clips.append(FailureClip(np.stack(take.frames), take.happened, take.town, take.seed))


def tally(results: Sequence[RouteResult], demonstrator: Sequence[RouteResult]) -> Tally:
    """Count what happened on routes, beside the demonstrator on the same ones.

    Progress compares speeds made good, metres over seconds on the same seeds: standing still earns nothing.
    Metres count on every route, finished or not, but not those that the safety driver drove.
    """
    critical = dict.fromkeys(CriticalIntervention, 0)
    other = dict.fromkeys(OtherIntervention, 0)
    infractions = dict.fromkeys(Infraction, 0)
    scores = []
    for result in results:
        punished: dict[Infraction, int] = {}
        for danger in result.dangers:
            if danger in _CRITICAL:
                kind = _CRITICAL[danger]
                critical[kind] += 1
                prevented = PREVENTED_INFRACTION[kind]
                punished[prevented] = punished.get(prevented, 0) + 1
            elif danger is Danger.STUCK:
                other[OtherIntervention.STUCK] += 1
        infractions[Infraction.COLLISION_VEHICLE] += int(result.collided)
        completion = min(result.distance_m / result.route.length_m, 1.0)
        scores.append(route_score(1.0 if result.finished else completion, punished))
    distance = sum(result.own_m for result in results)
    duration = sum(result.duration_s for result in results)
    pace = _pace(demonstrator)
    return Tally(
        km=distance / 1000.0,
        progress_m=distance,
        demonstrator_progress_m=pace * duration,
        critical_interventions=critical,
        other_interventions=other,
        infractions=infractions,
        routes=len(results),
        routes_finished=sum(result.finished for result in results),
        successes=sum(result.success for result in results),
        driving_score=float(np.mean(scores)) if scores else 0.0,
        network_faults=count_faults(results),
    )


def _pace(results: Sequence[RouteResult]) -> float:
    """Metres made good in a second."""
    duration = sum(result.duration_s for result in results)
    return sum(result.own_m for result in results) / duration if duration > 0.0 else 0.0


def family_of(route: Route, towns: Sequence[str]) -> str:
    """The scenario family of a route: its scenario, or else the kind of town; each real town is one of its own."""
    return route.scenario or towns[route.town].rsplit("-", 1)[0]


def summarise(
    subject: str,
    towns: Sequence[str],
    seed: int,
    results: Sequence[RouteResult],
    demonstrator: Sequence[RouteResult],
) -> DriveResult:
    """All counts of a suite, in all and by family."""
    families: dict[str, Tally] = {}
    kinds = {family_of(Route(number, 0, 0.0), towns) for number in range(len(towns))}
    for family in sorted(kinds | {family_of(result.route, towns) for result in results}):
        mine, theirs = (
            [result for result in driven if family_of(result.route, towns) == family]
            for driven in (results, demonstrator)
        )
        families[family] = tally(mine, theirs)
    whole = tally(results, demonstrator)
    return DriveResult(
        **{name: getattr(whole, name) for name in Tally.__dataclass_fields__},
        subject=subject,
        towns=tuple(towns),
        seeds=(seed,),
        families=families,
    )
