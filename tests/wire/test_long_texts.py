"""Results of one long text, whose JSON is made once for both of its places."""

import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from enfilade.primitives.values.plain_values import scalar_result
from enfilade.wire.content import TextContent
from enfilade.wire.projection import encode
from enfilade.wire.revisions import ALL
from enfilade.wire.tools import CallToolResult, LongTextResult

LONG = 20_000
TEXTS = ["x" * LONG, 'say "no"\n\\' * LONG, "ü😀" * LONG, "\x00\x7f\u2028" * LONG]


def plain(result: CallToolResult) -> CallToolResult:
    """Return the same result without a prepared text."""
    return CallToolResult(**{name: getattr(result, name) for name in CallToolResult.__struct_fields__})


def long_result(text: str) -> LongTextResult:
    result = scalar_result(text)
    assert isinstance(result, LongTextResult)
    return result


@pytest.mark.parametrize("text", TEXTS, ids=["ascii", "escapes", "unicode", "controls"])
@pytest.mark.parametrize("revision", ALL)
def test_it_is_sent_like_any_other_result(text: str, revision: str) -> None:
    result = long_result(text)
    sent = encode(result, revision)
    assert sent == encode(plain(result), revision)
    assert json.loads(sent)["content"] == [{"type": "text", "text": text}]
    assert encode(result, revision) == sent


def test_its_json_is_made_once() -> None:
    result = long_result("x" * LONG)
    (block,) = result.with_encoded_text().content
    assert isinstance(block, TextContent)
    text: Any = block.text
    assert type(text) is Raw
    assert result.content == [TextContent(text="x" * LONG)]  # for middleware it is a text


@pytest.mark.parametrize("revision", ALL)
def test_changes_count(revision: str) -> None:
    """Middleware may change a result, or make another one of it."""
    replaced = msgspec.structs.replace(long_result("x" * LONG), meta={"a": 1})
    assert encode(replaced, revision) == encode(plain(replaced), revision)
    block, blocks, emptied = (long_result("x" * LONG) for _ in range(3))
    first = block.content[0]
    assert isinstance(first, TextContent)
    first.text = "short"
    blocks.content.append(TextContent(text="more"))
    emptied.content = []
    emptied.structured_content = msgspec.UNSET
    emptied.is_error = True
    for result in (block, blocks, emptied):
        assert encode(result, revision) == encode(plain(result), revision)


def test_short_texts_are_plain_results() -> None:
    assert type(scalar_result("x" * 100)) is CallToolResult
