"""Optional members that are null, as some clients encode members that they have not set.

The types of this room distinguish *absent* from *null* (R-502), and so do messages of the server. A message from
a client that cannot be decoded is decoded again without the nulls that its type does not allow.

Easy to get wrong: a null with a meaning. Only members that a type declares as optional are removed. Values that
are passed on unchanged (the arguments of a tool, `_meta`, experimental capabilities) keep their nulls, and a
required member that is null stays an error.
"""

import re
from typing import Any, Final

import msgspec

#: Most null members that are removed from one message, as each costs another decoding.
_MOST_NULLS: Final = 64

#: Members that are an error if they are null (R-297): what a client returns must not get lost silently.
_RETURNED: Final = frozenset({".inputResponses", ".requestState"})

_NULL: Final = re.compile(r"Expected `[^`]*`, got `null` - at `\$(?P<path>[^`]*)`")


def decode_without_nulls(decoder: "msgspec.json.Decoder[Any]", raw: bytes | msgspec.Raw, error: Exception) -> Any:
    """Decode an object again without the members that must not be null.

    Args:
        error: of the first decoding.

    Raises:
        msgspec.ValidationError: `error`, if the object has any other fault.
    """
    try:
        members: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        last_error: Exception = error
        for _ in range(_MOST_NULLS):
            match = _NULL.fullmatch(str(last_error))
            if match is None or match["path"] in _RETURNED or not _remove(members, match["path"]):
                break
            try:
                return decoder.decode(msgspec.json.encode(members))
            except msgspec.ValidationError as next_error:
                last_error = next_error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    raise error


def _remove(members: dict[str, Any], path: str) -> bool:
    """Remove the member at a path such as `.capabilities.roots` or `.clientInfo.icons[0].sizes`, if it exists."""
    container: Any = members
    while path:
        step = _step(container, path)
        if step is None:
            return False
        key, path = step
        value = container[key]
        if not path:
            if not isinstance(container, dict):
                return False
            del container[key]
            return True
        if isinstance(value, msgspec.Raw):  # only containers on the path are decoded
            value = container[key] = msgspec.json.decode(value)
        container = value
    return False


def _step(container: Any, path: str) -> tuple[Any, str] | None:
    """Return the first key or index of a path, and the remaining path."""
    if isinstance(container, list) and (match := re.match(r"\[(\d+)\]", path)) is not None:
        return int(match[1]), path[match.end() :]
    if not isinstance(container, dict) or not path.startswith("."):
        return None
    # Keys may contain dots, as those of `_meta` do: the longest that matches is meant.
    for key in sorted(container, key=len, reverse=True):
        remaining = path[1 + len(key) :]
        if path.startswith(key, 1) and remaining[:1] in ("", ".", "["):
            return key, remaining
    return None
