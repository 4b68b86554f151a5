"""`develop`: serve over HTTP, begin anew when a file changes, and show what happens.

The parent watches files and tells of reloads; the worker tells of requests. Both write to the same terminal,
whole lines at a time. The easy thing to get wrong is broken code: it ends nothing, and what was there before goes
on serving.
"""

import logging
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec.structs import replace
from rich.text import Text

from enfilade import launch
from enfilade.app import MCPApp
from enfilade.dev.line_format import Screen, clean
from enfilade.dev.request_log import Watched
from enfilade.loading import Source, find_source
from enfilade.setting_sources import load, warn_of_unknown_variables
from enfilade.settings import Settings
from enfilade.startup import gc_pause
from enfilade.transports.processes.file_watcher import watched_folder

if TYPE_CHECKING:  # with uvicorn, for every verb of the command
    from enfilade.transports.http11.server import Served

_OURS: Final = Path(launch.__file__).parent

log = logging.getLogger("enfilade")


def develop(app: MCPApp, **given: Any) -> None:
    """Serve an app over HTTP until stopped, for whoever writes it.

    Args:
        app: the app, which is made in a file: each time that changes, a new process imports it.
        given: settings that were typed, which outrank all others; None for "not given".

    Raises:
        SettingsError: a value that cannot be.
        LoadError: a new process could not find the app.
        SystemExit: it could not start.
    """
    of = load({"log_level": "warning"}, app.settings, given)
    app.settings = replace(of, transport="http", workers=1)
    screen = Screen()
    log_to(screen, app.settings.log_level)
    warn_of_unknown_variables()
    watcher = Watcher()
    folder = watched_folder(Path(find_source(app).file))
    gc_pause.pause()
    try:
        launch.launch(
            app,
            app.given_store,
            reload=True,
            watcher=watcher,
            on_bound=lambda url: greet(screen, app, folder, url),
        )
    finally:
        gc_pause.resume()


class Watcher:
    """Tells of reloads, and has workers tell of requests; it goes with each of them, so it holds little."""

    def __init__(self) -> None:
        self._changes = 0
        self._files: list[str] = []
        self._since = 0.0

    def load(self, source: Source, settings: Settings) -> "Served":
        """Make the app anew in a worker, with somebody looking on."""
        screen = Screen()
        log_to(screen, settings.log_level)
        return Watched(cast(MCPApp, launch.reload_app(source, settings, ())), screen)

    def changed(self, files: Sequence[str]) -> None:
        """Take note of the reason, and of the time."""
        self._changes += 1
        self._files += [name for file in files if (name := Path(file).name) not in self._files]
        self._since = time.perf_counter()

    def serving(self, generation: int) -> None:
        """Tell of a reload that is done."""
        if not self._files or generation < self._changes:
            return
        files, self._files = self._files, []
        named = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
        Screen().say(
            f"reloaded in {time.perf_counter() - self._since:.1f} s because {clean(named)} changed", "green"
        )


class _Handler(logging.Handler):
    """Shows the library's own log among the lines."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        try:
            style = "red" if record.levelno >= logging.ERROR else "yellow"
            first, _, rest = record.getMessage().partition("\n")
            self._screen.say(first, style if record.levelno >= logging.WARNING else "dim")
            if record.exc_info and (error := record.exc_info[1]) is not None:
                rest += "".join(traceback.format_exception(error.with_traceback(_theirs(error.__traceback__))))
            if rest:
                self._screen.block(rest.strip("\n"), "dim")
        except Exception:
            self.handleError(record)


def _theirs(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the first file on that is not ours; all of it if there is none."""
    place = trace
    while place is not None and Path(place.tb_frame.f_code.co_filename).is_relative_to(_OURS):
        place = place.tb_next
    return place or trace


def log_to(screen: Screen, level: str) -> None:
    """Show the library's log on a screen; the root logger is left alone."""
    log.setLevel(level.upper())
    if not log.hasHandlers():
        log.addHandler(_Handler(screen))


def greet(screen: Screen, app: MCPApp, folder: Path, url: str) -> None:
    """Say where the server is, what it offers, and how to connect."""
    others = {"resource": len(app.resources) + len(app.templates), "prompt": len(app.prompts)}
    counted = " and ".join(f"{count} {what}{'s' * (count > 1)}" for what, count in others.items() if count)
    widest = min(30, max((len(tool.name) for tool in app.tools), default=0))
    screen.line("")
    screen.line(Text.assemble("  ", (f"{app.name} {app.version}", "bold"), "  ", (url, "cyan")))
    screen.line("")
    for tool in app.tools:
        described = _first_line(tool.definition.description)
        screen.line(Text.assemble(f"  {tool.name:<{widest}}   ", (described, "dim")), cut=True)
    if counted:
        screen.line(f"  and {counted}" if len(app.tools) else f"  {counted}")
    screen.line("")
    screen.line(f"  Connect: enfilade configure CLIENT {_typed(app)} --url {url}")
    screen.line(f"  Reloading when a Python file in {folder} changes. Stop with Ctrl-C.")
    screen.line("")


def _first_line(text: object) -> str:
    return clean(text.strip().partition("\n")[0]) if isinstance(text, str) else ""


def _typed(app: MCPApp) -> str:
    """Return where the app is written, as it is typed from here."""
    source = find_source(app)
    file = Path(source.file)
    return source.as_argument(str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file))
