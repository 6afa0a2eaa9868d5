"""Networks that drive, found by name or path; `reference` is the release that ships in this folder."""

from fleetloop.releases.find import REFERENCE, FoundDriver, find_driver

__all__ = ["REFERENCE", "FoundDriver", "find_driver"]
