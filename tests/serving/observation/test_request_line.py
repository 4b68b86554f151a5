"""The line of a request: what is put together from kept texts is what `line_of` has, whatever comes."""

import json
import time
from typing import Any

import msgspec
from hypothesis import given, strategies as st

from enfilade.serving.channel import Channel, Peer
from enfilade.serving.observation import request_line
from enfilade.serving.observation.record import RequestRecord
from enfilade.serving.observation.request_line import json_line, line_of, text_line
from enfilade.serving.request import Request
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError
from enfilade.wire.lifecycle import Implementation
from enfilade.wire.resources import ReadResourceRequestParams
from enfilade.wire.tools import CallToolRequestParams
from support.http_client.memory_exchange import MemoryExchange

texts = st.text(max_size=300) | st.sampled_from(["echo", 'a"b\\c', "\x00\u2028\x1b[31m", "ü", ""])


def session_of(id: str) -> Peer:
    """Return the client of a session, which is the same in all of its requests."""
    info = Implementation(name=id[:4], version=id[4:6])
    return Peer(revision="2025-11-25", client_info=info, principal=id[-6:], session_id=id)


peers = st.uuids().map(lambda id: session_of(str(id))) | st.builds(
    Peer,
    revision=st.sampled_from(["2025-11-25", "2026-07-28"]),
    client_info=st.none() | st.builds(Implementation, name=texts, version=texts),
    principal=st.none() | texts,
)
params = (
    st.builds(CallToolRequestParams, name=texts) | st.builds(ReadResourceRequestParams, uri=texts) | st.none()
)
errors = st.none() | st.just(RpcError(INVALID_PARAMS, "no"))


def record_of(
    peer: Peer | None, what: Any = None, method: str = "tools/call", error: RpcError | None = None
) -> RequestRecord:
    now = time.perf_counter()
    http = MemoryExchange(headers={"x-request-id": '"from-afar"\\'}.items())
    record = RequestRecord("http", now - 0.00123, http=http, ended=now, path="/mcp", error=error)
    if peer is not None:
        is_call = isinstance(what, CallToolRequestParams)  # which no other method has
        record.request = Request(1, "tools/call" if is_call else method, what, peer, Channel())
        record.is_dispatched = True
    return record


def without_time(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != "time"}


@given(st.none() | peers, params, st.sampled_from(["prompts/get", "resources/read"]), errors)
def test_it_is_what_the_line_has(peer: Peer | None, what: Any, method: str, error: RpcError | None) -> None:
    record = record_of(peer, what, method, error)
    for _ in range(2):  # the second time from what was kept
        line = json.loads(json_line(record))
        assert tuple(line)[:18] == request_line.RequestLine.__struct_fields__[:18]
        assert without_time({"reason": None, **line}) == without_time(msgspec.structs.asdict(line_of(record)))
        assert ("reason" in line) == (error is not None)
        assert json_line(record).count(b"\n") == 1
        assert text_line(record).isprintable()


def test_two_sessions_and_two_tools_are_told_apart() -> None:
    one, two = (Peer(revision="2025-11-25", session_id=name, principal=name) for name in ("one", "two"))
    lines = [
        json.loads(json_line(record_of(peer, CallToolRequestParams(name=tool))))
        for peer in (one, two)
        for tool in ("add", "fail")
    ]
    assert [(line["principal"], line["target"]) for line in lines] == [
        ("one", "add"),
        ("one", "fail"),
        ("two", "add"),
        ("two", "fail"),
    ]
    assert lines[0]["session"] == lines[1]["session"] != lines[2]["session"]


def test_what_is_kept_of_clients_has_a_bound() -> None:
    for number in range(2 * request_line._MOST_KEPT + 100):
        info = Implementation(name=f"client {number}", version="1")
        record = record_of(Peer(revision="2026-07-28", client_info=info), CallToolRequestParams(name=f"{number}"))
        json_line(record), text_line(record)
    for kept in (request_line._targets_json, request_line._callers_json, request_line._subjects):
        assert len(kept._texts) <= request_line._MOST_KEPT
    long = "x" * 100_000
    info = Implementation(name=long, version="1")
    json_line(record_of(Peer(revision="2026-07-28", client_info=info), CallToolRequestParams(name=long)))
    kept_keys = [*request_line._targets_json._texts, *request_line._callers_json._texts]
    assert all(len(str(key)) < 5_000 for key in kept_keys)


def test_a_tool_that_fails_says_why_in_a_word() -> None:
    record = record_of(None)
    record.tool_failure = "arguments"
    assert json.loads(json_line(record))["reason"] == "arguments"
