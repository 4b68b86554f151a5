"""The table of clients: where each keeps its servers, and how it writes an entry.

Sources are the clients' own documents of 2026: code.claude.com/docs/en/mcp, cursor.com/docs/mcp,
code.visualstudio.com/docs (MCP configuration reference), gemini-cli docs/tools/mcp-server.md, goose
docs/guides/config-files.md, docs.windsurf.com (Cascade MCP), zed.dev/docs/ai/mcp.

Easy to get wrong: Claude Desktop on Windows. The packaged application reads a file in its own folder, and none in
`%APPDATA%`.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from enfilade.client_config.locations import System

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
