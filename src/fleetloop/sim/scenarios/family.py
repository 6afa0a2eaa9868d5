"""What a scenario family is: a situation with parameters, and what it takes to pass it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fleetloop.core.errors import ConfigError
from fleetloop.sim.scenarios.stage import Stage

Parameters = Mapping[str, float]


def parameter_of(text: str) -> tuple[str, float]:
    """Name and value of a parameter as it is given on the command line, such as "speed_mps=9.5".

    Raises:
        ConfigError: it is not written like that.
    """
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise ConfigError(f"scenario: {text!r} is not a parameter; write it as speed_mps=9.5") from error


@dataclass(frozen=True)
class Range:
    """From where to where a parameter is drawn, evenly."""

    low: float
    high: float
    unit: str


@dataclass(frozen=True)
class Family:
    """A situation that can be set up wherever a town has a place for it."""

    name: str
    description: str
    success: str
    """What passing means; on top of it no critical intervention and no collision by the learner's doing."""
    ranges: Mapping[str, Range]
    set_up: Callable[[Stage, Parameters], bool]
    """Sets the scene; False if the town has no place for it."""
    length_m: float = 150.0
    """How far the learner has to drive."""

    def sample(self, random: np.random.Generator) -> dict[str, float]:
        """A value for every parameter."""
        return {name: float(random.uniform(r.low, r.high)) for name, r in self.ranges.items()}

    def check(self, parameters: Parameters) -> None:
        """Refuse what cannot be set up.

        Raises:
            ConfigError: a parameter is unknown, or outside of its range.
        """
        for name, value in parameters.items():
            if name not in self.ranges:
                raise ConfigError(
                    f"scenario {self.name}: has no parameter {name!r}; use {', '.join(self.ranges) or 'none'}"
                )
            low, high = self.ranges[name].low, self.ranges[name].high
            if not low <= value <= high:
                raise ConfigError(
                    f"scenario {self.name}: {name} is {value}; use {low:g} to {high:g} {self.ranges[name].unit}"
                )
