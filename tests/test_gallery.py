"""The gallery: that its pictures are made, and show what they are named after."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fleetloop import gallery
from fleetloop.core.types import AgentKind
from fleetloop.sim.cameras import Weather
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.sim.roads.signs import EXAMPLE_SIGNS
from toy_world import toy_world


def pictures(paths: list[Path]) -> dict[str, np.ndarray]:
    return {path.stem: np.asarray(Image.open(path).convert("RGB")).astype(int) for path in paths}


def test_road_users_and_signs(tmp_path: Path) -> None:
    world = toy_world()
    users = pictures(list(gallery._road_users(world, tmp_path)))
    assert len(users) == len(AgentKind) - 1
    assert len({picture.tobytes() for picture in users.values()}) == len(users)
    cars = users["road-user-car"]
    assert cars.shape == (640, 1440, 3)
    assert cars[320:, :960].mean() < 0.8 * cars[:320, :960].mean()
    (signs,) = pictures(list(gallery._signs(world, tmp_path))).values()
    tiles = -(-2 * len(EXAMPLE_SIGNS) // gallery._SIGN_COLUMNS)
    assert signs.shape[0] == tiles * gallery._SIGN_PX
    stop = signs[gallery._SIGN_PX // 4, gallery._SIGN_PX // 2]
    assert stop[0] > 2 * stop[1] > 0


@pytest.mark.slow
def test_the_whole_gallery(tmp_path: Path) -> None:
    shares: list[float] = []
    written = gallery.write_gallery(TownLibrary(tmp_path / "towns"), tmp_path / "gallery", shares.append)
    assert len({path.name for path in written}) == len(written)
    assert all(path.exists() for path in written)
    assert shares[-1] == pytest.approx(1.0) and shares == sorted(shares)
    for weather in Weather:
        assert (tmp_path / "gallery" / f"weather-{weather}.png").exists()
