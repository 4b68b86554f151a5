"""For whom tokens are: a principal, or the user of this machine where nobody authenticates callers."""

from __future__ import annotations

from typing import Final, NamedTuple


class User(NamedTuple):
    """For whom a token is.

    Attributes:
        key: as `Principal.key`; that of `LOCAL_USER` for the user of this machine.
        name: for people.
        issuer: whose user it is; None if that is not known.
    """

    key: str
    name: str
    issuer: str | None


#: The user of this machine; no principal has this key.
LOCAL_USER: Final = User("local user", "the user of this machine", None)
