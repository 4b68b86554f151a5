"""The server whose changes tests listen to, and ways to listen that leave nothing to a client's good will.

It runs inside the tests (`ChangingServer()`) and as a process of its own (`python changing_server.py stdio`).
Easy to get wrong: waiting cannot show that a message does *not* come. `OpenStream.until` reads up to a change
that is announced last, and returns what came before it.
"""

import sys
from pathlib import Path
from typing import Any, Self

from enfilade import MCPApp
from enfilade.serving.subscriptions import PROMPTS, RESOURCES, TOOLS, updated

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a process of its own finds `support`

from support.exchanges import SUBSCRIPTION_ID, Message
from support.http_client.connection import Http, HttpSession, PendingReply

FILE = Path(__file__)
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
EVERYTHING = {
    "toolsListChanged": True,
    "promptsListChanged": True,
    "resourcesListChanged": True,
    "resourceSubscriptions": ["note://a", "note://b"],
}

#: A change by the name that tests give it; any other name is the URI of a resource.
LISTS = {"tools": TOOLS, "prompts": PROMPTS, "resources": RESOURCES}


class ChangingServer(MCPApp):
    """A server with something of each kind, which changes when it is told to."""

    def __init__(self, **options: Any) -> None:
        super().__init__("listening", version="1.0.0", **options)
        self.add_text_resource("note://a", "a note")
        self.tool(self.change)
        self.prompt(self.greet)

    def change(self, what: list[str]) -> list[str]:
        """Let lists (`tools`, `prompts`, `resources`) and resources (any URI) change, one after the other."""
        for each in what:
            self.changes.announce(LISTS.get(each) or updated(each))
        return what

    def greet(self) -> str:
        """Be something to prompt with."""
        return "Good morning!"


def change_name(message: Message) -> str:
    """Return what a notification tells of, by the name that tests give it."""
    for name, change in LISTS.items():
        if message.get("method") == change.method:
            return name
    assert message.get("method") == "notifications/resources/updated", message
    uri: str = message["params"]["uri"]
    return uri


def id_of(message: Message) -> Any:
    """Return the id of the listen that a message says it belongs to."""
    body = message["params"] if "params" in message else message["result"]
    return body["_meta"][SUBSCRIPTION_ID]


class OpenStream:
    """An open stream over HTTP.

    Args:
        waiting: the request that opened it.
    """

    def __init__(self, waiting: PendingReply) -> None:
        self.reply = waiting
        assert (waiting.status, waiting.header("content-type")) == (200, "text/event-stream")
        self._events = waiting.events()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.reply.close()

    def next(self) -> Message:
        """Return the next message."""
        return next(self._events)

    def until(self, last: str) -> list[str]:
        """Return what is told of up to a change that was announced last, without that one."""
        return list(iter(lambda: change_name(self.next()), last))

    def read_to_end(self) -> list[Message]:
        """Return what comes until the server ends the stream."""
        return list(self._events)


def start_listen(http: Http, id: Any = "s-1", /, **wanted: Any) -> PendingReply:
    """Start a listen over HTTP."""
    return http.start_modern("subscriptions/listen", {"notifications": wanted}, id=id)


def listen(http: Http, id: Any = "s-1", /, **wanted: Any) -> OpenStream:
    """Open a listen, and check and skip its acknowledgement."""
    heard = OpenStream(start_listen(http, id, **wanted))
    ack = heard.next()
    assert (ack["method"], id_of(ack)) == (ACKNOWLEDGED, id)
    return heard


def start_get(session: HttpSession, accept: str | None = "text/event-stream") -> PendingReply:
    """Start the GET of a session."""
    fields = {name.replace("_", "-"): value for name, value in session.headers.items()}
    return session.http.start("GET", b"", {**fields, "accept": accept})


def get(session: HttpSession) -> OpenStream:
    """Open the GET stream of a session."""
    return OpenStream(start_get(session))


app = ChangingServer()

if __name__ == "__main__":
    app.run(sys.argv[1], port=int(sys.argv[2]) if len(sys.argv) > 2 else None)
