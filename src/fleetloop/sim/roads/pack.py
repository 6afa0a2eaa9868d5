"""Packs the Worlds of several towns into one, and keeps a World as a file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fleetloop.core.files import replacing_file
from fleetloop.core.types import World

FORMAT_VERSION = 20
"""Of the cached file, and of how towns are made: raise it whenever a town would come out differently."""

_JOINED = (
    *(
        "points",
        "headings",
        "heights_m",
        "curvatures",
        "bend_speed_mps",
        "lane_point_count",
        "lane_spacing_m",
    ),
    *(
        "lane_length_m",
        "lane_width_m",
        "lane_speed_limit_mps",
        "lane_kind",
        "lane_use",
        "lane_reach_m",
        "lane_ends",
        "lane_bus_stop_m",
        "lane_bay_m",
    ),
    *("lane_control", "town_left_hand", "town_bus_lane_hours", "signs", "sign_images"),
    *("conflict_kind", "conflict_from_m", "conflict_to_m", "conflict_other_from_m", "conflict_other_to_m"),
    *("conflict_yield", "signal_cycle_s", "signal_offset_s", "phase_end_s", "phase_colour"),
    *("town_origin_m", "town_tiles_shape", "town_cells_shape", "boxes", "box_lamp"),
)
# Index fields and the array that they point into; -1 (or tile 0) stays as it is.
_SHIFTED = {
    "lane_first_point": "points",
    "lane_left": "lane_kind",
    "lane_right": "lane_kind",
    "successors": "lane_kind",
    "lane_signal": "signal_cycle_s",
    "conflict_lane": "lane_kind",
    "town_first_tile": "tile_index",
    "box_signal": "signal_cycle_s",
    "sign_image": "sign_images",
}
# CSR offsets and the array of their entries.
_OFFSETS = {
    "successor_start": "successors",
    "conflict_start": "conflict_lane",
    "phase_start": "phase_end_s",
    "town_first_lane": "lane_kind",
    "cell_start": "boxes",
    "sign_start": "signs",
}


def pack(towns: Sequence[World]) -> World:
    """One World of all `towns`, in their order."""
    if len(towns) == 1:
        return towns[0]
    columns = {name: [getattr(town, name) for town in towns] for name in World._fields}
    fields = {name: np.concatenate(columns[name]) for name in _JOINED}
    for name, target in _SHIFTED.items():
        fields[name] = np.concatenate(
            [
                _shifted(part, before)
                for part, before in zip(columns[name], _before(columns[target]), strict=True)
            ]
        )
    for name, target in _OFFSETS.items():
        before = _before(columns[target])
        parts = [part[:-1] + shift for part, shift in zip(columns[name], before, strict=True)]
        total = before[-1] + len(columns[target][-1])
        fields[name] = np.concatenate([*parts, [total]]).astype(np.int32)
    cells = [np.zeros(len(starts) - 1) for starts in columns["cell_start"]]
    fields["town_first_cell"] = np.concatenate(
        [part + shift for part, shift in zip(columns["town_first_cell"], _before(cells), strict=True)]
    ).astype(np.int32)
    # Tile 0, all grass, is shared.
    fields["tiles"] = np.concatenate([columns["tiles"][0][:1], *(tiles[1:] for tiles in columns["tiles"])])
    own = [tiles[1:] for tiles in columns["tiles"]]
    fields["tile_index"] = np.concatenate(
        [
            np.where(part > 0, part + shift, 0)
            for part, shift in zip(columns["tile_index"], _before(own), strict=True)
        ]
    ).astype(np.int32)
    return World(**fields)


def _before(parts: Sequence[np.ndarray]) -> list[int]:
    """How many entries come before each part."""
    return [0, *np.cumsum([len(part) for part in parts])[:-1].tolist()]


def _shifted(indices: np.ndarray, shift: int) -> np.ndarray:
    return np.where(indices >= 0, indices + shift, indices).astype(indices.dtype)


def save_world(path: Path, world: World) -> None:
    """Write `world` as .npz, all of it or nothing."""
    with replacing_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, format_version=np.array(FORMAT_VERSION), **world._asdict())


def load_world(path: Path) -> World | None:
    """The World kept at `path`; None if there is none, or it is of another version, or damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if int(archive["format_version"]) != FORMAT_VERSION:
                return None
            return World(**{name: archive[name] for name in World._fields})
    except Exception:
        # Over damaged bytes zipfile, zlib and NumPy raise errors of a dozen kinds; the town is made again.
        return None
