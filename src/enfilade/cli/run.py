"""`enfilade run` and `enfilade dev`: serve the app of a project, of a file or of a module; and one app alone.

Their options are made from `Settings`: a new setting gets its option without a change here. Four settings have
none: the secret, the password of the key and the authorization servers, which may have secrets, since every user
of the machine can read arguments of processes; and `tool_names`, which is used before options are applied.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_origin

import click
from msgspec.structs import replace

from enfilade.app import MCPApp
from enfilade.cli.command import FILE, CliCommand, CommandError, Option, print_warning, text_of
from enfilade.client_config import name_of
from enfilade.discovery import load_with_warning
from enfilade.hosts import ServedHost
from enfilade.launch import check_processes
from enfilade.loading import LoadError
from enfilade.setting_sources import load
from enfilade.settings import SettingField, SettingsError, fields
from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    from enfilade.transports import stdio_fds as _stdio_fds
else:
    _stdio_fds = LazyModule("enfilade.transports.stdio_fds")

#: Settings without an option.
WITHOUT_OPTION: Final = frozenset({"auth_servers", "metrics_token", "secret", "tls_key_password", "tool_names"})

#: The groups of the help page, with their settings. All other settings are limits.
_GROUPS: Final = {
    "Serving": ("transport", "host", "port", "path", "health_path", "ready_path", "workers", "store"),
    "The log": ("log_level", "log_format", "log_config", "log_limit"),
    "Metrics and traces": ("metrics", "metrics_path", "metrics_port", "otel"),
    "Who may call": (
        *("auth_resource", "auth_scopes", "auth_scope_hierarchy", "auth_list_by_scope", "auth_leeway"),
        *("auth_jwks_stale", "auth_dpop", "auth_dpop_nonce", "auth_certificate_header"),
        *("allowed_hosts", "allowed_origins", "allow_localhost"),
    ),
    "TLS, sockets and proxies": (
        *("tls_cert", "tls_key", "uds", "uds_mode", "fd", "root_path", "forwarded_allow_ips"),
    ),
    "Registries and discovery": ("registry_name", "public_url", "repository", "server_card"),
    "Sessions and streams": (
        *("sessions", "session_ttl", "json_response", "stream_grace", "resumable", "stream_age", "stream_retry"),
        *("keep_alive", "stream_buffer"),
    ),
}
_GROUP_OF: Final = {name: group for group, names in _GROUPS.items() for name in names}
_METAVARS: Final = {
    "transport": "stdio|http",
    "log_format": "text|json",
    "log_config": "FILE",
    "otel": "auto|on|off",
    "auth_scope_hierarchy": "JSON",
    "public_url": "URL",
    "repository": "URL",
    "auth_dpop": "off|allowed|required",
}
_SHORT: Final = {"transport": "-t", "port": "-p", "workers": "-w"}
#: Help texts for options that need another text than the description of the setting.
_HELP: Final = {
    "transport": "stdio (default, unless the app says otherwise) or http.",
    "host": "Address to bind (default 127.0.0.1).",
    "port": "Port to bind; 0 for a free one (default 8000).",
    "workers": "Processes that serve, over http (default 1).",
    "store": "Where state is kept: memory:// (default), sqlite:///file.db, redis://host:6379/0.",
    "log_level": "debug, info (default), warning, error or critical.",
    "log_format": "Text for people (default), or JSON with a line for each record.",
    "log_config": "Configure logging by this file: JSON, YAML or INI.",
    "log_limit": "Lines of requests a second in a worker's log; 0 for all (default 1000).",
    "metrics_port": "Port for the metrics alone; 0 (default) for that of the server.",
    "otel": "OpenTelemetry: as OTEL_* say (auto, the default), on, or off.",
}


def setting_options() -> list[Option]:
    """Return the options that set a setting, group by group, in the order of `Settings`."""
    groups = [*_GROUPS, "Limits"]
    names = [name for name in fields() if name not in WITHOUT_OPTION]
    return [_setting_option(name) for name in sorted(names, key=lambda name: groups.index(_group(name)))]


def _setting_option(name: str) -> Option:
    field = fields()[name]
    long = "--" + name.replace("_", "-")
    group, text = _group(name), _HELP.get(name) or _help(field)
    if field.kind is bool:
        return Option([name, f"{long}/--no-{long[2:]}"], group=group, help=text, default=None)
    spellings = [long, *([_SHORT[name]] if name in _SHORT else [])]
    kind = field.kind if field.kind in {int, float} else str
    return Option([name, *spellings], type=kind, metavar=_metavar(name, field), group=group, help=text)


def _group(name: str) -> str:
    return _GROUP_OF.get(name, "Limits")


def _help(field: SettingField) -> str:
    """Return the description of a setting as a sentence, with its default."""
    text = field.allowed.description or ""
    default = field.default
    if isinstance(default, bool):
        default = "on" if default else "off"
    elif isinstance(default, float):
        default = f"{default:g}"
    end = "." if default in ((), "", None) else f" (default {default})."
    return text[:1].upper() + text[1:] + end


def _metavar(name: str, field: SettingField) -> str | None:
    """Return a word for the values; None for click's. Every setting that is a float is a time."""
    if name in _METAVARS:
        return _METAVARS[name]
    if get_origin(field.kind) is tuple:
        return "NAME,..."
    return "SECONDS" if field.kind is float else None


def _run(target: str | None, module: str | None, directory: str | None, **options: Any) -> None:
    """Serve an MCP server over stdio or HTTP.

    Without FILE, the project's server is used: the one that the table
    tool.enfilade in pyproject.toml names, or server.py, or src/*/server.py.

    The options given here outrank ENFILADE_* environment variables, which
    outrank .env, which outranks the code. Times are in seconds, sizes in bytes,
    lists separated by commas. Defaults shown here apply if none of these sets a
    value.
    """
    try:
        _change_directory(directory)
        if _may_speak_stdio(options["transport"]):
            _stdio_fds.claim_pipes()
        loaded = load_with_warning(target, module)
        serve_app(loaded.app, options, loaded.warning, loaded.host)
    except (LoadError, SettingsError) as error:
        raise CommandError(text_of(error, options["log_level"])) from None


_RELOAD: Final = Option(
    ["--reload"], is_flag=True, help="Restart when a Python file of the project changes. Needs HTTP."
)
run: Final = CliCommand(
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


def app_command(app: MCPApp) -> CliCommand:
    """Return the command of one app: `run` without the options that choose a file.

    The app is imported before options are read, so no option can choose what is imported or where.
    """

    def serve(**options: Any) -> None:
        serve_app(app, options)

    return CliCommand(
        None,
        serve,
        help=f"Serve {app.name}, an MCP server, over stdio or HTTP.",
        params=[_RELOAD, *setting_options()],
    )


def serve_app(app: MCPApp, options: Mapping[str, Any], warning: str = "", host: ServedHost | None = None) -> None:
    """Serve an app, or the host around it, with the options of a command line.

    The options are `reload`, and settings by name; None means "not given". The warning is printed over http.

    Raises:
        SettingsError: a setting has a value that is not allowed.
        LoadError: other processes are needed and cannot find the app.
    """
    reload = bool(options["reload"])
    settings = load({}, app.settings, {name: value for name, value in options.items() if name != "reload"})
    if host is not None:
        if options["transport"] not in (None, "http"):
            raise SettingsError(
                "Invalid settings: transport: an ASGI application around an app is served over http"
            )
        settings = replace(settings, transport="http")
    (host or app).settings = settings
    check_processes(settings, options["workers"], reload)
    if settings.transport == "http":
        _stdio_fds.release_pipes()
        if warning:
            print_warning(warning)
    served = None if host is None else (host, host.launched)
    app.serve(reload=reload, bound=lambda url: greet(app, url), host=served)


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
    """Print the URL of the server on stderr (see `public_url`), and how clients connect to it.

    Where the log is JSON, nothing is printed: a program reads each line.
    """
    if app.settings.log_format == "json":
        return
    from enfilade.launch import UNKNOWN_HOST

    tools = ", ".join(tool.name for tool in app.tools)
    name = name_of(app.name) or name_of(Path.cwd().name) or "server"
    listens, metadata = url, None if app.authenticator is None else app.authenticator.metadata
    if metadata is not None:
        url = metadata.resource
    lines = [
        "",
        f"  {app.name} {app.version}" + (f": {tools}" if tools else ""),
        f"  {url}" + ("" if url == listens else f", which is to lead to {listens}"),
        *([] if metadata is None else [f"  Callers need {metadata.callers}."]),
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


def _dev(target: str | None, host: str | None, port: int | None, path: str | None, log_level: str | None) -> None:
    """Serve over HTTP, restart when a file changes, and show each request with its outcome.

    Sessions of clients survive a restart. If the changed code does not load, the error is shown and the
    previous code goes on serving.
    """
    from enfilade.dev.serve import develop  # it imports rich, which `run` does not need

    try:
        loaded = load_with_warning(target)
        if loaded.warning:
            print_warning(loaded.warning)
        develop(loaded.app, loaded.host, host=host, port=port, path=path, log_level=log_level)
    except (LoadError, SettingsError) as error:
        raise CommandError(text_of(error, log_level)) from None


dev: Final = CliCommand(
    "dev",
    _dev,
    params=[
        FILE,
        Option(["--host"], help="Address to bind (default 127.0.0.1)."),
        Option(["--port", "-p"], type=int, help="Port to bind (default 8000)."),
        Option(["--path"], help="Path of the endpoint (default /mcp)."),
        Option(["--log-level"], help="Level of the library's log lines besides requests (default warning)."),
    ],
    examples=["dev", "dev server.py --port 9000"],
)
