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


def check_shares(subject: str, config: Any, names: Sequence[str], whole: bool = True) -> None:
    """Refuse shares and probabilities that are none.

    Args:
        subject: what the error says is configured.
        names: fields that must be from 0 to 1.
        whole: 1 itself is a share, too.

    Raises:
        ConfigError: a field is outside.
    """
    for name in names:
        value = getattr(config, name)
        if not (0.0 <= value <= 1.0 and (whole or value < 1.0)):
            use = "0 to 1" if whole else "0 or more, and less than 1"
            raise ConfigError(f"{subject}: {name} is {value}; use {use}")
