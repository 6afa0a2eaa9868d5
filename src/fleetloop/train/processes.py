"""Several processes that train one network together: each learns from its own rows of the same batches."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from fleetloop.core.errors import ConfigError


@dataclass(frozen=True)
class Processes:
    """The processes of a training, and which of them this is. Alone, every method is free."""

    rank: int = 0
    """Of this process; the first, 0, is the one that writes files."""
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def rows(self, batch_size: int) -> slice:
        """The rows of a batch that are this process's.

        Raises:
            ConfigError: the batch cannot be shared out evenly.
        """
        if batch_size % self.count:
            raise ConfigError(
                f"batch_size: {batch_size} cannot be shared by {self.count} processes; use a multiple of them"
            )
        share = batch_size // self.count
        return slice(self.rank * share, (self.rank + 1) * share)

    def device(self, gpu: bool) -> torch.device:
        """Where this process trains: on its own GPU if there are any and `gpu` allows it."""
        on_gpu = gpu and torch.cuda.is_available()
        return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")

    def mean(self, value: Tensor) -> Tensor:
        """The mean of `value` over the processes, the same bits in each; no gradient flows through it."""
        if self.count == 1:
            return value
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total / self.count

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the mean over the processes in place of every gradient, in one message."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def all_have(self, number: int, device: torch.device) -> bool:
        """Whether `number` is the same in every process."""
        own = torch.tensor(float(number), dtype=torch.float64, device=device)
        return bool(self.mean((own - self._of_first(own)).abs()) == 0.0)

    def _of_first(self, value: Tensor) -> Tensor:
        if self.count == 1:
            return value
        value = value.clone()
        distributed.broadcast(value, 0)
        return value

    @contextlib.contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """The first process runs the body before the others do: they find the files that it made."""
        if not self.is_first:
            distributed.barrier()
        yield
        if self.is_first and self.count > 1:
            distributed.barrier()


ALONE = Processes()


@contextlib.contextmanager
def joined_processes(gpu: bool = True) -> Iterator[Processes]:
    """The processes that this one was started among by `torchrun` or by Ray; alone if by neither.

    They talk through NCCL when they train on GPUs and through Gloo otherwise. What torchrun says in the
    environment is described at https://docs.pytorch.org/docs/stable/elastic/run.html.
    """
    if distributed.is_available() and distributed.is_initialized():  # whoever began it ends it: Ray
        yield Processes(distributed.get_rank(), distributed.get_world_size())
        return
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    on_gpu = gpu and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
