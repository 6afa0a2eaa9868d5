"""The page holds everything it shows, says what was measured, and lets no text become markup."""

import base64
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import rich.console
from PIL import Image

from fleetloop.artifacts.report import (
    CriticalIntervention,
    DriveResult,
    Infraction,
    NetworkFault,
    OtherIntervention,
    Verdict,
)
from fleetloop.evaluate.page import Clip, TurnRow, turn_table, write_page
from fleetloop.evaluate.video import encode_clip

EVIL = '<img src=x onerror="alert(1)">&[bold]'
FAULTS = dict.fromkeys(NetworkFault, 0) | {NetworkFault.JUMP: 31}
PASSED = Verdict(True, ("The candidate is safer.",), 0.001, 0.3, 0.2, 0.5)
FAILED = Verdict(False, (f"Not proven {EVIL}.",), 0.3, 0.9, 0.5, 1.4)


def drive(critical: int, km: float) -> DriveResult:
    return DriveResult(
        km=km,
        progress_m=900.0 * km,
        demonstrator_progress_m=1000.0 * km,
        critical_interventions=dict.fromkeys(CriticalIntervention, 0)
        | {CriticalIntervention.OFF_ROAD: critical},
        other_interventions=dict.fromkeys(OtherIntervention, 0),
        infractions=dict.fromkeys(Infraction, 0),
        routes=200,
        routes_finished=190,
        successes=150,
        driving_score=81.25,
        subject="a",
        towns=("t",),
        seeds=(1,),
    )


def turn(number: int, result: DriveResult | None, verdict: Verdict | None, **fields: Any) -> TurnRow:
    base: dict[str, Any] = {
        "release": f"release {number}",
        "uploaded_bytes_per_km": 123_456.0,
        "samples": 10_000 * (number + 1),
        "minutes": 4.25,
    }
    return TurnRow(turn=number, result=result, verdict=verdict, **base | fields)


ROWS = (
    turn(0, None, None, release="demonstrator", uploaded_bytes_per_km=math.nan),
    turn(1, drive(400, 52.0), PASSED),
    turn(2, replace(drive(150, 61.0), network_faults=FAULTS), FAILED, release=EVIL),
    turn(3, drive(0, 64.0), PASSED, uploaded_bytes_per_km=2_300_000.0),
)
TRIGGERS = {
    1: {"intervention": 210, "hard_braking": 40, "near_miss": 33, "disagreement": 120, "uncertainty": 61},
    2: {"intervention": 120, "hard_braking": 35, "near_miss": 20, "disagreement": 90, "uncertainty": 80},
    3: {"intervention": 45, "hard_braking": 38, "near_miss": 12, "disagreement": 70, EVIL: 5},
}


def moving_bar(height: int = 128, width: int = 384, steps: int = 20) -> np.ndarray:
    frames = np.full((steps, height, width, 3), (90, 120, 90), np.uint8)
    for step in range(steps):
        frames[step, :, 8 * step : 8 * step + 24] = (220, 40, 40)
    return frames


def clips() -> list[Clip]:
    return [
        Clip(
            moving_bar(),
            "collision prevented: cyclist from the right",
            "generated town 7, junction",
            "release 1",
            41,
        ),
        Clip(moving_bar(65, 97), f"off road {EVIL}", EVIL, EVIL, 42),
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(
        path, ROWS, TRIGGERS, clips(), f"Loop {EVIL}", f"Notes {EVIL}", drive(900, 20.0), drive(0, 300.0)
    )
    return path.read_text(encoding="utf-8")


class Elements(HTMLParser):
    """Collects the elements and the text outside of scripts."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is None:
            self.text += data


def test_the_page_asks_for_nothing_from_elsewhere(page: str):
    parsed = Elements(page)
    for tag, attributes in parsed.elements:
        for name in ("src", "href", "poster", "data", "srcset"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    assert "default-src 'none'" in page
    assert "@import" not in page and "url(" not in page.split("<style>")[1].split("</style>")[0]


def test_the_page_shows_every_turn(page: str):
    parsed = Elements(page)
    for text in (
        "0.130",
        "no event",
        "17.3–∞",
        "75 %",
        "81.2",
        "123 kB",
        "2.3 MB",
        "40,000",
        "4.2",
        "passed",
    ):
        assert text in parsed.text, text
    assert "The candidate is safer." in parsed.text
    assert "Turn 1: Whether the safety layer braked for the network was not counted." in parsed.text
    assert (
        "Turn 2: The safety layer braked for the network: the plan jumped to another path (31)."
        in parsed.text
    )
    assert len([tag for tag, _ in parsed.elements if tag == "tr"]) == 1 + len(ROWS)


def test_no_text_becomes_markup(page: str):
    parsed = Elements(page)
    assert not any("onerror" in attributes for _, attributes in parsed.elements)
    assert not any(tag == "img" for tag, _ in parsed.elements)
    assert parsed.text.count(EVIL) >= 6
    # Plotly reads a little HTML of its own in names.
    assert "<img src=x" not in page


def test_the_page_can_be_read_without_seeing_the_plots(page: str):
    parsed = Elements(page)
    labels = [
        attributes["aria-label"] or "" for _, attributes in parsed.elements if attributes.get("role") == "img"
    ]
    assert len(labels) == 2 and "turn 1: disagreement 120, hard braking 40, intervention 210" in labels[1]
    assert all(attributes.get("aria-label") for tag, attributes in parsed.elements if tag == "video")
    assert ("html", {"lang": "en"}) in parsed.elements


def test_plots_are_drawn_from_the_measured_figures(page: str):
    assert re.search(r'"name":"candidate"', page) and '"type":"log"' in page
    assert '"circle","circle-open","triangle-up"' in page.replace(" ", "")
    assert "untrained network, 0.0222 km" in page and "demonstrator, at least 100 km" in page


def test_the_same_content_gives_the_same_page(tmp_path: Path):
    for name in ("a.html", "b.html"):
        write_page(tmp_path / name, ROWS, TRIGGERS, clips(), "Loop")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_an_empty_loop_has_a_page(tmp_path: Path):
    write_page(tmp_path / "report.html", [], {}, [], "Loop")
    assert "Worst failures" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_terminal_table_holds_the_same_figures_in_80_columns():
    console = rich.console.Console(width=80, file=io.StringIO(), record=True)
    console.print(turn_table((*ROWS[:2], ROWS[3])))
    text = console.export_text()
    for expected in (
        "KPCI",
        "demonstrator",
        "no event",
        "17.3–∞",
        "0.118–0.144",
        "123 kB",
        "passed",
        "40,000",
    ):
        assert expected in text
    assert len(text.rstrip().splitlines()) == 1 + 3, "a line each"


def test_terminal_table_takes_no_text_for_markup():
    console = rich.console.Console(width=200, file=io.StringIO(), record=True)
    console.print(turn_table(ROWS))
    assert EVIL in console.export_text()


@pytest.mark.parametrize("height, width", [(128, 384), (65, 97), (64, 701)])
def test_a_clip_is_a_video_of_the_same_pictures(height: int, width: int):
    frames = moving_bar(height, width)
    media_type, address = encode_clip(frames)
    assert media_type == "video/mp4"
    content = base64.b64decode(address.removeprefix("data:video/mp4;base64,"))
    assert content.index(b"moov") < content.index(b"mdat"), "the index comes first, so that it plays at once"
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 10 and stream.pix_fmt == "yuv420p"
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
    scale = 2 if width < 640 else 1
    decoded = decoded[:, ::scale, ::scale][:, :height, :width]
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(int) - frames).mean() < 6.0


def test_without_h264_a_clip_is_an_animated_picture(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(av, "codecs_available", frozenset())
    frames = moving_bar(64, 96, steps=8)
    media_type, address = encode_clip(frames)
    assert media_type == "image/webp"
    with Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))) as image:
        assert image.size == (192, 128) and getattr(image, "n_frames", 1) == len(frames)


@pytest.mark.parametrize(
    "shape, dtype", [((0, 4, 4, 3), np.uint8), ((2, 4, 4), np.uint8), ((2, 4, 4, 3), np.float32)]
)
def test_what_is_no_clip_is_rejected(shape: tuple[int, ...], dtype: type):
    with pytest.raises(ValueError, match="a clip is uint8"):
        encode_clip(np.zeros(shape, dtype))
