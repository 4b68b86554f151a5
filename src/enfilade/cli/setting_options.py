"""The options of `enfilade run` that are settings, made from `Settings`: a new setting has its option by itself.

Nothing here needs typer; `run_signature.py` hands these options to it. Two settings have none: the secret, since
every user of the machine can read what is typed; and how tools are named, because that is decided when the app is
made, which is before the options are applied.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, get_origin

from enfilade.settings import Field, fields

#: Settings without an option.
WITHOUT_OPTION: Final = frozenset({"secret", "tool_names"})

#: The groups of the help, with their settings. What is in none of them is a limit.
_GROUPS: Final = {
    "Serving": (
        "transport",
        "host",
        "port",
        "path",
        "health_path",
        "ready_path",
        "workers",
        "store",
        "log_level",
    ),
    "Who may call": ("allowed_hosts", "allowed_origins", "allow_localhost"),
    "Sessions and streams": (
        *("sessions", "session_ttl", "json_response", "stream_grace", "resumable", "stream_age", "stream_retry"),
        *("keep_alive", "stream_buffer"),
    ),
}
_GROUP_OF: Final = {name: group for group, names in _GROUPS.items() for name in names}
_SHORT: Final = {"transport": "-t", "port": "-p", "workers": "-w"}
#: Texts where the description of the setting says less than can be said here.
_HELP: Final = {
    "transport": "stdio (default, unless the app says otherwise) or http.",
    "host": "Address to bind (default 127.0.0.1).",
    "port": "Port to bind; 0 for a free one (default 8000).",
    "workers": "Processes that serve, over http (default 1).",
    "store": "Where state is kept: memory:// (default), sqlite:///file.db, redis://host:6379/0.",
    "log_level": "debug, info (default), warning, error or critical.",
}


class SettingOption(NamedTuple):
    """An option of the command line that sets one setting.

    Attributes:
        name: of the setting.
        words: what may be typed; the first is the long one.
        opposite: what may be typed to turn a flag off; empty for options that take a value.
        kind: the type of the value: str, int, float or bool.
        group: the group of the help that it is in.
        help: what it sets, with its default.
        metavar: the word that stands for its value in the help; empty for typer's own.
    """

    name: str
    words: tuple[str, ...]
    opposite: str
    kind: type[Any]
    group: str
    help: str
    metavar: str


def setting_options() -> Iterator[SettingOption]:
    """Yield the options, group by group, in the order of `Settings`."""
    groups = [*_GROUPS, "Limits"]
    names = [name for name in fields() if name not in WITHOUT_OPTION]
    for name in sorted(names, key=lambda each: groups.index(_group(each))):
        field = fields()[name]
        kind = field.kind if field.kind in {int, float, bool} else str
        word = name.replace("_", "-")
        yield SettingOption(
            name=name,
            words=(f"--{word}", *([_SHORT[name]] if name in _SHORT else [])),
            opposite=f"--no-{word}" if kind is bool else "",
            kind=kind,
            group=_group(name),
            help=_HELP.get(name) or _help(field),
            metavar=_metavar(name, field),
        )


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


def _metavar(name: str, field: Field) -> str:
    """Return a word for the values. Every setting that is a float is a time."""
    if name == "transport":
        return "stdio|http"
    if get_origin(field.kind) is tuple:
        return "NAME,..."
    return "SECONDS" if field.kind is float else ""
