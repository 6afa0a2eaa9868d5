"""Milliseconds from eight frames to a Plan, on one core."""

import time
from dataclasses import dataclass

import numpy as np

from fleetloop.bench.closed_loop import onnx_driver
from fleetloop.bench.measure import REPEATS, Measurement, median_of
from fleetloop.core.types import World
from fleetloop.policy.network import EnsembleConfig, NetworkConfig
from fleetloop.progress import stage
from fleetloop.sim.cameras import DEFAULT_RIG
from fleetloop.stages.releasing import example_observations


@dataclass(frozen=True)
class VehicleSize:
    """How often a vehicle plans."""

    warm_up_plans: int = 50
    plans: int = 500
    """In a repeat; its 99th percentile is what counts."""
    observations: int = 32
    """Different ones, in turn."""
    repeats: int = REPEATS


def measure_vehicle(
    name: str, world: World, network: NetworkConfig | EnsembleConfig, size: VehicleSize, int8: bool = False
) -> Measurement:
    """The 99th percentile of the time one vehicle's network takes, in ONNX Runtime on one thread.

    Timed is all of `OnnxDriver.plan`: checking and cleaning the input, the network, its memory. Cameras are
    not, and neither is the safety layer.
    """
    observations = example_observations(world, DEFAULT_RIG, vehicles=1, steps=size.observations)
    driver, network_bytes = onnx_driver(network, 1, 1, observations if int8 else ())
    percentiles, milliseconds = [], np.empty(size.plans)
    everything = []
    with stage(name) as progress:
        for number in range(size.warm_up_plans):
            driver.plan(observations[number % size.observations])
        for repeat in range(size.repeats):
            for number in range(size.plans):
                observation = observations[number % size.observations]
                started = time.perf_counter_ns()
                driver.plan(observation)
                milliseconds[number] = (time.perf_counter_ns() - started) / 1e6
            percentiles.append(float(np.percentile(milliseconds, 99.0)))
            everything.append(milliseconds.copy())
            progress((repeat + 1) / size.repeats)
    called = _called(network)
    median, longest = float(np.median(everything)), float(np.max(everything))
    return median_of(
        name,
        percentiles,
        "ms",
        f"p99 from eight frames to a Plan, {called}{' in 8-bit integers' if int8 else ''}, "
        f"{network_bytes / 1e6:.3g} MB, one core, batch 1; median {median:.3g} ms",
        network=f"{called}, untrained weights",
        cameras=len(DEFAULT_RIG.cameras),
        plans_per_repeat=size.plans,
        median_ms=median,
        longest_ms=longest,
        network_bytes=network_bytes,
        onnxruntime_threads=1,
    )


def _called(network: NetworkConfig | EnsembleConfig) -> str:
    """What a person calls it."""
    if isinstance(network, EnsembleConfig):
        return " and ".join(map(_called, network.members))
    return f"{network.size} network{' with a planner' if network.planner else ''}"
