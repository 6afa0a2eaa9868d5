"""Regional adaptation: a driver goes to a region it does not know, learns from a few drives, and is asked what it
forgot.

Drive in the region (the demonstrator, a stated number of minutes) -> curate -> fine-tune everything, the experts
or low-rank adapters -> evaluate in the region and at home, before and after. Every step is an artifact in the
folder; killed, the same command goes on after the last complete one.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table

from fleetloop.artifacts.dataset import dataset_version
from fleetloop.artifacts.lineage import ARTIFACT_FILE
from fleetloop.artifacts.report import DriveResult
from fleetloop.artifacts.report_file import read_report
from fleetloop.core.errors import ConfigError
from fleetloop.core.files import write_bytes
from fleetloop.core.types import STEP_S
from fleetloop.curate.curate import curate
from fleetloop.fleet.ingest import ingest
from fleetloop.policy.adapters import Adapt
from fleetloop.policy.export import export_onnx
from fleetloop.presets import Preset, evaluation_seeds
from fleetloop.progress import say, say_complete, stage
from fleetloop.sim.cameras import DEFAULT_RIG
from fleetloop.sim.roads.generate import parse_generated_key
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.stages.judging import REPORT_FILE, Suite, evaluate_network
from fleetloop.stages.training import train_checkpoint
from fleetloop.stages.workspace import make_world, network_of
from fleetloop.train.replay import Replay
from fleetloop.vehicle.drive import MANIFEST, drive

BEFORE = "before"
SETTINGS_FILE, RESULTS_FILE = "settings.json", "adaptation.json"
_JSON = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY


@dataclass(frozen=True)
class Region:
    """Where to adapt to, and from how much driving."""

    towns: tuple[str, ...]
    """Keys of the towns that are driven to learn."""
    evaluation_towns: tuple[str, ...]
    minutes: float
    """Driven in all, by all vehicles together."""
    mirrored: bool = False
    """The network drives there, and learns, by what it sees in a mirror: for the other side of the road."""

    def __post_init__(self) -> None:
        """Refuse no driving."""
        if not 0.0 < self.minutes < math.inf:
            raise ConfigError(f"adapt: minutes is {self.minutes}; use a number above 0")


def region_of_town(key: str, minutes: float, evaluation_towns: int, seed: int) -> Region:
    """The region of a town: for a generated one others of its kind that are not driven to learn, else itself."""
    generated = parse_generated_key(key)
    if generated is None:
        return Region((key,), (key,), minutes)
    seeds = evaluation_seeds(evaluation_towns, seed)
    if generated.seed in seeds:
        seeds = evaluation_seeds(evaluation_towns, seed + 1)
    others = tuple(replace(generated, seed=number).key for number in seeds)
    return Region((key,), others, minutes)


@dataclass(frozen=True)
class Adaptation:
    """How one network does at home and in the region."""

    adapt: str
    """What was fine-tuned, or BEFORE."""
    home: DriveResult
    region: DriveResult

    def to_json(self) -> dict[str, Any]:
        """As it is in RESULTS_FILE."""
        return {"adapt": self.adapt, "home": self.home.figures(), "region": self.region.figures()}


def adapt_checkpoint(
    folder: Path,
    checkpoint: Path,
    region: Region,
    parts: Sequence[Adapt],
    library: TownLibrary,
    preset: Preset,
    seed: int,
    replay: Replay | None = None,
    km: float | None = None,
) -> list[Adaptation]:
    """Adapt the network of a checkpoint to a region in each of the ways asked for, and evaluate all.

    Args:
        folder: for everything that is made; what is complete there is kept.
        replay: samples of the home region to mix in.
        km: to evaluate each network on in each place, instead of the preset's number of routes.

    Returns:
        The network before, then after each way of adapting it.

    Raises:
        CheckpointError, DatasetError: an input cannot be used.
        ConfigError: a part cannot be adapted, or the folder was begun with other settings.
        MapError: a town cannot be made.
        StorageError: the disk is full.
    """
    network, checkpoint_id = network_of(checkpoint)
    preset = replace(preset, network=network.config, first_imitate=None)
    replayed = None if replay is None else dataset_version(replay.dataset, replay.version).artifact.id
    _open(
        folder,
        {
            "checkpoint": checkpoint_id,
            "region": asdict(region),
            "preset": asdict(preset),
            "seed": seed,
            "km": km,
            "replay": None if replay is None else {**asdict(replay), "dataset": replayed},
        },
    )
    dataset, version = _drive_region(folder, region, library, preset, seed)
    checkpoints = {BEFORE: checkpoint}
    for part in parts:
        path = checkpoints[str(part)] = folder / part / "checkpoint"
        title = f"fine-tune {part}"
        if (path / ARTIFACT_FILE).is_file():
            say_complete(title)
            continue
        learning = replace(preset, imitate=replace(preset.imitate, adapt=part))
        train_checkpoint(
            path,
            dataset,
            version,
            library,
            learning,
            seed,
            checkpoint,
            title,
            replay=replay,
            mirrored=region.mirrored,
        )
    there = replace(preset, evaluate=replace(preset.evaluate, mirrored=region.mirrored))
    suites = {
        "home": Suite(library, preset.evaluation_keys(seed), preset, seed),
        "region": Suite(library, region.evaluation_towns, there, seed),
    }
    results = []
    for name, path in checkpoints.items():
        driven = {
            place: _evaluate(folder / name / place, path, suite, f"{name}, {place}", km)
            for place, suite in suites.items()
        }
        results.append(Adaptation(name, **driven))
    content = {"region": asdict(region), "results": [result.to_json() for result in results]}
    write_bytes(folder / RESULTS_FILE, orjson.dumps(content, option=_JSON))
    return results


def _open(folder: Path, settings: dict[str, Any]) -> None:
    """Begin in a folder, or go on if it was begun alike."""
    path, content = folder / SETTINGS_FILE, orjson.dumps(settings, option=_JSON)
    if path.is_file() and path.read_bytes() != content:
        raise ConfigError(f"{path}: was begun with other settings; use the same ones, or another --out")
    write_bytes(path, content)


def _drive_region(
    folder: Path, region: Region, library: TownLibrary, preset: Preset, seed: int
) -> tuple[Path, int]:
    """Let the demonstrator drive in the region and curate it; the data set and its version."""
    drives, dataset = folder / "drive", folder / "dataset"
    config = preset.demonstrate
    # Fewer vehicles rather than very short drives.
    vehicles = min(config.vehicles, max(math.floor(region.minutes), 1))
    steps = math.floor(region.minutes * 60.0 / STEP_S / vehicles)
    # A few drives are kept as a whole, also with a preset whose demonstrator is recorded by its triggers.
    recorder = replace(config.recorder, everything=True)
    config = replace(config, vehicles=vehicles, steps=max(steps, 1), recorder=recorder)
    if not (drives / MANIFEST).is_file():
        world = make_world(library, region.towns)
        with stage(f"demonstrator drives {region.minutes:g} minutes") as progress:
            drive(world, region.towns, None, DEFAULT_RIG, drives, config, seed, progress=progress)
    episodes, refused = ingest(drives)
    for path, reason in refused:
        say(f"  refused {path.name}: {reason}")
    with stage("curate") as progress:
        # Episodes that are in the data set already add nothing.
        version = curate(dataset, episodes, preset.curate, seed, progress)
    return dataset, version


def _evaluate(folder: Path, checkpoint: Path, suite: Suite, title: str, km: float | None) -> DriveResult:
    """Drive a suite with a checkpoint and keep the Report; no gate, for nothing is to be released."""
    if not (folder / ARTIFACT_FILE).is_file():
        network, checkpoint_id = network_of(checkpoint)
        evaluate_network(
            folder,
            lambda path: export_onnx(network, path),
            checkpoint_id,
            network.rig,
            suite,
            None,
            title,
            km,
        )
    return read_report(folder / REPORT_FILE).candidate


def adaptation_table(results: Sequence[Adaptation]) -> Table:
    """KPCI with its exact 95 % interval, and progress, at home and in the region."""
    table = Table("fine-tuned", "KPCI at home, km", "progress", "KPCI in the region, km", "progress")
    for result in results:
        cells = [result.adapt]
        for driven in (result.home, result.region):
            low, high = driven.kpci_interval95
            cells += [f"{driven.kpci:.3f} ({low:.3f} to {high:.3f})", f"{driven.progress:.2f}"]
        table.add_row(*cells)
    return table
