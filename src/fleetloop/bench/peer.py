"""Programs of others that a check or a comparison needs, and what to do when they are absent."""

import importlib
import importlib.util
import os
from types import ModuleType

from fleetloop.core.errors import ConfigError


class PeerMissingError(ConfigError):
    """A program of others, which a figure is compared with, is not installed or cannot run here."""


def peer(module: str) -> ModuleType:
    """Import a module of the optional extra `peers`.

    Args:
        module: its name, dots allowed, such as "vehiclemodels.vehicle_dynamics_ks".

    Raises:
        PeerMissingError: it is not installed, or it fails on import.
    """
    package = module.partition(".")[0]
    if package == "mujoco":
        # Without a screen; must be set before MuJoCo is imported for the first time.
        os.environ.setdefault("MUJOCO_GL", "egl")
    if importlib.util.find_spec(package) is None:
        raise PeerMissingError(f"{package}: is not installed; run pip install 'fleetloop[peers]'")
    try:
        return importlib.import_module(module)
    except Exception as error:  # OpenGL's loaders raise whatever they please.
        raise PeerMissingError(
            f"{package}: cannot be imported ({error}); run pip install --force-reinstall 'fleetloop[peers]'"
        ) from error
