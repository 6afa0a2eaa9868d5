"""The worlds as environments that people know: Gymnasium's VectorEnv and Env, PettingZoo's parallel environment.

Needs the extra `environments`: pip install 'fleetloop[environments]'. Importing it registers fleetloop/Drive-v0, so
`gymnasium.make_vec("fleetloop.sim.environments:fleetloop/Drive-v0", num_envs=64)` works as well.
"""

import os

# Threads that wait shall not keep those that work from the cores (ten times slower on a busy machine). It is read when
# the OpenMP library is loaded: whoever imports PyTorch before this must set it before that.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

try:
    import gymnasium  # noqa: F401
    import pettingzoo  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"{error.name}: is not installed; run pip install 'fleetloop[environments]'", name=error.name
    ) from error

from fleetloop.sim.environments.gymnasium_env import DrivingEnv, DrivingVectorEnv
from fleetloop.sim.environments.learner_worlds import EnvironmentConfig, LearnerWorlds, Sees
from fleetloop.sim.environments.pettingzoo_env import DrivingParallelEnv

__all__ = [
    "DrivingEnv",
    "DrivingParallelEnv",
    "DrivingVectorEnv",
    "EnvironmentConfig",
    "LearnerWorlds",
    "Sees",
]
