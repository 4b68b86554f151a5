"""Sessions that cost nothing: restarts, other workers, rotation, expiry, strangers, and ten thousand of them."""

import asyncio
import base64
import gc
import itertools
import json
import time
import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.routing import Mount

from enfilade import Settings
from enfilade.transports.http import sessions as transport
from support.exchanges import requests_over_http
from support.harness import Http, Serving
from support.http_client.asgi_calls import AsgiClient
from support.http_client.connection import CLIENT, request_of
from support.servers.probe_server import ProbeServer

pytestmark = pytest.mark.anyio

OLD, NEW = "the secret that was last month's", "the new secret that is this month's"


def worker(*secrets: str, **options: Any) -> AsgiClient:
    """Return one more worker, or a restarted one: it shares nothing with the others but the secret."""
    return AsgiClient(ProbeServer(settings=Settings(secret=secrets, **options)))


async def opened(worker: AsgiClient, **options: Any) -> str:
    return (await worker.initialize(**options)).headers["mcp-session-id"]


async def status(worker: AsgiClient, token: str, **headers: str) -> int:
    worker.sessions[token] = "2025-11-25"
    return (await worker.ask(token, "ping", **headers)).status


async def test_any_worker_with_the_secret_serves_it() -> None:
    """After a restart, and on a worker that never saw the handshake."""
    token = await opened(worker(OLD))
    assert await status(worker(OLD), token) == 200
    assert await status(worker(NEW), token) == 404


async def test_without_a_secret_it_ends_with_the_process() -> None:
    first, second = worker(), worker()
    token = await opened(first)
    assert (await status(first, token), await status(second, token)) == (200, 404)


async def test_rotation() -> None:
    """A new secret is put in front, and the old one removed when its last session has expired."""
    old_token = await opened(worker(OLD))
    both = worker(NEW, OLD)
    new_token = await opened(both)
    assert await status(both, old_token) == 200
    assert await status(worker(OLD), new_token) == 404, "the first secret seals"
    after = worker(NEW)
    assert (await status(after, new_token), await status(after, old_token)) == (200, 404)


@pytest.mark.parametrize("seen", [True, False], ids=["seen before", "not seen before"])
async def test_expiry(seen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-314, R-315: no timer ends a session; its own token says when it does, if it was never used late."""
    one = worker(OLD, session_ttl=3600)
    token = await opened(one)
    if seen:
        assert await status(one, token) == 200
    for later, expected in ((1700, 200), (5500, 404)):
        clock = SimpleNamespace(
            time=lambda later=later: time.time() + later, monotonic=lambda later=later: time.monotonic() + later
        )
        monkeypatch.setattr(transport, "time", clock)
        assert await status(one, token) == expected


async def test_what_the_store_said_before_a_change_is_not_kept_in_mind(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-316: the session is ended while another of its requests waits for the store."""
    one = worker(OLD)
    token = await opened(one)
    sessions = one.app.endpoint.services.sessions
    record, asked = sessions.record, 0

    async def overtaken(session_id: str | None) -> Any:
        nonlocal asked
        asked += 1
        said = await record(session_id)
        if asked == 1:
            await sessions._by_id[session_id].end()
        return said

    monkeypatch.setattr(sessions, "record", overtaken)
    sessions._on_gap()  # so that the store has to be asked
    assert await status(one, token) == 404
    assert asked == 2, "the first answer was out of date"
    assert await status(one, token) == 404


async def test_the_store_is_not_asked_for_a_session_that_was_opened_just_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It says nothing of it yet; what another worker says of it counts from the first request on (R-316)."""
    one = worker(OLD)
    tokens = [await opened(one) for _ in range(2 * transport._NEWCOMERS)]
    sessions = one.app.endpoint.services.sessions
    record, asked = sessions.record, 0

    async def counted(session_id: str | None) -> Any:
        nonlocal asked
        asked += 1
        return await record(session_id)

    monkeypatch.setattr(sessions, "record", counted)
    assert (await status(one, tokens[-1]), asked) == (200, 0)
    assert (await status(one, tokens[0]), asked) == (200, 1), "only the last few are kept in mind"
    fresh = sessions._newcomers[tokens[-2].encode()]
    await fresh.end()
    assert (await status(one, tokens[-2]), asked) == (404, 2)
    assert len(sessions._newcomers) + len(sessions._cached) == len(sessions._by_id)
    sessions._on_gap()
    assert (await status(one, tokens[-3]), asked) == (200, 3), "something may have been said of it"


@pytest.mark.parametrize("change", ["first", "middle", "last", "longer", "shorter", "empty", "huge", "not ascii"])
async def test_a_forged_token_is_an_unknown_one(change: str) -> None:
    """R-315: 404, whatever was done to it, and the same words."""
    one = worker(OLD)
    token = await opened(one)

    def flip(at: int) -> str:
        return token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]

    forged = {
        "first": flip(0),
        "middle": flip(len(token) // 2),
        "last": flip(len(token) - 3),
        "longer": token + "AAAA",
        "shorter": token[:-4],
        "empty": "",
        "huge": "A" * 5000,
        "not ascii": "é" * 40,
    }[change]
    answered = await one.ask(forged, "ping")
    assert answered.status == 404
    assert answered.response["error"] == {"code": -32600, "message": "Session not found: send initialize again"}


class TestTokens:
    async def test_are_visible_ascii_and_fit_into_a_header(self) -> None:
        """R-311, S14."""
        one = worker(OLD)
        tokens = [await opened(one) for _ in range(20)]
        assert all(0x21 <= ord(character) <= 0x7E for token in tokens for character in token)
        assert all(len(token) < 4096 for token in tokens)
        assert len({token[:16] for token in tokens}) == 20, "nothing can be guessed from another"

    async def test_say_nothing_to_their_bearer(self) -> None:
        """R-703: what is inside cannot be read."""
        token = await opened(worker(OLD), capabilities={"sampling": {}})
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        assert b"harness" not in raw
        assert b"sampling" not in raw

    @pytest.mark.parametrize(
        "capabilities",
        [
            {"experimental": {"x": {"y": "z" * 20_000}}},
            {"extensions": {"io.example/ui": {"types": ["t" * 20_000]}}},
            {"tasks": {"requests": {}}, "experimental": {f"n{i}": {} for i in range(2000)}},
        ],
        ids=["experimental", "extension settings", "many experiments"],
    )
    async def test_stay_short_for_a_client_that_says_much(self, capabilities: dict[str, Any]) -> None:
        one = worker(OLD)
        token = await opened(one, capabilities={**capabilities, "sampling": {}})
        assert len(token) < 4096
        assert await status(one, token) == 200

    async def test_a_client_that_says_too_much_is_told(self) -> None:
        capabilities = {"extensions": {f"io.example/extension-{i}": {} for i in range(2000)}}
        answered = await worker(OLD).initialize(capabilities=capabilities)
        assert (answered.status, answered.response["error"]["code"]) == (200, -32602)
        assert "mcp-session-id" not in answered.headers, "R-319"

    async def test_a_long_name_is_cut(self) -> None:
        client = {"name": "n" * 10_000, "version": "1"}
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
        one = worker(OLD)
        token = (await one.post(request_of("initialize", params, 1, None))).headers["mcp-session-id"]
        assert len(token) < 4096
        assert await status(one, token) == 200


async def test_ten_thousand_handshakes_leave_nothing() -> None:
    """D12, R-318, idea 2: an idle session is no task and no memory."""
    one = worker(OLD)
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": CLIENT}
    body = json.dumps(request_of("initialize", params, 1, None)).encode()

    async def open_sessions(count: int) -> None:
        for _ in range(count):
            fields = {"content-type": "application/json", "accept": "application/json"}
            assert (await one.send(one.scope(fields), body)).status == 200

    await open_sessions(200)
    tasks = len(asyncio.all_tasks())
    gc.collect()
    tracemalloc.start()
    try:
        await open_sessions(100)
        held = []
        for _ in range(3):
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
            await open_sessions(5_000)
    finally:
        tracemalloc.stop()
    assert len(asyncio.all_tasks()) == tasks
    grown = [after - before for before, after in itertools.pairwise(held)]
    assert min(grown) < 50_000, (
        "ten bytes for each of them would be seen; once, a server beside it may load something"
    )


async def test_requests_without_a_session_leave_nothing() -> None:
    """D12: refused requests of scanners and health checks."""
    one = worker(OLD)
    tasks = len(asyncio.all_tasks())
    for _ in range(200):
        assert (await one.post(request_of("ping", None, 1, None))).status == 400
        assert (await one.ask("unknown", "ping")).status == 404
    assert len(asyncio.all_tasks()) == tasks
    assert len(one.app.endpoint.services.in_flight) == 0


class ByHeader(AuthenticationBackend):
    """Believes what a header says; for tests only."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        name = conn.headers.get("x-user")
        return None if name is None else (AuthCredentials(["authenticated"]), SimpleUser(name))


@pytest.fixture(scope="module")
def guarded() -> Any:
    """A probe server in a host that authenticates."""
    host = Starlette(
        routes=[Mount("/", app=ProbeServer())],
        middleware=[Middleware(AuthenticationMiddleware, backend=ByHeader())],
    )
    with Serving(host) as serving:
        yield serving.http


class TestPrincipals:
    """R-317, R-705, D46, E-39: a session id is no credential."""

    @pytest.mark.parametrize("owner", ["alice", None])
    @pytest.mark.parametrize("stranger", ["alice", "bob", None])
    def test_only_its_own_principal_finds_it(
        self, guarded: Http, owner: str | None, stranger: str | None
    ) -> None:
        session = guarded.initialize(x_user=owner)
        unknown = guarded.post(request_of("ping", None, 1, None), mcp_session_id="unknown", x_user=stranger)
        reply = session.ask("ping", x_user=stranger)
        if owner == stranger:
            assert reply.status == 200
        else:
            assert (reply.status, reply.body) == (404, unknown.body), "nobody learns that it exists"

    def test_a_stranger_neither_cancels_nor_ends_it(self, guarded: Http) -> None:
        session = guarded.initialize(x_user="alice")
        call = {"name": "wait", "arguments": {"name": "alices"}}
        waiting = session.start("tools/call", call, x_user="alice")
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        assert session.post(cancel, x_user="bob").status == 404
        assert guarded.request("DELETE", b"", {"mcp-session-id": session.token, "x-user": "bob"}).status == 404
        guarded.modern_call("release", name="alices")
        assert waiting.read().result["content"][0]["text"] == "alices released"


async def test_a_log_level_is_one_sessions_own() -> None:
    """D27, R-367: and holds on every worker that shares the store."""
    app = ProbeServer(settings=Settings(secret=OLD))
    one, other = AsgiClient(app), AsgiClient(ProbeServer(settings=Settings(secret=OLD), store=app.store))
    quiet, loud = await opened(one), await opened(one)
    assert (await one.ask(quiet, "logging/setLevel", {"level": "error"})).result == {}
    for asgi in (one, other):
        asgi.sessions = one.sessions
        heard = []
        for token in (quiet, loud):
            answered = await asgi.ask(token, "tools/call", {"name": "report", "arguments": {"steps": 2}})
            heard.append(len(answered.messages) - 1)
        assert heard == [0, 2]


@pytest.mark.parametrize("level", ["loud", 5, None, "ERROR"])
async def test_an_unknown_log_level(level: Any) -> None:
    """R-367, R-2B5."""
    one = worker()
    answered = await one.ask(await opened(one), "logging/setLevel", {"level": level})
    assert (answered.status, answered.response["error"]["code"]) == (200, -32602)


class TestEnd:
    async def test_every_use_after_delete_is_404(self) -> None:
        """R-315, R-316, S41: also on a worker that shares the store; the others are untouched."""
        app = ProbeServer(settings=Settings(secret=OLD))
        one, other = AsgiClient(app), AsgiClient(ProbeServer(settings=Settings(secret=OLD), store=app.store))
        ended, kept = await opened(one), await opened(one)
        answered = await one.send(one.scope({"mcp-session-id": ended}, "DELETE"), b"")
        assert (answered.status, answered.body) == (204, b"")
        for asgi in (one, other):
            assert (await status(asgi, ended), await status(asgi, kept)) == (404, 200)
            assert (await asgi.send(asgi.scope({"mcp-session-id": ended}, "DELETE"), b"")).status == 404


class TestWithoutSessions:
    """`sessions=False`: R-310, each request of the session era stands alone."""

    @pytest.fixture
    def sessionless(self) -> AsgiClient:
        return AsgiClient(ProbeServer(settings=Settings(sessions=False)))

    async def test_no_id_is_given_and_none_is_asked_for(self, sessionless: AsgiClient) -> None:
        answered = await sessionless.initialize("2025-06-18")
        assert answered.result["protocolVersion"] == "2025-06-18"
        assert "mcp-session-id" not in answered.headers
        assert (await sessionless.post({"jsonrpc": "2.0", "method": "notifications/initialized"})).status == 202
        call = request_of("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}}, 1, None)
        assert (await sessionless.post(call, mcp_protocol_version="2025-06-18")).result["structuredContent"] == {
            "result": 3
        }

    @pytest.mark.parametrize("version", [None, "2025-03-26", "2025-06-18", "2025-11-25"])
    async def test_the_header_says_what_is_spoken(self, sessionless: AsgiClient, version: str | None) -> None:
        """R-112, R-113: without a header it is 2025-03-26."""
        answered = await sessionless.post(request_of("tools/list", None, 1, None), mcp_protocol_version=version)
        fields = {} if version is None else {"mcp-protocol-version": version}
        requests_over_http(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}', fields, {}).check(answered.response)
        described = "outputSchema" in answered.result["tools"][0]
        assert described == (version is not None and version >= "2025-06-18")

    async def test_an_id_of_somebody_elses_making_is_ignored(self, sessionless: AsgiClient) -> None:
        assert (await sessionless.ask("of-another-server", "ping")).status == 200
        assert (await sessionless.initialize(mcp_session_id="of-another-server")).status == 200

    @pytest.mark.parametrize("verb", ["GET", "DELETE"])
    async def test_there_is_nothing_to_get_or_delete(self, sessionless: AsgiClient, verb: str) -> None:
        answered = await sessionless.send(sessionless.scope({}, verb), b"")
        assert (answered.status, answered.headers["allow"]) == (405, "POST")

    async def test_the_stateless_era_does_not_care(self, sessionless: AsgiClient) -> None:
        assert (await sessionless.modern("tools/list")).status == 200
