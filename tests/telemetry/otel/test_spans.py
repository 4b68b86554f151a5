"""Spans of the many ways in which a request goes, in this process, with an exporter that remembers."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry import baggage, context as contexts, trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from enfilade import Context, MCPApp, ResourceNotFound, ToolError
from enfilade.telemetry.otel.attributes import Describer
from enfilade.telemetry.otel.exporter import ReadableSpans, as_readable, encoded
from enfilade.telemetry.otel.fast_tracing import fast_tracing
from enfilade.telemetry.otel.parents import Origins
from enfilade.telemetry.otel.tracing import RequestTracing
from enfilade.telemetry.otel.variables import Wanted, wanted
from support.http_client.asgi_calls import AsgiClient, AsgiReply, PausableRequest
from support.http_client.connection import BOTH, modern_headers, request_of, stateless_meta

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
OTHER = f"00-{'ab' * 16}-{'cd' * 8}-01"
NEEDLE = "needle-of-a-client"
URL = "http://127.0.0.1:4318"


OUTSIDE = trace.SpanContext(7, 8, True)


class Remembering(SpanExporter):
    """Remembers spans as they come."""

    def __init__(self, spans: list[Any]) -> None:
        self._spans = spans

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        self._spans += spans
        return SpanExportResult.SUCCESS


class Traced:
    """An app whose spans are remembered.

    Args:
        is_fast: whether its spans are made as with providers of ours.
        variables: `OTEL_*`.

    Attributes:
        tracer: makes further spans.
        as_exported: the spans as exporters get them.
        seen: what the tool `look` has seen.
    """

    def __init__(self, *, is_fast: bool, **variables: str) -> None:
        self.app = MCPApp("traced", secret="s" * 32)
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(ReadableSpans(self._exporter)))
        self.as_exported: list[Any] = []
        provider.add_span_processor(SimpleSpanProcessor(Remembering(self.as_exported)))
        self.provider = provider
        self.tracer = provider.get_tracer("test")
        options = self.tracer, Describer(self.app.tools.get, self.app.prompts.get), Origins(variables)
        fast = fast_tracing(provider, "1", {}, *options)
        assert fast is not None, "the SDK is not as it was"
        self.app.add_observer(fast if is_fast else RequestTracing(*options))
        self.client = AsgiClient(self.app)
        self.seen: dict[str, Any] = {}
        _add_to(self.app, self)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """Those that have ended."""
        return self._exporter.get_finished_spans()

    def span(self) -> ReadableSpan:
        """Return the only one that has ended."""
        (span,) = self.spans
        return span

    async def ask(
        self, method: str, params: dict[str, Any], meta: dict[str, Any] | None = None, **headers: str
    ) -> AsgiReply:
        """Send a stateless request."""
        message = request_of(method, params, "the-id", {**stateless_meta(), **(meta or {})})
        return await self.client.post(message, **{**modern_headers(message), **headers})

    async def call(self, tool: str, arguments: dict[str, Any] | None = None, **more: Any) -> AsgiReply:
        """Call a tool, statelessly."""
        return await self.ask("tools/call", {"name": tool, "arguments": arguments or {}}, **more)


@pytest.fixture(params=["sdk", "fast"])
def traced(request: pytest.FixtureRequest) -> Traced:
    return Traced(is_fast=request.param == "fast")


def _add_to(app: MCPApp, traced: Traced) -> None:
    @app.tool
    async def look() -> str:
        """Look at the context."""
        traced.seen = {"span": trace.get_current_span(), "baggage": dict(baggage.get_all())}
        return "ok"

    @app.tool
    async def add() -> str:
        """Add to the span whatever can be added."""
        span = trace.get_current_span()
        span.set_attribute("shop.orders", 3)
        span.set_attributes({"shop.items": ["a", "b"], "shop.open": True})
        span.add_event("sold", {"price": 1.5})
        span.add_link(OUTSIDE)
        span.record_exception(LookupError("known to the author"))
        span.set_status(StatusCode.ERROR, "as the author says")
        span.update_name("named by the author")
        return "ok"

    @app.tool
    async def fail(text: str) -> str:
        """Fail for the model."""
        raise ToolError(text)

    @app.tool
    async def crash(text: str) -> str:
        """Fail unexpectedly."""
        raise LookupError(text)

    @app.tool(timeout=0.01)
    async def slow() -> str:
        """Take longer than it may."""
        await asyncio.Event().wait()
        return ""

    @app.tool
    async def wait() -> str:
        """Wait for ever."""
        traced.seen["waits"] = True
        await asyncio.Event().wait()
        return ""

    @app.tool
    async def chain(ctx: Context) -> Any:
        """Call a tool within a span of its own."""
        with traced.tracer.start_as_current_span("step"):
            return await ctx.tools.call("fail", {"text": NEEDLE})

    @app.tool
    async def side_by_side(ctx: Context) -> Any:
        """Call a tool several times at once."""
        return await asyncio.gather(*(ctx.tools.call("look") for _ in range(3)))

    @app.prompt
    def greeting(name: str) -> str:
        """Greet."""
        return f"Hello {name}"

    @app.resource("notes://{name}")
    def notes(name: str) -> str:
        """Return a note."""
        if name == "none":
            raise ResourceNotFound(f"notes://{name}")
        return "nothing"


def run(traced: Traced, *steps: Any) -> None:
    """Await some things in an event loop."""

    async def main() -> None:
        for step in steps:
            await step

    asyncio.run(main())


@pytest.mark.parametrize(
    ("tool", "arguments", "error"),
    [
        ("look", {}, None),
        ("fail", {"text": NEEDLE}, "tool_error"),
        ("fail", {"number": NEEDLE}, "tool_error"),
        ("crash", {"text": NEEDLE}, "tool_error"),
        ("slow", {}, "timeout"),
    ],
)
def test_how_calls_end(traced: Traced, tool: str, arguments: dict[str, Any], error: str | None) -> None:
    run(traced, traced.call(tool, arguments))
    span = traced.span()
    attributes = dict(span.attributes or {})
    assert (span.name, span.kind) == (f"tools/call {tool}", SpanKind.SERVER)
    assert attributes.get("error.type") == error
    assert "rpc.response.status_code" not in attributes  # the result says that the tool failed
    assert span.status.status_code is (StatusCode.UNSET if error is None else StatusCode.ERROR)
    assert span.status.description is None
    events = [(event.name, dict(event.attributes or {})) for event in span.events]
    assert events == ([("exception", {"exception.type": "LookupError"})] if tool == "crash" else [])
    assert NEEDLE not in span.to_json()


def test_no_client_makes_names_of_spans(traced: Traced) -> None:
    run(
        traced,
        traced.call(NEEDLE),
        traced.ask("prompts/get", {"name": NEEDLE}),
        traced.ask("resources/read", {"uri": f"notes://{NEEDLE}"}),
        traced.ask(NEEDLE, {}),
        traced.client.post(b"[" + NEEDLE.encode()),
    )
    assert [span.name for span in traced.spans] == ["tools/call", "prompts/get", "resources/read", "HTTP", "POST"]
    tool, prompt, resource, unknown, _ = (dict(span.attributes or {}) for span in traced.spans)
    assert tool["gen_ai.tool.name"] == NEEDLE
    assert prompt["gen_ai.prompt.name"] == NEEDLE
    assert resource["mcp.resource.uri"] == f"notes://{NEEDLE}"
    assert unknown["mcp.method.name"] == "_OTHER"
    codes = [(span.attributes or {}).get("rpc.response.status_code") for span in traced.spans]
    assert codes == ["-32602", "-32602", None, "-32601", "-32700"]


def test_messages_of_errors(traced: Traced) -> None:
    run(traced, traced.ask("resources/read", {"uri": "notes://none"}), traced.ask("logging/setLevel", {}))
    missing, unknown = traced.spans
    assert (missing.status.status_code, missing.status.description) == (StatusCode.ERROR, None)  # it has the URI
    assert unknown.status.description == "Method not found: logging/setLevel"


def test_a_prompt_and_a_list(traced: Traced) -> None:
    run(traced, traced.ask("prompts/get", {"name": "greeting", "arguments": {"name": "Ada"}}))
    run(traced, traced.ask("tools/list", {}))
    got, listed = traced.spans
    assert (got.name, (got.attributes or {})["gen_ai.prompt.name"]) == ("prompts/get greeting", "greeting")
    assert (listed.name, "gen_ai.operation.name" in (listed.attributes or {})) == ("tools/list", False)


def test_the_handler_has_the_span_and_the_baggage(traced: Traced) -> None:
    meta = {"traceparent": TRACEPARENT, "baggage": "user=ada,plan=free"}
    run(traced, traced.call("look", meta=meta, baggage="user=eve"))
    span = traced.span()
    assert traced.seen["span"].get_span_context() == span.get_span_context()
    assert traced.seen["baggage"] == {"user": "ada", "plan": "free"}


def test_what_a_handler_adds_to_its_span(traced: Traced) -> None:
    run(traced, traced.call("add"))
    span = traced.span()
    assert span.name == "named by the author"
    assert {"shop.orders": 3, "shop.items": ("a", "b"), "shop.open": True}.items() <= dict(
        span.attributes or {}
    ).items()
    sold, failed = span.events
    assert (sold.name, dict(sold.attributes or {})) == ("sold", {"price": 1.5})
    assert (failed.attributes or {})["exception.message"] == "known to the author"
    assert [link.context for link in span.links] == [OUTSIDE]
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "as the author says")


def test_a_span_takes_nothing_more_when_it_has_ended(traced: Traced) -> None:
    run(traced, traced.call("look"))
    span = traced.seen["span"]
    assert not span.is_recording()
    span.set_attribute("late", 1)
    span.update_name("late")
    span.end()
    assert traced.span().name == "tools/call look"
    assert "late" not in (traced.span().attributes or {})


def test_encoding_is_that_of_the_sdk() -> None:
    traced = Traced(is_fast=True)
    steps = [
        traced.call("look"),
        traced.call("look", meta={"traceparent": TRACEPARENT}),
        traced.call("look", meta={"traceparent": TRACEPARENT, "tracestate": "vendor=1"}),
        traced.call("side_by_side"),
        traced.call("fail", {"text": "x"}),
        traced.call("add"),
        traced.ask("resources/read", {"uri": "notes://" + "long" * 40}),
    ]
    run(traced, *steps)
    spans = traced.as_exported
    ours = ExportTraceServiceRequest.FromString(encoded(spans))
    theirs = encode_spans(as_readable(spans))
    assert len(spans) == 10
    assert sum(span.is_plain for span in spans) == 7
    assert _comparable(ours) == _comparable(theirs)


def _comparable(request: Any) -> tuple[Any, Any]:
    """Return what an export says, whatever the order."""
    scopes = [scope for resource in request.resource_spans for scope in resource.scope_spans]
    spans = [span for scope in scopes for span in scope.spans]
    for span in spans:
        span.attributes.sort(key=lambda pair: pair.key)
        if not span.status.code:  # the SDK writes one that says nothing
            span.ClearField("status")
    heads = {str(resource.resource) for resource in request.resource_spans} | {
        str(scope.scope) for scope in scopes
    }
    return heads, sorted(map(str, spans))


def test_a_processor_that_is_added_later_sees_spans_of_the_sdk() -> None:
    traced, seen = Traced(is_fast=True), []

    class Processor(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            span.set_attribute("from.baggage", "x")

        def on_end(self, span: ReadableSpan) -> None:
            seen.append(span.name)

    traced.provider.add_span_processor(Processor())
    run(traced, traced.call("look"))
    assert seen == ["tools/call look"]
    assert (traced.span().attributes or {})["from.baggage"] == "x"


def test_the_context_is_as_before_when_a_request_has_ended(traced: Traced) -> None:
    before = contexts.Context({"kept": 1})

    async def main() -> None:
        contexts.attach(before)
        await traced.call("look", meta={"traceparent": TRACEPARENT})
        assert contexts.get_current() is before

    asyncio.run(main())


@pytest.mark.parametrize(
    ("meta", "header", "has_ambient", "parent", "is_linked"),
    [
        (TRACEPARENT, OTHER, False, PARENT, False),
        (TRACEPARENT, None, True, PARENT, True),
        ("00-malformed", TRACEPARENT, False, PARENT, False),
        (None, OTHER, True, "ambient", False),
        (None, None, True, "ambient", False),
        (None, None, False, None, False),
        (7, None, False, None, False),
    ],
)
def test_parents(
    traced: Traced, meta: object, header: str | None, has_ambient: bool, parent: str | None, is_linked: bool
) -> None:
    ambient = traced.tracer.start_span("POST /mcp")

    async def main() -> None:
        if has_ambient:  # as the span of an instrumented host is
            contexts.attach(trace.set_span_in_context(ambient))
        members = {} if meta is None else {"traceparent": meta}
        await traced.call("look", meta=members, **({} if header is None else {"traceparent": header}))

    asyncio.run(main())
    span, outside = traced.span(), ambient.get_span_context()
    expected = format(outside.span_id, "016x") if parent == "ambient" else parent
    assert (None if span.parent is None else format(span.parent.span_id, "016x")) == expected
    assert [link.context for link in span.links] == ([outside] if is_linked else [])


def test_other_propagators() -> None:
    traced = Traced(is_fast=True, OTEL_PROPAGATORS="b3multi")
    tokens = {"traceparent": TRACEPARENT}
    run(traced, traced.call("look", meta=tokens))  # by the propagators of this process, which are those of W3C
    assert traced.span().parent is not None


def test_calls_of_handlers(traced: Traced) -> None:
    run(traced, traced.call("chain"))
    called, step, root = traced.spans
    assert (called.name, called.kind, step.name, root.name) == (
        *("tools/call fail", SpanKind.INTERNAL),
        *("step", "tools/call chain"),
    )
    assert called.parent == step.get_span_context()
    assert step.parent == root.get_span_context()
    assert (called.attributes or {})["error.type"] == "tool_error"


def test_calls_side_by_side(traced: Traced) -> None:
    run(traced, traced.call("side_by_side"))
    *called, root = traced.spans
    assert [span.parent for span in called] == [root.get_span_context()] * 3


def test_a_client_that_goes_away(traced: Traced) -> None:

    async def main() -> None:
        message = request_of("tools/call", {"name": "wait", "arguments": {}}, 1, stateless_meta())
        fields: dict[str, Any] = {"content_type": "application/json", "accept": BOTH, **modern_headers(message)}
        request = PausableRequest(traced.app, traced.client.scope(fields), json.dumps(message).encode())
        await request.until(lambda: traced.seen)
        request.leave()
        await request.until(lambda: traced.spans)

    asyncio.run(main())
    span = traced.span()
    assert (span.attributes or {})["error.type"] == "cancelled"
    assert span.status.status_code is StatusCode.ERROR


def test_each_message_of_a_batch_has_its_span(traced: Traced) -> None:

    async def main() -> None:
        opened = await traced.client.initialize("2025-03-26")
        token = opened.headers["mcp-session-id"]
        batch = [request_of("tools/call", {"name": "look", "arguments": {}}, id, None) for id in (1, 2)]
        await traced.client.post(batch, mcp_session_id=token, traceparent=TRACEPARENT)

    asyncio.run(main())
    _, *spans = traced.spans
    assert [(span.attributes or {})["jsonrpc.request.id"] for span in spans] == ["1", "2"]
    assert {span.parent.span_id for span in spans if span.parent} == {int(PARENT, 16)}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Wanted()),
        ({"OTEL_SERVICE_NAME": "x"}, Wanted()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL}, Wanted(("otlp",), ("otlp",))),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_METRICS_EXPORTER": "none"}, Wanted(("otlp",))),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": URL}, Wanted(("otlp",))),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": URL}, Wanted((), ("otlp",))),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, Wanted(("console", "otlp"))),
        ({"OTEL_TRACES_EXPORTER": "none"}, Wanted()),
        ({"OTEL_TRACES_EXPORTER": " "}, Wanted()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_SDK_DISABLED": " TRUE"}, Wanted()),
    ],
)
def test_what_the_variables_ask_for(variables: dict[str, str], expected: Wanted) -> None:
    assert wanted(variables) == expected


def test_signals_that_are_on_without_variables() -> None:
    assert wanted({}, is_on=True) == Wanted(("otlp",), ("otlp",))
    assert wanted({"OTEL_TRACES_EXPORTER": "console"}, is_on=True) == Wanted(("console",))
    assert wanted({"OTEL_TRACES_EXPORTER": "none"}, is_on=True) == Wanted()
