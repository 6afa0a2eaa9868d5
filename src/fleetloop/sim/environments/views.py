"""What learners observe: arrays with a row for each learner of each world, world by world."""

import numpy as np
from jaxtyping import Bool, Int

from fleetloop.core.types import HISTORY_STEPS, HISTORY_VALUES, NAVIGATION_VALUES, Scene
from fleetloop.sim.cameras import Appearance, appearances, image_shapes, render
from fleetloop.sim.environments.learner_worlds import LearnerWorlds, Sees
from fleetloop.sim.observe import empty_scene, navigate, see
from fleetloop.sim.state_view import STATE_FIELDS, describe

STATE, CAMERAS, HISTORY, NAVIGATION = "state", "cameras", "ego_history", "navigation"
"""Names of observations; the cameras of a rig with several groups are cameras_0, cameras_1, ..."""


class Views:
    """Fills the observations of a LearnerWorlds."""

    def __init__(self, worlds: LearnerWorlds) -> None:
        self._worlds, config = worlds, worlds.config
        rows = worlds.worlds * config.learners
        self._scenes = [empty_scene(worlds.worlds) for _ in range(config.learners)]
        self._hint = np.zeros((worlds.worlds, NAVIGATION_VALUES), np.float32)
        self._state = np.zeros((worlds.worlds, config.learners, STATE_FIELDS), np.float32)
        self._looks_seed = np.zeros(0, np.uint64)
        self._looks: Appearance | None = None
        self.arrays: dict[str, np.ndarray] = {}
        """The last observations; `update` writes into them."""
        if config.sees is not Sees.STATE:
            shapes = image_shapes(config.rig, rows)
            for number, shape in enumerate(shapes):
                name = CAMERAS if len(shapes) == 1 else f"{CAMERAS}_{number}"
                self.arrays[name] = np.zeros(shape, np.uint8)
            self.arrays[HISTORY] = np.zeros((rows, HISTORY_STEPS, HISTORY_VALUES), np.float32)
            self.arrays[NAVIGATION] = np.zeros((rows, NAVIGATION_VALUES), np.float32)
        if config.sees is not Sees.CAMERAS:
            self.arrays[STATE] = self._state.reshape(rows, STATE_FIELDS)

    def update(self, chosen: Bool[np.ndarray, " W"]) -> dict[str, np.ndarray]:
        """Look again; pictures are drawn for the learners of the `chosen` worlds only, which saves most of the time."""
        worlds = self._worlds
        with worlds.threads():
            if STATE in self.arrays:
                describe(worlds.world, worlds.state, worlds.decision, self._state)
            if HISTORY in self.arrays:
                self._look()
        if HISTORY in self.arrays:
            self._draw(np.flatnonzero(np.repeat(chosen, worlds.config.learners)))
        return self.arrays

    def _look(self) -> None:
        """What is in view, and what odometers and phones tell."""
        worlds, learners = self._worlds, self._worlds.config.learners
        hints = self.arrays[NAVIGATION].reshape(worlds.worlds, learners, NAVIGATION_VALUES)
        for learner, scene in enumerate(self._scenes):
            see(worlds.world, worlds.state, scene, learner)
            navigate(worlds.world, worlds.state, self._hint, learner)
            hints[:, learner] = self._hint
        self.arrays[HISTORY][:] = worlds.state.history[:, :learners].reshape(
            -1, HISTORY_STEPS, HISTORY_VALUES
        )

    def _draw(self, rows: Int[np.ndarray, " rows"]) -> None:
        """Pictures of some learners; on all threads, for a picture is more work than a step of a world."""
        if not len(rows):
            return
        fields = zip(*self._scenes, strict=True)
        scene = Scene(*(np.stack(parts, 1).reshape(-1, *parts[0].shape[1:])[rows] for parts in fields))
        looks = Appearance(*(array[rows] for array in self._appearance()))
        pictures = [array for name, array in self.arrays.items() if name.startswith(CAMERAS)]
        drawn = render(self._worlds.world, self._worlds.config.rig, scene, looks)
        for array, images in zip(pictures, drawn, strict=True):
            array[rows] = images

    def _appearance(self) -> Appearance:
        """Weather and light of every row; drawn again only when a world began anew."""
        seeds = np.repeat(self._worlds.state.seed, self._worlds.config.learners)
        if self._looks is None or not np.array_equal(seeds, self._looks_seed):
            # As light as when the world began: an episode is short.
            hours = np.repeat(self._worlds.state.started_h, self._worlds.config.learners)
            self._looks, self._looks_seed = appearances(seeds, self._worlds.config.variety, hours), seeds
        return self._looks
