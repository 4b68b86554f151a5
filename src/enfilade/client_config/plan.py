"""One change of one client's file: worked out first, shown, and only then made.

    place ─▶ text ─▶ put or drop ─▶ is everything else still said? ─▶ Change ─▶ diff, write

The easy thing to get wrong is to trust the edit: its result is read again, and compared with what was there.
"""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Literal

import msgspec

from enfilade.client_config import json_edit, yaml_edit
from enfilade.client_config.clients import CLIENTS, Client
from enfilade.client_config.entry import Entry, Server, entry_for
from enfilade.client_config.errors import BrokenTextError, ClientFileError
from enfilade.client_config.file import ClientFile, read
from enfilade.client_config.jsonc import check_plain, read as read_json
from enfilade.client_config.locations import Location, Places
from enfilade.client_config.names import check_name

Scope = Literal["user", "project"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a client's file would become.

    Attributes:
        client: whose file it is.
        file: the file as it is.
        after: its bytes afterwards.
        state: `new` entry, the `same`, `other` of that name with another content, `gone` (removed), or `absent`.
        notes: what people should know.
    """

    client: Client
    file: ClientFile
    after: bytes
    state: Literal["new", "same", "other", "gone", "absent"]
    notes: Sequence[str] = ()

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.after != (self.file.before or b"") and self.state not in ("same", "absent")

    def diff(self) -> Iterator[str]:
        """Yield the lines of a unified diff, without their ends.

        One line is shown around a change: in more of them, a neighbour's secrets might be.
        """
        before, after = (_lines(each) for each in (self.file.before or b"", self.after))
        names = (str(self.file.path) if self.file.before is not None else "/dev/null", str(self.file.path))
        for line in difflib.unified_diff(before, after, *names, n=1):
            yield line.rstrip("\r\n")
            if not line.endswith("\n"):
                yield "\\ No newline at end of file"

    def write(self) -> Path | None:
        """Make the change; return the copy of the file as it was, if it was there.

        Raises:
            ClientFileError: it cannot be made; nothing was changed.
        """
        return self.file.write(self.after)


def client_named(name: str) -> Client:
    """Return a client of the table.

    Raises:
        ClientFileError: there is none of that name; says which there are.
    """
    client = CLIENTS.get(name.lower())
    if client is None:
        raise ClientFileError(f"there is no client {name!r} here; choose one of " + ", ".join(CLIENTS))
    return client


def location_of(client: Client, places: Places, scope: Scope | None = None, path: Path | None = None) -> Location:
    """Return the file of a client.

    Args:
        client: whose.
        places: the machine.
        scope: the user's or the project's; by default the project's, if the client has one.
        path: a file that takes its place.

    Raises:
        ClientFileError: it has no such file.
    """
    if path is not None:
        across = client.windowed and places.distro is not None and path.absolute().is_relative_to(places.mounts)
        return Location(path, across=across)
    if scope != "user" and client.project is not None:
        return places.in_project(client.project)
    if scope == "project":
        raise ClientFileError(
            f"{client.title} has no file in a project; take --user, or give the file by --config PATH"
        )
    location = places.first(client.user, windowed=client.windowed)
    if location is None:
        raise ClientFileError(f"{client.title} has no file of the user here; give it by --config PATH")
    return location


def adding(client: Client, server: Server, places: Places, location: Location) -> Change:
    """Return the change that tells a client of a server.

    Raises:
        ClientFileError: the file is broken, or the client cannot connect so.
    """
    path = [client.key, check_name(server.name)]
    file, text, kind = _opened(client, location)
    entry = entry_for(client, server, location, places)
    with _explained(client, location.path, text):
        there = kind.find(text, path)
        after = text if there == entry.members else kind.put(text, path, entry.members)
        after = _with_inputs(after, entry)
        ids = [each["id"] for each in entry.inputs]
        _check(client, kind, text, after, path, ids)
    state: Literal["new", "same", "other"] = "same" if after == text else "other"
    if there is None or there == entry.members:
        state = "new" if after != text else "same"
    return Change(client=client, file=file, after=_encoded(after, location.path), state=state, notes=entry.notes)


def removing(client: Client, name: str, location: Location) -> Change:
    """Return the change that makes a client forget a server.

    Raises:
        ClientFileError: the file is broken.
    """
    path = [client.key, check_name(name)]
    file, text, kind = _opened(client, location)
    with _explained(client, location.path, text):
        there = kind.find(text, path)
        after = kind.drop(text, path)
        ids = _orphans(there, after) if client.secrets == "inputs" else []
        for each in ids:
            after = json_edit.drop_item(after, "inputs", "id", each)
        _check(client, kind, text, after, path, ids)
    state: Literal["gone", "absent"] = "gone" if there is not None else "absent"
    return Change(client=client, file=file, after=_encoded(after, location.path), state=state)


def _opened(client: Client, location: Location) -> tuple[ClientFile, str, ModuleType]:
    file = read(location.path)
    try:
        text = (file.before or b"").decode("utf-8")
    except UnicodeDecodeError as error:
        before = (file.before or b"")[: error.start].decode("utf-8")
        broken = BrokenTextError("this is not UTF-8", before, len(before))
        raise ClientFileError(_refusal(location.path, broken)) from None
    return file, text, yaml_edit if client.kind == "yaml" else json_edit


@contextmanager
def _explained(client: Client, path: Path, text: str) -> Iterator[None]:
    """Turn what is wrong with a text into what is wrong with a file; refuse what the client does not read."""
    try:
        if client.kind == "json" and not client.comments:
            check_plain(read_json(text))
        yield
    except BrokenTextError as error:
        raise ClientFileError(_refusal(path, error)) from None


def _refusal(path: Path, error: BrokenTextError) -> str:
    return (
        f"{path} cannot be edited, and was not touched. Line {error.line}, column {error.column}: "
        f"{error.problem}. Put that right, or give another file by --config PATH"
    )


def _with_inputs(text: str, entry: Entry) -> str:
    for each in entry.inputs:
        text = json_edit.put_item(text, "inputs", each, "id")
    return text


def _orphans(there: object, after: str) -> list[str]:
    """Return the inputs that an entry referred to and nothing else does."""
    env = there.get("env") if isinstance(there, dict) else None
    values = [value for value in env.values() if isinstance(value, str)] if isinstance(env, dict) else []
    ids = [value[8:-1] for value in values if value.startswith("${input:") and value.endswith("}")]
    return [each for each in ids if f"${{input:{each}}}" not in after]


def _check(
    client: Client, kind: ModuleType, before: str, after: str, path: Sequence[str], ids: Sequence[str]
) -> None:
    """Make sure that a text says what it did, but for our entry."""
    more = (ids,) if client.kind == "json" else ()
    if kind.meaning(before, path, *more) != kind.meaning(after, path, *more):
        raise BrokenTextError("an entry put here would change another; put it in by hand", before, 0)


def _encoded(text: str, path: Path) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise ClientFileError(
            f"{path} was not touched: a path in the entry is no text that a client could read"
        ) from None


def _lines(text: bytes) -> list[str]:
    return [each.decode("utf-8") for each in text.splitlines(keepends=True)]
