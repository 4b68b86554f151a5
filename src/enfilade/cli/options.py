"""Options that several commands share, and those of `enfilade run` that are made from `Settings`.

A new setting gets its option without a change here. Two settings have none: the secret, since every user of the
machine can read arguments of processes; and `tool_names`, which is used before options are applied.
"""

from typing import Final, get_origin

import click

from enfilade.cli.command import Argument, Option
from enfilade.settings import Field, fields

#: Settings without an option.
WITHOUT_OPTION: Final = frozenset({"secret", "tool_names"})

#: The groups of the help page, with their settings. All other settings are limits.
_GROUPS: Final = {
    "Serving": (
        *("transport", "host", "port", "path", "health_path", "ready_path", "workers", "store", "log_level"),
    ),
    "Who may call": ("allowed_hosts", "allowed_origins", "allow_localhost"),
    "Sessions and streams": (
        *("sessions", "session_ttl", "json_response", "stream_grace", "resumable", "stream_age", "stream_retry"),
        *("keep_alive", "stream_buffer"),
    ),
}
_GROUP_OF: Final = {name: group for group, names in _GROUPS.items() for name in names}
_SHORT: Final = {"transport": "-t", "port": "-p", "workers": "-w"}
#: Help texts for options that need another text than the description of the setting.
_HELP: Final = {
    "transport": "stdio (default, unless the app says otherwise) or http.",
    "host": "Address to bind (default 127.0.0.1).",
    "port": "Port to bind; 0 for a free one (default 8000).",
    "workers": "Processes that serve, over http (default 1).",
    "store": "Where state is kept: memory:// (default), sqlite:///file.db, redis://host:6379/0.",
    "log_level": "debug, info (default), warning, error or critical.",
}
#: The file of an app.
FILE: Final = Argument(
    ["target"],
    metavar="FILE[:NAME]",
    type=click.Path(),
    required=False,
    help="Python file, and the app's name in it if there are several; or a project's folder (default: this one).",
)
#: A server to connect to, as `target_of` reads it.
SERVER: Final = Argument(
    ["target"],
    metavar="TARGET",
    type=click.Path(),
    nargs=-1,
    help="FILE[:NAME], a project's folder, a URL, or the command that starts a server (in quotes, or after --).",
)
HEADER: Final = Option(
    ["header", "--header", "-H"],
    multiple=True,
    metavar="'NAME: VALUE'",
    help="Send this header with each HTTP request. May be repeated.",
)
ERA: Final = Option(
    ["--era"],
    default="auto",
    show_default=True,
    metavar="auto|stateless|session",
    help="Use the stateless revision (2026-07-28) or one with sessions (up to 2025-11-25).",
)


def timeout_option(default: float) -> Option:
    """Return the option that limits the time of each response.

    Args:
        default: seconds.
    """
    return Option(
        ["--timeout"],
        type=float,
        default=default,
        show_default=True,
        metavar="SECONDS",
        help="Wait at most so long for each response.",
    )


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


def _help(field: Field) -> str:
    """Return the description of a setting as a sentence, with its default."""
    text = field.allowed.description or ""
    default = field.default
    if isinstance(default, bool):
        default = "on" if default else "off"
    elif isinstance(default, float):
        default = f"{default:g}"
    end = "." if default in ((), "") else f" (default {default})."
    return text[:1].upper() + text[1:] + end


def _metavar(name: str, field: Field) -> str | None:
    """Return a word for the values; None for click's. Every setting that is a float is a time."""
    if name == "transport":
        return "stdio|http"
    if get_origin(field.kind) is tuple:
        return "NAME,..."
    return "SECONDS" if field.kind is float else None
