"""What the safety layer does about a network while it is evaluated: counted by route, and told in words."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, UInt64

from fleetloop.artifacts.report import NetworkFault
from fleetloop.safety.inputs import InputMonitor
from fleetloop.safety.watchdog import FAULT_TEXTS, Fault, Watchdog
from fleetloop.sim.routes import RouteResult

KINDS = {fault: NetworkFault(fault.name.lower()) for fault in FAULT_TEXTS}
_TEXTS = {KINDS[fault]: text for fault, text in FAULT_TEXTS.items()}


class FaultLog:
    """Faults of a network and of what it is given, by route."""

    def __init__(self, watchdog: Watchdog, inputs: InputMonitor) -> None:
        self._watchdog, self._inputs = watchdog, inputs
        self._faults: dict[int, list[str]] = {}

    def note(self, seed: UInt64[np.ndarray, " W"], active: Bool[np.ndarray, " W"]) -> None:
        """What began in this step; `seed` is that of each vehicle's route."""
        lost = self._inputs.began.sum(axis=1)
        for w in np.flatnonzero(active & ((lost > 0) | self._watchdog.began)).tolist():
            faults = self._faults.setdefault(int(seed[w]), [])
            faults += [NetworkFault.CAMERA_LOST] * int(lost[w])
            if self._watchdog.began[w]:
                faults.append(KINDS[Fault(int(self._watchdog.faults[w]))])

    def added_to(self, results: Sequence[RouteResult]) -> list[RouteResult]:
        """The results with the faults of their routes."""
        return [replace(result, faults=self._faults.get(result.route.seed, [])) for result in results]


def count_faults(results: Sequence[RouteResult]) -> dict[NetworkFault, int] | None:
    """How often each kind happened on these routes; None where on any of them nobody looked."""
    counts = dict.fromkeys(NetworkFault, 0)
    for result in results:
        if result.faults is None:
            return None
        for name in result.faults:
            counts[NetworkFault(name)] += 1
    return counts


def faults_text(counts: Mapping[NetworkFault, int] | None) -> str:
    """One or two sentences for people: what the safety layer braked for, and how many cameras were lost."""
    if counts is None:
        return "Whether the safety layer braked for the network was not counted."
    braked = ", ".join(f"{text} ({counts[kind]})" for kind, text in _TEXTS.items() if counts[kind])
    told = "The safety layer never braked for the network."
    if braked:
        told = f"The safety layer braked for the network: {braked}."
    if counts[NetworkFault.CAMERA_LOST]:
        told += f" Cameras lost: {counts[NetworkFault.CAMERA_LOST]}."
    return told
