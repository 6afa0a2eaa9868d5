"""A few steps of traffic and small pictures, on the CPU and on a GPU.

As a program, with files IN and OUT, it runs what the tests put into IN on what numba.cuda takes for a GPU: under
NUMBA_ENABLE_CUDASIM=1 that is Numba's simulator, where a kernel is Python, and NUMBA_DISABLE_JIT=1 makes the device
functions Python, too. Both variables are read when Numba is imported; hence a process of its own.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from camera_scenes import EGO_X_M, empty_scene, signed_world
from fleetloop.bench.cameras import CamerasSize
from fleetloop.bench.gpu import measure_gpu_cameras, measure_gpu_traffic
from fleetloop.bench.traffic import TrafficSize
from fleetloop.core.types import EGO, AgentKind, Camera, CameraRig, Scene, State
from fleetloop.sim.cameras import Appearance, appearance_of, render
from fleetloop.sim.gpu import GpuCameras, GpuWorlds, Rasteriser
from fleetloop.sim.gpu.arrays import on_gpu
from fleetloop.sim.motion import advance
from fleetloop.sim.rollout import Rollout, touching_all
from fleetloop.sim.routes import make_routes
from fleetloop.sim.safety_driver import watch
from fleetloop.sim.spawn import LEARNER_NEEDED_M
from toy_world import toy_world

WORLDS, AGENTS, STEPS = 3, 8, 4
WEATHERS = ("clear", "night_rain")
RIG = CameraRig(
    groups=(
        (
            Camera("ahead", (1.9, 0.0, 1.4), 0.0, 0.0, 1.6, 20, 13),
            Camera("left", (1.2, 0.9, 1.1), 1.0, 0.0, 1.6, 20, 13),
        ),
        (Camera("narrow", (1.9, 0.0, 1.4), 0.1, 0.05, 0.9, 13, 9),),
    )
)
"""Sizes that neither bands nor tiles divide."""


def start() -> Rollout:
    """Worlds with traffic in them."""
    rollout = Rollout(toy_world(), make_routes(5, [0], WORLDS, 300.0), WORLDS, AGENTS)
    for _ in range(30):
        rollout.decide()
        rollout.step(rollout.teaching.curvature_1pm, rollout.teaching.acceleration_mps2)
    return rollout


def traffic_on_cpu(rollout: Rollout) -> dict[str, np.ndarray]:
    """State after STEPS steps with the demonstrator at the wheel, and what is seen and watched then."""
    world, state = rollout.world, rollout.state
    curvature = np.zeros_like(state.speed)
    for _ in range(STEPS):
        rollout.decide()
        curvature[:, EGO] = rollout.teaching.curvature_1pm
        decision = rollout.decision
        advance(world, state, decision.acceleration, curvature, decision.target_lane, LEARNER_NEEDED_M)
    rollout.decide()
    scene, navigation, hours = rollout.look()
    danger, touched = np.zeros(WORLDS, np.int32), np.zeros(WORLDS, np.int32)
    teaching = rollout.teaching
    watch(world, state, rollout.decision, teaching.curvature_1pm, teaching.acceleration_mps2, danger, EGO)
    touching_all(world, state, touched)
    return _named(state, scene) | {
        "navigation": navigation,
        "hours": hours,
        "danger": danger,
        "touched": touched,
        "poses": teaching.poses,
    }


def traffic_on_gpu(state: State) -> dict[str, np.ndarray]:
    """The same as `traffic_on_cpu`, from a state on the host."""
    worlds = GpuWorlds(toy_world(), state)
    for _ in range(STEPS):
        worlds.decide()
        worlds.follow_teaching()
        worlds.advance()
    worlds.decide()
    worlds.follow_teaching()
    worlds.watch()
    worlds.touch()
    worlds.see()
    found = {name: getattr(worlds, name) for name in ("navigation", "hours", "danger", "touched")}
    named: dict[str, Any] = _named(worlds.state, worlds.scene) | found | {"poses": worlds.teaching.poses}
    return {name: array.copy_to_host() for name, array in named.items()}


def _named(state: State, scene: Scene) -> dict[str, np.ndarray]:
    return state._asdict() | {f"scene_{name}": array for name, array in scene._asdict().items()}


def moment() -> Scene:
    """Two scenes with cars, a truck, somebody on foot and blue lights, among signs, houses and lamps."""
    scene = empty_scene((EGO_X_M, -1.75, 0.0), (54.0, -1.75, 0.1), clock_s=2.3)
    others = (
        (AgentKind.CAR, 9.0, -1.75),
        (AgentKind.EMERGENCY, 14.0, 1.75),
        (AgentKind.PEDESTRIAN, 7.0, -5.0),
        (AgentKind.TRUCK, 25.0, -1.75),
    )
    for b in range(2):
        for i, (kind, ahead, y) in enumerate(others):
            scene.agent_pose[b, i] = scene.ego_pose[b, 0] + ahead, y, 0.2 * i
            scene.agent_kind[b, i], scene.agent_lights[b, i], scene.agent_colour[b, i] = kind, i, i
    return scene


def look(weather: str) -> Appearance:
    """A weather as a camera with every fault sees it."""
    nominal = appearance_of(weather, 2)
    ones = np.ones(2, np.float32)
    return nominal._replace(noise=3.0 * ones, glare=ones, noise_seed=np.array([7, 8], np.uint64))


def pictures_on_cpu(weather: str) -> tuple[np.ndarray, ...]:
    """`moment`, an array for each group of RIG."""
    return render(signed_world(), RIG, moment(), look(weather))


def pictures_on_gpu(weather: str, rasteriser: Rasteriser) -> tuple[np.ndarray, ...]:
    """The same as `pictures_on_cpu`."""
    world = signed_world()
    cameras = GpuCameras(world, on_gpu(world), RIG, 2)
    images = cameras.render(on_gpu(moment()), on_gpu(look(weather)), rasteriser)
    return tuple(image.copy_to_host() for image in images)


def main() -> None:
    """Run everything on the GPU of this process."""
    given = np.load(Path(sys.argv[1]))
    found = traffic_on_gpu(State(*(given[name] for name in State._fields)))
    for weather in WEATHERS:
        for rasteriser in Rasteriser:
            for group, image in enumerate(pictures_on_gpu(weather, rasteriser)):
                found[f"{weather}_{rasteriser.value}_{group}"] = image
    frames = measure_gpu_cameras("cameras", toy_world(), CamerasSize(6, 4, worlds=1, renders=1, repeats=1))
    found["frames_per_s"] = np.array(list(frames.details["rasterisers"].values()))
    size = TrafficSize(worlds=1, agents=2, settle_steps=1, steps=1, repeats=1)
    found["agent_steps_per_s"] = np.array(measure_gpu_traffic("world", toy_world(), size).value)
    np.savez(Path(sys.argv[2]), allow_pickle=False, **found)


if __name__ == "__main__":
    # Random numbers are products that overflow on purpose; interpreted, NumPy warns of that.
    warnings.simplefilter("ignore", RuntimeWarning)
    main()
