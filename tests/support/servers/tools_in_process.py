"""Makes tools for the tests of this room, and calls them the way a server does."""

import asyncio
import inspect
import json
from collections.abc import Callable
from typing import Any

import jsonschema
import msgspec

from enfilade.primitives.tool import Tool, tool_from_function
from enfilade.wire.content import TextContent
from enfilade.wire.tools import CallToolResult


class Context:
    """Stands in for the context of a call."""


class SpecialContext(Context):
    """What an application may make of it."""


CONTEXT = SpecialContext()


def make(fn: Callable[..., Any], **options: Any) -> Tool:
    """Make a tool; both of its schemas must be JSON Schema (R-512)."""
    tool = tool_from_function(fn, context_type=Context, **options)
    jsonschema.Draft202012Validator.check_schema(tool.definition.input_schema)
    assert tool.definition.input_schema["type"] == "object"
    if tool.definition.output_schema is not msgspec.UNSET:
        jsonschema.Draft202012Validator.check_schema(tool.definition.output_schema)
        assert tool.definition.output_schema["type"] == "object"
    return tool


def received(tool: Tool, arguments: Any = None) -> Any:
    """Return what the function returns for JSON arguments."""
    raw = None if arguments is None else json.dumps(arguments).encode()
    value = tool.call(tool.bind(raw, CONTEXT))

    async def settled() -> Any:
        return await value

    return asyncio.run(settled()) if inspect.isawaitable(value) else value


def answered(tool: Tool, arguments: Any = None) -> CallToolResult:
    """Return the result of a call. It must be JSON, and match the published output schema (R-514)."""
    result = tool.result(received(tool, arguments))
    sent = json.loads(msgspec.json.encode(result), parse_constant=_no_constant)
    if tool.definition.output_schema is not msgspec.UNSET and not sent.get("isError"):
        jsonschema.validate(sent["structuredContent"], tool.definition.output_schema)
    return result


def result_of(value: Any, returns: Any = inspect.Parameter.empty, **options: Any) -> CallToolResult:
    """Return the result of a tool that returns `value` and says that it returns `returns`."""

    def give() -> Any:
        return value

    if returns is not inspect.Parameter.empty:
        give.__annotations__["return"] = returns
    else:
        del give.__annotations__["return"]
    return answered(make(give, **options))


def data_of(result: CallToolResult) -> Any:
    """Return the structured content as clients read it; UNSET if there is none."""
    if result.structured_content is msgspec.UNSET:
        return msgspec.UNSET
    return json.loads(msgspec.json.encode(result.structured_content))


def text_of(result: CallToolResult) -> str:
    """Return the text of a result that has one block of text and nothing else."""
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


def _no_constant(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")
