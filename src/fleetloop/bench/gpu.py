"""Camera frames and agent-steps per second on a GPU, where state and pictures stay."""

from collections.abc import Callable

import numpy as np

from fleetloop.bench.cameras import CamerasSize, dense_moments
from fleetloop.bench.measure import Measurement, median_of, time_repeats
from fleetloop.bench.traffic import TrafficSize
from fleetloop.core.types import AgentKind, World
from fleetloop.sim.cameras import appearances, equal_rig
from fleetloop.sim.gpu import GpuCameras, GpuWorlds, Rasteriser
from fleetloop.sim.gpu.arrays import cuda, on_gpu
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import make_routes

GPU_WORLDS = 1024
"""Pictures of so many worlds at once keep a large GPU busy."""
GPU_TRAFFIC_WORLDS = 8192


def _gpu_name() -> str:
    """The simulator has none."""
    name = getattr(cuda.gpus[0], "name", "simulator")
    return name.decode() if isinstance(name, bytes) else str(name)


def _until_done(work: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        work()
        cuda.synchronize()

    return run


def measure_gpu_cameras(name: str, world: World, size: CamerasSize) -> Measurement:
    """As `measure_cameras`, on the GPU, for both ways to share pictures out among threads; the faster is the value."""
    rig = equal_rig(size.width, size.height)
    looks = on_gpu(appearances(np.arange(size.worlds, dtype=np.uint64), 1.0))
    moments = [on_gpu(scene) for scene in dense_moments(world, size.worlds)]
    cameras = GpuCameras(world, on_gpu(world), rig, size.worlds)
    frames = size.renders * size.worlds * len(rig.cameras)
    measured: dict[str, Measurement] = {}
    for rasteriser in Rasteriser:

        def work(rasteriser: Rasteriser = rasteriser) -> None:
            for number in range(size.renders):
                cameras.render(moments[number % len(moments)], looks, rasteriser)

        seconds = time_repeats(f"{name}, {rasteriser.value}", _until_done(work), size.repeats)
        rates = [frames / taken for taken in seconds]
        measured[rasteriser.value] = median_of(name, rates, "camera frames/s", "")
    best = max(measured, key=lambda key: measured[key].value)
    batch = f"{size.worlds} worlds x {len(rig.cameras)} cameras"
    designs = ", ".join(f"{key} {found.value:,.0f}" for key, found in measured.items())
    return Measurement(
        name,
        measured[best].value,
        "camera frames/s",
        {
            **measured[best].details,
            "note": f"{size.width}x{size.height}, {batch}, full scene, {_gpu_name()}; by design: {designs}",
            "rasterisers": {key: found.value for key, found in measured.items()},
            "gpu": _gpu_name(),
            "worlds": size.worlds,
            "frames_per_repeat": frames,
        },
    )


def measure_gpu_traffic(name: str, world: World, size: TrafficSize) -> Measurement:
    """As `measure_traffic`, on the GPU; road users are counted once a repeat."""
    towns = range(len(world.town_first_lane) - 1)
    rollout = Rollout(world, make_routes(0, towns, size.worlds, 1e9), size.worlds, size.agents)
    worlds = GpuWorlds(world, rollout.state)
    present: list[int] = []

    def run(steps: int) -> None:
        present.append(int(np.count_nonzero(worlds.state_on_host().kind != AgentKind.NONE)))
        for _ in range(steps):
            worlds.decide()
            worlds.follow_teaching()
            worlds.advance()
        cuda.synchronize()

    run(size.settle_steps)
    seconds = time_repeats(name, lambda: run(size.steps), size.repeats)
    counts = present[-len(seconds) :]
    rates = [count * size.steps / taken for count, taken in zip(counts, seconds, strict=True)]
    mean = sum(counts) / (len(counts) * size.worlds)
    return median_of(
        name,
        rates,
        "agent-steps/s",
        f"{size.worlds} worlds with {mean:.0f} of {size.agents} road users, decisions and motion, "
        f"no safety driver, no cameras, {_gpu_name()}",
        worlds=size.worlds,
        agents=size.agents,
        agents_present=mean,
        steps_per_repeat=size.steps,
        gpu=_gpu_name(),
    )
