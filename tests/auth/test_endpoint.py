"""The endpoint as a resource server, over real sockets: challenges, metadata and who is let in."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from enfilade import Context, MCPApp
from enfilade.auth import APIKeys, AuthorizationServer, Introspection, Principal, ResourceServer
from enfilade.auth.api_keys import hash_key
from enfilade.testing.issuer import Issuer
from support.harness import Serving
from support.http_client.connection import Http, Reply, initialize_request
from support.http_client.plain_http import fetch

RESOURCE = "https://mcp.example.com/tools/mcp"
METADATA = "https://mcp.example.com/tools/.well-known/oauth-protected-resource/mcp"
CHALLENGE = f'Bearer resource_metadata="{METADATA}", scope="notes:read"'

issuer = Issuer("https://issuer.test", audience=RESOURCE)


def make_app(**options: Any) -> MCPApp:
    auth = ResourceServer(
        options.pop("resource", RESOURCE), [issuer.server()], scopes=["notes:read"], **options.pop("auth", {})
    )
    app = MCPApp("Notes", auth=auth, **options)

    @app.tool
    async def who(ctx: Context) -> dict[str, Any]:
        """Return who calls."""
        principal = ctx.principal
        assert principal is not None
        return {"user": ctx.user_id, "issuer": principal.issuer, "scopes": sorted(principal.scopes)}

    @app.tool
    async def headers(ctx: Context) -> list[str]:
        """Return the names of the headers that a handler can see."""
        assert ctx.http is not None
        return list(ctx.http.headers)

    return app


@pytest.fixture(scope="module")
def http() -> Iterator[Http]:
    keys = APIKeys({hash_key("key-of-the-build"): Principal("ci", scopes=["notes:read"])}, header="X-Build")
    with Serving(make_app(auth={"verifiers": [keys]})) as server:
        yield server.http


def bearer(subject: str = "ada", scopes: Any = ("notes:read",), **claims: Any) -> str:
    return f"Bearer {issuer.token(subject, scopes=scopes, **claims)}"


def refused(reply: Reply, status: int) -> str:
    """Return the one challenge of a refusal."""
    assert reply.status == status, reply.body
    challenge = reply.header("www-authenticate")  # there must not be two
    assert challenge is not None
    assert reply.error["code"] == -32600
    return challenge


class TestChallenges:
    @pytest.mark.parametrize("verb", ["POST", "GET", "DELETE", "PUT", "HEAD", "PATCH"])
    def test_without_a_token_every_method_is_refused(self, http: Http, verb: str) -> None:
        """B1, R-603, R-604, R-609, R-704, X-AUTH-1: one challenge without an error, before a body is read."""
        reply = http.request(verb, b"{", {"accept": "text/event-stream", "mcp-session-id": "x"})
        assert reply.status == 401
        assert reply.header("www-authenticate") == CHALLENGE

    def test_a_bad_token_is_named_as_such(self, http: Http) -> None:
        """B1, R-603: the same challenge with `error`; nothing of the token is in it."""
        reply = http.modern("tools/list", authorization="Bearer made.up.token")
        challenge = refused(reply, 401)
        assert challenge.startswith(f'{CHALLENGE}, error="invalid_token", error_description="')
        assert b"made" not in reply.body
        assert "made" not in challenge

    def test_a_session_id_is_no_credential(self, http: Http) -> None:
        """B1, R-317: a live session without a token is 401; of another user it does not exist."""
        ada, bob = bearer(), bearer("bob")
        session = http.initialize(authorization=ada)
        assert refused(http.post(initialize_request("2025-11-25") | {"method": "ping"}), 401) == CHALLENGE
        call = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        headers: Any = {"mcp_session_id": session.token, "mcp_protocol_version": session.revision}
        assert refused(http.post(call, **headers), 401) == CHALLENGE
        assert http.post(call, **headers, authorization=bob).status == 404
        assert http.post(call, **headers, authorization=ada).result == {}

    @pytest.mark.parametrize("path", ["/healthz", "/readyz", "/.well-known/oauth-protected-resource/mcp"])
    def test_what_needs_no_token(self, http: Http, path: str) -> None:
        """B1, R-615: probes and metadata."""
        assert fetch(http.port, "GET", path)[0] == 200

    def test_a_preflight_needs_none_and_its_page_reads_the_challenge(self, http: Http) -> None:
        """R-720: the browser asks without credentials."""
        origin = f"http://localhost:{http.port}"
        asked = {"origin": origin, "access-control-request-method": "POST"}
        assert http.request("OPTIONS", b"", asked).status == 204
        reply = http.modern("tools/list", origin=origin)
        assert reply.status == 401
        assert "WWW-Authenticate" in (reply.header("access-control-expose-headers") or "")


class TestTokens:
    @pytest.mark.parametrize("era", ["session", "stateless"])
    def test_a_handler_knows_who_calls(self, http: Http, era: str) -> None:
        """B7: in both eras."""
        token = bearer("ada", ["notes:read", "notes:write"])
        if era == "stateless":
            reply = http.modern("tools/call", {"name": "who", "arguments": {}}, authorization=token)
        else:
            session = http.initialize(authorization=token)
            call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "who"}}
            reply = http.post(
                call,
                mcp_session_id=session.token,
                mcp_protocol_version=session.revision,
                authorization=token,
            )
        content = reply.result["structuredContent"]
        assert content == {"user": "ada", "issuer": issuer.url, "scopes": ["notes:read", "notes:write"]}

    @pytest.mark.parametrize(
        "authorization",
        [
            "",
            "Bearer",
            "Bearer ",
            "Basic YTpi",
            "Bearer a b",
            "Token x",
            ["Bearer x", "Bearer y"],
            pytest.param("Bearer " + "x" * 20_000, id="long"),
            "bearer\u00e9 x",
        ],
    )
    def test_what_is_no_token(self, http: Http, authorization: Any) -> None:
        """B2, R-608: 401, and never 500."""
        assert 'error="invalid_token"' in refused(http.modern("tools/list", authorization=authorization), 401)

    def test_two_headers_with_one_good_token(self, http: Http) -> None:
        """B2: which of them counts is not for this server to guess."""
        token = bearer()
        assert http.modern("tools/list", authorization=token).status == 200
        assert http.modern("tools/list", authorization=[token, token]).status == 401

    def test_a_token_in_the_query(self, http: Http) -> None:
        """B2, R-611: also beside a good one."""
        inside = Http(http.port, f"/mcp?access_token={issuer.token('ada', scopes=['notes:read'])}")
        assert refused(inside.modern("tools/list"), 401)
        assert refused(inside.modern("tools/list", authorization=bearer()), 401)
        known = bearer()
        assert http.modern("tools/list", authorization=known).status == 200
        assert refused(inside.modern("tools/list", authorization=known), 401)  # although it was verified

    @pytest.mark.parametrize(
        ("query", "status"),
        [
            ("a=1&ACCESS_TOKEN=x", 401),
            ("a=1;%61ccess%5Ftoken=x", 401),
            ("+%20access_token%09+", 401),
            ("a=1?access_token", 401),
            ("a=access_token&access_tokens=1&my_access_token=2&access_token%3D=3", 200),
            ("config=" + "a" * 8_000, 200),
            ("a&" * 4_097, 414),
        ],
    )
    def test_queries(self, http: Http, query: str, status: int) -> None:
        """R-611: a token in any spelling; what would take long to read is not read."""
        assert Http(http.port, f"/mcp?{query}").modern("tools/list", authorization=bearer()).status == status

    def test_the_scheme_has_no_case(self, http: Http) -> None:
        token = issuer.token("ada", scopes=["notes:read"])
        assert http.modern("tools/list", authorization=f"bEARER  {token}").status == 200

    def test_without_the_servers_own_scopes(self, http: Http) -> None:
        """B6, R-605, X-AUTH-31: 403 and not 401, or clients log in in a circle; the text says what is missing."""
        token = bearer(scopes=["other"])
        assert http.modern("tools/list", authorization=token).status == 403
        reply = http.modern("tools/list", authorization=token)  # it is refused again, although it was verified
        challenge = refused(reply, 403)
        assert challenge.startswith(
            f'Bearer error="insufficient_scope", scope="notes:read", resource_metadata="{METADATA}"'
        )
        assert "notes:read" in reply.error["message"]

    def test_a_bound_token_as_a_bearer_token(self, http: Http) -> None:
        """X-AUTH-50: whoever has stolen it has no key."""
        assert refused(http.modern("tools/list", authorization=bearer(cnf={"jkt": "x"})), 401)

    @pytest.mark.parametrize("header", ["authorization", "x_build"])
    def test_an_api_key(self, http: Http, header: str) -> None:
        """B4: as a token, or in the header that `APIKeys` names."""
        key = "Bearer key-of-the-build" if header == "authorization" else "key-of-the-build"
        reply = http.modern("tools/call", {"name": "who"}, **{header: key})
        assert reply.result["structuredContent"]["user"] == "ci"
        assert refused(http.modern("tools/list", **{header: key + "x"}), 401)

    @pytest.mark.parametrize("with_token", [True, False])
    def test_a_handler_sees_no_credentials(self, http: Http, with_token: bool) -> None:
        """B11: also of a header that is named by the server."""
        more: dict[str, Any] = {"authorization": bearer()} if with_token else {}
        reply = http.modern("tools/call", {"name": "headers"}, x_build="key-of-the-build", **more)
        names = reply.result["structuredContent"]["result"]
        assert "content-type" in names
        assert not {"authorization", "x-build"} & set(names)


class TestMetadata:
    def test_the_document(self, http: Http) -> None:
        """B5, R-601, R-615, X-AUTH-2: the configured resource, whatever Host says."""
        for path in ("/mcp", "/tools/mcp", "", "/mcp/"):
            where = f"/.well-known/oauth-protected-resource{path}"
            status, headers, body = fetch(http.port, "GET", where, {"host": "evil.example"})
            assert status == 200
            assert json.loads(body) == {
                "resource": RESOURCE,
                "authorization_servers": [issuer.url],
                "scopes_supported": ["notes:read"],
                "bearer_methods_supported": ["header"],
                "resource_name": "Notes",
                "dpop_signing_alg_values_supported": [
                    *("ES256", "ES384", "ES512", "Ed25519", "EdDSA", "PS256", "RS256")
                ],
            }
            assert headers["access-control-allow-origin"] == "*"
            assert headers["content-type"] == "application/json"

    @pytest.mark.parametrize("path", ["/register", "/.well-known/oauth-authorization-server"])
    def test_who_looks_for_an_authorization_server_reads_where_it_is(self, http: Http, path: str) -> None:
        """Clients of 2025-03-26 ask the server itself."""
        reply = fetch(http.port, "GET", path)
        assert reply.status == 404
        assert f"log in at {issuer.url}, which {METADATA} names" in json.loads(reply.body)["error_description"]

    def test_other_paths_are_other_resources(self, http: Http) -> None:
        assert fetch(http.port, "GET", "/.well-known/oauth-protected-resource/other")[0] == 404
        assert fetch(http.port, "POST", "/.well-known/oauth-protected-resource")[0] == 405
        assert fetch(http.port, "OPTIONS", "/.well-known/oauth-protected-resource")[0] == 204

    @pytest.mark.parametrize(
        ("resource", "url"),
        [
            ("https://a.example/mcp", "https://a.example/.well-known/oauth-protected-resource/mcp"),
            ("https://A.example:443/mcp/", "https://a.example/.well-known/oauth-protected-resource/mcp"),
            ("https://a.example/x/mcp", "https://a.example/x/.well-known/oauth-protected-resource/mcp"),
            ("https://a.example/other", "https://a.example/.well-known/oauth-protected-resource/other"),
            ("https://a.example", "https://a.example/.well-known/oauth-protected-resource"),
            ("http://127.0.0.1:8000/mcp", "http://127.0.0.1:8000/.well-known/oauth-protected-resource/mcp"),
        ],
    )
    def test_its_url(self, resource: str, url: str) -> None:
        """R-602, R-612: below what stands before the endpoint's path, where a proxy sends requests to it."""
        with Serving(make_app(resource=resource)) as server:
            challenge = refused(server.http.modern("tools/list"), 401)
            assert challenge == f'Bearer resource_metadata="{url}", scope="notes:read"'


class TestConfiguration:
    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (("http://mcp.example.com/mcp", ["https://a.example"]), "needs https://"),
            (("https://mcp.example.com/mcp#x", ["https://a.example"]), "fragment"),
            (("https://u:p@mcp.example.com/mcp", ["https://a.example"]), "credentials"),
            (("/mcp", ["https://a.example"]), "no URL"),
            (("https://mcp.example.com/mcp", ["http://a.example"]), "needs https://"),
            (("https://mcp.example.com/mcp",), "nobody could be let in"),
            (("https://mcp.example.com/mcp", "https://a.example"), "takes a list"),
            (("https://mcp.example.com/mcp", ["https://a.example"] * 2), "twice"),
        ],
    )
    def test_what_is_refused_at_construction(self, arguments: Any, text: str) -> None:
        """B5, R-617: http is for this machine alone."""
        with pytest.raises((TypeError, ValueError), match=text):
            ResourceServer(*arguments)

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"scopes": "notes:read"}, "takes a list"),
            ({"scopes": ["a b"]}, "is no scope"),
            ({"scopes": ["offline_access"]}, "refresh tokens"),
            ({"verifiers": [object()]}, "verify_token"),
            ({"leeway": 1000}, "from 0 to 60"),
            ({"scope_hierarchy": {"a": "b"}}, "takes a list"),
        ],
    )
    def test_options(self, options: Any, text: str) -> None:
        """R-604: `offline_access` is never a scope of a resource."""
        with pytest.raises((TypeError, ValueError), match=text):
            ResourceServer("https://mcp.example.com/mcp", ["https://a.example"], **options)

    @pytest.mark.parametrize(
        ("first", "second", "is_refused"),
        [
            (("https://idp.example/a/introspect", None), ("https://idp.example/b/introspect", None), True),
            (("https://idp.example/a", None), ("https://idp.example:443/b", "https://idp.example"), True),
            (("https://idp.example/a", "https://idp.example/A"), ("https://idp.example/b", None), False),
            (
                ("https://idp.example/a", "https://idp.example"),
                ("https://idp.example/b", "https://idp.example"),
                False,
            ),
            (("https://idp.example/a", None), ("https://idp.example/a", None), False),
            (("https://idp.example/a", None), ("https://other.example/a", None), False),
        ],
        ids=[
            "neither named",
            "named like the other's host",
            "told apart",
            "said to be one",
            "one endpoint",
            "hosts",
        ],
    )
    def test_users_of_two_introspections_are_told_apart(
        self, first: tuple[str, str | None], second: tuple[str, str | None], is_refused: bool
    ) -> None:
        """R-703, X-AUTH-4: where answers name no issuer; one beside an authorization server is its own."""
        verifiers = [Introspection(url, "me", "secret", issuer=issuer) for url, issuer in (first, second)]
        refusal = pytest.raises(ValueError, match=r"issuer=") if is_refused else contextlib.nullcontext()
        with refusal:
            ResourceServer(RESOURCE, ["https://idp.example"], verifiers=verifiers)

    @pytest.mark.parametrize(
        ("name", "text"),
        [("required_scopes", "it is scopes="), ("issuer_url", "second argument"), ("audience", "audiences=")],
    )
    def test_arguments_of_other_frameworks(self, name: str, text: str) -> None:
        with pytest.raises(TypeError, match=text):
            ResourceServer(RESOURCE, ["https://a.example"], **{name: "x"})

    def test_http_on_this_machine(self) -> None:
        for host in ("127.0.0.1", "localhost", "[::1]"):
            server = AuthorizationServer(f"http://{host}:9000")
            assert ResourceServer(f"http://{host}:8000/mcp", [server]).resource == f"http://{host}:8000/mcp"

    def test_another_object_as_auth(self) -> None:
        class Verifier:
            async def verify_token(self, token: str) -> None:
                return None

        with pytest.raises(TypeError, match=r"a Verifier goes into its verifiers=\[\.\.\.\]"):
            MCPApp("x", auth=Verifier())  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"auth= takes a ResourceServer.*, not a str"):
            MCPApp("x", auth="secret")  # type: ignore[arg-type]
