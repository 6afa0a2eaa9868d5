"""The verb that takes a driver to another region."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from fleetloop.cli.stage_verbs import PresetName, check_distance
from fleetloop.progress import say, show


@dataclass(frozen=True)
class Adapt:
    """Fine-tune a network for a region from a few drives there; compare what it learns, and forgets at home."""

    checkpoint: Positional[Path]
    """The network to take there."""
    town: str
    """The region: a key such as left_grid-1, whose kind is then evaluated on other towns, or a map file."""
    out: Path
    """Folder for everything that is made; the same command goes on with what is there."""
    minutes: float = 60.0
    """Driven in the region by the demonstrator, all vehicles together."""
    parts: tuple[Literal["all", "experts", "adapters"], ...] = ("all", "experts", "adapters")
    """What is fine-tuned, each for itself."""
    home_dataset: Path | None = None
    """Samples of home that are mixed in against forgetting (the newest version)."""
    home_share: float = 0.5
    """Of what is trained on, with --home-dataset."""
    mirror: bool = False
    """Let the network drive and learn there by what it sees in a mirror: where people drive on the other side."""
    workspace: Path = Path("workspace")
    """Holds the towns."""
    preset: PresetName = "laptop"
    samples: int | None = None
    """To train on, instead of the preset's number."""
    learning_rate: float | None = None
    """Instead of the preset's; a third of it is a good begin for fine-tuning."""
    routes: int | None = None
    """To evaluate on at home and in the region, instead of the preset's number."""
    km: float | None = None
    """To evaluate on at home and in the region each, instead of a number of routes."""
    network: str | None = None
    """The checkpoint's network of your own, package.module:function, if you trust its code."""
    seed: int = 0

    def run(self) -> None:
        """Run the verb."""
        from fleetloop import adaptation
        from fleetloop.artifacts.dataset import dataset_version
        from fleetloop.policy import adapters
        from fleetloop.policy.model import allow_builder
        from fleetloop.presets import preset_named
        from fleetloop.stages.workspace import Workspace
        from fleetloop.train.replay import Replay

        check_distance(self.km)
        if self.network is not None:
            allow_builder(self.network)
        preset, library = preset_named(self.preset), Workspace(self.workspace).library
        imitate = preset.imitate
        if self.samples is not None:
            imitate = replace(imitate, samples=self.samples)
        if self.learning_rate is not None:
            imitate = replace(imitate, learning_rate=self.learning_rate)
        preset = replace(preset, imitate=imitate)
        if self.routes is not None:
            preset = replace(preset, evaluate=replace(preset.evaluate, routes=self.routes))
        replay = None
        if self.home_dataset is not None:
            newest = dataset_version(self.home_dataset).version
            replay = Replay(self.home_dataset, newest, self.home_share)
        (key,) = library.keys_of([self.town])
        region = adaptation.region_of_town(key, self.minutes, preset.evaluation_towns, self.seed)
        region = replace(region, mirrored=self.mirror)
        parts = [adapters.Adapt(part) for part in self.parts]
        results = adaptation.adapt_checkpoint(
            self.out, self.checkpoint, region, parts, library, preset, self.seed, replay, self.km
        )
        show(adaptation.adaptation_table(results))
        say(f"figures in {self.out / adaptation.RESULTS_FILE}")
