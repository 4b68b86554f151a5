"""Register a server in the configuration files of MCP clients.

This file has what other packages need without the rest: the errors, and the names of servers.

Easy to get wrong: the file belongs to another program. Everything in it but our entry stays as it is, byte for
byte.
"""

import re
from typing import Final

_LONGEST: Final = 64
_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{_LONGEST - 1}}}")


class ClientFileError(Exception):
    """A client's file was not changed; the text says why and what to do."""


class BrokenTextError(Exception):
    """The text of a client's file is malformed, or written in a way that is not edited.

    Args:
        problem: the reason.
        text: the complete text.
        position: the place of the problem, in characters from the start.

    Attributes:
        line: number of the line, from 1.
        column: number of the character in it, from 1.
    """

    def __init__(self, problem: str, text: str, position: int) -> None:
        self.problem = problem
        preceding = text[:position].removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        self.line = preceding.count("\n") + 1
        self.column = len(preceding) - (preceding.rfind("\n") + 1) + 1
        super().__init__(f"line {self.line}, column {self.column}: {problem}")


def check_name(name: str) -> str:
    """Return a server's name if every client accepts it.

    Raises:
        ClientFileError: a client would not accept it.
    """
    if not _NAME.fullmatch(name):
        raise ClientFileError(
            f"{name!r} is no name for a server: use letters, digits, '-', '_' and '.', at most {_LONGEST} "
            "of them, as in --name sums"
        )
    return name


def name_of(title: str) -> str:
    """Return a name for a server that follows from its title, in lower case; empty if no character is usable."""
    return "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in title.lower()).split())[:_LONGEST]
