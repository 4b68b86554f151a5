"""Plan a change of a client's file, show it and make it; list the clients of a machine with their servers.

    location ─▶ text ─▶ put or drop ─▶ is everything else unchanged? ─▶ Change ─▶ diff, write

Easy to get wrong:
- An edit is not trusted: its result is parsed again, and everything but our entry is compared with the old text.
- A client is installed if its own folder exists, not only if its file does; and a file that is malformed must not
  end the list.
"""

import difflib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import msgspec

from enfilade.client_config import BrokenTextError, ClientFileError, check_name, json_edit, yaml_edit
from enfilade.client_config.entry import CLIENTS, Client, RegisteredServer, entry_for
from enfilade.client_config.jsonc import check_plain, read as read_json
from enfilade.client_config.locations import ClientFile, Location, Places, read

ConfigScope = Literal["user", "project"]


class PlannedChange(msgspec.Struct, frozen=True, kw_only=True):
    """A planned change of a client's file.

    Attributes:
        client: the client.
        file: the file with its present content.
        new_content: its bytes after the change.
        state: `new`: the entry is added; `same`: it exists already; `other`: it replaces an entry of that name;
            `gone`: it is removed; `absent`: there is none to remove.
        notes: remarks for the user.
    """

    client: Client
    file: ClientFile
    new_content: bytes
    state: Literal["new", "same", "other", "gone", "absent"]
    notes: Sequence[str] = ()

    @property
    def changes(self) -> bool:
        """Whether the file has to be written."""
        return self.new_content != (self.file.content or b"") and self.state not in ("same", "absent")

    def diff(self) -> Iterator[str]:
        """Yield the lines of a unified diff, without their ends.

        Only one line of context is shown, because further lines might contain secrets of other entries.
        """
        old, new = _lines(self.file.content or b""), _lines(self.new_content)
        names = (str(self.file.path) if self.file.content is not None else "/dev/null", str(self.file.path))
        for line in difflib.unified_diff(old, new, *names, n=1):
            yield line.rstrip("\r\n")
            if not line.endswith("\n"):
                yield "\\ No newline at end of file"

    def write(self) -> Path | None:
        """Write the file; return the path of a copy of the old one, None if there was none.

        Raises:
            ClientFileError: the file cannot be written; nothing was changed.
        """
        return self.file.write(self.new_content)


def client_named(name: str) -> Client:
    """Return a client by its name.

    Raises:
        ClientFileError: there is no such client; the text lists all of them.
    """
    client = CLIENTS.get(name.lower())
    if client is None:
        raise ClientFileError(f"there is no client {name!r} here; choose one of " + ", ".join(CLIENTS))
    return client


def location_of(
    client: Client, places: Places, scope: ConfigScope | None = None, path: Path | None = None
) -> Location:
    """Return the file of a client: that of the project, if it has one and the scope is not `user`.

    A path is used instead of it.

    Raises:
        ClientFileError: the client has no such file.
    """
    if path is not None:
        in_wsl = client.has_window and places.distro is not None
        in_windows = in_wsl and path.absolute().is_relative_to(places.mounts)
        return Location(path, in_windows=in_windows)
    if scope != "user" and client.project_file is not None:
        return places.in_project(client.project_file)
    if scope == "project":
        raise ClientFileError(
            f"{client.title} has no file in a project; take --user, or give the file by --config PATH"
        )
    location = places.user_file(client.user_files, has_window=client.has_window)
    if location is None:
        raise ClientFileError(f"{client.title} has no file of the user here; give it by --config PATH")
    return location


def plan_addition(client: Client, server: RegisteredServer, places: Places, location: Location) -> PlannedChange:
    """Return the change that registers a server with a client.

    Raises:
        ClientFileError: the file is malformed, or the client does not support the server's transport.
    """
    path = [client.servers_key, check_name(server.name)]
    file, text, editor = _opened(client, location)
    entry = entry_for(client, server, location, places)
    with _refuse_broken_text(client, location.path, text):
        old_entry = editor.find(text, path)
        new_text = text if old_entry == entry.members else editor.put(text, path, entry.members)
        for item in entry.inputs:
            new_text = json_edit.put_input(new_text, item)
        ids = [item["id"] for item in entry.inputs]
        _check(client, editor, text, new_text, path, ids)
    state: Literal["new", "same", "other"] = "same" if new_text == text else "other"
    if old_entry is None or old_entry == entry.members:
        state = "new" if new_text != text else "same"
    content = _encoded(new_text, location.path)
    return PlannedChange(client=client, file=file, new_content=content, state=state, notes=entry.notes)


def plan_removal(client: Client, name: str, location: Location) -> PlannedChange:
    """Return the change that removes a server from a client's file.

    Raises:
        ClientFileError: the file is malformed.
    """
    path = [client.servers_key, check_name(name)]
    file, text, editor = _opened(client, location)
    with _refuse_broken_text(client, location.path, text):
        old_entry = editor.find(text, path)
        new_text = editor.drop(text, path)
        ids = _orphaned_inputs(old_entry, new_text) if client.entry.secrets == "inputs" else []
        for id in ids:
            new_text = json_edit.drop_input(new_text, id)
        _check(client, editor, text, new_text, path, ids)
    state: Literal["gone", "absent"] = "gone" if old_entry is not None else "absent"
    return PlannedChange(client=client, file=file, new_content=_encoded(new_text, location.path), state=state)


def _opened(client: Client, location: Location) -> tuple[ClientFile, str, ModuleType]:
    file = read(location.path)
    try:
        text = (file.content or b"").decode("utf-8")
    except UnicodeDecodeError as error:
        valid_text = (file.content or b"")[: error.start].decode("utf-8")
        broken = BrokenTextError("this is not UTF-8", valid_text, len(valid_text))
        raise ClientFileError(_refusal(location.path, broken)) from None
    return file, text, _editor(client)


@contextmanager
def _refuse_broken_text(client: Client, path: Path, text: str) -> Iterator[None]:
    """Turn an error of a text into an error of its file; refuse syntax that the client does not read."""
    try:
        if client.language == "json":
            check_plain(read_json(text))
        yield
    except BrokenTextError as error:
        raise ClientFileError(_refusal(path, error)) from None


def _refusal(path: Path, error: BrokenTextError) -> str:
    return (
        f"{path} cannot be edited, and was not touched. Line {error.line}, column {error.column}: "
        f"{error.problem}. Put that right, or give another file by --config PATH"
    )


def _orphaned_inputs(entry: object, text: str) -> list[str]:
    """Return the ids of inputs that a removed entry refers to and the remaining text does not."""
    env = entry.get("env") if isinstance(entry, dict) else None
    values = [value for value in env.values() if isinstance(value, str)] if isinstance(env, dict) else []
    ids = [value[8:-1] for value in values if value.startswith("${input:") and value.endswith("}")]
    return [id for id in ids if f"${{input:{id}}}" not in text]


def _editor(client: Client) -> ModuleType:
    return yaml_edit if client.language == "yaml" else json_edit


def _check(
    client: Client, editor: ModuleType, old_text: str, new_text: str, path: Sequence[str], ids: Sequence[str]
) -> None:
    """Check that an edit has changed nothing but our entry, and our inputs.

    Raises:
        BrokenTextError: it has changed something else.
    """
    options = () if client.language == "yaml" else (ids,)
    if editor.meaning(old_text, path, *options) != editor.meaning(new_text, path, *options):
        raise BrokenTextError("an entry put here would change another; put it in by hand", old_text, 0)


def _encoded(text: str, path: Path) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise ClientFileError(
            f"{path} was not touched: a path in the entry is no text that a client could read"
        ) from None


def _lines(text: bytes) -> list[str]:
    return [line.decode("utf-8") for line in text.splitlines(keepends=True)]


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a client.

    Attributes:
        client: the client.
        scope: `user` or `project`.
        display_path: its path, relative to the home directory or the project; or why there is none.
        is_present: whether the client is installed on this machine, or the file exists in this project.
        servers: the names of the servers in it.
    """

    client: Client
    scope: str
    display_path: str
    is_present: bool
    servers: Sequence[str] = ()


def installations(places: Places) -> Iterator[Installation]:
    """Yield the files of all clients, whether they exist or not."""
    for client in CLIENTS.values():
        if client.user_files:
            try:
                location = places.user_file(client.user_files, has_window=client.has_window)
            except ClientFileError as error:
                yield Installation(client=client, scope="user", display_path=str(error), is_present=False)
            else:
                if location is not None:
                    yield _installation(client, "user", location, places)
        if client.project_file is not None:
            yield _installation(client, "project", places.in_project(client.project_file), places)


def _installation(client: Client, scope: str, location: Location, places: Places) -> Installation:
    path = location.path
    own_folder = scope == "user" and path.parent not in (places.home, places.home / ".config")
    is_present = path.exists() or (own_folder and path.parent.is_dir())
    start = places.home if path.is_relative_to(places.home) and scope == "user" else places.project
    display_path = str(path)
    if path.is_relative_to(start):
        display_path = str(("~" if start == places.home and scope == "user" else ".") / path.relative_to(start))
    return Installation(
        client=client,
        scope=scope,
        display_path=display_path,
        is_present=is_present,
        servers=_servers(client, location),
    )


def _servers(client: Client, location: Location) -> list[str]:
    try:
        text = (read(location.path).content or b"").decode()
        names: list[str] = _editor(client).names(text, client.servers_key)
    except (ClientFileError, BrokenTextError, UnicodeDecodeError):
        return []
    return names


def __getattr__(name: str) -> Any:
    new_name = {"adding": "plan_addition", "removing": "plan_removal"}.get(name)
    if new_name is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    message = f"enfilade.client_config.plan.{name} is now called {new_name}"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return globals()[new_name]
