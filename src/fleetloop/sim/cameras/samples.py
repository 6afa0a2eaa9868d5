"""Made-up moments of dense traffic, for benchmarks and tests of the cameras."""

import numpy as np

from fleetloop.core.random import Stream, generator
from fleetloop.core.types import SCENE_AGENTS, AgentKind, LaneKind, Scene, World

_GAP_M = 11.0
_KIND_SHARES = (0.6, 0.1, 0.08, 0.06, 0.07, 0.06, 0.01, 0.01, 0.005, 0.005)
"""By AgentKind."""
_LIGHT_BITS = 8


def benchmark_scene(world: World, batch: int, seed: int = 0) -> Scene:
    """`batch` moments at random places of the world's towns, each with SCENE_AGENTS road users on the lanes.

    The places are plausible for a camera, the traffic is not: nobody got there by driving.
    """
    random = generator(seed, Stream.SAMPLE)
    scene = Scene(
        town=random.integers(0, len(world.town_first_lane) - 1, batch).astype(np.int32),
        clock_s=random.uniform(0.0, 600.0, batch).astype(np.float32),
        ego_pose=np.zeros((batch, 3), np.float32),
        agent_pose=np.zeros((batch, SCENE_AGENTS, 3), np.float32),
        agent_kind=random.choice(len(_KIND_SHARES), (batch, SCENE_AGENTS), p=_KIND_SHARES).astype(np.uint8),
        agent_colour=random.integers(0, 256, (batch, SCENE_AGENTS), dtype=np.uint8),
        agent_lights=random.integers(0, _LIGHT_BITS, (batch, SCENE_AGENTS), dtype=np.uint8),
    )
    places = {int(town): _places(world, int(town)) for town in np.unique(scene.town)}
    for b in range(batch):
        here = places[int(scene.town[b])]
        ego = here[random.integers(len(here))]
        distance = np.hypot(here[:, 0] - ego[0], here[:, 1] - ego[1])
        nearest = np.argsort(distance, kind="stable")
        others = here[nearest[distance[nearest] > _GAP_M / 2.0][:SCENE_AGENTS]]
        scene.ego_pose[b] = ego
        scene.agent_pose[b, : len(others)] = others
        scene.agent_kind[b, len(others) :] = AgentKind.NONE
    return scene


def _places(world: World, town: int) -> np.ndarray:
    """Poses about _GAP_M apart along all road lanes of a town."""
    lanes = np.arange(world.town_first_lane[town], world.town_first_lane[town + 1])
    indices = []
    for lane in lanes[world.lane_kind[lanes] == LaneKind.ROAD]:
        step = max(round(_GAP_M / float(world.lane_spacing_m[lane])), 1)
        first, count = int(world.lane_first_point[lane]), int(world.lane_point_count[lane])
        indices.append(np.arange(first, first + count, step))
    index = np.concatenate(indices)
    return np.column_stack([world.points[index], world.headings[index]])
