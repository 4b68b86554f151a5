"""Makes results fit their budgets: lists lose whole items, and texts end at a character.

The list with the most bytes among the members of structured content loses items from its end. Without such a
list, structured content cannot be shortened. What is left is checked against the output schema, and if it does
not match, the call fails. A text that is a list in JSON is shortened as one, so that it stays JSON.

Easy to get wrong: the room for the statement of what is left out, which is part of the content.
"""

import json
import logging
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Raw

from enfilade.primitives.errors import ToolError
from enfilade.primitives.limits.result_budget import ResultBudget
from enfilade.primitives.tool import Tool
from enfilade.serving.failures import LimitedLog
from enfilade.serving.limits.stored_results import StoredResults
from enfilade.serving.request import Request
from enfilade.state.store import StoreError
from enfilade.wire.content import ContentBlock, TextContent
from enfilade.wire.tools import CallToolResult, decode_arguments

#: Bytes of the statement of what is left out, and of a link, at most.
_STATEMENT: Final = 160

#: Member of `_meta` that says how many items are left out.
LEFT: Final = "enfilade/left"

_unkept_log: Final = LimitedLog(logging.getLogger("enfilade.serving"))  # a full store would flood the log

#: Names under which tools take where to go on, and how much to return.
_OFFSETS: Final = ("offset", "skip", "start", "start_index")
_PAGES: Final = ("page", "cursor", "page_number")
_SIZES: Final = ("limit", "page_size", "max_results", "count")


class ResultSizes:
    """Makes the results of calls fit.

    Args:
        app_budget: of tools that do not say; None if they have none.
        stored: keeps whole results.
    """

    def __init__(self, app_budget: ResultBudget | None, stored: Callable[[], StoredResults]) -> None:
        self._app_budget = app_budget
        self._stored = stored

    async def fitted(
        self, request: Request, tool: Tool, arguments: Raw | None, result: CallToolResult
    ) -> CallToolResult:
        """Return the result that a client gets. What tools return to each other stays as it is, and so do errors.

        Raises:
            ToolError: it is too large, and is to be an error then, or cannot be shortened.
        """
        budget = tool.budget or self._app_budget
        if budget is None or request.parent is not None or result.is_error is True:
            return result
        size = size_of(result)
        if size <= budget.size:
            return result
        if budget.on_overflow == "error":
            raise overflow_error(tool, size, budget)
        shortened = shorten(tool, result, arguments, budget)
        statement = shortened.statement
        content = [*shortened.result.content]
        if budget.on_overflow == "link":
            try:
                content.append(await self._stored().link(request, tool.name, result))
            except StoreError as error:
                text = "the whole result of tool %r could not be kept, and its client gets a part: %s"
                _unkept_log.write(logging.WARNING, text, tool.name, error)
        content.insert(len(shortened.result.content), TextContent(text=statement))
        shortened.result.content = content
        meta = {} if result.meta is UNSET else result.meta
        shortened.result.meta = {**meta, LEFT: shortened.left}
        return shortened.result


class Shortened(NamedTuple):
    """A result that fits.

    Attributes:
        result: the content, without a statement of what is left out.
        statement: says what is left out, and how to ask for it.
        left: how many items are left out; 0 if it is a text.
    """

    result: CallToolResult
    statement: str
    left: int


def size_of(result: CallToolResult) -> int:
    """Return the bytes of a result as JSON: those of its content or its structured content, whichever is more."""
    content = len(msgspec.json.encode(result.content))
    return content if result.structured_content is UNSET else max(content, len(_data_of(result)))


def overflow_error(tool: Tool, size: int, budget: ResultBudget) -> ToolError:
    """Return the error for a result that is too large."""
    return ToolError(
        f"The result of tool {tool.name!r} has {size} bytes, and may have {budget.size}. {_advice(tool, None)}"
    )


def shorten(tool: Tool, result: CallToolResult, arguments: Raw | None, budget: ResultBudget) -> Shortened:
    """Return a result that fits the budget.

    Raises:
        ToolError: it cannot be shortened, or does not match the output schema any more.
    """
    room = budget.size - _STATEMENT
    if result.structured_content is not UNSET:
        return _shorten_data(tool, result, arguments, room, budget)
    if len(result.content) == 1 and isinstance(block := result.content[0], TextContent):
        items = _list_in(block.text)
        if items is not None:
            kept = _fitting(items, room - 60)
            if kept:
                return _of_items([TextContent(text=_json(items[:kept]))], tool, arguments, kept, len(items))
    return _shorten_blocks(tool, result.content, room)


def _shorten_data(
    tool: Tool, result: CallToolResult, arguments: Raw | None, room: int, budget: ResultBudget
) -> Shortened:
    data = msgspec.json.decode(_data_of(result))
    lists = {name: value for name, value in data.items() if isinstance(value, list)}
    if not lists:
        if tool.definition.output_schema is UNSET:
            return _shorten_blocks(tool, result.content, room)
        raise overflow_error(tool, size_of(result), budget)
    name = max(lists, key=lambda name: len(_json(lists[name]).encode()))
    others = len(_json({**data, name: []}).encode())
    kept = _fitting(lists[name], room - others - 60)
    shortened = {**data, name: lists[name][:kept]}
    schema = tool.definition.output_schema
    if schema is not UNSET and schema is not None:
        from enfilade.primitives.schema.json_schema import SchemaChecker

        if SchemaChecker(schema).problems(shortened):
            raise overflow_error(tool, size_of(result), budget)
    if len(_json(shortened).encode()) > budget.size:
        raise overflow_error(tool, size_of(result), budget)
    shown = shortened["result"] if tool.wraps_result else shortened
    found = _of_items([TextContent(text=_json(shown))], tool, arguments, kept, len(lists[name]))
    found.result.structured_content = Raw(_json(shortened).encode())
    return found


def _shorten_blocks(tool: Tool, blocks: list[ContentBlock], room: int) -> Shortened:
    kept: list[ContentBlock] = []
    for block in blocks:
        size = len(msgspec.json.encode(block)) + 1
        if size > room:
            if isinstance(block, TextContent) and not kept:
                text = cut(block.text, room - 60)
                advice = _advice(tool, None)
                statement = f"[Cut after {len(text)} of {len(block.text)} characters. {advice}]"
                return Shortened(CallToolResult(content=[TextContent(text=text)]), statement, 0)
            break
        kept.append(block)
        room -= size
    left = len(blocks) - len(kept)
    statement = f"[{len(kept)} of {len(blocks)} parts; {left} left. {_advice(tool, None)}]"
    return Shortened(CallToolResult(content=kept), statement, left)


def _of_items(content: list[ContentBlock], tool: Tool, arguments: Raw | None, kept: int, count: int) -> Shortened:
    left = count - kept
    advice = _advice(tool, (_arguments_in(arguments), kept))
    return Shortened(CallToolResult(content=content), f"[{kept} of {count} items; {left} left. {advice}]", left)


def cut(text: str, size: int) -> str:
    """Return the beginning of a text that has some bytes at most as a string in JSON, up to a whole character."""
    low, high = 0, min(len(text), max(size, 0))
    while low < high:
        middle = (low + high + 1) // 2
        if len(msgspec.json.encode(text[:middle])) - 2 <= size:
            low = middle
        else:
            high = middle - 1
    return text[:low]


def _fitting(items: list[Any], room: int) -> int:
    """Return how many of the first items fit into some bytes, twice encoded, as the text of a block has them."""
    kept = 0
    for item in items:
        room -= len(msgspec.json.encode(_json(item)))
        if room < 0:
            break
        kept += 1
    return kept


def _advice(tool: Tool, position: tuple[dict[str, Any], int] | None) -> str:
    """Return how to ask for less, or for what is left: by the arguments that the tool has for that."""
    names = tool.definition.input_schema.get("properties", {})
    if position is not None:
        arguments, kept = position
        for name in _OFFSETS:
            if name in names and isinstance(before := arguments.get(name, 0), int):
                return f"Call it again with {name}={before + kept} for the next ones"
    for name in (*_PAGES, *_OFFSETS, *_SIZES):
        if name in names:
            return f"Call it again with another {name}"
    return "Call it again with arguments that ask for less"


def _arguments_in(arguments: Raw | None) -> dict[str, Any]:
    decoded = None if arguments is None else decode_arguments(arguments)
    return decoded if isinstance(decoded, dict) else {}


def _list_in(text: str) -> list[Any] | None:
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, list) else None


def _data_of(result: CallToolResult) -> bytes:
    content = result.structured_content
    return bytes(content) if isinstance(content, Raw) else msgspec.json.encode(content)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
