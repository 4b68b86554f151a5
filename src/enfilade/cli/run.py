"""`enfilade run`: serve the app of this project, of a file or of a module."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from enfilade.app import MCPApp
from enfilade.cli.errors import print_error, text_of
from enfilade.cli.setting_options import setting_options
from enfilade.client_config import name_of
from enfilade.discovery import load_app
from enfilade.launch import check_processes
from enfilade.loading import LoadError
from enfilade.setting_sources import load
from enfilade.settings import SettingsError
from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    from enfilade.transports import stdio_fds as _descriptors
else:
    _descriptors = LazyModule("enfilade.transports.stdio_fds")


def _words() -> dict[str, tuple[str, type | bool]]:
    """Return what may be typed; a test compares it with what typer makes of `run_signature.py`."""
    words: dict[str, tuple[str, type | bool]] = {
        "--module": ("module", str),
        "-m": ("module", str),
        "--directory": ("directory", str),
        "--reload": ("reload", True),
    }
    for option in setting_options():
        value = True if option.kind is bool else option.kind
        words.update(dict.fromkeys(option.words, (option.name, value)))
        if option.opposite:
            words[option.opposite] = (option.name, False)
    return words


#: What may be typed, with the parameter of `run` that it is for, and the type of its value; words that take no
#: value have that which they stand for instead.
RUN_WORDS: Final = _words()


def run(
    target: str | None = None,
    module: str | None = None,
    directory: str | None = None,
    reload: bool = False,
    **typed: Any,
) -> None:
    """Serve an MCP server over stdio or HTTP.

    Without FILE it is the server of this project: the one that the table
    tool.enfilade in pyproject.toml names, or server.py, or src/*/server.py.

    The options given here outrank ENFILADE_* environment variables, which
    outrank .env, which outranks what the code says. Times are in seconds,
    sizes in bytes, lists separated by commas. A default that is shown here holds
    where none of these says otherwise.
    """
    try:
        _work_in(directory)
        if _may_speak_stdio(typed.get("transport")):
            _descriptors.claim_pipes()
        serve_app(load_app(target, module), {**typed, "reload": reload})
    except (LoadError, SettingsError) as error:
        print_error(f"enfilade: {text_of(error, typed.get('log_level'))}")
        raise SystemExit(2) from None


def serve_app(app: MCPApp, typed: Mapping[str, Any]) -> None:
    """Serve an app with what was typed.

    Args:
        app: what to serve.
        typed: `reload`, and settings by name; None means "not given".

    Raises:
        SettingsError: a value that cannot be.
        LoadError: other processes are needed and could not find the app.
    """
    options = {name: value for name, value in typed.items() if name != "reload"}
    reload = bool(typed.get("reload"))
    settings = app.settings = load({}, app.settings, options)
    check_processes(settings, options.get("workers"), reload)
    if settings.transport == "http":
        _descriptors.release_pipes()
    app.serve(reload=reload, bound=lambda url: greet(app, url))


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
    """Say on stderr where the server is and how to reach it.

    Args:
        app: what is served.
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
