"""What every configuration refuses in the same words."""

from collections.abc import Mapping, Sequence
from typing import Any

from fleetloop.core.errors import ConfigError


def check_at_least(subject: str, config: Any, least: Mapping[str, int] | Sequence[str]) -> None:
    """Refuse numbers that are too small.

    Args:
        subject: what the error says is configured.
        least: smallest value by the name of the field; or the names of those that must be 1 or more.

    Raises:
        ConfigError: a field is below.
    """
    for name, value in (least if isinstance(least, Mapping) else dict.fromkeys(least, 1)).items():
        if not getattr(config, name) >= value:
            raise ConfigError(f"{subject}: {name} is {getattr(config, name)}; use {value} or more")
