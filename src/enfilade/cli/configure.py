"""`enfilade configure CLIENT [TARGET]`: tell a client of a server, or let it forget one."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from enfilade.app import MCPApp
from enfilade.cli.errors import CommandError, text_of
from enfilade.client_config import ClientFileError, name_of
from enfilade.client_config.clients import Client
from enfilade.client_config.entry import Server
from enfilade.client_config.locations import Places
from enfilade.client_config.plan import (
    Change,
    client_named,
    installations,
    location_of,
    plan_addition,
    plan_removal,
)
from enfilade.discovery import load_app
from enfilade.loading import LoadError, find_source
from enfilade.setting_sources import load, warn_of_unknown_variables
from enfilade.settings import SettingsError
from enfilade.transports.processes.file_watcher import watched_folder

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def configure(
    client: Annotated[
        str | None, typer.Argument(metavar="CLIENT", help="Which client; --list shows them.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE[:NAME]",
            help="Python file, and the app's name in it if there are several; or a project's folder "
            "(default: this one).",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What the client calls the server (default: the app's).")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The client's file, in place of the one it has.")] = None,
    user: Annotated[
        bool | None, typer.Option("--user/--project", help="The user's file, or that of this project (default).")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="A variable it needs; referred to, never copied.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Where it listens, if the client should connect by HTTP.")
    ] = None,
    transport: Annotated[
        str | None,
        typer.Option(
            "--transport",
            "-t",
            help="stdio: the client starts the server; http: it connects to one that runs (default: the app's).",
            metavar="stdio|http",
        ),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Its address, over http.")] = None,
    port: Annotated[int | None, typer.Option("--port", "-p", help="Its port, over http.")] = None,
    path: Annotated[str | None, typer.Option(help="The path of its endpoint, over http.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and write nothing.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Let the client forget the server.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace another entry of that name unasked.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="Show the clients, and which are here.")] = False,
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
        known = client_named(client)
        location = location_of(known, places, None if user is None else "user" if user else "project", config)
        over_http = {"transport": transport, "host": host, "port": port, "path": path}
        if remove:
            change = plan_removal(known, name or _server(known, target, None, None, {}, []).name, location)
        else:
            server = _server(known, target, name, url, over_http, env or [])
            change = plan_addition(known, server, places, location)
        _carry_out(console, change, dry_run=dry_run, force=force)
    except (ClientFileError, LoadError, SettingsError) as error:
        raise CommandError(text_of(error)) from None


def _server(
    client: Client,
    target: str | None,
    name: str | None,
    url: str | None,
    over_http: dict[str, str | int | None],
    env: list[str],
) -> Server:
    """Return the server that is meant. A client that connects to none starts it, unless that was ruled out."""
    if url is not None and name is not None:
        return Server(name=name, url=url, env=env)
    app = load_app(target)
    warn_of_unknown_variables()
    name = name or name_of(app.name)
    if not name:
        raise CommandError("the app's name has no letters for this; say what the client calls it by --name")
    if url is not None:
        return Server(name=name, url=url, env=env)
    told = {key: value for key, value in over_http.items() if value is not None}
    if set(told) - {"transport"}:
        told.setdefault("transport", "http")
    settings = load({}, app.settings, told)
    starts = told.get("transport") == "stdio" or (not told and client.entry.http is None)
    if settings.transport == "http" and not starts:
        return Server(name=name, url=settings.url, env=env, started_by=_run_command(target, told))
    return _started(app, name, env)


def _run_command(target: str | None, options: dict[str, str | int]) -> str:
    """Return the command that starts a server as it was described here."""
    words = [f"--{key}={value}" for key, value in options.items()]
    return shlex.join(["enfilade", "run", *([] if target is None else [target]), *words])


def _started(app: MCPApp, name: str, env: list[str]) -> Server:
    source = find_source(app)
    file = str(Path(source.file).absolute())
    return Server(
        name=name,
        file=source.as_argument(file),
        folder=watched_folder(Path(file)),
        options=() if app.settings.transport == "stdio" else ("--transport", "stdio"),
        env=env,
    )


def _carry_out(console: Console, change: Change, *, dry_run: bool, force: bool) -> None:
    title, path = change.client.title, change.file.path
    if not change.changes:
        said = "already configured" if change.state == "same" else "nothing to remove"
        console.print(f"{title}: {said} in {path}", markup=False)
        return
    if dry_run or (change.state == "other" and not force):
        for line in change.diff():
            console.print(line, style=_COLOURS.get(line[:1]), markup=False)
    if not dry_run:
        if change.state == "other" and not force:
            _ask(path)
        copy = change.write()
        what = "removed from" if change.state == "gone" else "configured in"
        console.print(
            f"{title}: {what} {path}" + ("" if copy is None else f" (before: {copy.name})"), markup=False
        )
    for note in change.notes:
        console.print(f"  {note}", markup=False)
    if not dry_run and change.state != "gone":
        console.print(f"  Now {change.client.next_step}.", markup=False)


def _ask(path: Path) -> None:
    """Ask whether another entry of that name may go."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandError(
            f"{path} has another entry of that name; --force replaces it, --name takes another name"
        )
    if not typer.confirm("There is another entry of that name. Replace it?"):
        raise CommandError("nothing was changed", status=1)


def _list(console: Console, places: Places) -> None:
    for each in installations(places):
        here = "found" if each.is_present else ""
        console.print(f"{each.client.name:<15} {here:<6} {each.scope:<8} {each.display_path}", markup=False)
        for name in each.servers:
            console.print(f"{'':<31} {name}", style="dim", markup=False)
    console.print("\nTo tell a client of this project's server: enfilade configure CLIENT", markup=False)
