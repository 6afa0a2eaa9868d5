"""The verbs that make a checkpoint of networks that have learnt already."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from fleetloop.cli.driver_verbs import named_driver
from fleetloop.cli.stage_verbs import check_new
from fleetloop.progress import say


@dataclass(frozen=True)
class Restore:
    """Write the network of a release as a checkpoint again, to learn on from it: adapt, practise, reinforce, train."""

    driver: Positional[str] = ""
    """Folder of a Bundle, or a workspace; the same as --release."""
    release: str | None = None
    """reference, which ships with fleetloop, or a path as above."""
    out: Path = Path("checkpoint")
    """Folder of the checkpoint; it must not exist yet."""

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.releases.restore import restore_checkpoint

        check_new(self.out)
        found = named_driver(self.driver, self.release)
        restore_checkpoint(found, self.out)
        coach = "its coach is there, to practise on with" if found.taught_by else "no coach was kept with it"
        say(f"checkpoint in {self.out}; the optimiser begins anew, {coach}")


@dataclass(frozen=True)
class Join:
    """Make one driver of several networks that learnt apart: an ensemble, which drives by the mean of their plans."""

    checkpoints: Positional[tuple[Path, ...]]
    """Two or more, trained around the same cameras; `fleetloop restore` makes one of a release."""
    out: Path = Path("checkpoint")
    """Folder of the new checkpoint; it must not exist yet."""

    def run(self) -> None:
        """Run the verb."""
        from fleetloop.stages.joining import join_checkpoints

        check_new(self.out)
        artifact = join_checkpoints(self.out, self.checkpoints)
        say(f"checkpoint of {artifact.figures['members']:.0f} networks in {self.out}")
