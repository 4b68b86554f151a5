"""`enfilade configure CLIENT [TARGET]`: register a server with a client, or remove it."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from enfilade.app import MCPApp
from enfilade.cli.command import FILE, Argument, CliCommand, CommandError, Option, text_of
from enfilade.client_config import ClientFileError, name_of
from enfilade.client_config.entry import Client, RegisteredServer
from enfilade.client_config.locations import Places
from enfilade.client_config.plan import (
    PlannedChange,
    client_named,
    installations,
    location_of,
    plan_addition,
    plan_removal,
)
from enfilade.discovery import load_app
from enfilade.loading import LoadError, find_source, project_folder
from enfilade.setting_sources import load, warn_of_unknown_variables
from enfilade.settings import SettingsError

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def _configure(
    client: str | None,
    target: str | None,
    name: str | None,
    config: Path | None,
    user: bool | None,
    env: Sequence[str],
    url: str | None,
    transport: str | None,
    host: str | None,
    port: int | None,
    path: str | None,
    dry_run: bool,
    remove: bool,
    force: bool,
    listing: bool,
) -> None:
    """Write a server into a client's configuration file, and leave everything else in it as it is."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        places = Places.current()
        if listing:
            _list(console, places)
            return
        if client is None:
            raise CommandError(
                "say which client: enfilade configure CLIENT; enfilade configure --list shows them"
            )
        chosen = client_named(client)
        location = location_of(chosen, places, None if user is None else "user" if user else "project", config)
        over_http = {"transport": transport, "host": host, "port": port, "path": path}
        if remove:
            change = plan_removal(chosen, name or _server(chosen, target, None, None, {}, []).name, location)
        else:
            server = _server(chosen, target, name, url, over_http, list(env))
            change = plan_addition(chosen, server, places, location)
        _carry_out(console, change, dry_run=dry_run, force=force)
    except (ClientFileError, LoadError, SettingsError) as error:
        raise CommandError(text_of(error)) from None


configure: Final = CliCommand(
    "configure",
    _configure,
    params=[
        Argument(["client"], metavar="CLIENT", required=False, help="Which client; --list shows them."),
        FILE,
        Option(["--name"], help="Name of the server in the client (default: the app's)."),
        Option(
            ["--config"], type=click.Path(path_type=Path), help="Change this file instead of the client's own."
        ),
        Option(
            ["--user/--project"],
            default=None,
            help="Change the user's file, or that of this project (default for clients that have one).",
        ),
        Option(
            ["--env"],
            multiple=True,
            metavar="KEY",
            help="Pass this environment variable to the server; its value is not copied. May be repeated.",
        ),
        Option(["--url"], help="Connect the client by HTTP to this URL."),
        Option(
            ["--transport", "-t"],
            metavar="stdio|http",
            help="stdio: the client starts the server; http: it connects to a running one (default: the app's).",
        ),
        Option(["--host"], help="The server's address, over HTTP."),
        Option(["--port", "-p"], type=int, help="The server's port, over HTTP."),
        Option(["--path"], help="The path of its endpoint, over HTTP."),
        Option(["--dry-run"], is_flag=True, help="Show what would change, and write nothing."),
        Option(["--remove"], is_flag=True, help="Remove the server from the client's file."),
        Option(["--force"], is_flag=True, help="Replace another entry of that name without asking."),
        Option(["listing", "--list"], is_flag=True, help="List the clients, and which are installed here."),
    ],
    examples=[
        "configure --list",
        "configure claude-code",
        "configure cursor server.py --dry-run",
        "configure vscode --name sums --url https://example.com/mcp",
    ],
)


def _server(
    client: Client,
    target: str | None,
    name: str | None,
    url: str | None,
    over_http: dict[str, str | int | None],
    env: list[str],
) -> RegisteredServer:
    """Return the server to register. A client without HTTP starts it, unless the options say otherwise."""
    if url is not None and name is not None:
        return RegisteredServer(name=name, url=url, env=env)
    app = load_app(target)
    warn_of_unknown_variables()
    name = name or name_of(app.name)
    if not name:
        raise CommandError("a client cannot use the app's name, which has no letters; give another with --name")
    if url is not None:
        return RegisteredServer(name=name, url=url, env=env)
    options = {key: value for key, value in over_http.items() if value is not None}
    if set(options) - {"transport"}:
        options.setdefault("transport", "http")
    settings = load({}, app.settings, options)
    starts = options.get("transport") == "stdio" or (not options and client.entry.http is None)
    if settings.transport == "http" and not starts:
        return RegisteredServer(name=name, url=settings.url, env=env, started_by=_run_command(target, options))
    return _started(app, name, env)


def _run_command(target: str | None, options: dict[str, str | int]) -> str:
    """Return the command that starts a server with these options."""
    arguments = [f"--{key}={value}" for key, value in options.items()]
    return shlex.join(["enfilade", "run", *([] if target is None else [target]), *arguments])


def _started(app: MCPApp, name: str, env: list[str]) -> RegisteredServer:
    source = find_source(app)
    file = str(Path(source.file).absolute())
    return RegisteredServer(
        name=name,
        file=source.as_argument(file),
        folder=project_folder(Path(file)),
        options=() if app.settings.transport == "stdio" else ("--transport", "stdio"),
        env=env,
    )


def _carry_out(console: Console, change: PlannedChange, *, dry_run: bool, force: bool) -> None:
    title, path = change.client.title, change.file.path
    if not change.changes:
        state = "already configured" if change.state == "same" else "nothing to remove"
        console.print(f"{title}: {state} in {path}", markup=False)
        return
    if dry_run or (change.state == "other" and not force):
        for line in change.diff():
            console.print(line, style=_COLOURS.get(line[:1]), markup=False)
    if not dry_run:
        if change.state == "other" and not force:
            _ask(path)
        copy = change.write()
        outcome = "removed from" if change.state == "gone" else "configured in"
        console.print(
            f"{title}: {outcome} {path}" + ("" if copy is None else f" (before: {copy.name})"), markup=False
        )
    for note in change.notes:
        console.print(f"  {note}", markup=False)
    if not dry_run and change.state != "gone":
        console.print(f"  Now {change.client.next_step}.", markup=False)


def _ask(path: Path) -> None:
    """Ask whether to replace another entry of that name.

    Raises:
        CommandError: the answer is no, or there is no terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandError(
            f"{path} has another entry of that name; --force replaces it, --name takes another name"
        )
    if not click.confirm("There is another entry of that name. Replace it?"):
        raise CommandError("nothing was changed", status=1)


def _list(console: Console, places: Places) -> None:
    for installation in installations(places):
        state = "found" if installation.is_present else ""
        title, scope = installation.client.name, installation.scope
        console.print(f"{title:<15} {state:<6} {scope:<8} {installation.display_path}", markup=False)
        for name in installation.servers:
            console.print(f"{'':<31} {name}", style="dim", markup=False)
    console.print("\nTo register this project's server: enfilade configure CLIENT", markup=False)
