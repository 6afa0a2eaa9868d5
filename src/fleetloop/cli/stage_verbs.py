"""The verbs of the loop, its stages and its artifacts."""

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from fleetloop.core.errors import ConfigError, EpisodeError, InputError
from fleetloop.progress import say, show, stage

if TYPE_CHECKING:
    from fleetloop.presets import Preset
    from fleetloop.sim.roads.library import TownLibrary

PresetName = Literal["smoke", "laptop", "gain", "speedrun", "gpu"]


def at_least_one(name: str, value: int) -> int:
    """The value.

    Raises:
        ConfigError: it is less than 1.
    """
    if value < 1:
        raise ConfigError(f"{name}: {value} is less than 1; use 1 or more")
    return value


def check_distance(km: float | None) -> None:
    """Refuse what is asked for as a distance to drive and is none.

    Raises:
        ConfigError: it is not a number above 0.
    """
    if km is not None and not 0.0 < km < math.inf:
        raise ConfigError(f"km: {km} is no distance; use a number above 0")


def check_new(out: Path) -> None:
    """Refuse a path at which there is something: an artifact is never overwritten.

    Raises:
        InputError: there is.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise InputError(f"{out}: exists already; choose another --out")


@dataclass(frozen=True)
class Loop:
    """Turn the whole loop: drive, curate, train, evaluate, release. Killed, it goes on where it was."""

    preset: PresetName = "laptop"
    """How much of everything; smoke is for a first look."""
    workspace: Path = Path("workspace")
    """Everything is written below."""
    town: Path | None = None
    """Drive on this map instead of generated towns: .osm, .osm.gz, .xodr, .net.xml or .net.xml.gz."""
    evaluate_on: Path | None = None
    """Train on generated towns, evaluate on this map."""
    network: str | None = None
    """Drive with a network of your own, package.module:function (docs/your-own-network.md)."""
    seed: int = 0
    turns: int | None = None
    """Instead of the preset's number."""

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.loop import RunConfig, open_run, run_loop
        from fleetloop.policy.model import own_network
        from fleetloop.presets import preset_named
        from fleetloop.sim.cameras import DEFAULT_RIG
        from fleetloop.stages.workspace import Workspace

        preset = preset_named(self.preset)
        if self.network is not None:
            preset = replace(preset, network=own_network(self.network, DEFAULT_RIG))
        if self.turns is not None:
            preset = replace(preset, turns=at_least_one("turns", self.turns))
        library = Workspace(self.workspace).library
        training, evaluation = preset.training_keys(), preset.evaluation_keys()
        if self.town is not None:
            training = evaluation = [library.add_file(self.town)]
        if self.evaluate_on is not None:
            evaluation = [library.add_file(self.evaluate_on)]
        run = RunConfig(self.preset, self.seed, tuple(training), tuple(evaluation), network=self.network)
        workspace = open_run(self.workspace, run)
        turns = run_loop(workspace, preset, run)
        show(turns.table())
        say(f"Report: {workspace.page}")


@dataclass(frozen=True)
class Curate:
    """Cut Episodes into samples and append them to a data set as a new version."""

    episodes: Positional[tuple[Path, ...]]
    """MCAP files, or folders of them; in a folder, what cannot be used is passed over."""
    dataset: Path = Path("workspace/dataset")
    seed: int = 0

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.curate.curate import CurateConfig, curate, dataset_size

        paths = [path for entry in self.episodes for path in self._ingest(entry)]
        if not paths:
            raise InputError("episodes: none is given; name MCAP files, or folders of them")
        with stage(f"curate {len(paths)} episodes") as progress:
            version = curate(self.dataset, paths, CurateConfig(), self.seed, progress)
        say(f"{self.dataset}: version {version}, {dataset_size(self.dataset, version)} samples")

    @staticmethod
    def _ingest(entry: Path) -> list[Path]:
        from fleetloop.fleet.ingest import ingest

        if not entry.exists():
            raise InputError(f"{entry}: there is no such file or folder; check the path")
        with stage("ingest") as progress:
            accepted, refused = ingest(entry, progress)
        if not accepted:
            reason = refused[0][1] if refused else f"{entry}: holds no .mcap file; drive first"
            raise EpisodeError(reason)
        for path, reason in refused:
            say(f"  refused {path.name}: {reason}")
        return accepted


@dataclass(frozen=True)
class Train:
    """Train a network on a data set by imitation."""

    out: Path
    """Folder of the checkpoint; it must not exist yet."""
    dataset: Path = Path("workspace/dataset")
    workspace: Path = Path("workspace")
    """Holds the towns in which the samples were recorded."""
    version: int | None = None
    """Of the data set; the newest without it."""
    initial: Path | None = None
    """A checkpoint to start from."""
    preset: PresetName = "laptop"
    samples: int | None = None
    """To train on in all, instead of the preset's number."""
    adapt: Literal["all", "experts", "adapters"] = "all"
    """What learns, beginning with --initial: all, the experts, or low-rank adapters merged in the end."""
    network: str | None = None
    """A network of your own, as package.module:function (docs/your-own-network.md)."""
    tensorboard: Path | None = None
    """Folder for figures while it trains. MLflow gets them where MLFLOW_TRACKING_URI is set."""
    ray_workers: int | None = None
    """Train in so many processes of Ray. For several processes of one machine, start this by torchrun."""
    seed: int = 0

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.train.on_ray import run_on_ray

        check_new(self.out)
        if self.ray_workers is None:
            self._train()
        else:
            import torch

            workers = at_least_one("ray_workers", self.ray_workers)
            paths = ("out", "dataset", "workspace", "initial", "tensorboard")
            given = {name: getattr(self, name) for name in paths if getattr(self, name) is not None}
            work = replace(self, **{name: path.absolute() for name, path in given.items()})._train
            records = self.out.with_name(f"{self.out.name}-ray")
            run_on_ray(work, workers, records, gpu=torch.cuda.is_available())
        if int(os.environ.get("RANK", "0")) == 0:
            say(f"checkpoint in {self.out}")

    def _train(self) -> None:
        from fleetloop.artifacts.dataset import dataset_version
        from fleetloop.policy.adapters import Adapt
        from fleetloop.policy.model import own_network
        from fleetloop.presets import preset_named
        from fleetloop.sim.cameras import DEFAULT_RIG
        from fleetloop.stages.training import train_checkpoint
        from fleetloop.stages.workspace import Workspace

        preset = preset_named(self.preset)
        if self.network is not None:
            preset = replace(preset, network=own_network(self.network, DEFAULT_RIG))
        if self.samples is not None:
            imitate = replace(preset.imitate, samples=self.samples)
            preset = replace(preset, imitate=imitate, first_imitate=None)
        preset = replace(preset, imitate=replace(preset.imitate, adapt=Adapt(self.adapt)))
        if preset.first_imitate is not None:
            preset = replace(preset, first_imitate=replace(preset.first_imitate, adapt=Adapt(self.adapt)))
        version = dataset_version(self.dataset, self.version).version
        library = Workspace(self.workspace).library
        train_checkpoint(
            self.out,
            self.dataset,
            version,
            library,
            preset,
            self.seed,
            self.initial,
            tensorboard=self.tensorboard,
        )


@dataclass(frozen=True, kw_only=True)
class _LearnByDriving:
    """What the verbs whose network learns while it drives have in common."""

    out: Path
    """Folder of the new checkpoint; it must not exist yet."""
    workspace: Path = Path("workspace")
    """Holds the towns."""
    town: tuple[str, ...] = ()
    """Map files, or keys of generated towns such as buslane-1, to drive in instead of the preset's."""
    towns: int | None = None
    """Generated towns of each kind to drive in, instead of the preset's number."""
    samples: int | None = None
    """To learn from in all, instead of the preset's number."""
    learning_rate: float | None = None
    """At its highest, instead of the preset's."""
    tensorboard: Path | None = None
    """Folder for figures while it learns. MLflow gets them where MLFLOW_TRACKING_URI is set."""
    network: str | None = None
    """A network of your own, as package.module:function (docs/your-own-network.md)."""
    seed: int = 0

    def _where(self, preset: "Preset") -> tuple["TownLibrary", list[str]]:
        """The towns to drive in, and who has them.

        Raises:
            InputError: there is something at `out` already.
            ConfigError: both towns and a number of them were given, or a number below 1.
        """
        from fleetloop.stages.workspace import Workspace

        if self.towns is not None:
            if self.town:
                raise ConfigError("towns: --towns is for generated towns; leave it or --town away")
            preset = replace(preset, training_towns=at_least_one("towns", self.towns))
        check_new(self.out)
        library = Workspace(self.workspace).library
        return library, library.keys_of(self.town) or preset.training_keys()

    def _asked_for(self) -> dict[str, Any]:
        """Settings of learning that were given, by the name that the configs have for them."""
        asked = {"samples": self.samples, "learning_rate": self.learning_rate}
        return {name: value for name, value in asked.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Practise(_LearnByDriving):
    """Train a network while it drives: on what it gets into, with the demonstrator's answers."""

    initial: Path | None = None
    """A checkpoint to start from; the coach of what practise made of it before learns on first."""
    preset: PresetName = "speedrun"
    members: int | None = None
    """Networks that drive as one, each of which learns from every sample, instead of the preset's number."""
    unseen: int = 0
    """Towns of each kind that it does not practise in: its losses there go to TensorBoard or MLflow (unseen_total)."""

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.policy.model import own_network
        from fleetloop.presets import preset_named
        from fleetloop.sim.cameras import DEFAULT_RIG
        from fleetloop.stages.training import practise_checkpoint

        preset = preset_named(self.preset)
        if self.network is not None:
            preset = replace(preset, network=own_network(self.network, DEFAULT_RIG))
        if self.members is not None:
            preset = preset.with_members(at_least_one("members", self.members))
        learning = replace(preset.imitation(self.initial is not None), **self._asked_for())
        preset = replace(preset, imitate=learning, first_imitate=None)
        library, towns = self._where(preset)
        practise_checkpoint(
            self.out,
            towns,
            library,
            preset,
            self.seed,
            self.initial,
            tensorboard=self.tensorboard,
            unseen=preset.unseen_keys(self.unseen),
        )
        say(f"checkpoint in {self.out}")


@dataclass(frozen=True, kw_only=True)
class Reinforce(_LearnByDriving):
    """Let the network of a checkpoint learn by reinforcement: it drives, and learns from what comes of it."""

    checkpoint: Positional[Path]
    """A network that drives already, from `fleetloop train` or `practise`."""
    preset: PresetName = "laptop"
    planner_only: bool = False
    """Let only the planner learn, what it is told left as it is: several times faster. For networks that have one; of
    several that drive as one, all theirs together."""
    critical_penalty_m: float | None = None
    """Metres made good that a critical intervention costs, instead of 100: the price at which speed is bought."""
    scenario_share: float | None = None
    """Of the routes, instead of the preset's: where there is more danger, there is more to learn from."""

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.policy.model import allow_builder
        from fleetloop.presets import preset_named
        from fleetloop.stages.training import reinforce_checkpoint

        if self.network is not None:
            allow_builder(self.network)
        preset = preset_named(self.preset)
        learning = replace(preset.reinforce, planner_only=self.planner_only, **self._asked_for())
        if self.critical_penalty_m is not None:
            learning = replace(learning, critical_penalty_m=self.critical_penalty_m)
        preset = replace(preset, reinforce=learning)
        if self.scenario_share is not None:
            preset = replace(preset, drive=replace(preset.drive, scenario_share=self.scenario_share))
        library, towns = self._where(preset)
        figures = reinforce_checkpoint(
            self.out, self.checkpoint, towns, library, preset, self.seed, tensorboard=self.tensorboard
        )
        say(
            f"{figures['critical']:.1f} critical interventions in {figures['km']:.2f} km in a late round; "
            f"checkpoint in {self.out}"
        )


@dataclass(frozen=True)
class Release:
    """Build a signed Bundle from a checkpoint and its passing report, and publish it."""

    checkpoint: Positional[Path]
    report: Path
    """Folder of the report that passed the gate; the Bundle is built beside it."""
    number: int
    """Of the release; higher than the one published."""
    workspace: Path = Path("workspace")
    """Holds the repository and the keys."""
    network: str | None = None
    """The checkpoint's network of your own, package.module:function, if you trust its code."""
    int8: bool = False
    """Release the network in 8-bit integers: plans a little different, on some processors sooner. If the report is of
    evaluate --int8, the very network that it judges."""

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.policy.model import allow_builder
        from fleetloop.stages.releasing import EXAMPLE_TOWN, release_checkpoint
        from fleetloop.stages.workspace import Workspace, make_world

        if self.network is not None:
            allow_builder(self.network)
        number, workspace = at_least_one("number", self.number), Workspace(self.workspace)
        world = make_world(workspace.library, [EXAMPLE_TOWN])
        folder = self.report.with_name(f"{self.report.name}-bundle")
        with stage("release"):
            release_checkpoint(
                folder, self.checkpoint, self.report, number, workspace, world, seed=0, int8=self.int8
            )
        say(f"release {number} published in {workspace.repository}")


@dataclass(frozen=True)
class Show:
    """Tell what an artifact is, what it was made from, and its key figures."""

    artifact: Positional[Path]

    def run(self) -> None:
        """Run the verb."""
        from rich.table import Table
        from rich.text import Text

        from fleetloop.artifacts.describe import describe_artifact

        table = Table("", "", show_header=False, box=None, padding=(0, 2, 0, 0))
        table.columns[1].overflow = "fold"
        for name, value in describe_artifact(self.artifact):
            table.add_row(Text(name, style="bold"), Text(value))
        show(table)
