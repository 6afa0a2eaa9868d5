"""The whole loop at the smallest size that goes through every part: for tests of the loop and the verbs."""

import functools
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from fleetloop import presets
from fleetloop.artifacts.lineage import read_artifact
from fleetloop.artifacts.report import DriveResult, Verdict
from fleetloop.cli import main
from fleetloop.evaluate.closed_loop import EvaluateConfig
from fleetloop.policy.network import NetworkConfig
from fleetloop.presets import PRESETS, Preset
from fleetloop.sim import rollout
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.stages import judging
from fleetloop.train.batches import BatchConfig
from fleetloop.train.imitate import ImitationConfig
from fleetloop.train.reinforce import ReinforcementConfig
from fleetloop.vehicle.drive import DriveConfig
from fleetloop.vehicle.recorder import RecorderConfig
from fleetloop.vehicle.triggers import TriggerConfig

TOWNS = ("grid-0", "grid-1000", "grid-1")
"""What the tiny preset drives on, is evaluated on, and checks a release with."""

TINY: Preset = replace(
    PRESETS["smoke"],
    turns=2,
    demonstrate=DriveConfig(
        vehicles=3, steps=30, agents=4, camera_interval_steps=15, recorder=RecorderConfig(everything=True)
    ),
    drive=DriveConfig(vehicles=2, steps=30, agents=4, triggers=TriggerConfig(disagreement_m=0.5)),
    network=NetworkConfig(experts=2),
    imitate=ImitationConfig(
        samples=128,
        batch_size=16,
        warmup_samples=32,
        compile=False,
        save_every_samples=32,
        report_every_batches=1,
    ),
    reinforce=ReinforcementConfig(
        samples=32, vehicles=2, agents=4, steps=8, epochs=1, batch_size=8, critic_warmup=0
    ),
    first_imitate=None,
    batches=BatchConfig(batch_size=16),
    evaluate=EvaluateConfig(routes=2, route_m=15.0, vehicles=2, agents=4, clips=1),
)


@functools.cache
def _towns() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="fleetloop-towns-")
    library = TownLibrary(Path(folder.name))
    for town in TOWNS:
        library.world([town])
    return folder


def prepare(workspace: Path) -> Path:
    """Put the towns into a workspace, which takes most of the time of a tiny loop."""
    workspace.mkdir(parents=True, exist_ok=True)
    shutil.copytree(_towns().name, workspace / "towns")
    return workspace


def judge_kindly(candidate: DriveResult, in_service: DriveResult | None, minimum_progress: float) -> Verdict:
    """A gate that lets pass whatever was evaluated: networks this small never earn it."""
    assert in_service is not None and candidate.seeds == in_service.seeds
    return Verdict(True, ("It was let pass.",), 0.01, 0.5, 0.3, 0.9)


def make_tiny(monkeypatch: pytest.MonkeyPatch, gate_passes: bool = True) -> None:
    """Let `--preset smoke` be the tiny one, and routes be over soon."""
    monkeypatch.setitem(PRESETS, "smoke", TINY)
    monkeypatch.setattr(presets, "TOWN_KINDS", ("grid",))
    monkeypatch.setattr(rollout, "SIGNALS_S", 4.0)
    if gate_passes:
        monkeypatch.setattr(judging, "decide", judge_kindly)


@functools.cache
def _finished() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="fleetloop-finished-")
    with pytest.MonkeyPatch.context() as monkeypatch:
        make_tiny(monkeypatch)
        main(["loop", "--preset", "smoke", "--workspace", str(prepare(Path(folder.name) / "workspace"))])
    return folder


def finished_workspace() -> Path:
    """A workspace in which both turns are complete, and both released; not to be changed."""
    return Path(_finished().name) / "workspace"


def ids_of(workspace: Path) -> dict[str, str]:
    """The id of every Episode, Checkpoint, Report and Bundle of a run, and of the newest Dataset, by path."""
    paths = [
        *workspace.glob("turns/*/drive/*.mcap"),
        *workspace.glob("turns/*/checkpoint"),
        *workspace.glob("turns/*/report"),
        *workspace.glob("turns/*/bundle/driver.bundle"),
        workspace / "dataset",
        workspace / "untrained",
    ]
    return {str(path.relative_to(workspace)): read_artifact(path).id for path in sorted(paths)}
