"""The end of a login: tokens are revoked (RFC 7009), and deleted whatever the authorization server says."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from enfilade.client.login import token_file
from enfilade.client.login.options import LoginError, LoginOptions
from enfilade.client.login.revocation import revoke
from enfilade.client.login.run import logged_in
from enfilade.state.file_lock import file_lock
from support.authorization.person import Person, call, change_stored, stored
from support.authorization.protected_server import ProtectedServer, json_reply
from support.cli.runner import CommandLine
from support.servers.processes import free_port

REVOCATION = "/issuer/revocation"


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys)


@pytest.fixture
def logout(server: ProtectedServer, person: Person, run_cli: CommandLine) -> Callable[[], str]:
    """Log in; return what logs out and returns what the user is told. Nothing is stored then."""
    call(server, person.options())

    def run() -> str:
        outcome = run_cli("auth", "logout", server.url)
        assert (outcome.status, outcome.out) == (0, "")
        assert token_file.load(server.url) is None
        return " ".join(outcome.err.split())

    return run


def revoked(server: ProtectedServer) -> list[tuple[str, str]]:
    return [
        (form["token_type_hint"], form["token"]) for _, path, _, form in server.requests if path == REVOCATION
    ]


def test_both_tokens_are_revoked(server: ProtectedServer, logout: Callable[[], str]) -> None:
    tokens = stored(server)["tokens"]
    assert logout() == f"Logged out of {server.url}."
    assert revoked(server) == [(kind, tokens[kind]) for kind in ("refresh_token", "access_token")]
    assert logout() == f"There was no login at {server.url}."
    with pytest.raises(LoginError, match="wants a login"):
        call(server, LoginOptions())


FAILURES: dict[str, tuple[dict[str, Any], str]] = {
    "refused": ({}, "refuses to revoke the tokens: not now"),
    "by http": ({"revocation_endpoint": "http://idp.example.com/revoke"}, "revocation_endpoint needs https://"),
    "not there": ({"revocation_endpoint": "http://127.0.0.1:{port}/revoke"}, "cannot be reached to revoke"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_tokens_are_deleted_here_in_any_case(
    failure: str, server: ProtectedServer, logout: Callable[[], str]
) -> None:
    changes, reason = FAILURES[failure]
    port = str(free_port())
    changes = {name: value.replace("{port}", port) for name, value in changes.items()}
    server.replies["POST", REVOCATION] = json_reply({"error": "not now"}, 503)
    tokens = stored(server)["tokens"]
    change_stored(server, metadata={**stored(server)["metadata"], **changes})
    text = logout()
    assert text.startswith(f"Logged out of {server.url}. warning: the tokens are deleted here, but may be valid")
    assert reason in text
    assert tokens["refresh_token"] not in text


def test_a_server_without_revocation(server: ProtectedServer, logout: Callable[[], str]) -> None:
    metadata = {
        name: value for name, value in stored(server)["metadata"].items() if name != "revocation_endpoint"
    }
    change_stored(server, metadata=metadata)
    assert logout() == f"Logged out of {server.url}."
    assert revoked(server) == []


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_client_with_a_secret(method: str, server: ProtectedServer, person: Person) -> None:
    """One that the authorization server has given when the client registered."""
    call(server, person.options())
    change_stored(
        server, client={"client_id": "a b", "client_secret": "c:d", "token_endpoint_auth_method": method}
    )
    server.replies["POST", REVOCATION] = (200, {}, b"")
    login = token_file.load(server.url)
    assert login is not None
    assert asyncio.run(revoke(login, 10))
    _, _, headers, form = next(request for request in server.requests if request[1] == REVOCATION)
    if method == "client_secret_basic":
        assert headers["authorization"] == f"Basic {base64.b64encode(b'a%20b:c%3Ad').decode()}"
        assert "client_secret" not in form
    else:
        assert (form["client_id"], form["client_secret"]) == ("a b", "c:d")


@pytest.mark.parametrize("is_replaced", [False, True], ids=["ended", "replaced"])
def test_a_command_that_still_runs_does_not_bring_a_login_back(
    is_replaced: bool, server: ProtectedServer, person: Person, run_cli: CommandLine
) -> None:
    """B9: it has a refresh token in memory, which works where nothing could be revoked."""
    call(server, person.options())
    metadata = {
        name: value for name, value in stored(server)["metadata"].items() if name != "revocation_endpoint"
    }
    change_stored(server, metadata=metadata)
    other = {**stored(server), "client": {"client_id": "another", "token_endpoint_auth_method": "none"}}

    async def run() -> None:
        async with logged_in(server.url, LoginOptions()) as auth, httpx2.AsyncClient(auth=auth) as client:
            assert auth is not None
            assert (await client.post(server.url, json={})).status_code != 401
            outcome = await asyncio.to_thread(run_cli, "auth", "logout", server.url)
            assert outcome.err == f"Logged out of {server.url}.\n"
            if is_replaced:
                token_file.file_of(server.url).write_text(json.dumps(other), encoding="utf-8")
                token_file.file_of(server.url).chmod(0o600)
            auth.context.token_expiry_time = 1.0
            with pytest.raises(
                LoginError, match=r"the login was (ended|replaced .*) meanwhile; start the command"
            ):
                await client.post(server.url, json={})

    refreshes = server.asked("POST", "/issuer/token")
    asyncio.run(run())
    assert server.asked("POST", "/issuer/token") == refreshes
    assert (stored(server) == other) if is_replaced else not token_file.file_of(server.url).exists()


def test_a_logout_waits_for_a_refresh_under_way(
    server: ProtectedServer, person: Person, run_cli: CommandLine
) -> None:
    """B9: what the refresh stores is deleted as well."""
    call(server, person.options())

    async def run() -> None:
        async with file_lock(token_file.lock_of(server.url), 5) as is_held:
            assert is_held
            leaving = asyncio.create_task(asyncio.to_thread(run_cli, "auth", "logout", server.url))
            done, _ = await asyncio.wait((leaving,), timeout=0.3)
            assert not done
            change_stored(server, expires_at=2e9)
        await leaving

    asyncio.run(run())
    assert not token_file.file_of(server.url).exists()
