"""Routes: what is to be driven, and how it went."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fleetloop.core.random import Stream, bits, uniform
from fleetloop.sim.safety_driver import Danger
from fleetloop.sim.scenarios import family_named

CRITICAL = (Danger.COLLISION, Danger.OFF_ROAD, Danger.WRONG_WAY, Danger.RED_LIGHT)


@dataclass(frozen=True)
class Route:
    """What to drive: a town, a seed that fixes everything in it, a length."""

    town: int
    seed: int
    length_m: float
    scenario: str = ""
    """Name of the scenario family to begin with; none where the town has no place for it."""
    parameters: tuple[tuple[str, float], ...] = ()
    """Names and values of parameters of the family; the others are drawn."""


@dataclass
class RouteResult:
    """How a route went."""

    route: Route
    distance_m: float = 0.0
    duration_s: float = 0.0
    finished: bool = False
    blocked: bool = False
    dangers: list[Danger] = field(default_factory=list)
    """Every intervention, critical or not, in order."""
    collided: bool = False
    """Touched somebody by its own doing, whoever was driving."""
    failure: str = ""
    """Why the world was retired in the middle of the route; it counts up to there, and is not finished."""
    taken_over_m: float = 0.0
    """Of the distance, driven by the safety driver: they earn the learner nothing."""
    faults: list[str] | None = None
    """Names of those of the network and of what it was given, in order; None where nobody looked for them."""

    @property
    def critical_interventions(self) -> int:
        """Interventions that were critical."""
        return sum(danger in CRITICAL for danger in self.dangers)

    @property
    def own_m(self) -> float:
        """Metres that the learner drove by itself."""
        return self.distance_m - self.taken_over_m

    @property
    def success(self) -> bool:
        """Finished in time without a take-over of any kind and without a collision."""
        return self.finished and not self.dangers and not self.collided


def route_seed(seed: int, number: int) -> int:
    """The seed of the number-th route of a run; routes are the same however they are spread over worlds."""
    return int(bits(seed, number, 0, int(Stream.ROUTE), 0) >> np.uint64(1))


def make_routes(
    seed: int,
    towns: Sequence[int],
    count: int,
    length_m: float,
    scenarios: Sequence[str] = (),
    scenario_share: float = 1.0,
) -> Iterator[Route]:
    """`count` routes, the towns taken in turn.

    Args:
        scenarios: families taken in turn by the routes that begin with one, which are as long as the family says.
        scenario_share: of routes that begin with a scenario, 0 to 1.
    """
    staged = 0
    for number in range(count):
        route = Route(towns[number % len(towns)], route_seed(seed, number), length_m)
        if scenarios and uniform(route.seed, 0, 0, int(Stream.SCENARIO), 0) < scenario_share:
            name = scenarios[staged % len(scenarios)]
            route = replace(route, scenario=name, length_m=family_named(name).length_m)
            staged += 1
        yield route
