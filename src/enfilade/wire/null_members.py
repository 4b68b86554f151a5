"""Optional members that are null: clients that write out what they have not set mean that it is absent.

The types of this room tell *absent* from *null* (R-502), and what leaves the server keeps to that. What comes in
is read a second time, without the nulls that its type does not allow, only after it could not be read as it is.

Easy to get wrong: a null that means something. Only members that a type declares and that may be absent are left
out. Whatever is handed on as it came (the arguments of a tool, `_meta` as a whole, experimental capabilities)
keeps its nulls, and a required member that is null stays the error that it was.
"""

import re
from typing import Any, Final

import msgspec

#: Most null members that are left out of one message: each costs another reading.
_MOST: Final = 64

#: Members that are an error if they are null, by R-297: what a client carries back must not get lost unnoticed.
_CARRIED: Final = frozenset({".inputResponses", ".requestState"})

_NULL: Final = re.compile(r"Expected `[^`]*`, got `null` - at `\$(?P<path>[^`]*)`")


def decode_without_nulls(decoder: "msgspec.json.Decoder[Any]", raw: bytes | msgspec.Raw, error: Exception) -> Any:
    """Decode an object that could not be decoded, without the members that must not be null.

    Args:
        error: what was wrong with it.

    Raises:
        msgspec.ValidationError: the error that was given, if anything else is wrong with it.
    """
    try:
        members: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        found: Exception = error
        for _ in range(_MOST):
            match = _NULL.fullmatch(str(found))
            if match is None or match["path"] in _CARRIED or not _left_out(members, match["path"]):
                break
            try:
                return decoder.decode(msgspec.json.encode(members))
            except msgspec.ValidationError as following:
                found = following
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    raise error


def _left_out(members: dict[str, Any], path: str) -> bool:
    """Take the member at a path such as `.capabilities.roots` or `.clientInfo.icons[0].sizes` out."""
    place: Any = members
    while path:
        step = _step(place, path)
        if step is None:
            return False
        key, path = step
        value = place[key]
        if not path:
            if not isinstance(place, dict):
                return False
            del place[key]
            return True
        if isinstance(value, msgspec.Raw):  # only what is on the way is taken apart
            value = place[key] = msgspec.json.decode(value)
        place = value
    return False


def _step(place: Any, path: str) -> tuple[Any, str] | None:
    """Return the key or index that a path begins with, and the rest of the path."""
    if isinstance(place, list) and (match := re.match(r"\[(\d+)\]", path)) is not None:
        return int(match[1]), path[match.end() :]
    if not isinstance(place, dict) or not path.startswith("."):
        return None
    # Keys may have dots in them, as those of `_meta` do: the longest that fits is meant.
    for key in sorted(place, key=len, reverse=True):
        rest = path[1 + len(key) :]
        if path.startswith(key, 1) and rest[:1] in ("", ".", "["):
            return key, rest
    return None
