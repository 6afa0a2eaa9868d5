"""Samples of an earlier data set, mixed in against forgetting what they taught."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fleetloop.artifacts.dataset import Samples, concatenate_samples, read_samples
from fleetloop.core.errors import ConfigError


@dataclass(frozen=True)
class Replay:
    """Which samples are mixed in, and how many."""

    dataset: Path
    version: int
    share: float
    """Of what is trained on, more than 0 and less than 1."""

    def __post_init__(self) -> None:
        """Refuse what is no mixture."""
        if not 0.0 < self.share < 1.0:
            raise ConfigError(f"replay: share is {self.share}; use more than 0 and less than 1")

    def mixed_with(self, samples: Samples) -> Samples:
        """Both, weighted so that the replayed ones are drawn as often as `share` says.

        Raises:
            DatasetError: the data set cannot be used.
        """
        replayed = read_samples(self.dataset, self.version)
        return concatenate_samples([_weighing(samples, 1.0 - self.share), _weighing(replayed, self.share)])


def _weighing(samples: Samples, total: float) -> Samples:
    """The samples with weights that sum to `total`."""
    factor = total / max(float(samples.weight.sum(dtype=np.float64)), 1e-12)
    return replace(samples, weight=(samples.weight * factor).astype(np.float32))
