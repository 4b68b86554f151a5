"""Beside the endpoint: what OAuth clients and browsers ask at paths where nothing is, over real sockets."""

import json
from collections.abc import Iterator

import pytest

from enfilade import MCPApp, Settings
from support.harness import Http, Serving
from support.http_client.connection import INITIALIZE, HeaderValue, Reply

PAGE = "http://localhost:6274"
FOREIGN = "https://evil.example"

OAUTH = [
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/mcp",
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-authorization-server/mcp",
    "/.well-known/openid-configuration",
    "/.well-known/openid-configuration/mcp",
    "/mcp/.well-known/openid-configuration",
    "/register",
    "/authorize",
    "/token",
]
NOT_OAUTH = ["/", "/registered", "/register/x", "/.well-known/security.txt", "/x/oauth-protected-resource"]

ASKED = {"access-control-request-method": "GET", "access-control-request-headers": "mcp-protocol-version"}


def plain(http: Http, verb: str, path: str, body: bytes = b"", **fields: HeaderValue) -> Reply:
    """Return a response that may be of any kind, not only a message of the protocol."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    with http.start(verb, body, headers, path=path) as waiting:
        return Reply(waiting.response, waiting.response.read())


@pytest.fixture(scope="module")
def http() -> Iterator[Http]:
    with Serving(MCPApp("open")) as serving:
        yield serving.http


class TestOauth:
    """RFC 6749 §5.2: `error` is text and a code that is registered."""

    @pytest.mark.parametrize("path", OAUTH)
    @pytest.mark.parametrize("verb", ["GET", "POST"])
    def test_a_server_without_authorization_says_so_in_the_form_of_oauth(
        self, http: Http, path: str, verb: str
    ) -> None:
        reply = plain(http, verb, path, b"{}" if verb == "POST" else b"")
        assert reply.status == 404
        assert reply.header("content-type") == "application/json"
        assert reply.header("cache-control") == "no-store"
        said = json.loads(reply.body)
        assert set(said) == {"error", "error_description"}
        assert said["error"] == "invalid_request"
        assert "no authorization" in said["error_description"]

    @pytest.mark.parametrize("path", NOT_OAUTH)
    def test_other_paths_say_where_the_endpoint_is(self, http: Http, path: str) -> None:
        reply = http.request("GET", path=path)
        assert reply.status == 404
        assert json.loads(reply.body)["error"]["message"] == "nothing here; the MCP endpoint is /mcp"


class TestCors:
    """R-720: a page of an allowed origin can read whatever it gets; any other page can read nothing."""

    PATHS = ("/mcp", "/.well-known/oauth-protected-resource", "/register", "/nothing", "/healthz", "/readyz")

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("verb", ["GET", "POST", "DELETE", "PUT"])
    def test_on_every_path_and_status(self, http: Http, path: str, verb: str) -> None:
        reply = plain(http, verb, path, origin=PAGE)
        assert reply.header("access-control-allow-origin") == PAGE, reply.status
        assert "Mcp-Session-Id" in (reply.header("access-control-expose-headers") or "")
        assert reply.header("vary") == "Origin"

    @pytest.mark.parametrize("path", PATHS)
    def test_preflight_on_every_path(self, http: Http, path: str) -> None:
        reply = http.request("OPTIONS", b"", {"origin": PAGE, **ASKED}, path=path)
        assert reply.status == 204
        assert reply.header("access-control-allow-origin") == PAGE
        assert reply.header("access-control-allow-headers") == "mcp-protocol-version"
        assert reply.header("access-control-allow-private-network") is None

    @pytest.mark.parametrize("path", PATHS)
    def test_preflight_of_a_page_on_a_public_address(self, http: Http, path: str) -> None:
        asked = {"origin": PAGE, **ASKED, "access-control-request-private-network": "true"}
        reply = http.request("OPTIONS", b"", asked, path=path)
        assert (reply.status, reply.header("access-control-allow-private-network")) == (204, "true")

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("verb", ["GET", "OPTIONS"])
    @pytest.mark.parametrize(
        "fields", [{"origin": FOREIGN}, {"origin": PAGE, "host": "evil.example"}, {"origin": [PAGE, PAGE]}]
    )
    def test_others_can_read_nothing(
        self, http: Http, path: str, verb: str, fields: dict[str, HeaderValue]
    ) -> None:
        asked: dict[str, HeaderValue] = {**fields, **ASKED, "access-control-request-private-network": "true"}
        reply = plain(http, verb, path, **asked)
        assert [name for name, _ in reply.headers if name.startswith("access-control")] == []
        assert reply.status != 204

    def test_a_plain_404_stays_plain(self, http: Http) -> None:
        reply = http.request("GET", path="/nothing")
        assert [name for name, _ in reply.headers if name.startswith("access-control")] == []


@pytest.fixture(scope="module")
def public() -> Iterator[Http]:
    settings = Settings(
        allow_localhost=False,
        allowed_hosts=("api.example", "localhost"),
        allowed_origins=("http://localhost:6274",),
    )
    with Serving(MCPApp("public", settings=settings)) as serving:
        yield serving.http


class TestLocalhost:
    """`allow_localhost=False`: nothing is let in for being local."""

    @pytest.mark.parametrize(
        ("host", "origin", "status"),
        [
            ("127.0.0.1:{port}", None, 421),
            ("[::1]", None, 421),
            ("a.localhost", None, 421),
            ("127.1.2.3", None, 421),
            ("localhost:{port}", None, 200),
            ("api.example", None, 200),
            ("api.example", "http://localhost:6274", 200),
            ("api.example", "http://localhost:6275", 403),
            ("api.example", "http://127.0.0.1", 403),
            ("api.example", "http://[::1]:80", 403),
            ("api.example", "http://api.example", 200),
        ],
    )
    def test_only_what_is_listed(self, public: Http, host: str, origin: str | None, status: int) -> None:
        fields = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        given = {**fields, "host": host.format(port=public.port), "origin": origin}
        assert public.request("POST", json.dumps(INITIALIZE).encode(), given).status == status

    def test_probes_are_answered_by_any_name(self, public: Http) -> None:
        assert plain(public, "GET", "/healthz", host="127.0.0.1").status == 200

    def test_a_page_that_is_not_allowed_reads_nothing_beside_the_endpoint(self, public: Http) -> None:
        reply = plain(public, "GET", "/register", host="api.example", origin="http://127.0.0.1")
        assert reply.header("access-control-allow-origin") is None
