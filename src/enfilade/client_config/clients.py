"""The clients, as a table: where each keeps its servers, and how it spells an entry.

Sources are the clients' own documents of 2026: code.claude.com/docs/en/mcp, cursor.com/docs/mcp,
code.visualstudio.com/docs (MCP configuration reference), gemini-cli docs/tools/mcp-server.md, goose
docs/guides/config-files.md, docs.windsurf.com (Cascade MCP), zed.dev/docs/ai/mcp. Easy to get wrong: Claude
Desktop on Windows. What is installed as a package reads a file of its own, and none in `%APPDATA%`.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from enfilade.client_config.locations import System

Secrets = Literal["env", "inputs", "env_keys", "none"]

#: Everywhere below the home directory.
_HOME: Final = "linux", "macos", "windows"


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """A client, and the form of its files.

    Attributes:
        name: what it is called on the command line.
        title: its name for people.
        key: the member that holds its servers.
        user: the user's file, by system, as templates of `Places`.
        project: the project's file, below the project; None if it has none.
        stdio: what an entry has besides, if the client starts the server.
        http: the same if it connects by HTTP; None if it cannot.
        command: how the command's member is called.
        url: how the URL's member is called.
        folder: how the working directory's member is called; None if there is none.
        secrets: where a variable is referred to: in `env`, by `inputs` it asks for, in `env_keys`, or nowhere.
        reference: how the value of `KEY` is referred to.
        named: whether an entry repeats its name.
        kind: the language of its files.
        comments: whether it reads JSON with comments.
        windowed: whether it has a window, so that under WSL it is a program of Windows.
        asks: where a value that is referred to comes from, for people.
        afterwards: what makes it take notice of a change.
        otherwise: what to do if it should connect by HTTP and cannot.
    """

    name: str
    title: str
    key: str = "mcpServers"
    user: Mapping[System, tuple[str, ...]]
    project: str | None = None
    stdio: Mapping[str, Any] = {}
    http: Mapping[str, Any] | None = {}
    command: str = "command"
    url: str = "url"
    folder: str | None = None
    secrets: Secrets = "env"
    reference: str = "${env:KEY}"
    named: bool = False
    kind: Literal["json", "yaml"] = "json"
    comments: bool = True
    windowed: bool = True
    asks: str = "set it where {title} is started"
    afterwards: str
    otherwise: str = ""


_ALL: Final = (
    Client(
        name="claude-desktop",
        title="Claude Desktop",
        user={
            "linux": ("{config}/Claude/claude_desktop_config.json",),
            "macos": ("{support}/Claude/claude_desktop_config.json",),
            "windows": (
                "{LOCALAPPDATA}/Packages/Claude_*/LocalCache/Roaming/Claude/claude_desktop_config.json",
                "{APPDATA}/Claude/claude_desktop_config.json",
            ),
        },
        http=None,
        secrets="none",
        comments=False,
        afterwards="quit Claude Desktop and start it again",
        otherwise=(
            "Claude Desktop starts the servers in its file itself, and reads no URL there. Leave the URL out, "
            "and it starts this server over stdio. A server that the internet can reach is added in its "
            "settings, under Connectors. Or put a bridge into the file by hand: "
            '{{"command": "npx", "args": ["-y", "mcp-remote", "{url}"]}}'
        ),
    ),
    Client(
        name="claude-code",
        title="Claude Code",
        user=dict.fromkeys(_HOME, ("{CLAUDE_CONFIG_DIR}/.claude.json", "{home}/.claude.json")),
        project=".mcp.json",
        stdio={"type": "stdio"},
        http={"type": "http"},
        reference="${KEY}",
        comments=False,
        windowed=False,
        afterwards="start Claude Code again and look at /mcp",
    ),
    Client(
        name="cursor",
        title="Cursor",
        user=dict.fromkeys(_HOME, ("{home}/.cursor/mcp.json",)),
        project=".cursor/mcp.json",
        stdio={"type": "stdio"},
        afterwards="switch the server on in Cursor's settings, under MCP",
    ),
    Client(
        name="vscode",
        title="VS Code",
        key="servers",
        user={
            "linux": ("{config}/Code/User/mcp.json",),
            "macos": ("{support}/Code/User/mcp.json",),
            "windows": ("{APPDATA}/Code/User/mcp.json",),
        },
        project=".vscode/mcp.json",
        stdio={"type": "stdio"},
        http={"type": "http"},
        folder="cwd",
        secrets="inputs",
        reference="${input:KEY}",
        asks="{title} asks for it when it first starts the server, and keeps it safe",
        afterwards="start the server in VS Code: MCP: List Servers",
    ),
    Client(
        name="gemini",
        title="Gemini CLI",
        user=dict.fromkeys(_HOME, ("{home}/.gemini/settings.json",)),
        project=".gemini/settings.json",
        url="httpUrl",
        folder="cwd",
        reference="${KEY}",
        windowed=False,
        afterwards="start Gemini CLI again and look at /mcp",
    ),
    Client(
        name="goose",
        title="Goose",
        key="extensions",
        user={
            "linux": ("{config}/goose/config.yaml",),
            "macos": ("{home}/.config/goose/config.yaml",),
            "windows": ("{APPDATA}/Block/goose/config/config.yaml",),
        },
        stdio={"enabled": True, "type": "stdio", "description": "", "timeout": 300},
        http={"enabled": True, "type": "streamable_http", "description": "", "timeout": 300},
        command="cmd",
        url="uri",
        secrets="env_keys",
        named=True,
        kind="yaml",
        windowed=False,
        asks="{title} takes it from its environment or its keyring",
        afterwards="start a new Goose session",
    ),
    Client(
        name="windsurf",
        title="Windsurf",
        user=dict.fromkeys(_HOME, ("{home}/.codeium/windsurf/mcp_config.json",)),
        url="serverUrl",
        afterwards="refresh the MCP servers in Windsurf's Cascade panel",
    ),
    Client(
        name="zed",
        title="Zed",
        key="context_servers",
        user={
            "linux": ("{config}/zed/settings.json",),
            "macos": ("{home}/.config/zed/settings.json",),
            "windows": ("{APPDATA}/Zed/settings.json",),
        },
        secrets="none",
        afterwards="look at the dot beside the server in Zed's agent settings",
    ),
    Client(
        name="mcp.json",
        title="mcp.json",
        user={},
        project="mcp.json",
        secrets="none",
        windowed=False,
        afterwards="give the file to a client that reads it",
    ),
)

#: Every client, by the name that is typed.
CLIENTS: Final[dict[str, Client]] = {client.name: client for client in _ALL}
