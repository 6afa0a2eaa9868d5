"""A network of somebody's own, as docs/your-own-network.md shows it: the forward cameras at a quarter of their size."""

import torch
from torch import nn

from fleetloop.core.types import CameraRig
from fleetloop.policy import features
from fleetloop.policy.features import Inputs
from fleetloop.policy.heads import Heads, Outputs
from fleetloop.policy.model import DriverModel

WIDTH = 64


class SmallDriver(DriverModel):
    """Looks ahead, remembers what it saw 0.4 s ago, and drives."""

    def __init__(self, rig: CameraRig) -> None:
        super().__init__()
        self.rig, self.memory_width = rig, WIDTH
        camera = rig.groups[0][0]
        pixels = len(rig.groups[0]) * (camera.height // 4) * (camera.width // 4) * 3
        self.see = nn.Linear(pixels, WIDTH)
        measured = (
            features.EGO_FEATURES
            + features.STOOD_FEATURES
            + features.NAVIGATION_FEATURES
            + features.CLOCK_FEATURES
        )
        self.think = nn.Linear(2 * WIDTH + measured, 128)
        self.heads = Heads(128)

    def encode_forward(self, images, geometry):
        small = images[:, :, ::4, ::4].flatten(1).float() / 255.0
        return torch.relu(self.see(small))

    def forward(self, inputs: Inputs, earlier=None, earlier_valid=None) -> tuple[Outputs, torch.Tensor]:
        assert earlier is not None and earlier_valid is not None
        seen = self.encode_forward(inputs.images[0], inputs.geometry[0])
        remembered = torch.where(earlier_valid[:, None], earlier, 0.0)
        measured = [
            features.ego_features(inputs.ego_history, past_controls=False, stood=True),
            features.navigation_features(inputs.navigation),
            features.clock_features(inputs.time_of_day_h),
        ]
        x = torch.relu(self.think(torch.cat([seen, remembered.to(seen.dtype), *measured], dim=-1)))
        no_experts = torch.zeros((), device=x.device)
        return self.heads(x, inputs.ego_history[:, -1, 0], no_experts), seen


def build(rig: CameraRig) -> SmallDriver:
    """What --network own_network:build calls."""
    return SmallDriver(rig)
