"""The value of one setting: from what was given for it, possibly text, to what its type is, or an error.

The messages of errors are those that pydantic has for the same mistakes.
"""

import operator
import re
from collections.abc import Iterable
from typing import Any, Final, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

from enfilade.state.tokens import check_secret

_ALIASES: Final = {"streamable-http": "http", "streamable": "http", "streamable_http": "http"}
_FLAGS: Final = {
    **dict.fromkeys(("1", "on", "t", "true", "y", "yes"), True),
    **dict.fromkeys(("0", "off", "f", "false", "n", "no"), False),
}


class Secret:
    """A string that does not show itself in logs and tracebacks."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        """Return the string."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret('**********')"

    __str__ = __repr__


def read_value(given: Any, kind: Any, allowed: Meta) -> Any:
    """Return what is meant by a value that was given for a setting.

    Raises:
        ValueError: it cannot be meant; says what could.
    """
    if get_origin(kind) is Literal:
        return _one_of(given, get_args(kind))
    if get_origin(kind) is tuple:
        return (
            _secrets(given) if kind == tuple[Secret, ...] else _texts(given, (allowed.extra or {}).get("entries"))
        )
    if kind is bool:
        return _flag(given)
    return _text(given, allowed.pattern) if kind is str else _number(given, kind, allowed)


def _one_of(given: Any, choices: tuple[str, ...]) -> str:
    word = given.lower() if isinstance(given, str) else given
    word = _ALIASES.get(word, word) if isinstance(word, str) else word
    if word not in choices:
        *most, last = map(repr, choices)
        raise ValueError(f"Input should be {', '.join(most)} or {last}")
    return str(word)


def _flag(given: Any) -> bool:
    flag = _FLAGS.get(str(given).lower()) if isinstance(given, bool | int | str) else None
    if flag is None:
        raise ValueError("Input should be a valid boolean, such as true or false")
    return flag


def _text(given: Any, pattern: str | None) -> str:
    if not isinstance(given, str):
        raise ValueError("Input should be a valid string")
    if pattern is not None and re.search(pattern, given) is None:
        raise ValueError(f"String should match pattern {pattern!r}")
    return given


def _number(given: Any, kind: type[int | float], allowed: Meta) -> int | float:
    try:
        number = msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError:
        noun = "integer" if kind is int else "number"
        raise ValueError(f"Input should be a valid {noun}") from None
    for holds, bound, words in (
        (operator.gt, allowed.gt, "greater than"),
        (operator.ge, allowed.ge, "greater than or equal to"),
        (operator.le, allowed.le, "less than or equal to"),
    ):
        if bound is not None and not holds(number, bound):
            raise ValueError(f"Input should be {words} {bound}")
    return number


def _texts(given: Any, entries: str | None) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueError("Input should be a list of strings")
    texts = tuple(_text(each, None) for each in given)
    if entries is not None:
        from enfilade.transports.http.origin_checks import (  # few servers over stdio have such names
            check_host,
            check_origin,
        )

        check = check_host if entries == "host" else check_origin
        return tuple(check(text.strip()) for text in texts)
    return texts


def _secrets(given: Any) -> tuple[Secret, ...]:
    several = (given,) if isinstance(given, str) or not isinstance(given, Iterable) else given
    secrets = tuple(Secret(_text(_revealed(each), None)) for each in several)
    for secret in secrets:
        check_secret(secret.get_secret_value().encode())
    return secrets


def _revealed(secret: Any) -> Any:
    """Return what a secret hides, one of ours or of pydantic; anything else as it is."""
    return secret.get_secret_value() if hasattr(secret, "get_secret_value") else secret
