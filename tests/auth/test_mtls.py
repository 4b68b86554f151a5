"""Tokens bound to a certificate (RFC 8705 §3) behind a proxy: whose word counts, and which certificate it is."""

import asyncio
import base64
import datetime
import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from enfilade.settings import Settings, SettingsError
from enfilade.testing.issuer import Issuer
from support.authorization.bound_server import FILE, RESOURCE, make_app
from support.harness import Serving
from support.http_client.connection import Http, Reply
from support.servers.processes import ServerProcess, python_command

HEADER = "X-Client-Cert"
PROXY = {"x_forwarded_for": "203.0.113.9", "x_forwarded_proto": "https"}


@lru_cache
def certificate(name: str = "ada") -> x509.Certificate:
    """Return the certificate of a client; for the same name the same one."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now)
    return builder.not_valid_after(now + datetime.timedelta(days=1)).sign(key, SHA256())


def der(name: str = "ada") -> bytes:
    return certificate(name).public_bytes(Encoding.DER)


def pem(name: str = "ada") -> str:
    return certificate(name).public_bytes(Encoding.PEM).decode()


def escaped(name: str = "ada") -> str:
    """Return a certificate as nginx's `$ssl_client_escaped_cert` has it."""
    return quote(pem(name), safe="")


def byte_sequence(name: str = "ada") -> str:
    """Return a certificate as RFC 9440 has it."""
    return f":{base64.b64encode(der(name)).decode()}:"


def thumbprint(name: str = "ada") -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(der(name)).digest()).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """An authorization server that other processes reach."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await issuer.app(scope, receive, send)

    serving = Serving(asgi, lifespan="off")
    issuer = Issuer(f"http://127.0.0.1:{serving.port}", audience=RESOURCE)
    with serving:
        yield issuer


def run_server(issuer: Issuer, **env: str) -> ServerProcess:
    return ServerProcess(python_command(FILE, "{port}"), env={"ISSUER": issuer.url, **env})


@pytest.fixture(scope="module")
def http(issuer: Issuer) -> Iterator[Http]:
    """A server behind a proxy of this machine, which is trusted."""
    with run_server(issuer, ENFILADE_AUTH_CERTIFICATE_HEADER=HEADER) as server:
        yield Http(server.port)


def bearer(issuer: Issuer, name: str = "ada", **cnf: Any) -> dict[str, Any]:
    token = issuer.token(name, scopes=["notes:read"], cnf=cnf or {"x5t#S256": thumbprint(name)})
    return {"authorization": f"Bearer {token}"}


def who(http: Http, fields: dict[str, Any]) -> Reply:
    return http.modern("tools/call", {"name": "who", "arguments": {}}, **fields)


def refused(reply: Reply) -> None:
    """Check that a request is refused for its certificate."""
    assert reply.status == 401, reply.body
    challenge = reply.header("www-authenticate") or ""
    assert challenge.startswith("Bearer ")
    assert 'error="invalid_token", error_description="it is bound to a certificate' in challenge


FORMS: dict[str, Callable[[], str]] = {
    "PEM, escaped": escaped,
    "PEM, lower-case escapes": lambda: escaped().replace("%0A", "%0a"),
    "PEM in one line": lambda: pem().replace("\n", " ").strip(),
    "RFC 9440": byte_sequence,
}


@pytest.mark.parametrize("proxy", [PROXY, {}], ids=["forwarded", "direct"])
@pytest.mark.parametrize("form", FORMS)
def test_the_certificate_of_the_token(http: Http, issuer: Issuer, form: str, proxy: dict[str, Any]) -> None:
    """X-AUTH-50, RFC 8705: as proxies write it. The address of the client does not hide that of the proxy."""
    fields = bearer(issuer)
    for _ in range(2):  # the second time, the token is known
        reply = who(http, {**fields, **proxy, HEADER: FORMS[form]()})
        assert reply.result["structuredContent"] == {"user": "ada"}


def test_in_a_session(http: Http, issuer: Issuer) -> None:
    """X-AUTH-50: for each request, whatever its method."""
    fields: dict[str, Any] = {**bearer(issuer), **PROXY}
    proven = {**fields, HEADER: escaped()}
    session = http.initialize(**proven)
    assert session.ask("tools/call", {"name": "who"}, **proven).result["structuredContent"] == {"user": "ada"}
    refused(session.ask("tools/call", {"name": "who"}, **fields))
    head = {
        "mcp-session-id": session.token,
        "accept": "text/event-stream",
        "authorization": fields["authorization"],
    }
    for verb in ("GET", "DELETE"):
        refused(http.request(verb, b"", head))
    stream = http.start("GET", b"", {**head, HEADER: escaped()})
    assert stream.status == 200
    stream.cut()
    assert http.request("DELETE", b"", {**head, HEADER: escaped()}).status == 204


FAULTS: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "another": lambda: escaped("bob"),
    "two": lambda: [escaped("bob"), escaped()],
    "two equal ones": lambda: [escaped(), escaped()],
    "two in one": lambda: f"{escaped()},{escaped('bob')}",
    "a chain": lambda: quote(pem() + pem("bob"), safe=""),
    "empty": lambda: "",
    "the thumbprint itself": thumbprint,
    "base64 without its colons": lambda: base64.b64encode(der()).decode(),
    "bad base64": lambda: f":{base64.b64encode(der()).decode()[:-5]}:",
    "more than a certificate": lambda: f":{base64.b64encode(der() + b'x').decode()}:",
    "no text": lambda: b"\xff",
    "too long": lambda: "%0A" * 6000 + escaped(),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_certificate_or_another(http: Http, issuer: Issuer, fault: str) -> None:
    """X-AUTH-50, RFC 8705 §3: 401 with invalid_token, also for a token that was verified before."""
    fields = {**bearer(issuer), **PROXY}
    assert who(http, {**fields, HEADER: escaped()}).status == 200
    refused(who(http, {**fields, HEADER: FAULTS[fault]()}))


def test_tokens_that_are_not_bound(http: Http, issuer: Issuer) -> None:
    """RFC 8705: with a certificate or without."""
    fields = {"authorization": f"Bearer {issuer.token('ada', scopes=['notes:read'])}"}
    assert who(http, fields).status == who(http, {**fields, HEADER: escaped()}).status == 200


def test_the_metadata(http: Http) -> None:
    """X-AUTH-52, RFC 8705 §3.3."""
    document = httpx.get(f"http://127.0.0.1:{http.port}/.well-known/oauth-protected-resource").json()
    assert document["tls_client_certificate_bound_access_tokens"] is True


def test_a_client_that_goes_around_the_proxy(issuer: Issuer) -> None:
    """X-AUTH-50: only addresses that uvicorn trusts are believed, whatever `X-Forwarded-For` says."""
    env = {"ENFILADE_AUTH_CERTIFICATE_HEADER": HEADER, "FORWARDED_ALLOW_IPS": "192.0.2.1, 198.51.100.0/24"}
    with run_server(issuer, **env) as server:
        http, fields = Http(server.port), {**bearer(issuer), HEADER: escaped()}
        refused(who(http, fields))
        refused(who(http, {**fields, "x_forwarded_for": "192.0.2.1"}))


@pytest.mark.parametrize("trusted", ["*", "10.0.0.7, *", "0.0.0.0/0", "10.0.0.7,::/0", "1.2.3.4/0.0.0.0"])
def test_a_server_that_trusts_everybody_does_not_start(monkeypatch: pytest.MonkeyPatch, trusted: str) -> None:
    """X-AUTH-50: certificates are no secrets, so that any client could send that of a stolen token."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", trusted)
    servers = ["https://idp.example.com"]
    app = make_app(servers, settings=Settings(auth_certificate_header=HEADER, port=0))

    async def serve() -> None:
        async with asyncio.timeout(5):
            await app.run_async(transport="http")

    with pytest.raises(SettingsError, match=r"FORWARDED_ALLOW_IPS, .* 10\.0\.0\.7"):
        asyncio.run(serve())


def test_without_the_setting(issuer: Issuer) -> None:
    """X-AUTH-50: the header is that of anybody, and the metadata say nothing."""
    with Serving(make_app([issuer.server()])) as server:
        refused(who(server.http, {**bearer(issuer), HEADER: escaped(), **PROXY}))
        document = httpx.get(f"http://127.0.0.1:{server.port}/.well-known/oauth-protected-resource").json()
        assert "tls_client_certificate_bound_access_tokens" not in document


def test_under_another_server(issuer: Issuer) -> None:
    """The header is not read where nobody checks whose it is; a server that speaks TLS itself says it to ASGI."""
    app = make_app([issuer.server()], settings=Settings(auth_certificate_header=HEADER))

    async def with_tls(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            name = dict(scope["headers"]).get(b"user-agent", b"").decode()
            chain = [pem(name)] if name else []
            scope = {**scope, "extensions": {"tls": {"client_cert_chain": chain}}}
        await app(scope, receive, send)

    with Serving(with_tls) as server:
        fields = {**bearer(issuer), HEADER: escaped()}
        refused(who(server.http, fields))
        refused(who(server.http, {**fields, "user_agent": "bob"}))
        assert who(server.http, {**fields, "user_agent": "ada"}).status == 200


@pytest.mark.parametrize("header", ["Client Cert", "Client-Cert:", "é", "a\n"])
def test_a_name_that_is_none(header: str) -> None:
    with pytest.raises(SettingsError, match="auth_certificate_header"):
        Settings(auth_certificate_header=header)
