"""`develop`: serve over HTTP, reload when a file changes, and report requests and reloads.

The parent watches files and reports reloads; the worker reports requests. Both write complete lines to the same
terminal.

Easy to get wrong: code that cannot be imported. It ends nothing; the old worker goes on serving.
"""

import logging
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace
from rich.text import Text

from enfilade import launch
from enfilade.app import MCPApp
from enfilade.assembly import with_telemetry
from enfilade.dev.preview.routes import address_of, attach
from enfilade.dev.request_log import Screen, observed
from enfilade.hosts import ServedHost
from enfilade.loading import AppSource, find_source, project_folder
from enfilade.serving.observation.record import clean
from enfilade.setting_sources import load, warn_of_unknown_variables
from enfilade.settings import Settings
from enfilade.startup import gc_pause
from enfilade.transports.processes.log_formats import user_frames

if TYPE_CHECKING:  # it imports uvicorn, which most commands do not need
    from enfilade.transports.http11.server import Served


log = logging.getLogger("enfilade")


def develop(app: MCPApp, around: ServedHost | None = None, **settings: Any) -> None:
    """Serve an app under development over HTTP until stopped.

    Args:
        app: the app; a new process imports its file after each change.
        around: the host that is served in place of the app, if it was asked for.
        settings: settings of the command line, which outrank all others; None for "not set".

    Raises:
        SettingsError: a setting has an invalid value.
        LoadError: a new process could not import the app.
        SystemExit: the server could not start.
    """
    loaded_settings = load({"log_level": "warning"}, app.settings, settings)
    served: MCPApp | ServedHost = around or app
    screen = Screen()
    log_to(screen, loaded_settings.log_level)
    served.settings = with_telemetry(replace(loaded_settings, transport="http", workers=1))
    warn_of_unknown_variables()
    watcher = Watcher()
    source = find_source(app if around is None else around.original)
    folder = project_folder(Path(source.file))
    gc_pause.pause()
    try:
        launch.launch(
            served,
            reload=True,
            watcher=watcher,
            on_bound=lambda url: greet(
                screen, app, folder, url, source, None if around else address_of(app, url)
            ),
            host=None if around is None else around.launched,
        )
    finally:
        gc_pause.resume()


class Watcher:
    """Reports reloads, and makes workers report requests; it is pickled to each worker, so it holds little."""

    def __init__(self) -> None:
        self._changes = 0
        self._files: list[str] = []
        self._since = 0.0

    def load(
        self, source: AppSource, settings: Settings, wrap: Callable[[object], launch.Launched] | None
    ) -> "Served":
        """Import the app in a worker, and let the screen show its requests."""
        screen = Screen()
        log_to(screen, settings.log_level)
        served = launch.reload_app(source, settings, (), wrap)
        if isinstance(served, ServedHost):
            for app in served.apps:
                observed(app, screen)
        else:
            attach(observed(cast(MCPApp, served), screen))
        return served

    def changed(self, files: Sequence[str]) -> None:
        """Record the changed files and the time."""
        self._changes += 1
        self._files += [name for file in files if (name := Path(file).name) not in self._files]
        self._since = time.perf_counter()

    def report_reload(self, generation: int) -> None:
        """Report a finished reload."""
        if not self._files or generation < self._changes:
            return
        files, self._files = self._files, []
        names = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
        Screen().say(
            f"reloaded in {time.perf_counter() - self._since:.1f} s because {clean(names)} changed", "green"
        )


class _ScreenHandler(logging.Handler):
    """Prints the log between the lines of requests."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        try:
            style = "red" if record.levelno >= logging.ERROR else "yellow"
            first_line, _, details = record.getMessage().partition("\n")
            self._screen.say(first_line, style if record.levelno >= logging.WARNING else "dim")
            if record.exc_info and (error := record.exc_info[1]) is not None:
                trace = user_frames(error.__traceback__)
                details += "".join(traceback.format_exception(error.with_traceback(trace)))
            if details:
                self._screen.block(details.strip("\n"), "dim")
        except Exception:
            self.handleError(record)


def log_to(screen: Screen, level: str) -> None:
    """Print the log on a screen, if nobody else handles it; the screen itself shows the requests."""
    log.setLevel(level.upper())
    logging.getLogger("enfilade.requests").setLevel(logging.CRITICAL)
    root = logging.getLogger()
    if not log.hasHandlers():
        root.addHandler(_ScreenHandler(screen))
        root.setLevel(level.upper())


def greet(
    screen: Screen, app: MCPApp, folder: Path, url: str, source: AppSource, preview: str | None = None
) -> None:
    """Print the URL of the server, its tools, and how to connect a client."""
    counts = {"resource": len(app.resources) + len(app.templates), "prompt": len(app.prompts)}
    summary = " and ".join(f"{count} {noun}{'s' * (count > 1)}" for noun, count in counts.items() if count)
    widest = min(30, max((len(tool.name) for tool in app.tools), default=0))
    screen.line("")
    screen.line(Text.assemble("  ", (f"{app.name} {app.version}", "bold"), "  ", (url, "cyan")))
    screen.line("")
    for tool in app.tools:
        description = _first_line(tool.definition.description)
        screen.line(Text.assemble(f"  {tool.name:<{widest}}   ", (description, "dim")), cut=True)
    if summary:
        screen.line(f"  and {summary}" if len(app.tools) else f"  {summary}")
    screen.line("")
    if preview is not None:
        screen.line(f"  Views: {preview}")
    screen.line(f"  Connect: enfilade configure CLIENT {_target_of(source)} --url {url}")
    screen.line(f"  Reloading when a Python file in {folder} changes. Stop with Ctrl-C.")
    screen.line("")


def _first_line(text: object) -> str:
    return clean(text.strip().partition("\n")[0]) if isinstance(text, str) else ""


def _target_of(source: AppSource) -> str:
    """Return the argument by which the command line finds what is served from the working directory."""
    file = Path(source.file)
    return source.as_argument(str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file))
