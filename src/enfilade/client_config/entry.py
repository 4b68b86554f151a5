"""The table of clients, and the entry of a server as each of them writes it.

A client starts a server in its own folder with its own environment, so the command and the working directory in
an entry are absolute.

Sources of the table are the clients' own documents of 2026: code.claude.com/docs/en/mcp, cursor.com/docs/mcp,
code.visualstudio.com/docs (MCP configuration reference), gemini-cli docs/tools/mcp-server.md, goose
docs/guides/config-files.md, docs.windsurf.com (Cascade MCP), zed.dev/docs/ai/mcp.

Easy to get wrong:
- Secrets. Their values are never written into a client's file, only references to variables; for a client without
  references nothing is written.
- Claude Desktop on Windows. The packaged application reads a file in its own folder, and none in `%APPDATA%`.
"""

import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from enfilade.client_config import ClientFileError
from enfilade.client_config.locations import Location, Places, System

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

#: How an entry refers to a variable: in `env`, by `inputs` that the client asks for, in `env_keys`, or not.
SecretStyle = Literal["env", "inputs", "env_keys", "none"]

#: All systems, for files below the home directory.
_SYSTEMS: Final = "linux", "macos", "windows"


class EntryFormat(msgspec.Struct, frozen=True, kw_only=True):
    """How a client writes the entry of a server.

    Attributes:
        stdio: constant members of an entry for a server that the client starts.
        http: constant members of an entry with a URL; None if the client does not connect by HTTP.
        command_key: the name of the member with the command.
        url_key: the name of the member with the URL.
        cwd_key: the name of the member with the working directory; None if there is none.
        repeats_name: whether an entry contains its own name as `name`.
        secrets: how it refers to variables.
        reference: the text that refers to the variable `KEY`.
    """

    stdio: Mapping[str, Any] = {}
    http: Mapping[str, Any] | None = {}
    command_key: str = "command"
    url_key: str = "url"
    cwd_key: str | None = None
    repeats_name: bool = False
    secrets: SecretStyle = "env"
    reference: str = "${env:KEY}"


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """A client and its configuration files.

    Attributes:
        name: its name on the command line.
        title: its name in messages.
        servers_key: the top-level member that holds the servers.
        user_files: the candidates for the user's file by system, as templates of `Places`, the likeliest first.
        project_file: the path of the project's file in the project; None if it has none.
        language: the language of its files; `jsonc` is JSON with comments and trailing commas.
        has_window: whether it is a graphical application, which under WSL is a program of Windows.
        entry: how it writes an entry.
        variable_hint: where the value of a variable comes from, as an instruction for the user.
        next_step: how to make the client read its file again, as an instruction for the user.
        no_http_hint: the instruction for a user whose server has a URL, if it does not connect by HTTP.
    """

    name: str
    title: str
    servers_key: str = "mcpServers"
    user_files: Mapping[System, tuple[str, ...]]
    project_file: str | None = None
    language: Literal["json", "jsonc", "yaml"] = "jsonc"
    has_window: bool = True
    entry: EntryFormat = EntryFormat()
    variable_hint: str = "set it where {title} is started"
    next_step: str
    no_http_hint: str = ""


_ALL: Final = (
    Client(
        name="claude-desktop",
        title="Claude Desktop",
        user_files={
            "linux": ("{config}/Claude/claude_desktop_config.json",),
            "macos": ("{support}/Claude/claude_desktop_config.json",),
            "windows": (
                "{LOCALAPPDATA}/Packages/Claude_*/LocalCache/Roaming/Claude/claude_desktop_config.json",
                "{APPDATA}/Claude/claude_desktop_config.json",
            ),
        },
        language="json",
        next_step="quit Claude Desktop and start it again",
        no_http_hint=(
            "Claude Desktop starts the servers in its file itself, and reads no URL there. Leave the URL out, "
            "and it starts this server over stdio. A server that the internet can reach is added in its "
            "settings, under Connectors. Or put a bridge into the file by hand: "
            '{{"command": "npx", "args": ["-y", "mcp-remote", "{url}"]}}'
        ),
        entry=EntryFormat(http=None, secrets="none"),
    ),
    Client(
        name="claude-code",
        title="Claude Code",
        user_files=dict.fromkeys(_SYSTEMS, ("{CLAUDE_CONFIG_DIR}/.claude.json", "{home}/.claude.json")),
        project_file=".mcp.json",
        language="json",
        has_window=False,
        next_step="start Claude Code again and look at /mcp",
        entry=EntryFormat(stdio={"type": "stdio"}, http={"type": "http"}, reference="${KEY}"),
    ),
    Client(
        name="cursor",
        title="Cursor",
        user_files=dict.fromkeys(_SYSTEMS, ("{home}/.cursor/mcp.json",)),
        project_file=".cursor/mcp.json",
        next_step="switch the server on in Cursor's settings, under MCP",
        entry=EntryFormat(stdio={"type": "stdio"}),
    ),
    Client(
        name="vscode",
        title="VS Code",
        servers_key="servers",
        user_files={
            "linux": ("{config}/Code/User/mcp.json",),
            "macos": ("{support}/Code/User/mcp.json",),
            "windows": ("{APPDATA}/Code/User/mcp.json",),
        },
        project_file=".vscode/mcp.json",
        variable_hint="{title} asks for it when it first starts the server, and keeps it safe",
        next_step="start the server in VS Code: MCP: List Servers",
        entry=EntryFormat(
            stdio={"type": "stdio"},
            http={"type": "http"},
            cwd_key="cwd",
            secrets="inputs",
            reference="${input:KEY}",
        ),
    ),
    Client(
        name="gemini",
        title="Gemini CLI",
        user_files=dict.fromkeys(_SYSTEMS, ("{home}/.gemini/settings.json",)),
        project_file=".gemini/settings.json",
        has_window=False,
        next_step="start Gemini CLI again and look at /mcp",
        entry=EntryFormat(url_key="httpUrl", cwd_key="cwd", reference="${KEY}"),
    ),
    Client(
        name="goose",
        title="Goose",
        servers_key="extensions",
        user_files={
            "linux": ("{config}/goose/config.yaml",),
            "macos": ("{home}/.config/goose/config.yaml",),
            "windows": ("{APPDATA}/Block/goose/config/config.yaml",),
        },
        language="yaml",
        has_window=False,
        variable_hint="{title} takes it from its environment or its keyring",
        next_step="start a new Goose session",
        entry=EntryFormat(
            stdio={"enabled": True, "type": "stdio", "description": "", "timeout": 300},
            http={"enabled": True, "type": "streamable_http", "description": "", "timeout": 300},
            command_key="cmd",
            url_key="uri",
            secrets="env_keys",
            repeats_name=True,
        ),
    ),
    Client(
        name="windsurf",
        title="Windsurf",
        user_files=dict.fromkeys(_SYSTEMS, ("{home}/.codeium/windsurf/mcp_config.json",)),
        next_step="refresh the MCP servers in Windsurf's Cascade panel",
        entry=EntryFormat(url_key="serverUrl"),
    ),
    Client(
        name="zed",
        title="Zed",
        servers_key="context_servers",
        user_files={
            "linux": ("{config}/zed/settings.json",),
            "macos": ("{home}/.config/zed/settings.json",),
            "windows": ("{APPDATA}/Zed/settings.json",),
        },
        next_step="look at the dot beside the server in Zed's agent settings",
        entry=EntryFormat(secrets="none"),
    ),
    Client(
        name="mcp.json",
        title="mcp.json",
        user_files={},
        project_file="mcp.json",
        has_window=False,
        next_step="give the file to a client that reads it",
        entry=EntryFormat(secrets="none"),
    ),
)

#: Every client, by its name on the command line.
CLIENTS: Final[dict[str, Client]] = {client.name: client for client in _ALL}


# -- The entry of a server ---
class RegisteredServer(msgspec.Struct, frozen=True, kw_only=True):
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


class ServerEntry(msgspec.Struct, frozen=True):
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


def entry_for(client: Client, server: RegisteredServer, location: Location, places: Places) -> ServerEntry:
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
    return ServerEntry(members, notes=notes if server.started_by else [])


def _stdio(client: Client, server: RegisteredServer, location: Location, places: Places) -> ServerEntry:
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
    return ServerEntry(members, inputs, notes)


def _own_name(client: Client, server: RegisteredServer) -> dict[str, str]:
    return {"name": server.name} if client.entry.repeats_name else {}


def _refer_to_variables(
    client: Client, server: RegisteredServer, members: dict[str, Any], *, in_windows: bool
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


def __getattr__(name: str) -> Any:
    if name != "Server":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    message = "enfilade.client_config.entry.Server is now called RegisteredServer"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return RegisteredServer
