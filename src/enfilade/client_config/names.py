"""What a client calls a server. No weight: a server says it of itself as it starts."""

import re
from typing import Final

from enfilade.client_config.errors import ClientFileError

_LONGEST: Final = 64
_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{_LONGEST - 1}}}")


def check_name(name: str) -> str:
    """Return a name that every client takes.

    Raises:
        ClientFileError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise ClientFileError(
            f"{name!r} is no name for a server: use letters, digits, '-', '_' and '.', at most {_LONGEST} "
            "of them, as in --name sums"
        )
    return name


def name_of(title: str) -> str:
    """Return a server's name as one word in small letters; empty if nothing of it can be."""
    return "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in title.lower()).split())[:_LONGEST]
