"""B4: a server from whose caller all prompts or resources are hidden is to it one that has none.

Whatever it sends, in both eras, over HTTP and on a connection: the same answer comes from a server without them.
So it does not learn that there is anything.
"""

import json
from typing import Any

import pytest

from enfilade import MCPApp
from enfilade.serving.channel import NullOutlet
from enfilade.transports.message_connection import Connection
from support.http_client.asgi_calls import AsgiClient
from support.http_client.connection import initialize_request, request_of, stateless_meta
from support.waiting import until

pytestmark = pytest.mark.anyio

REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("prompts/list", {}),
    ("prompts/list", {"cursor": "nonsense"}),
    ("prompts/get", {"name": "greet"}),
    ("prompts/get", {"name": "other"}),
    ("prompts/get", {}),
    ("resources/list", {}),
    ("resources/templates/list", {}),
    ("resources/read", {"uri": "note://tea"}),
    ("resources/read", {"uri": "note://list"}),
    ("resources/read", {"uri": 5}),
    ("resources/subscribe", {"uri": "note://list"}),
    ("resources/unsubscribe", {"uri": "note://list"}),
    (
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "who", "value": ""}},
    ),
    ("completion/complete", {"ref": {"type": "ref/resource", "uri": "note://{name}"}, "argument": {}}),
]


def server(shown: bool | None) -> MCPApp:
    """Return a server with things that are visible or not; None for one that has none."""
    app = MCPApp("Notes", version="1")
    if shown is not None:
        visible = lambda principal, peer: shown  # noqa: E731
        app.prompt(visible=visible)(greet)
        app.resource("note://list", visible=visible)(notes)
        app.resource("note://{name}", visible=visible)(note)
    return app


def greet(who: str) -> str:
    """Greet somebody."""
    return f"Greet {who}"


def notes() -> str:
    """Return all notes."""
    return "tea"


def note(name: str) -> str:
    """Return a note."""
    return name


class Outlet(NullOutlet):
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, message: bytes) -> bool:
        self.sent.append(message)
        return True

    push = send

    async def write(self, message: bytes) -> None:
        self.sent.append(message)


async def over_http(app: MCPApp) -> list[Any]:
    client = AsgiClient(app)
    answers: list[Any] = []
    for revision in ("2025-03-26", "2025-11-25"):
        opened = await client.initialize(revision)
        answers.append(opened.result["capabilities"])
        token = opened.headers["mcp-session-id"]
        answers += [await client.ask(token, method, params) for method, params in REQUESTS]
    answers += [await client.modern("server/discover")]
    for method, params in REQUESTS:
        answers.append(await client.modern(method, params))
    return [(each.status, json.loads(each.body)) if hasattr(each, "body") else each for each in answers]


async def on_a_connection(app: MCPApp) -> list[Any]:
    answers: list[Any] = []
    for meta in (None, stateless_meta()):
        outlet = Outlet()
        connection, replies = Connection(app.dispatcher, outlet, outlet.write), outlet.sent
        if meta is None:
            connection.feed(json.dumps(initialize_request("2025-11-25")).encode())
        for id, (method, params) in enumerate(REQUESTS, 10):
            connection.feed(json.dumps(request_of(method, params, id, meta)).encode())
        await until(lambda: len(replies) == len(REQUESTS) + (meta is None))
        answers += sorted((json.loads(reply) for reply in replies), key=lambda reply: str(reply["id"]))
    return answers


@pytest.mark.parametrize("answers_of", [over_http, on_a_connection])
async def test_what_is_hidden_altogether_is_as_if_it_were_not_there(answers_of: Any) -> None:
    """B4: methods, capabilities, and also what is wrong with the parameters."""
    hidden, none, shown = [await answers_of(server(each)) for each in (False, None, True)]
    assert hidden == none
    assert shown != none
