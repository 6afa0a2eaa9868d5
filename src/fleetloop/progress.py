"""What a person sees while the loop works: one bar with a time estimate for each stage, one line when it is done."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console()


@contextlib.contextmanager
def stage(title: str) -> Iterator[Callable[[float], None]]:
    """Show a stage; yields a function to be told the share done, 0 to 1."""
    columns = (
        TextColumn("{task.description:<34}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    started = time.monotonic()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=1.0)
        yield lambda share: progress.update(task, completed=share)
    console.print(f"  {title:<34} {time.monotonic() - started:6.1f} s", highlight=False)


def say(text: str) -> None:
    """Print one line."""
    console.print(text, highlight=False)
