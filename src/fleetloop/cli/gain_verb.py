"""The verb that measures what triggers are worth."""

from dataclasses import dataclass, replace
from pathlib import Path

from fleetloop.cli.stage_verbs import PresetName, at_least_one
from fleetloop.core.errors import ConfigError
from fleetloop.progress import say, show


@dataclass(frozen=True)
class Gain:
    """Turn the loop with triggered uploads, as many bytes chosen at random, and none; compare KPCI turn by turn."""

    workspace: Path = Path("gain")
    """Holds a workspace for each seed and kind of uploads; the same command goes on with what is there."""
    preset: PresetName = "gain"
    seeds: tuple[int, ...] = (0, 1, 2)
    turns: int | None = None
    """Instead of the preset's number."""

    def run(self) -> None:
        """Run the verb."""
        from fleetloop import gain
        from fleetloop.presets import preset_named

        preset = preset_named(self.preset)
        if preset.practise is not None:
            raise ConfigError(f"gain: preset {self.preset} uploads nothing; use gain, laptop or smoke")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"gain: seeds {self.seeds} must be different ones, at least one")
        if self.turns is not None:
            preset = replace(preset, turns=at_least_one("turns", self.turns))
        rows = gain.gain_rows(gain.run_gain(self.workspace, self.preset, preset, self.seeds))
        path = self.workspace / gain.RESULTS_FILE
        gain.write_gain(path, rows, {"preset": self.preset, "seeds": list(self.seeds)})
        show(gain.gain_table(rows))
        say(f"figures in {path}")
