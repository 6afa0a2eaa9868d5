"""A network is judged with the cameras that it was made for, unless others are named."""

from dataclasses import replace
from pathlib import Path

import pytest

from fleetloop.core.types import CameraRig
from fleetloop.presets import preset_named
from fleetloop.sim.cameras import DEFAULT_RIG, RIGS
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.stages import judging

NARROWER = CameraRig(
    tuple(
        tuple(replace(c, horizontal_field_of_view=0.8 * c.horizontal_field_of_view) for c in group)
        for group in DEFAULT_RIG.groups
    )
)


@pytest.mark.parametrize(("name", "expected"), [("default", NARROWER), ("shuttle", RIGS["shuttle"])])
def test_the_suite_drives_with_the_cameras_of_the_network(
    name: str, expected: CameraRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    preset = preset_named("smoke")
    preset = replace(preset, evaluate=replace(preset.evaluate, rig=name))
    suite = judging.Suite(TownLibrary(tmp_path), ["grid-1000"], preset, seed=0)
    seen: list[CameraRig] = []

    def drive_suite(
        world: object, towns: object, rig: CameraRig, *rest: object, **named: object
    ) -> tuple[list, list]:
        seen.append(rig)
        return [], []

    monkeypatch.setattr(judging.Suite, "world", None)
    monkeypatch.setattr(judging, "drive_suite", drive_suite)
    monkeypatch.setattr(judging, "make_driver", lambda network, rig, *rest: seen.append(rig))
    monkeypatch.setattr(judging, "summarise", lambda *rest: None)
    suite.run(b"", "somebody", "evaluate", rig=NARROWER)
    assert seen[-2:] == [expected, expected], "the driver's, and those that are drawn"
