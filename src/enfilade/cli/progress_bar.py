"""Progress of a call and log lines of the server, on stderr while the call runs.

At a terminal progress is a bar; elsewhere each report is a line.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from enfilade.cli.console import printable, rich_text

_COLOURS: Final = {
    "debug": "dim",
    "info": "cyan",
    "notice": "blue",
    "warning": "yellow",
    "error": "red",
    **dict.fromkeys(("critical", "alert", "emergency"), "bold red"),
}


class ProgressBar:
    """Shows progress and log lines.

    Args:
        console: for stderr.
        title: what is called.
    """

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = printable(title)
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    async def log(self, params: Any) -> None:
        """Print a log message; `logging_callback` of the client."""
        logger = f"{params.logger}: " if params.logger else ""
        style = _COLOURS.get(params.level, "")
        self._console.print(rich_text(f"{params.level:<8} {logger}{params.data}", style))

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Show a progress notification; `progress_callback` of a call."""
        if not self._console.is_terminal:
            self._console.print(rich_text(f"{_fraction(progress, total)} {message or ''}".rstrip()))
            return
        if self._bar is None or self._task is None:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[fraction]}", markup=False),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(self._title, total=total, fraction="")
            self._bar.start()
        description = printable(message or self._title).replace("\n", " ")
        fraction = _fraction(progress, total)
        self._bar.update(self._task, completed=progress, total=total, description=description, fraction=fraction)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Hide the bar while a question is on the screen."""
        if self._bar is None:
            yield
            return
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()

    def end(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _fraction(progress: float, total: float | None) -> str:
    return f"{progress:g}" if total is None else f"{progress:g}/{total:g}"
