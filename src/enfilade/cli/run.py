"""`enfilade run`: serve the app of this project, of a file or of a module.

Easy to get wrong: the annotations of `run` are typer's, which evaluates them, and nobody else does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from enfilade.app import MCPApp
from enfilade.cli.errors import complain
from enfilade.cli.load import load_app
from enfilade.clients.names import name_of
from enfilade.later import Later
from enfilade.launch import check_manner
from enfilade.setting_sources import load
from enfilade.settings import SettingsError
from enfilade.source import LoadError

if TYPE_CHECKING:
    import typer

    from enfilade.transports import descriptors as _descriptors
else:
    typer = Later("typer")  # for help and for mistakes
    _descriptors = Later("enfilade.transports.descriptors")

#: What may be typed, with the parameter of `run` that it is for, and the type of that. A test holds it against
#: what typer makes of the annotations.
RUN_WORDS: Final[dict[str, tuple[str, type]]] = {
    "--module": ("module", str),
    "-m": ("module", str),
    "--transport": ("transport", str),
    "-t": ("transport", str),
    "--host": ("host", str),
    "--port": ("port", int),
    "-p": ("port", int),
    "--path": ("path", str),
    "--workers": ("workers", int),
    "-w": ("workers", int),
    "--reload": ("reload", bool),
    "--store": ("store", str),
    "--log-level": ("log_level", str),
    "--directory": ("directory", str),
}


def run(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE[:NAME]",
            help="Python file, and the app's name in it if there are several; or a project's folder "
            "(default: this one).",
            show_default=False,
        ),
    ] = None,
    module: Annotated[
        str | None,
        typer.Option("--module", "-m", help="Module to serve instead of a file.", metavar="MODULE[:NAME]"),
    ] = None,
    transport: Annotated[
        str | None, typer.Option("--transport", "-t", help="stdio (default) or http.", metavar="stdio|http")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to bind (default 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option("--port", "-p", help="Port to bind (default 8000).")] = None,
    path: Annotated[str | None, typer.Option(help="Path of the endpoint (default /mcp).")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-w", help="Processes that serve, over http (default 1).")
    ] = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start anew when a Python file of the project changes, over http.")
    ] = False,
    store: Annotated[
        str | None,
        typer.Option(help="Where state is kept: memory:// (default), sqlite:///file.db, redis://host:6379/0."),
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning, error or critical.")] = None,
    directory: Annotated[
        str | None, typer.Option(help="Folder to work in, where .env is looked for (default: this one).")
    ] = None,
) -> None:
    """Serve an MCP server over stdio or HTTP.

    Without FILE it is the server of this project: the one that the table
    tool.enfilade in pyproject.toml names, or server.py, or src/*/server.py.

    The options given here outrank ENFILADE_* environment variables, which
    outrank .env, which outranks what the code says.
    """
    try:
        _work_in(directory)
        if _may_speak_stdio(transport):
            _descriptors.claim_pipes()
        app = load_app(target, module)
        typed = {"transport": transport, "host": host, "port": port, "path": path, "log_level": log_level}
        settings = app.settings = load({}, app.settings, {**typed, "workers": workers, "store": store})
        check_manner(settings, workers, reload)
        if settings.transport == "http":
            _descriptors.release_pipes()
        app.serve(reload=reload, bound=lambda url: greet(app, url))
    except (LoadError, SettingsError) as error:
        complain(f"enfilade: {error}")
        raise SystemExit(2) from None


def _may_speak_stdio(transport: str | None) -> bool:
    """Whether stdout may turn out to be the protocol's, as far as is known before the app is imported."""
    try:
        return load({}, None, {"transport": transport}).transport == "stdio"
    except SettingsError:  # it is said once the other settings are known
        return True


def _work_in(directory: str | None) -> None:
    """Go to a folder, as whoever starts this from elsewhere wants it."""
    try:
        os.chdir(directory or ".")
    except OSError as error:
        raise LoadError(f"there is no folder {directory!r} to work in: {error.strerror}") from None


def greet(app: MCPApp, url: str) -> None:
    """Say on stderr where the server is and how to reach it."""
    tools = ", ".join(tool.name for tool in app.tools)
    name = name_of(app.name) or name_of(Path.cwd().name) or "server"
    lines = [
        "",
        f"  {app.name} {app.version}: {tools}",
        f"  {url}",
        "",
        "  Connect a client:",
        f"    Claude Code   claude mcp add --transport http {name} {url}",
        f'    VS Code       code --add-mcp \'{{"name":"{name}","type":"http","url":"{url}"}}\'',
        f"    Others        enfilade configure CLIENT --name {name} --url {url}",
        f'    By hand       {{"mcpServers": {{"{name}": {{"url": "{url}"}}}}}}',
        "",
        f"  See it: enfilade inspect {url}",
        "  Stop with Ctrl-C.",
        "",
    ]
    sys.stderr.write("\n".join([*lines, ""]))
