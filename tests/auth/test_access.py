"""Scopes of operations over real sockets: HTTP 403 with one challenge, decided before anything is sent."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from enfilade import Context, MCPApp, Settings
from enfilade.auth import Principal, ResourceServer
from enfilade.primitives.metadata import Caching
from enfilade.serving.channel import Peer
from enfilade.serving.dispatcher import MethodHandler
from enfilade.serving.request import Request
from enfilade.testing.issuer import Issuer
from enfilade.wire.message import Message
from enfilade.wire.notifications import LoggingMessageNotificationParams
from support.harness import Serving
from support.http_client.connection import Http, Reply, request_of

RESOURCE = "https://mcp.example.com/mcp"
METADATA = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp"

issuer = Issuer("https://issuer.test", audience=RESOURCE)
ran: list[str] = []


def is_admin(principal: Principal | None, peer: Peer) -> bool:
    return principal is not None and "admin" in principal.scopes


async def chatty(request: Request, call_next: MethodHandler) -> Message:
    """Send something before the handler, and send one name to another tool."""
    if request.method == "tools/call":
        request.notify("notifications/message", LoggingMessageNotificationParams(level="info", data="coming"))
        if request.params.name == "renamed":
            request.params.name = "write"
    return await call_next(request)


def make_app(*, list_by_scope: bool = False, **options: Any) -> MCPApp:
    auth = ResourceServer(
        RESOURCE,
        [issuer.server()],
        scopes=["notes:read"],
        scope_hierarchy={"notes:all": ["notes:write", "notes:share"], "notes:write": ["notes:read"]},
        list_by_scope=list_by_scope,
    )
    app = MCPApp("Notes", auth=auth, **options)

    @app.tool(requires_scopes=["notes:write", "notes:share"])
    async def write(text: str = "") -> str:
        """Write and share a note."""
        ran.append("write")
        return "written"

    @app.tool
    async def read(ctx: Context) -> str:
        """Read, with another tool's help."""
        return str(await ctx.tools.call("write"))

    @app.tool
    async def file(ctx: Context) -> str:
        """Read a resource."""
        return str(await ctx.resources.read("note://private"))

    @app.tool(visible=is_admin)
    async def purge(text: str = "") -> str:
        """Delete everything."""
        ran.append("purge")
        return "gone"

    @app.resource("note://private", requires_scopes=["notes:write"])
    async def private() -> str:
        """Return a private note."""
        ran.append("private")
        return "private"

    @app.resource("vault://{name}", requires_scopes=["vault:open"])
    async def vault(name: str) -> str:
        """Return what is in the vault."""
        return name

    @app.resource("admin://log", visible=is_admin)
    async def journal() -> str:
        """Return the log."""
        return "log"

    @app.prompt(requires_scopes=["notes:write"], complete={"topic": ["a", "b"]})
    async def draft(topic: str) -> str:
        """Draft a note."""
        ran.append("draft")
        return topic

    @app.prompt(visible=is_admin, complete={"topic": ["a", "b"]})
    async def audit(topic: str) -> str:
        """Audit the notes."""
        return topic

    return app


#: How the endpoint answers, and what surrounds its handlers.
MODES: dict[str, dict[str, Any]] = {
    "plain": {},
    "json": {"settings": {"json_response": True}},
    "middleware": {"middleware": [chatty]},
}


@pytest.fixture(scope="module", params=MODES)
def http(request: pytest.FixtureRequest) -> Iterator[Http]:
    options = dict(MODES[request.param])
    if "settings" in options:
        options["settings"] = Settings(**options["settings"])
    with Serving(make_app(**options)) as server:
        yield server.http


def bearer(*scopes: str, subject: str = "ada") -> str:
    return f"Bearer {issuer.token(subject, scopes=['notes:read', *scopes])}"


Ask = Callable[..., Reply]


@pytest.fixture(params=["stateless", "session", "session, events alone"])
def ask(request: pytest.FixtureRequest, http: Http) -> Ask:
    """Send a request in an era, with a token of some scopes."""

    def stateless(method: str, params: dict[str, Any], *scopes: str) -> Reply:
        return http.modern(method, params, authorization=bearer(*scopes))

    def in_session(method: str, params: dict[str, Any], *scopes: str) -> Reply:
        session = http.initialize(authorization=bearer(*scopes))
        more: Any = {"accept": "text/event-stream"} if "alone" in request.param else {}
        return session.ask(method, params, authorization=bearer(*scopes), **more)

    return stateless if request.param == "stateless" else in_session


OPERATIONS = {
    "tool": ("tools/call", {"name": "write", "arguments": {"text": "x"}}, "notes:write notes:share"),
    "tool by its qualified name": ("tools/call", {"name": "Notes_Write"}, "notes:write notes:share"),
    "tool with bad arguments": (
        "tools/call",
        {"name": "write", "arguments": {"no": 1}},
        "notes:write notes:share",
    ),
    "resource": ("resources/read", {"uri": "note://private"}, "notes:write"),
    "resource, spelled otherwise": ("resources/read", {"uri": "NOTE://private#part"}, "notes:write"),
    "template": ("resources/read", {"uri": "vault://x"}, "vault:open"),
    "prompt": ("prompts/get", {"name": "draft", "arguments": {"topic": "a"}}, "notes:write"),
    "completion": (
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": "draft"}, "argument": {"name": "topic", "value": ""}},
        "notes:write",
    ),
    "completion of a template": (
        "completion/complete",
        {"ref": {"type": "ref/resource", "uri": "vault://{name}"}, "argument": {"name": "name", "value": ""}},
        "vault:open",
    ),
}


def check_refused(reply: Reply, scopes: str) -> None:
    """Check that a response is HTTP 403 with one challenge that names the scopes, the server's own first."""
    assert reply.status == 403, reply.body
    challenge = reply.header("www-authenticate")  # there must not be two
    assert challenge is not None
    assert challenge.startswith(
        f'Bearer error="insufficient_scope", scope="notes:read {scopes}", resource_metadata="{METADATA}", '
        "error_description="
    )
    assert (reply.header("content-type") or "").startswith("application/json")
    assert reply.error["code"] == -32600
    for scope in scopes.split():
        assert scope in reply.error["message"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_without_its_scopes_an_operation_is_refused(ask: Ask, operation: str) -> None:
    """B6, R-605, R-606, R-613, X-AUTH-5, X-AUTH-31: in every mode before a stream; the function does not run."""
    method, params, scopes = OPERATIONS[operation]
    ran.clear()
    check_refused(ask(method, params, "other", *scopes.split()[1:]), scopes)
    assert ran == []


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_broader_scope_includes_others(ask: Ask, operation: str) -> None:
    """R-607: through several steps; those of the operation itself do as well."""
    method, params, scopes = OPERATIONS[operation]
    for granted in (["notes:all", "vault:open"], scopes.split()):
        assert ask(method, params, *granted).status == 200


UNKNOWN = {
    "tool": (
        "tools/call",
        {"name": "purge", "arguments": {"wrong": 1}},
        {"name": "parge", "arguments": {"wrong": 1}},
    ),
    "resource": ("resources/read", {"uri": "admin://log"}, {"uri": "admin://lag"}),
    "prompt": ("prompts/get", {"name": "audit"}, {"name": "oudit"}),
    "completion": (
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": "audit"}, "argument": {"name": "topic", "value": ""}},
        {"ref": {"type": "ref/prompt", "name": "oudit"}, "argument": {"name": "topic", "value": ""}},
    ),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_is_invisible_is_unknown(ask: Ask, kind: str) -> None:
    """B14, R-719: the error of a name that does not exist, but for the name."""
    method, hidden, missing = UNKNOWN[kind]
    first, second = ask(method, hidden), ask(method, missing)
    assert first.status == second.status
    name, other = (
        str(params.get("name") or params.get("uri") or params.get("ref")) for params in (hidden, missing)
    )
    replaced = str(first.error)
    for one, another in (("purge", "parge"), ("admin://log", "admin://lag"), ("audit", "oudit"), (name, other)):
        replaced = replaced.replace(one, another)
    assert replaced == str(second.error)
    if kind != "tool":
        return
    assert ask(method, {"name": "purge"}, "admin").result["content"][0]["text"] == "gone"


def test_a_chained_call_is_told_which_scopes(ask: Ask) -> None:
    """B6: the result of the outer call is an error that names them."""
    ran.clear()
    for tool, scopes in (("read", "notes:write notes:share"), ("file", "notes:write")):
        result = ask("tools/call", {"name": tool}).result
        assert result["isError"] is True
        assert scopes in result["content"][0]["text"]
    assert ran == []
    assert ask("tools/call", {"name": "read"}, "notes:all").result["content"][0]["text"] == "written"


def test_in_a_batch_it_is_the_error_of_one_message(http: Http) -> None:
    """X-AUTH-5: the others have their results."""
    session = http.initialize("2025-03-26", authorization=bearer())
    batch = [request_of("tools/call", {"name": "write"}, 1, None), request_of("ping", None, 2, None)]
    reply = session.post(batch, authorization=bearer())
    assert reply.status == 200
    outcomes = {message["id"]: message for message in reply.messages}
    assert outcomes[1]["error"]["code"] == -32600
    assert "notes:write notes:share" in outcomes[1]["error"]["message"]
    assert outcomes[2]["result"] == {}


def test_a_stream_of_changes_needs_the_scopes_of_all_its_resources(http: Http) -> None:
    """R-606: one challenge for a filter; what is not there, or not visible, is no reason."""
    uris = ["note://private", "vault://x", "note://none", "admin://log"]
    params = {"notifications": {"resourceSubscriptions": uris, "toolsListChanged": True}}
    reply = http.modern("subscriptions/listen", params, authorization=bearer("notes:write"))
    check_refused(reply, "notes:write vault:open")
    params["notifications"]["resourceSubscriptions"] = uris[2:]
    with http.start_modern("subscriptions/listen", params, authorization=bearer()) as stream:
        assert stream.status == 200


def test_a_subscription_needs_the_scopes_of_its_resource(http: Http) -> None:
    session = http.initialize(authorization=bearer())
    subscribe: Any = lambda uri: session.ask("resources/subscribe", {"uri": uri}, authorization=bearer())  # noqa: E731
    check_refused(subscribe("vault://x"), "vault:open")
    assert subscribe("admin://log").result == {}
    assert subscribe("note://none").result == {}


def test_middleware_cannot_get_around_it() -> None:
    """R-613: another name leads to the tool, which checks again, whatever has been sent by then."""
    ran.clear()
    with Serving(make_app(middleware=[chatty])) as server:
        call = {"name": "renamed"}
        reply = server.http.modern("tools/call", call, authorization=bearer())
        assert "notes:write notes:share" in reply.error["message"]
        assert ran == []
        assert server.http.modern("tools/call", call, authorization=bearer("notes:all")).status == 200


def test_the_metadata_names_all_scopes() -> None:
    """R-601, X-AUTH-2: those of the server, and of every operation."""
    assert make_app().required_scopes() == ("notes:write", "notes:share", "vault:open")
    with Serving(make_app()) as server:
        url = f"http://127.0.0.1:{server.http.port}/.well-known/oauth-protected-resource/mcp"
        with urllib.request.urlopen(url, timeout=30) as document:
            supported = json.load(document)["scopes_supported"]
    assert supported == ["notes:read", "notes:write", "notes:share", "vault:open"]


LISTS = {"tools/list": "tools", "resources/list": "resources", "prompts/list": "prompts"}


def names(http: Http, *scopes: str, subject: str = "ada") -> dict[str, list[str]]:
    found = {}
    for method, member in LISTS.items():
        result = http.modern(method, authorization=bearer(*scopes, subject=subject)).result
        assert result["cacheScope"] == "private"
        found[member] = [item.get("uri") or item["name"] for item in result[member]]
    return found


@pytest.mark.parametrize("list_by_scope", [False, True])
def test_lists_are_those_of_an_audience(list_by_scope: bool) -> None:
    """B14, R-715, X-AUTH-6: also where the author says `public`; callers alike get the same bytes."""
    caching = {method: Caching(ttl=60, scope="public") for method in LISTS}
    app = make_app(list_by_scope=list_by_scope, caching=caching)
    app.add_resource(is_admin_note, "admin://note", visible=is_admin)
    with Serving(app) as server:
        everything = names(server.http, "notes:all", "admin")
        plain = names(server.http)
        assert names(server.http, subject="bob") == plain
        assert names(server.http, "notes:all", "admin", subject="bob") == everything
    assert everything == {
        "tools": ["write", "read", "file", "purge"],
        "resources": ["note://private", "admin://log", "admin://note"],
        "prompts": ["draft", "audit"],
    }
    assert plain == (
        {"tools": ["read", "file"], "resources": [], "prompts": []}
        if list_by_scope
        else {"tools": ["write", "read", "file"], "resources": ["note://private"], "prompts": ["draft"]}
    )


async def is_admin_note() -> str:
    """Return a note."""
    return "note"


def test_a_list_that_is_the_same_for_everybody_may_be_public() -> None:
    """R-715: scopes alone hide nothing from lists, so these stay as the author says."""
    app = MCPApp("open", caching={"tools/list": Caching(ttl=60, scope="public")})
    app.add_tool(is_admin_note, requires_scopes=["notes:write"])
    with Serving(app) as server:
        assert server.http.modern("tools/list").result["cacheScope"] == "public"


def test_without_auth_nobody_has_scopes() -> None:
    """R-605: the server knows nobody, so nobody is let in, and the text says so."""
    app = MCPApp("open")
    app.add_tool(is_admin_note, requires_scopes=["notes:write"])
    with Serving(app) as server:
        for reply in (server.http.modern_call("is_admin_note"), server.http.initialize().call("is_admin_note")):
            assert reply.status == 403
            assert reply.header("www-authenticate") == 'Bearer error="insufficient_scope", scope="notes:write"'
            assert reply.error["message"] == (
                "This needs the scope notes:write, and this server does not know who calls: it has no auth="
            )
