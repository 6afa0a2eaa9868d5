"""Scenario families: situations that are rare on the road and that a driver must master all the same."""

from collections.abc import Mapping

from fleetloop.core.errors import ConfigError
from fleetloop.core.random import Stream, generator
from fleetloop.core.types import EGO, AgentKind, State, World
from fleetloop.sim.scenarios import junctions, people, vehicles
from fleetloop.sim.scenarios.family import Family, Range
from fleetloop.sim.scenarios.stage import Stage

FAMILIES: Mapping[str, Family] = {
    family.name: family for family in (*vehicles.FAMILIES, *people.FAMILIES, *junctions.FAMILIES)
}

__all__ = ["FAMILIES", "Family", "Range", "family_named", "set_up_scenario"]


def family_named(name: str) -> Family:
    """The scenario family of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in FAMILIES:
        raise ConfigError(f"scenario: {name!r} is unknown; use {', '.join(FAMILIES)}")
    return FAMILIES[name]


def set_up_scenario(
    world: World, state: State, w: int, name: str, parameters: Mapping[str, float] | None = None
) -> bool:
    """Turn world w, filled with traffic already, into a scenario drawn by the world's seed.

    Args:
        parameters: values of some of the family's parameters; the others are drawn.

    Returns:
        False, with the world as it was but for the learner, if the town has no place for it.

    Raises:
        ConfigError: there is no such family or parameter, a value is out of range, or the values given put two road
            users into each other.
    """
    family = family_named(name)
    random = generator(int(state.seed[w]), Stream.SCENARIO, list(FAMILIES).index(name))
    drawn = family.sample(random)
    family.check(parameters or {})
    stage = Stage(world, state, w, random)
    if not family.set_up(stage, {**drawn, **(parameters or {})}):
        return False
    stage.clear()
    if (pair := stage.inside_each_other()) is not None:
        if parameters:
            one, other = (AgentKind(int(state.kind[w, a])).name.lower() for a in pair)
            values = ", ".join(f"{key}={value:g}" for key, value in parameters.items())
            raise ConfigError(f"scenario {name}: {values} puts a {one} inside a {other}; use other values")
        stage.send_actors_away()
        return False
    state.odometer_m[w, EGO] = state.wait_s[w, EGO] = state.acceleration[w, EGO] = 0.0
    return True
