"""The real authorization server of the tests: `oidc-provider` in its own process, with users who agree at once.

Easy to get wrong: settings stay until they are changed again. Tests use the fixture `oidc_provider`, which gives
each of them the settings of the start.
"""

import contextlib
import json
import queue
import secrets
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from support import tooling
from support.authorization.code_flow import CodeFlow

DRIVER = Path(__file__).with_name("oidc_provider.mjs")
RESOURCE = "https://mcp.example.com/mcp"
SCOPES = ("notes:read", "notes:write")
REDIRECT_URI = "http://127.0.0.1/callback"
START_TIMEOUT = 30.0
"""Seconds that it may take until it listens."""


class OidcProvider:
    """The authorization server, for the length of a `with` block.

    Args:
        resources: resource indicators (RFC 8707) that it accepts, and thus audiences of its tokens.
        scopes: scopes that there are besides `openid` and `offline_access`.
        port: where it listens; a free one by default.

    Raises:
        tooling.ToolMissing: Node or the package is not installed.
        RuntimeError: it did not start; the message has what it printed.
    """

    #: A confidential client with every grant; it may also introspect and revoke.
    client_id = "tests"

    def __init__(
        self, resources: Iterable[str] = (RESOURCE,), scopes: Iterable[str] = SCOPES, port: int = 0
    ) -> None:
        self.client_secret = secrets.token_urlsafe(16)
        self.issuer = ""
        self._initial: dict[str, Any] = {
            "port": port,
            "resources": list(resources),
            "scopes": list(scopes),
            "clients": [self._client()],
            "format": "jwt",
            "algorithm": "RS256",
            "lifetime": 3600,
            "rotate": True,
            "user": "ada",
            "deny": False,
            "documents": {},
        }
        self._settings = dict(self._initial)
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._lines = queue.SimpleQueue[str]()
        self._http = httpx.Client(timeout=30)

    def _client(self) -> dict[str, Any]:
        return {
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "redirect_uris": [REDIRECT_URI],
            "grant_types": ["client_credentials", "authorization_code", "refresh_token"],
            "application_type": "native",
        }

    def __enter__(self) -> Self:
        package = tooling.node_package("oidc-provider")
        self._process = subprocess.Popen(
            [tooling.node(), str(DRIVER), str(package), json.dumps(self._settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        try:
            self.issuer = self._wait_for_issuer()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process; it ends by itself when this one does."""
        self._http.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._reader is not None:
                self._reader.join(START_TIMEOUT)
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError):
            for line in process.stdout:
                self._lines.put(line)
        self._lines.put("")

    def _wait_for_issuer(self) -> str:
        output = ""
        while line := self._line():
            if line.startswith("{"):
                return str(json.loads(line)["issuer"])
            output += line
        raise RuntimeError(f"oidc-provider did not start:\n{output}")

    def _line(self) -> str:
        try:
            return self._lines.get(timeout=START_TIMEOUT)
        except queue.Empty:
            return ""

    # -- settings ------------------------------------------------------------------------------------------------

    def configure(self, **settings: Any) -> None:
        """Change settings.

        Args:
            settings: `format` of access tokens (`jwt`, `opaque`), their `algorithm` (`RS256`, `ES256`, `EdDSA`)
                and `lifetime` in seconds, whether refresh tokens `rotate`, the `user` who logs in, `deny` for
                a user who refuses, `resources`, `scopes`, and `documents`: Client ID Metadata Documents by URL,
                which are all that it can fetch.
        """
        unknown = settings.keys() - self._initial.keys()
        if unknown:
            raise TypeError(f"oidc-provider has no settings {sorted(unknown)}")
        self._settings |= settings
        self._post("/control/settings", json=self._settings)

    def accept_resource(self, resource: str) -> None:
        """Accept one more resource indicator."""
        self.configure(resources=[*self._settings["resources"], resource])

    def reset(self) -> None:
        """Go back to the settings of the start, unless they are in force."""
        if self._settings != self._initial:
            self.configure(**self._initial)

    def rotate_keys(self, *, keep: bool = False) -> None:
        """Sign with new keys; the old ones stay published if `keep`, and are unknown otherwise."""
        self._post("/control/rotate", json={"keep": keep})

    def grants(self) -> list[dict[str, Any]]:
        """Return what the token endpoint has granted, in order: `client`, `kind`, and `resource` or None."""
        granted: list[dict[str, Any]] = self._http.get(f"{self.issuer}/control/grants").raise_for_status().json()
        return granted

    # -- tokens --------------------------------------------------------------------------------------------------

    def client_credentials_token(self, scopes: Iterable[str] = (), resource: str | None = None) -> str:
        """Return an access token that the client gets for itself."""
        return str(self.token_response("client_credentials", self._wishes(scopes, resource))["access_token"])

    def user_token(self, subject: str, scopes: Iterable[str] = (), resource: str | None = None) -> str:
        """Return an access token of a user, by the authorization code flow with PKCE."""
        return str(self.user_grant(subject, scopes, resource)["access_token"])

    def user_grant(self, subject: str, scopes: Iterable[str] = (), resource: str | None = None) -> dict[str, Any]:
        """Return the whole token response for a user: it has a `refresh_token` as well."""
        flow = CodeFlow(f"{self.issuer}/auth", self.client_id, REDIRECT_URI)
        code = flow.code(login_hint=subject, **self._wishes(scopes, resource))
        return self.token_response("authorization_code", flow.redemption(code))

    def refresh(self, refresh_token: str) -> dict[str, Any]:
        """Return the token response for a refresh token, which is then used up."""
        return self.token_response("refresh_token", {"refresh_token": refresh_token})

    def revoke(self, token: str) -> None:
        """Revoke a token (RFC 7009)."""
        self._post("/token/revocation", data={"token": token}, auth=(self.client_id, self.client_secret))

    def introspect(self, token: str) -> dict[str, Any]:
        """Return what the introspection endpoint says of a token (RFC 7662)."""
        return self._json("/token/introspection", {"token": token})

    @property
    def introspection_url(self) -> str:
        return f"{self.issuer}/token/introspection"

    def token_response(self, grant_type: str, parameters: dict[str, str]) -> dict[str, Any]:
        """Return the response of the token endpoint to the client.

        Raises:
            httpx.HTTPStatusError: it refuses.
        """
        return self._json("/token", {"grant_type": grant_type, **parameters})

    def bound_token(self, proof: str, scopes: Iterable[str] = ()) -> str:
        """Return an access token that is bound to the key of a proof (RFC 9449 §5)."""
        data = {"grant_type": "client_credentials", **self._wishes(scopes, None)}
        auth = (self.client_id, self.client_secret)
        body = self._post("/token", data=data, auth=auth, headers={"DPoP": proof}).json()
        assert body["token_type"] == "DPoP"
        return str(body["access_token"])

    @property
    def token_url(self) -> str:
        return f"{self.issuer}/token"

    def _wishes(self, scopes: Iterable[str], resource: str | None) -> dict[str, str]:
        return {"scope": " ".join(scopes), "resource": resource or self._settings["resources"][0]}

    def _json(self, path: str, data: dict[str, str]) -> dict[str, Any]:
        response = self._post(path, data=data, auth=(self.client_id, self.client_secret))
        body: dict[str, Any] = response.json()
        return body

    def _post(self, path: str, **options: Any) -> httpx.Response:
        return self._http.post(self.issuer + path, **options).raise_for_status()
