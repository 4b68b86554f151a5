"""What a call shows while it runs: a bar for its progress, and the server's log lines.

Easy to get wrong: whose output this is. All of it goes to stderr, so that a result can be piped, and without a
terminal a report of progress is a line like any other.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from enfilade.cli.console import plain, words

_COLOURS: Final = {
    "debug": "dim",
    "info": "cyan",
    "notice": "blue",
    "warning": "yellow",
    "error": "red",
    **dict.fromkeys(("critical", "alert", "emergency"), "bold red"),
}


class Along:
    """Shows progress and log lines.

    Args:
        console: for stderr.
        what: what is called.
    """

    def __init__(self, console: Console, what: str) -> None:
        self._console = console
        self._what = plain(what)
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    async def log(self, params: Any) -> None:
        """Show a log line; `logging_callback` of the client."""
        logger = f"{params.logger}: " if params.logger else ""
        style = _COLOURS.get(params.level, "")
        self._console.print(words(f"{params.level:<8} {logger}{params.data}", style))

    async def progress(self, done: float, total: float | None, message: str | None) -> None:
        """Show how far it is; `progress_callback` of a call."""
        if not self._console.is_terminal:
            of = "" if total is None else f"/{total:g}"
            self._console.print(words(f"{done:g}{of} {message or ''}".rstrip()))
            return
        if self._bar is None or self._task is None:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[far]}", markup=False),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(self._what, total=total, far="")
            self._bar.start()
        far = f"{done:g}" if total is None else f"{done:g}/{total:g}"
        described = plain(message or self._what).replace("\n", " ")
        self._bar.update(self._task, completed=done, total=total, description=described, far=far)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the screen to a question."""
        if self._bar is None:
            yield
            return
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
