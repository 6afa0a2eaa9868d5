"""What recording costs, and what a killed recorder loses."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fleetloop.artifacts.episode import Driver, EpisodeMetadata, EpisodeStep
from fleetloop.artifacts.episode_writer import EpisodeWriter
from fleetloop.bench.killed_writer import seconds_lost
from fleetloop.bench.measure import REPEATS, Measurement, median_of, readable
from fleetloop.core.scene import pack_scenes
from fleetloop.core.types import EGO, CameraRig, World
from fleetloop.progress import stage
from fleetloop.sim.cameras import equal_rig
from fleetloop.sim.rollout import Rollout
from fleetloop.sim.routes import make_routes

RATE_HZ = 20


@dataclass(frozen=True)
class RecordingSize:
    """How much is recorded."""

    width: int = 96
    height: int = 64
    seconds: int = 45
    """Recorded time in a repeat."""
    kill_after: tuple[int, ...] = (41, 47, 55, 58, 66)
    """Steps written before each kill: at different times since the last whole second."""
    different_steps: int = 100
    """Moments that are recorded, in turn."""
    repeats: int = REPEATS


def driven_steps(world: World, rig: CameraRig, count: int) -> list[EpisodeStep]:
    """The first steps of a drive by the demonstrator in town 0, with all cameras."""
    rollout = Rollout(world, make_routes(0, [0], 10**6, 1e6), worlds=1)
    steps = []
    for number in range(count):
        rollout.decide()
        observation = rollout.observe(rig, 0.5)
        plan, history = rollout.teaching.plan(), observation.ego_history[0]
        steps.append(
            EpisodeStep(
                timestamp_ns=number,
                ego_pose=rollout.state.pose[0, EGO].copy(),
                speed_mps=float(history[-1, 0]),
                acceleration_mps2=float(history[-1, 1]),
                curvature_1pm=float(history[-1, 2]),
                control_curvature_1pm=float(plan.curvature_1pm[0]),
                control_acceleration_mps2=float(plan.acceleration_mps2[0]),
                driver=Driver.DEMONSTRATOR,
                plan_curvature_1pm=float(plan.curvature_1pm[0]),
                plan_acceleration_mps2=float(plan.acceleration_mps2[0]),
                plan_poses=plan.poses_in_ego[0],
                plan_spread_m=float(plan.spread_m[0]),
                ego_history=history,
                navigation=observation.navigation[0],
                time_of_day_h=float(observation.time_of_day_h[0]),
                scene=pack_scenes(rollout.scene)[0].tobytes(),
                teacher=None,
                images=tuple(images[0] for images in observation.images),
            )
        )
        rollout.step(plan.curvature_1pm, plan.acceleration_mps2)
    return steps


def at_rate(steps: Sequence[EpisodeStep], count: int) -> list[EpisodeStep]:
    """`count` steps at RATE_HZ, the given ones over and over."""
    interval_ns = 1_000_000_000 // RATE_HZ
    return [replace(steps[i % len(steps)], timestamp_ns=(i + 1) * interval_ns) for i in range(count)]


def measure_recording(name: str, world: World, size: RecordingSize) -> Measurement:
    """Processor time over recorded time, of all threads; and the worst loss of a few kills.

    Timed is all of `EpisodeWriter`: JPEG, messages, chunks, the file. The killed writers record as fast as
    they can; their loss is in recorded seconds, and what the kernel holds is not lost with the process.
    """
    rig = equal_rig(size.width, size.height)
    metadata = EpisodeMetadata("bench", "", "bench", 0, 0, Driver.DEMONSTRATOR, rig, ())
    moments = driven_steps(world, rig, size.different_steps)
    steps = at_rate(moments, size.seconds * RATE_HZ)
    shares: list[float] = []
    lost: list[float] = []
    bytes_written = 0
    with tempfile.TemporaryDirectory() as folder, stage(name) as progress:
        for repeat in range(size.repeats + 1):
            path = Path(folder) / f"{repeat}.mcap"
            started = time.process_time()
            with EpisodeWriter(path, metadata) as writer:
                for step in steps:
                    writer.write_step(step)
            shares.append(100.0 * (time.process_time() - started) / size.seconds)
            bytes_written = path.stat().st_size
            path.unlink()
            progress((repeat + 1) / (size.repeats + 1 + len(size.kill_after)))
        for number, kill_after in enumerate(size.kill_after):
            path = Path(folder) / f"killed-{number}.mcap"
            lost.append(seconds_lost(path, metadata, at_rate(moments, 4 * kill_after), kill_after))
            progress((size.repeats + 2 + number) / (size.repeats + 1 + len(size.kill_after)))
    worst = max(lost, default=0.0)
    return median_of(
        name,
        shares[1:],  # the first warms up
        "% of one core",
        f"{len(rig.cameras)} cameras x {RATE_HZ} Hz at {size.width}x{size.height}; "
        f"{readable(worst)} s lost at kill -9, the worst of {len(lost)}",
        cameras=len(rig.cameras),
        rate_hz=RATE_HZ,
        width=size.width,
        height=size.height,
        recorded_s_per_repeat=size.seconds,
        megabytes_per_s=bytes_written / size.seconds / 1e6,
        lost_s=worst,
        lost_s_of_each_kill=lost,
    )
