"""Roads: from a generated or imported town to the World that the simulator runs on."""

from fleetloop.sim.roads.library import TownLibrary

__all__ = ["TownLibrary"]
