"""Other people's simulators, measured in the same run as ours: MuJoCo's pictures, highway-env's traffic."""

import itertools
import os
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from fleetloop.bench.cameras import CamerasSize, measure_cameras
from fleetloop.bench.measure import Measurement, median_of, readable, time_repeats
from fleetloop.bench.peer import PeerMissingError, peer
from fleetloop.bench.picture_geometry import mujoco_model, mujoco_renderer
from fleetloop.bench.traffic import TrafficSize, measure_traffic
from fleetloop.core.types import VEHICLE_SIZES, Scene, World
from fleetloop.sim.cameras import equal_rig
from fleetloop.sim.cameras.samples import benchmark_scene
from fleetloop.sim.cameras.statics import STATIC_RANGE_M

_KEEP_LANE = 1
"""highway-env's discrete action IDLE."""
_IMPORTS_FIRST = ("SDL_VIDEODRIVER", "dummy")


@dataclass(frozen=True)
class PeersSize:
    """How much is measured."""

    cameras: CamerasSize = field(default_factory=CamerasSize)
    traffic: TrafficSize = field(default_factory=TrafficSize)
    moments: int = 4
    """Scenes that MuJoCo draws."""
    renders: int = 2
    """Of all moments, in a repeat."""
    vehicles: int = 50
    """Other road users in highway-env."""
    decisions: int = 10
    """Of its driver, in a repeat; each is a second of traffic."""
    repeats: int = 5


def boxes_in_view(world: World, scene: Scene, moment: int) -> Float64[np.ndarray, "count 7"]:
    """Centre x, y, z, yaw, half length, width and height of what stands around the learner.

    Static boxes as far as our own cameras draw them, and one box for the body of each road user (ours have many).
    """
    ego = scene.ego_pose[moment].astype(np.float64)
    statics = world.boxes[:, :7].astype(np.float64)
    distance = np.hypot(statics[:, 0] - ego[0], statics[:, 1] - ego[1])
    found = [statics[distance - statics[:, 4:6].max(axis=1) < STATIC_RANGE_M]]
    for kind, pose in zip(scene.agent_kind[moment], scene.agent_pose[moment].astype(np.float64), strict=True):
        if kind < len(VEHICLE_SIZES):
            length, width, height, overhang = VEHICLE_SIZES[kind].astype(np.float64)
            ahead = length / 2.0 - overhang
            x, y = pose[0] + ahead * np.cos(pose[2]), pose[1] + ahead * np.sin(pose[2])
            found.append(np.array([[x, y, height / 2.0, pose[2], length / 2.0, width / 2.0, height / 2.0]]))
    return np.concatenate(found)


def measure_mujoco(name: str, world: World, size: PeersSize) -> Measurement:
    """Frames per second of MuJoCo's renderer, to a NumPy array; without shadows, reflections and anti-aliasing.

    Raises:
        PeerMissingError: MuJoCo or OpenGL cannot be had.
    """
    mujoco = peer("mujoco")
    rig, scene = equal_rig(size.cameras.width, size.cameras.height), benchmark_scene(world, size.moments)
    drawn, boxes = [], 0
    for moment in range(size.moments):
        shown = boxes_in_view(world, scene, moment)
        model = mujoco_model(
            mujoco, shown, rig.cameras, scene.ego_pose[moment].astype(np.float64), ground=True
        )
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        renderer = mujoco_renderer(mujoco, model, size.cameras.width, size.cameras.height)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            renderer.scene.flags[flag] = False
        drawn.append((renderer, data))
        boxes += len(shown)
    picture = np.empty((size.cameras.height, size.cameras.width, 3), np.uint8)

    def work() -> None:
        for (renderer, data), camera in itertools.product(drawn * size.renders, rig.cameras):
            renderer.update_scene(data, camera.name)
            renderer.render(out=picture)

    try:
        seconds = time_repeats(name, work, size.repeats)
    finally:
        for renderer, _ in drawn:
            renderer.close()
    frames = size.renders * size.moments * len(rig.cameras)
    return median_of(
        name,
        [frames / taken for taken in seconds],
        "camera frames/s",
        f"MuJoCo {mujoco.__version__}, {os.environ.get('MUJOCO_GL')}, {boxes / size.moments:.0f} boxes on a plane",
        boxes=boxes / size.moments,
    )


def measure_highway(name: str, size: PeersSize) -> Measurement:
    """Steps of road users per second in highway-env's highway of four lanes; no pictures.

    A decision of its driver is a second of traffic, of 15 steps; every vehicle counts in every step, as with us.

    Raises:
        PeerMissingError: highway-env is not installed.
    """
    os.environ.setdefault(*_IMPORTS_FIRST)
    gymnasium, highway = peer("gymnasium"), peer("highway_env")
    gymnasium.register_envs(highway)
    settings = {"vehicles_count": size.vehicles, "duration": 10**6}
    environment = gymnasium.make("highway-v0", config=settings)
    environment.reset(seed=0)
    plain = environment.unwrapped
    steps = plain.config["simulation_frequency"] // plain.config["policy_frequency"]
    moved: list[int] = []

    def work() -> None:
        agent_steps = 0
        for _ in range(size.decisions):
            agent_steps += steps * len(plain.road.vehicles)
            ended = environment.step(_KEEP_LANE)[2:4]
            if any(ended):
                environment.reset()
        moved.append(agent_steps)

    seconds = time_repeats(name, work, size.repeats)
    environment.close()
    return median_of(
        name,
        [count / taken for count, taken in zip(moved[1:], seconds, strict=True)],
        "agent-steps/s",
        f"highway-env {highway.__version__}, {size.vehicles + 1} road users, no pictures, one core",
    )


def measure_peers(name: str, world: World, size: PeersSize) -> Measurement:
    """How many of our camera frames go into the time of one of MuJoCo's; the details have all figures.

    Without highway-env its figure is left out, and the note says so. MetaDrive is not among the peers: its package
    has to download its assets when it first runs.

    Raises:
        PeerMissingError: MuJoCo or OpenGL cannot be had.
    """
    theirs = measure_mujoco("peers: MuJoCo", world, size)
    ours = measure_cameras("peers: cameras", world, size.cameras)
    traffic = measure_traffic("peers: world", world, size.traffic)
    parts = {"cameras": ours, "mujoco": theirs, "world": traffic}
    try:
        highway = parts["highway_env"] = measure_highway("peers: highway-env", size)
        against = f"against {readable(highway.value)} ({highway.details['note']})"
    except PeerMissingError as error:
        against = f"(not compared: {error})"
    note = (
        f"our {readable(ours.value)} camera frames/s of {size.cameras.width}x{size.cameras.height} over "
        f"{readable(theirs.value)} ({theirs.details['note']}); our {readable(traffic.value)} agent-steps/s in town "
        f"{against}; MetaDrive not measured: it needs assets that it downloads when it first runs"
    )
    details = {key: {"value": part.value, "unit": part.unit, **part.details} for key, part in parts.items()}
    return Measurement(
        name, ours.value / theirs.value, "times MuJoCo's frames/s", {"repeats": 1, "note": note, **details}
    )
