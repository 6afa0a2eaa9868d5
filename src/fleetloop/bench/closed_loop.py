"""Vehicle-steps per second in closed loop: cameras, network, safety layer, safety driver, traffic."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fleetloop.bench.measure import REPEATS, Measurement, core_count, median_of, time_repeats
from fleetloop.core.types import EGO, STEP_S, Observation, World
from fleetloop.policy.network import AnyNetwork, NetworkConfig
from fleetloop.policy.quantize import quantize_onnx
from fleetloop.policy.runtime import OnnxDriver
from fleetloop.presets import preset_named
from fleetloop.safety.limits import SafetyLayer
from fleetloop.sim.cameras import DEFAULT_RIG
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import make_routes
from fleetloop.stages.judging import untrained_network


@dataclass(frozen=True)
class ClosedLoopSize:
    """How much is driven."""

    vehicles: int = 64
    agents: int = 20
    route_m: float = 400.0
    steps: int = 40
    """In a repeat, of every vehicle."""
    repeats: int = REPEATS


def onnx_driver(
    config: AnyNetwork, vehicles: int, threads: int, calibration: Sequence[Observation] = ()
) -> tuple[OnnxDriver, int]:
    """A network with fresh weights, as a vehicle runs it: poor decisions, at the same cost. And its bytes.

    Args:
        calibration: with any, the network is in 8-bit integers.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        untrained_network(path, replace(preset_named("laptop"), network=config), seed=0)
        if calibration:
            quantize_onnx(path, path, DEFAULT_RIG, calibration)
        return OnnxDriver(path, DEFAULT_RIG, vehicles, threads), path.stat().st_size


def measure_closed_loop(name: str, world: World, size: ClosedLoopSize) -> Measurement:
    """Steps of vehicles that see, decide and are driven; all of a drive but recording."""
    threads = core_count()
    driver, _ = onnx_driver(NetworkConfig(), size.vehicles, threads)
    towns = range(len(world.town_first_lane) - 1)
    routes = make_routes(0, towns, 10**9, size.route_m)
    rollout = Rollout(world, routes, size.vehicles, size.agents)
    safety_layer = SafetyLayer(size.vehicles, STEP_S)

    def work() -> None:
        for _ in range(size.steps):
            rollout.decide()
            plan = driver.plan(rollout.observe(DEFAULT_RIG, 0.5))
            controls = safety_layer.limit(plan, rollout.state.speed[:, EGO])
            step = rollout.step(controls.curvature_1pm, controls.acceleration_mps2)
            safety_layer.remember(step.curvature, step.acceleration, step.ended)
            if step.ended.any():
                driver.reset(step.ended)

    seconds = time_repeats(name, work, size.repeats)
    note = (
        f"{size.vehicles} vehicles, {len(DEFAULT_RIG.cameras)} cameras of the default rig, tiny network, "
        "safety layer and safety driver, all cores"
    )
    return median_of(
        name,
        [size.vehicles * size.steps / taken for taken in seconds],
        "vehicle-steps/s",
        note,
        vehicles=size.vehicles,
        agents=size.agents,
        cameras=len(DEFAULT_RIG.cameras),
        network="tiny, untrained weights",
        steps_per_repeat=size.steps,
        onnxruntime_threads=threads,
    )
