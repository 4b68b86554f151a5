"""From a server to what a client's file says of it.

A client starts a server from its own folder with its own environment, so an entry holds nothing that either would
have to find: the command is absolute, and so is the folder to work in. The easy thing to get wrong are secrets:
their values never go into a client's file, only references, and where a client knows none, nothing.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from enfilade.client_config.clients import Client
from enfilade.client_config.errors import ClientFileError
from enfilade.client_config.locations import Location, Places

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server as a client should know it.

    Attributes:
        name: its name there.
        url: where it listens; None if the client is to start it.
        file: the Python file that makes the app, with `:NAME` behind it if that is not `app`.
        folder: where it works, and where its `.env` is looked for.
        options: further words for `enfilade run`.
        env: the variables that it needs.
        started_by: the command that makes it listen at its URL; empty if that is not ours to know.
    """

    name: str
    url: str | None = None
    file: str = ""
    folder: Path = Path()
    options: Sequence[str] = ()
    env: Sequence[str] = ()
    started_by: str = ""


class Entry(msgspec.Struct, frozen=True):
    """What a client's file is to say.

    Attributes:
        members: the entry.
        inputs: what the client is to ask for.
        notes: what people should know of it.
    """

    members: dict[str, Any]
    inputs: list[dict[str, Any]] = []
    notes: list[str] = []


def input_id(name: str, key: str) -> str:
    """Return what a client calls the value it asks for."""
    return f"{name}-{key.lower().replace('_', '-')}"


def command() -> list[str]:
    """Return the words that start `enfilade` as it runs now, wherever they are typed."""
    folder = Path(sys.executable).parent
    for script in ("enfilade.exe", "enfilade"):
        if (folder / script).is_file():
            return [str(folder / script)]
    return [sys.executable, "-m", "enfilade"]


def entry_for(client: Client, server: Server, location: Location, places: Places) -> Entry:
    """Return a client's entry for a server.

    Raises:
        ClientFileError: the client cannot connect so.
    """
    for key in server.env:
        if not _VARIABLE.fullmatch(key):
            raise ClientFileError(
                f"--env takes the name of a variable, such as API_KEY, and not {key.partition('=')[0]!r} with a "
                "value: values of secrets are not copied into the files of clients"
            )
    if server.url is None:
        return _stdio(client, server, location, places)
    if client.http is None:
        raise ClientFileError(client.otherwise.format(url=server.url))
    if server.env:
        raise ClientFileError("--env is for servers that the client starts; set it where this server is started")
    members = {**client.http, **({"name": server.name} if client.named else {}), client.url: server.url}
    notes = [
        f"{client.title} does not start it: `{server.started_by}` must be running when it connects. "
        "With --transport stdio the client starts it"
    ]
    return Entry(members, notes=notes if server.started_by else [])


def _stdio(client: Client, server: Server, location: Location, places: Places) -> Entry:
    program, *words = command()
    run, folder = [*words, "run", server.file, *server.options], str(server.folder)
    members: dict[str, Any] = {**client.stdio, **({"name": server.name} if client.named else {})}
    if location.across:
        distro = ["--distribution", places.distro] if places.distro else []
        words = [*distro, "--cd", folder, "--exec", program, *run]
        program = "wsl.exe"
    elif client.folder is None:
        words = [*run, "--directory", folder]
    else:
        words = run
    members |= {client.command: program, "args": words}
    if client.folder is not None and not location.across:
        members[client.folder] = folder
    notes, inputs = _refer(client, server, members, across=location.across)
    if client.user and client.project is not None and location.path == places.in_project(client.project).path:
        notes.append("the entry has paths of this machine: keep the file to yourself, or take --user")
    return Entry(members, inputs, notes)


def _refer(
    client: Client, server: Server, members: dict[str, Any], *, across: bool
) -> tuple[list[str], list[dict[str, Any]]]:
    """Put references to variables into an entry; return what to know of them, and what the client asks for."""
    if not server.env:
        return [], []
    keys = ", ".join(server.env)
    if client.secrets == "none" or across:
        why = (
            "no variable gets to the other side of WSL" if across else f"{client.title} cannot refer to variables"
        )
        return [f"{keys}: {why}; put it into {server.folder / '.env'}, where the server looks for secrets"], []
    notes = [f"{keys}: {client.asks.format(title=client.title)}"]
    if client.secrets == "env_keys":
        members["env_keys"] = list(server.env)
        return notes, []
    asked = client.secrets == "inputs"
    names = {key: input_id(server.name, key) if asked else key for key in server.env}
    members["env"] = {key: client.reference.replace("KEY", name) for key, name in names.items()}
    inputs = [
        {"type": "promptString", "id": name, "description": f"{key} for {server.name}", "password": True}
        for key, name in names.items()
        if asked
    ]
    return notes, inputs
