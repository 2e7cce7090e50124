"""Show how far long work is, on standard error and on a terminal only (decision 0044)."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    class Report(Protocol):
        """A function that takes the number done so far, and of how many, if that is known."""

        def __call__(self, done: int, total: int | None = None, /) -> None: ...


@contextmanager
def show_progress(activity: str) -> Iterator[Report]:
    """Show an activity with its time until the end of the block, and the numbers that the yielded function is given.

    The line is removed at the end. Other threads may report too. Print no lines meanwhile.
    """
    if not sys.stderr.isatty():
        yield _ignore
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.fields[count]}"), TimeElapsedColumn()
    console = Console(stderr=True)
    # Rich would send standard output to the terminal of standard error.
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False, refresh_per_second=4
    ) as progress:
        task = progress.add_task(activity, total=None, count="")

        def report(done: int, total: int | None = None, /) -> None:
            progress.update(task, count=f"{done:,}" if total is None else f"{done:,} of {total:,}")

        yield report


def _ignore(_done: int, _total: int | None = None, /) -> None:
    pass
