"""Plain routes and mounts beside the endpoint, over real sockets: what is answered, to whom, what is refused."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from enfilade import MCPApp, Settings
from enfilade.auth import ResourceServer
from enfilade.routes import HttpError, Response, RouteRequest
from enfilade.settings import SettingsError
from enfilade.testing import Issuer
from support.harness import Http, Serving, eventually
from support.http_client.connection import HeaderValue, Reply

RESOURCE = "https://mcp.example.com/mcp"
PAGE = "http://localhost:6274"


@asynccontextmanager
async def lifespan(app: MCPApp) -> AsyncIterator[dict[str, int]]:
    yield {"tea": 3}


ended: list[str] = []


def office(**options: Any) -> MCPApp:
    """Return an app with a route of each kind."""
    app = MCPApp("office", lifespan=lifespan, settings=Settings(body_limit=1024, request_timeout=0.2), **options)

    @app.tool
    async def echo(text: str) -> str:
        """Return the text."""
        return text

    @app.route("/status")
    async def status() -> str:
        return "fine"

    @app.route("/blocking")
    def blocking(request: RouteRequest) -> dict[str, Any]:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return {"stock": request.lifespan, "query": request.query_params, "team": request.headers["X-Team"]}
        raise AssertionError("a def handler ran in the event loop")

    @app.route("/orders/{id}", methods=["GET", "PUT"])
    async def order(request: RouteRequest) -> Any:
        return {"order": request.path_params["id"], "by": request.method}

    @app.route("/orders/new")
    async def new_order() -> None:
        return None

    @app.route("/files/{rest:path}")
    async def files(request: RouteRequest) -> bytes:
        return request.path_params["rest"].encode()

    @app.route("/echo", methods=["POST"])
    async def echo_body(request: RouteRequest) -> Response:
        return Response(await request.json(), 201, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])

    @app.route("/stream")
    async def stream() -> Response:
        async def lines() -> AsyncIterator[str]:
            try:
                yield "one\n"
                yield "two\n"
            finally:
                ended.append("stream")

        return Response(lines(), media_type="text/plain")

    @app.route("/endless")
    async def endless() -> Response:
        async def lines() -> AsyncIterator[str]:
            try:
                yield "one\n"
                await asyncio.Event().wait()
            finally:
                ended.append("endless")

        return Response(lines())

    @app.route("/missing")
    async def missing() -> None:
        raise HttpError(410, "it is gone", {"X-Why": "sold"})

    @app.route("/broken")
    async def broken() -> None:
        raise RuntimeError("the password is 1234")

    @app.route("/slow")
    async def slow() -> None:
        await asyncio.Event().wait()

    @app.route("/starlette/{name}")
    async def starlette(request: StarletteRequest) -> PlainTextResponse:
        if request.query_params.get("teapot"):
            raise HTTPException(418, "teapot")
        return PlainTextResponse(
            f"{request.path_params['name']} {request.url.path}", headers={"x-kind": "starlette"}
        )

    @app.route("/private", authenticated=True)
    async def private(request: RouteRequest) -> str:
        assert request.principal is not None
        return str(request.principal.subject)

    @app.route("/admin-only", scopes=["admin"])
    async def admin_only() -> str:
        return "secret"

    async def index(request: StarletteRequest) -> PlainTextResponse:
        return PlainTextResponse(f"{request.url.path} {request.scope['root_path']}")

    app.add_route("/admin", Starlette(routes=[Route("/", index), Route("/deep", index)]))
    app.add_route("/vault", Starlette(routes=[Route("/", index)]), authenticated=True)
    return app


@pytest.fixture(scope="module")
def http() -> Iterator[Http]:
    with Serving(office()) as serving:
        yield serving.http


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer(audience=RESOURCE)


@pytest.fixture(scope="module")
def protected(issuer: Issuer) -> Iterator[Http]:
    auth = ResourceServer(RESOURCE, [issuer.server()], scope_hierarchy={"root": ["admin"]})
    with Serving(office(auth=auth)) as serving:
        yield serving.http


def plain(http: Http, verb: str, path: str, body: bytes = b"", **fields: HeaderValue) -> Reply:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    with http.start(verb, body, headers, path=path) as waiting:
        return Reply(waiting.response, waiting.response.read())


class TestAnswers:
    def test_text_and_head_and_the_endpoint_beside_it(self, http: Http) -> None:
        reply = plain(http, "GET", "/status")
        assert (reply.status, reply.body) == (200, b"fine")
        assert reply.header("content-type") == "text/plain; charset=utf-8"
        head = plain(http, "HEAD", "/status")
        assert (head.status, head.body, head.header("content-length")) == (200, b"", "4")
        assert http.initialize().call("echo", text="hi").result["content"][0]["text"] == "hi"

    def test_a_blocking_handler_runs_in_a_thread_and_gets_the_request(self, http: Http) -> None:
        reply = plain(http, "GET", "/blocking?a=1&b=%C3%A4", x_team="blue")
        assert json.loads(reply.body) == {"stock": {"tea": 3}, "query": {"a": "1", "b": "ä"}, "team": "blue"}
        assert reply.header("content-type") == "application/json"

    @pytest.mark.parametrize(
        ("verb", "path", "status", "body"),
        [
            ("GET", "/orders/7", 200, b'{"order":"7","by":"GET"}'),
            ("PUT", "/orders/a%20b", 200, b'{"order":"a b","by":"PUT"}'),
            ("GET", "/orders/new", 204, b""),
            ("GET", "/files/a/b.txt", 200, b"a/b.txt"),
            ("GET", "/stream", 200, b"one\ntwo\n"),
            ("GET", "/admin", 200, b"/admin /admin"),
            ("GET", "/admin/deep", 200, b"/admin/deep /admin"),
        ],
    )
    def test_paths(self, http: Http, verb: str, path: str, status: int, body: bytes) -> None:
        reply = plain(http, verb, path)
        if path == "/admin":  # Starlette itself redirects
            assert reply.status in (200, 307)
            return
        assert (reply.status, reply.body) == (status, body)

    def test_json_and_repeated_headers(self, http: Http) -> None:
        reply = plain(http, "POST", "/echo", b'{"a": [1]}')
        assert (reply.status, reply.body) == (201, b'{"a":[1]}')
        assert [value for name, value in reply.headers if name == "set-cookie"] == ["a=1", "b=2"]

    def test_requests_and_responses_of_starlette(self, http: Http) -> None:
        reply = plain(http, "GET", "/starlette/ada")
        assert (reply.body, reply.header("x-kind")) == (b"ada /starlette/ada", "starlette")
        refused = plain(http, "GET", "/starlette/ada?teapot=1")
        assert (refused.status, json.loads(refused.body)) == (418, {"detail": "teapot"})

    def test_a_stream_ends_when_its_client_goes(self, http: Http) -> None:
        ended.clear()
        with http.start("GET", path="/endless") as waiting:
            assert waiting.response.readline() == b"one\n"
        eventually(lambda: ended == ["endless"], "the iterator goes on")


class TestRefusals:
    @pytest.mark.parametrize(
        ("verb", "path", "body", "status", "text"),
        [
            ("DELETE", "/orders/7", b"", 405, "the path has other methods"),
            ("GET", "/missing", b"", 410, "it is gone"),
            ("POST", "/echo", b"x" * 2000, 413, "the body is larger than 1024 bytes"),
            ("POST", "/echo", b"{", 400, "the body is no JSON"),
            ("GET", "/slow", b"", 504, "this took too long"),
        ],
    )
    def test_errors_with_a_status(
        self, http: Http, verb: str, path: str, body: bytes, status: int, text: str
    ) -> None:
        reply = plain(http, verb, path, body)
        assert (reply.status, json.loads(reply.body)["error"]) == (status, text)

    def test_headers_of_errors(self, http: Http) -> None:
        assert plain(http, "GET", "/missing").header("x-why") == "sold"
        assert plain(http, "DELETE", "/orders/7").header("allow") == "GET, PUT, HEAD"

    def test_a_failure_tells_its_id_alone(self, http: Http, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.ERROR):
            reply = plain(http, "GET", "/broken")
        text = json.loads(reply.body)["error"]
        assert reply.status == 500
        assert "1234" not in text
        (correlation,) = [word.strip("()") for word in text.split()[-1:]]
        assert f"GET /broken failed (id {correlation})" in caplog.text
        assert "the password is 1234" in caplog.text

    def test_unknown_paths_stay_what_they_were(self, http: Http) -> None:
        reply = plain(http, "GET", "/nothing")
        assert reply.status == 404
        assert "the MCP endpoint is /mcp" in json.loads(reply.body)["error"]["message"]
        assert plain(http, "GET", "/healthz").status == plain(http, "GET", "/readyz").status == 200

    @pytest.mark.parametrize("path", ["/status", "/admin/deep"])
    def test_foreign_hosts_and_origins(self, http: Http, path: str) -> None:
        assert plain(http, "GET", path, host="evil.example").status == 421
        assert plain(http, "GET", path, origin="https://evil.example").status == 403

    def test_pages_of_allowed_origins(self, http: Http) -> None:
        assert plain(http, "GET", "/status", origin=PAGE).header("access-control-allow-origin") == PAGE
        preflight = plain(http, "OPTIONS", "/orders/7", origin=PAGE, access_control_request_method="PUT")
        assert preflight.status == 204
        assert preflight.header("access-control-allow-methods") == "GET, PUT, HEAD, OPTIONS"


class TestCallers:
    """Routes are public, with `auth=` as well, unless they say otherwise."""

    def test_a_public_route_needs_no_token(self, protected: Http) -> None:
        assert plain(protected, "GET", "/status").status == 200
        assert plain(protected, "POST", "/mcp", b"{}").status == 401

    @pytest.mark.parametrize("path", ["/private", "/admin-only", "/vault/"])
    def test_others_need_one(self, protected: Http, path: str) -> None:
        reply = plain(protected, "GET", path)
        assert reply.status == 401
        assert (reply.header("www-authenticate") or "").startswith("Bearer ")
        assert plain(protected, "GET", path, authorization="Bearer nonsense").status == 401

    def test_who_calls_and_what_they_may(self, protected: Http, issuer: Issuer) -> None:
        ada = f"Bearer {issuer.token('ada')}"
        assert plain(protected, "GET", "/private", authorization=ada).body == b"ada"
        assert plain(protected, "GET", "/vault/", authorization=ada).status == 200
        refused = plain(protected, "GET", "/admin-only", authorization=ada)
        assert refused.status == 403
        assert 'scope="admin"' in (refused.header("www-authenticate") or "")
        root = f"Bearer {issuer.token('root', scopes=['root'])}"
        assert plain(protected, "GET", "/admin-only", authorization=root).body == b"secret"

    def test_without_anybody_who_knows_callers_nobody_is_let_in(self, http: Http) -> None:
        assert plain(http, "GET", "/private").status == plain(http, "GET", "/vault/").status == 401


class TestAtTheStart:
    @pytest.mark.parametrize(
        "path", ["/mcp", "/mcp/", "/healthz", "/readyz", "/.well-known/oauth-protected-resource/mcp"]
    )
    def test_a_taken_path_is_an_error(self, path: str) -> None:
        app = MCPApp("office")
        with pytest.raises(ValueError, match="give the route another one"):
            app.route(path)(lambda: "x")
        with pytest.raises(ValueError, match="give the route another one"):
            MCPApp("office").add_route(path, Starlette())

    def test_two_routes_at_one_path(self) -> None:
        app = MCPApp("office")
        app.route("/a/{id}")(lambda: "x")
        app.route("/a/{id}", methods=["POST"])(lambda: "x")
        with pytest.raises(ValueError, match=r"GET /a/\{other\} is taken by <lambda>\(\) at /a/\{id\}"):
            app.route("/a/{other}")(lambda: "x")

    @pytest.mark.parametrize("path", ["status", "//a", "/a?b", "/a/{", "/{a}/{a}", "/{a:int}"])
    def test_paths_that_cannot_be(self, path: str) -> None:
        with pytest.raises(ValueError):
            MCPApp("office").route(path)(lambda: "x")

    def test_handlers_that_cannot_be(self) -> None:
        with pytest.raises(TypeError, match=r"path_params"):
            MCPApp("office").route("/a/{id}")(lambda request, id: "x")
        with pytest.raises(TypeError, match=r"methods=\['GET'\]"):
            MCPApp("office").route("/a", methods="GET")(lambda: "x")
        with pytest.raises(TypeError, match=r"write @app.route\('/a'\)"):
            MCPApp("office").add_route("/a", "main:app")

    def test_a_setting_that_moves_the_endpoint_onto_a_route(self) -> None:
        app = MCPApp("office")
        app.route("/status")(lambda: "x")
        with pytest.raises(SettingsError, match=r"the path /status is that of the MCP endpoint"):
            app.run("http", path="/status")

    def test_a_mount_of_everything_leaves_the_endpoint_and_the_probes(self) -> None:
        async def everything(request: StarletteRequest) -> PlainTextResponse:
            return PlainTextResponse("website")

        app = MCPApp("office")
        app.add_route("/", Starlette(routes=[Route("/{path:path}", everything)]))
        with Serving(app) as serving:
            assert plain(serving.http, "GET", "/any/page").body == b"website"
            assert plain(serving.http, "GET", "/").body == b"website"
            assert plain(serving.http, "GET", "/healthz").body != b"website"
            assert serving.http.initialize().ask("tools/list").result == {"tools": []}


class Named:
    """ASGI middleware that adds its name to each response, and notes the types of scopes."""

    def __init__(self, app: Any, name: str = "default") -> None:
        self.app, self.name = app, name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def adding(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-passed", self.name.encode())]
            await send(message)

        ended.append(f"{self.name} {scope['type']}")
        await self.app(scope, receive, adding if scope["type"] == "http" else send)


class TestMiddleware:
    def test_it_is_around_everything_the_first_outermost(self) -> None:
        ended.clear()
        wraps = [Named, (Named, {"name": "pair"}), Middleware(Named, name="starlette")]
        with Serving(office(asgi_middleware=wraps)) as serving:
            for path in ("/status", "/healthz", "/nothing", "/admin/deep"):
                reply = plain(serving.http, "GET", path)
                passed = [value for name, value in reply.headers if name == "x-passed"]
                assert passed == ["starlette", "pair", "default"], path
            session = serving.http.initialize()
            assert session.call("echo", text="hi").result["content"][0]["text"] == "hi"
        assert ended[:3] == ["default lifespan", "pair lifespan", "starlette lifespan"]

    @pytest.mark.parametrize("value", [Named, "gzip", [1], [(Named, 3)], {"a": Named}])
    def test_what_cannot_be_middleware(self, value: Any) -> None:
        with pytest.raises(TypeError, match="asgi_middleware takes a list"):
            MCPApp("office", asgi_middleware=value)


def test_an_error_behind_the_head_breaks_the_response_off() -> None:
    app = MCPApp("office")

    @app.route("/half")
    async def half() -> Response:
        async def lines() -> AsyncIterator[str]:
            yield "one"
            raise RuntimeError("half way")

        return Response(lines())

    with (
        Serving(app) as serving,
        serving.http.raw(b"GET /half HTTP/1.1\r\nHost: localhost\r\n\r\n") as connection,
    ):
        data = b"".join(iter(lambda: received(connection), b""))
    assert b"one" in data
    assert not data.endswith(b"0\r\n\r\n")


def received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(4096)
    except ConnectionResetError:
        return b""
