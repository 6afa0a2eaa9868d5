"""The share of time that training waits for batches."""

import pytest
import torch

from fleetloop.train import waiting
from fleetloop.train.waiting import WaitingClock


class _Time:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def perf_counter(self) -> float:
        return self.now_s


def test_waits_and_work_are_told_apart(monkeypatch: pytest.MonkeyPatch):
    time = _Time()
    monkeypatch.setattr(waiting, "time", time)
    clock = WaitingClock(torch.device("cpu"))
    assert clock.waiting_share == 0.0
    for waited_s, worked_s in ((1.0, 2.0), (0.0, 1.0)):
        time.now_s += waited_s
        clock.works()
        time.now_s += worked_s
        clock.waits()
    assert clock.lap(64) == pytest.approx({"samples_per_s": 16.0, "waiting_share": 0.25})
    time.now_s += 3.0
    clock.works()
    time.now_s += 1.0
    clock.waits()
    assert clock.lap(32) == pytest.approx({"samples_per_s": 8.0, "waiting_share": 0.75})
    assert clock.waiting_share == pytest.approx(0.5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_that_still_works_does_not_wait():
    device = torch.device("cuda")
    values = torch.randn(4096, 4096, device=device)
    torch.cuda.synchronize()
    clock = WaitingClock(device)
    for _ in range(10):
        clock.works()
        for _ in range(20):
            values = torch.tanh(values @ values)
        clock.waits()
    assert clock.lap(10)["waiting_share"] < 0.2
