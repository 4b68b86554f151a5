"""Logins at a protected server by a browser, another device or a program; they are kept and refreshed (R-617)."""

import asyncio
import os
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from enfilade.client.connect import connect
from enfilade.client.login import token_file
from enfilade.client.login.options import LoginError, LoginOptions
from enfilade.client.login.redirect_listener import RedirectListener
from enfilade.client.login.run import logged_in
from support.authorization.person import Person, call, change_stored, stored
from support.authorization.protected_server import CLIENT, SECRET, ProtectedServer, json_reply

posix = pytest.mark.skipif(os.name == "nt", reason="modes of files are those of POSIX")


def test_a_login_in_a_browser_is_kept(server: ProtectedServer, person: Person) -> None:
    """The second call needs nobody. Tokens go to the endpoint alone."""
    assert call(server, person.options()) == "noted: a"
    assert "You are logged in" in person.page
    assert person.shown[0].startswith(
        f"{server.url} wants a login. It opens in your browser; if it does not, open:\n"
    )
    assert call(server, LoginOptions()) == "noted: a"
    assert (person.logins, server.asked("POST", "/issuer/registration")) == (1, 1)
    carriers = {path for _, path, headers, _ in server.requests if "authorization" in headers}
    assert carriers == {"/mcp"}
    request = next(form for _, path, _, form in server.requests if path == "/issuer/authorization")
    assert request["resource"] == server.url
    assert request["scope"] == "notes:read"
    assert request["code_challenge_method"] == "S256"


@posix
def test_only_its_owner_can_read_a_login(server: ProtectedServer, person: Person) -> None:
    call(server, person.options())
    path = token_file.file_of(server.url)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    path.chmod(0o644)
    with pytest.raises(LoginError, match="chmod 600 makes it private"):
        call(server, person.options())
    path.chmod(0o600)
    path.parent.chmod(0o777)
    change_stored(server, expires_at=1.0)
    with pytest.raises(LoginError, match="chmod 700 makes it private"):
        call(server, person.options())


def test_a_token_that_has_expired_is_refreshed(server: ProtectedServer, person: Person) -> None:
    call(server, person.options())
    first = stored(server)["tokens"]
    change_stored(server, expires_at=time.time() - 1)
    assert call(server, LoginOptions()) == "noted: a"
    second = stored(server)["tokens"]
    assert second["access_token"] != first["access_token"]
    assert second["refresh_token"] != first["refresh_token"]
    assert stored(server)["expires_at"] > time.time()
    assert (person.logins, server.asked("GET", "/.well-known/oauth-protected-resource/mcp")) == (1, 1)


def test_a_token_that_is_refused_before_its_time_is_refreshed(server: ProtectedServer, person: Person) -> None:
    call(server, person.options())
    change_stored(server, tokens={**stored(server)["tokens"], "access_token": "revoked"})
    assert call(server, LoginOptions()) == "noted: a"
    assert person.logins == 1


def test_a_login_that_has_ended(server: ProtectedServer, person: Person) -> None:
    """Somebody at a terminal logs in again, as the same client; a program is told what to do."""
    call(server, person.options())
    server.revoke_all()
    change_stored(server, expires_at=1.0)
    with pytest.raises(LoginError, match="the login has ended, and there is no terminal"):
        call(server, LoginOptions())
    assert call(server, person.options()) == "noted: a"
    assert (person.logins, server.asked("POST", "/issuer/registration")) == (2, 1)


def test_another_issuer_gets_nothing_of_the_old_login(server: ProtectedServer, person: Person) -> None:
    """A registration is bound to its issuer: a new one registers anew, and the old refresh token is not sent."""
    call(server, person.options())
    refresh_token = stored(server)["tokens"]["refresh_token"]
    change_stored(
        server,
        issuer="https://old.example",
        client={**stored(server)["client"], "issuer": "https://old.example"},
        tokens={**stored(server)["tokens"], "access_token": "x", "refresh_token": None},
    )
    assert call(server, person.options()) == "noted: a"
    assert server.asked("POST", "/issuer/registration") == 2
    assert not any(refresh_token in form.values() for *_, form in server.requests)


def test_more_scopes_for_one_call(server: ProtectedServer, person: Person) -> None:
    """R-605: a 403 with scopes in the middle of a connection leads to a login with all scopes."""

    async def run() -> str:
        async with logged_in(server.url, person.options()) as auth, connect(server.url, http_auth=auth) as client:
            server.scopes = ["notes:read", "notes:write"]
            result = await client.call_tool("note", {"text": "b"})
            return str(result.content[0].text)  # type: ignore[union-attr]

    assert asyncio.run(run()) == "noted: b"
    assert person.logins == 2
    assert stored(server)["tokens"]["scope"] == "notes:read notes:write"


@pytest.mark.parametrize("grant", ["code", "device"])
def test_more_scopes_in_another_process(grant: Any, server: ProtectedServer, person: Person) -> None:
    """R-605: a stored login knows its scopes, so the login for more of them keeps these."""
    assert call(server, person.options(grant=grant)) == "noted: a"
    server.scopes = ["notes:write"]
    assert call(server, person.options(grant=grant)) == "noted: a"
    assert stored(server)["tokens"]["scope"] == "notes:read notes:write"
    assert server.asked("POST", "/issuer/registration") == 1


@pytest.mark.parametrize("grant", ["code", "device"])
def test_scopes_of_the_users_choice(grant: Any, server: ProtectedServer, person: Person) -> None:
    """A stored login without them is not enough; its own scopes are kept, and its client."""
    assert call(server, person.options(grant=grant, scopes=("notes:write",))) == "noted: a"
    assert stored(server)["tokens"]["scope"] == "notes:read notes:write"
    for _ in range(2):
        assert call(server, person.options(grant=grant, scopes=("notes:admin", "notes:write"))) == "noted: a"
    assert stored(server)["tokens"]["scope"] == "notes:read notes:write notes:admin"
    assert server.asked("POST", "/issuer/token") == 2
    assert server.asked("POST", "/issuer/registration") == 1
    with pytest.raises(LoginError, match="lacks notes:other: run this at a terminal"):
        call(server, LoginOptions(scopes=("notes:other",)))


def test_scopes_of_the_users_choice_where_the_challenge_names_none(
    server: ProtectedServer, person: Person
) -> None:
    server.challenge, server.scopes = None, ["notes:write"]
    assert call(server, person.options(scopes=("notes:write",))) == "noted: a"


def test_by_another_device(server: ProtectedServer, person: Person) -> None:
    server.pending = 2
    assert call(server, person.options(grant="device")) == "noted: a"
    assert "enter the code WDJB-MJHT:\n" in person.shown[0]
    assert server.asked("POST", "/issuer/token") == 3
    assert person.logins == 0
    change_stored(server, expires_at=1.0)
    assert call(server, LoginOptions()) == "noted: a"


def test_by_a_program(server: ProtectedServer, person: Person) -> None:
    """Nobody is there; the secret goes to the token endpoint of the issuer alone, and no login is kept."""
    options = LoginOptions(
        grant="credentials", client_id=CLIENT, client_secret=SecretStr(SECRET), issuer=server.issuer
    )
    assert call(server, options) == "noted: a"
    assert not token_file.file_of(server.url).exists()
    with pytest.raises(LoginError, match="wants a login"):
        call(server, LoginOptions())
    assert call(server, options) == "noted: a"
    assert server.asked("POST", "/issuer/token") == 2
    carriers = {path for _, path, headers, _ in server.requests if "Basic" in headers.get("authorization", "")}
    assert carriers == {"/issuer/token"}


def test_a_program_leaves_the_login_of_a_person(server: ProtectedServer, person: Person) -> None:
    assert call(server, person.options()) == "noted: a"
    program = LoginOptions(
        grant="credentials", client_id=CLIENT, client_secret=SecretStr(SECRET), issuer=server.issuer
    )
    before = stored(server)
    assert call(server, program) == "noted: a"
    assert stored(server) == before
    change_stored(server, grant="credentials")  # as an earlier version has stored it
    with pytest.raises(LoginError, match="wants a login"):
        call(server, LoginOptions())


def test_a_stored_login_is_named(server: ProtectedServer, person: Person) -> None:
    """A command that calls as somebody says so, and uses no stored login where that is not wanted."""
    line = f"with the stored login of {server.issuer}; `enfilade auth logout {server.url}` ends it"
    assert call(server, person.options()) == "noted: a"
    assert line not in person.shown
    assert call(server, person.options()) == "noted: a"
    assert person.shown[-1] == line
    with pytest.raises(LoginError, match="run this at a terminal without --no-login"):
        call(server, LoginOptions(uses_stored=False))


def test_a_registered_client(server: ProtectedServer, person: Person) -> None:
    assert call(server, person.options(client_id=CLIENT)) == "noted: a"
    assert server.asked("POST", "/issuer/registration") == 0
    assert call(server, LoginOptions(client_id=CLIENT)) == "noted: a"
    with pytest.raises(LoginError, match="wants a login"):
        call(server, LoginOptions(client_id="another"))


def _document(name: str, **members: Any) -> Callable[[ProtectedServer], None]:
    return lambda server: getattr(server, name).update(members)


def _leaks(server: ProtectedServer) -> None:
    server.replies["POST", "/issuer/token"] = json_reply({"access_token": 5, "refresh_token": "leaked-token"})


def _refuses(server: ProtectedServer) -> None:
    server.replies["POST", "/issuer/token"] = json_reply({"error": "invalid_grant", "hint": "leaked-token"}, 400)


def _denies(server: ProtectedServer) -> None:
    server.denies = True


def _offers_no_login(server: ProtectedServer) -> None:
    """Be a server of API keys, which has no metadata."""
    server.challenge = {}
    for place in ("/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"):
        server.replies["GET", place] = (404, {}, b"")


def _never_content(server: ProtectedServer) -> None:
    server.scopes = []
    server.replies["POST", "/mcp"] = (401, {"www-authenticate": "Bearer"}, b"")


CODE: dict[str, Any] = {}
DEVICE = {"grant": "device"}
PROGRAM = {"grant": "credentials", "client_id": CLIENT, "client_secret": SecretStr("wrong-secret")}
FAILURES: dict[str, tuple[Callable[[ProtectedServer], None], dict[str, Any], str]] = {
    "the user refuses": (_denies, CODE, "refused the login: access_denied"),
    "the user refuses on the device": (_denies, DEVICE, "refused the login: access_denied"),
    "no PKCE": (
        _document("metadata", code_challenge_methods_supported=["plain"]),
        CODE,
        "does not say that it supports PKCE",
    ),
    "a token endpoint by http": (
        _document("metadata", token_endpoint="http://idp.example.com/token"),
        CODE,
        "an endpoint of the login needs https://",
    ),
    "a page by http": (
        _document("metadata", authorization_endpoint="http://idp.example.com/x"),
        CODE,
        "the page to log in at needs https://",
    ),
    "a device endpoint by http": (
        _document("metadata", device_authorization_endpoint="http://idp.example.com/x"),
        DEVICE,
        "needs https://",
    ),
    "no device endpoint": (
        _document("metadata", device_authorization_endpoint=None),
        DEVICE,
        "leave out --device",
    ),
    "another resource": (
        _document("resource_metadata", resource="https://other.example/mcp"),
        CODE,
        "https://other.example/mcp does not match",
    ),
    "another issuer": (_document("metadata", issuer="https://other.example"), CODE, "issuer mismatch"),
    "a response that cannot be read": (_leaks, CODE, "a response of the authorization server cannot be read"),
    "a reason that controls the terminal": (
        lambda server: server.replies.update(
            {("POST", "/issuer/token"): json_reply({"error_description": "no\x1b[2J\nreally"}, 400)}
        ),
        CODE,
        "Token exchange failed (400): no[2J really",
    ),
    "a code that is refused": (_refuses, CODE, "Token exchange failed (400): invalid_grant"),
    "a token that is never accepted": (_never_content, CODE, "does not accept the token"),
    "a wrong secret": (lambda server: None, PROGRAM, "Token exchange failed (401): invalid_client"),
    "no registration": (
        lambda server: server.replies.update({("POST", "/issuer/registration"): (403, {}, b"")}),
        CODE,
        "Registration failed: 403; use --client-id, --client-credentials or --token-env",
    ),
    "clients are registered by hand": (
        lambda server: server.metadata.pop("registration_endpoint"),
        CODE,
        "by themselves: register one there, and give --client-id, or use --client-credentials or --token-env",
    ),
    "keys only": (_offers_no_login, CODE, "it names no authorization server, so there is nowhere to log in"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_login_that_fails(
    failure: str, server: ProtectedServer, person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    """One line says why; nothing of a response is quoted but its error, and nothing is logged."""
    change, options, reason = FAILURES[failure]
    change(server)
    more = {"issuer": server.issuer} if "client_secret" in options else {}
    with pytest.raises(LoginError) as caught:
        call(server, person.options(**options, **more))
    text = str(caught.value)
    assert reason in text
    assert "\n" not in text
    assert not re.search("leaked-token|wrong-secret|code_verifier", text + caplog.text)
    ours = [record for record in caplog.records if record.name.startswith("enfilade")]
    assert not any(record.levelname in ("ERROR", "WARNING") for record in ours)


def test_a_secret_goes_to_its_issuer_only(server: ProtectedServer, person: Person) -> None:
    options = LoginOptions(
        grant="credentials", client_id=CLIENT, client_secret=SecretStr(SECRET), issuer="https://mine.example"
    )
    with pytest.raises(LoginError, match=r"is protected by http://127\.0\.0\.1:\d+/issuer, not by https://mine"):
        call(server, options)
    assert server.asked("POST", "/issuer/token") == 0


def test_options_that_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="give its issuer"):
        LoginOptions(client_id="a", client_secret=SecretStr("b"))
    with pytest.raises(ValueError, match="needs the client's id"):
        LoginOptions(client_secret=SecretStr("b"), issuer="https://a")
    with pytest.raises(ValueError, match="give both"):
        LoginOptions(grant="credentials", client_id="a")


def test_nobody_logs_in(server: ProtectedServer, person: Person) -> None:
    with pytest.raises(LoginError, match=r"nobody has logged in within 0\.2 s"):
        call(server, person.options(open_browser=lambda url: False, timeout=0.2))
    assert "Open in a browser on this machine" in person.shown[0]
    server.pending = 10**6
    with pytest.raises(LoginError, match="nobody has entered the code in time"):
        call(server, person.options(grant="device", timeout=0.2))


def test_a_server_that_wants_no_token(server: ProtectedServer, person: Person) -> None:
    server.protected = False
    assert call(server, LoginOptions()) == "noted: a"
    assert call(server, person.options()) == "noted: a"
    assert person.logins == 0


def test_a_foreign_request_ends_no_login() -> None:
    """Any page in the browser can send a request to the port; only the state of the login ends it."""

    def status_of(url: str, **headers: str) -> int:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code

    async def run() -> dict[str, str]:
        listener = RedirectListener()
        try:
            await listener.start("right")
            uri = listener.redirect_uri
            foreign = {
                f"{uri}?code=evil&state=wrong": {},
                f"{uri}?code=evil": {},
                f"{uri}?code=evil&state=right&state=right": {},
                uri.replace("/callback", "/?code=evil&state=right"): {},
                f"{uri}?code=evil2&state=right": {"Host": "evil.example"},
            }
            statuses = [await asyncio.to_thread(status_of, url, **headers) for url, headers in foreign.items()]
            assert statuses == [400, 400, 400, 404, 404]
            assert await asyncio.to_thread(status_of, f"{uri}?code=good&state=right") == 200
            return await listener.response(5)
        finally:
            listener.close()

    assert asyncio.run(run()) == {"code": "good", "state": "right"}


def test_a_port_in_use() -> None:
    listener = RedirectListener()
    try:
        with pytest.raises(LoginError, match=f"port {listener.port} of .* --redirect-port"):
            RedirectListener(listener.port)
    finally:
        listener.close()


@pytest.mark.parametrize("client", [None, CLIENT])
def test_another_program_has_the_port_of_the_login(
    client: str | None, server: ProtectedServer, person: Person
) -> None:
    """The browser returns to another one; who is registered by the user stays what it is (RFC 8252 §7.3)."""
    call(server, person.options(client_id=client))
    uri = stored(server)["redirect_uri"]
    server.revoke_all()
    change_stored(server, expires_at=1.0)
    other = RedirectListener(httpx2.URL(uri).port or 0)
    try:
        assert call(server, person.options(client_id=client)) == "noted: a"
    finally:
        other.close()
    assert stored(server)["redirect_uri"] != uri
    assert (person.logins, server.asked("POST", "/issuer/registration")) == (2, 0 if client else 2)


def test_a_port_that_the_user_chooses(server: ProtectedServer, person: Person) -> None:
    """A client that is registered with another port registers anew."""
    call(server, person.options())
    server.revoke_all()
    change_stored(server, expires_at=1.0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert call(server, person.options(redirect_port=port)) == "noted: a"
    assert stored(server)["redirect_uri"] == f"http://127.0.0.1:{port}/callback"
    assert server.asked("POST", "/issuer/registration") == 2


def test_two_commands_refresh_one_login(server: ProtectedServer, person: Person) -> None:
    """One of them refreshes it, the other takes what is stored then: the refresh token is for one use."""
    call(server, person.options())
    change_stored(server, expires_at=1.0)

    async def command() -> str:
        async with logged_in(server.url, LoginOptions()) as auth:
            assert auth is not None
            return auth.failure

    async def both() -> list[str]:
        return await asyncio.gather(command(), command())

    assert asyncio.run(both()) == ["", ""]
    grants = [form["grant_type"] for _, path, _, form in server.requests if path == "/issuer/token"]
    assert grants == ["authorization_code", "refresh_token"]


def test_logins_are_forgotten(server: ProtectedServer, person: Person) -> None:
    call(server, person.options())
    assert token_file.load(server.url.replace("http", "HTTP") + "/") is not None  # the same URL, normalized
    assert token_file.forget(server.url)
    assert not token_file.forget(server.url)
    with pytest.raises(LoginError, match="wants a login"):
        call(server, LoginOptions())


def test_a_file_that_is_no_login(server: ProtectedServer, person: Person) -> None:
    call(server, person.options())
    token_file.file_of(server.url).write_bytes(b"{")
    assert token_file.load(server.url) is None
    assert call(server, person.options()) == "noted: a"
