"""A tool: one Python function with its definition, ready to be called with raw JSON.

`tool_from_function` does everything dear, once. A `Tool` then does three things per call, which the server
puts together: `bind` (raw arguments → values), `call` (values → whatever the function returns), `result`
(that → the result to send).

Easy to get wrong: `call` does not await. Where `is_async` is true it returns an awaitable, and a plain
function may return one too; whoever calls it awaits what can be awaited, and only then makes the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET

from enfilade.primitives.arguments import ArgumentReader, RawArguments
from enfilade.primitives.decoration import read_annotations, read_icons
from enfilade.primitives.docstrings import docstring_of, read_docstring
from enfilade.primitives.given_schema import GivenSchemaReader
from enfilade.primitives.names import check_tool_name
from enfilade.primitives.results import ResultWriter
from enfilade.primitives.signature import describe, is_async, origin_of, raw_name, read_signature
from enfilade.primitives.structured import writer_for
from enfilade.wire import tools as wire
from enfilade.wire.content import Icon


@dataclass(frozen=True, slots=True, eq=False)
class Tool:
    """A function that clients can call. Immutable; made by `tool_from_function`.

    Attributes:
        name: the name as listed.
        definition: all that `tools/list` says about it, in the newest revision's terms.
        fn: the function.
        is_async: it returns a coroutine, to be awaited in place; other functions belong in a worker thread.
        needs_context: at least one of its parameters takes the context.
        origin: where it was written, `module:qualname (file.py:12)`, for reports of clashes.
    """

    name: str
    definition: wire.Tool
    fn: Callable[..., Any]
    is_async: bool
    needs_context: bool
    origin: str
    _reader: ArgumentReader | GivenSchemaReader = field(repr=False)
    _writer: ResultWriter = field(repr=False)
    _contexts: tuple[str, ...] = field(repr=False)
    _positional: tuple[str, ...] = field(repr=False)

    def bind(self, arguments: RawArguments, context: Any) -> dict[str, Any]:
        """Return the values for `call`, by parameter name.

        Args:
            arguments: the JSON of the arguments as it came; None if there are none.
            context: goes to the parameters that take the context.

        Raises:
            ArgumentsError: says everything that is wrong with the arguments.
        """
        bound = self._reader.read(arguments)
        for name in self._contexts:
            bound[name] = context
        return bound

    def call(self, bound: dict[str, Any]) -> Any:
        """Call the function; returns what it returns, which is an awaitable if it is asynchronous."""
        if not self._positional:
            return self.fn(**bound)
        named = dict(bound)
        return self.fn(*[named.pop(name) for name in self._positional], **named)

    def result(self, value: Any) -> wire.CallToolResult:
        """Return the result for what the function returned (after awaiting it).

        Raises:
            ToolError: the value cannot be sent, or does not match the published output schema.
        """
        return self._writer.write(value)


def tool_from_function(
    fn: Callable[..., Any],
    *,
    context_type: type,
    name: str | None = None,
    title: str | None = None,
    description: str | None = None,
    annotations: wire.ToolAnnotations | Mapping[str, Any] | None = None,
    icons: Sequence[Icon | Mapping[str, Any] | str] | None = None,
    meta: Mapping[str, Any] | None = None,
    input_schema: Mapping[str, Any] | None = None,
    output_schema: Mapping[str, Any] | None = None,
    structured_output: bool | None = None,
) -> Tool:
    """Make a tool of any callable.

    Args:
        fn: a function, method, partial or callable object, `async` or not. Its parameters become the input
            schema, its return annotation the output schema, its docstring the descriptions.
        context_type: parameters annotated with this class take the context and are not published.
        name: the name to list; the function's own by default.
        title: a name for people.
        description: what the tool does; the docstring by default.
        annotations: hints such as `{"read_only_hint": True}`.
        icons: each with an https or data URI (R-560).
        meta: the `_meta` of the definition.
        input_schema: a hand-made schema, published as it is (see `given_schema.py`).
        output_schema: a hand-made schema, published as it is; results are checked against it.
        structured_output: False for results without structured content, True to insist on an output schema.

    Raises:
        TypeError: the function cannot be a tool; names the parameter and says what to do.
        ValueError: a name, schema, icon or hint is not legal.
    """
    tool_name = raw_name(fn) if name is None else name
    if name is None and tool_name == "<lambda>":
        raise ValueError("a lambda has no name that a tool could have; give it one with name=")
    check_tool_name(tool_name)
    label = describe(fn)
    signature = read_signature(fn, context_type, allow_extra=input_schema is not None)
    docstring = read_docstring(docstring_of(fn))
    reader: ArgumentReader | GivenSchemaReader
    if input_schema is None:
        reader = ArgumentReader(tool_name, signature.parameters, descriptions=docstring.parameters, label=label)
    else:
        reader = GivenSchemaReader(tool_name, signature, dict(input_schema), label=label)
    writer = writer_for(
        signature.returns,
        label=label,
        structured=structured_output,
        schema=None if output_schema is None else dict(output_schema),
    )
    definition = wire.Tool(
        name=tool_name,
        title=title or UNSET,
        description=(docstring.description if description is None else description) or UNSET,
        input_schema=reader.schema,
        output_schema=writer.schema or UNSET,
        annotations=read_annotations(annotations),
        icons=read_icons(icons),
        meta=dict(meta) if meta else UNSET,
    )
    _check_sendable(definition, label)
    return Tool(
        name=tool_name,
        definition=definition,
        fn=fn,
        is_async=is_async(fn),
        needs_context=bool(signature.contexts),
        origin=origin_of(fn),
        _reader=reader,
        _writer=writer,
        _contexts=signature.contexts,
        _positional=signature.positional,
    )


def _check_sendable(definition: wire.Tool, label: str) -> None:
    """Refuse now what would break every `tools/list` later: a schema or meta that JSON cannot hold."""
    try:
        msgspec.json.encode(definition)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{label}: its definition cannot be written as JSON ({error})") from error
