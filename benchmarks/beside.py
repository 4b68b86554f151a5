"""Rows of servers that others bring, in any language: what `--beside NAME=COMMAND` asks for.

Such a server has the tool `echo(text)`, and serves `/mcp` on the port that its command gets. It is checked and
loaded as every other one. The easy thing to get wrong is where it starts: in the folder of whoever wrote the
command, since its words may be paths.
"""

import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import works
from processes import BenchError
from rows import GROUPS, ROWS, Row

#: What may follow the `@` behind a name, and the work of that group.
_WORKS: Final = {"calls": works.ECHO, "stateless": works.ECHO_STATELESS}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def rows_beside(values: Sequence[str]) -> list[Row]:
    """Return the rows that values of the option `--beside` ask for.

    Args:
        values: `NAME=COMMAND` or `NAME@GROUP=COMMAND` each, with `{port}` somewhere in the command.

    Raises:
        BenchError: one of them is wrong; the message says how.
    """
    rows: list[Row] = []
    taken = {row.name for row in ROWS}
    for value in values:
        row = _row(value)
        if row.name in taken:
            raise BenchError(f"--beside {value}: there is a row {row.name} already")
        taken.add(row.name)
        rows.append(row)
    return rows


def all_rows(beside: Sequence[Row]) -> list[Row]:
    """Return all rows with these among them, each in its group."""
    groups = list(GROUPS)
    return sorted((*ROWS, *beside), key=lambda row: groups.index(row.group))


def _row(value: str) -> Row:
    target, has_command, text = value.partition("=")
    name, has_group, group = target.partition("@")
    group = group if has_group else "calls"
    if not has_command or not _NAME.fullmatch(name):
        raise BenchError(f"--beside {value}: it must be NAME=COMMAND or NAME@stateless=COMMAND")
    if group not in _WORKS:
        raise BenchError(f"--beside {value}: {group or 'nothing'} behind the @; it must be {' or '.join(_WORKS)}")
    return Row(group=group, server=name, command=_command(value, text), work=_WORKS[group], folder=Path.cwd())


def _command(value: str, text: str) -> tuple[str, ...]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BenchError(f"--beside {value}: {error}") from None
    if not words:
        raise BenchError(f"--beside {value}: there is no command")
    if not any("{port}" in word for word in words):
        raise BenchError(
            f"--beside {value}: the command has no {{port}}, so the server would not know where to listen"
        )
    if shutil.which(words[0]) is None:
        raise BenchError(f"--beside {value}: there is no program {words[0]}")
    return tuple(words)
