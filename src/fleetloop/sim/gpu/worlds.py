"""A batch of worlds that lives on the GPU: state, decisions and scenes stay there from step to step."""

from typing import Any, NamedTuple

import numpy as np

from fleetloop.core.labels import Labels
from fleetloop.core.types import NAVIGATION_VALUES, Scene, State, World
from fleetloop.sim.demonstrator import empty_teaching
from fleetloop.sim.gpu import traffic
from fleetloop.sim.gpu.arrays import array_on_gpu, bytes_of, cuda, on_gpu, on_host, require_gpu
from fleetloop.sim.gpu.traffic import launch
from fleetloop.sim.observe import empty_scene
from fleetloop.sim.occupancy import Occupancy, empty_occupancy
from fleetloop.sim.rollout import empty_state
from fleetloop.sim.spawn import LEARNER_NEEDED_M
from fleetloop.sim.traffic import Decision, empty_decision


class _Kept(NamedTuple):
    """What a batch of worlds has beside the state; shapes and meaning as GpuWorlds says."""

    decision: Decision
    teaching: Labels
    scene: Scene
    occupancy: Occupancy
    curvature: Any
    acceleration: Any
    danger: Any
    touched: Any
    navigation: Any
    hours: Any
    awake: Any


def _empty(worlds: int, agents: int) -> _Kept:
    """On the host."""
    return _Kept(
        decision=empty_decision(worlds, agents),
        teaching=empty_teaching(worlds),
        scene=empty_scene(worlds),
        occupancy=empty_occupancy(worlds, agents),
        curvature=np.zeros((worlds, agents), np.float32),
        acceleration=np.zeros((worlds, agents), np.float32),
        danger=np.zeros(worlds, np.int32),
        touched=np.full(worlds, -1, np.int32),
        navigation=np.zeros((worlds, NAVIGATION_VALUES), np.float32),
        hours=np.zeros(worlds, np.float32),
        awake=np.zeros(worlds, np.uint8),
    )


def bytes_per_world(agents: int) -> int:
    """Bytes that GpuWorlds keeps on the GPU for each world; the towns, which worlds share, aside."""
    return bytes_of((*empty_state(1, agents), *_empty(1, agents)))


class GpuWorlds:
    """Use: `decide()` once a step, then look (`see`, `teaching`), write `curvature` and `acceleration`, `advance()`.

    Every array is on the GPU and has `__cuda_array_interface__`, so that `torch.as_tensor(worlds.state.pose)` is a
    tensor on the same memory, and what PyTorch writes into `torch.as_tensor(worlds.curvature)` steers. Kernels run
    in order on the default stream, as PyTorch's do; nothing waits for the GPU but `state_on_host`. Nothing is
    allocated after the start.
    """

    world: World
    state: State
    decision: Decision
    teaching: Labels
    scene: Scene
    curvature: Any
    """[W, A] 1/m: controls of learners; those of the others are not read."""
    acceleration: Any
    """[W, A] m/s^2: likewise."""
    danger: Any
    """[W] Danger of the first learner's controls, filled by `watch`."""
    touched: Any
    """[W] the road user that the first learner touches, or -1; filled by `touch`."""
    navigation: Any
    """[W, 6] as in Observation; filled by `see`."""
    hours: Any
    """[W] time of day; filled by `see`."""

    def __init__(self, world: World, state: State) -> None:
        """Copy a world and the state of a batch, both from the host, to the GPU.

        Raises:
            ConfigError: there is no GPU.
        """
        require_gpu()
        self._worlds, self._agents = state.kind.shape
        self.world, self.state = on_gpu(world), on_gpu(state)
        kept = _empty(self._worlds, self._agents)
        self.decision, self.teaching = on_gpu(kept.decision), on_gpu(kept.teaching)
        self.scene, self._occupancy = on_gpu(kept.scene), on_gpu(kept.occupancy)
        self.curvature, self.acceleration = array_on_gpu(kept.curvature), array_on_gpu(kept.acceleration)
        self.danger, self.touched = array_on_gpu(kept.danger), array_on_gpu(kept.touched)
        self.navigation, self.hours = array_on_gpu(kept.navigation), array_on_gpu(kept.hours)
        self._awake = array_on_gpu(kept.awake)

    def state_on_host(self) -> State:
        """A copy of the state; waits until the GPU is done."""
        return on_host(self.state)

    def spawn(self, chosen: Any) -> None:
        """Fill anew the worlds with chosen [W] (uint8, on the GPU) = 1, whose seed, town and clock are set.

        `chosen` becomes 2 where the first learner found no place.
        """
        launch(traffic.spawn_worlds, self._worlds, self.world, self.state, chosen, LEARNER_NEEDED_M)

    def decide(self) -> None:
        """Let everybody decide, and the demonstrator say what it would do in the first learner's place."""
        world, state, decision = self.world, self.state, self.decision
        launch(traffic.occupy_worlds, self._worlds, world, state, self._occupancy)
        launch(traffic.decide_agents, self._worlds * self._agents, world, state, decision, self._occupancy)
        launch(traffic.teach_worlds, self._worlds, world, state, decision, self.teaching)

    def follow_teaching(self) -> None:
        """Let the demonstrator steer the first learners."""
        launch(
            *(traffic.follow_teaching, self._worlds, self.state, self.teaching),
            *(self.curvature, self.acceleration),
        )

    def watch(self) -> None:
        """Fill `danger` with what the first learners' controls lead to."""
        launch(
            *(traffic.watch_worlds, self._worlds, self.world, self.state, self.decision),
            *(self.curvature, self.acceleration, self.danger),
        )

    def advance(self) -> None:
        """One step of time, by the last decisions and the learners' controls."""
        world, state, decision, awake = self.world, self.state, self.decision, self._awake
        launch(
            *(traffic.move_first, self._worlds, world, state, decision),
            *(self.curvature, self.acceleration, LEARNER_NEEDED_M, awake),
        )
        if self._agents > 1:
            count = self._worlds * (self._agents - 1)
            launch(
                traffic.move_others, count, world, state, decision, self.curvature, LEARNER_NEEDED_M, awake
            )
        launch(traffic.end_steps, self._worlds, world, state, awake)

    def touch(self) -> None:
        """Fill `touched`."""
        launch(traffic.touch_worlds, self._worlds, self.world, self.state, self.touched)

    def see(self) -> None:
        """Fill `scene`, `navigation` and `hours` of the first learners."""
        launch(
            *(traffic.see_worlds, self._worlds, self.world, self.state),
            *(self.scene, self.navigation, self.hours),
        )

    @staticmethod
    def wait() -> None:
        """Until the GPU is done."""
        cuda.synchronize()
