"""Logins that are kept: one private file for each server, with its tokens and where they come from.

A login is bound to the URL of the server and to the issuer of its tokens: tokens are sent to that URL only, and
refresh tokens only to the token endpoint of that issuer.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from enfilade.auth.urls import normalized
from enfilade.client.login.options import Grant, LoginError
from enfilade.state.user_files import UnsafeFileError, data_folder, read_private, write_private

_FOLDER: Final = "logins"


class Login(Struct, kw_only=True, omit_defaults=True):
    """A login at a server. Its documents are those of the official client, as JSON.

    Attributes:
        server: the URL of the server, normalized.
        grant: how it was made.
        issuer: the authorization server.
        redirect_uri: where its browser returned.
        client: the client's registration.
        tokens: the tokens; None after a login that has not ended.
        expires_at: when the access token expires, in seconds since 1970; None if nobody knows.
        metadata: the metadata of the authorization server.
        resource_metadata: the metadata of the server; None if it has none.
    """

    server: str
    grant: Grant = "code"
    issuer: str = ""
    redirect_uri: str = ""
    client: dict[str, Any] | None = None
    tokens: dict[str, Any] | None = None
    expires_at: float | None = None
    metadata: dict[str, Any] | None = None
    resource_metadata: dict[str, Any] | None = None


def file_of(url: str) -> Path:
    """Return the file of a server's login."""
    name = hashlib.sha256(normalized(url).encode()).hexdigest()[:32]
    return data_folder() / _FOLDER / f"{name}.json"


def lock_of(url: str) -> Path:
    """Return the file that is locked while the login at a server is refreshed."""
    return file_of(url).with_suffix(".lock")


def load(url: str) -> Login | None:
    """Return the login at a server; None if there is none, or none that this version can read.

    Raises:
        LoginError: the file is not private, or cannot be read.
    """
    path = file_of(url)
    try:
        content = read_private(path)
        login = None if content is None else msgspec.json.decode(content, type=Login)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    except (OSError, UnsafeFileError) as error:
        raise LoginError(f"the stored login cannot be used: {error}") from None
    return login if login is not None and login.server == normalized(url) else None


def save(url: str, login: Login) -> None:
    """Store the login at a server.

    Raises:
        LoginError: it cannot be stored.
    """
    try:
        write_private(file_of(url), msgspec.json.encode(login))
    except (OSError, UnsafeFileError) as error:
        raise LoginError(f"the login cannot be stored: {error}") from None


def forget(url: str) -> bool:
    """Delete the login at a server, and return whether there was one.

    Raises:
        LoginError: it cannot be deleted.
    """
    try:
        file_of(url).unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise LoginError(f"the login cannot be deleted: {error}") from None
    return True
