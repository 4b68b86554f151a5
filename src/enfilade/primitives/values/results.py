"""From the value a function returns to the result of the call, for tools that publish no output schema.

What becomes of a value:

- `None`: a result without content;
- a string: one text block, as it is;
- content blocks, `Image`, `Audio`, `File`, blocks of the official SDK, and lists with any of them: these
  blocks;
- anything else: one text block of JSON; what is an object in JSON (a dict, model, dataclass) is
  `structuredContent` as well;
- bytes: text in base64, since nobody knows what they are. Return an `Image`, `Audio` or `File` to
  say it;
- `ToolResult`, for the author who wants to say everything.

Easy to get wrong: a result with `isError` reports a failure, so its structured content owes nothing to the
schema (R-514).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from msgspec import UNSET
from pydantic_core import from_json

from enfilade.primitives.errors import ReturnedValueError
from enfilade.primitives.habits import advised
from enfilade.primitives.schema.json_schema import SchemaChecker
from enfilade.primitives.values.content_blocks import (
    blocks_in,
    blocks_of,
    is_sdk_object,
    listed,
    sdk_dict,
    text_of_json,
)
from enfilade.primitives.values.json_encoding import clean, json_bytes
from enfilade.wire.content import TextContent
from enfilade.wire.tools import CallToolResult


@dataclass(slots=True, kw_only=True)
class ToolResult:
    """A result with everything said: return it from a tool to decide about each part of the answer.

    Attributes:
        content: anything that a tool can return; a string, a block, a list of blocks, an empty one for none.
        structured_content: the data for programs, an object in JSON. Without `content`, its JSON is the text,
            too (R-503).
        is_error: the call failed, and the content says why.
        meta: the `_meta` of the result.
    """

    content: Any = None
    structured_content: Any = UNSET
    is_error: bool = False
    meta: Mapping[str, Any] | None = None


if not TYPE_CHECKING:  # type checkers know one spelling of each
    ToolResult.__init__ = advised("result")(ToolResult.__init__)


class ResultWriter(Protocol):
    """Turns returned values into results.

    `schema` is the output schema to publish, if there is one; `wrapped` says that what is no object stands in it
    as `{"result": …}`.
    """

    wrapped: bool

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON Schema of the structured content."""

    def write(self, value: Any) -> CallToolResult:
        """Return the result for a value.

        Raises:
            ToolError: the value cannot be sent, or does not match the schema.
        """


class FreeWriter:
    """Writes results without a schema."""

    schema = None
    wrapped = False

    def __init__(self, *, structured: bool = True) -> None:
        self._structured = structured

    def write(self, value: Any) -> CallToolResult:
        """Return the result for any value; see the top of this file."""
        if type(value) is str:
            return CallToolResult(content=[TextContent(text=clean(value))])
        value = listed(value)
        if (told := as_told(value, None)) is not None:
            return told
        if (content := blocks_in(value)) is not None:
            return CallToolResult(content=content)
        data = json_bytes(value)
        result = CallToolResult(content=[TextContent(text=text_of_json(data))])
        if self._structured and data.startswith(b"{"):
            result.structured_content = msgspec.Raw(data)
        return result


#: The field itself: what `ctx.tools.call_raw` gave reads as None where there is no data.
_DATA: Final[Any] = vars(CallToolResult)["structured_content"]


def as_told(value: Any, checker: SchemaChecker | None) -> CallToolResult | None:
    """Return the result that `value` itself spells out, ours or the official SDK's; None if it is none.

    Args:
        value: what the function returned.
        checker: of the published output schema, if there is one.

    Raises:
        ReturnedValueError: the structured content is missing, or does not match the schema.
    """
    theirs = is_sdk_object(value) and type(value).__name__ == "CallToolResult"
    if theirs:
        value = msgspec.convert(sdk_dict(value), CallToolResult)
    if isinstance(value, CallToolResult):
        meta = value.meta or None
        value = ToolResult(
            content=(value.content or None) if theirs else value.content,  # theirs always has some list
            structured_content=_DATA.__get__(value),
            is_error=value.is_error is True,
            meta=meta,
        )
    if not isinstance(value, ToolResult):
        return None
    content = listed(value.content)
    result = CallToolResult(
        content=[] if isinstance(content, (list, tuple)) and not content else blocks_of(content)
    )
    if value.structured_content is not UNSET:
        _set_structured(result, value)
    if value.is_error:
        result.is_error = True
    elif checker is not None:
        _check(result, checker)
    if value.meta:
        result.meta = from_json(json_bytes(dict(value.meta)))
    return result


def _set_structured(result: CallToolResult, value: ToolResult) -> None:
    told = value.structured_content
    data = bytes(told) if isinstance(told, msgspec.Raw) else json_bytes(told)
    result.structured_content = msgspec.Raw(data)
    if value.content is None:
        result.content = [TextContent(text=text_of_json(data))]


def _check(result: CallToolResult, checker: SchemaChecker) -> None:
    if result.structured_content is UNSET:
        raise ReturnedValueError(
            "The tool returned a result without the structured content that its output schema promises"
        )
    refuse_problems(checker, from_json(bytes(result.structured_content)))


def refuse_problems(checker: SchemaChecker, value: Any) -> None:
    """Refuse what does not match the published output schema (R-514).

    Raises:
        ReturnedValueError: names the places at fault.
    """
    if problems := checker.problems(value):
        said = "; ".join(map(str, problems))
        raise ReturnedValueError(f"The tool returned what its output schema does not allow: {said}")
