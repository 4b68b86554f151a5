"""R-617: what a server says that nobody knows yet gets nothing of a login, and cannot stop the command."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from enfilade.auth.urls import normalized
from enfilade.client.login import token_file
from enfilade.client.login.options import LoginError, LoginOptions
from enfilade.client.login.run import logged_in
from enfilade.client.login.token_file import Login
from support.authorization.person import Person, call
from support.authorization.protected_server import CLIENT, SECRET, ProtectedServer, json_reply

RESOURCE = "/.well-known/oauth-protected-resource/mcp"
METADATA = "/.well-known/oauth-authorization-server/issuer"


@pytest.fixture(scope="module")
def running_stranger() -> Iterator[ProtectedServer]:
    with ProtectedServer() as running:
        yield running


@pytest.fixture
def stranger(running_stranger: ProtectedServer, server: ProtectedServer) -> ProtectedServer:
    """A server that names an authorization server which the user trusts."""
    running_stranger.reset()
    running_stranger.resource_metadata["authorization_servers"] = [server.issuer]
    return running_stranger


def trusting(person: Person, server: ProtectedServer, grant: str) -> LoginOptions:
    """Return the options of a client that is registered at a server, with its secret."""
    return person.options(grant=grant, client_id=CLIENT, client_secret=SecretStr(SECRET), issuer=server.issuer)


def posted(server: ProtectedServer) -> set[str]:
    """Return where requests of a login went."""
    return {path for method, path, *_ in server.requests if method == "POST" and path != "/mcp"}


def test_the_device_endpoint_is_that_of_the_issuer(
    server: ProtectedServer, stranger: ProtectedServer, person: Person
) -> None:
    """A document of the stranger that says it were the issuer's is not."""
    stranger.resource_metadata.update(stranger.metadata, issuer=server.issuer)
    with pytest.raises(LoginError, match="does not accept the token"):
        call(stranger, trusting(person, server, "device"))
    assert posted(stranger) == set()
    assert posted(server) == {"/issuer/device_authorization", "/issuer/token"}
    assert stranger.origin not in person.shown[0].partition("\n")[2]


def test_an_issuer_without_a_device_endpoint(
    server: ProtectedServer, stranger: ProtectedServer, person: Person
) -> None:
    """The stranger's is not taken in its place."""
    stranger.resource_metadata.update(stranger.metadata, issuer=server.issuer)
    del server.metadata["device_authorization_endpoint"]
    with pytest.raises(LoginError, match="leave out --device"):
        call(stranger, trusting(person, server, "device"))
    assert posted(stranger) == posted(server) == set()
    assert person.shown == []


@pytest.mark.parametrize("grant", ["device", "credentials", "code"])
@pytest.mark.parametrize("status", [404, 503])
def test_an_issuer_without_metadata(
    grant: str, status: int, server: ProtectedServer, stranger: ProtectedServer, person: Person
) -> None:
    """The protected server does not stand in for it."""
    server.replies["GET", METADATA] = (status, {}, b"")
    with pytest.raises(LoginError, match="gives no metadata of its own"):
        call(stranger, trusting(person, server, grant))
    assert posted(stranger) == posted(server) == set()
    assert person.logins == 0


def test_an_issuer_without_registration(
    server: ProtectedServer, stranger: ProtectedServer, person: Person
) -> None:
    del server.metadata["registration_endpoint"]
    with pytest.raises(LoginError, match="register one there, and give --client-id"):
        call(stranger, person.options())
    assert posted(stranger) == posted(server) == set()


def test_nobody_registers_at_another_issuer(
    server: ProtectedServer, stranger: ProtectedServer, person: Person
) -> None:
    with pytest.raises(LoginError, match="is protected by"):
        call(server, person.options(issuer=stranger.issuer))
    assert posted(server) == set()


@pytest.mark.parametrize("page", ["http://evil.example/device", "https://a.example/\x1b[2J", 5])
def test_a_page_for_the_code_that_is_not_safe(page: object, server: ProtectedServer, person: Person) -> None:
    server.replies["POST", "/issuer/device_authorization"] = json_reply(
        {"device_code": "a", "user_code": "b", "verification_uri": page}
    )
    with pytest.raises(LoginError, match=r"the page to log in at|gave no device code"):
        call(server, person.options(grant="device"))
    assert person.shown == []


@pytest.mark.parametrize(
    "page", ["javascript:alert(1)", "https://a.example/\nb", "https://a.example/" + "a" * 10_240]
)
def test_another_page_that_is_not_safe(page: str, server: ProtectedServer, person: Person) -> None:
    server.replies["POST", "/issuer/device_authorization"] = json_reply(
        {"device_code": "a", "user_code": "b", "verification_uri": page}
    )
    with pytest.raises(LoginError) as raised:
        call(server, person.options(grant="device"))
    assert len(str(raised.value)) < 400
    assert person.shown == []


def test_a_code_is_shown_on_one_short_line(server: ProtectedServer, person: Person) -> None:
    server.replies["POST", "/issuer/device_authorization"] = json_reply(
        {"device_code": "a", "user_code": "b\r\n\x1b[2J" + "c" * 10_240, "verification_uri": "https://a.example/"}
    )
    server.replies["POST", "/issuer/token"] = json_reply({"error": "access_denied"}, 400)
    with pytest.raises(LoginError, match="access_denied"):
        call(server, person.options(grant="device"))
    line, page = person.shown[0].split("\n")
    assert page == "https://a.example/"
    assert line.isprintable()
    assert len(line) < 500


@pytest.mark.parametrize("token", ["hush\r\nX-Evil: 1", "hush\x00", "hush hush", "h\u00fcsh", ""])
def test_a_token_that_no_header_can_carry(token: str, server: ProtectedServer, person: Person) -> None:
    """R-617: it is neither sent nor stored, and no error quotes it."""
    server.replies["POST", "/issuer/token"] = json_reply({"access_token": token, "token_type": "Bearer"})
    with pytest.raises(LoginError, match="no header can carry") as raised:
        call(server, person.options())
    assert "sh" not in str(raised.value)
    assert "Evil" not in str(raised.value)
    stored = token_file.load(server.url)
    assert stored is None or stored.tokens is None
    assert [
        headers for _, _, headers, _ in server.requests if headers.get("authorization", "").startswith("B")
    ] == []


LARGE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "resource metadata": ("GET", RESOURCE, {}),
    "metadata": ("GET", METADATA, {}),
    "registration": ("POST", "/issuer/registration", {}),
    "tokens": ("POST", "/issuer/token", {}),
    "device code": ("POST", "/issuer/device_authorization", {"grant": "device"}),
}


@pytest.mark.parametrize("case", LARGE)
def test_a_response_that_is_too_large(case: str, server: ProtectedServer, person: Person) -> None:
    """An error is read, too: the official client looks into it."""
    method, path, options = LARGE[case]
    for status in (200, 404):
        server.replies[method, path] = (status, {}, b" " * (1024 * 1024 + 1))
        with pytest.raises(LoginError, match="is larger than 1048576 bytes"):
            call(server, person.options(**options))


def test_a_response_that_is_compressed(server: ProtectedServer, person: Person) -> None:
    server.replies["POST", "/issuer/token"] = (200, {"content-encoding": "gzip"}, b"x")
    with pytest.raises(LoginError, match="sends a compressed response, which was not asked for"):
        call(server, person.options())
    encodings = {path: headers.get("accept-encoding") for _, path, headers, _ in server.requests}
    assert encodings[METADATA] == encodings["/issuer/token"] == "identity"


def test_the_body_of_a_refusal_is_not_read(server: ProtectedServer, person: Person) -> None:
    """It breaks off, which nobody notices."""
    assert server.challenge is not None
    challenge = f'Bearer resource_metadata="{server.challenge["resource_metadata"]}"'
    server.replies["POST", "/mcp"] = (401, {"www-authenticate": challenge, "content-length": "1000"}, b"")
    with pytest.raises(LoginError, match="does not accept the token"):
        call(server, person.options())


UNSAFE = "http://intranet.example/mcp"


@pytest.fixture
def intranet(server: ProtectedServer, monkeypatch: pytest.MonkeyPatch) -> ProtectedServer:
    """A server that is reached by http under a name that is not of this machine: through a proxy."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.origin)
    return server


def opened(options: LoginOptions) -> bool:
    """Return whether requests to the intranet are authorized."""

    async def run() -> bool:
        async with logged_in(UNSAFE, options) as auth:
            return auth is not None

    return asyncio.run(run())


def test_a_token_is_not_sent_in_clear_text(person: Person, intranet: ProtectedServer) -> None:
    tokens = {"access_token": "a", "token_type": "Bearer"}
    token_file.save(UNSAFE, Login(server=normalized(UNSAFE), tokens=tokens))
    program = {"grant": "credentials", "client_id": "a", "client_secret": SecretStr("b"), "issuer": "https://c"}
    for options in (LoginOptions(), person.options(), person.options(**program)):
        with pytest.raises(LoginError, match="needs https://"):
            opened(options)
    assert [path for _, path, headers, _ in intranet.requests if "authorization" in headers] == []
    assert (intranet.asked("POST", "/mcp"), person.logins) == (2, 0)


def test_a_server_by_http_that_wants_no_token(person: Person, intranet: ProtectedServer) -> None:
    intranet.protected = False
    assert not opened(LoginOptions())
    assert not opened(person.options())
    assert intranet.asked("POST", "/mcp") == 2
