"""The entry of a server in a client's file.

A client starts a server in its own folder with its own environment, so the command and the working directory in
an entry are absolute.

Easy to get wrong: secrets. Their values are never written into a client's file, only references to variables; for
a client without references nothing is written.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from enfilade.client_config import ClientFileError
from enfilade.client_config.clients import Client
from enfilade.client_config.locations import Location, Places

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is registered with a client.

    Attributes:
        name: its name in the client's file.
        url: the URL of its endpoint; None if the client starts it.
        file: the Python file of the app, followed by `:NAME` if the app's variable is not `app`.
        folder: its working directory, in which its `.env` is looked for.
        options: further arguments of `enfilade run`.
        env: the names of the variables that it needs.
        started_by: the command that starts it at its URL; empty if that is unknown.
    """

    name: str
    url: str | None = None
    file: str = ""
    folder: Path = Path()
    options: Sequence[str] = ()
    env: Sequence[str] = ()
    started_by: str = ""


class Entry(msgspec.Struct, frozen=True):
    """An entry, and what belongs to it elsewhere in the file.

    Attributes:
        members: the members of the entry.
        inputs: the items of the array `inputs`: values that the client asks for.
        notes: remarks for the user.
    """

    members: dict[str, Any]
    inputs: list[dict[str, Any]] = []
    notes: list[str] = []


def input_id(name: str, key: str) -> str:
    """Return the id of a value that the client asks for."""
    return f"{name}-{key.lower().replace('_', '-')}"


def own_command() -> list[str]:
    """Return the command and arguments that start this installation of `enfilade` from any folder."""
    folder = Path(sys.executable).parent
    for script in ("enfilade.exe", "enfilade"):
        if (folder / script).is_file():
            return [str(folder / script)]
    return [sys.executable, "-m", "enfilade"]


def entry_for(client: Client, server: Server, location: Location, places: Places) -> Entry:
    """Return a client's entry for a server.

    Raises:
        ClientFileError: the client does not support the server's transport, or a variable has a value.
    """
    for key in server.env:
        if not _VARIABLE.fullmatch(key):
            raise ClientFileError(
                f"--env takes the name of a variable, such as API_KEY, and not {key.partition('=')[0]!r} with a "
                "value: values of secrets are not copied into the files of clients"
            )
    if server.url is None:
        return _stdio(client, server, location, places)
    if client.entry.http is None:
        raise ClientFileError(client.no_http_hint.format(url=server.url))
    if server.env:
        raise ClientFileError("--env is for servers that the client starts; set it where this server is started")
    members = {**client.entry.http, **_own_name(client, server), client.entry.url_key: server.url}
    notes = [
        f"{client.title} does not start it: `{server.started_by}` must be running when it connects. "
        "With --transport stdio the client starts it"
    ]
    return Entry(members, notes=notes if server.started_by else [])


def _stdio(client: Client, server: Server, location: Location, places: Places) -> Entry:
    entry_format, folder = client.entry, str(server.folder)
    program, *arguments = own_command()
    arguments += ["run", server.file, *server.options]
    members: dict[str, Any] = {**entry_format.stdio, **_own_name(client, server)}
    if location.in_windows:
        distro = ["--distribution", places.distro] if places.distro else []
        arguments = [*distro, "--cd", folder, "--exec", program, *arguments]
        program = "wsl.exe"
    elif entry_format.cwd_key is None:
        arguments += ["--directory", folder]
    members |= {entry_format.command_key: program, "args": arguments}
    if entry_format.cwd_key is not None and not location.in_windows:
        members[entry_format.cwd_key] = folder
    notes, inputs = _refer_to_variables(client, server, members, in_windows=location.in_windows)
    project_file = client.project_file
    if client.user_files and project_file is not None and location.path == places.in_project(project_file).path:
        notes.append("the entry has paths of this machine: keep the file to yourself, or take --user")
    return Entry(members, inputs, notes)


def _own_name(client: Client, server: Server) -> dict[str, str]:
    return {"name": server.name} if client.entry.repeats_name else {}


def _refer_to_variables(
    client: Client, server: Server, members: dict[str, Any], *, in_windows: bool
) -> tuple[list[str], list[dict[str, Any]]]:
    """Add references to variables to an entry; return the notes about them, and the inputs of the client."""
    if not server.env:
        return [], []
    keys = ", ".join(server.env)
    if client.entry.secrets == "none" or in_windows:
        reason = f"{client.title} cannot refer to variables"
        if in_windows:
            reason = "no variable gets to the other side of WSL"
        return [f"{keys}: {reason}; put it into {server.folder / '.env'}, where the server looks for secrets"], []
    notes = [f"{keys}: {client.variable_hint.format(title=client.title)}"]
    if client.entry.secrets == "env_keys":
        members["env_keys"] = list(server.env)
        return notes, []
    by_inputs = client.entry.secrets == "inputs"
    names = {key: input_id(server.name, key) if by_inputs else key for key in server.env}
    members["env"] = {key: client.entry.reference.replace("KEY", name) for key, name in names.items()}
    inputs = [
        {"type": "promptString", "id": name, "description": f"{key} for {server.name}", "password": True}
        for key, name in names.items()
        if by_inputs
    ]
    return notes, inputs
