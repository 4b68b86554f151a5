"""What clients and proxies in the field do to streams and ids, over real sockets.

Proxies hold a response back until its first byte, and keep their side of a connection open whose client has gone;
hosts pool one session among conversations that each number their requests from 1.
"""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from enfilade import Context, MCPApp, Settings
from enfilade.serving.subscriptions import TOOLS, updated
from enfilade.wire.revisions import HANDSHAKE, LATEST_STATELESS
from support.harness import PROBE_SERVER, Serving, eventually
from support.http_client.connection import BOTH, Http, HttpSession, PendingReply, stateless_meta
from support.servers.changing_server import change_name, get, listen
from support.servers.processes import python_command
from support.stdio_client.connection import Stdio

LIMIT = 10.0
"""Seconds in which a byte comes that is sent at once; keep-alives come an hour later."""


class Slow(MCPApp):
    """Tools that wait for a gate, and report on the way."""

    def __init__(self, **settings: Any) -> None:
        super().__init__("slow", settings=Settings(keep_alive=3600.0, stream_grace=0.02, **settings))
        self.gates: dict[str, asyncio.Event] = {}
        self.entered: list[str] = []
        self.stopped: list[str] = []
        for each in (self.hold, self.release):
            self.tool(each)
        self.add_text_resource("note://a", "a note")

    async def hold(self, name: str, ctx: Context, says: bool = False) -> str:
        """Wait for a gate, then report progress under the call's own token."""
        if says:
            await ctx.log.info(name)
        gate = self.gates.setdefault(name, asyncio.Event())
        self.entered.append(name)
        try:
            await gate.wait()
        except asyncio.CancelledError:
            self.stopped.append(name)
            raise
        await ctx.progress.report(1, 1, name)
        return name

    async def release(self, name: str) -> str:
        """Open a gate."""
        self.gates.setdefault(name, asyncio.Event()).set()
        return name


@pytest.fixture(scope="module")
def app() -> Slow:
    return Slow()


@pytest.fixture(scope="module")
def http(app: Slow) -> Iterator[Http]:
    with Serving(app) as serving:
        yield serving.http


def first_bytes(http: Http, verb: str, body: bytes, **fields: str) -> bytes:
    """Return the first bytes of a response's body."""
    length = {"content-length": str(len(body)), "content-type": "application/json"} if body else {}
    lines = {"host": "localhost", "accept": BOTH, **length, **fields}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    with http.raw(f"{verb} /mcp HTTP/1.1\r\n{head}\r\n".encode() + body) as connection:
        connection.settimeout(LIMIT)
        data = b""
        while not data.partition(b"\r\n\r\n")[2]:
            got = connection.recv(65536)
            assert got, data
            data += got
    head_, _, rest = data.partition(b"\r\n\r\n")
    assert head_.startswith(b"HTTP/1.1 200"), data
    assert b"text/event-stream" in head_
    return rest.partition(b"\r\n")[2]  # behind the size of the chunk


def id_of_a_message(waiting: PendingReply) -> str:
    """Read up to the first event that has an id and is not only the beginning of its stream."""
    ids = (line[4:].decode() for line in waiting.lines() if line.startswith(b"id: "))
    return next(each for each in ids if not each.endswith(".0"))


def hold(name: str, id: Any = 1, **meta: Any) -> dict[str, Any]:
    params: dict[str, Any] = {"name": "hold", "arguments": {"name": name}}
    if meta:
        params["_meta"] = meta
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


class TestFirstByte:
    @pytest.mark.parametrize("revision", HANDSHAKE)
    @pytest.mark.parametrize("store", ["memory", "sqlite", "not resumable"])
    def test_of_a_sessions_streams(self, tmp_path: Path, revision: str, store: str) -> None:
        """R-270, R-331: its own, that of a call, and one that is resumed; priming only for who reads it."""
        url = f"sqlite:///{tmp_path / 'state.db'}" if store == "sqlite" else "memory://"
        app = Slow(resumable=store != "not resumable", store=url)
        with Serving(app) as serving:
            session = serving.http.initialize(revision)
            fields = {"mcp_session_id": session.token}
            own = first_bytes(serving.http, "GET", b"", **fields)
            call = first_bytes(serving.http, "POST", json.dumps(hold("a")).encode(), **fields)
            primed = revision == "2025-11-25" and store != "not resumable"
            begins = b"id: " if primed and store == "memory" else b":\n\n"
            assert own.startswith(begins), own
            assert call.startswith(begins), call
            if store != "not resumable":
                says = {"name": "hold", "arguments": {"name": "b", "says": True}}
                with session.start("tools/call", says) as waiting:
                    last_id = id_of_a_message(waiting)
                    again = first_bytes(serving.http, "GET", b"", **fields, last_event_id=last_id)
                assert again.startswith(b":\n\n"), again
            for name in ("a", "b"):
                session.call("release", name=name)

    def test_of_a_stateless_call(self, app: Slow, http: Http) -> None:
        """R-270."""
        message = hold("stateless", **stateless_meta())
        fields = {"mcp_protocol_version": LATEST_STATELESS, "mcp_method": "tools/call", "mcp_name": "hold"}
        assert first_bytes(http, "POST", json.dumps(message).encode(), **fields) == b":\n\n\r\n"

    def test_of_a_listen(self, http: Http) -> None:
        """R-2C1: what is acknowledged is said at once."""
        with listen(http, toolsListChanged=True) as stream:
            assert stream.reply.status == 200


def other_half(http: Http, session: HttpSession) -> socket.socket:
    """Open a session's stream as a proxy does whose client has gone: nobody reads it, and it stays open."""
    head = f"GET /mcp HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: {session.token}\r\n\r\n"
    return http.raw(head.encode())


class TestTakeover:
    """R-330, R-333: a client that comes back has the stream, whatever has become of its old connection."""

    @pytest.mark.parametrize("revision", HANDSHAKE)
    def test_from_a_connection_that_a_proxy_keeps_open(self, app: Slow, http: Http, revision: str) -> None:
        session = http.initialize(revision)
        with other_half(http, session) as half:
            eventually(lambda: len(app.endpoint.get_endpoint.locks) == 1)
            with ExitStack() as kept:
                for _ in range(3):  # each takes over from the one before, which is kept open too
                    heard = kept.enter_context(get(session))
                    heard.reply.limit(LIMIT)
                    heard.until("resources")  # the last of what may have been missed
                    app.changes.announce(TOOLS)
                    assert change_name(heard.next()) == "tools"
            half.settimeout(LIMIT)
            old = b""
            while not old.endswith(b"0\r\n\r\n"):  # it ends in order
                old += half.recv(65536)
        eventually(lambda: len(app.endpoint.get_endpoint.locks) == 0)

    @pytest.mark.parametrize("revision", HANDSHAKE)
    def test_what_was_written_to_the_dead_connection_can_be_resumed(
        self, app: Slow, http: Http, revision: str
    ) -> None:
        """Its events have ids, and the log has them, though a newer stream has begun meanwhile."""
        session = http.initialize(revision)
        session.ask("resources/subscribe", {"uri": "note://a"})
        first = get(session)
        app.changes.announce(TOOLS)
        lines = first.reply.lines()
        last_id = id_of_a_message(first.reply)
        app.changes.announce(updated("note://a"))
        next(line for line in lines if b"note://a" in line)
        with get(session), http.start("GET", b"", resuming(session, last_id)) as again:
            again.limit(LIMIT)
            assert next(again.events())["params"] == {"uri": "note://a"}


def resuming(session: HttpSession, last_id: str) -> dict[str, Any]:
    return {"mcp-session-id": session.token, "accept": "text/event-stream", "last-event-id": last_id}


class TestSameId:
    """R-307: whoever shares a session with others may have their ids as well."""

    @pytest.mark.parametrize("revision", HANDSHAKE)
    def test_each_has_its_answer_and_progress_on_its_own_post(self, app: Slow, http: Http, revision: str) -> None:
        session = http.initialize(revision)
        names = [f"{revision} {number}" for number in range(3)]
        posts = [session.start_post(hold(name, progressToken="same")) for name in names]
        eventually(lambda: set(names) <= set(app.entered))
        for name in reversed(names):
            session.call("release", id=1, name=name)
        for name, post in zip(names, posts, strict=True):
            reply = post.read()
            assert reply.result["content"][0]["text"] == name
            progress = [m["params"] for m in reply.messages if m.get("method") == "notifications/progress"]
            assert [each.get("message", name) for each in progress] == [name]
        assert len(app.endpoint.services.in_flight) == 0

    def test_a_cancellation_means_the_newest(self, app: Slow, http: Http) -> None:
        """And once that is over, the one before it."""
        session = http.initialize()
        names = [f"cancelled {number}" for number in range(3)]
        posts = []
        for name in names:
            posts.append(session.start_post(hold(name)))
            eventually(lambda name=name: name in app.entered)
        for name in (names[2], names[1]):
            session.cancel(1)
            eventually(lambda name=name: name in app.stopped)
        assert set(names) & set(app.stopped) == set(names[1:])
        session.call("release", name=names[0])
        assert posts[0].read().result["content"][0]["text"] == names[0]
        for post in posts[1:]:
            assert [message for message in post.read().messages if "id" in message] == []

    def test_the_end_of_the_session_is_told_to_all(self, app: Slow, http: Http) -> None:
        """R-316."""
        session = http.initialize()
        names = [f"ended {number}" for number in range(2)]
        posts = [session.start_post(hold(name)) for name in names]
        eventually(lambda: set(names) <= set(app.entered))
        assert session.delete().status == 204
        for post in posts:
            assert "Session not found" in post.read().error["message"]
        eventually(lambda: set(names) <= set(app.stopped))

    def test_over_stdio_both_are_answered(self) -> None:
        """One pipe carries both answers; which is which only their results tell."""
        with Stdio(python_command(str(PROBE_SERVER), "stdio")) as pipe:
            pipe.initialize()
            pipe.send(call(1, "wait", name="one"))
            pipe.send(call(1, "wait", name="two"))
            pipe.send(call(2, "release", name="two"))
            pipe.send(call(3, "release", name="one"))
            texts = {pipe.answer(1)["result"]["content"][0]["text"] for _ in range(2)}
            assert texts == {"one released", "two released"}


def call(id: Any, tool: str, **arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
