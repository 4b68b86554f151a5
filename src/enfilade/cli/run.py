"""`enfilade run`: serve the app of this project, of a file or of a module; and the same for one app alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from enfilade.app import MCPApp
from enfilade.cli.command import Command, CommandError, Option, text_of
from enfilade.cli.options import FILE, setting_options
from enfilade.client_config import name_of
from enfilade.discovery import load_app
from enfilade.launch import check_processes
from enfilade.loading import LoadError
from enfilade.setting_sources import load
from enfilade.settings import SettingsError
from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    from enfilade.transports import stdio_fds as _stdio_fds
else:
    _stdio_fds = LazyModule("enfilade.transports.stdio_fds")


def _run(target: str | None, module: str | None, directory: str | None, **options: Any) -> None:
    """Serve an MCP server over stdio or HTTP.

    Without FILE it is the server of this project: the one that the table
    tool.enfilade in pyproject.toml names, or server.py, or src/*/server.py.

    The options given here outrank ENFILADE_* environment variables, which
    outrank .env, which outranks the code. Times are in seconds, sizes in bytes,
    lists separated by commas. A default that is shown here holds where none of
    these says otherwise.
    """
    try:
        _change_directory(directory)
        if _may_speak_stdio(options["transport"]):
            _stdio_fds.claim_pipes()
        serve_app(load_app(target, module), options)
    except (LoadError, SettingsError) as error:
        raise CommandError(text_of(error, options["log_level"])) from None


_RELOAD: Final = Option(
    ["--reload"], is_flag=True, help="Restart when a Python file of the project changes. Needs HTTP."
)
run: Final = Command(
    "run",
    _run,
    params=[
        FILE,
        Option(["--module", "-m"], metavar="MODULE[:NAME]", help="Serve this module instead of a file."),
        Option(
            ["--directory"],
            type=click.Path(),
            help="Work in this folder, and read the .env in it (default: this one).",
        ),
        _RELOAD,
        *setting_options(),
    ],
    examples=[
        "run",
        "run server.py --transport http --port 9000 --reload",
        "run --workers 4 --store sqlite:///state.db",
    ],
)


def app_command(app: MCPApp) -> Command:
    """Return the command of one app: `run` without the options that choose a file.

    The app is imported before options are read, so no option can choose what is imported or where.
    """

    def serve(**options: Any) -> None:
        serve_app(app, options)

    return Command(
        None,
        serve,
        help=f"Serve {app.name}, an MCP server, over stdio or HTTP.",
        params=[_RELOAD, *setting_options()],
    )


def serve_app(app: MCPApp, options: Mapping[str, Any]) -> None:
    """Serve an app with the options of a command line.

    Args:
        app: the app to serve.
        options: `reload`, and settings by name; None means "not given".

    Raises:
        SettingsError: a setting has a value that is not allowed.
        LoadError: other processes are needed and cannot find the app.
    """
    reload = bool(options["reload"])
    settings = app.settings = load(
        {}, app.settings, {name: value for name, value in options.items() if name != "reload"}
    )
    check_processes(settings, options["workers"], reload)
    if settings.transport == "http":
        _stdio_fds.release_pipes()
    app.serve(reload=reload, bound=lambda url: greet(app, url))


def _may_speak_stdio(transport: str | None) -> bool:
    """Whether the transport may be stdio, as far as options and environment say before the app is imported."""
    try:
        return load({}, None, {"transport": transport}).transport == "stdio"
    except SettingsError:  # it is reported when the settings of the app are loaded
        return True


def _change_directory(directory: str | None) -> None:
    """Make a folder the current one; None leaves it as it is."""
    try:
        os.chdir(directory or ".")
    except OSError as error:
        raise LoadError(f"there is no folder {directory!r} to work in: {error.strerror}") from None


def greet(app: MCPApp, url: str) -> None:
    """Print the URL of the server on stderr, and how clients connect to it.

    Args:
        app: the app that is served.
        url: the URL of the endpoint; see `public_url`.
    """
    from enfilade.launch import UNKNOWN_HOST

    tools = ", ".join(tool.name for tool in app.tools)
    name = name_of(app.name) or name_of(Path.cwd().name) or "server"
    lines = [
        "",
        f"  {app.name} {app.version}" + (f": {tools}" if tools else ""),
        f"  {url}",
        *([f"  {UNKNOWN_HOST} is the name by which clients call."] if f"//{UNKNOWN_HOST}:" in url else []),
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
