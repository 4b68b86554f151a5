"""Which clients are on this machine, and what they have in their files.

Easy to get wrong: a client is here if its own folder is, not only if its file is; and a file that is broken is no
reason to show nothing.
"""

from collections.abc import Iterator, Sequence

import msgspec

from enfilade.client_config import json_edit, yaml_edit
from enfilade.client_config.clients import CLIENTS, Client
from enfilade.client_config.errors import BrokenTextError, ClientFileError
from enfilade.client_config.file import read
from enfilade.client_config.locations import Location, Places


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a client.

    Attributes:
        client: whose.
        scope: `user` or `project`.
        shown: its path for people, or why there is none.
        here: whether the client is on this machine, or the file in this project.
        servers: the names in it.
    """

    client: Client
    scope: str
    shown: str
    here: bool
    servers: Sequence[str] = ()


def found(places: Places) -> Iterator[Found]:
    """Yield the files of all clients."""
    for client in CLIENTS.values():
        if client.user:
            try:
                location = places.first(client.user, windowed=client.windowed)
            except ClientFileError as error:
                yield Found(client=client, scope="user", shown=str(error), here=False)
            else:
                if location is not None:
                    yield _seen(client, "user", location, places)
        if client.project is not None:
            yield _seen(client, "project", places.in_project(client.project), places)


def _seen(client: Client, scope: str, location: Location, places: Places) -> Found:
    path = location.path
    own_folder = scope == "user" and path.parent not in (places.home, places.home / ".config")
    here = path.exists() or (own_folder and path.parent.is_dir())
    start = places.home if path.is_relative_to(places.home) and scope == "user" else places.project
    shown = str(path)
    if path.is_relative_to(start):
        shown = str(("~" if start == places.home and scope == "user" else ".") / path.relative_to(start))
    return Found(client=client, scope=scope, shown=shown, here=here, servers=_servers(client, location))


def _servers(client: Client, location: Location) -> list[str]:
    try:
        text = (read(location.path).before or b"").decode()
        kind = yaml_edit if client.kind == "yaml" else json_edit
        names: list[str] = kind.names(text, client.key)
    except (ClientFileError, BrokenTextError, UnicodeDecodeError):
        return []
    return names
