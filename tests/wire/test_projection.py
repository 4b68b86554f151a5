"""What each revision sees, field by field and replacement by replacement.

That the outcome is legal is for `tests/schemas/test_every_revision.py`; here is that it is the intended one.
"""

import json
from typing import Any

import msgspec
import pytest

from enfilade.wire.client_requests import (
    CreateMessageRequestParams,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    InputRequiredResult,
    SamplingMessage,
    ToolChoice,
)
from enfilade.wire.content import (
    Annotations,
    AudioContent,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
    ToolResultContent,
    ToolUseContent,
)
from enfilade.wire.lifecycle import (
    RELATED_TASK,
    SERVER_INFO,
    DiscoverResult,
    Implementation,
    InitializeResult,
    ServerCapabilities,
)
from enfilade.wire.message import EmptyResult, Message, NotificationParams
from enfilade.wire.notifications import (
    ProgressNotificationParams,
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotificationParams,
)
from enfilade.wire.projection import InexpressibleError, encode, project
from enfilade.wire.revision_tables import FIELD_REVISIONS, spans
from enfilade.wire.revisions import ALL, HANDSHAKE
from enfilade.wire.tools import CallToolResult, ListToolsResult, Tool, ToolAnnotations
from support.schemas.outgoing import is_outgoing, outgoing_types

R2024, R0326, R0618, R1125, R0728 = ALL
OBJECT = {"type": "object"}


def seen(message: Message, revision: str) -> Any:
    return json.loads(encode(message, revision))


@pytest.mark.parametrize("kind", outgoing_types(), ids=lambda kind: kind.__name__)
def test_every_field_has_an_entry(kind: type[Message]) -> None:
    """R-501: a field that nobody thought about would be shown to nobody, so somebody has to."""
    assert set(kind.__struct_fields__) == set(spans(kind))


def test_no_row_is_idle() -> None:
    assert [kind.__name__ for kind in FIELD_REVISIONS if not is_outgoing(kind)] == []


def test_unknown_field_is_hidden() -> None:
    """R-501: the table allows; it does not forbid."""

    class Novelty(EmptyResult, kw_only=True):
        secret: str | msgspec.UnsetType = msgspec.UNSET

    assert seen(Novelty(secret="x", meta={"a": 1}), R0728) == {"resultType": "complete", "_meta": {"a": 1}}


FIELDS = {
    # message, member, first revision that sees it, last one
    "resultType": (EmptyResult(), "resultType", R0728, R0728),
    "ttlMs": (ListToolsResult(tools=[]), "ttlMs", R0728, R0728),
    "cacheScope": (ListToolsResult(tools=[]), "cacheScope", R0728, R0728),
    "isError": (CallToolResult(content=[], is_error=True), "isError", R2024, R0728),
    "structured": (CallToolResult(content=[], structured_content={}), "structuredContent", R0618, R0728),
    "structured-raw": (
        CallToolResult(content=[], structured_content=msgspec.Raw(b' {"a":1}')),
        "structuredContent",
        R0618,
        R0728,
    ),
    "structured-array-R-504": (
        CallToolResult(content=[], structured_content=[1]),
        "structuredContent",
        R0728,
        R0728,
    ),
    "structured-null-R-502": (
        CallToolResult(content=[], structured_content=None),
        "structuredContent",
        R0728,
        R0728,
    ),
    "structured-raw-array-R-504": (
        CallToolResult(content=[], structured_content=msgspec.Raw(b"[1]")),
        "structuredContent",
        R0728,
        R0728,
    ),
    "outputSchema": (Tool(name="n", input_schema=OBJECT, output_schema=OBJECT), "outputSchema", R0618, R0728),
    "outputSchema-array-R-504": (
        Tool(name="n", input_schema=OBJECT, output_schema={"type": "array"}),
        "outputSchema",
        R0728,
        R0728,
    ),
    "title": (Tool(name="n", input_schema=OBJECT, title="t"), "title", R0618, R0728),
    "annotations": (
        Tool(name="n", input_schema=OBJECT, annotations=ToolAnnotations(title="t")),
        "annotations",
        R0326,
        R0728,
    ),
    "content-meta": (TextContent(text="t", meta={"a": 1}), "_meta", R0618, R0728),
    "progress-message": (
        ProgressNotificationParams(progress_token=1, progress=1, message="m"),
        "message",
        R0326,
        R0728,
    ),
    "completions": (ServerCapabilities(completions={}), "completions", R0326, R0728),
    "extensions-C-15": (ServerCapabilities(extensions={}), "extensions", R1125, R0728),
    "tasks": (ServerCapabilities(tasks={}), "tasks", R1125, R1125),
    "websiteUrl": (Implementation(name="n", version="1", website_url="u"), "websiteUrl", R1125, R0728),
    "mode-R-540": (ElicitRequestFormParams(message="?", requested_schema=OBJECT), "mode", R1125, R0728),
    "elicitationId-R-547": (
        ElicitRequestURLParams(message="?", url="u", elicitation_id="e"),
        "elicitationId",
        R1125,
        R1125,
    ),
}


@pytest.mark.parametrize("revision", ALL)
@pytest.mark.parametrize(("message", "member", "first", "last"), FIELDS.values(), ids=FIELDS)
def test_field(message: Message, member: str, first: str, last: str, revision: str) -> None:
    try:
        body = seen(message, revision)
    except InexpressibleError:
        body = {}
    assert (member in body) == (first <= revision <= last)


META = {SERVER_INFO: {"name": "n", "version": "1"}, RELATED_TASK: {"taskId": "t"}, "com.example/x": None}


@pytest.mark.parametrize("kind", [EmptyResult, NotificationParams])
@pytest.mark.parametrize(
    ("revision", "keys"),
    [
        (R0618, {"com.example/x"}),
        (R1125, {RELATED_TASK, "com.example/x"}),
        (R0728, {SERVER_INFO, "com.example/x"}),
    ],
)
def test_meta(kind: Any, revision: str, keys: set[str]) -> None:
    """R-376, R-505: keys of the protocol go to those who know them, others to everybody, nulls included."""
    message = kind(meta=META)
    assert set(seen(message, revision)["_meta"]) == keys


def test_meta_that_becomes_empty_is_absent() -> None:
    assert seen(EmptyResult(meta={SERVER_INFO: {}}), R1125) == {}


@pytest.mark.parametrize("revision", ALL)
def test_audio(revision: str) -> None:
    hints = Annotations(priority=1)
    sound = AudioContent(data="AA==", mime_type="audio/wav", annotations=hints)
    [block] = seen(CallToolResult(content=[sound]), revision)["content"]
    assert block["type"] == ("text" if revision == R2024 else "audio")
    assert block["annotations"] == {"priority": 1}
    assert "audio/wav" in str(block)


@pytest.mark.parametrize("revision", ALL)
def test_resource_link(revision: str) -> None:
    """A link must not get lost: its URI is what the model needs."""
    link = ResourceLink(uri="file:///a", name="a", title="A", description="d")
    [block] = seen(CallToolResult(content=[link]), revision)["content"]
    assert block["type"] == ("text" if revision < R0618 else "resource_link")
    assert "file:///a" in str(block)
    if revision < R0618:
        assert block["text"] == "A: file:///a\nd"


@pytest.mark.parametrize(
    ("annotations", "title"),
    [
        pytest.param(msgspec.UNSET, "T", id="none"),
        pytest.param(ToolAnnotations(read_only_hint=True), "T", id="untitled"),
        pytest.param(ToolAnnotations(title="own"), "own", id="titled"),
    ],
)
def test_title_among_annotations(annotations: Any, title: str) -> None:
    """2025-03-26 shows a title, but elsewhere; other revisions have their own place for it, or none."""
    tool = Tool(name="n", title="T", input_schema=OBJECT, annotations=annotations)
    body = seen(tool, R0326)
    assert body["annotations"]["title"] == title
    assert "title" not in body
    assert "annotations" not in seen(tool, R2024)
    assert seen(tool, R0618).get("annotations", {}).get("title") == (title if title == "own" else None)


def test_nested() -> None:
    """What has to go is found wherever it is, and the rest stays."""
    inner = TextResourceContents(uri="a:b", text="t", meta={"a": 1})
    hints = Annotations(priority=1, last_modified="2026-01-01T00:00:00Z")
    result = CallToolResult(content=[EmbeddedResource(resource=inner, annotations=hints), TextContent(text="t")])
    assert seen(result, R0326)["content"] == [
        {"type": "resource", "resource": {"uri": "a:b", "text": "t"}, "annotations": {"priority": 1}},
        {"type": "text", "text": "t"},
    ]


FORM = ElicitRequestFormParams(
    message="?",
    requested_schema={
        "$schema": "x",
        "type": "object",
        "properties": {
            "text": {"type": "string", "default": "d", "format": "email"},
            "flag": {"type": "boolean", "default": False},
            "choice": {"type": "string", "oneOf": [{"const": "a", "title": "A"}, {"const": "b"}], "default": "a"},
        },
        "required": ["text"],
    },
)


def test_form_of_2025_06_18() -> None:
    """Defaults only of booleans, titled choices as `enumNames`."""
    assert seen(FORM, R0618)["requestedSchema"] == {
        "type": "object",
        "required": ["text"],
        "properties": {
            "text": {"type": "string", "format": "email"},
            "flag": {"type": "boolean", "default": False},
            "choice": {"type": "string", "enum": ["a", "b"], "enumNames": ["A", "b"]},
        },
    }
    assert seen(FORM, R1125)["requestedSchema"] == FORM.requested_schema


def test_single_block_of_an_array() -> None:
    message = SamplingMessage(role="user", content=[TextContent(text="t")])
    assert seen(message, R0618)["content"] == {"type": "text", "text": "t"}
    assert seen(message, R1125)["content"] == [{"type": "text", "text": "t"}]


TEXT = TextContent(text="t")
MULTI = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string", "enum": ["x"]}}}}
INEXPRESSIBLE = {
    "initialize-2026": (
        InitializeResult(
            protocol_version="x",
            capabilities=ServerCapabilities(),
            server_info=Implementation(name="n", version="1"),
        ),
        R0728,
    ),
    "discover": (DiscoverResult(supported_versions=[], capabilities=ServerCapabilities()), R1125),
    "questions-in-a-result": (InputRequiredResult(request_state="s"), R1125),
    "listen": (
        SubscriptionsAcknowledgedNotificationParams(notifications=SubscriptionFilter()),
        R1125,
    ),
    "elicitation-2025-03-26": (FORM, R0326),
    "url-R-540": (ElicitRequestURLParams(message="?", url="u"), R0618),
    "multiple-choice": (ElicitRequestFormParams(message="?", requested_schema=MULTI), R0618),
    "several-blocks": (SamplingMessage(role="user", content=[TEXT, TEXT]), R0618),
    "tool-use": (SamplingMessage(role="user", content=ToolUseContent(id="1", name="n", input={})), R0618),
    "tool-result": (
        SamplingMessage(role="user", content=[ToolResultContent(tool_use_id="1", content=[])]),
        R0618,
    ),
    "sampling-tools-R-550": (
        CreateMessageRequestParams(messages=[], max_tokens=1, tool_choice=ToolChoice(mode="none")),
        R0618,
    ),
}


@pytest.mark.parametrize(("message", "revision"), INEXPRESSIBLE.values(), ids=INEXPRESSIBLE)
def test_inexpressible(message: Message, revision: str) -> None:
    """Rather nothing than a part that means something else."""
    with pytest.raises(InexpressibleError):
        encode(message, revision)


def test_unknown_revision() -> None:
    with pytest.raises(KeyError):
        project(EmptyResult(), "2099-01-01")


@pytest.mark.parametrize("revision", ALL)
def test_message_that_fits_is_not_copied(revision: str) -> None:
    """The price of the tables: nothing, where nothing has to go."""
    image = ImageContent(data="AA==", mime_type="image/png", annotations=Annotations(priority=1))
    assert project(image, revision) is image
    result = CallToolResult(content=[image, TEXT])
    same = project(result, revision)
    assert isinstance(same, CallToolResult)
    assert (same is result) == (revision not in HANDSHAKE)
    assert same.content is result.content
    assert result.result_type == "complete"
