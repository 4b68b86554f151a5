"""A server that refuses a token says why, and the commands say which scopes it lacks and how to get them (R-605).

The server is a real app on a socket, and its tokens are those of a real issuer.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enfilade import MCPApp
from enfilade.auth import APIKeys, Principal, ResourceServer, hash_key
from support.authorization.protected_server import CLIENT, SECRET, ProtectedServer, json_reply
from support.cli.runner import CommandLine, Outcome
from support.harness import Serving

KEY = "the-key-of-the-build-which-is-long-enough-to-be-random"


class Scoped:
    """A server with a tool that needs more scopes than its other ones.

    Attributes:
        url: the endpoint.
        issuer: makes the tokens.
    """

    def __init__(self, issuer: ProtectedServer) -> None:
        self.issuer = issuer
        self.serving = Serving(self._asgi)
        self.url = f"http://127.0.0.1:{self.serving.port}/mcp"
        keys = APIKeys({hash_key(KEY): Principal("build", scopes=frozenset({"notes:read"}))}, header="X-API-Key")
        auth = ResourceServer(self.url, [issuer.issuer], scopes=["notes:read"], verifiers=[keys])
        self._app = MCPApp("Scoped", auth=auth)
        self._app.tool(name="write", requires_scopes=["notes:write", "notes:$admin"])(lambda: "written")

    async def _asgi(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)

    def token(self, **claims: Any) -> str:
        """Return a token of the issuer for this server."""
        return self.issuer.token(aud=self.url, **claims)

    def said(self, result: Outcome) -> str:
        """Return what is said of a refusal."""
        assert (result.status, result.out) == (2, "")
        return result.err.replace(self.url, "URL").removeprefix("enfilade: ").rstrip()


@pytest.fixture
def server(protected_server: ProtectedServer) -> Iterator[Scoped]:
    scoped = Scoped(protected_server)
    with scoped.serving:
        yield scoped


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))


NEEDS = (
    "URL refused the request (403): it needs the scopes notes:read notes:write notes:$admin, and the token lacks"
)
ALL = "--scope notes:write --scope 'notes:$admin'"


def test_a_token_that_lacks_scopes(server: Scoped, run_cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """For one tool, in both eras, and for the whole server; the token itself is not shown."""
    monkeypatch.setenv("THE_TOKEN", token := server.token())
    for era in ("stateless", "session"):
        result = run_cli("call", server.url, "write", "--token-env", "THE_TOKEN", "--era", era)
        assert server.said(result) == (
            f"{NEEDS} notes:write notes:$admin. "
            f"Get a token with more scopes, or leave --token-env THE_TOKEN out and log in with {ALL}"
        )
        assert token not in result.err
    monkeypatch.setenv("THE_TOKEN", server.token(scope="notes:write notes:$admin"))
    for verb in (["call", server.url, "write"], ["inspect", server.url], ["check", server.url]):
        assert server.said(run_cli(*verb, "--token-env", "THE_TOKEN")).startswith(
            "URL refused the request (403): it needs the scope notes:read, and the token lacks notes:read. Get a"
        )
    result = run_cli("call", server.url, "write", "-H", f"Authorization: Bearer {server.token()}")
    assert "or leave --header out and log in" in server.said(result)


def test_a_token_that_is_not_valid(server: Scoped, run_cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the challenge says of it is shown."""
    advice = "Get a new one, or leave the option out and log in; `enfilade auth check URL --token-env"
    monkeypatch.setenv("THE_TOKEN", server.token(exp=int(time.time()) - 100))
    assert server.said(run_cli("call", server.url, "write", "--token-env", "THE_TOKEN")) == (
        "URL refused the token of --token-env THE_TOKEN (401): it has expired. "
        f"{advice} THE_TOKEN` shows what is wrong"
    )
    result = run_cli("inspect", server.url, "--header", "authorization: Bearer made-up", "--era", "session")
    assert server.said(result) == (
        "URL refused the token of --header (401): the token is none that this server accepts. "
        f"{advice} NAME` shows what is wrong"
    )


def test_a_program_that_is_not_granted_what_it_asks_for(
    server: Scoped, run_cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks for the scopes of the challenge by itself, so that --scope would not help."""
    monkeypatch.setenv("THE_SECRET", SECRET)
    login = ["--client-credentials", "--client-id", CLIENT, "--client-secret-env", "THE_SECRET"]
    login += ["--issuer", server.issuer.issuer]
    assert run_cli("call", server.url, "write", *login).out == "written\n"
    tokens = {"access_token": server.token(), "token_type": "Bearer", "scope": "notes:read"}
    server.issuer.replies["POST", "/issuer/token"] = json_reply(tokens)
    assert server.said(run_cli("call", server.url, "write", *login)) == (
        f"{NEEDS} notes:write notes:$admin. {server.issuer.issuer} has not granted them at the login: "
        "the user or the client may not have them there"
    )
    asked = [form["scope"] for _, path, _, form in server.issuer.requests if path == "/issuer/token"]
    assert asked[-1] == "notes:read notes:write notes:$admin"


def test_a_key_that_lacks_scopes(server: Scoped, run_cli: CommandLine) -> None:
    result = run_cli("call", server.url, "write", "-H", f"X-API-Key: {KEY}")
    assert server.said(result) == (
        "URL refused the request (403): it needs the scopes notes:read notes:write notes:$admin. "
        "Send a token, or a key, with more scopes"
    )
