"""Signals of the World: the phases that each link of a traffic light shows."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from fleetloop.core.types import SignalColour
from fleetloop.sim.roads.lanes import LaneTable
from fleetloop.sim.roads.network import Network

_COLOURS = {
    "G": SignalColour.GREEN,
    "g": SignalColour.GREEN_YIELD,
    "y": SignalColour.YELLOW,
    "Y": SignalColour.YELLOW,
    "u": SignalColour.RED,
    "r": SignalColour.RED,
    # A green arrow after a stop: drivers here wait for green.
    "s": SignalColour.RED,
    "o": SignalColour.OFF,
    "O": SignalColour.OFF,
}


@dataclass
class Signal:
    """What one link of a traffic light shows, phase by phase."""

    offset_s: float
    durations_s: list[float]
    colours: list[SignalColour]

    @property
    def appearance(self) -> tuple[object, ...]:
        """Equal for signals that always show the same."""
        return (self.offset_s, *self.durations_s, *self.colours)


def make_signals(network: Network, lanes: LaneTable) -> tuple[list[Signal], list[int]]:
    """All signals in use, and the signal or -1 of each connector, then of each crossing."""
    wanted = [connector.signal for connector in lanes.connectors]
    wanted += [crossing.source.signal for crossing in lanes.walks.crossings]
    names = sorted({name for name in wanted if name is not None})
    signals: list[Signal] = []
    number_of: dict[tuple[str, int], int] = {}
    for light, link in names:
        program = network.programs[light]
        phases = [
            (duration, _COLOURS.get(state[link], SignalColour.OFF))
            for duration, state in zip(program.durations_s, program.states, strict=True)
            if duration > 0.0 and link < len(state)
        ]
        if phases:
            number_of[light, link] = len(signals)
            cycle = sum(duration for duration, _ in phases)
            # SUMO's offset delays the program; ours is added to the clock.
            signals.append(Signal(-program.offset_s % cycle, *map(list, zip(*phases, strict=True))))
    return signals, [number_of.get(name, -1) if name else -1 for name in wanted]


def _goes(colour: SignalColour) -> bool:
    return colour in (SignalColour.GREEN, SignalColour.GREEN_YIELD, SignalColour.OFF)


def go_together(first: Signal, second: Signal) -> Bool[np.ndarray, " phases"]:
    """In which phases both may go; signals of different traffic lights may go together at any time."""
    if first.durations_s != second.durations_s or first.offset_s != second.offset_s:
        return np.ones(max(len(first.colours), len(second.colours)), bool)
    return np.array([_goes(a) and _goes(b) for a, b in zip(first.colours, second.colours, strict=True)])
