"""The world and its cameras on an NVIDIA GPU: launches of the device functions that the CPU's kernels call, too."""

from fleetloop.sim.gpu.arrays import require_gpu
from fleetloop.sim.gpu.cameras import GpuCameras, Rasteriser
from fleetloop.sim.gpu.worlds import GpuWorlds

__all__ = ["GpuCameras", "GpuWorlds", "Rasteriser", "require_gpu"]
