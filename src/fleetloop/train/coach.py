"""The coach: it sees everything, learns to drive from the demonstrator, and tells the network what a situation is.

Learning by cheating (Chen, Zhou, Koltun, Krähenbühl, CoRL 2019) with the features of the privileged driver as targets
(Roach: Zhang et al., "End-to-end urban driving by imitating a reinforcement learning coach", ICCV 2021): a driver that
is given positions instead of pictures learns thirty times faster, and what it makes of them is just what matters. Its
situation passes through noise, so that two that lie near each other mean nearly the same: a network that tells it with
an error of that size from pictures can drive by it.
"""

import copy
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn
from torch.nn import functional

from fleetloop.core.errors import CheckpointError
from fleetloop.core.random import Stream, generator
from fleetloop.core.types import Plan
from fleetloop.policy import features
from fleetloop.policy.features import curvature_from_control
from fleetloop.policy.heads import ACCELERATION_SCALE_MPS2
from fleetloop.policy.model import DriverModel
from fleetloop.policy.network import reads_stood
from fleetloop.policy.planner import SITUATION_WIDTH, Intention, Planner, planners_of
from fleetloop.sim.privileged_view import PRIVILEGED_OTHER, PRIVILEGED_OWN, seeing_nobody
from fleetloop.sim.state_view import OTHERS

if TYPE_CHECKING:
    # Batches tell its situations.
    from fleetloop.train.batches import Moments

SITUATION_NOISE = 0.5
"""Standard deviation of what is added to each number of a situation while the coach learns."""
_WIDTH, _OTHER_WIDTH = 256, 128
_SUM_SCALE = 0.3
_PERSISTENCE = 0.95
"""Of what misleads, from one step to the next: it lasts for two seconds."""
_OVERLOOKS_STEPS = 30
"""It sees nobody for three seconds at a time, in the mean."""


class CoachInputs(NamedTuple):
    """What the coach sees of B moments."""

    privileged: Float[Tensor, "B fields"]
    """Rows of `privileged_view`."""
    ego_history: Float[Tensor, "B 8 4"]
    navigation: Float[Tensor, "B 10"]
    time_of_day_h: Float[Tensor, " B"]


def coach_inputs(moments: "Moments") -> CoachInputs:
    """What the coach sees of moments."""
    return CoachInputs(
        torch.from_numpy(moments.privileged.astype(np.float32)),
        torch.from_numpy(moments.ego_history),
        torch.from_numpy(moments.navigation),
        torch.from_numpy(moments.time_of_day_h),
    )


class Coach(nn.Module):
    """Where everybody is -> situation -> plan.

    Each road user is looked at beside the own motion and path, by the same layers; what counts of all of them is the
    largest answer and the sum.
    """

    def __init__(self, planner: Planner, stood: bool = True) -> None:
        """`stood` says whether it is told how long it has stood, as `NetworkConfig.stood` does."""
        super().__init__()
        self._stood = stood
        measured = features.EGO_FEATURES + features.TURN_FEATURES + features.CLOCK_FEATURES
        measured += features.STOOD_FEATURES if stood else 0
        self.own = nn.Sequential(
            nn.Linear(PRIVILEGED_OWN + measured, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, _WIDTH), nn.ReLU()
        )
        self.context = nn.Linear(_WIDTH, _OTHER_WIDTH)
        self.other = nn.Linear(PRIVILEGED_OTHER, _OTHER_WIDTH)
        self.others = nn.Sequential(
            nn.Linear(_OTHER_WIDTH, _OTHER_WIDTH), nn.ReLU(), nn.Linear(_OTHER_WIDTH, _OTHER_WIDTH)
        )
        self.tell = nn.Sequential(
            nn.Linear(_WIDTH + 2 * _OTHER_WIDTH, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, SITUATION_WIDTH)
        )
        self.normalise = nn.LayerNorm(SITUATION_WIDTH, elementwise_affine=False)
        self.planner = planner

    def situation(self, inputs: CoachInputs) -> Float[Tensor, "B situation"]:
        """What matters in these moments."""
        measured = [
            features.ego_features(inputs.ego_history, past_controls=False, stood=self._stood),
            features.navigation_features(inputs.navigation, turn_ends=False),
            features.clock_features(inputs.time_of_day_h),
        ]
        flat, rest = inputs.privileged.split([PRIVILEGED_OWN, OTHERS * PRIVILEGED_OTHER], dim=-1)
        own = self.own(torch.cat([flat, *measured], dim=-1))
        others = rest.reshape(-1, OTHERS, PRIVILEGED_OTHER)
        seen = functional.relu(self.other(others) + self.context(own)[:, None])
        answers = functional.relu(self.others(seen)) * (others[:, :, :1] > 0.0)
        counts = torch.cat([own, answers.amax(dim=1), _SUM_SCALE * answers.sum(dim=1)], dim=-1)
        return self.normalise(self.tell(counts))

    @torch.no_grad()
    def situations_of(self, moments: "Moments") -> Float32[np.ndarray, "N situation"]:
        """What matters in moments; not finite where what the coach sees was not kept."""
        return self.situation(coach_inputs(moments)).numpy()

    def forward(self, inputs: CoachInputs) -> Intention:
        """The plan; in training from a situation with noise on it."""
        situation = self.situation(inputs)
        if self.training:
            situation = situation + SITUATION_NOISE * torch.randn_like(situation)
        return self.planner(situation, inputs.ego_history[:, -1, 0])


def fresh_coach(network: DriverModel) -> Coach | None:
    """A coach with fresh weights that speaks to the planner of this network; None if it has none."""
    planners = planners_of(network)
    return Coach(copy.deepcopy(planners[0]), reads_stood(network.config)) if planners else None


def coach_from(tensors: dict[str, Tensor], network: DriverModel) -> Coach | None:
    """The coach that a network with a planner learnt from, by the weights that were kept of it; None if there is none.

    Raises:
        CheckpointError: the weights are not those of a coach.
    """
    coach = fresh_coach(network)
    if coach is None:
        return None
    try:
        coach.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError("coach: its weights do not fit; practise the network again") from error
    return coach.requires_grad_(False).eval()


class CoachDriver:
    """The coach at the wheel of many vehicles; it may be misled, as a network is that sees badly.

    What it takes the situation for is off by noise that lasts for seconds, more in some vehicles than in others, and at
    times it sees nobody else; so it gets into what such a network gets into, a hundred times faster.
    """

    def __init__(
        self,
        coach: Coach,
        vehicles: int,
        seed: int = 0,
        misled: tuple[float, ...] = (0.0,),
        overlooking: float = 0.0,
    ) -> None:
        """How it is misled.

        Args:
            misled: standard deviations of the noise, one of which is drawn for each vehicle on each route.
            overlooking: share of the time, below 1, in which it sees nobody else.
        """
        self.coach = coach
        self._overlooking = overlooking
        self._overlooks = np.zeros(vehicles, bool)
        self._random = generator(seed, Stream.MISLED, 0)
        self._misled = np.array(misled, np.float32)
        self._noise = np.zeros((vehicles, SITUATION_WIDTH), np.float32)
        self._scale = self._random.choice(self._misled, vehicles)

    def reset(self, mask: Bool[np.ndarray, " W"]) -> None:
        """Another noise for the vehicles in `mask`."""
        self._scale[mask] = self._random.choice(self._misled, int(mask.sum()))
        self._noise[mask] = 0.0
        self._overlooks[mask] = False

    @torch.no_grad()
    def plan(self, moments: "Moments") -> Plan:
        """Plans for all vehicles."""
        if self._overlooking:
            moments = self._overlooked(moments)
        situation = self.coach.situation(coach_inputs(moments))
        if self._misled.any():
            fresh = self._random.standard_normal(self._noise.shape).astype(np.float32)
            self._noise = _PERSISTENCE * self._noise + math.sqrt(1.0 - _PERSISTENCE**2) * fresh
            off = torch.from_numpy(self._noise * self._scale[:, None])
            situation = self.coach.normalise(situation + off)
        intention = self.coach.planner(situation, torch.from_numpy(moments.ego_history[:, -1, 0]))
        return Plan(
            curvature_from_control(intention.curvature_control).numpy(),
            (intention.acceleration * ACCELERATION_SCALE_MPS2).numpy(),
            intention.poses_in_ego.numpy(),
            np.zeros(len(moments.town), np.float32),
        )

    def _overlooked(self, moments: "Moments") -> "Moments":
        """The moments as it sees them, with nobody else where it overlooks all."""
        begins = self._overlooking / (1.0 - self._overlooking) / _OVERLOOKS_STEPS
        chance = np.where(self._overlooks, 1.0 / _OVERLOOKS_STEPS, begins)
        self._overlooks ^= self._random.random(len(chance)) < chance
        privileged = moments.privileged.copy()
        privileged[self._overlooks] = seeing_nobody(privileged[self._overlooks])
        return moments._replace(privileged=privileged)
