"""Endless towns by seed: what their keys mean, and the network of each."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from fleetloop.core.random import Stream, generator
from fleetloop.sim.roads.highway import draw_highway
from fleetloop.sim.roads.plain import PlainNetwork
from fleetloop.sim.roads.regions import Region, region_of
from fleetloop.sim.roads.roundabout import draw_roundabouts
from fleetloop.sim.roads.streets import StreetPlan, generate_streets
from fleetloop.sim.roads.suburb import draw_suburb
from fleetloop.sim.roads.yard import draw_yard


class TownKind(StrEnum):
    """The kinds of town that can be generated."""

    GRID = "grid"
    ORGANIC = "organic"
    SPIDER = "spider"
    BUSLANE = "buslane"
    """A grid whose wide streets have a lane for buses."""
    SUBURB = "suburb"
    """Curved streets with a low limit, T junctions, dead ends."""
    ROUNDABOUT = "roundabout"
    """Streets between roundabouts with one lane and with two."""
    HIGHWAY = "highway"
    """Two carriageways, ramps, and the roads at their ends."""
    YARD = "yard"
    """A factory yard: numbered parking lanes and the gate at the end of a production line."""
    CYCLELANE = "cyclelane"
    """A grid whose streets have lanes for bicycles."""


_STREETS = {
    TownKind.GRID: StreetPlan.GRID,
    TownKind.ORGANIC: StreetPlan.ORGANIC,
    TownKind.SPIDER: StreetPlan.SPIDER,
    TownKind.BUSLANE: StreetPlan.BUSLANE,
    TownKind.CYCLELANE: StreetPlan.CYCLELANE,
}
_DRAWN: dict[TownKind, Callable[[np.random.Generator, Region], PlainNetwork]] = {
    TownKind.SUBURB: draw_suburb,
    TownKind.ROUNDABOUT: draw_roundabouts,
    TownKind.HIGHWAY: draw_highway,
    TownKind.YARD: draw_yard,
}
LEFT_HAND_PREFIX = "left_"
MAXIMUM_TOWN_SEED = 10**9 - 1
_KEY = re.compile(rf"({LEFT_HAND_PREFIX})?({'|'.join(TownKind)})-(\d{{1,9}})")


@dataclass(frozen=True)
class GeneratedTown:
    """What the key of a generated town says."""

    kind: TownKind
    seed: int
    left_hand: bool = False

    @property
    def key(self) -> str:
        """Such as "grid-7", or "left_grid-7" where traffic keeps left."""
        return f"{LEFT_HAND_PREFIX if self.left_hand else ''}{self.kind}-{self.seed}"


def parse_generated_key(key: str) -> GeneratedTown | None:
    """The town that a key such as "grid-7" or "left_suburb-2" names; None if it names no generated town."""
    match = _KEY.fullmatch(key)
    return GeneratedTown(TownKind(match[2]), int(match[3]), match[1] is not None) if match else None


def generate_network(town: GeneratedTown, output: Path) -> None:
    """Write the SUMO network of a town to `output` (.net.xml).

    Raises:
        MapError: netgenerate or netconvert failed.
    """
    random = generator(town.seed, Stream.TOWN, list(TownKind).index(town.kind))
    region = region_of(town.left_hand)
    if town.kind in _STREETS:
        generate_streets(_STREETS[town.kind], random, region, output, f"town {town.key}")
    else:
        _DRAWN[town.kind](random, region).write(output, region, f"town {town.key}")
