"""`enfilade auth check`: every fault of a protected server is found, with what to do, and no secret is shown."""

import base64
import gzip
import json
import os
import time
import tracemalloc
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from joserfc.jwk import ECKey

from enfilade import MCPApp
from enfilade.auth import APIKeys, Principal, ResourceServer, hash_key
from support.authorization.protected_server import ProtectedServer, json_reply
from support.cli.runner import CommandLine, spawned
from support.harness import Serving

METADATA = "/.well-known/oauth-protected-resource/mcp"
ISSUER = "/.well-known/oauth-authorization-server/issuer"


@pytest.fixture
def server(protected_server: ProtectedServer) -> ProtectedServer:
    return protected_server


def findings(report: dict[str, Any], level: str) -> list[tuple[str, str]]:
    """Return the texts of a level, each with its fix."""
    return [
        (finding["text"], finding.get("fix", ""))
        for step in report["steps"]
        for finding in step["findings"]
        if finding["level"] == level
    ]


def test_a_server_as_it_should_be(server: ProtectedServer, run_cli: CommandLine) -> None:
    """B1, B5: the challenge, the metadata at each place, the authorization server and its keys."""
    result = run_cli("auth", "check", server.url, "--json")
    report = json.loads(result.out)
    assert (result.status, result.err, report["access"]) == (0, "", "token")
    assert report["counts"]["problem"] == report["counts"]["warning"] == 0, result.out
    assert [step["title"] for step in report["steps"]] == [
        "A request without a token",
        "Protected resource metadata",
        f"Authorization server {server.issuer}",
        "Scopes",
        "A request with a made-up token",
    ]
    texts = [text for text, _ in findings(report, "ok")]
    for expected in (
        "scope: notes:read",
        "PKCE by S256",
        "registration: dynamic",
        "GET and DELETE get 401 as well",
    ):
        assert expected in texts
    assert {method for method, path, *_ in server.requests if path == "/mcp"} == {
        "POST",
        "GET",
        "DELETE",
        "OPTIONS",
    }
    assert server.asked("POST", "/issuer/registration") == server.asked("POST", "/issuer/token") == 0


@pytest.mark.parametrize("columns", [80, 120])
def test_for_people(columns: int, server: ProtectedServer, run_cli: CommandLine) -> None:
    server.resource_metadata["resource"] = "https://mcp.example.com/mcp"
    arguments = ("auth", "check", server.url)
    result = run_cli(*arguments) if columns == 80 else spawned(*arguments, COLUMNS=str(columns))
    assert (result.status, result.err) == (1, "")
    lines = result.out.splitlines()
    assert "Protected resource metadata" in lines
    assert any(line.startswith("  problem  resource is https://mcp.example.com/mcp") for line in lines)
    assert any(line.startswith(f'           → set ResourceServer("{server.url}", …)') for line in lines)
    assert lines[-1] == f"{server.url} wants a token. 1 problem."
    assert max(map(len, lines)) <= columns
    assert "\x1b" not in result.out
    assert not any(line != line.rstrip() for line in lines)


def test_a_server_of_keys(server: ProtectedServer, run_cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without metadata and authorization server no login is offered, which is no fault."""
    server.challenge = {}
    _no_metadata(server)
    monkeypatch.setenv("MY_KEY", "wrong-key-for-the-server")
    result = run_cli("auth", "check", server.url, "--json")
    report = json.loads(result.out)
    assert (result.status, report["counts"]["problem"], report["counts"]["warning"]) == (0, 0, 0), result.out
    assert "no login is offered, so keys or ready tokens only" in result.out
    result = run_cli("auth", "check", server.url, "--header-env", "X-API-Key=MY_KEY")
    assert (result.status, "A request with X-API-Key" in result.out) == (1, True)
    assert "the server refuses the key" in result.out
    assert "wrong-key" not in result.out + result.err
    keys = [headers["x-api-key"] for _, _, headers, _ in server.requests if "x-api-key" in headers]
    assert keys == ["wrong-key-for-the-server"]


@pytest.mark.parametrize("value", ["X-API-Key", "X-API-Key: secret", "Authorization=MY_KEY"])
def test_a_header_that_cannot_be_sent(value: str, server: ProtectedServer, run_cli: CommandLine) -> None:
    result = run_cli("auth", "check", server.url, "--header-env", value)
    assert (result.status, result.out) == (2, "")
    assert "--header-env takes" in result.err or "by --token-env" in result.err
    assert "secret" not in result.err


def _bad_key(**members: Any) -> Callable[[ProtectedServer], None]:
    def change(server: ProtectedServer) -> None:
        server.keys[0].update(members)

    return change


def _document(name: str, **members: Any) -> Callable[[ProtectedServer], None]:
    """Return a change of a document: members are replaced, and left out where they are None."""

    def change(server: ProtectedServer) -> None:
        document = getattr(server, name)
        for member, value in members.items():
            if value is None:
                document.pop(member, None)
            else:
                document[member] = value

    return change


def _reply(method: str, path: str, *reply: Any) -> Callable[[ProtectedServer], None]:
    def change(server: ProtectedServer) -> None:
        server.replies[method, path] = reply  # type: ignore[assignment]

    return change


def _no_challenge(server: ProtectedServer) -> None:
    server.challenge = None


def _no_metadata(server: ProtectedServer) -> None:
    for path in (METADATA, "/.well-known/oauth-protected-resource"):
        server.replies["GET", path] = (404, {}, b"")


def _no_cors(server: ProtectedServer) -> None:
    server.replies["GET", METADATA] = json_reply(server.resource_metadata)


def _two_issuers(server: ProtectedServer) -> None:
    server.resource_metadata["authorization_servers"].append("http://idp.example.com")


def _secret_key(server: ProtectedServer) -> None:
    server.keys[0]["d"] = "AAAA"


FAULTS: dict[str, tuple[Callable[[ProtectedServer], None], str, str, str]] = {
    "no WWW-Authenticate": (
        _no_challenge,
        "problem",
        "401 without WWW-Authenticate",
        "add WWW-Authenticate: Bearer",
    ),
    "error without a token": (
        _document("challenge", error="invalid_token"),
        "problem",
        'has error="invalid_token"',
        "leave `error` out",
    ),
    "no resource_metadata": (
        _document("challenge", resource_metadata=None),
        "problem",
        "no resource_metadata",
        "add the URL",
    ),
    "no scope": (_document("challenge", scope=None), "warning", "names no scope", "add scope="),
    "offline_access": (
        _document("challenge", scope="notes:read offline_access"),
        "warning",
        "the challenge asks for offline",
        "leave it out",
    ),
    "another scheme": (
        _reply("POST", "/mcp", 401, {"www-authenticate": 'Basic realm="x, y"'}, b""),
        "problem",
        "asks for Basic",
        "Bearer",
    ),
    "403 without a token": (
        _reply("POST", "/mcp", 403, {}, b""),
        "problem",
        "answered with 403 Forbidden",
        "answer 401",
    ),
    "a redirect of the endpoint": (
        _reply("POST", "/mcp", 307, {"location": "/mcp/"}, b""),
        "problem",
        "307 Temporary Redirect to /mcp/",
        "give clients the URL",
    ),
    "an open GET": (_reply("GET", "/mcp", 200, {}, b""), "problem", "GET without a token gets 200 OK", "GET too"),
    "a preflight that wants a token": (
        _reply("OPTIONS", "/mcp", 401, {"access-control-allow-origin": "*"}, b""),
        "problem",
        "OPTIONS wants a token",
        "without a token",
    ),
    "a challenge nobody reaches": (
        _document("challenge", resource_metadata="http://127.0.0.1:9/.well-known/oauth-protected-resource/mcp"),
        "problem",
        "the challenge's URL: cannot be reached",
        "name a URL that clients reach",
    ),
    "a challenge with another scheme of URL": (
        _document("challenge", resource_metadata="file:///etc/passwd"),
        "problem",
        "is no URL of http or https",
        "name a URL",
    ),
    "a redirect of the metadata": (
        _reply("GET", METADATA, 302, {"location": "https://elsewhere.example/"}, b""),
        "problem",
        "302 Found to",
        "serve the document itself",
    ),
    "no metadata": (_no_metadata, "problem", "no place has the metadata", "serve it at http://127.0.0.1"),
    "metadata that is no JSON": (
        _reply("GET", METADATA, 200, {"content-type": "application/json"}, b"<html>"),
        "problem",
        "no JSON object with `resource`",
        "name a URL",
    ),
    "no end": (
        _reply("GET", METADATA, 200, {"content-type": "application/json"}, b" " * 600_000),
        "problem",
        "sends more than 512 KiB",
        "name a URL",
    ),
    "no CORS": (_no_cors, "warning", "browser clients cannot read it", "Access-Control-Allow-Origin: *"),
    "another resource": (
        _document("resource_metadata", resource="https://mcp.example.com/mcp"),
        "problem",
        "resource is https://mcp.example.com/mcp",
        "set ResourceServer(",
    ),
    "no authorization server": (
        _document("resource_metadata", authorization_servers=[]),
        "problem",
        "authorization_servers is []",
        "at least one issuer",
    ),
    "a type of its own": (
        _reply("GET", METADATA, 200, {"access-control-allow-origin": "*"}, b'{"resource": 5}'),
        "problem",
        "resource is 5",
        "make it the URL",
    ),
    "tokens in the query": (
        _document("resource_metadata", bearer_methods_supported=["header", "query"]),
        "warning",
        "bearer_methods_supported",
        'make it ["header"]',
    ),
    "an issuer by http": (_two_issuers, "problem", "the issuer needs https://", "serve it by https"),
    "another issuer": (
        _document("metadata", issuer="https://other.example"),
        "problem",
        "its issuer is https://other.example",
        "write the issuer",
    ),
    "no metadata of the issuer": (
        _reply("GET", ISSUER, 404, {}, b""),
        "problem",
        "no metadata at",
        "name the issuer",
    ),
    "an issuer that fails": (
        _reply("GET", ISSUER, 503, {}, b""),
        "problem",
        "503 Service Unavailable",
        "whether the authorization server runs",
    ),
    "no PKCE": (
        _document("metadata", code_challenge_methods_supported=None),
        "problem",
        "code_challenge_methods_supported is missing",
        'must list "S256"',
    ),
    "an endpoint by http": (
        _document("metadata", token_endpoint="http://idp.example.com/token"),
        "problem",
        "token_endpoint needs https://",
        "https",
    ),
    "no token endpoint": (
        _document("metadata", token_endpoint=None),
        "problem",
        "it has no token_endpoint",
        "add token_endpoint",
    ),
    "no registration": (
        _document("metadata", registration_endpoint=None),
        "warning",
        "clients cannot register",
        "register each client by hand",
    ),
    "documents for clients without none": (
        _document(
            "metadata",
            client_id_metadata_document_supported=True,
            token_endpoint_auth_methods_supported=["client_secret_basic"],
        ),
        "warning",
        'lacks "none"',
        "list it",
    ),
    "no iss": (
        _document("metadata", authorization_response_iss_parameter_supported=False),
        "warning",
        "RFC 9207",
        "turn that on",
    ),
    "a secret key": (_secret_key, "problem", "published with its secret part", "replace this key at once"),
    "a shared secret": (
        _bad_key(kty="oct", k="c2VjcmV0"),
        "problem",
        "published with its secret part",
        "replace this key",
    ),
    "a broken key": (_bad_key(x="AAAA"), "warning", "the key first cannot be read", "publish a valid JWK"),
    "keys for encryption": (_bad_key(use="enc"), "problem", "none of its 1 keys can be used", "publish a key"),
    "no keys": (
        _reply("GET", "/issuer/jwks", 500, {}, b""),
        "problem",
        "500 Internal Server Error",
        "serve a JWK set",
    ),
    "unknown scopes": (
        _document("metadata", scopes_supported=["openid"]),
        "warning",
        "does not list notes:read",
        "define these scopes",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(fault: str, server: ProtectedServer, run_cli: CommandLine) -> None:
    """B1, B5, R-601, R-602, R-603, R-604, R-612, R-615, R-617."""
    change, level, text, fix = FAULTS[fault]
    change(server)
    result = run_cli("auth", "check", server.url, "--json", "--timeout", "5", "--fail-on", "warning")
    report = json.loads(result.out)
    assert result.status == 1
    assert any(text in found and fix in advice for found, advice in findings(report, level)), result.out


def test_a_warning_alone_is_status_0(server: ProtectedServer, run_cli: CommandLine) -> None:
    assert server.challenge is not None
    del server.challenge["scope"]
    assert run_cli("auth", "check", server.url).status == 0
    assert run_cli("auth", "check", server.url, "--fail-on", "warning").status == 1


def test_a_made_up_token_that_gets_no_error(server: ProtectedServer, run_cli: CommandLine) -> None:
    """A token was sent, and the answer does not say that it is bad (R-603)."""
    server.replies["POST", "/mcp"] = (401, {"www-authenticate": "Bearer"}, b"")
    report = json.loads(run_cli("auth", "check", server.url, "--json").out)
    assert ("401 with no error", 'say error="invalid_token" when a token was sent (RFC 6750 §3.1)') in findings(
        report, "problem"
    )


def test_several_lines_of_challenges(server: ProtectedServer) -> None:
    from enfilade.lint.authorization.challenge import judge_first_challenge, read_challenges
    from enfilade.lint.authorization.report import Step

    lines = ['Negotiate, Bearer scope="a \\"b\\"", realm=x', "Basic"]
    assert [(found.scheme, found.parameters) for found in read_challenges(lines)] == [
        ("Negotiate", {}),
        ("Bearer", {"scope": 'a "b"', "realm": "x"}),
        ("Basic", {}),
    ]
    step = Step("x", [])
    judge_first_challenge(step, lines)
    assert any("has 2 lines" in finding.text for finding in step.findings)


def test_a_server_without_authorization(server: ProtectedServer, run_cli: CommandLine) -> None:
    server.protected = False
    result = run_cli("auth", "check", server.url)
    assert server.asked("POST", "/mcp") == 1
    assert result.status == 0
    assert result.out.splitlines()[-1].endswith("/mcp has no authorization. Nothing found.")


def test_metadata_of_a_server_that_asks_for_nothing(server: ProtectedServer, run_cli: CommandLine) -> None:
    server.protected = False
    server.replies["GET", METADATA] = json_reply(server.resource_metadata, access_control_allow_origin="*")
    report = json.loads(run_cli("auth", "check", server.url, "--json").out)
    assert report["access"] == "open"
    assert [text for text, _ in findings(report, "warning")] == [
        "it publishes protected resource metadata, and answers without a token"
    ]


TOKENS: dict[str, tuple[dict[str, Any], str, str]] = {
    "for another": (
        {"aud": "https://other.example"},
        "problem",
        "the audience is https://other.example, not http",
    ),
    "for nobody": ({"aud": None}, "problem", "the token has no audience"),
    "expired": ({"exp": 5}, "problem", "it expired"),
    "without an end": ({"exp": None}, "problem", "the token has no expiry"),
    "of the future": ({"nbf": 4e9}, "problem", "it begins to be valid in"),
    "of another issuer": ({"iss": "https://evil.example"}, "problem", "the issuer is https://evil.example"),
    "of nobody": ({"sub": None, "client_id": None}, "problem", "neither sub nor client_id"),
    "with other scopes": ({"scope": "notes:write"}, "problem", "403: the request needs notes:read"),
    "with scopes as a list": ({"scope": None, "scp": ["a", 5]}, "ok", "scopes: a"),
    "that is good": ({}, "ok", "the server accepts the token"),
    "with a good signature": ({}, "ok", "signature: good, by ES256 and a key of http"),
}


@pytest.mark.parametrize("case", TOKENS)
def test_a_real_token(
    case: str, server: ProtectedServer, run_cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says is compared with what is wanted; only the endpoint gets it, and nobody sees it."""
    claims, level, text = TOKENS[case]
    token = server.token(email="ada@example.com", **claims)
    monkeypatch.setenv("THE_TOKEN", token)
    result = run_cli("auth", "check", server.url, "--token-env", "THE_TOKEN", "--json")
    assert any(text in found for found, _ in findings(json.loads(result.out), level)), result.out
    assert result.status == (0 if claims == {} else 1)
    for part in token.split("."):
        assert part not in result.out + result.err
    assert "ada@example.com" not in result.out
    sent_to = {path for _, path, headers, _ in server.requests if token in headers.get("authorization", "")}
    assert sent_to == {"/mcp"}


def test_the_signature_of_a_token(
    server: ProtectedServer, run_cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the keys that its issuer publishes, and by no others; what cannot be known is said."""
    other = ECKey.generate_key("P-256", {"kid": "first", "alg": "ES256", "use": "sig"}).as_dict(private=False)
    (own,) = server.keys
    head, payload, signature = server.token().split(".")
    changed = f"{head}.{payload}.{'A' * len(signature)}"
    for token, keys, level, expected in (
        (changed, [own], "problem", "the signature is wrong: no key of http"),
        (server.token(), [other], "problem", "the signature is wrong: no key of http"),
        (server.token(), [{**own, "kid": "second"}], "problem", "the token's key first is not among the keys of"),
        (server.token(), [own, {**other, "kid": "second"}], "ok", "signature: good, by ES256"),
        (server.token(), [{**own, "alg": "ES384"}], "problem", "keys of"),
        (server.token(), [], "warning", "the signature is not checked: no keys of http"),
        (server.token(iss="https://evil.example"), [own], "warning", "no keys of https://evil.example are known"),
        (server.token(exp=int(time.time()) - 5), [own], "warning", "within the 30 s by which clocks may differ"),
        ("opaque", [own], "ok", "its issuer, audience, expiry and scopes are not known here"),
    ):
        server.keys = list(keys)
        monkeypatch.setenv("THE_TOKEN", token)
        result = run_cli("auth", "check", server.url, "--token-env", "THE_TOKEN", "--json")
        found = [text for text, _ in findings(json.loads(result.out), level)]
        assert any(expected in text for text in found), (expected, result.out)


def test_tokens_that_cannot_be_read(server: ProtectedServer, run_cli: CommandLine) -> None:
    from enfilade.lint.authorization.report import Step
    from enfilade.lint.authorization.token import Expected, judge_token

    def encoded(text: str) -> str:
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    for token in ("opaque", "a.b.c", f"{encoded('[]')}.{encoded('{}')}.x", f"{encoded('{}')}.é.x"):
        step = Step("x", [])
        judge_token(step, token, Expected(server.url))
        assert [finding.level for finding in step.findings] == ["ok"], token
    step = Step("x", [])
    judge_token(
        step, f"{encoded('{}')}.{encoded(json.dumps({'exp': 10**40, 'aud': 5, 'scope': 7}))}.eHg", Expected("u")
    )
    assert "the token has no expiry" in [finding.text for finding in step.findings]


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no URL": (["server.py"], "is no URL that begins with"),
    "a password": (["http://ada:secret@127.0.0.1:9/mcp"], "a user name or a password in it"),
    "nobody there": (["http://127.0.0.1:9/mcp"], "http://127.0.0.1:9/mcp cannot be reached"),
    "no variable": (
        ["http://127.0.0.1:9/mcp", "--token-env", "NO_SUCH"],
        "there is no token in the variable NO_SUCH",
    ),
    "no level": (["http://127.0.0.1:9/mcp", "--fail-on", "ok"], "--fail-on takes problem or warning"),
    "no time": (["http://127.0.0.1:9/mcp", "--timeout", "0"], "above 0"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_line(mistake: str, run_cli: CommandLine) -> None:
    arguments, expected = MISTAKES[mistake]
    result = run_cli("auth", "check", *arguments)
    assert (result.status, result.out) == (2, "")
    assert expected in " ".join(result.err.split())
    assert "secret" not in result.err


def test_no_endpoint_there(server: ProtectedServer, run_cli: CommandLine) -> None:
    result = run_cli("auth", "check", f"{server.origin}/nothing")
    assert result.status == 2
    assert "404 Not Found" in result.err


def test_a_token_with_a_line_break(run_cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", "abc\r\nX-Evil: 1")
    result = run_cli("auth", "check", "http://127.0.0.1:9/mcp", "--token-env", "THE_TOKEN")
    assert result.status == 2
    assert "is no token" in result.err
    assert "Evil" not in result.err
    assert "THE_TOKEN" in os.environ


def test_without_the_extra(run_cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "httpx", None)
    for name in [name for name in sys.modules if name.startswith("enfilade.lint.authorization")]:
        monkeypatch.delitem(sys.modules, name)
    result = run_cli("auth", "check", "http://127.0.0.1:9/mcp")
    assert (result.status, result.out) == (2, "")
    assert 'pip install "enfilade[auth]"' in result.err


@pytest.mark.parametrize(
    ("option", "value"), [("--token-env", "SECRET_VALUE"), ("--header-env", "X-Key=SECRET_VALUE")]
)
def test_what_is_secret_does_not_go_by_http_to_another_machine(
    option: str, value: str, run_cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_VALUE", "hush")
    words = ["auth", "check", "http://mcp.invalid:9/mcp", option, value]
    result = run_cli(*words)
    assert (result.status, result.out) == (2, "")
    assert f"{option} would go by http to another machine" in result.err
    assert "cannot be reached" in run_cli(*words, "--allow-http").err


def test_a_key_in_a_header(run_cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a real server with keys: one is accepted, another one is refused, and neither is shown."""
    key = "a-key-that-is-long-enough-to-be-random"

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    serving = Serving(asgi)
    url = f"http://127.0.0.1:{serving.port}/mcp"
    keys = APIKeys({hash_key(key): Principal("build")}, header="X-API-Key")
    app = MCPApp("Keys", auth=ResourceServer(url, verifiers=[keys]))
    with serving:
        for value, status, expected in (
            (key, 0, "ok       the server accepts the key\n"),
            ("another-key", 1, "problem  the server refuses the key: the API key is unknown\n"),
        ):
            monkeypatch.setenv("THE_KEY", value)
            result = run_cli("auth", "check", url, "--header-env", "X-API-Key=THE_KEY")
            assert result.status == status, result
            assert "A request with X-API-Key\n" in result.out
            assert expected in result.out
            assert value not in result.out + result.err


@cache
def compressed_twice() -> bytes:
    """Return a few bytes that are 200 MB; it takes seconds, so not when tests are collected."""
    return gzip.compress(gzip.compress(b" " * 200_000_000, 9), 9)


HOSTILE_BODIES: dict[str, tuple[dict[str, str], bytes]] = {
    "compressed twice": ({"Content-Encoding": "gzip, gzip"}, b""),
    "deep": ({}, b"[" * 10_000 + b"]" * 10_000),
    "deep object": ({}, b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
    "no UTF-8": ({}, b'{"issuer": "\xff\xfe"}'),
}


@pytest.mark.parametrize("kind", HOSTILE_BODIES)
@pytest.mark.parametrize("path", [METADATA, ISSUER])
def test_a_body_that_is_hostile(kind: str, path: str, server: ProtectedServer, run_cli: CommandLine) -> None:
    """B9: it is a problem of that server, and costs neither memory nor the command."""
    headers, body = HOSTILE_BODIES[kind]
    body = body or compressed_twice()
    server.replies["GET", path] = (200, {"Content-Type": "application/json", **headers}, body)
    tracemalloc.start()
    try:
        result = run_cli("auth", "check", server.url, "--timeout", "10")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.status == 1, result.out
    assert "Traceback" not in result.out + result.err
    assert "problem" in result.out
    assert peak < 50_000_000
