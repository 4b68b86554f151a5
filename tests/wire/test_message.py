"""Message types as such: absent and null, raw parts, unions, and what is refused."""

from typing import Any

import msgspec
import pytest

from enfilade.wire.client_requests import CreateMessageResult
from enfilade.wire.content import EmbeddedResource, ResourceContents, TextContent, TextResourceContents
from enfilade.wire.lifecycle import ClientCapabilities, InitializeRequestParams, RequestMeta
from enfilade.wire.message import EmptyResult, InputResponseRequestParams, RequestParams
from enfilade.wire.notifications import (
    SEVERITY,
    CancelledNotificationParams,
    LoggingMessageNotificationParams,
    ProgressNotificationParams,
    SetLevelRequestParams,
)
from enfilade.wire.prompts import CompleteRequestParams, PromptReference, ResourceTemplateReference
from enfilade.wire.tasks import Task
from enfilade.wire.tools import CallToolRequestParams, CallToolResult


def decoded(kind: Any, text: str) -> Any:
    return msgspec.json.decode(text.encode(), type=kind)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        pytest.param(EmptyResult(result_type=msgspec.UNSET), "{}", id="absent"),
        pytest.param(EmptyResult(), '{"resultType":"complete"}', id="complete"),
        pytest.param(EmptyResult(meta={"a": None}), '{"_meta":{"a":null},"resultType":"complete"}', id="meta"),
        pytest.param(
            CallToolResult(content=[], structured_content=None),
            '{"resultType":"complete","content":[],"structuredContent":null}',
            id="structured-null",
        ),
        pytest.param(
            CallToolResult(content=[], structured_content=msgspec.Raw(b'{"a":1}')),
            '{"resultType":"complete","content":[],"structuredContent":{"a":1}}',
            id="structured-ready-bytes",
        ),
        pytest.param(
            LoggingMessageNotificationParams(level="info", data=None),
            '{"level":"info","data":null}',
            id="log-null",
        ),
    ],
)
def test_absent_and_null(message: Any, text: str) -> None:
    """R-502: what is unset is not written, what is None is."""
    assert msgspec.json.encode(message).decode() == text


def test_required_null() -> None:
    """R-372: a task without a limit says so."""
    text = '{"taskId":"t","status":"working","createdAt":"x","lastUpdatedAt":"x","ttl":null}'
    task = decoded(Task, text)
    assert task.ttl is None
    assert msgspec.json.decode(msgspec.json.encode(task)) == msgspec.json.decode(text)


def test_arguments_and_meta_stay_raw() -> None:
    """A body is parsed once: what is not needed yet is not looked into."""
    params = decoded(CallToolRequestParams, '{"name":"n","arguments":{"a": 1},"_meta":{"progressToken":1}}')
    assert bytes(params.arguments) == b'{"a": 1}'
    assert bytes(params.meta) == b'{"progressToken":1}'
    assert decoded(CallToolRequestParams, '{"name":"n"}').arguments is msgspec.UNSET


def test_answers_stay_raw() -> None:
    """R-291: only the question tells of what type an answer is."""
    params = decoded(
        InputResponseRequestParams, '{"inputResponses":{"a":{"action":"accept"}},"requestState":"s"}'
    )
    assert bytes(params.input_responses["a"]) == b'{"action":"accept"}'
    with pytest.raises(msgspec.ValidationError):
        decoded(InputResponseRequestParams, '{"inputResponses":null}')


def test_unknown_members_are_ignored() -> None:
    assert decoded(RequestParams, '{"later":1}') == RequestParams()


@pytest.mark.parametrize("token", [1, "1", 2**60, ""])
def test_token_keeps_its_type(token: int | str) -> None:
    """R-2B0."""
    text = msgspec.json.encode({"progressToken": token}).decode()
    assert decoded(RequestMeta, text).progress_token == token
    assert type(decoded(ProgressNotificationParams, text[:-1] + ',"progress":1}').progress_token) is type(token)


@pytest.mark.parametrize("id", ["true", "1.5", "null", "[]"])
def test_ids_that_are_none(id: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        decoded(CancelledNotificationParams, f'{{"requestId":{id}}}')


def test_request_meta() -> None:
    """R-105: names with the protocol's prefix, and trace context without."""
    meta = decoded(
        RequestMeta,
        """{"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/logLevel": "notice",
        "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"}, "traceparent": 7, "com.example/x": 1,
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}""",
    )
    assert meta.protocol_version == "2026-07-28"
    assert meta.client_info.name == "c"
    assert meta.log_level == "notice"
    assert meta.traceparent == 7, "R-2B7: never fail a request over its trace context"
    assert meta.client_capabilities.elicitation is not msgspec.UNSET, "declared, if empty"
    assert meta.client_capabilities.sampling is msgspec.UNSET


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        pytest.param(RequestMeta, '{"io.modelcontextprotocol/logLevel":"loud"}', id="R-2B5"),
        pytest.param(RequestMeta, '{"io.modelcontextprotocol/clientCapabilities":[]}', id="E-02"),
        pytest.param(SetLevelRequestParams, '{"level":"loud"}', id="log-level"),
        pytest.param(InitializeRequestParams, '{"protocolVersion":"x","capabilities":{}}', id="no-client-info"),
        pytest.param(ClientCapabilities, '{"sampling":true}', id="capability"),
        pytest.param(CallToolRequestParams, "{}", id="no-name"),
        pytest.param(TextContent, '{"type":"image","text":"t"}', id="wrong-type"),
        pytest.param(CallToolResult, '{"content":[{"type":"video"}]}', id="unknown-content"),
    ],
)
def test_refused(kind: Any, text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        decoded(kind, text)


def test_resource_contents_are_told_apart_by_what_they_hold() -> None:
    block = decoded(EmbeddedResource, '{"type":"resource","resource":{"uri":"a:b","text":"t"}}')
    assert isinstance(block.resource, ResourceContents)
    assert (block.resource.text, block.resource.blob) == ("t", msgspec.UNSET)
    written = EmbeddedResource(resource=TextResourceContents(uri="a:b", text="t"))
    assert msgspec.json.encode(written) == msgspec.json.encode(block)


@pytest.mark.parametrize(
    ("content", "count"), [('{"type":"text","text":"t"}', 1), ('[{"type":"text","text":"t"}]', 1), ("[]", 0)]
)
def test_sampling_result_is_one_block_or_several(content: str, count: int) -> None:
    """R-552."""
    result = decoded(CreateMessageResult, f'{{"role":"assistant","model":"m","content":{content}}}')
    blocks = result.content if isinstance(result.content, list) else [result.content]
    assert len(blocks) == count


@pytest.mark.parametrize(
    ("ref", "kind"),
    [
        ('{"type":"ref/prompt","name":"n"}', PromptReference),
        ('{"type":"ref/resource","uri":"a:{b}"}', ResourceTemplateReference),
    ],
)
def test_completion_reference(ref: str, kind: type) -> None:
    params = decoded(CompleteRequestParams, f'{{"ref":{ref},"argument":{{"name":"a","value":""}}}}')
    assert isinstance(params.ref, kind)


def test_severities_rise() -> None:
    """R-2B4."""
    ranks = [SEVERITY[level] for level in ("debug", "info", "notice", "warning", "error", "critical", "alert")]
    assert ranks == sorted(set(ranks))
    assert SEVERITY["emergency"] == max(SEVERITY.values())
