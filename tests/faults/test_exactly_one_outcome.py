"""Never leave a caller waiting: any message, valid or not, has exactly one outcome, and the server lives on.

Messages are drawn at random. What is due for each is worked out here from JSON-RPC alone, so the test does not
share an opinion with the server: a notification and a response get no answer, everything else gets one.
"""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from support.exchanges import parsed
from support.harness import Http, HttpMcpClient, StdioMcpClient
from support.http_client.connection import HeaderValue, stateless_meta

EXAMPLES = 120

METHODS = [
    "ping",
    "tools/list",
    "tools/call",
    "initialize",
    "server/discover",
    "logging/setLevel",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "no/such",
    "",
]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
metadata = st.just(stateless_meta()) | st.just({"progressToken": 1}) | anything
params = st.fixed_dictionaries(
    {},
    optional={
        "_meta": metadata,
        "name": st.sampled_from(["add", "echo", "crash", "refuse", "report"]) | anything,
        "arguments": st.just({"a": 1, "b": 2}) | st.just({"text": "x"}) | anything,
        "cursor": anything,
        "level": st.sampled_from(["debug", "alert", "loud"]),
        "requestId": st.integers(1000, 1003) | anything,
        "protocolVersion": st.sampled_from(["2025-11-25", "2099-01-01"]) | anything,
        "capabilities": st.just({}) | anything,
        "clientInfo": st.just({"name": "n", "version": "v"}) | anything,
    },
)
ids = st.integers(1000, 1003) | st.text(max_size=3) | anything
messages = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | st.just("2.0") | st.just("2.0") | anything,
        "id": ids,
        "method": st.sampled_from(METHODS) | anything,
        "params": params | anything,
        "result": anything,
        "error": anything,
    },
)
requests = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "id": ids, "method": st.sampled_from(METHODS)}, optional={"params": params}
)
bodies = st.one_of(
    requests.map(lambda message: json.dumps(message).encode()),
    messages.map(lambda message: json.dumps(message).encode()),
    anything.map(lambda value: json.dumps(value).encode()),
    st.binary(min_size=1, max_size=40).map(lambda data: data.replace(b"\n", b"")).filter(bytes.strip),
)


def strict(body: bytes) -> Any:
    """Return a body as JSON; None also for what only Python's reader takes for JSON."""

    def refuse(constant: str) -> Any:
        raise ValueError(constant)

    try:
        return json.loads(body.decode(), parse_constant=refuse)
    except (ValueError, UnicodeDecodeError):
        return None


def answer_is_due(body: bytes) -> bool:
    message = strict(body)
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        return True
    if isinstance(message.get("method"), str):
        plain = "id" not in message and "result" not in message and "error" not in message
        return not (plain and isinstance(message.get("params", {}), dict | None))
    return True


def may_be_silent(body: bytes) -> bool:
    """Whether a message is a response, which a server may take or refuse."""
    message = strict(body)
    return isinstance(message, dict) and "method" not in message and ("result" in message or "error" in message)


ONCE = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("client", ["http-session", "http-stateless"], indirect=True)
def test_over_http(client: HttpMcpClient, http: Http) -> None:
    @ONCE
    @given(bodies)
    def run(body: bytes) -> None:
        message = parsed(body)
        method = message.get("method") if isinstance(message, dict) else None
        spoken = isinstance(method, str) and method.isascii() and method.isprintable()
        headers: dict[str, HeaderValue] = {"mcp_protocol_version": client.revision}
        if spoken:
            headers["mcp_method"] = method
        if client.session is not None:
            headers = client.session.headers
        reply = http.post(body, **headers)
        if reply.status == 202:
            assert reply.body == b""
            assert not answer_is_due(body) or may_be_silent(body), body
        else:
            assert reply.status in (200, 400, 404)
            (response,) = [each for each in reply.messages if "method" not in each]
            assert ("error" in response) or reply.status == 200
            assert ("error" in response) or answer_is_due(body), body

    run()
    assert "tools" in client.ask("tools/list").result


@pytest.mark.parametrize("client", ["stdio-session", "stdio-stateless"], indirect=True)
def test_over_stdio(client: StdioMcpClient) -> None:
    """A request behind each message comes back once, and before it at most the one answer."""
    stdio = client.stdio
    count = 0

    @ONCE
    @given(bodies)
    def run(body: bytes) -> None:
        nonlocal count
        count += 1
        stdio.send(body)
        mark = f"mark {count}"
        stdio.request("tools/list", id=mark, claim="2026-07-28")
        due = 1 if answer_is_due(body) and not may_be_silent(body) else 0
        came: list[Any] = []
        while mark not in [message["id"] for message in came] or len(came) < 1 + due:
            message = stdio.read()
            if "method" not in message:
                came.append(message)
        assert len(came) <= 2, (body, came)
        assert len(came) == 1 + due or may_be_silent(body), (body, came)

    run()
    assert stdio.end() == 0
    assert stdio.read_to_end() == [], "nothing was left over"
