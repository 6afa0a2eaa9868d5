"""Scenario families: situations that are rare on the road and that a driver must master all the same."""

from collections.abc import Mapping

from fleetloop.core.errors import ConfigError
from fleetloop.core.random import Stream, generator
from fleetloop.core.types import EGO, State, World
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
        ConfigError: there is no such family or parameter, or a value is out of range.
    """
    family = family_named(name)
    random = generator(int(state.seed[w]), Stream.SCENARIO, list(FAMILIES).index(name))
    drawn = family.sample(random)
    family.check(parameters or {})
    stage = Stage(world, state, w, random)
    if not family.set_up(stage, {**drawn, **(parameters or {})}):
        return False
    stage.clear()
    state.odometer_m[w, EGO] = state.wait_s[w, EGO] = state.acceleration[w, EGO] = 0.0
    return True
