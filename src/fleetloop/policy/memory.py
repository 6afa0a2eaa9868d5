"""What the network remembers between two steps: its forward embeddings of the last 0.4 s."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

MEMORY_DELAY_STEPS = 4
"""Steps of 0.1 s between the present and the remembered embedding: long enough to see a leader's speed."""


class Memory(nn.Module):
    """Fills in a learned vector where there is no past yet.

    At run time a ring of the last MEMORY_DELAY_STEPS embeddings is carried, so each step encodes one frame;
    in training the earlier frame is encoded directly. Both hand the same embedding to the trunk.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.absent = nn.Parameter(torch.zeros(width))

    def forward(
        self, earlier: Float[Tensor, "B width"], valid: Bool[Tensor, " B"]
    ) -> Float[Tensor, "B width"]:
        """The earlier embedding, or the learned stand-in where it is not valid."""
        return torch.where(valid[:, None], earlier, self.absent.to(earlier.dtype))


def advance(
    memory: Float[Tensor, "B 4 width"], valid: Bool[Tensor, "B 4"], current: Float[Tensor, "B width"]
) -> tuple[Float[Tensor, "B 4 width"], Bool[Tensor, "B 4"]]:
    """Drop the oldest embedding and append the current one."""
    return (
        torch.cat([memory[:, 1:], current[:, None]], dim=1),
        torch.cat([valid[:, 1:], torch.ones_like(valid[:, :1])], dim=1),
    )
