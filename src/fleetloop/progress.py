"""What a person sees: a bar with a time estimate for each stage, then a line; in a log, a line for each minute or tenth
of it, whichever takes longer, and the last."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

console = Console()
_TITLE_WIDTH = 34
_LOG_WIDTH = 160
"""Of a table that goes into a file."""
_LOG_SECONDS, _LOG_SHARE = 60.0, 0.1
"""Between two lines of a stage in a log, at least."""


@contextlib.contextmanager
def stage(title: str) -> Iterator[Callable[[float], None]]:
    """Show a stage; yields a function to be told the share done, 0 to 1."""
    started = time.monotonic()
    if console.is_terminal:
        columns = (
            TextColumn(f"{{task.description:<{_TITLE_WIDTH}}}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(title, total=1.0)
            yield lambda share: progress.update(task, completed=share)
    else:
        yield _logged(title, started)
    say(f"  {title:<{_TITLE_WIDTH}} {time.monotonic() - started:6.1f} s")


def _logged(title: str, started: float) -> Callable[[float], None]:
    """Lines on the way of a stage that takes long."""
    first: tuple[float, float] | None = None
    last_s, last_share = started, 0.0

    def tell(share: float) -> None:
        nonlocal first, last_s, last_share
        now = time.monotonic()
        # A stage that goes on where it was killed starts with what was done: its rate is that of what it does.
        first = first or (now, share)
        if now - last_s < _LOG_SECONDS or not last_share + _LOG_SHARE <= share < 1.0:
            return
        last_s, last_share = now, share
        left_s = (1.0 - share) * (now - first[0]) / max(share - first[1], 1e-6)
        say(f"  {title:<{_TITLE_WIDTH}} {now - started:6.1f} s, {share:4.0%}, about {left_s:.0f} s left")

    return tell


def say_complete(title: str) -> None:
    """Say of a stage that it was done before."""
    say(f"  {title:<{_TITLE_WIDTH}} complete")


def say(text: str) -> None:
    """Print a text; in a log it stays on one line."""
    console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=not console.is_terminal)


def show(table: Table) -> None:
    """Print a table."""
    Console(width=None if console.is_terminal else _LOG_WIDTH).print(table)
