"""What a traffic signal shows at a time."""

from fleetloop.core.kernels import device
from fleetloop.core.types import SignalColour

_OFF = int(SignalColour.OFF)


@device
def phase_colour_at(cycle_s, offset_s, phase_start, phase_end_s, phase_colour, signal, clock_s):
    """The SignalColour of `signal`, from the arrays of World of the same names (without the prefix signal_).

    A signal without phases, or index -1 (there is no signal), is OFF.
    """
    if signal < 0:
        return _OFF
    first, end = phase_start[signal], phase_start[signal + 1]
    if first == end:
        return _OFF
    time_s = (clock_s + offset_s[signal]) % cycle_s[signal]
    for phase in range(first, end):
        if time_s < phase_end_s[phase]:
            return int(phase_colour[phase])
    return int(phase_colour[end - 1])


@device
def signal_colour(world, signal, clock_s):
    """The SignalColour that `signal` (an index into World.signal_cycle_s, or -1) shows at `clock_s`."""
    return phase_colour_at(
        world.signal_cycle_s,
        world.signal_offset_s,
        world.phase_start,
        world.phase_end_s,
        world.phase_colour,
        signal,
        clock_s,
    )
