"""Proximal policy optimisation in one file, in the manner of CleanRL: learn to drive from the state of the world.

    pip install 'fleetloop[environments]'
    python examples/ppo.py --seconds 60

PPO: Schulman et al., "Proximal Policy Optimization Algorithms" (2017); advantages: Schulman et al., "High-Dimensional
Continuous Control Using Generalized Advantage Estimation" (2016).
"""

import argparse
import os
import time
from dataclasses import dataclass

# Before PyTorch is imported: threads that wait shall not keep those that work from the cores (ten times slower).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from fleetloop.sim.environments import DrivingVectorEnv, EnvironmentConfig


@dataclass(frozen=True)
class Settings:
    """How long and how to learn; the defaults suit two cores of a CPU."""

    seconds: float = 60.0
    steps: int = 64
    """Of every learner between two updates."""
    epochs: int = 4
    minibatches: int = 8
    learning_rate: float = 5e-4
    discount: float = 0.98
    """A step is 0.1 s: five seconds count."""
    trace: float = 0.95
    """The lambda of generalised advantage estimation."""
    clip: float = 0.2
    value_weight: float = 0.5
    entropy_weight: float = 0.0
    largest_gradient: float = 0.5
    reward_scale: float = 0.1
    seed: int = 1


class Driver(nn.Module):
    """Actor and critic, apart; the actions' spread does not depend on what is seen."""

    def __init__(self, fields: int, actions: int, width: int = 128) -> None:
        super().__init__()

        def network(outputs: int, gain: float) -> nn.Sequential:
            layers = [nn.Linear(fields, width), nn.Linear(width, width), nn.Linear(width, outputs)]
            for layer, scale in zip(layers, (2**0.5, 2**0.5, gain), strict=True):
                nn.init.orthogonal_(layer.weight, scale)
                nn.init.zeros_(layer.bias)
            return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])

        self.mean, self.critic = network(actions, 0.01), network(1, 1.0)
        self.log_spread = nn.Parameter(torch.full((actions,), -0.7))

    def policy(self, seen: Tensor) -> Normal:
        """The distribution of actions."""
        mean = self.mean(seen)
        return Normal(mean, self.log_spread.exp().expand_as(mean))

    def value(self, seen: Tensor) -> Tensor:
        """Expected discounted return."""
        return self.critic(seen).squeeze(-1)


@dataclass
class Batch:
    """What `steps` steps of all learners brought; [steps, learners, ...]."""

    seen: Tensor
    actions: Tensor
    log_probability: Tensor
    rewards: Tensor
    ended: Tensor
    values: Tensor
    returns: list[float]
    """Metres (less penalties) of the episodes that ended."""
    episode_s: list[float]


class Collector:
    """Drives, and remembers where it stopped."""

    def __init__(self, environment: DrivingVectorEnv, settings: Settings) -> None:
        self.environment, self.settings = environment, settings
        self.seen = torch.from_numpy(environment.reset(seed=settings.seed)[0])
        self.earned, self.driven = np.zeros(environment.num_envs), np.zeros(environment.num_envs)

    @torch.no_grad()
    def collect(self, driver: Driver) -> Batch:
        """Drive with the present network."""
        settings, learners = self.settings, self.environment.num_envs
        kept: dict[str, list[Tensor]] = {
            name: [] for name in ("seen", "actions", "log_probability", "values")
        }
        rewards, ended, returns, episode_s = [], [], [], []
        for _ in range(settings.steps):
            policy = driver.policy(self.seen)
            actions = policy.sample()
            kept["seen"].append(self.seen)
            kept["actions"].append(actions)
            kept["log_probability"].append(policy.log_prob(actions).sum(-1))
            kept["values"].append(driver.value(self.seen))
            seen, reward, terminated, truncated, infos = self.environment.step(actions.numpy())
            self.earned += reward
            self.driven += 0.1
            gained = torch.from_numpy(reward * settings.reward_scale).float()
            if truncated.any():
                # An episode that was cut off would have gone on: its last value stands for the rest.
                last = torch.from_numpy(np.stack(infos["final_obs"][truncated]))
                gained[torch.from_numpy(truncated)] += settings.discount * driver.value(last)
            over = terminated | truncated
            returns += self.earned[over].tolist()
            episode_s += self.driven[over].tolist()
            self.earned[over] = self.driven[over] = 0.0
            rewards.append(gained)
            ended.append(torch.from_numpy(over).float())
            self.seen = torch.from_numpy(seen)
        kept["values"].append(driver.value(self.seen))
        assert kept["seen"][0].shape[0] == learners
        stacked = {name: torch.stack(parts) for name, parts in kept.items()}
        return Batch(
            **stacked,
            rewards=torch.stack(rewards),
            ended=torch.stack(ended),
            returns=returns,
            episode_s=episode_s,
        )


def advantages_of(batch: Batch, settings: Settings) -> Tensor:
    """Generalised advantage estimation, backwards in time."""
    advantages = torch.zeros_like(batch.rewards)
    following = torch.zeros_like(batch.rewards[0])
    for step in reversed(range(settings.steps)):
        goes_on = 1.0 - batch.ended[step]
        surprise = (
            batch.rewards[step] + settings.discount * goes_on * batch.values[step + 1] - batch.values[step]
        )
        following = surprise + settings.discount * settings.trace * goes_on * following
        advantages[step] = following
    return advantages


def update(driver: Driver, optimiser: torch.optim.Optimizer, batch: Batch, settings: Settings) -> None:
    """Several passes over a batch."""
    advantages = advantages_of(batch, settings)
    targets = (advantages + batch.values[:-1]).flatten()
    advantages = advantages.flatten()
    seen, actions = batch.seen.flatten(0, 1), batch.actions.flatten(0, 1)
    old = batch.log_probability.flatten()
    for _ in range(settings.epochs):
        for rows in torch.randperm(len(seen)).chunk(settings.minibatches):
            policy = driver.policy(seen[rows])
            ratio = (policy.log_prob(actions[rows]).sum(-1) - old[rows]).exp()
            advantage = advantages[rows]
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            clipped = ratio.clamp(1.0 - settings.clip, 1.0 + settings.clip)
            policy_loss = -torch.min(ratio * advantage, clipped * advantage).mean()
            value_loss = 0.5 * (driver.value(seen[rows]) - targets[rows]).square().mean()
            entropy = policy.entropy().sum(-1).mean()
            loss = policy_loss + settings.value_weight * value_loss - settings.entropy_weight * entropy
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(driver.parameters(), settings.largest_gradient)
            optimiser.step()


def train(environment: DrivingVectorEnv, settings: Settings) -> tuple[Driver, list[float]]:
    """Learn for `settings.seconds`; returns the network and each update's mean return of episodes, in metres."""
    torch.manual_seed(settings.seed)
    # Networks this small lose more by starting threads than they gain.
    torch.set_num_threads(1)
    seen, acts = environment.single_observation_space.shape, environment.single_action_space.shape
    assert seen is not None and acts is not None, "this learns from the state alone"
    driver = Driver(seen[0], acts[0])
    optimiser = torch.optim.Adam(driver.parameters(), lr=settings.learning_rate, eps=1e-5)
    # The first run on a machine compiles the world's kernels, which takes a minute or two: before the clock starts.
    environment.reset(seed=settings.seed)
    environment.step(np.zeros((environment.num_envs, *acts), np.float32))
    collector, history, steps = Collector(environment, settings), [], 0
    started = said = time.perf_counter()
    while (passed := time.perf_counter() - started) < settings.seconds:
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * (1.0 - passed / settings.seconds)
        batch = collector.collect(driver)
        update(driver, optimiser, batch, settings)
        steps += settings.steps * environment.num_envs
        if batch.returns:
            history.append(float(np.mean(batch.returns)))
        now = time.perf_counter()
        if batch.returns and now - said > settings.seconds / 20.0:
            said, pace = now, steps / (now - started)
            print(
                f"{now - started:5.0f} s {steps:9,d} steps ({pace:,.0f}/s)  return {history[-1]:7.1f} m  "
                f"episode {np.mean(batch.episode_s):5.1f} s",
                flush=True,
            )
    return driver, history


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--learners", type=int, default=64)
    parser.add_argument("--towns", nargs="+", default=["grid-0"])
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    environment = DrivingVectorEnv(
        arguments.learners, arguments.towns, EnvironmentConfig(agents=16, episode_steps=300)
    )
    _, history = train(environment, Settings(seconds=arguments.seconds, seed=arguments.seed))
    few = max(len(history) // 10, 1)
    print(f"return at first {np.mean(history[:few]):.1f} m, at last {np.mean(history[-few:]):.1f} m")


if __name__ == "__main__":
    main()
