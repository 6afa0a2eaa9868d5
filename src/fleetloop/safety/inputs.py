"""Whether what the network is given can be trusted: cameras, the ego state, what phone and clock say.

Cameras that show nothing, stand still, or see the world go by as from another camera's mount (`safety.mounts`) are
lost. Those that were swapped are not put right by exchanging their pictures again, though it is known which they are:
where each camera is and looks is an input of the network, so a swap that was found wrongly would make of a healthy
vehicle a wrongly calibrated one, while pictures left out are what training has shown. Whoever swapped cables may have
moved cameras, too.

Pictures of another size, number or type than the rig's are refused: they come from a program, not from a broken camera.
"""

import logging
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, UInt8
from numba import njit

from fleetloop.core.errors import InputError
from fleetloop.core.types import MEASURED_SHAPES, STEP_S, CameraRig, Observation
from fleetloop.safety.mounts import MountConfig, MountMonitor
from fleetloop.safety.watchdog import Fault

_log = logging.getLogger(__name__)

_SKIP = 2
"""Every so many rows and columns are looked at."""
_DARKEST, _BRIGHTEST = 4, 251
"""Beyond these a picture that shows nothing is black or white, as of a sensor that is dead or blinded."""


@njit(cache=True)
def compare_pictures(
    images: UInt8[np.ndarray, "W cameras height width 3"], last: UInt8[np.ndarray, "W cameras rows columns 3"]
) -> tuple[Int64[np.ndarray, "W cameras"], UInt8[np.ndarray, "W cameras 2"], Bool[np.ndarray, "W cameras"]]:
    """By how many levels the channels of each picture vary at most, its lowest and highest level, and whether it is the
    same as `last`.

    Every second row and column is looked at; `last` takes them over.
    """
    levels = np.zeros(images.shape[:2], np.int64)
    extremes = np.empty((*images.shape[:2], 2), np.uint8)
    same = np.ones(images.shape[:2], np.bool_)
    for w in range(images.shape[0]):
        for c in range(images.shape[1]):
            lowest, highest = np.uint8(255), np.uint8(0)
            for channel in range(3):
                low, high, differs = np.uint8(255), np.uint8(0), np.uint8(0)
                for y in range(last.shape[2]):
                    for x in range(last.shape[3]):
                        level = images[w, c, _SKIP * y, _SKIP * x, channel]
                        low, high = min(low, level), max(high, level)
                        differs |= level ^ last[w, c, y, x, channel]
                        last[w, c, y, x, channel] = level
                levels[w, c] = max(levels[w, c], np.int64(high) - np.int64(low))
                lowest, highest = min(lowest, low), max(highest, high)
                same[w, c] &= differs == 0
            extremes[w, c, 0], extremes[w, c, 1] = lowest, highest
    return levels, extremes, same


@dataclass(frozen=True)
class InputConfig:
    """When a camera counts as lost, and how many may be.

    Measured in generated towns at all hours and in all weather (128 vehicles of two rigs, 250 steps, 8 cameras): no
    camera's picture had a contrast below 28 levels, and none of a moving vehicle was the same twice.
    """

    uniform_levels: int = 3
    """A picture whose channels vary by no more than this shows nothing: black, white or of one colour."""
    blind_steps: int = 5
    """A camera that shows black or white so many times in a row is lost."""
    unchanged_m: float = 10.0
    """One that shows the same while the vehicle goes so far is lost. Plain asphalt and sky are the same for some metres
    where a camera has no noise."""
    one_colour_m: float = 50.0
    """One that shows a single other colour is lost after so many metres: the back of a bus, or a wall, that fills a
    picture is gone by then."""
    lost_forward_cameras: int = 1
    """Of the first group; with more, the vehicle stops. Training leaves out single cameras in the same way."""
    mounts: MountConfig = field(default_factory=MountConfig)


class InputMonitor:
    """Watches the observations of vehicles step by step."""

    def __init__(self, vehicles: int, rig: CameraRig, config: InputConfig | None = None) -> None:
        self._config = config or InputConfig()
        self._rig, self._vehicles = rig, vehicles
        self._mounts = MountMonitor(vehicles, rig, self._config.mounts)
        self._forward = len(rig.groups[0]) if rig.groups else 0
        self._last = [
            np.zeros(
                (vehicles, len(group), -(-group[0].height // _SKIP), -(-group[0].width // _SKIP), 3), np.uint8
            )
            for group in rig.groups
        ]
        shape = (vehicles, len(rig.cameras))
        self._blind_steps: Int64[np.ndarray, "W cameras"] = np.zeros(shape, np.int64)
        self._one_colour_m: Float64[np.ndarray, "W cameras"] = np.zeros(shape)
        self._unchanged_m: Float64[np.ndarray, "W cameras"] = np.zeros(shape)
        self.lost: Bool[np.ndarray, "W cameras"] = np.zeros(shape, bool)
        """Cameras in the order of the rig."""
        self.began: Bool[np.ndarray, "W cameras"] = np.zeros(shape, bool)
        """Cameras that were lost in the last step."""
        self.faults: Int32[np.ndarray, " W"] = np.zeros(vehicles, np.int32)
        """Fault of the last observation."""
        self.unknown_steps: Counter[str] = Counter()
        """Steps of vehicles whose navigation, or time of day, had numbers that are not finite. The network is given
        neutral ones instead: it loses its way, not the road."""
        self._told: set[str] = set()

    def check(self, observation: Observation, active: Bool[np.ndarray, " W"]) -> Observation:
        """Look for lost cameras; their pictures are black in what is returned, as they were in training.

        Where nothing is lost, the observation is returned as it is. Vehicles that are not `active` have no faults. It
        is to be called once for each step. What is wrong for the first time is logged.

        Raises:
            InputError: there are pictures, but not those of the rig: other groups, cameras, sizes, or no bytes; or what
                is measured has another shape or is no number.
        """
        self._refuse_foreign(observation)
        self.began = np.zeros_like(self.lost)
        if observation.images:
            self._look(observation, active)
        else:
            self._mounts.miss()
        ego = ~np.isfinite(observation.ego_history).all(axis=(1, 2))
        blind = self.lost[:, : self._forward].sum(axis=1) > self._config.lost_forward_cameras
        faults = np.where(ego, int(Fault.EGO_STATE), np.where(blind, int(Fault.CAMERAS), int(Fault.NONE)))
        self.faults = np.where(active, faults, int(Fault.NONE)).astype(np.int32)
        self._count_unknown(observation, active)
        if not self.lost.any() or not observation.images:
            return observation
        return replace(observation, images=self._blacked(observation.images))

    def forget(self, vehicles: Bool[np.ndarray, " W"]) -> None:
        """Begin anew with these vehicles: they were put somewhere else."""
        self._blind_steps[vehicles] = 0
        self._one_colour_m[vehicles] = self._unchanged_m[vehicles] = 0.0
        self.lost[vehicles] = False
        self._mounts.forget(vehicles)

    def lost_text(self, w: int) -> str:
        """Which cameras of a vehicle are lost, and why: `lost cameras: rear; a and b are swapped`."""
        names = [camera.name for camera in self._rig.cameras]
        shows, mirrored = self._mounts.shows[w], self._mounts.mirrored[w]
        blind = self.lost[w] & ~self._mounts.misplaced[w]
        texts = [", ".join(names[c] for c in np.flatnonzero(blind))] if blind.any() else []
        for camera in np.flatnonzero(shows > np.arange(len(names))):
            texts.append(f"{names[camera]} and {names[shows[camera]]} are swapped")
        texts += [f"{names[c]} is mirrored or upside down" for c in np.flatnonzero(mirrored)]
        return f"lost cameras: {'; '.join(texts)}"

    def _refuse_foreign(self, observation: Observation) -> None:
        for name, shape in MEASURED_SHAPES.items():
            array, expected = getattr(observation, name), (self._vehicles, *shape)
            if array.shape != expected or array.dtype.kind not in "fiu":
                raise InputError(
                    f"observation.{name}: {array.dtype} of shape {array.shape}, there must be numbers of shape "
                    f"{expected}; give those of all vehicles"
                )
        if not observation.images:
            return
        groups = self._rig.groups
        if len(observation.images) != len(groups):
            raise InputError(
                f"observation.images: {len(observation.images)} groups of cameras, the rig has {len(groups)}; "
                "give an array for each, black where a camera is missing"
            )
        for number, (images, group) in enumerate(zip(observation.images, groups, strict=True)):
            shape = (self._vehicles, len(group), group[0].height, group[0].width, 3)
            if images.shape != shape or images.dtype != np.uint8:
                raise InputError(
                    f"observation.images[{number}]: {images.dtype} of shape {images.shape}, the rig's cameras give "
                    f"uint8 of shape {shape}; scale the pictures to RGB bytes of that size"
                )

    def _look(self, observation: Observation, active: Bool[np.ndarray, " W"]) -> None:
        parts = [compare_pictures(*group) for group in zip(observation.images, self._last, strict=True)]
        levels, extremes, same = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        step_m = STEP_S * np.nan_to_num(np.abs(observation.ego_history[:, -1, 0]))[:, None]
        even = levels <= self._config.uniform_levels
        dead = even & ((extremes[:, :, 1] <= _DARKEST) | (extremes[:, :, 0] >= _BRIGHTEST))
        # In the first step all pictures differ from the black ones before, but for those that show nothing.
        unchanged, counts = same & ~even, active[:, None]
        self._blind_steps = np.where(dead & counts, self._blind_steps + 1, 0)
        self._one_colour_m = np.where(even & counts, self._one_colour_m + step_m, 0.0)
        self._unchanged_m = np.where(unchanged & counts, self._unchanged_m + step_m, 0.0)
        self._mounts.look(observation, active, ~(even | unchanged))
        lost = self._blind_steps >= self._config.blind_steps
        lost |= self._one_colour_m >= self._config.one_colour_m
        lost |= self._unchanged_m >= self._config.unchanged_m
        lost |= self._mounts.misplaced & counts
        self.began, self.lost = lost & ~self.lost, lost
        for w in np.flatnonzero(self.began.any(axis=1)).tolist():
            self._tell(f"{self.lost_text(w)} (vehicle {w})")

    def _count_unknown(self, observation: Observation, active: Bool[np.ndarray, " W"]) -> None:
        known = {
            "navigation": np.isfinite(observation.navigation).all(axis=1),
            "time_of_day_h": np.isfinite(observation.time_of_day_h),
        }
        for name, finite in known.items():
            if count := int((active & ~finite).sum()):
                self.unknown_steps[name] += count
                self._tell(
                    f"observation.{name}: has numbers that are not finite; the network is given neutral ones"
                )

    def _tell(self, text: str) -> None:
        """Log what was not logged before."""
        if text not in self._told:
            self._told.add(text)
            _log.warning("%s", text)

    def _blacked(self, images: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """Copies of the images with those of lost cameras black."""
        first, groups = 0, []
        for group in images:
            lost = self.lost[:, first : first + group.shape[1]]
            groups.append(np.where(lost[:, :, None, None, None], np.uint8(0), group))
            first += group.shape[1]
        return tuple(groups)
