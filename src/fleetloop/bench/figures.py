"""The table of figures: the name of each and how it is measured at full size."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from fleetloop.bench.cameras import CamerasSize, measure_cameras
from fleetloop.bench.closed_loop import ClosedLoopSize, measure_closed_loop
from fleetloop.bench.demonstrator import measure_demonstrator
from fleetloop.bench.gpu import GPU_TRAFFIC_WORLDS, GPU_WORLDS, measure_gpu_cameras, measure_gpu_traffic
from fleetloop.bench.measure import Measurement
from fleetloop.bench.memory import measure_memory
from fleetloop.bench.peers import PeersSize, measure_peers
from fleetloop.bench.picture_geometry import GeometrySize, measure_picture_geometry
from fleetloop.bench.queue_discharge import QueueSize, measure_queue_discharge
from fleetloop.bench.recording import RecordingSize, measure_recording
from fleetloop.bench.ring_road import RingSize, measure_ring_road
from fleetloop.bench.traffic import TrafficSize, measure_traffic
from fleetloop.bench.training import TrainingSize, measure_training
from fleetloop.bench.vehicle import VehicleSize, measure_vehicle
from fleetloop.bench.vehicle_model import measure_vehicle_model
from fleetloop.core.types import World
from fleetloop.evaluate.closed_loop import EvaluateConfig
from fleetloop.policy.network import EnsembleConfig, NetworkConfig, NetworkSize
from fleetloop.presets import preset_named
from fleetloop.stages.workspace import Workspace, make_world

TOWNS = ["grid-0", "organic-0", "spider-0"]
"""Where everything but the demonstrator is measured."""
ROUTES, ROUTE_M = 500, 1000.0
"""Of the demonstrator: up to 500 km."""


class Setup:
    """What the figures are measured on, made when it is first asked for."""

    def __init__(self, workspace: Path, routes: int | None = None, towns: Sequence[str] = ()) -> None:
        self.library = Workspace(workspace).library
        self.routes = routes or ROUTES
        self.towns = towns

    def demonstrator_towns(self) -> list[str]:
        """Keys of what the demonstrator drives on; map files are taken in."""
        if not self.towns:
            return preset_named("laptop").evaluation_keys()
        return self.library.keys_of(self.towns)

    @cached_property
    def world(self) -> World:
        """TOWNS."""
        return make_world(self.library, TOWNS)


def _demonstrator(setup: Setup) -> Measurement:
    towns = setup.demonstrator_towns()
    config = EvaluateConfig(routes=setup.routes, route_m=ROUTE_M)
    return measure_demonstrator("demonstrator", make_world(setup.library, towns), towns, config)


def _cameras_large(setup: Setup) -> Measurement:
    size = CamerasSize(width=320, height=192, renders=8)
    return measure_cameras("cameras-320x192", setup.world, size)


def _vehicle_base(setup: Setup) -> Measurement:
    network = NetworkConfig(size=NetworkSize.BASE)
    return measure_vehicle("vehicle-base", setup.world, network, VehicleSize(plans=200))


def _vehicle_int8(setup: Setup) -> Measurement:
    return measure_vehicle("vehicle-int8", setup.world, NetworkConfig(), VehicleSize(), int8=True)


def _vehicle_pair(setup: Setup) -> Measurement:
    pair = EnsembleConfig((NetworkConfig(planner=True),) * 2)
    return measure_vehicle("vehicle-pair", setup.world, pair, VehicleSize())


FIGURES: dict[str, Callable[[Setup], Measurement]] = {
    "cameras": lambda setup: measure_cameras("cameras", setup.world, CamerasSize()),
    "cameras-320x192": _cameras_large,
    "world": lambda setup: measure_traffic("world", setup.world, TrafficSize()),
    "memory": lambda setup: measure_memory("memory", setup.world),
    "closed-loop": lambda setup: measure_closed_loop("closed-loop", setup.world, ClosedLoopSize()),
    "train": lambda setup: measure_training("train", setup.world, TOWNS, TrainingSize()),
    "vehicle": lambda setup: measure_vehicle("vehicle", setup.world, NetworkConfig(), VehicleSize()),
    "vehicle-base": _vehicle_base,
    "vehicle-int8": _vehicle_int8,
    "vehicle-pair": _vehicle_pair,
    "record": lambda setup: measure_recording("record", setup.world, RecordingSize()),
    "demonstrator": _demonstrator,
    "peers": lambda setup: measure_peers("peers", setup.world, PeersSize()),
    "picture-geometry": lambda setup: measure_picture_geometry(
        "picture-geometry", setup.world, GeometrySize()
    ),
    "vehicle-model": lambda setup: measure_vehicle_model("vehicle-model"),
    "ring-road": lambda setup: measure_ring_road("ring-road", RingSize()),
    "queue-discharge": lambda setup: measure_queue_discharge("queue-discharge", QueueSize()),
}

GPU_FIGURES: dict[str, Callable[[Setup], Measurement]] = {
    "cameras": lambda setup: measure_gpu_cameras("cameras", setup.world, CamerasSize(worlds=GPU_WORLDS)),
    "cameras-320x192": lambda setup: measure_gpu_cameras(
        "cameras-320x192", setup.world, CamerasSize(width=320, height=192, worlds=GPU_WORLDS // 4, renders=8)
    ),
    "world": lambda setup: measure_gpu_traffic("world", setup.world, TrafficSize(worlds=GPU_TRAFFIC_WORLDS)),
}
"""Those of the same names, on a GPU."""
