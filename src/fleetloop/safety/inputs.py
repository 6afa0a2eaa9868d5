"""Whether what the network is given can be trusted: cameras that show nothing or stand still, an ego state of NaN.

Cameras that were swapped are not found here: images do not tell which cable they came through. Where each camera is
and looks is an input of the network, so a swapped pair reads as a wrongly calibrated one; check it when they are
installed.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int32, Int64

from fleetloop.core.types import CameraRig, Observation
from fleetloop.safety.watchdog import Fault

_MOVES_MPS = 1.0
"""Who stands may see the same picture twice."""
_SKIP = 2
"""Every so many rows and columns are looked at."""


@dataclass(frozen=True)
class InputConfig:
    """When a camera counts as lost, and how many may be.

    Measured in generated towns at all hours and in all weather (128 vehicles of two rigs, 250 steps, 8 cameras): no
    camera's picture had a contrast below 28 levels, and none of a moving vehicle was the same twice.
    """

    uniform_levels: int = 3
    """A picture whose channels vary by no more than this shows nothing: black, white or grey."""
    blind_steps: int = 5
    """A camera that shows nothing, or the same while the vehicle moves, so many times in a row is lost."""
    lost_forward_cameras: int = 1
    """Of the first group; with more, the vehicle stops. Training leaves out single cameras in the same way."""


class InputMonitor:
    """Watches the observations of vehicles step by step."""

    def __init__(self, vehicles: int, rig: CameraRig, config: InputConfig | None = None) -> None:
        self._config = config or InputConfig()
        self._forward = len(rig.groups[0]) if rig.groups else 0
        self._last: tuple[np.ndarray, ...] | None = None
        shape = (vehicles, len(rig.cameras))
        self._blind_steps: Int64[np.ndarray, "W cameras"] = np.zeros(shape, np.int64)
        self.lost: Bool[np.ndarray, "W cameras"] = np.zeros(shape, bool)
        """Cameras in the order of the rig."""
        self.began: Bool[np.ndarray, "W cameras"] = np.zeros(shape, bool)
        """Cameras that were lost in the last step."""
        self.faults: Int32[np.ndarray, " W"] = np.zeros(vehicles, np.int32)
        """Fault of the last observation."""

    def check(self, observation: Observation, active: Bool[np.ndarray, " W"]) -> Observation:
        """Look for lost cameras; their pictures are black in what is returned, as they were in training.

        Where nothing is lost, the observation is returned as it is. Vehicles that are not `active` have no faults.
        """
        if observation.images:
            self._look(observation, active)
        ego = ~np.isfinite(observation.ego_history).all(axis=(1, 2))
        blind = self.lost[:, : self._forward].sum(axis=1) > self._config.lost_forward_cameras
        faults = np.where(ego, int(Fault.EGO_STATE), np.where(blind, int(Fault.CAMERAS), int(Fault.NONE)))
        self.faults = np.where(active, faults, int(Fault.NONE)).astype(np.int32)
        if not self.lost.any() or not observation.images:
            return observation
        return replace(observation, images=self._blacked(observation.images))

    def forget(self, vehicles: Bool[np.ndarray, " W"]) -> None:
        """Begin anew with these vehicles: they were put somewhere else."""
        self._blind_steps[vehicles] = 0
        self.lost[vehicles] = False

    def _look(self, observation: Observation, active: Bool[np.ndarray, " W"]) -> None:
        seen = tuple(np.array(group[:, :, ::_SKIP, ::_SKIP]) for group in observation.images)
        levels = [group.max(axis=(2, 3)).astype(np.int16) - group.min(axis=(2, 3)) for group in seen]
        blind = np.concatenate([level.max(axis=2) for level in levels], axis=1) <= self._config.uniform_levels
        if self._last is not None:
            pairs = zip(seen, self._last, strict=True)
            same = np.concatenate([(now == last).all(axis=(2, 3, 4)) for now, last in pairs], axis=1)
            speed = np.nan_to_num(np.abs(observation.ego_history[:, -1, 0]))
            blind |= same & (speed > _MOVES_MPS)[:, None]
        self._last = seen
        self._blind_steps = np.where(blind & active[:, None], self._blind_steps + 1, 0)
        lost = self._blind_steps >= self._config.blind_steps
        self.began, self.lost = lost & ~self.lost, lost

    def _blacked(self, images: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """Copies of the images with those of lost cameras black."""
        first, groups = 0, []
        for group in images:
            lost = self.lost[:, first : first + group.shape[1]]
            groups.append(np.where(lost[:, :, None, None, None], np.uint8(0), group))
            first += group.shape[1]
        return tuple(groups)
