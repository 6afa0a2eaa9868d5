"""Labels: what the demonstrator would do in a moment, and what it looks at; the one list of what a network is taught.

The demonstrator fills them, Episodes and Datasets keep them, a network learns them. A further one is a field of
Labels and a line of `empty_labels`; files then have its column, and only who fills and who learns it must know it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int8, Int64

from fleetloop.core.types import PLAN_POSES, Plan


class Labels(NamedTuple):
    """Of N moments; those of a single one have no first axis."""

    curvature_1pm: Float32[np.ndarray, " *N"]
    """To steer, positive to the left."""
    acceleration_mps2: Float32[np.ndarray, " *N"]
    poses: Float32[np.ndarray, "*N 8 3"]
    """x, y, yaw in ego, as in a Plan; not finite where it is not known."""
    signal_colour: Int8[np.ndarray, " *N"]
    """SignalColour shown at the next signal ahead, or -1."""
    stop_line_m: Float32[np.ndarray, " *N"]
    """From the front bumper to the line of that signal; far away where there is none."""
    lead_gap_m: Float32[np.ndarray, " *N"]
    """Bumper to bumper, to the road user ahead; far away where there is none."""
    lead_speed_mps: Float32[np.ndarray, " *N"]
    junction_control: Int8[np.ndarray, " *N"]
    """Control of the way through the next junction, or -1 for none near."""
    halt_m: Float32[np.ndarray, " *N"]
    """To where the rules of right of way ask it to stop; far away where they do not."""

    def select(self, rows: Int64[np.ndarray, " M"] | Bool[np.ndarray, " N"] | slice | int) -> "Labels":
        """Those of the moments at `rows`; views where NumPy's indexing gives views."""
        return Labels(*(values[rows] for values in self))

    def copy(self) -> "Labels":
        """The same in memory of their own."""
        return Labels(*(values.copy() for values in self))

    def plan(self) -> Plan:
        """What the demonstrator would do, as a Plan."""
        curvature = self.curvature_1pm.copy()
        return Plan(curvature, self.acceleration_mps2.copy(), self.poses.copy(), np.zeros_like(curvature))


def empty_labels(count: int, far_m: float = np.inf) -> Labels:
    """Labels to be filled, with nothing ahead: `far_m` is the distance to what is not there."""
    return Labels(
        curvature_1pm=np.zeros(count, np.float32),
        acceleration_mps2=np.zeros(count, np.float32),
        poses=np.zeros((count, PLAN_POSES, 3), np.float32),
        signal_colour=np.full(count, -1, np.int8),
        stop_line_m=np.full(count, far_m, np.float32),
        lead_gap_m=np.full(count, far_m, np.float32),
        lead_speed_mps=np.zeros(count, np.float32),
        junction_control=np.full(count, -1, np.int8),
        halt_m=np.full(count, far_m, np.float32),
    )


_AMBIGUOUS = ("curvature_1pm", "acceleration_mps2", "poses")
"""Beside the car's own motion, their columns say that they are labels."""
LABEL_COLUMNS = {name: f"label_{name}" if name in _AMBIGUOUS else name for name in Labels._fields}
"""What files that keep labels beside other columns call each field."""


def with_label_columns(fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` with the columns of the Labels in the place of the field `labels`."""
    columns: dict[str, Any] = {}
    for name, value in fields.items():
        if name == "labels":
            columns |= zip(LABEL_COLUMNS.values(), value, strict=True)
        else:
            columns[name] = value
    return columns


def without_label_columns(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `with_label_columns`.

    Raises:
        KeyError: a column of the Labels is missing.
    """
    fields = {name: values for name, values in columns.items() if name not in LABEL_COLUMNS.values()}
    return {**fields, "labels": Labels(*(columns[name] for name in LABEL_COLUMNS.values()))}
