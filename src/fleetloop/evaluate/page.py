"""One self-contained HTML page of what the loop achieved, and the same table for the terminal."""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import plotly.io
import plotly.offline
import rich.table
import rich.text
from jaxtyping import UInt8

from fleetloop.artifacts.report import DriveResult, Verdict
from fleetloop.core.files import write_text
from fleetloop.evaluate.faults import faults_text
from fleetloop.evaluate.gate import MINIMUM_PROGRESS
from fleetloop.evaluate.page_template import PAGE, SCRIPT, STYLE
from fleetloop.evaluate.video import encode_clip

# Okabe and Ito, "Color Universal Design" (2008): told apart with every kind of colour vision. Their black and
# yellow are left out, since one or the other vanishes on a dark or a light page.
_COLOURS = ("#3b8fd1", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8c8c8c")
_COLUMNS = (
    "Turn",
    "Release",
    "KPCI, km",
    "95 % interval",
    "Progress",
    "Success",
    "Driving score",
    "Gate",
    "Uploaded per km",
    "Samples",
    "Minutes",
)
_SHORT_COLUMNS = (
    "#",
    "Release",
    "KPCI",
    "95 %",
    "Prog.",
    "Succ.",
    "Score",
    "Gate",
    "per km",
    "Samples",
    "Min.",
)
"""The same, so that the table fits into a terminal of 80 columns."""
_TEXT_COLUMNS = ("Release", "Gate")
_MISSING = "–"


@dataclass(frozen=True, kw_only=True)
class TurnRow:
    """What one turn of the loop came to."""

    turn: int
    release: str
    """What drove or was released: "demonstrator", "release 3" ..."""
    result: DriveResult | None
    """On towns never trained on; None where nothing was evaluated."""
    verdict: Verdict | None
    uploaded_bytes_per_km: float
    """NaN where nothing was driven."""
    samples: int
    """In the data set after this turn."""
    minutes: float


@dataclass(frozen=True)
class Clip:
    """A failure to look at."""

    frames: UInt8[np.ndarray, "T H W 3"]
    """RGB at 10 Hz; the cameras as one mosaic."""
    happened: str
    """What: "collision prevented: cyclist from the right"."""
    place: str
    """Where: the town, the kind of junction ..."""
    release: str
    seed: int


def turn_table(rows: Sequence[TurnRow]) -> rich.table.Table:
    """The turns for the terminal."""
    table = rich.table.Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for column in _SHORT_COLUMNS:
        table.add_column(column, justify="left" if column in _TEXT_COLUMNS else "right")
    colours = {"passed": "green", "failed": "red"}
    for row in rows:
        # Text, not str: square brackets in a cell are no markup.
        table.add_row(*(rich.text.Text(cell, style=colours.get(cell, "")) for cell in _cells(row)))
    return table


def write_page(
    path: Path,
    rows: Sequence[TurnRow],
    trigger_counts: Mapping[int, Mapping[str, int]],
    clips: Sequence[Clip],
    title: str,
    notes: str = "",
    untrained: DriveResult | None = None,
    demonstrator: DriveResult | None = None,
) -> None:
    """Write the page, all of it or nothing. It asks for nothing from anywhere else.

    Args:
        trigger_counts: for each turn, how often each trigger fired.
        notes: plain text below the title.
        untrained, demonstrator: drawn as reference lines.

    Raises:
        StorageError: the file cannot be written.
    """
    references = {"untrained network": untrained, "demonstrator": demonstrator}
    sections = [
        _plot_section(
            "kpci",
            "Kilometres per critical intervention",
            "Bars are two-sided 95 % intervals. A triangle stands at the lower end of the interval of a "
            "driver that had no critical intervention; a hollow mark was stopped by the gate.",
            "the figures are in the table above",
            _kpci_figure(rows, {name: drive for name, drive in references.items() if drive is not None}),
        ),
    ]
    if trigger_counts:  # nothing is uploaded in practice
        sections.append(
            _plot_section(
                "triggers",
                "Triggers",
                "What made vehicles upload a clip, by turn.",
                _trigger_text(trigger_counts),
                _trigger_figure(trigger_counts),
            )
        )
    if clips:
        sections.append(_clip_section(clips))
    content = PAGE.substitute(
        title=html.escape(title),
        notes=f'<p class="notes">{html.escape(notes)}</p>' if notes else "",
        minimum_progress=f"{MINIMUM_PROGRESS:g}",
        table=_html_table(rows),
        reasons=_reasons(rows) + _faults(rows),
        sections="\n".join(sections),
        style=STYLE,
        script=SCRIPT,
        plotly=plotly.offline.get_plotlyjs(),
    )
    write_text(path, content)


def _cells(row: TurnRow) -> tuple[str, ...]:
    """One text for each of _COLUMNS."""
    drive = row.result
    low, high = drive.kpci_interval95 if drive else (math.nan, math.nan)
    return (
        str(row.turn),
        row.release,
        _kpci_text(drive.kpci) if drive else _MISSING,
        _interval_text(low, high),
        _fixed(drive.progress, 2) if drive else _MISSING,
        _MISSING if drive is None or math.isnan(drive.success_rate) else f"{100 * drive.success_rate:.0f} %",
        _fixed(drive.driving_score, 1) if drive else _MISSING,
        _MISSING if row.verdict is None else "passed" if row.verdict.passed else "failed",
        _bytes_text(row.uploaded_bytes_per_km),
        f"{row.samples:,}",
        _fixed(row.minutes, 1),
    )


def _kpci_text(kpci: float) -> str:
    return "no event" if math.isinf(kpci) else _significant(kpci)


def _interval_text(low: float, high: float) -> str:
    if math.isnan(low):
        return _MISSING
    return f"{_significant(low)}–{'∞' if math.isinf(high) else _significant(high)}"


def _significant(value: float) -> str:
    """Three significant digits, without an exponent."""
    if not math.isfinite(value):
        return _MISSING
    decimals = 2 if value == 0.0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def _fixed(value: float, decimals: int) -> str:
    return f"{value:,.{decimals}f}" if math.isfinite(value) else _MISSING


def _bytes_text(count: float) -> str:
    if not math.isfinite(count):
        return _MISSING
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.{int(count < 9.95 and unit != 'B')}f} {unit}"
        count /= 1000.0
    return f"{count:.1f} GB"


def _html_table(rows: Sequence[TurnRow]) -> str:
    def attribute(column: str, cell: str) -> str:
        names = ["text"] * (column in _TEXT_COLUMNS) + [cell] * (cell in ("passed", "failed"))
        names += ["interval"] * (column == "95 % interval")
        return f' class="{" ".join(names)}"' if names else ""

    head = "".join(f'<th scope="col"{attribute(name, "")}>{name}</th>' for name in _COLUMNS)
    body = "\n".join(
        "<tr>"
        + "".join(
            f"<td{attribute(column, cell)}>{html.escape(cell)}</td>"
            for column, cell in zip(_COLUMNS, _cells(row), strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _reasons(rows: Sequence[TurnRow]) -> str:
    texts = {row.turn: " ".join(row.verdict.reasons) for row in rows if row.verdict}
    return _turn_list("What the gate decided", texts)


def _faults(rows: Sequence[TurnRow]) -> str:
    texts = {row.turn: faults_text(row.result.network_faults) for row in rows if row.result}
    return _turn_list("What the safety layer did", texts)


def _turn_list(label: str, texts: Mapping[int, str]) -> str:
    """A text for each turn; nothing for no turns."""
    items = "".join(f"<li>Turn {turn}: {html.escape(text)}</li>" for turn, text in texts.items())
    return f'<ul class="reasons" aria-label="{label}">{items}</ul>' if items else ""


def _kpci_figure(rows: Sequence[TurnRow], references: Mapping[str, DriveResult]) -> go.Figure:
    """KPCI over turns on a logarithmic axis; drivers without a distance cannot be shown."""
    drives = [(row, row.result) for row in rows if row.result is not None and row.result.kpci > 0.0]
    lows, highs, points = [], [], []
    for _, drive in drives:
        low, high = drive.kpci_interval95
        # Without an event only the lower end is known.
        points.append(drive.kpci if math.isfinite(drive.kpci) else low)
        lows.append(points[-1] - low)
        highs.append(high - points[-1] if math.isfinite(high) else 0.0)
    figure = go.Figure(
        go.Scatter(
            x=[row.turn for row, _ in drives],
            y=points,
            error_y={"type": "data", "array": highs, "arrayminus": lows, "thickness": 1.5, "width": 6},
            mode="lines+markers",
            name="candidate",
            marker={
                "size": 11,
                "symbol": [_symbol(row, drive) for row, drive in drives],
                "line": {"width": 2, "color": _COLOURS[0]},
            },
            line={"color": _COLOURS[0], "width": 2},
            text=[_hover(row, drive) for row, drive in drives],
            hovertemplate="%{text}<extra></extra>",
        )
    )
    ends = [
        min((row.turn for row in rows), default=0) - 0.4,
        max((row.turn for row in rows), default=1) + 0.4,
    ]
    for (name, drive), dash in zip(references.items(), ("dot", "dash"), strict=False):
        exact = math.isfinite(drive.kpci)
        level = drive.kpci if exact else drive.kpci_low95
        if level > 0.0:
            figure.add_scatter(
                x=ends,
                y=[level, level],
                mode="lines",
                name=f"{name}, {'' if exact else 'at least '}{_significant(level)} km",
                line={"dash": dash, "width": 2, "color": _COLOURS[6]},
                hoverinfo="name",
            )
    figure.update_yaxes(type="log", title="km per critical intervention", dtick=1)
    return _styled(figure)


def _symbol(row: TurnRow, drive: DriveResult) -> str:
    shape = "circle" if math.isfinite(drive.kpci) else "triangle-up"
    return shape if row.verdict is None or row.verdict.passed else f"{shape}-open"


def _hover(row: TurnRow, drive: DriveResult) -> str:
    cells = dict(zip(_COLUMNS, _cells(row), strict=True))
    return html.escape(
        f"{row.release}: {cells['KPCI, km']} km ({cells['95 % interval']}), "
        f"{drive.critical_intervention_count} critical interventions in {_significant(drive.km)} km"
    )


def _trigger_figure(trigger_counts: Mapping[int, Mapping[str, int]]) -> go.Figure:
    figure = go.Figure()
    turns = sorted(trigger_counts)
    triggers = sorted({name for counts in trigger_counts.values() for name, count in counts.items() if count})
    for index, name in enumerate(triggers):
        figure.add_bar(
            x=turns,
            y=[trigger_counts[turn].get(name, 0) for turn in turns],
            name=html.escape(name.replace("_", " ")),
            marker={"color": _COLOURS[index % len(_COLOURS)]},
        )
    figure.update_layout(barmode="stack", bargap=0.45)
    figure.update_yaxes(title="clips", rangemode="tozero")
    return _styled(figure)


def _styled(figure: go.Figure) -> go.Figure:
    """Without a background of its own; the page's script sets the colours of text and lines."""
    figure.update_xaxes(title="turn of the loop", dtick=1, showgrid=False, zeroline=False)
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13, "color": "#7a828c"},
        margin={"l": 64, "r": 16, "t": 16, "b": 48},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        showlegend=True,
        hoverlabel={"font": {"size": 13}},
    )
    return figure


def _trigger_text(trigger_counts: Mapping[int, Mapping[str, int]]) -> str:
    """The bars in words, for those who do not see them."""
    return "; ".join(
        f"turn {turn}: "
        + ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in sorted(counts.items()))
        for turn, counts in sorted(trigger_counts.items())
    )


def _plot_section(name: str, title: str, explanation: str, in_words: str, figure: go.Figure) -> str:
    plot = plotly.io.to_html(
        figure,
        full_html=False,
        include_plotlyjs=False,
        div_id=f"{name}-plot",
        default_height="100%",
        config={"displaylogo": False, "displayModeBar": False, "responsive": True},
    )
    return (
        f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2><p>{explanation}</p>'
        f'<div class="plot" role="img" aria-label="{title} by turn; {html.escape(in_words)}">{plot}</div>'
        "</section>"
    )


def _clip_section(clips: Sequence[Clip]) -> str:
    figures = "\n".join(map(_clip_figure, clips))
    return (
        '<section aria-labelledby="clips"><h2 id="clips">Failures</h2>'
        "<p>All cameras of the vehicle, with the plan drawn in, and where the network takes the leading car (a frame) "
        "and the stop line (a bar) to be: orange as it says, white as it is. Below, what it says in numbers, and the "
        "probability of each colour of the signal ahead.</p>"
        f'<div class="clips">{figures}</div></section>'
    )


def _clip_figure(clip: Clip) -> str:
    media_type, address = encode_clip(clip.frames)
    happened = html.escape(clip.happened)
    if media_type.startswith("video/"):
        media = f'<video src="{address}" aria-label="{happened}" controls loop muted playsinline></video>'
    else:
        media = f'<img src="{address}" alt="{happened}">'
    place = html.escape(f"{clip.place} · {clip.release} · seed {clip.seed}")
    return f"<figure>{media}<figcaption>{happened}<span>{place}</span></figcaption></figure>"
