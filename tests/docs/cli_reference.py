"""The page `docs/cli.md`, made from the command itself: `python tests/docs/cli_reference.py` writes it anew.

Easy to get wrong: a text in a table. A bar would end its cell, and not every renderer knows how it is escaped.
"""

import inspect
import re
import typing
from collections.abc import Callable, Iterator
from enum import EnumType
from pathlib import Path
from typing import Any

from enfilade.cli.command import cli
from enfilade.cli.examples import EXAMPLES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"

HEAD = """# Command line

`enfilade --help` shows the verbs, and `enfilade VERB --help` what is below. `python -m enfilade` is the same
command. `new`, `inspect`, `call`, `check` and `docker` need the extra `dev`, as does `configure goose`; the
others need nothing. An error is one line that says what to do. A wrong option or argument is different: it is
answered with the usage and a box of several lines. In both cases the exit status is 2. A server that cannot
start, because its port is in use or its lifespan fails, ends with 3.

<!-- Written by tests/docs/cli_reference.py: change the help of the commands instead. -->
"""


def reference() -> str:
    """Return the page."""
    lines = [HEAD]
    for command in cli.registered_commands:
        assert command.callback is not None
        lines += _verb(command.callback)
    return "\n".join(lines)


def _verb(function: Callable[..., Any]) -> Iterator[str]:
    name = function.__name__
    signature = inspect.signature(function, eval_str=True)
    given = [_Given(each, each.annotation) for each in signature.parameters.values()]
    words = [each.usage for each in given if each.usage]
    yield f"## `enfilade {name}`\n"
    yield f"{inspect.getdoc(function)}\n"
    yield f"<!-- test: figure -->\n```text\n{' '.join(['enfilade', name, '[OPTIONS]', *words])}\n```\n"
    yield "| argument or option | what it is |\n| --- | --- |"
    yield from (f"| {each.spelled} | {each.text} |" for each in given)
    yield "\n<!-- test: example -->\n```sh"
    yield from (f"enfilade {each}" for each in EXAMPLES[name])
    yield "```\n"


class _Given:
    """One argument or option, as the signature of a verb has it."""

    def __init__(self, parameter: inspect.Parameter, hint: Any) -> None:
        (info,) = typing.get_args(hint)[1:]
        kind = str(typing.get_args(hint)[0])
        many, flag = "list[" in kind, "bool" in kind
        value = info.metavar or _value(typing.get_args(hint)[0])
        argument = type(info).__name__ == "ArgumentInfo"
        required = parameter.default is inspect.Parameter.empty
        bare = value + "..." * many
        self.usage = "" if not argument else bare if required else f"[{bare}]"
        said = [each for each in (info.default, *(info.param_decls or ())) if isinstance(each, str)]
        names = [part for each in said or ["--" + parameter.name.replace("_", "-")] for part in each.split("/")]
        names.sort(key=lambda each: not each.startswith("--"))
        names = [value] if argument else names if flag else [f"{names[0]} {value}", *names[1:]]
        self.spelled = ", ".join(f"`{each}`".replace("|", "/") for each in names)
        text = re.sub(r"\s+", " ", info.help or "").replace("|", "\\|")
        default = info.show_default if isinstance(info.show_default, str) else parameter.default
        shown = info.show_default and type(default) in (str, int, float)
        self.text = text + (f" Default: {default}." if shown else "")


def _value(kind: Any) -> str:
    """Return a word for the values of a type."""
    within = [each for each in typing.get_args(kind) or (kind,) if each is not type(None)]
    if isinstance(within[0], str):
        return "|".join(within)
    if isinstance(within[0], EnumType):
        return "|".join(str(each.value) for each in within[0])
    if typing.get_args(within[0]):
        return _value(within[0])
    words = {int: "INTEGER", float: "NUMBER", Path: "PATH"}
    return words.get(within[0], "TEXT")


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
