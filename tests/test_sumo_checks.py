"""Our traffic against SUMO on the same networks, with the same drivers."""

from pathlib import Path

import numpy as np
import pytest

from fleetloop.bench.queue_discharge import (
    QueueSize,
    discharge,
    measure_queue_discharge,
    signal_network,
    sumo_passings,
    way_through,
)
from fleetloop.bench.ring_road import RingSize, lanes_around, measure_ring_road, our_speed, ring_network
from fleetloop.bench.sumo_runs import OurTraffic, cars_at_rest, drivers, run_sumo
from fleetloop.core.types import LaneKind
from fleetloop.sim.roads import TownLibrary
from toy_world import toy_world

RING = RingSize(cars=(12, 60), seeds=(1, 2), settle_s=90.0, measure_s=60.0)
QUEUE = QueueSize(cars=12, seeds=(1, 2, 3), red_s=30.0, green_s=45.0)


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> tuple[TownLibrary, str, Path]:
    folder = tmp_path_factory.mktemp("ring")
    network = ring_network(folder, RING.length_m, RING.limit_mps)
    library = TownLibrary(folder / "towns")
    return library, library.add_file(network), network


def test_flow_over_density_is_sumos() -> None:
    measurement = measure_ring_road("ring-road", RING)
    assert measurement.value < 2.0, measurement.details["diagram"]
    sparse, dense = measurement.details["diagram"]
    assert sparse["speed_mps"] > dense["speed_mps"] and sparse["flow_per_h"] < dense["flow_per_h"]
    assert sparse["density_per_km"] == pytest.approx(12.0, rel=0.01)


def test_a_queue_leaves_a_signal_as_sumos_does() -> None:
    measurement = measure_queue_discharge("queue-discharge", QUEUE)
    ours, theirs = measurement.details["ours"], measurement.details["sumo"]
    assert measurement.value < 2.0, measurement.details
    assert abs(ours["lost_time_s"] - theirs["lost_time_s"]) < 0.5
    assert 1200.0 < ours["saturation_flow_per_h"] < 2400.0


def test_cars_on_the_ring_never_touch_and_none_is_lost(ring: tuple[TownLibrary, str, Path]) -> None:
    library, key, _ = ring
    world = library.world([key])
    path = lanes_around(world)
    length = float(world.lane_length_m[path].sum())
    assert length == pytest.approx(RING.length_m, rel=0.002)
    count = 100
    state = cars_at_rest(world, (3,), path, np.arange(count) * length / count, endless=True)
    traffic = OurTraffic(world, state)
    for _ in range(60):
        traffic.run(10)
        assert (traffic.decision.lead_gap_m > 0.0).all() and (traffic.decision.lead_gap_m < 100.0).all()
    assert (state.odometer_m > 1.0).all() and (state.kind == 0).all()


def test_speeds_do_not_depend_on_who_else_is_in_the_batch(ring: tuple[TownLibrary, str, Path]) -> None:
    library, key, _ = ring
    world = library.world([key])
    both, _ = our_speed(world, 20, RingSize(seeds=(5, 6), settle_s=20.0, measure_s=20.0))
    alone, _ = our_speed(world, 20, RingSize(seeds=(6,), settle_s=20.0, measure_s=20.0))
    assert both[1] == alone[0]


def test_discharge_of_a_known_queue() -> None:
    headways = np.array([3.0, 2.5, 2.25, 2.25, 2.0, 2.0, 2.0])
    found = discharge(np.cumsum(np.stack([headways, headways]), axis=1))
    assert found.saturation_flow_per_h == pytest.approx(1800.0)
    assert found.lost_time_s == pytest.approx(2.0)


def test_the_way_through_the_signal_is_found(tmp_path: Path) -> None:
    network = signal_network(tmp_path, QUEUE)
    library = TownLibrary(tmp_path / "towns")
    world = library.world([library.add_file(network)])
    lane_in, over, out = way_through(world)
    assert world.lane_kind[lane_in] == world.lane_kind[out] == LaneKind.ROAD
    assert world.lane_kind[over] != LaneKind.ROAD and world.lane_signal[over] >= 0
    passed = sumo_passings(network, 1, QUEUE)
    assert (np.diff(passed) > 0.0).all() and passed[0] > 0.0


def test_drivers_differ_within_their_limits() -> None:
    population = drivers(1, 200)
    assert population[:50] == drivers(1, 50)
    assert 0.75 <= min(driver.speed_factor for driver in population) < 0.77
    assert 0.98 < max(driver.speed_factor for driver in population) <= 1.0
    assert len({driver.headway_s for driver in population}) > 190


def test_a_town_with_junctions_is_no_ring() -> None:
    with pytest.raises(ValueError, match="successors; it must have one"):
        lanes_around(toy_world())


def test_a_network_that_sumo_refuses_is_told(tmp_path: Path) -> None:
    network = tmp_path / "none.net.xml"
    network.write_text("<net/>")
    with pytest.raises(RuntimeError, match=r"none\.net\.xml"):
        run_sumo(network, '<route id="r" edges="nowhere"/>', 1.0)
