"""An authorization server with the faults that a test chooses: slow, failing, forging, endless."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

from enfilade.testing import Issuer
from support.servers.scripted_http_server import Answer, Received, ScriptedHttpServer

OPENID = "/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server"
JWKS = "/jwks"
INTROSPECTION = "/introspect"


def failing(status: int = 503, **headers: str) -> Answer:
    """Return an answer with a status such as 500 and no JSON; an underscore in a header's name is a hyphen."""
    fields = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(b"<h1>not now</h1>", status, fields)


def redirect(url: str, status: int = 302) -> Answer:
    return Answer(b"", status, {"Location": url})


def not_json() -> Answer:
    return Answer(b"<html>log in</html>", headers={"Content-Type": "text/html"})


class FaultyServer(ScriptedHttpServer):
    """An authorization server on a free port of 127.0.0.1: metadata, a key set, and introspection.

    A path has a fault when `answers` has another answer for it: `answers[JWKS] = failing(500)`.

    Attributes:
        issuer: what signs; `token` makes its tokens.
        introspected: the introspection response for each token; for others it is `{"active": false}`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.issuer = Issuer(self.origin)
        self.introspected: dict[str, dict[str, Any]] = {}
        self._right: dict[str, Callable[[Received], Answer]] = {
            OAUTH: lambda _: self.metadata(),
            OPENID: lambda _: self.metadata(),
            JWKS: lambda _: Answer(self.issuer.jwks()),
            INTROSPECTION: self._introspect,
        }
        self.answers.update(self._right)

    def token(self, subject: str | None = "ada", **options: Any) -> str:
        """Return a token as `Issuer.token` makes it."""
        return self.issuer.token(subject, **options)

    def forged_token(self, subject: str | None = "ada", **options: Any) -> str:
        """Return a token with the id of the real key, signed by another one."""
        kid = self.issuer.jwks()["keys"][0]["kid"]
        return Issuer(self.origin).token(subject, header={"kid": kid}, **options)

    def metadata(self, **changes: Any) -> Answer:
        """Return the metadata, changed: `metadata(issuer="https://other.test")`."""
        introspection = {"introspection_endpoint": f"{self.origin}{INTROSPECTION}"}
        return Answer({**self.issuer.app.metadata(), **introspection, **changes})

    def right(self, path: str, **changes: Any) -> Callable[[Received], Answer]:
        """Return the right answer of a path with other attributes: `right(JWKS, padding=None)` never ends."""
        return lambda request: replace(self._right[path](request), **changes)

    def slow(self, path: str) -> Answer:
        """Return the right answer of a GET of a path, which waits until its `gate` is set."""
        return replace(self._right[path](Received("GET", path, {}, b"")), gate=threading.Event())

    def _introspect(self, request: Received) -> Answer:
        (token,) = parse_qs(request.body.decode()).get("token", [""])
        return Answer(self.introspected.get(token, {"active": False}))


def keys_of(*issuers: Issuer) -> Answer:
    """Return a key set with the keys of these issuers."""
    return Answer({"keys": [key for issuer in issuers for key in issuer.jwks()["keys"]]})
