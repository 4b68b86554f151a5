"""Notices of changes reach those alone who may see what has changed: streams of both eras, over HTTP."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from enfilade import MCPApp
from enfilade.auth import Principal, ResourceServer
from enfilade.serving.channel import Peer
from enfilade.serving.subscriptions import RESOURCES
from enfilade.testing.issuer import Issuer
from support.harness import Serving
from support.http_client.connection import Http
from support.servers.changing_server import OpenStream

RESOURCE = "https://mcp.example.com/mcp"
issuer = Issuer("https://issuer.test", audience=RESOURCE)


def is_admin(principal: Principal | None, peer: Peer) -> bool:
    return principal is not None and "admin" in principal.scopes


def text() -> str:
    """Return a text."""
    return "text"


def make_app() -> MCPApp:
    auth = ResourceServer(RESOURCE, [issuer.server()], list_by_scope=True)
    app = MCPApp("changes", auth=auth)
    app.add_tool(text, name="open")
    app.add_prompt(text, name="open")
    app.add_resource(text, "note://open")
    app.add_resource(text, "note://write", requires_scopes=["write"])
    app.add_resource(text, "note://admin", visible=is_admin)
    return app


@pytest.fixture(scope="module")
def app() -> MCPApp:
    return make_app()


@pytest.fixture(scope="module")
def http(app: MCPApp) -> Iterator[Http]:
    with Serving(app) as serving:
        yield serving.http


def bearer(*scopes: str) -> str:
    return f"Bearer {issuer.token('ada', scopes=list(scopes))}"


def listen(http: Http, *scopes: str, uris: tuple[str, ...] = ()) -> OpenStream:
    lists = dict.fromkeys(("toolsListChanged", "promptsListChanged", "resourcesListChanged"), True)
    wanted = {"notifications": {**lists, "resourceSubscriptions": list(uris)}}
    stream = OpenStream(http.start_modern("subscriptions/listen", wanted, authorization=bearer(*scopes)))
    stream.next()
    return stream


def listen_in_session(http: Http, *scopes: str, uris: tuple[str, ...] = ()) -> OpenStream:
    token = bearer(*scopes)
    session = http.initialize(authorization=token)
    for uri in uris:
        assert session.ask("resources/subscribe", {"uri": uri}, authorization=token).status in (200, 403)
    fields: dict[str, Any] = {name.replace("_", "-"): value for name, value in session.headers.items()}
    accept = {"accept": "text/event-stream", "authorization": token}
    return OpenStream(http.start("GET", b"", {**fields, **accept}))


CHANGES: dict[str, tuple[Callable[[MCPApp], object], str]] = {
    "a hidden tool comes": (lambda app: app.add_tool(text, name="t", visible=is_admin), "admin"),
    "a hidden tool goes": (lambda app: app.remove_tool("t"), "admin"),
    "a tool with a scope comes": (lambda app: app.add_tool(text, name="w", requires_scopes=["write"]), "write"),
    "a tool with a scope goes": (lambda app: app.remove_tool("w"), "write"),
    "a hidden prompt comes": (lambda app: app.add_prompt(text, name="p", visible=is_admin), "admin"),
    "a hidden prompt goes": (lambda app: app.remove_prompt("p"), "admin"),
    "a hidden resource comes": (lambda app: app.add_resource(text, "a://b", visible=is_admin), "admin"),
    "a hidden resource goes": (lambda app: app.remove_resource("a://b"), "admin"),
    "a template with a scope comes": (
        lambda app: app.add_resource(lambda name: name, "t://{name}", name="x", requires_scopes=["write"]),
        "write",
    ),
    "a template with a scope goes": (lambda app: app.remove_resource("t://{name}"), "write"),
}


@pytest.mark.parametrize("open_stream", [listen, listen_in_session], ids=["stateless", "session"])
def test_a_list_changes_for_those_who_see_the_item(
    app: MCPApp, http: Http, open_stream: Callable[..., OpenStream]
) -> None:
    """B14, R-719: before and after; an update that all hear of, announced last, shows what did not come."""
    watch = ("note://open",)
    with (
        open_stream(http, "admin", uris=watch) as admin,
        open_stream(http, "write", uris=watch) as writer,
        open_stream(http, uris=watch) as other,
    ):
        streams = {"admin": admin, "write": writer, "nobody": other}
        for name, (change, audience) in CHANGES.items():
            change(app)
            app.notify_resource_updated("note://open")
            heard = {who: lists_before_update(stream) for who, stream in streams.items()}
            assert [(who, len(lists)) for who, lists in heard.items() if lists] == [(audience, 1)], name


def lists_before_update(stream: OpenStream) -> list[str]:
    """Return the lists that have changed up to the next update."""
    methods = iter(lambda: stream.next()["method"], "notifications/resources/updated")
    return [method for method in methods if method.endswith("list_changed")]


@pytest.mark.parametrize("open_stream", [listen, listen_in_session], ids=["stateless", "session"])
def test_a_resource_is_updated_for_those_who_may_read_it(
    app: MCPApp, http: Http, open_stream: Callable[..., OpenStream]
) -> None:
    """B14, R-368: what is there later counts as it is at the time of the update."""
    uris = ("note://open", "note://admin", "note://later")
    with open_stream(http, "admin", uris=uris) as admin, open_stream(http, "write", uris=uris) as writer:
        app.notify_resource_updated("note://admin")
        app.notify_resource_updated("note://open")
        assert until_updated(admin, "note://open") == ["note://admin"]
        assert until_updated(writer, "note://open") == []
        app.add_resource(text, "note://later", visible=is_admin)
        app.notify_resource_updated("note://later")
        app.notify_resource_updated("note://open")
        assert until_updated(admin, "note://open") == ["note://later"]
        assert until_updated(writer, "note://open") == []
        app.remove_resource("note://later")


def until_updated(stream: OpenStream, last: str) -> list[str]:
    """Return the resources that are updated before one, without notices about lists."""
    heard: list[str] = []
    while True:
        message = stream.next()
        if message["method"] == "notifications/resources/updated":
            if message["params"]["uri"] == last:
                return heard
            heard.append(message["params"]["uri"])


def test_lists_of_everybody_are_announced_to_everybody(app: MCPApp, http: Http) -> None:
    with listen(http, "admin") as admin, listen(http) as other:
        app.changes.announce(RESOURCES)
        for stream in (admin, other):
            assert stream.next()["method"] == "notifications/resources/list_changed"
