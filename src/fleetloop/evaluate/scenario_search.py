"""Searches the parameters of a scenario family, and the places for it, for those that a driver masters least.

Random first, then variations of the hardest that get smaller and smaller, with fresh draws among them so that one
weakness does not hide the others: a (mu + lambda) evolution strategy (Beyer and Schwefel, Natural Computing 1, 2002).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fleetloop.core.checks import check_at_least
from fleetloop.core.errors import MapError
from fleetloop.core.random import Stream, generator
from fleetloop.core.types import EGO, STEP_S, Plan, World
from fleetloop.safety.limits import SafetyLayer
from fleetloop.sim.behaviour import EMERGENCY_DECELERATION_MPS2
from fleetloop.sim.rollout import SCENARIO_AGENTS, Rollout
from fleetloop.sim.routes import Route, RouteResult, route_seed
from fleetloop.sim.scenarios import FAMILIES, Family, family_named

Driver = Callable[[Rollout], Plan]
"""Plans of every world's learner, after `Rollout.decide`; they go through the safety layer."""

_FIRST_SPREAD, _SHRINK = 0.2, 0.7
"""Standard deviation of the first variations, as a share of a parameter's range, and its factor from round to round."""
_KEPT_SHARE, _FRESH_SHARE = 0.25, 0.25


@dataclass(frozen=True)
class SearchConfig:
    """How long to search."""

    rounds: int = 5
    worlds: int = 32
    """Scenarios driven in each round."""

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: a field is out of its range.
        """
        check_at_least("search", self, {"rounds": 1, "worlds": 4})


@dataclass(frozen=True)
class Trial:
    """One scenario that was driven."""

    seed: int
    """Draws the place and the traffic: `scenario_route` makes the same route of it."""
    parameters: Mapping[str, float]
    result: RouteResult
    hardest_braking_mps2: float

    @property
    def hardness(self) -> float:
        """From 0 to 1 for the share of emergency braking that it took; 1 more if it was not passed."""
        braking = min(self.hardest_braking_mps2 / EMERGENCY_DECELERATION_MPS2, 1.0)
        return braking + (0.0 if self.result.success else 1.0)


def demonstrator(rollout: Rollout) -> Plan:
    """The Driver that shows what to do."""
    return rollout.teaching.plan()


def scenario_route(name: str, seed: int, town: int, parameters: Mapping[str, float]) -> Route:
    """The route that drives a scenario alone."""
    length_m = family_named(name).length_m
    return Route(town, route_seed(seed, 0), length_m, name, tuple(sorted(parameters.items())))


def search_scenario(
    world: World, name: str, driver: Driver, config: SearchConfig, seed: int = 0
) -> list[Trial]:
    """All scenarios driven, in the first town of `world`, the hardest first; the same for the same seed.

    Raises:
        ConfigError: there is no such family.
        MapError: the town has no place for it.
    """
    family, number = family_named(name), list(FAMILIES).index(name)
    trials: list[Trial] = []
    spread = _FIRST_SPREAD
    for turn in range(config.rounds):
        random = generator(seed, Stream.SCENARIO, number, turn)
        kept = trials[: max(round(_KEPT_SHARE * config.worlds), 1)]
        candidates = _candidates(family, kept, config.worlds, spread, random)
        trials += _drive(world, name, candidates, driver)
        # Ties by seed: the order does not depend on which world was ready first.
        trials.sort(key=lambda trial: (-trial.hardness, trial.seed, sorted(trial.parameters.items())))
        if kept:
            spread *= _SHRINK
    if not trials:
        raise MapError(f"scenario {name}: the town has no place for it; use another --town or --key")
    return trials


def _candidates(
    family: Family, kept: Sequence[Trial], count: int, spread: float, random: np.random.Generator
) -> list[tuple[int, dict[str, float]]]:
    """Seeds and parameters to drive next: at first random ones, later mostly variations of those that were kept."""
    fresh = count if not kept else round(_FRESH_SHARE * count)
    result = [(int(random.integers(2**31)), family.sample(random)) for _ in range(fresh)]
    for number in range(count - fresh):
        parent = kept[number % len(kept)]
        varied = {}
        for name, limits in family.ranges.items():
            step = spread * (limits.high - limits.low) * float(random.normal())
            varied[name] = min(max(parent.parameters[name] + step, limits.low), limits.high)
        result.append((parent.seed, varied))
    return result


def _drive(
    world: World, name: str, candidates: Sequence[tuple[int, dict[str, float]]], driver: Driver
) -> list[Trial]:
    """Drive all candidates at once; those for which there was no place are left out."""
    routes = [scenario_route(name, seed, 0, parameters) for seed, parameters in candidates]
    of_route = {route: candidate for route, candidate in zip(routes, candidates, strict=True)}
    rollout = Rollout(world, iter(routes), len(routes), SCENARIO_AGENTS)
    layer, braking = SafetyLayer(len(routes), STEP_S), np.zeros(len(routes))
    trials = []
    while rollout.active.any():
        under_way = [rollout.current_result(w) for w in range(len(routes))]
        rollout.decide()
        controls = layer.limit(driver(rollout), rollout.state.speed[:, EGO])
        step = rollout.step(controls.curvature_1pm, controls.acceleration_mps2)
        layer.remember(step.curvature, step.acceleration, step.ended)
        braking = np.maximum(braking, -step.acceleration)
        for w in np.flatnonzero(step.ended).tolist():
            result = under_way[w]
            if result is not None and result.route in of_route:
                seed, parameters = of_route[result.route]
                trials.append(Trial(seed, parameters, result, float(braking[w])))
            braking[w] = 0.0
    return trials
