"""Drives that are recorded: traffic of a town or a scenario, the demonstrator or a network at the wheel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetloop.artifacts.episode import Driver
from fleetloop.core.errors import ConfigError, MapError
from fleetloop.core.types import EGO, STEP_S, CameraRig, Policy, World
from fleetloop.recording.recording import RECORDING_SCALE, Recording
from fleetloop.safety.limits import SafetyLayer
from fleetloop.safety.watchdog import Watchdog, missing_plan
from fleetloop.sim.cameras import DEFAULT_RIG, Weather, appearance_of, scaled_rig
from fleetloop.sim.daytime import NOON_H
from fleetloop.sim.rollout import SCENARIO_AGENTS, Rollout
from fleetloop.sim.routes import Route, make_routes, route_seed
from fleetloop.sim.scenarios import family_named

_TRIES = 200
_ROUTES = 1_000
"""Enough to find a place to start from."""
_ROUTE_M_PER_S = 15.0
"""A route is long enough for the time that is asked for."""
_SHORTEST_S = 1.0
_HOURS = {Weather.DUSK: 20.0, Weather.NIGHT: 0.0, Weather.NIGHT_RAIN: 0.0, Weather.NIGHT_FOG: 0.0}
"""Time of day of the weathers that have one."""


@dataclass(frozen=True)
class RecordConfig:
    """What is driven and how it looks."""

    seconds: float | None = None
    """Without it a scenario is driven to its end, anything else for half a minute."""
    scenario: str = ""
    """A family to begin with; none: ordinary traffic."""
    parameters: tuple[tuple[str, float], ...] = ()
    """Names and values of parameters of the family; the others are drawn."""
    weather: Weather = Weather.CLEAR
    agents: int = 24
    """Road users, where the streets have room for so many."""
    rig: CameraRig | None = None
    """Cameras whose pictures are recorded; without it those of whoever drives, in RECORDING_SCALE times the size."""

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: a field is out of its range.
        """
        if self.seconds is not None and not _SHORTEST_S <= self.seconds < float("inf"):
            raise ConfigError(f"record: seconds is {self.seconds}; use {_SHORTEST_S:.0f} or more")
        if self.agents < 1:
            raise ConfigError(f"record: agents is {self.agents}; use 1 or more")
        if self.scenario:
            family_named(self.scenario).check(dict(self.parameters))
        elif self.parameters:
            raise ConfigError("record: parameters are those of a scenario; name the scenario as well")


def scenario_rollout(
    world: World,
    name: str,
    seed: int,
    agents: int = SCENARIO_AGENTS,
    parameters: tuple[tuple[str, float], ...] = (),
    hour: float | None = None,
) -> Rollout:
    """One world that begins with a scenario, at the first place that a town has for it.

    Raises:
        ConfigError: there is no such family.
        MapError: the town has no place for it.
    """
    family = family_named(name)
    towns = len(world.town_first_lane) - 1
    for number in range(_TRIES):
        route = Route(number % towns, route_seed(seed, number), family.length_m, name, parameters)
        rollout = Rollout(world, iter([route]), worlds=1, agents=agents, hour=hour)
        result = rollout.current_result(0)
        if result is not None and result.route.scenario:
            return rollout
    raise MapError(f"scenario {name}: the town has no place for it; use another --town or --key")


def record_drive(
    world: World,
    towns: Sequence[str],
    out: Path | None,
    config: RecordConfig,
    seed: int,
    policy: Policy | None = None,
    progress: Callable[[float], None] | None = None,
) -> tuple[str, Sequence[Path]]:
    """Drive one world and record it to `out`, whose ending names the format; None shows it live in the Rerun viewer.

    Args:
        towns: keys of the towns of `world`.
        policy: a network of one vehicle that drives under the safety driver; None lets the demonstrator drive.
        progress: called with the share done, 0 to 1.

    Returns:
        How it went, in a few words, and the files.

    Raises:
        ConfigError: there is no such format or scenario, or Rerun is not installed.
        MapError: the town has no place for the scenario, or for any vehicle.
        StorageError: the file cannot be written.
    """
    seconds = config.seconds if config.seconds is not None or config.scenario else 30.0
    # The clock goes with the light.
    hour = _HOURS.get(config.weather, NOON_H)
    if config.scenario:
        rollout = scenario_rollout(world, config.scenario, seed, config.agents, config.parameters, hour)
    else:
        assert seconds is not None
        numbers = range(len(world.town_first_lane) - 1)
        routes = make_routes(seed, numbers, _ROUTES, _ROUTE_M_PER_S * seconds)
        rollout = Rollout(world, routes, worlds=1, agents=config.agents, hour=hour)
    driver = Driver.DEMONSTRATOR if policy is None else Driver.NETWORK
    watchdog = None if policy is None else Watchdog(1, STEP_S)
    looks, layer = appearance_of(config.weather, 1), SafetyLayer(1, STEP_S, watchdog)
    title = config.scenario or towns[int(rollout.state.town[0])]
    own_rig = getattr(policy, "rig", DEFAULT_RIG)
    rig = config.rig or scaled_rig(own_rig, RECORDING_SCALE)
    with Recording(out, towns, title, driver, rig, looks=looks) as recording:
        while rollout.active.any() and (seconds is None or recording.steps * STEP_S < seconds):
            rollout.decide()
            # The network sees the weather that is recorded.
            plan = (
                rollout.teaching.plan()
                if policy is None
                else policy.plan(rollout.observe(own_rig, looks=looks))
            )
            shown = missing_plan(1) if plan is None else plan
            recording.add(rollout, shown, getattr(policy, "inside", None))
            controls = layer.limit(plan, rollout.state.speed[:, EGO])
            step = rollout.step(controls.curvature_1pm, controls.acceleration_mps2)
            layer.remember(step.curvature, step.acceleration, step.ended)
            if policy is not None and step.ended.any():
                policy.reset(step.ended)
            if progress is not None:
                progress(_share(rollout, recording, seconds))
    return _outcome(rollout), recording.paths


def _share(rollout: Rollout, recording: Recording, seconds: float | None) -> float:
    timed = 0.0 if seconds is None else recording.steps * STEP_S / seconds
    current = rollout.current_result(0)
    driven = 0.0 if current is None else current.distance_m / current.route.length_m
    return min(max(timed, driven if seconds is None else 0.0), 1.0)


def _outcome(rollout: Rollout) -> str:
    """How the routes went, the one under way included."""
    results = [*rollout.results, *rollout.routes_under_way]
    dangers = [danger for result in results for danger in result.dangers]
    happened = ", ".join(danger.name.lower().replace("_", " ") for danger in dangers)
    if happened:
        return f"the safety driver took over: {happened}"
    if rollout.routes_under_way:
        return f"drove {rollout.distance_m:.0f} m"
    return "passed" if all(result.success for result in results) else "not finished"
