"""The GPU's kernels against the CPU's: in Numba's simulator of CUDA, and on a GPU where there is one."""

import gc
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numba import cuda
from numba.core.runtime import nrt

import gpu_runs
from camera_scenes import DISAGREEING_SHARE, GREY_TOLERANCE, nominal, signed_world
from fleetloop.bench.memory import measure_memory
from fleetloop.cli import main
from fleetloop.core.errors import ConfigError
from fleetloop.core.types import EGO
from fleetloop.sim.cameras import equal_rig, image_shapes, render
from fleetloop.sim.cameras.samples import benchmark_scene
from fleetloop.sim.gpu import GpuCameras, GpuWorlds, Rasteriser, require_gpu
from fleetloop.sim.gpu.arrays import on_gpu
from fleetloop.sim.gpu.raster import MOST_ROWS, SHARED_BYTES, rows_of_band
from fleetloop.sim.motion import advance
from toy_world import toy_world

STATE_TOLERANCE = 1e-4
"""Metres, radians, m/s: what float32 and the order of rounding may change in a few steps."""

RUNTIME: Any = nrt
"""Numba's counts of arrays have no types."""

needs_gpu = pytest.mark.skipif(not cuda.is_available(), reason="there is no NVIDIA GPU here")


@pytest.fixture(scope="module")
def traffic() -> tuple[gpu_runs.State, dict[str, np.ndarray]]:
    """A state, and what the CPU makes of it."""
    rollout = gpu_runs.start()
    before = gpu_runs.State(*(array.copy() for array in rollout.state))
    return before, gpu_runs.traffic_on_cpu(rollout)


@pytest.fixture(scope="module")
def simulated(
    traffic: tuple[gpu_runs.State, dict[str, np.ndarray]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, np.ndarray]:
    """What the simulator makes of it."""
    folder = tmp_path_factory.mktemp("gpu")
    np.savez(folder / "in.npz", **traffic[0]._asdict())
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, gpu_runs.__file__, str(folder / "in.npz"), str(folder / "out.npz")]
    subprocess.run(command, env=environment, check=True, timeout=300)
    return dict(np.load(folder / "out.npz"))


def _check_traffic(expected: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> None:
    assert expected["odometer_m"].max() > 1.0 and (expected["kind"] != 255).sum() > 8
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_allclose(
            found[name], array, atol=STATE_TOLERANCE, rtol=STATE_TOLERANCE, err_msg=name
        )


def _check_pictures(weather: str, pictures: Callable[[int], np.ndarray]) -> None:
    for group, expected in enumerate(gpu_runs.pictures_on_cpu(weather)):
        assert expected.std() > 20.0
        wrong = (np.abs(pictures(group).astype(int) - expected) > GREY_TOLERANCE).any(axis=-1)
        assert wrong.mean() < DISAGREEING_SHARE, (weather, group)


def test_simulated_gpu_drives_as_the_cpu(
    traffic: tuple[gpu_runs.State, dict[str, np.ndarray]], simulated: dict[str, np.ndarray]
) -> None:
    _check_traffic(traffic[1], simulated)


@pytest.mark.parametrize("weather", gpu_runs.WEATHERS)
@pytest.mark.parametrize("rasteriser", Rasteriser)
def test_simulated_gpu_draws_as_the_cpu(
    rasteriser: Rasteriser, weather: str, simulated: dict[str, np.ndarray]
) -> None:
    _check_pictures(weather, lambda group: simulated[f"{weather}_{rasteriser.value}_{group}"])


def test_benchmarks_run_on_the_simulated_gpu(simulated: dict[str, np.ndarray]) -> None:
    """What they measure there means nothing."""
    assert simulated["agent_steps_per_s"] > 0.0
    assert (simulated["frames_per_s"] > 0.0).all() and len(simulated["frames_per_s"]) == len(Rasteriser)


@needs_gpu
def test_gpu_drives_as_the_cpu(traffic: tuple[gpu_runs.State, dict[str, np.ndarray]]) -> None:
    _check_traffic(traffic[1], gpu_runs.traffic_on_gpu(traffic[0]))


@needs_gpu
@pytest.mark.parametrize("weather", gpu_runs.WEATHERS)
@pytest.mark.parametrize("rasteriser", Rasteriser)
def test_gpu_draws_as_the_cpu(rasteriser: Rasteriser, weather: str) -> None:
    images = gpu_runs.pictures_on_gpu(weather, rasteriser)
    _check_pictures(weather, lambda group: images[group])


@needs_gpu
def test_torch_shares_the_gpus_memory() -> None:
    """State and pictures are tensors without a copy, and what PyTorch writes steers."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch is for CPUs only")
    world = signed_world()
    worlds = GpuWorlds(toy_world(), gpu_runs.start().state)
    cameras = GpuCameras(world, on_gpu(world), gpu_runs.RIG, 2)
    arrays: tuple[Any, ...] = (worlds.state.pose, worlds.curvature, *cameras.images)
    for array in arrays:
        tensor = torch.as_tensor(array, device="cuda")
        assert tensor.data_ptr() == array.__cuda_array_interface__["data"][0]
        assert tuple(tensor.shape) == tuple(array.shape)
    torch.as_tensor(worlds.curvature, device="cuda")[:, EGO] = 0.05
    worlds.decide()
    worlds.advance()
    np.testing.assert_allclose(worlds.state_on_host().curvature[:, EGO], 0.05)


@pytest.mark.skipif(cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["cameras", "world"])
def test_without_a_gpu_one_sentence_says_so(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="needs an NVIDIA GPU"):
        require_gpu()
    with pytest.raises(SystemExit) as stopped:
        main(["bench", name, "--device", "cuda", "--workspace", str(tmp_path)])
    printed = capsys.readouterr()
    assert stopped.value.code == 2 and not printed.out and not list(tmp_path.iterdir())
    assert printed.err.count("\n") == 1 and "use cpu instead" in printed.err


def test_only_what_runs_on_a_gpu_is_measured_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "record", "--device", "cuda", "--workspace", str(tmp_path)])
    assert "cameras, cameras-320x192, world" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("height", "width"), [(64, 96), (32, 48), (192, 320), (1, 1), (720, 1280), (11, 5000)]
)
def test_bands_cover_a_picture_and_fit_the_shared_memory(height: int, width: int) -> None:
    rows = rows_of_band(height, width)
    bands = -(-height // rows)
    assert 1 <= rows <= MOST_ROWS and rows * (width + 1) * 8 <= SHARED_BYTES
    assert (bands - 1) * rows < height <= bands * rows


def test_pictures_too_wide_for_shared_memory_are_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        rows_of_band(10, 6000)


@pytest.fixture
def counted_arrays() -> Iterator[None]:
    """Numba counts the arrays that kernels make."""
    RUNTIME._nrt.memsys_enable_stats()
    yield
    RUNTIME._nrt.memsys_disable_stats()


class _Memory(NamedTuple):
    held: int
    """Blocks that Python and NumPy hold."""
    peak: int
    """The most bytes since the count before, beyond what was held then."""
    arrays: int
    """That kernels hold."""


def _memory_after(work: Callable[[], object], calls: int) -> _Memory:
    tracemalloc.start()
    for _ in range(calls):
        work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Python keeps freed tuples for later, up to 2,000 of a length; collecting garbage frees them.
    gc.collect()
    stats = RUNTIME.rtsys.get_allocation_stats()
    # Not tracemalloc's sum: what is allocated anew in place of an older block is no growth.
    return _Memory(sys.getallocatedblocks(), peak, stats.alloc - stats.free)


@pytest.mark.usefixtures("counted_arrays")
def test_steps_and_pictures_hold_no_more_memory_the_longer_they_run() -> None:
    rollout = gpu_runs.start()
    curvature = np.zeros_like(rollout.state.speed)
    world, rig = signed_world(), equal_rig(24, 16)
    scene, looks = benchmark_scene(world, 2), nominal(2)
    images = tuple(np.empty(shape, np.uint8) for shape in image_shapes(rig, 2))

    def step() -> None:
        rollout.decide()
        decision = rollout.decision
        advance(
            toy_world(),
            rollout.state,
            decision.acceleration,
            curvature,
            decision.target_lane,
            np.float32(1000.0),
        )

    for work in (step, lambda: render(world, rig, scene, looks, images)):
        _memory_after(work, 10)
        before, after = _memory_after(work, 200), _memory_after(work, 200)
        assert after.held <= before.held + 100 and after.peak <= before.peak + 8192
        assert after.arrays == before.arrays


def test_memory_is_counted_and_grows_with_the_road_users() -> None:
    few, many = (measure_memory("memory", toy_world(), agents) for agents in (8, 16))
    assert many.value > few.value > 1000.0
    for key in ("gpu_bytes_per_world", "state_bytes_per_world"):
        assert many.details[key] > few.details[key]
    assert few.details["picture_bytes_96x64"] == 96 * 64 * 3
    assert few.details["town_bytes"] == sum(array.nbytes for array in toy_world())
