"""Which expert fires where: the weights of a network's experts, by the situation that the vehicle is in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from fleetloop.core.checks import check_at_least
from fleetloop.core.types import EGO, STEP_S, CameraRig, World
from fleetloop.policy.export import TorchDriver
from fleetloop.policy.inside import gates_of
from fleetloop.policy.network import InspectableNetwork
from fleetloop.safety.limits import SafetyLayer
from fleetloop.sim.roads.generate import LEFT_HAND_PREFIX
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import make_routes

_TURN_RAD, _STANDING_MPS, _CELL, _NAME_PX, _HEAD_PX = 0.6, 0.5, 44, 190, 44
_DARK, _WET = 0.9, 0.1
_PASSES: tuple[tuple[float | None, bool], ...] = ((None, False), (0.0, False), (None, True))
"""Hour and rain of the drives, one after the other: as it comes, by night, and in rain."""


@dataclass(frozen=True)
class ExpertMapConfig:
    """How much is driven for the map."""

    steps: int = 300
    """Of 0.1 s, in each of three drives: as it comes, by night, and in rain."""
    vehicles: int = 2
    """In each town."""
    agents: int = 20
    variety: float = 0.5

    def __post_init__(self) -> None:
        check_at_least("experts", self, ("steps", "vehicles", "agents"))


@dataclass
class ExpertMap:
    """Mean weights of experts, by situation."""

    totals: dict[str, Float[np.ndarray, "blocks experts"]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    """Steps of vehicles seen in each situation."""

    def add(
        self, situation: str, rows: Bool[np.ndarray, " W"], gates: Float[np.ndarray, "W blocks experts"]
    ) -> None:
        """Count the vehicles in `rows` as being in a situation."""
        if rows.any():
            self.totals[situation] = self.totals.get(situation, 0.0) + gates[rows].sum(axis=0)
            self.counts[situation] = self.counts.get(situation, 0) + int(rows.sum())

    @property
    def shares(self) -> dict[str, Float[np.ndarray, "blocks experts"]]:
        """Mean weight of each expert of each block; those of a block add up to 1."""
        return {name: total / self.counts[name] for name, total in self.totals.items()}

    def to_json(self) -> dict[str, Any]:
        """Shares and counts as plain values."""
        return {
            name: {"steps": self.counts[name], "shares": share.round(4).tolist()}
            for name, share in self.shares.items()
        }


def map_experts(
    network: InspectableNetwork,
    world: World,
    towns: Sequence[str],
    rig: CameraRig,
    config: ExpertMapConfig,
    seed: int,
    progress: Callable[[float], None] | None = None,
) -> ExpertMap:
    """Let the network drive in `towns` under the safety driver, and see whom it asks in which situation.

    A vehicle is in several situations at once: its kind of town, the side of the road, day or night or rain, and what
    it does. Steps that the safety driver drove count too, for the network is asked all the same.

    Raises:
        MapError: no vehicle can be placed in these towns.
    """
    found, count = ExpertMap(), config.vehicles * len(towns)
    for number, (hour, rain) in enumerate(_PASSES):
        routes = make_routes(seed, range(len(towns)), 10**6, 1e6)
        rollout = Rollout(world, routes, count, config.agents, hour, rain)
        driver, layer = TorchDriver(network, rig, count), SafetyLayer(count, STEP_S)
        for step in range(config.steps):
            rollout.decide()
            observation = rollout.observe(rig, config.variety)
            with gates_of(network) as gates:
                plan = driver.plan(observation)
            weights = np.stack([gate.numpy() for gate in gates], axis=1).astype(np.float64)
            looks = rollout.appearance(config.variety)
            for name, rows in _situations(rollout, towns, observation.navigation, looks).items():
                found.add(name, rows & rollout.active, weights)
            controls = layer.limit(plan, rollout.state.speed[:, EGO])
            done = rollout.step(controls.curvature_1pm, controls.acceleration_mps2)
            layer.remember(done.curvature, done.acceleration, done.ended)
            if done.ended.any():
                driver.reset(done.ended)
            if progress is not None:
                progress((number + (step + 1) / config.steps) / len(_PASSES))
    return found


def _situations(
    rollout: Rollout, towns: Sequence[str], navigation: np.ndarray, looks: Any
) -> dict[str, Bool[np.ndarray, " W"]]:
    """Who is in which situation."""
    state = rollout.state
    kinds = np.array([town.rsplit("-", 1)[0].removeprefix(LEFT_HAND_PREFIX) for town in towns])[state.town]
    left_hand = rollout.world.town_left_hand[state.town] == 1
    dark, wet = looks.darkness > _DARK, looks.rain > _WET
    crossing, angle = navigation[:, 0] <= 0.0, navigation[:, 1]
    standing = state.speed[:, EGO] < _STANDING_MPS
    moving = ~standing
    situations = {kind: kinds == kind for kind in sorted(set(kinds.tolist()))}
    return situations | {
        "drives on the right": ~left_hand,
        "drives on the left": left_hand,
        "day, dry": ~dark & ~wet,
        "night": dark,
        "rain": wet,
        "standing": standing,
        "on the road": moving & ~crossing,
        "junction, straight": moving & crossing & (np.abs(angle) < _TURN_RAD),
        "junction, left": moving & crossing & (angle >= _TURN_RAD),
        "junction, right": moving & crossing & (angle <= -_TURN_RAD),
    }


def expert_picture(found: ExpertMap) -> UInt8[np.ndarray, "height width 3"]:
    """A heat map: a row for each situation, a column for each expert, block by block; brighter is more weight."""
    shares = found.shares
    blocks, experts = next(iter(shares.values())).shape
    width = _NAME_PX + blocks * (experts * _CELL + 16)
    picture = Image.new("RGB", (width, _HEAD_PX + 26 * len(shares) + 8), (18, 18, 20))
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=13)
    for block in range(blocks):
        left = _NAME_PX + block * (experts * _CELL + 16)
        pen.text((left, 4), f"block {block + 1}", fill=(235, 235, 235), font=font)
        for expert in range(experts):
            pen.text((left + expert * _CELL + 14, 22), str(expert + 1), fill=(150, 150, 156), font=font)
            for row, share in enumerate(shares.values()):
                value = float(np.nan_to_num(share[block, expert]))
                x, y = left + expert * _CELL, _HEAD_PX + 26 * row
                colour = tuple(
                    round(a + (b - a) * value) for a, b in zip((28, 30, 44), (250, 190, 60), strict=True)
                )
                pen.rectangle((x, y, x + _CELL - 2, y + 24), fill=colour)
                text = (18, 18, 20) if value > 0.5 else (225, 225, 225)
                pen.text((x + 6, y + 4), f"{value:.0%}", fill=text, font=font)
    for row, name in enumerate(shares):
        pen.text((8, _HEAD_PX + 26 * row + 4), name, fill=(235, 235, 235), font=font)
    return np.asarray(picture)
