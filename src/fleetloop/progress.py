"""What a person sees: a bar with a time estimate for each stage, then a line; in a log, only the line."""

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
        yield lambda share: None
    say(f"  {title:<{_TITLE_WIDTH}} {time.monotonic() - started:6.1f} s")


def say_complete(title: str) -> None:
    """Say of a stage that it was done before."""
    say(f"  {title:<{_TITLE_WIDTH}} complete")


def say(text: str) -> None:
    """Print a text; in a log it stays on one line."""
    console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=not console.is_terminal)


def show(table: Table) -> None:
    """Print a table."""
    Console(width=None if console.is_terminal else _LOG_WIDTH).print(table)
