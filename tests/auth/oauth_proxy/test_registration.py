"""Registrations, good ones and poisoned ones: nothing is kept of them, and none does harm (X-AUTH-22)."""

import json
from typing import Any

import httpx
import pytest

from enfilade.auth.oauth_proxy.redirects import destination, fault_of_redirect, is_registered
from support.authorization.proxy_client import REDIRECT_URI, ProxyClient, register
from support.authorization.visitor import Visitor

GOOD = [
    "https://client.example.com/back",
    "https://client.example.com:8443/back?a=b",
    "https://claude.ai/api/mcp/auth_callback",
    "http://127.0.0.1/callback",
    "http://127.0.0.1:33418/",
    "http://[::1]:7777/callback",
    "http://localhost:6274/oauth/callback",
    "com.example.app:/callback",
    "com.example.app://callback",
    "cursor://anysphere.cursor-mcp/oauth/callback",
    "vscode://publisher.extension/callback",
]
BAD = [
    *(
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,<script>",
        "vbscript:x",
        "file:///etc/passwd",
    ),
    *("blob:https://a.example.com/1", "about:blank", "view-source:https://a.example.com", "intent://a#Intent"),
    *("http://client.example.com/back", "http://127.0.0.1.example.com/", "http://127.1/", "http://0.0.0.0/"),
    *("http://localhost.example.com/", "http://192.168.1.2/callback", "http://[::]/"),
    *("https://client.example.com/back#fragment", "https://user:pw@client.example.com/", "https://"),
    *("https:///back", "//client.example.com/back", "/back", "client.example.com/back", "", " "),
    *("https://client.example.com/\r\nX: y", "https://client.example.com/ü", "https://client.example.com/\x00"),
    *("https://client.example.com\\@evil.example.com", "https://client.example.com:99999/", "https://[::1/"),
    *("ms-settings:", "tel:1", "mailto:a@b.c", "unknown://callback", "HTTPS://client.example.com/back"),
    *("https://client.example.com/" + "a" * 2000, "java.script\t:alert(1)", "-com.app:/x"),
]


@pytest.mark.parametrize("uri", GOOD)
def test_redirect_uris(uri: str) -> None:
    """R-617: https, loopback addresses, and schemes of apps."""
    assert fault_of_redirect(uri) == ""
    assert destination(uri)


@pytest.mark.parametrize("uri", [*BAD, None, 5, ["https://client.example.com/"]])
def test_redirect_uris_that_are_refused(public_url: str, uri: Any) -> None:
    """R-617, X-AUTH-22: whatever a browser would run or open by itself."""
    assert fault_of_redirect(uri)
    response = register(public_url, redirect_uris=[uri])
    assert (response.status_code, response.json()["error"]) == (400, "invalid_redirect_uri")
    second = register(public_url, redirect_uris=[REDIRECT_URI, uri])
    assert second.json()["error"] == "invalid_redirect_uri", "one of many is enough"


@pytest.mark.parametrize(
    ("uri", "registered", "expected"),
    [
        ("http://127.0.0.1:5/a", "http://127.0.0.1/a", True),
        ("http://127.0.0.1/a", "http://127.0.0.1:5/a", True),
        ("http://[::1]:5/a", "http://[::1]:6/a", True),
        ("http://localhost:5/a", "http://localhost:6/a", True),
        ("http://localhost:5/a", "http://127.0.0.1:5/a", False),
        ("http://127.0.0.1:5/a", "http://127.0.0.1:5/b", False),
        ("http://127.0.0.1:5/a?b", "http://127.0.0.1:5/a", False),
        ("https://127.0.0.1:5/a", "https://127.0.0.1:6/a", False),
        ("https://a.example.com/a", "https://a.example.com/a", True),
        ("https://a.example.com/a/", "https://a.example.com/a", False),
        ("https://A.example.com/a", "https://a.example.com/a", False),
        ("https://a.example.com:443/a", "https://a.example.com/a", False),
        ("com.app:/a", "com.app:/b", False),
    ],
)
def test_redirect_uris_are_compared_exactly(uri: str, registered: str, expected: bool) -> None:
    """R-708: but for the port of a loopback address (RFC 8252 §7.3)."""
    assert is_registered(uri, [registered]) is expected


def test_what_a_registration_answers(public_url: str) -> None:
    """RFC 7591 §3.2.1: what holds, and nothing of what was left out."""
    response = register(
        public_url,
        client_uri="https://evil.example.com",
        logo_uri="https://evil.example.com/logo.png",
        scope="admin",
    )
    assert response.status_code == 201
    assert response.headers["cache-control"] == "no-store"
    members = response.json()
    assert members.pop("client_id")
    assert members.pop("client_id_issued_at") > 1_700_000_000
    assert members == {
        "client_name": "the client",
        "redirect_uris": [REDIRECT_URI],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }
    confidential = register(public_url, token_endpoint_auth_method="client_secret_basic").json()
    assert confidential["client_secret"]
    assert confidential["client_secret_expires_at"] == 0


@pytest.mark.parametrize(
    "metadata",
    [
        {"redirect_uris": []},
        {"redirect_uris": None},
        {"redirect_uris": REDIRECT_URI},
        {"redirect_uris": [REDIRECT_URI] * 11},
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"token_endpoint_auth_method": 5},
        {"grant_types": ["implicit"]},
        {"grant_types": []},
        {"grant_types": "authorization_code"},
        {"grant_types": [5]},
        {"response_types": ["token"]},
        {"response_types": 5},
        {"client_name": 5},
        {"client_name": ["a"]},
        {"redirect_uris": [f"https://client.example.com/{number}{'a' * 900}" for number in range(10)]},
    ],
    ids=lambda metadata: str(metadata)[:60],
)
def test_metadata_that_is_refused(public_url: str, metadata: dict[str, Any]) -> None:
    """RFC 7591 §3.2.2."""
    response = register(public_url, **metadata)
    assert response.status_code == 400
    assert response.json()["error"] in ("invalid_redirect_uri", "invalid_client_metadata")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"5", b"\xff", b"[" * 20_000, b'{"a": "' + b"a" * 20_000 + b'"}', b"x" * 100_000]
)
def test_bodies_that_are_no_registration(public_url: str, body: bytes) -> None:
    response = httpx.post(f"{public_url}/oauth/register", content=body)
    assert response.status_code in (400, 413)
    assert "error" in response.json()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<img src=x onerror=alert(1)>", "&lt;img src=x"),
        ('"><script>alert(1)</script>', "&gt;&lt;script&gt;"),
        ("{{ 7 * 7 }} {% include 'x' %}", "{{ 7 * 7 }}"),
        ("A\r\nB\tC", "A B C"),
        ("Cl\u200baude\u202e\u0000", "“Claude”"),
        ("", "a client without a name"),
        ("\u200b", "a client without a name"),
        ("n" * 10_000, "n" * 50),
    ],
)
def test_names_that_would_do_harm(public_url: str, visitor: Visitor, name: str, shown: str) -> None:
    """X-AUTH-22, R-616: a name is text in one line, without what changes how others look."""
    client = ProxyClient.registered(public_url, client_name=name)
    page = visitor.open(client.authorization_url())
    assert shown in page.html
    assert "nobody has checked it" in page.text
    for part in ("<img", "<script", "\u202e", "\u200b", "\x00", ">49 "):
        assert part not in page.html.partition("<main>")[2]
    assert len(page.html) < 10_000


def test_a_name_that_imitates(public_url: str, visitor: Visitor) -> None:
    """R-616: where the user is sent to is said beside every name."""
    client = ProxyClient.registered(
        public_url, client_name="Claude", redirect_uris=["https://evil.example.com/back"]
    )
    page = visitor.open(client.authorization_url())
    assert "evil.example.com" in page.text


def test_a_registration_is_of_one_server(public_url: str, visitor: Visitor) -> None:
    """X-AUTH-22: an id that was changed, or is of somewhere else, is none."""
    client = ProxyClient.registered(public_url)
    middle = len(client.client_id) // 2
    other = "A" if client.client_id[middle] != "A" else "B"
    changed = client.client_id[:middle] + other + client.client_id[middle + 1 :]
    for client_id in (changed, client.client_id + "A", client.client_id[:-4], "enf_client_", "a" * 7000):
        page = visitor.open(client.authorization_url(client_id=client_id))
        assert page.status == 400
        assert "location" not in page.response.headers
    assert json.dumps(client.client_id)


def test_methods(public_url: str) -> None:
    """Pages are opened and sent, and nothing else."""
    for name, allowed in (("authorize", "GET"), ("callback", "GET"), ("consent", "POST")):
        for method in {"GET", "POST", "PUT", "DELETE"} - {allowed}:
            response = httpx.request(method, f"{public_url}/oauth/{name}")
            assert response.status_code == 405
            assert response.headers["allow"] == allowed
    assert httpx.get(f"{public_url}/oauth/other").status_code == 404
    assert httpx.post(f"{public_url}/oauth/consent", data={"decision": "allow"}).status_code == 400
    assert httpx.post(f"{public_url}/oauth/consent", content=b"{}").status_code == 400
