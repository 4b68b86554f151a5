"""A tool: one Python function with its definition, ready to be called with raw JSON.

`tool_from_function` does everything dear, once. A `Tool` then does three things per call, which the server
puts together: `bind` (raw arguments → values), `call` (values → whatever the function returns), `result`
(that → the result to send).

Easy to get wrong: `call` does not await (see `handler.py`); whoever calls it awaits what can be awaited, and only
then makes the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from enfilade.primitives.arguments import ArgumentReader, RawArguments
from enfilade.primitives.decoration import check_sendable, read_annotations, read_icons
from enfilade.primitives.docstrings import docstring_of, read_docstring
from enfilade.primitives.given_schema import GivenSchemaReader
from enfilade.primitives.handler import Handler
from enfilade.primitives.names import check_tool_name, secret_names
from enfilade.primitives.results import ResultWriter
from enfilade.primitives.signature import describe, is_async, origin_of, raw_name, read_signature
from enfilade.primitives.structured import writer_for
from enfilade.wire import tools as wire
from enfilade.wire.content import Icon


@dataclass(frozen=True, slots=True, eq=False)
class Tool(Handler):
    """A function that clients can call. Immutable; made by `tool_from_function`.

    Attributes:
        name: the name as listed.
        definition: all that `tools/list` says about it, in the newest revision's terms.
        secrets: the names of the secrets that it gets to see.
        timeout: seconds that a call may take; None for no limit of its own.
    """

    name: str
    definition: wire.Tool
    secrets: tuple[str, ...]
    timeout: float | None
    _reader: ArgumentReader | GivenSchemaReader = field(repr=False)
    _writer: ResultWriter = field(repr=False)

    def bind(self, arguments: RawArguments, context: Any) -> dict[str, Any]:
        """Return the values for `call`, by parameter name.

        Args:
            arguments: the JSON of the arguments as it came; None if there are none.
            context: goes to the parameters that take the context.

        Raises:
            ArgumentsError: says everything that is wrong with the arguments.
        """
        values = self._reader.read(arguments)
        return self.with_context(values, context) if self.contexts else values

    @property
    def wraps_result(self) -> bool:
        """Whether its structured content is `{"result": …}`, because what it returns is no object."""
        return self._writer.wrapped

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
    requires_secrets: Iterable[str] = (),
    timeout: float | None = None,
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
        requires_secrets: names of the secrets that a call of it gets to see.
        timeout: seconds that a call may take.

    Raises:
        TypeError: the function cannot be a tool; names the parameter and says what to do.
        ValueError: a name, schema, icon, hint or limit is not legal.
    """
    if timeout is not None and not 0 < timeout < math.inf:
        raise ValueError(f"timeout is a number of seconds above 0, not {timeout!r}; leave it out for no limit")
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
    check_sendable(definition, label)
    return Tool(
        name=tool_name,
        definition=definition,
        fn=fn,
        is_async=is_async(fn),
        origin=origin_of(fn),
        contexts=signature.contexts,
        dependencies=signature.dependencies,
        positional=signature.positional,
        secrets=secret_names(requires_secrets),
        timeout=timeout,
        _reader=reader,
        _writer=writer,
    )
