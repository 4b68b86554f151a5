"""Somebody who logs in on the command line, and what is stored of that."""

import asyncio
import json
import urllib.request
from typing import Any

from enfilade.client.connect import connect
from enfilade.client.login import token_file
from enfilade.client.login.options import LoginOptions
from enfilade.client.login.run import logged_in
from support.authorization.protected_server import ProtectedServer


class Person:
    """Somebody with a browser. What they were shown is in `shown`, the page of their browser in `page`."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.logins = 0
        self.page = ""

    def open(self, url: str) -> bool:
        """Open a page, as a browser does: it follows redirects."""
        self.logins += 1
        with urllib.request.urlopen(url, timeout=10) as response:
            self.page = response.read().decode()
        return True

    def options(self, **options: Any) -> LoginOptions:
        """Return options of a login with this person."""
        values: dict[str, Any] = {"interactive": True, "show": self.shown.append, "open_browser": self.open}
        return LoginOptions(**{**values, "timeout": 10.0, **options})


def call(server: ProtectedServer, options: LoginOptions) -> str:
    """Log in, call a tool, and return its text."""

    async def run() -> str:
        async with (
            logged_in(server.url, options) as auth,
            connect(server.url, http_auth=auth, timeout=10) as client,
        ):
            result = await client.call_tool("note", {"text": "a"})
            return str(result.content[0].text)  # type: ignore[union-attr]

    return asyncio.run(run())


def stored(server: ProtectedServer) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(token_file.file_of(server.url).read_bytes())
    return values


def change_stored(server: ProtectedServer, **members: Any) -> None:
    token_file.file_of(server.url).write_text(json.dumps({**stored(server), **members}), encoding="utf-8")
