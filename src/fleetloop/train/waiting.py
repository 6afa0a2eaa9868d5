"""How much of the time training waits for its next batch, and how fast it goes."""

import time

import torch


class WaitingClock:
    """Splits time into waiting for batches and work.

    On a GPU, which works on while the next batch is fetched, a wait is the time for which it had nothing left
    to do: from the end of its last update to the begin of the next.
    """

    def __init__(self, device: torch.device) -> None:
        self._events = device.type == "cuda"
        self._mark = self._now()
        self._waits: list[tuple[float | torch.cuda.Event, float | torch.cuda.Event]] = []
        self._started = time.perf_counter()
        self._waited_s = self._passed_s = 0.0

    def _now(self) -> float | torch.cuda.Event:
        if not self._events:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def works(self) -> None:
        """Called when a batch has come."""
        self._waits.append((self._mark, self._now()))

    def waits(self) -> None:
        """Called when the update by a batch is done, or handed to the GPU."""
        self._mark = self._now()

    def lap(self, samples: int) -> dict[str, float]:
        """Figures since the last lap, in which `samples` were learned from: their rate, and the share waited.

        Once for several batches: it waits until the GPU is done.
        """
        waited_s = sum(self._seconds(begin, end) for begin, end in self._waits)
        passed_s = max(time.perf_counter() - self._started, 1e-9)
        self._waits.clear()
        self._started += passed_s
        self._waited_s += waited_s
        self._passed_s += passed_s
        return {"samples_per_s": samples / passed_s, "waiting_share": waited_s / passed_s}

    @property
    def waiting_share(self) -> float:
        """Over all laps."""
        return self._waited_s / self._passed_s if self._passed_s else 0.0

    @staticmethod
    def _seconds(begin: float | torch.cuda.Event, end: float | torch.cuda.Event) -> float:
        if isinstance(begin, torch.cuda.Event):
            assert isinstance(end, torch.cuda.Event)
            end.synchronize()
            return begin.elapsed_time(end) / 1000.0
        assert not isinstance(end, torch.cuda.Event)
        return end - begin
