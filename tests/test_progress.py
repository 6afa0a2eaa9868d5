"""What a log says of a stage that takes long."""

import time

import pytest

from fleetloop import progress


def test_a_log_tells_how_far_a_long_stage_is_and_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with progress.stage("practise") as tell:
        for step in range(101):
            # It goes on from a quarter: the rest takes 100 times 6 seconds.
            tell(0.25 + 0.75 * step / 100.0)
            now[0] += 6.0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 7, lines
    shares = [float(line.split("%")[0].split()[-1]) for line in lines[:-1]]
    assert shares == sorted(shares) and shares[0] >= 10.0
    for line, share in zip(lines, shares, strict=False):
        left_s = float(line.split("about")[1].split()[0])
        assert left_s == pytest.approx((100.0 - share) / 75.0 * 600.0, abs=8.0)
    assert lines[-1].split() == ["practise", "606.0", "s"]


def test_a_log_has_one_line_of_a_short_stage(capsys: pytest.CaptureFixture[str]):
    with progress.stage("towns") as tell:
        for step in range(11):
            tell(step / 10.0)
    assert len(capsys.readouterr().out.splitlines()) == 1
