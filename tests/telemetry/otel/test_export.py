"""Traces of real servers, exported to a real receiver: over HTTP with four workers, and over stdio."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from support.harness import Stdio, eventually
from support.http_client.connection import Http
from support.servers.otlp_receiver import OtlpReceiver, Span
from support.servers.processes import ROOT, ServerProcess, python_command

SCRIPT = "tests/support/servers/traced_server.py"
ENV = {"PYTHONPATH": str(ROOT / "tests"), "ENFILADE_LOG_FORMAT": "json"}
INTERNAL, SERVER = 1, 2
ERROR = 2
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
OTHER = f"00-{'ab' * 16}-{'cd' * 8}-01"
ASKABLE = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def server(receiver: OtlpReceiver) -> Iterator[ServerProcess]:
    command = python_command(SCRIPT, "http", "{port}", "4")
    with ServerProcess(command, env={**ENV, **receiver.variables, "ENFILADE_BODY_LIMIT": "9000"}) as server:
        yield server


@pytest.fixture(scope="module")
def http(server: ServerProcess) -> Http:
    return Http(server.port)


def call(http: Http, era: str, tool: str, id: str, meta: dict[str, Any] | None = None, **more: Any) -> Any:
    """Call a tool in one of the eras; return what it returned."""
    arguments = more.pop("arguments", {})
    params = {"name": tool, "arguments": arguments}
    ask = http.initialize().ask if era == "session" else http.modern
    return ask("tools/call", params, id=id, meta=meta, **more).result


def child_of(receiver: OtlpReceiver, parent: Span) -> Span:
    return receiver.span(lambda span: span.parent_id == parent.span_id)


@pytest.mark.parametrize(("era", "revision"), [("session", "2025-11-25"), ("stateless", "2026-07-28")])
def test_a_call(http: Http, receiver: OtlpReceiver, era: str, revision: str) -> None:
    call(http, era, "add", f"call-{era}", arguments={"a": 1, "b": 2})
    span = receiver.span_of(f"call-{era}", "tools/call add")
    assert (span.kind, span.parent_id, span.status, span.scope) == (SERVER, "", 0, "enfilade")
    session, port = span.attributes.pop("mcp.session.id", None), span.attributes.pop("client.port")
    assert span.attributes == {
        "mcp.method.name": "tools/call",
        "mcp.protocol.version": revision,
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
        "jsonrpc.request.id": f"call-{era}",
        "network.transport": "tcp",
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
    }
    assert (session is None) == (era == "stateless")
    assert session is None or len(session) == 12
    assert port > 0
    assert span.milliseconds > 0
    assert {span.resource[f"service.{name}"] for name in ("name", "version")} == {"Traced", "2.1"}


@pytest.mark.parametrize("era", ["session", "stateless"])
@pytest.mark.parametrize("place", ["headers", "_meta", "both"])
def test_the_parent_is_that_of_the_client(http: Http, receiver: OtlpReceiver, era: str, place: str) -> None:
    id = f"parent-{era}-{place}"
    meta = None if place == "headers" else {"traceparent": TRACEPARENT, "tracestate": "vendor=1"}
    headers = {"_meta": {}, "headers": {"traceparent": TRACEPARENT}, "both": {"traceparent": OTHER}}[place]
    call(http, era, "add", id, meta, arguments={"a": 1, "b": 2}, **headers)
    span = receiver.span_of(id, "tools/call add")
    assert (span.trace_id, span.parent_id, span.links) == (TRACE, PARENT, [])


def test_ids_of_clients_are_cut(http: Http, receiver: OtlpReceiver) -> None:
    http.modern("tools/list", id="long" * 500)
    span = receiver.span(lambda span: span.attributes.get("jsonrpc.request.id", "").startswith("longlong"))
    assert len(span.attributes["jsonrpc.request.id"]) == 128


def test_a_parent_that_is_not_sampled(http: Http, receiver: OtlpReceiver) -> None:
    for id, flag in (("dropped", "00"), ("sampled", "01")):
        meta = {"traceparent": f"00-{TRACE}-{PARENT}-{flag}"}
        call(http, "stateless", "add", id, meta, arguments={"a": 1, "b": 2})
    receiver.span_of("sampled", "tools/call add")
    http.initialize().delete()
    assert not [span for span in receiver.spans if span.attributes.get("jsonrpc.request.id") == "dropped"]


@pytest.mark.parametrize("tool", ["query", "query_in_thread"])
def test_spans_of_handlers_are_children(http: Http, receiver: OtlpReceiver, tool: str) -> None:
    result = call(http, "session", tool, f"of-{tool}", arguments={"text": "x"})
    span = receiver.span_of(f"of-{tool}", f"tools/call {tool}")
    child = child_of(receiver, span)
    assert (child.name, child.scope, child.trace_id) == ("db.query", "shop", span.trace_id)
    assert result["structuredContent"] == {"result": span.trace_id}
    assert child.resource == span.resource


def test_a_call_of_a_handler_is_a_child(http: Http, receiver: OtlpReceiver) -> None:
    call(http, "stateless", "chain", "chained")
    child = child_of(receiver, receiver.span_of("chained", "tools/call chain"))
    assert (child.name, child.kind, child.attributes["gen_ai.tool.name"]) == ("tools/call add", INTERNAL, "add")
    assert not {"jsonrpc.request.id", "client.address"} & set(child.attributes)


def test_the_log_has_the_trace_of_the_span(server: ServerProcess, http: Http, receiver: OtlpReceiver) -> None:
    http.modern("tools/call", {"name": "crash", "arguments": {"text": "x"}}, id="logged", x_request_id="logged")
    span = receiver.span_of("logged", "tools/call crash")

    def lines() -> list[Any]:
        entries = [json.loads(line) for line in server.output.splitlines() if line.startswith("{")]
        return [line for line in entries if line.get("request_id") == "logged"]

    eventually(lambda: len(lines()) == 2, server.output)
    assert {line["trace_id"] for line in lines()} == {span.trace_id}
    assert (span.status, span.error) == (ERROR, "tool_error")
    assert span.events == [("exception", {"exception.type": "ValueError"})]


def test_a_retry_is_linked_with_the_round_before(http: Http, receiver: OtlpReceiver) -> None:
    params = {"name": "ask", "arguments": {}}
    asked = http.modern("tools/call", params, id="round-1", meta=ASKABLE).result
    answers = {key: {"action": "accept", "content": {"value": True}} for key in asked["inputRequests"]}
    retry = {**params, "requestState": asked["requestState"], "inputResponses": answers}
    assert "content" in http.modern("tools/call", retry, id="round-2", meta=ASKABLE).result
    first, second = (receiver.span_of(f"round-{number}", "tools/call ask") for number in (1, 2))
    assert (first.links, first.error) == ([], None)
    assert second.links == [(first.trace_id, first.span_id)]


def test_a_resumed_stream_is_linked_with_its_request(http: Http, receiver: OtlpReceiver) -> None:
    session = http.initialize()
    with session.start("tools/call", {"name": "detach", "arguments": {}}, id="detached") as pending:
        last_id = next(line[4:] for line in pending.lines() if line.startswith(b"id: "))
    fields = {name.replace("_", "-"): value for name, value in session.headers.items()}
    more = {"last-event-id": last_id.strip(), "accept": "text/event-stream"}
    with http.start("GET", b"", {**fields, **more}) as resumed:
        assert b"done" in b"".join(resumed.lines())
    span = receiver.span_of("detached", "tools/call detach")
    get = receiver.span(lambda other: other.name == "GET")
    assert (get.kind, get.links) == (SERVER, [(span.trace_id, span.span_id)])


def test_requests_that_are_refused(http: Http, receiver: OtlpReceiver) -> None:
    http.post(b"{", traceparent=f"00-{'1' * 32}-{PARENT}-01")
    unread = receiver.span(lambda span: span.trace_id == "1" * 32)
    assert (unread.name, unread.status, unread.error) == ("POST", ERROR, "refused")
    assert unread.attributes["rpc.response.status_code"] == "-32700"
    assert unread.attributes["http.response.status_code"] == 400
    http.modern("made/up", {}, traceparent=f"00-{'2' * 32}-{PARENT}-01")
    unknown = receiver.span(lambda span: span.trace_id == "2" * 32)
    assert (unknown.name, unknown.attributes["mcp.method.name"]) == ("HTTP", "_OTHER")
    assert unknown.error == "-32601" or unknown.error == "refused"


def test_each_worker_is_an_instance(http: Http, receiver: OtlpReceiver) -> None:
    def instances() -> set[str]:
        http.modern_call("pid")
        return {span.resource["service.instance.id"] for span in receiver.spans}

    eventually(lambda: len(instances()) >= 2)


CLIENT = """
import asyncio, sys
from mcp import Client
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)

async def main():
    for mode in ("legacy", "auto"):
        with trace.get_tracer("agent").start_as_current_span(mode):
            async with Client(sys.argv[1], mode=mode) as client:
                await client.call_tool("query", {"text": "x"})

asyncio.run(main())
"""


def test_the_official_client_and_the_server_make_one_trace(server: ServerProcess, receiver: OtlpReceiver) -> None:
    variables = {**receiver.variables, "OTEL_SERVICE_NAME": "agent"}
    subprocess.run([sys.executable, "-c", CLIENT, server.url], env={**os.environ, **variables}, check=True)
    for mode in ("legacy", "auto"):
        agent = receiver.span(lambda span, mode=mode: span.name == mode)  # type: ignore[misc]
        of_server = receiver.span(
            lambda span, agent=agent: (  # type: ignore[misc]
                span.name == "tools/call query" and span.trace_id == agent.trace_id and span.kind == SERVER
            )
        )
        of_client = next(span for span in receiver.spans if span.span_id == of_server.parent_id)
        assert of_client.resource["service.name"] == "agent"
        assert child_of(receiver, of_server).name == "db.query"


def test_durations_of_requests(http: Http, receiver: OtlpReceiver) -> None:
    session = http.initialize()
    for number in range(3):
        session.call("add", id=f"timed-{number}", a=1, b=2)
    session.call("fail")
    session.call("no such tool")
    http.post(b"{")

    def total(**attributes: str) -> int:
        """Return how many requests were measured: each worker exports its own sums again and again."""
        latest = {
            (point.resource["service.instance.id"], tuple(sorted(point.attributes.items()))): point.point.count
            for point in list(receiver.points)
            if point.metric == "mcp.server.operation.duration" and point.attributes.items() >= attributes.items()
        }
        return sum(latest.values())

    method = {"mcp.method.name": "tools/call", "mcp.protocol.version": "2025-11-25"}
    eventually(lambda: total(**method, **{"gen_ai.tool.name": "add"}) >= 3)
    eventually(lambda: total(**method, **{"gen_ai.tool.name": "fail", "error.type": "tool_error"}) >= 1)
    eventually(lambda: total(**method, **{"error.type": "-32602", "rpc.response.status_code": "-32602"}) >= 1)
    point = receiver.point(
        "mcp.server.operation.duration", lambda it: it.attributes.get("gen_ai.tool.name") == "add"
    )
    assert point.unit == "s"
    assert list(point.point.explicit_bounds)[:4] == [0.01, 0.02, 0.05, 0.1]
    assert sum(point.point.bucket_counts) == point.point.count
    assert 0 < point.point.min <= point.point.sum
    assert point.attributes["network.transport"] == "tcp"
    spoken = {it.attributes.get("gen_ai.tool.name") for it in receiver.points}
    assert "no such tool" not in spoken


def test_what_is_counted_inside(http: Http, receiver: OtlpReceiver) -> None:
    http.modern_call("add", a=1, b=2)
    assert http.post(b" " * 10_000).status == 413
    refused = receiver.point("enfilade.requests.refused")
    assert refused.attributes == {"enfilade.reason": "body_limit"}
    assert refused.point.as_int == 1
    http.initialize().delete()
    session = receiver.point("mcp.server.session.duration")
    assert (session.attributes, session.unit) == ({"network.transport": "tcp"}, "s")
    assert session.point.count >= 1
    assert receiver.point("enfilade.tool_threads.busy").resource["service.name"] == "Traced"


def test_over_stdio(receiver: OtlpReceiver) -> None:
    variables = {**receiver.variables, "OTEL_TRACES_EXPORTER": "otlp,console", "OTEL_SERVICE_NAME": "Piped"}
    variables["OTEL_RESOURCE_ATTRIBUTES"] = "deployment.environment.name=tests"
    variables["OTEL_BSP_SCHEDULE_DELAY"] = "3600000"  # so that the end of the server has to export them
    with Stdio(python_command(SCRIPT, "stdio"), {**ENV, **variables}) as stdio:
        stdio.initialize()
        stdio.request(
            "tools/call",
            {"name": "query_in_thread", "arguments": {"text": "x"}},
            id="piped",
            meta={"traceparent": TRACEPARENT},
        )
        assert "error" not in stdio.answer("piped")
        assert stdio.end() == 0
        span = receiver.span_of("piped", "tools/call query_in_thread")
        assert (span.trace_id, span.parent_id) == (TRACE, PARENT)
        assert child_of(receiver, span).name == "db.query"
        assert span.attributes["network.transport"] == "pipe"
        assert not [name for name in span.attributes if name.startswith(("client.", "network.protocol"))]
        assert span.resource["service.name"] == "Piped"
        assert span.resource["deployment.environment.name"] == "tests"
        shown = [json.loads(line) for line in stdio.log.splitlines() if line.startswith('{"name')]
        assert {f"0x{span.span_id}"} <= {each["context"]["span_id"] for each in shown}


def test_a_collector_that_does_not_answer_delays_the_end_by_seconds(receiver: OtlpReceiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces"
        variables = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
        with Stdio(python_command(SCRIPT, "stdio"), {**ENV, **variables}) as stdio:
            stdio.initialize()
            assert stdio.end() == 0
            assert "is lost" in stdio.log


def test_without_the_packages_the_server_runs(receiver: OtlpReceiver) -> None:
    code = (
        f"import sys; sys.modules['opentelemetry.sdk'] = None; sys.argv = ['x', 'stdio']; import runpy; "
        f"runpy.run_path({str(ROOT / SCRIPT)!r}, run_name='__main__')"
    )
    with Stdio([sys.executable, "-c", code], {**ENV, **receiver.variables}) as stdio:
        assert "result" in stdio.initialize()
        assert stdio.log.count('pip install \\"enfilade[otel]\\"') == 1


def test_nothing_is_imported_where_it_is_turned_off(receiver: OtlpReceiver) -> None:
    with Stdio(python_command(SCRIPT, "stdio"), {**ENV, **receiver.variables, "ENFILADE_OTEL": "off"}) as stdio:
        stdio.initialize()
        stdio.request("tools/call", {"name": "imported", "arguments": {}}, id=1)
        names = stdio.answer(1)["result"]["structuredContent"]["result"]
        assert "enfilade.serving.observation.record" in names
        assert [name for name in names if name.startswith(("opentelemetry", "enfilade.telemetry"))] == []
