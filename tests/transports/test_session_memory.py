"""What a worker keeps in mind of sessions: those in use, and no more than fits."""

from typing import Any

import pytest

from enfilade import MCPApp, Settings
from in_process import Asgi
from over_http import request_of

pytestmark = pytest.mark.anyio


def server(remembered: int) -> tuple[Asgi, Any]:
    app = MCPApp("many", settings=Settings(secret="the secret of all the sessions there are"))
    sessions = app.endpoint.sessions
    sessions._remembered = remembered
    return Asgi(app), sessions


async def opened(asgi: Asgi, **capabilities: Any) -> bytes:
    """Open a session and use it, so that it is kept."""
    token = (await asgi.initialize(capabilities=capabilities)).headers["mcp-session-id"]
    await used(asgi, token.encode())
    return token.encode()


async def used(asgi: Asgi, token: bytes) -> None:
    assert (await asgi.post(request_of("ping", None, 1, None), mcp_session_id=token.decode())).status == 200


async def test_the_least_recently_used_session_is_forgotten() -> None:
    asgi, sessions = server(3)
    first, second, third = [await opened(asgi) for _ in range(3)]
    await used(asgi, first)
    fourth = await opened(asgi)
    assert set(sessions._known) == {third, first, fourth}
    await used(asgi, third)
    await used(asgi, second)
    assert set(sessions._known) == {fourth, third, second}


async def test_a_session_in_use_stays_however_many_others_come() -> None:
    asgi, sessions = server(4)
    busy = await opened(asgi)
    for _ in range(50):
        await opened(asgi)
        assert busy in sessions._known
        await used(asgi, busy)
    assert len(sessions._known) == 4
    assert len(sessions._by_id) <= 4 + 64


async def test_what_is_kept_is_bounded_in_bytes() -> None:
    """An id may have 3 KB: ten such sessions take the room of sixty with few capabilities."""
    asgi, sessions = server(20)
    long = {"experimental": {f"e{number}": {} for number in range(150)}}
    tokens = [await opened(asgi, **long) for _ in range(20)]
    assert len(tokens[0]) > 1800
    assert sessions._known_bytes == sum(map(len, sessions._known)) <= 20 * 512
    assert 0 < len(sessions._known) < 6
    for token in tokens:
        await used(asgi, token)


async def test_the_uris_that_a_client_watches_are_bounded_together() -> None:
    """They are one record, which is written anew with each: a thousand of 3 KB took 21 ms at the last."""
    app = MCPApp("watching")
    app.resource("note://{name}")(lambda name: name)
    asgi = Asgi(app)
    token = (await asgi.initialize()).headers["mcp-session-id"]
    codes = []
    for number in range(100):
        params = {"uri": f"note://{number}" + "x" * 4000}
        reply = await asgi.ask(token, "resources/subscribe", params)
        codes.append(reply.response.get("error", {}).get("code"))
    assert codes.index(-32602) == 256 * 1024 // (len("note://99") + 4000)
    assert "262144 characters" in reply.response["error"]["message"]
    again = await asgi.ask(token, "resources/subscribe", {"uri": "note://0" + "x" * 4000})
    assert again.result == {}
