"""How weights move: AdamW, and Muon for hidden layers.

Adam scales every weight by itself. Convolutions and hidden matrices learn sooner when their step is turned into one
that moves all directions of the matrix alike (Muon: Jordan et al., "Muon: an optimizer for hidden layers in neural
networks", 2024; scaled as there): from as many samples a network that begins from nothing learns more than twice as
much (docs/adr/0016). `torch.optim.Muon` takes no convolutions and computes in bfloat16, which processors without it
emulate slowly.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

HIDDEN_RATE = 20.0
"""The learning rate of hidden layers over that of the rest: a step of Muon is of the size of its rate, whatever the
gradient's."""
_SMALLEST = 64
"""Narrower matrices are left to AdamW: low-rank adapters, routers."""
_MOMENTUM = 0.95
_ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration of Jordan et al.: it brings singular values near 1 (0.7 to 1.2) in few steps."""
_SMALLEST_NORM = 1e-7


def is_hidden(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter of this name moves by Muon: convolutions, and matrices that are in no head."""
    is_head = "heads" in name.split(".")
    return parameter.dim() == 4 or (
        parameter.dim() == 2 and min(parameter.shape) >= _SMALLEST and not is_head
    )


class Optimiser(torch.optim.AdamW):
    """AdamW of all but the hidden layers, which move by Muon with HIDDEN_RATE times its learning rate."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        learning_rate: float,
        weight_decay: float,
        beta2: float = 0.999,
    ) -> None:
        """`parameters` by their names (`is_hidden`). Matrices of AdamW decay by `weight_decay`; nothing else does."""
        groups: dict[str, list[nn.Parameter]] = {"vectors": [], "matrices": [], "hidden": []}
        for name, parameter in parameters.items():
            kind = "vectors" if parameter.dim() < 2 else "matrices"
            groups["hidden" if is_hidden(name, parameter) else kind].append(parameter)
        super().__init__(
            [
                {"kind": kind, "params": group, "weight_decay": weight_decay if kind == "matrices" else 0.0}
                for kind, group in groups.items()
                if group
            ],
            lr=learning_rate,
            betas=(0.9, beta2),
            fused=True,
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """A step of all parameters that have gradients; hidden layers have none afterwards."""
        for group in self.param_groups:
            if group["kind"] == "hidden":
                for weight in group["params"]:
                    if weight.grad is not None:
                        self._step_hidden(weight, weight.grad, HIDDEN_RATE * group["lr"])
                        # Those without are left alone by AdamW.
                        weight.grad = None
        super().step(closure)

    def _step_hidden(self, weight: nn.Parameter, gradient: Tensor, rate: float) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
        momentum = state["momentum"].lerp_(gradient, 1.0 - _MOMENTUM)
        # Nesterov's: the gradient of now counts at once.
        ahead = gradient.lerp(momentum, _MOMENTUM).flatten(1)
        taller = max(1.0, ahead.shape[0] / ahead.shape[1])
        weight.add_(orthogonalised(ahead).reshape(weight.shape), alpha=-rate * math.sqrt(taller))


def orthogonalised(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """The matrix with all its singular values brought near 1: roughly U V^T of its decomposition U S V^T.

    X_{i+1} = (a + b G + c G^2) X_i with G = X_i X_i^T, as Jordan et al. have it. All factors are polynomials of the
    first G, so that they commute and the wide matrix is multiplied twice only, however many iterations there are.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    wide = (matrix.T if is_tall else matrix).contiguous()
    wide = wide / (wide.norm() + _SMALLEST_NORM)
    gram = wide @ wide.T
    constant, linear, square = _COEFFICIENTS
    product: Tensor | None = None
    for number in range(_ITERATIONS):
        factor = linear * gram + square * (gram @ gram)
        factor.diagonal().add_(constant)
        product = factor if product is None else factor @ product
        if number + 1 < _ITERATIONS:
            gram = factor @ (factor @ gram)
    assert product is not None
    result = product @ wide
    return result.T if is_tall else result
