"""The verbs that show and search the world."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from fleetloop.core.errors import InputError
from fleetloop.progress import say, stage

WeatherName = Literal["clear", "overcast", "dusk", "night", "rain", "fog", "night_rain", "night_fog"]


@dataclass(frozen=True)
class WorldPreview:
    """Draw a town from above and what the eight cameras see in it, as a PNG."""

    town: Path | None = None
    """A map; without it the generated town `key`."""
    key: str = "grid-7"
    """A generated town, by kind and seed."""
    out: Path = Path("preview.png")
    workspace: Path = Path("workspace")
    """Holds the towns."""
    seed: int = 0

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.preview import town_preview
        from fleetloop.stages.workspace import Workspace, make_world

        if self.out.is_dir():
            raise InputError(f"{self.out}: is a folder; give --out the name of a PNG file")
        library = Workspace(self.workspace).library
        key = library.add_file(self.town) if self.town is not None else self.key
        world = make_world(library, [key])
        with stage("preview"):
            town_preview(world, self.seed, self.out)
        say(f"{key}: {self.out}")


@dataclass(frozen=True)
class WorldRecord:
    """Record a drive for a person or a tool: as MP4 of the eight cameras and the road from above, MCAP or Rerun."""

    out: Path = Path("drive.mp4")
    """What is written; the ending picks the format: .mp4, .mcap (Foxglove) or .rrd (Rerun)."""
    town: Path | None = None
    """A map; without it the generated town `key`."""
    key: str = "grid-1000"
    """A generated town, by kind and seed."""
    scenario: str = ""
    """A family to begin with; `fleetloop world scenario` lists them."""
    parameters: tuple[str, ...] = ()
    """Of the family, as in speed_mps=9.5; the others are drawn."""
    seconds: float | None = None
    """Without it a scenario is driven to its end, anything else for half a minute."""
    weather: WeatherName = "clear"
    release: str | None = None
    """Who drives, instead of the demonstrator, as of `fleetloop drive`; MP4 and Rerun show what goes on inside."""
    agents: int = 24
    """Road users, where the streets have room for so many."""
    workspace: Path = Path("workspace")
    """Holds the towns."""
    seed: int = 0
    """Draws the place, the traffic and a scenario's parameters."""

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.cli.driver_verbs import inspected
        from fleetloop.recording import RecordConfig, record_drive
        from fleetloop.recording.recording import check_path
        from fleetloop.sim.cameras import Weather
        from fleetloop.sim.scenarios.family import parameter_of
        from fleetloop.stages.workspace import Workspace, make_world

        check_path(self.out)
        given = tuple(parameter_of(text) for text in self.parameters)
        config = RecordConfig(self.seconds, self.scenario, given, Weather(self.weather), self.agents)
        workspace = Workspace(self.workspace)
        policy = None if self.release is None else inspected(self.release)
        key = workspace.library.add_file(self.town) if self.town is not None else self.key
        world = make_world(workspace.library, [key])
        with stage(f"record {self.scenario or key}") as progress:
            outcome, paths = record_drive(world, [key], self.out, config, self.seed, policy, progress)
        say(f"{outcome}: {', '.join(map(str, paths))}")


@dataclass(frozen=True)
class WorldScenario:
    """Show a scenario as a clip: the eight cameras and the road from above, the demonstrator driving."""

    name: Positional[str] = ""
    """The family; without it, all are listed with what they ask for."""
    town: Path | None = None
    """A map; without it the generated town `key`."""
    key: str = "grid-1000"
    """A generated town, by kind and seed."""
    out: Path = Path("scenario.mp4")
    """The ending picks the format: .mp4, .mcap (Foxglove) or .rrd (Rerun)."""
    parameters: tuple[str, ...] = ()
    """As in speed_mps=9.5; the others are drawn."""
    workspace: Path = Path("workspace")
    """Holds the towns."""
    seed: int = 0
    """Draws the place and the parameters."""

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.sim.rollout import SCENARIO_AGENTS
        from fleetloop.sim.scenarios import FAMILIES, family_named

        if not self.name:
            for family in FAMILIES.values():
                say(f"{family.name:<26} {family.description}")
            return
        family = family_named(self.name)
        say(f"{family.description}\nTo pass: {family.success}")
        WorldRecord(
            *(self.out, self.town, self.key, self.name, self.parameters),
            **{"workspace": self.workspace, "seed": self.seed, "agents": SCENARIO_AGENTS},
        ).run()


@dataclass(frozen=True)
class WorldSearch:
    """Search the parameters of a scenario for those that the demonstrator masters least."""

    name: Positional[str]
    """The family."""
    town: Path | None = None
    """A map; without it the generated town `key`."""
    key: str = "grid-1000"
    """A generated town, by kind and seed."""
    rounds: int = 5
    worlds: int = 32
    """Scenarios driven in each round."""
    show: int = 5
    """How many of the hardest are shown."""
    workspace: Path = Path("workspace")
    """Holds the towns."""
    seed: int = 0

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.evaluate.scenario_search import SearchConfig, demonstrator, search_scenario
        from fleetloop.stages.workspace import Workspace, make_world

        config = SearchConfig(self.rounds, self.worlds)
        library = Workspace(self.workspace).library
        key = library.add_file(self.town) if self.town is not None else self.key
        world = make_world(library, [key])
        with stage(f"search {self.name}"):
            trials = search_scenario(world, self.name, demonstrator, config, self.seed)
        passed = sum(trial.result.success for trial in trials)
        say(f"{passed} of {len(trials)} passed; the hardest:")
        place = f"--key {key}" if self.town is None else f"--town {self.town}"
        for trial in trials[: self.show]:
            outcome = "passed" if trial.result.success else "failed"
            given = " ".join(f"{name}={value!r}" for name, value in trial.parameters.items())
            say(f"{outcome}, braking {trial.hardest_braking_mps2:.1f} m/s^2")
            say(f"  fleetloop world scenario {self.name} {place} --seed {trial.seed} --parameters {given}")


@dataclass(frozen=True)
class WorldGallery:
    """Draw every weather, road user, sign, kind of town and scenario, as PNGs."""

    out: Path = Path("gallery")
    """Folder of the pictures."""
    workspace: Path = Path("workspace")
    """Holds the towns."""

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.gallery import write_gallery
        from fleetloop.stages.workspace import Workspace

        if self.out.is_file():
            raise InputError(f"{self.out}: is a file; give --out the name of a folder")
        with stage("gallery") as progress:
            written = write_gallery(Workspace(self.workspace).library, self.out, progress)
        say(f"{len(written)} pictures: {self.out}")
