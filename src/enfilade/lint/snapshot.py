"""Store a surface in a file, as readable JSON, for the comparison of a later run.

The protocol's revision and the server's version are omitted: clients do not rely on them, and a release alone
must not change a snapshot.
"""

import json
from pathlib import Path
from typing import Any, Final

import msgspec

from enfilade.client.surface import Surface

_FORMAT: Final = 1
_OMITTED: Final = ("revision", "server")


class SnapshotError(Exception):
    """A snapshot cannot be read or written; the text says why and what to do."""


def save(surface: Surface, file: Path) -> None:
    """Write a surface to a file.

    Raises:
        SnapshotError: it cannot be written.
    """
    members: dict[str, Any] = msgspec.to_builtins(surface)
    for key in _OMITTED:
        del members[key]
    text = json.dumps({"snapshot": _FORMAT, **members}, indent=2, ensure_ascii=False, sort_keys=True)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise SnapshotError(f"the snapshot {str(file)!r} cannot be written: {error.strerror}") from None


def load(file: Path) -> Surface:
    """Return the surface in a file.

    Raises:
        SnapshotError: the file does not exist, or is no snapshot.
    """
    try:
        members = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SnapshotError(f"there is no snapshot {str(file)!r}; store one with --save") from None
    except (OSError, ValueError) as error:
        raise SnapshotError(f"the snapshot {str(file)!r} cannot be read: {error}") from None
    if not isinstance(members, dict) or members.pop("snapshot", None) != _FORMAT:
        raise SnapshotError(f"{str(file)!r} is no snapshot of this version; store a new one with --save")
    try:
        return msgspec.convert(members, Surface)
    except msgspec.ValidationError as error:
        raise SnapshotError(f"{str(file)!r} is no snapshot: {error}") from None
