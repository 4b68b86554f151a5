"""Attacks on `requestState`: it is the client's to keep, and so an attacker's to change.

Whatever is wrong with a state, the answer is the same error, and no tool has run. Easy to get wrong: a mutation
that changes nothing. Base64 has several spellings of the same bytes, and only the one we wrote is ours.
"""

import base64
import json
import time
from collections.abc import Callable, MutableMapping
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from starlette.authentication import SimpleUser

from enfilade import Context, InputRequired, MCPApp, elicitation
from enfilade.serving.client_requests import request_state
from support.http_client.asgi_calls import AsgiClient, AsgiReply
from support.http_client.connection import request_of, stateless_meta
from support.rounds import Call, server, text_of, value

SECRET = "a secret of the tests, long enough"

REFUSED = {
    "code": -32602,
    "message": "Invalid or expired requestState",
    "data": {"reason": "invalid_request_state"},
}

ran: list[str] = []


async def pay(amount: int, ctx: Context, note: str = "") -> str:
    """Ask, then pay."""
    ran.append(note)
    answer = await ctx.elicit("Sure?", bool)
    return f"paid {amount}" if answer.data else "not paid"


async def refund(amount: int, ctx: Context, note: str = "") -> str:
    """Ask the same in the same words, then do the opposite."""
    ran.append(note)
    answer = await ctx.elicit("Sure?", bool)
    return f"refunded {amount}" if answer.data else "kept"


async def confirm(ctx: Context) -> str | InputRequired:
    """Return the question."""
    ran.append("")
    if "confirm" not in ctx.input_responses:
        return InputRequired({"confirm": elicitation("Please confirm", bool)}, state={"step": 1})
    return f"state {ctx.input_state['step']}"


def of_user(app: MCPApp) -> Any:
    """Return the server behind a host that authenticates by a header of its own."""

    async def asgi(
        scope: MutableMapping[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]
    ) -> None:
        name = dict(scope["headers"]).get(b"x-user")
        if name:
            scope["user"] = SimpleUser(name.decode())
        await app(scope, receive, send)

    return asgi


def made(name: str = "asking", secret: str | list[str] = SECRET) -> MCPApp:
    app = MCPApp(name, secret=secret)
    for tool in (pay, refund, confirm):
        app.add_tool(tool)

    @app.prompt(name="pay")
    async def prompt(ctx: Context, amount: str = "1") -> str:
        """Ask the same once more."""
        ran.append("prompt")
        return str((await ctx.elicit("Sure?", bool)).data)

    return app


APP = made()


async def suspended(app: Any = APP, **how: Any) -> Call:
    """Return a call that has asked its question."""
    call = Call(app, **{"name": "pay", "arguments": {"amount": 5}, **how})
    await call.round()
    assert call.asked
    ran.clear()
    return call


def refused(answered: AsgiReply) -> None:
    """Check that a state was refused before anything ran."""
    assert answered.response.get("error") == REFUSED, answered.response
    assert answered.status == 400
    assert ran == []


def flipped(state: str, position: int, bit: int) -> str:
    """Return the state with one bit of its bytes changed."""
    raw = bytearray(base64.urlsafe_b64decode(state + "=" * (-len(state) % 4)))
    raw[position % len(raw)] ^= 1 << bit
    return base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()


def spliced(state: str, at: int, length: int, text: str) -> str:
    """Return the state with some of its characters replaced."""
    at %= len(state)
    return state[:at] + text + state[at + length :]


MUTATIONS = st.one_of(
    st.builds(lambda at, bit: lambda s: flipped(s, at, bit), st.integers(0, 10_000), st.integers(0, 7)),
    st.builds(lambda keep: lambda s: s[: keep % len(s)], st.integers(0, 10_000)),
    st.builds(lambda more: lambda s: s + more, st.text(min_size=1, max_size=20)),
    st.builds(
        lambda at, length, text: lambda s: spliced(s, at, length, text),
        st.integers(0, 10_000),
        st.integers(0, 40),
        st.text(max_size=40),
    ),
    st.builds(lambda text: lambda s: text, st.text(max_size=200)),
    st.sampled_from([lambda s: s + "=", lambda s: s + "-TAMPERED", lambda s: s.swapcase(), lambda s: s[::-1]]),
)

COMPLETED = [{"question-1": value(True)}, {"question-1": value(True), "confirm": value(True)}, {}, None]


@pytest.mark.parametrize("tool", ["pay", "confirm"])
@settings(max_examples=120, deadline=None)
@given(mutate=MUTATIONS, responses=st.sampled_from(COMPLETED))
def test_a_state_that_was_changed_is_refused(tool: str, mutate: Callable[[str], str], responses: Any) -> None:
    """R-293, R-296: any change of any kind; never a result, never a failure of the server."""
    import asyncio

    async def attack() -> None:
        call = await suspended(name=tool, arguments={"amount": 5} if tool == "pay" else {})
        assert call.state is not None
        changed = mutate(call.state)
        if changed == call.state:
            return
        call.state = changed
        refused(await call.round(responses))

    asyncio.run(attack())


@pytest.mark.anyio
async def test_a_state_that_was_not_changed_is_accepted() -> None:
    call = await suspended()
    assert text_of(await call.round({"question-1": value(True)})) == "paid 5"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "params"),
    [
        pytest.param("tools/call", {"name": "refund", "arguments": {"amount": 5}}, id="another tool"),
        pytest.param("tools/call", {"name": "pay", "arguments": {"amount": 6}}, id="other arguments"),
        pytest.param("tools/call", {"name": "pay", "arguments": {"amount": 5.0}}, id="a number of another type"),
        pytest.param("tools/call", {"name": "pay", "arguments": {"amount": 5, "note": "x"}}, id="one more"),
        pytest.param("tools/call", {"name": "pay"}, id="no arguments"),
        pytest.param("prompts/get", {"name": "pay", "arguments": {"amount": "5"}}, id="another method"),
    ],
)
async def test_a_state_is_good_for_its_own_request_only(method: str, params: dict[str, Any]) -> None:
    """R-294."""
    call = await suspended()
    other = Call(APP, method=method, params=params)
    other.state = call.state
    refused(await other.round({"question-1": value(True)}))


@pytest.mark.anyio
async def test_the_order_and_spacing_of_arguments_do_not_matter() -> None:
    """R-291: a client sends the original params, but may write them anew."""
    call = await suspended(arguments={"amount": 5, "note": "n"})
    call.params = {"arguments": {"note": "n", "amount": 5}, "name": "pay"}
    assert text_of(await call.round({"question-1": value(True)})) == "paid 5"


@pytest.mark.anyio
async def test_no_arguments_are_as_good_as_empty_ones() -> None:
    call = await suspended(name="confirm", arguments={})
    call.params = {"name": "confirm"}
    assert text_of(await call.round({"confirm": value(True)})) == "state 1"


@pytest.mark.anyio
async def test_a_state_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-294: by the clock of whoever opens it."""
    call = await suspended()
    now = time.time()
    monkeypatch.setattr(request_state.time, "time", lambda: now + request_state.LIFETIME + 2)
    refused(await call.round({"question-1": value(True)}))
    monkeypatch.setattr(request_state.time, "time", lambda: now + request_state.LIFETIME - 2)
    assert text_of(await call.round({"question-1": value(True)})) == "paid 5"


@pytest.mark.anyio
@pytest.mark.parametrize("thief", [{"x_user": "eve"}, {}], ids=["somebody else", "nobody"])
async def test_a_state_is_good_for_its_own_user_only(thief: dict[str, Any]) -> None:
    """R-294."""
    app = of_user(made())
    call = await suspended(app, headers={"x_user": "ada"})
    stolen = Call(app, "pay", {"amount": 5}, headers=thief)
    stolen.state = call.state
    refused(await stolen.round({"question-1": value(True)}))
    assert text_of(await call.round({"question-1": value(True)})) == "paid 5"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("app", "accepted"),
    [
        pytest.param(made(), True, id="a worker with the same secret"),
        pytest.param(
            made(secret=["a newer secret, which is long enough", SECRET]), True, id="with a newer one in front"
        ),
        pytest.param(made(secret="another secret, which is long enough"), False, id="with another secret"),
        pytest.param(made(name="other"), False, id="another server with the same secret"),
    ],
)
async def test_who_opens_a_state(app: MCPApp, accepted: bool) -> None:
    """R-294: any worker that shares the secret, also while it is being replaced; no other server."""
    call = await suspended()
    answered = await call.round({"question-1": value(True)}, app=app)
    if accepted:
        assert text_of(answered) == "paid 5"
    else:
        refused(answered)


@pytest.mark.anyio
async def test_a_session_token_is_no_state() -> None:
    """Nor is a state a session's token: each is sealed for its purpose."""
    call = await suspended()
    asgi = AsgiClient(APP)
    token = (await asgi.initialize()).headers["mcp-session-id"]
    state, call.state = call.state, token
    refused(await call.round({"question-1": value(True)}))
    assert state is not None
    assert (await asgi.post(request_of("ping", None, 1, None), mcp_session_id=state)).status == 404


@pytest.mark.anyio
@pytest.mark.parametrize("state", [None, 7, {}, []], ids=str)
async def test_a_state_that_is_no_string_is_an_error(state: Any) -> None:
    """R-291: a state is a string."""
    call = await suspended()
    answered = await call.round({"question-1": value(True)}, requestState=state)
    assert answered.response["error"]["code"] == -32602
    assert ran == []


@pytest.mark.anyio
async def test_a_state_for_a_tool_that_never_asks_is_refused_too() -> None:
    """R-293."""

    async def plain() -> str:
        ran.append("plain")
        return "done"

    app = server(plain)
    ran.clear()
    refused(await Call(app, "plain").round(requestState="x"))


@pytest.mark.anyio
async def test_arguments_that_nobody_can_read_are_no_failure_of_the_server() -> None:
    """A state is compared with what came, whatever it is."""
    call = await suspended()
    params: dict[str, Any] = {"name": "pay", "arguments": {"amount": 5, "note": "NOTE"}}
    params["requestState"], params["_meta"] = call.state, stateless_meta()
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    headers = {"mcp_protocol_version": "2026-07-28", "mcp_method": "tools/call", "mcp_name": "pay"}
    for junk in (b"[" * 900 + b"]" * 900, b"1" * 5000):
        refused(await AsgiClient(APP).post(body.replace(b'"NOTE"', junk), **headers))


@pytest.mark.anyio
async def test_nothing_of_the_journal_can_be_read() -> None:
    """R-293: what was asked, answered and done is sealed and not only signed."""

    async def tool(ctx: Context) -> str:
        await ctx.once("effect", lambda: "SWORDFISH")
        return str((await ctx.elicit("Sure?", bool)).data)

    call = await suspended(server(tool), name="tool", arguments={})
    assert call.state is not None
    raw = base64.urlsafe_b64decode(call.state + "=" * (-len(call.state) % 4))
    assert b"SWORDFISH" not in raw
    assert b"Sure?" not in raw


@pytest.mark.anyio
async def test_a_session_has_no_state_to_attack() -> None:
    """R-286: in a session the member means nothing, and is not looked at."""
    asgi = AsgiClient(APP)
    token = (await asgi.initialize(capabilities={})).headers["mcp-session-id"]
    params = {"name": "confirm", "arguments": {}, "requestState": "x", "inputResponses": {"confirm": 1}}
    answered = await asgi.post(
        request_of("tools/call", params, 1, None), mcp_session_id=token, mcp_protocol_version="2025-11-25"
    )
    assert answered.result["isError"]
