"""Learning by reinforcement: a network that imitates already drives in the batched world and learns from what comes.

Proximal policy optimisation (Schulman et al., 2017) from cameras, with generalised advantage estimation (Schulman et
al., 2016). Four things differ from the textbook. The critic sees the state of the world, which the policy never does
(asymmetric actor-critic: Pinto et al., 2018). The policy is held near the demonstrator by the loss of imitation on the
very states it gets into. And the loop is the one of evaluation: the safety layer limits every action, and where the
safety driver takes over an episode ends with a penalty; what it then drives teaches nothing. And what is tried lasts:
the noise of a step follows from that of the step before (as in Korenkevych et al., "Autoregressive policies for
continuous control deep reinforcement learning", 2019), for a car does not feel what changes ten times a second.

In a network with a planner, that may be all that learns: it gets the situations as the network tells them, errors
included, so that it learns what to do when they may be wrong. Nothing goes back through the pictures, which makes a
sample several times cheaper. Of several networks that drive as one the planners learn together, from what comes of
the plan that they agree on.

Read from top to bottom: configuration, critic, collecting, losses, loop. What is kept of a step, and the advantages,
are in `experience`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int32
from torch import Tensor, nn
from torch.distributions import Normal

from fleetloop.core.checks import check_at_least, check_shares
from fleetloop.core.errors import ConfigError
from fleetloop.core.types import BIRDS_EYE_SHAPE, EGO, STEP_S, CameraRig, Observation, Plan, World
from fleetloop.policy.features import inputs_from
from fleetloop.policy.heads import Outputs, decode
from fleetloop.policy.memory import MEMORY_DELAY_STEPS, advance
from fleetloop.policy.model import DriverModel
from fleetloop.policy.network import InspectableNetwork
from fleetloop.policy.planner import Intention, planners_of
from fleetloop.policy.precision import autocast
from fleetloop.safety.limits import SafetyLayer
from fleetloop.sim.birds_eye import birds_eye
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import CRITICAL, Route
from fleetloop.sim.state_view import STATE_FIELDS, describe
from fleetloop.train.batch import BIRDS_EYE_UNKNOWN, Batch
from fleetloop.train.experience import (
    AdvantageScale,
    Experience,
    TaughtSteps,
    advantages_of,
    driven,
    end_to_end,
)
from fleetloop.train.imitate import ImitationConfig, Progress
from fleetloop.train.losses import loss_parts, plan_loss
from fleetloop.train.saved_state import load_optimiser, optimiser_tensors, read_state, write_state


@dataclass(frozen=True)
class ReinforcementConfig:
    """How to learn. Rewards are metres; the defaults suit two cores of a CPU."""

    samples: int = 400_000
    """Steps of vehicles to learn from."""
    stage_samples: int = 100_000
    """Between two saved states; the vehicles begin other routes then."""
    planner_only: bool = False
    """Leave alone what tells the situation from pictures; of several networks that drive as one all planners learn."""
    vehicles: int = 64
    agents: int = 20
    steps: int = 64
    """Of every vehicle between two updates."""
    epochs: int = 3
    batch_size: int = 1_024
    """Smaller ones have one critical intervention or none, and are swayed by it."""
    learning_rate: float = 1e-5
    """Of the whole network; where the planner alone learns, three times as much does it no harm."""
    critic_learning_rate: float = 1e-3
    critic_warmup: int = 16
    """Rounds in which the critic learns alone: advantages of a fresh one would undo the policy."""
    discount: float = 0.97
    """A step is 0.1 s: three seconds count, as long as a critical intervention is in the making."""
    trace: float = 0.9
    """The lambda of generalised advantage estimation."""
    clip: float = 0.2
    divergence_limit: float = 0.05
    """A policy that has gone so far from what drove waits for the next round: a few collisions do not say so much."""
    curvature_spread: float = 0.1
    """Standard deviation of what is tried, in cube-spaced curvature."""
    acceleration_spread: float = 0.15
    """In units of ACCELERATION_SCALE_MPS2."""
    persistence: float = 0.9
    """Share of what was tried in a step that is still there in the next; 0.9 lasts a second."""
    critical_penalty_m: float = 100.0
    """Metres made good that a critical intervention costs."""
    stuck_penalty_m: float = 20.0
    imitation_weight: float = 0.3
    """Of the loss of imitation, which holds the policy near the demonstrator; of several planners each near it by
    itself, or the loss would undo that doubt brakes."""
    acceleration_quantile: float = 0.35
    """Of what the demonstrator may want, as in the network's imitation (ImitationConfig)."""
    gradient_norm: float = 0.5
    variety: float = 0.6
    """Of weather, light and colours."""
    bfloat16: bool = True
    """As in ImitationConfig."""
    gpu: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        check_at_least(
            "reinforce", self, ("vehicles", "agents", "steps", "epochs", "batch_size", "stage_samples")
        )
        check_at_least("reinforce", self, {"critical_penalty_m": 1, "stuck_penalty_m": 0})
        check_shares("reinforce", self, ["persistence"], whole=False)
        if self.samples < self.vehicles * self.steps:
            raise ConfigError(
                f"reinforce: samples is {self.samples}; use at least vehicles x steps "
                f"({self.vehicles * self.steps}), one round"
            )


@dataclass(frozen=True)
class Taught:
    """The network after reinforcement, and what the last tenth of the rounds was like, or those of it since the run
    went on."""

    network: DriverModel
    samples: int
    figures: dict[str, float]


class Critic(nn.Module):
    """State of the world -> expected return, in units of the critical penalty."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(STATE_FIELDS, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 1),
        )

    def forward(self, state: Float[Tensor, "B fields"]) -> Float[Tensor, " B"]:
        """Expected return."""
        return self.layers(state).squeeze(-1)


def controls_of(outputs: Outputs | Intention) -> Float[Tensor, "B 2"]:
    """(cube-spaced curvature, scaled acceleration): what would be done if nothing were tried."""
    return torch.stack([outputs.curvature_control, outputs.acceleration], dim=-1).float()


def policy_of(
    outputs: Outputs | Intention, leaning: Float[Tensor, "B 2"], config: ReinforcementConfig
) -> Normal:
    """The distribution of the controls, given how much of what was tried before is still there."""
    mean = controls_of(outputs) + leaning.to(outputs.acceleration.device)
    spread = torch.tensor([config.curvature_spread, config.acceleration_spread], device=mean.device)
    return Normal(mean, (spread * math.sqrt(1.0 - config.persistence**2)).expand_as(mean))


class _Collector:
    """Drives with the present network, and remembers where it stopped."""

    def __init__(
        self,
        config: ReinforcementConfig,
        rig: CameraRig,
        world: World,
        routes: Iterator[Route],
        width: int,
        seed: int,
    ) -> None:
        self.config, self.rig, self.world = config, rig, world
        self.rollout = Rollout(world, routes, config.vehicles, config.agents)
        self.memory = torch.zeros(config.vehicles, MEMORY_DELAY_STEPS, width)
        self.valid = torch.zeros(config.vehicles, MEMORY_DELAY_STEPS, dtype=torch.bool)
        self.leaning = torch.zeros(config.vehicles, 2)
        self._safety_layer = SafetyLayer(config.vehicles, STEP_S)
        self._state = np.zeros((config.vehicles, 1, STATE_FIELDS), np.float32)
        self.generator = torch.Generator().manual_seed(seed)
        self.observation, self.state = self._look()

    def _look(self) -> tuple[Observation, Tensor]:
        """What the policy sees before its next step, and what the critic sees."""
        rollout = self.rollout
        rollout.decide()
        observation = rollout.observe(self.rig, self.config.variety)
        describe(self.world, rollout.state, rollout.decision, self._state)
        return observation, torch.from_numpy(self._state[:, 0].copy())

    @torch.no_grad()
    def step(self, network: DriverModel, critic: Critic) -> Experience:
        """One step of all vehicles."""
        observation, state = self.observation, self.state
        device = next(network.parameters()).device
        with autocast(device, self.config.bfloat16):
            memory, valid = self.memory[:, 0].to(device), self.valid[:, 0].to(device)
            outputs, current = network(inputs_from(observation, self.rig, device), memory, valid)
        leaning = self.leaning
        policy = policy_of(outputs, leaning, self.config)
        noise = torch.randn(policy.mean.shape, generator=self.generator).to(device)
        action = policy.mean + noise * policy.stddev
        batch, active = self._labels(observation), self.rollout.active.copy()
        step = self.rollout.step(*self._limited(outputs, action, observation.ego_history[:, -1, 0]))
        kept = Experience(
            batch=batch,
            memory=memory.cpu(),
            memory_valid=valid.cpu(),
            state=state,
            leaning=leaning,
            action=action.cpu(),
            log_probability=policy.log_prob(action).sum(-1).cpu(),
            value=critic(state.to(device)).cpu(),
            reward=torch.from_numpy(self._reward(step.danger, observation.ego_history[:, -1, 0])),
            ended=torch.from_numpy(step.ended | (step.danger != 0)),
            wrong=torch.from_numpy(step.danger != 0),
            critical=torch.from_numpy(_critical(step.danger)),
            counts=torch.from_numpy(active & (~step.safety_driver | (step.danger != 0))),
            situation=outputs.situation.float().cpu(),
        )
        self.leaning = self.config.persistence * (action - controls_of(outputs)).cpu()
        self._remember(current.float().cpu(), step.ended)
        self._safety_layer.remember(step.curvature, step.acceleration, step.ended)
        self.observation, self.state = self._look()
        return kept

    def _limited(
        self, outputs: Outputs, action: Tensor, speed_mps: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Controls of an action, as the safety layer lets them through."""
        tried = decode(outputs._replace(curvature_control=action[:, 0], acceleration=action[:, 1]))
        plan = Plan(*(part.float().cpu().numpy() for part in tried[:4]))
        controls = self._safety_layer.limit(plan, speed_mps)
        return controls.curvature_1pm, controls.acceleration_mps2

    def _reward(self, danger: np.ndarray, speed_mps: Float32[np.ndarray, " W"]) -> Float32[np.ndarray, " W"]:
        """Metres made good, those beyond the limit for nothing, less penalties; over the critical penalty."""
        lane = self.rollout.state.path[:, EGO, 0]
        metres = np.minimum(speed_mps, self.world.lane_speed_limit_mps[lane]) * STEP_S
        penalty = np.where(
            _critical(danger), self.config.critical_penalty_m, self.config.stuck_penalty_m * (danger != 0)
        )
        return ((metres - penalty) / self.config.critical_penalty_m).astype(np.float32)

    def _labels(self, observation: Observation) -> Batch:
        """What the demonstrator would do here."""
        if self.config.planner_only:
            # Pictures are most of what is kept, and the planner never sees them; nor is it asked what is around.
            observation = replace(observation, images=())
            above = np.broadcast_to(np.uint8(BIRDS_EYE_UNKNOWN), (self.config.vehicles, *BIRDS_EYE_SHAPE))
        else:
            above = birds_eye(self.world, self.rollout.scene)
        return Batch(
            observation=observation,
            rig=self.rig,
            earlier_images=None,
            earlier_valid=np.ones(self.config.vehicles, bool),
            labels=self.rollout.teaching.copy(),
            birds_eye=above,
            weight=np.ones(self.config.vehicles, np.float32),
        )

    def _remember(self, current: Tensor, ended: Bool[np.ndarray, " W"]) -> None:
        self.memory, self.valid = advance(self.memory, self.valid, current)
        self.valid[torch.from_numpy(ended)] = False
        self.leaning[torch.from_numpy(ended)] = 0.0


def _critical(danger: Int32[np.ndarray, " W"]) -> Bool[np.ndarray, " W"]:
    """Where a critical intervention began."""
    return np.isin(danger, [int(kind) for kind in CRITICAL])


class _Learner:
    """Policy, critic and their optimisers.

    Raises:
        ConfigError: only the planner is to learn, and the network, or one of those that drive as one, has none.
    """

    def __init__(self, config: ReinforcementConfig, network: DriverModel) -> None:
        self.config = config
        self.device = torch.device("cuda" if config.gpu and torch.cuda.is_available() else "cpu")
        self.network, self.critic = network.to(self.device), Critic().to(self.device)
        self.planning: InspectableNetwork | None = None
        self.learning: nn.Module = network
        if config.planner_only:
            planners, networks = planners_of(network), len(network.learners())
            if len(planners) != networks or not isinstance(network, InspectableNetwork):
                raise ConfigError(
                    f"reinforce: {len(planners)} of {networks} networks have a planner; "
                    "practise one that has, or let all of it learn"
                )
            self.planning, self.learning = network, nn.ModuleList(planners)
        self.policy_optimiser = torch.optim.AdamW(
            self.learning.parameters(), lr=config.learning_rate, weight_decay=0.0, fused=True
        )
        self.critic_optimiser = torch.optim.AdamW(
            self.critic.parameters(), lr=config.critic_learning_rate, weight_decay=0.0, fused=True
        )
        self.advantage_scale = AdvantageScale()
        self.imitation = ImitationConfig(acceleration_quantile=config.acceleration_quantile)

    def save(self, path: Path, rounds: int) -> None:
        """Write all that changes, after so many rounds."""
        state = self.advantage_scale.tensors()
        for name, optimiser, module in self._optimised():
            parameters = dict(module.named_parameters())
            state |= {f"{name}.{key}": parameter.detach() for key, parameter in parameters.items()}
            state |= optimiser_tensors(optimiser, parameters, f"optimiser.{name}")
        kept = {name: value.contiguous() for name, value in state.items()}
        write_state(path, kept, rounds, repr(self.config))

    def resume(self, path: Path) -> int:
        """Go on from what was saved; the rounds that are done, 0 if there is nothing of this run."""
        found = read_state(path, repr(self.config))
        if found is None:
            return 0
        state, rounds = found
        self.advantage_scale.load(state)
        for name, optimiser, module in self._optimised():
            parameters = dict(module.named_parameters())
            with torch.no_grad():
                for key, parameter in parameters.items():
                    parameter.copy_(state[f"{name}.{key}"])
            load_optimiser(optimiser, parameters, state, f"optimiser.{name}")
        return rounds

    def _optimised(self) -> list[tuple[str, torch.optim.Optimizer, nn.Module]]:
        return [
            ("network", self.policy_optimiser, self.learning),
            ("critic", self.critic_optimiser, self.critic),
        ]

    def update(self, taught: TaughtSteps, with_policy: bool, share_left: float) -> dict[str, float]:
        """All epochs over the samples of a round; mean loss parts, none without samples."""
        told: dict[str, list[float]] = {}
        count, size = len(taught.action), self.config.batch_size
        if count == 0:
            return {}
        taught = replace(taught, advantage=self.advantage_scale.scaled(taught.advantage))
        for group in self.policy_optimiser.param_groups:
            group["lr"] = self.config.learning_rate * max(share_left, 0.05)
        for _ in range(self.config.epochs):
            for chosen in torch.randperm(count).split(size):
                parts = self._update_batch(taught.select(chosen), with_policy)
                with_policy = with_policy and parts["divergence"] < self.config.divergence_limit
                for name, part in parts.items():
                    told.setdefault(name, []).append(part)
        return {name: float(np.mean(values)) for name, values in told.items()}

    def _update_batch(self, some: TaughtSteps, with_policy: bool) -> dict[str, float]:
        value_loss = (self.critic(some.state.to(self.device)) - some.returns.to(self.device)).square().mean()
        self.critic_optimiser.zero_grad()
        value_loss.backward()
        self.critic_optimiser.step()
        parts = {"value": value_loss.item()}
        if with_policy:
            parts |= self._update_policy(some)
        return parts

    def _plan(self, some: TaughtSteps) -> tuple[Outputs | Intention, Tensor]:
        """What the policy would do now, and how far that is from what the demonstrator would."""
        observation = some.batch.observation
        with autocast(self.device, self.config.bfloat16):
            if self.planning is not None:
                speed_mps = torch.from_numpy(observation.ego_history[:, -1, 0]).to(self.device)
                plans = self.planning.plans(some.situation.to(self.device), speed_mps)
                losses = [plan_loss(plan, some.batch.labels, self.imitation) for plan in plans]
                return self.planning.agreed(plans, speed_mps), torch.stack(losses).mean()
            inputs = inputs_from(observation, some.batch.rig, self.device)
            outputs, _ = self.network(inputs, some.memory.to(self.device), some.memory_valid.to(self.device))
        return outputs, loss_parts(outputs, some.batch, self.imitation)["total"]

    def _update_policy(self, some: TaughtSteps) -> dict[str, float]:
        plan, imitation = self._plan(some)
        log_probability = (
            policy_of(plan, some.leaning, self.config).log_prob(some.action.to(self.device)).sum(-1)
        )
        log_ratio = log_probability - some.log_probability.to(self.device)
        ratio = torch.exp(log_ratio)
        advantage = some.advantage.to(self.device)
        clipped = ratio.clamp(1.0 - self.config.clip, 1.0 + self.config.clip)
        surrogate = -torch.min(ratio * advantage, clipped * advantage).mean()
        self.policy_optimiser.zero_grad()
        (surrogate + self.config.imitation_weight * imitation).backward()
        nn.utils.clip_grad_norm_(self.learning.parameters(), self.config.gradient_norm)
        self.policy_optimiser.step()
        moved = (ratio - 1.0 - log_ratio).mean().detach()
        return {"policy": surrogate.item(), "imitation": imitation.item(), "divergence": moved.item()}


def reinforce(
    config: ReinforcementConfig,
    network: DriverModel,
    rig: CameraRig,
    world: World,
    routes: Callable[[int], Iterator[Route]],
    progress: Progress | None = None,
    partial_state: Path | None = None,
) -> Taught:
    """Let the network learn from `config.samples` steps of driving in `world`; its weights are changed.

    Args:
        routes: of a stage, as many as are asked for; where each vehicle begins and how far it goes.
        progress: called after every round with the samples so far and its figures: km, critical interventions,
            metres per second made good, losses.
        partial_state: where the state is written after each stage but the last. A run that finds it there goes on
            from it, and ends in the same bits as one that was never interrupted.

    Raises:
        ConfigError: the network has no memory, or no planner where only that is to learn; a loss is not finite.
        StorageError: the disk is full.
    """
    if network.memory_width is None:
        raise ConfigError("reinforce: the network has no memory; train one with memory first")
    torch.manual_seed(config.seed)  # of the critic's first weights
    learner = _Learner(config, network)
    a_round = config.vehicles * config.steps
    rounds, a_stage = config.samples // a_round, max(config.stage_samples // a_round, 1)
    recent: list[dict[str, float]] = []
    done = 0 if partial_state is None else learner.resume(partial_state)
    for first in range(done, rounds, a_stage):
        seed = config.seed * 1_000 + first // a_stage
        torch.manual_seed(seed)
        collector = _Collector(config, rig, world, routes(first // a_stage), network.memory_width, seed)
        for number in range(first, min(first + a_stage, rounds)):
            figures = _round(config, learner, collector, number, rounds)
            recent.append(figures)
            if progress is not None:
                progress((number + 1) * a_round, figures)
        if partial_state is not None and first + a_stage < rounds:
            learner.save(partial_state, first + a_stage)
    last = recent[-max(rounds // 10, 1) :]
    names = dict.fromkeys(name for figures in last for name in figures)
    means = {name: float(np.mean([figures[name] for figures in last if name in figures])) for name in names}
    return Taught(network.cpu().eval(), rounds * a_round, means)


def _round(
    config: ReinforcementConfig, learner: _Learner, collector: _Collector, number: int, rounds: int
) -> dict[str, float]:
    """Drive, then learn from it; how both were."""
    learner.network.eval()
    steps = [collector.step(learner.network, learner.critic) for _ in range(config.steps)]
    with torch.no_grad():
        last_value = learner.critic(collector.state.to(learner.device)).cpu()
    taught = end_to_end(steps, advantages_of(steps, last_value, config.discount, config.trace))
    learner.network.train()
    learnt = learner.update(taught, number >= config.critic_warmup, 1.0 - number / rounds)
    figures = driven(steps) | learnt
    if not all(map(math.isfinite, figures.values())):
        raise ConfigError(
            f"reinforce: the loss is not finite in round {number}; lower learning_rate ({config.learning_rate})"
        )
    return figures
