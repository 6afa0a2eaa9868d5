"""Closed-loop evaluation: a driver, through the safety layer, on routes it never saw, under the safety driver."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool

from fleetloop.artifacts.report import (
    PREVENTED_INFRACTION,
    CriticalIntervention,
    DriveResult,
    Infraction,
    OtherIntervention,
    Tally,
    route_score,
)
from fleetloop.core.types import EGO, STEP_S, CameraRig, Observation, Plan, World
from fleetloop.safety.limits import Controls, limit_plan
from fleetloop.sim.cameras.mosaic import draw_plan, mosaic
from fleetloop.sim.rollout import Rollout, RouteResult, make_routes
from fleetloop.sim.safety_driver import Danger

_CRITICAL = {
    Danger.COLLISION: CriticalIntervention.COLLISION,
    Danger.OFF_ROAD: CriticalIntervention.OFF_ROAD,
    Danger.WRONG_WAY: CriticalIntervention.WRONG_WAY,
    Danger.RED_LIGHT: CriticalIntervention.RED_LIGHT,
}
CLIP_BEFORE_STEPS, CLIP_AFTER_STEPS = 25, 8


class Policy(Protocol):
    """What is evaluated."""

    def reset(self, mask: Bool[np.ndarray, " W"]) -> None:
        """Forget the past of the vehicles in `mask`."""
        ...

    def plan(self, observation: Observation) -> Plan:
        """Plans for all vehicles."""
        ...


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


@dataclass(frozen=True)
class FailureClip:
    """The seconds around a critical intervention."""

    frames: np.ndarray
    """[T, height, width, 3] uint8 at 10 Hz; all cameras, with the plan drawn in."""
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
) -> tuple[list[RouteResult], list[FailureClip]]:
    """Drive every route of the suite once; results in the order of the routes.

    Args:
        policy: what drives; None is the demonstrator. Its number of vehicles is `config.vehicles`.

    Returns:
        Results, and clips of the first critical interventions in each of as many worlds.
    """
    routes = make_routes(seed, range(len(towns)), config.routes, config.route_m)
    rollout = Rollout(world, routes, config.vehicles, config.agents)
    filmed = _Camera(rollout, towns, rig, config.clips if policy is not None else 0)
    zeros = np.zeros(config.vehicles, np.float32)
    previous = Controls(zeros, zeros.copy())
    while rollout.active.any():
        rollout.decide()
        speed = rollout.state.speed[:, EGO]
        if policy is None:
            plan, observation = rollout.teaching.plan(), None
        else:
            observation = rollout.observe(rig, config.variety)
            plan = policy.plan(observation)
        controls = limit_plan(plan, speed, previous, STEP_S)
        filmed.before(observation, plan)
        step = rollout.step(controls.curvature_1pm, controls.acceleration_mps2)
        filmed.after(step.danger, step.ended)
        previous = Controls(
            np.where(step.ended, 0.0, step.curvature).astype(np.float32),
            np.where(step.ended, 0.0, step.acceleration).astype(np.float32),
        )
        if policy is not None and step.ended.any():
            policy.reset(step.ended)
        if progress is not None:
            progress(len(rollout.results) / config.routes)
    order = {route: number for number, route in enumerate(make_routes(
        seed, range(len(towns)), config.routes, config.route_m
    ))}
    return sorted(rollout.results, key=lambda result: order[result.route]), filmed.clips


class _Camera:
    """Films a few worlds and keeps the seconds around the first critical intervention in each."""

    def __init__(self, rollout: Rollout, towns: Sequence[str], rig: CameraRig, clips: int) -> None:
        self.clips: list[FailureClip] = []
        self._rollout, self._towns, self._rig, self._wanted = rollout, towns, rig, clips
        worlds = len(rollout.active)
        self._recent: list[deque] = [deque(maxlen=CLIP_BEFORE_STEPS) for _ in range(worlds)]
        self._after: dict[int, tuple[int, str, str, int, list]] = {}
        self._done: set[int] = set()

    def before(self, observation: Observation | None, plan: Plan) -> None:
        """What the cameras show and the plan says in this step."""
        if observation is None or len(self.clips) >= self._wanted:
            return
        for w in np.flatnonzero(self._rollout.active):
            if w in self._done:
                continue
            frame = ([group[w].copy() for group in observation.images], plan.poses_in_ego[w].copy())
            if w in self._after:
                left, happened, town, seed, frames = self._after[w]
                frames.append(frame)
                if left <= 1:
                    self._finish(w)
                else:
                    self._after[w] = (left - 1, happened, town, seed, frames)
            else:
                self._recent[w].append(frame)

    def after(self, danger: np.ndarray, ended: np.ndarray) -> None:
        """What the safety driver did in this step."""
        if len(self.clips) >= self._wanted:
            return
        for w in np.flatnonzero(ended):
            if w in self._after:
                self._finish(w)
            self._recent[w].clear()
        for w in np.flatnonzero(danger != Danger.NONE):
            kind = Danger(int(danger[w]))
            if kind not in _CRITICAL or w in self._after or w in self._done or ended[w]:
                continue
            if len(self._after) + len(self.clips) >= self._wanted or not self._recent[w]:
                continue
            state = self._rollout.state
            happened = kind.name.lower().replace("_", " ")
            town = self._towns[int(state.town[w])]
            self._after[w] = (
                CLIP_AFTER_STEPS,
                happened,
                town,
                int(state.seed[w]),
                list(self._recent[w]),
            )

    def _finish(self, w: int) -> None:
        _, happened, town, seed, frames = self._after.pop(w)
        self._done.add(w)
        pictures = [_picture(images, poses, self._rig) for images, poses in frames]
        self.clips.append(FailureClip(np.stack(pictures), happened, town, seed))


def _picture(images: list[np.ndarray], poses: np.ndarray, rig: CameraRig) -> np.ndarray:
    """All cameras of one moment, the plan drawn into the forward ones."""
    drawn = [images[0].copy(), *images[1:]]
    for number, camera in enumerate(rig.groups[0]):
        drawn[0][number] = draw_plan(drawn[0][number], camera, poses)
    return mosaic(drawn, rig, 3)


def tally(results: Sequence[RouteResult], demonstrator: Sequence[RouteResult]) -> Tally:
    """Count what happened on routes, beside the demonstrator on the same ones.

    Progress compares speed made good: metres over seconds, on the same seeds; a driver that stands earns nothing.
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
    distance = sum(result.distance_m for result in results)
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
    )


def _pace(results: Sequence[RouteResult]) -> float:
    """Metres made good in a second."""
    duration = sum(result.duration_s for result in results)
    return sum(result.distance_m for result in results) / duration if duration > 0.0 else 0.0


def family_of(town: str) -> str:
    """The scenario family of a route: the kind of town; each real town is one of its own."""
    return town.rsplit("-", 1)[0]


def summarise(
    subject: str,
    towns: Sequence[str],
    seed: int,
    results: Sequence[RouteResult],
    demonstrator: Sequence[RouteResult],
) -> DriveResult:
    """All counts of a suite, in all and by family."""
    families: dict[str, Tally] = {}
    for family in sorted({family_of(town) for town in towns}):

        def of_family(result: RouteResult, family: str = family) -> bool:
            return family_of(towns[result.route.town]) == family

        families[family] = tally(list(filter(of_family, results)), list(filter(of_family, demonstrator)))
    whole = tally(results, demonstrator)
    return DriveResult(
        **{name: getattr(whole, name) for name in Tally.__dataclass_fields__},
        subject=subject,
        towns=tuple(towns),
        seeds=(seed,),
        families=families,
    )
