"""Presets: how large a turn of the loop is. Sizes are counts, never minutes, so that a run can be repeated."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from fleetloop.core.errors import ConfigError
from fleetloop.curate.curate import CurateConfig
from fleetloop.evaluate.closed_loop import EvaluateConfig
from fleetloop.policy.model import OwnNetwork
from fleetloop.policy.network import AnyNetwork, EnsembleConfig, NetworkConfig
from fleetloop.practice.practise import PractiseConfig
from fleetloop.sim.roads.generate import MAXIMUM_TOWN_SEED
from fleetloop.train.batches import BatchConfig
from fleetloop.train.imitate import ImitationConfig
from fleetloop.train.reinforce import ReinforcementConfig
from fleetloop.vehicle.drive import DriveConfig
from fleetloop.vehicle.recorder import RecorderConfig

TOWN_KINDS = ("grid", "organic", "spider")
"""Of the suites: what KPCI of generated towns is of."""
EVALUATION_SEED = 1000
"""Generated towns with seeds from here on are never trained on."""


@dataclass(frozen=True)
class Preset:
    """Everything that a run of the loop is made with."""

    turns: int
    training_towns: int
    """Of each kind."""
    evaluation_towns: int
    """Of each kind, never trained on."""
    demonstrate: DriveConfig
    """Turn 0, and every turn in which no release has passed the gate yet."""
    drive: DriveConfig
    """The released network under the safety driver."""
    curate: CurateConfig
    network: AnyNetwork
    imitate: ImitationConfig
    batches: BatchConfig
    evaluate: EvaluateConfig
    reinforce: ReinforcementConfig = field(default_factory=ReinforcementConfig)
    practise: PractiseConfig | None = None
    """A turn is practice, not recording, curating and training."""
    first_imitate: ImitationConfig | None = None
    """Of turn 0 and whatever else begins with fresh weights, where it differs."""
    threads: int = 2
    """Of ONNX Runtime."""
    more_training_kinds: tuple[str, ...] = ()
    """Kinds of town to train on beside those that are evaluated on."""

    def imitation(self, goes_on: bool) -> ImitationConfig:
        """How a network learns that goes on from trained weights, or begins with fresh ones."""
        return self.imitate if goes_on else self.first_imitate or self.imitate

    def with_members(self, count: int) -> "Preset":
        """The same with so many networks that drive as one.

        Raises:
            ConfigError: the network is somebody's own.
        """
        if isinstance(self.network, OwnNetwork):
            raise ConfigError("members: a network of your own has none; leave --members away")
        one = self.network.members[0] if isinstance(self.network, EnsembleConfig) else self.network
        return replace(self, network=one if count == 1 else EnsembleConfig((one,) * count))

    def training_keys(self) -> list[str]:
        """Keys of the generated towns to train on."""
        return _keys(range(self.training_towns), self.more_training_kinds)

    def unseen_keys(self, count: int) -> list[str]:
        """Keys of `count` generated towns of each kind that are neither trained nor evaluated on.

        Raises:
            ConfigError: there are not so many.
        """
        first = self.training_towns
        if not 0 <= count <= EVALUATION_SEED - first:
            raise ConfigError(f"unseen: {count} towns of each kind; use 0 to {EVALUATION_SEED - first}")
        return _keys(range(first, first + count), self.more_training_kinds)

    def evaluation_keys(self, seed: int = 0) -> list[str]:
        """Keys of the generated towns to evaluate on; others for each seed."""
        return _keys(evaluation_seeds(self.evaluation_towns, seed))


def _keys(seeds: Iterable[int], more_kinds: Iterable[str] = ()) -> list[str]:
    """Keys of the generated towns of each kind with these seeds."""
    return [f"{kind}-{seed}" for seed in seeds for kind in (*TOWN_KINDS, *more_kinds)]


def evaluation_seeds(count: int, seed: int) -> list[int]:
    """Seeds of `count` towns that nothing is trained on; others for each seed."""
    last = MAXIMUM_TOWN_SEED - EVALUATION_SEED + 1
    return [EVALUATION_SEED + (seed * count + number) % last for number in range(count)]


_EVERYTHING = RecorderConfig(everything=True)

_STEPS_OFTEN = ImitationConfig(
    samples=160_000, warmup_samples=10_000, batch_size=64, ema_decay=0.999, acceleration_quantile=0.5
)
"""Smaller batches: of as many samples a network learns nearly twice as much, early on at least.

The median of the acceleration, for it is several that drive: where they differ the car brakes anyway.
"""

_LAPTOP = Preset(
    turns=3,
    training_towns=8,
    evaluation_towns=4,
    demonstrate=DriveConfig(
        vehicles=64, steps=900, camera_interval_steps=10, scenario_share=0.1, recorder=_EVERYTHING
    ),
    drive=DriveConfig(vehicles=64, steps=900, scenario_share=0.1),
    curate=CurateConfig(),
    network=NetworkConfig(),
    imitate=ImitationConfig(samples=270_000, warmup_samples=10_000),
    first_imitate=ImitationConfig(samples=200_000, warmup_samples=10_000),
    batches=BatchConfig(),
    evaluate=EvaluateConfig(routes=64, route_m=400.0),
)

PRESETS = {
    "smoke": Preset(
        turns=2,
        training_towns=1,
        evaluation_towns=1,
        demonstrate=DriveConfig(
            vehicles=24, steps=240, agents=4, camera_interval_steps=10, recorder=_EVERYTHING
        ),
        drive=DriveConfig(vehicles=8, steps=100, agents=4),
        curate=CurateConfig(),
        network=NetworkConfig(),
        imitate=ImitationConfig(samples=2_560, batch_size=64, warmup_samples=512, compile=False),
        first_imitate=ImitationConfig(samples=16_000, batch_size=64, warmup_samples=512, compile=False),
        batches=BatchConfig(batch_size=64, rig_variety=0.0),
        # Proves that the loop turns, not that its driver is good: nobody learns to drive in seconds.
        evaluate=EvaluateConfig(
            routes=20, route_m=100.0, vehicles=20, agents=4, clips=1, minimum_progress=0.2
        ),
    ),
    "laptop": _LAPTOP,
    # Fewer samples of smaller batches: what uploads are worth shows in what goes wrong, and networks that learnt less
    # do more of it in as many kilometres. Three seeds are 21 turns, hours all the same.
    "gain": replace(
        _LAPTOP,
        imitate=ImitationConfig(samples=64_000, batch_size=64, warmup_samples=5_000),
        first_imitate=None,
        batches=BatchConfig(batch_size=64),
    ),
    # Turn 0 is for an hour on two cores; the reference release is made by the turns after it.
    "speedrun": Preset(
        turns=1,
        training_towns=16,
        # Roads of the kinds that are evaluated on have no bends.
        more_training_kinds=("suburb", "roundabout"),
        evaluation_towns=4,
        demonstrate=DriveConfig(),
        drive=DriveConfig(),
        curate=CurateConfig(),
        network=EnsembleConfig((NetworkConfig(planner=True, sightings=True),) * 2),
        first_imitate=_STEPS_OFTEN,
        imitate=replace(_STEPS_OFTEN, samples=300_000),
        batches=BatchConfig(),
        practise=PractiseConfig(
            drive=DriveConfig(vehicles=32, scenario_share=0.2), batches_per_round=16, first_misled_steps=3_000
        ),
        evaluate=EvaluateConfig(routes=256, route_m=400.0),
    ),
    "gpu": Preset(
        turns=8,
        training_towns=40,
        evaluation_towns=10,
        demonstrate=DriveConfig(
            vehicles=256, steps=1800, camera_interval_steps=10, scenario_share=0.1, recorder=_EVERYTHING
        ),
        drive=DriveConfig(vehicles=256, steps=1800, scenario_share=0.1),
        curate=CurateConfig(),
        network=NetworkConfig(),
        imitate=ImitationConfig(samples=2_000_000, batch_size=512, warmup_samples=50_000),
        batches=BatchConfig(batch_size=512, threads=12),
        evaluate=EvaluateConfig(routes=512, route_m=600.0, vehicles=128),
        threads=8,
    ),
}


def preset_named(name: str) -> Preset:
    """The preset of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in PRESETS:
        raise ConfigError(f"preset: {name!r} is unknown; use {', '.join(PRESETS)}")
    return PRESETS[name]
