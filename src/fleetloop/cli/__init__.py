"""fleetloop on the command line: one verb for each stage, and `loop` for all of them.

What a verb needs is imported when it runs: `fleetloop --help` shall not wait for PyTorch.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import Positional

from fleetloop.cli.adapt_verb import Adapt
from fleetloop.cli.checkpoint_verbs import Join, Restore
from fleetloop.cli.driver_verbs import Drive, Evaluate, Experts
from fleetloop.cli.gain_verb import Gain
from fleetloop.cli.stage_verbs import Curate, Loop, Practise, Reinforce, Release, Show, Train
from fleetloop.cli.world_verbs import WorldGallery, WorldPreview, WorldRecord, WorldScenario, WorldSearch
from fleetloop.core.errors import ConfigError, FleetloopError

MAXIMUM_SEED = 2**31 - 1


@dataclass(frozen=True)
class Bench:
    """Measure one of the project's figures."""

    name: Positional[str]
    """cameras, cameras-320x192, world, memory, closed-loop, train, vehicle, vehicle-base, vehicle-int8, vehicle-pair,
    record, demonstrator; checks against programs of others: peers, picture-geometry, vehicle-model, ring-road,
    queue-discharge; or all, one after the other."""
    json: bool = False
    """Print one line of JSON for each figure, and nothing else."""
    routes: int | None = None
    """Of the demonstrator, instead of the default number."""
    towns: tuple[str, ...] = ()
    """Of the demonstrator, instead of its twelve: keys such as suburb-1, and map files."""
    workspace: Path = Path("workspace")
    """Holds the towns."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where cameras, cameras-320x192 and world run."""

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.bench import run_benchmark

        run_benchmark(self.name, self.json, self.routes, self.workspace, self.towns, self.device)


_VERBS = {
    "loop": Loop,
    "drive": Drive,
    "curate": Curate,
    "train": Train,
    "practise": Practise,
    "reinforce": Reinforce,
    "adapt": Adapt,
    "evaluate": Evaluate,
    "experts": Experts,
    "release": Release,
    "restore": Restore,
    "join": Join,
    "show": Show,
    "world preview": WorldPreview,
    "world record": WorldRecord,
    "world scenario": WorldScenario,
    "world search": WorldSearch,
    "world gallery": WorldGallery,
    "gain": Gain,
    "bench": Bench,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb; errors raised on purpose are one sentence and exit code 2.

    Args:
        arguments: instead of those of the process.
    """
    # Compiled kernels and networks are kept between runs by their libraries; both must find two threads free.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["world"]:
        arguments = [" ".join(arguments[:2]), *arguments[2:]]
    try:
        verb = tyro.extras.subcommand_cli_from_dict(_VERBS, prog="fleetloop", args=arguments)
        for seed in (getattr(verb, "seed", 0), *getattr(verb, "seeds", ())):
            if not 0 <= seed <= MAXIMUM_SEED:
                raise ConfigError(f"seed: {seed} is out of range; use 0 to {MAXIMUM_SEED}")
        verb.run()
    except FleetloopError as error:
        print(f"fleetloop: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("fleetloop: stopped; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
