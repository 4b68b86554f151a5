"""A tool: one Python function with its definition, ready to be called with raw JSON.

`tool_from_function` does everything that takes long, once. A `Tool` then does three things per call, which the
server combines: `bind` (raw arguments → values), `call` (values → what the function returns), `result` (that →
the result to send).

Schemas of plain types, which cannot fail, are built later (see `schema/signature.py`); all others are built at
once, so that every mistake shows when the tool is registered.

Easy to get wrong: `call` does not await (see `handler.py`); the caller awaits the result if it can be awaited,
and only then calls `result`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from types import NoneType
from typing import TYPE_CHECKING, Any, cast

from msgspec import UNSET
from msgspec.structs import replace

from enfilade.primitives.handler import Handler
from enfilade.primitives.metadata import (
    DumpableModel,
    check_options,
    check_sendable,
    read_annotations,
    read_icons,
)
from enfilade.primitives.names import check_tool_name, secret_names
from enfilade.primitives.schema.annotations import is_deferrable
from enfilade.primitives.schema.docstrings import LazyDocstring, documented_names
from enfilade.primitives.schema.signature import (
    EMPTY,
    Signature,
    describe,
    is_async,
    is_deferrable_parameter,
    origin_of,
    raw_name,
    read_signature,
    texts_of,
)
from enfilade.startup.lazy import LazyModule, LazyObject
from enfilade.wire import tools as wire
from enfilade.wire.content import Icon

if TYPE_CHECKING:
    import logging

    from enfilade.primitives import access as _access, other_frameworks as _other_frameworks
    from enfilade.primitives.access import Access, AuthRequirement, Visible
    from enfilade.primitives.limits import outcome_policy as _outcome_policy
    from enfilade.primitives.limits.call_limits import CallLimits
    from enfilade.primitives.limits.outcome_policy import OutcomePolicy
    from enfilade.primitives.limits.result_budget import ResultBudget
    from enfilade.primitives.limits.task_policy import TaskPolicy
    from enfilade.primitives.schema import explicit_schema as _explicit_schema, references as _references
    from enfilade.primitives.values import (
        arguments as _arguments,
        plain_values as _plain,
        results as _results,
        structured_output as _structured,
    )
    from enfilade.primitives.values.arguments import RawArguments
    from enfilade.primitives.values.plain_values import Reader, Writer
else:  # some import pydantic, which takes long to load; logging is for errors only
    _access = LazyModule("enfilade.primitives.access")
    _arguments = LazyModule("enfilade.primitives.values.arguments")
    _explicit_schema = LazyModule("enfilade.primitives.schema.explicit_schema")
    _outcome_policy = LazyModule("enfilade.primitives.limits.outcome_policy")
    _references = LazyModule("enfilade.primitives.schema.references")
    _plain = LazyModule("enfilade.primitives.values.plain_values")
    _results = LazyModule("enfilade.primitives.values.results")
    _structured = LazyModule("enfilade.primitives.values.structured_output")
    _other_frameworks = LazyModule("enfilade.primitives.other_frameworks")
    logging = LazyModule("logging")


class Tool(Handler, frozen=True, eq=False):
    """A function that clients can call. Immutable; made by `tool_from_function`.

    Attributes:
        name: the name as listed.
        secrets: the names of the secrets that it can read.
        timeout: seconds that a call may take; None for no limit of its own.
        middleware: around its calls, outermost first.
        auth: the tokens of other services that it needs.
        is_plain: whether it has neither secrets, nor tokens, nor limits, nor middleware, and all its calls run.
        is_direct: whether it is plain, and its function a coroutine function without dependencies.
        access: who may see and call it; None for everybody.
        limits: how many calls of it there may be; None for any number.
        budget: how large its results may be; None if it does not say.
        outcomes: when calls get outcomes of earlier ones; None for never.
        audit: how much of its arguments an audit records; None for what the app says.
        task: how its calls run as tasks; None if they do not.
    """

    name: str
    secrets: tuple[str, ...]
    timeout: float | None
    middleware: tuple[Callable[..., Any], ...]
    is_plain: bool
    is_direct: bool
    access: Access | None
    limits: CallLimits | None
    budget: ResultBudget | None
    outcomes: OutcomePolicy | None
    audit: str | None
    task: TaskPolicy | None
    auth: tuple[AuthRequirement, ...]
    _reader: Reader
    _writer: Writer
    _define: Callable[[], wire.Tool]

    def __repr__(self) -> str:
        return f"Tool(name={self.name!r}, origin={self.origin!r})"

    @property
    def definition(self) -> wire.Tool:
        """All that `tools/list` says about it, in the newest revision's terms."""
        return self._define()

    def prepare(self) -> None:
        """Build what would be built by the first call."""
        self._define()

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
    annotations: wire.ToolAnnotations | Mapping[str, Any] | DumpableModel | None = None,
    icons: Sequence[Icon | Mapping[str, Any] | DumpableModel | str] | None = None,
    meta: Mapping[str, Any] | None = None,
    input_schema: Mapping[str, Any] | None = None,
    additional_properties: bool = False,
    output_schema: Mapping[str, Any] | None = None,
    structured_output: bool | None = None,
    requires_secrets: Iterable[str] = (),
    requires_auth: object = None,
    timeout: float | None = None,
    middleware: Iterable[Callable[..., Any]] = (),
    requires_scopes: Iterable[str] = (),
    visible: Visible | None = None,
    audit: str | None = None,
    schema_refs: bool = False,
    limits: CallLimits | None = None,
    budget: ResultBudget | None = None,
    outcomes: OutcomePolicy | None = None,
    task: TaskPolicy | None = None,
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
        input_schema: a hand-made schema, published as it is (see `explicit_schema.py`).
        additional_properties: take arguments that have no parameter, and leave them out; they are refused by
            default.
        output_schema: a hand-made schema, published as it is; results are checked against it.
        structured_output: False for results without structured content, True to insist on an output schema.
        requires_secrets: names of the secrets that its calls can read.
        requires_auth: the tokens of other services that its calls need.
        timeout: seconds that a call may take.
        middleware: around its calls alone, `async def mw(request, call_next)`, outermost first.
        requires_scopes: what its callers must be allowed.
        visible: whether it is there for a caller.
        audit: how much of its arguments an audit records: `all`, `names` or `none`; None for what the app says.
        schema_refs: leave the references in derived schemas, in place of writing out what they refer to.
        limits: how many calls of it there may be.
        budget: how large its results may be.
        outcomes: when calls get outcomes of earlier ones.
        task: how its calls run as tasks.

    Raises:
        TypeError: the function cannot be a tool; names the parameter and says what to do.
        ValueError: a name, schema, icon, hint or limit is not legal.
    """
    label = describe(fn)
    check_options(
        label,
        name=name,
        title=title,
        description=description,
        icons=icons,
        meta=meta,
        input_schema=input_schema,
        additional_properties=additional_properties,
        output_schema=output_schema,
        structured_output=structured_output,
        requires_secrets=requires_secrets,
        timeout=timeout,
        schema_refs=schema_refs,
    )
    if timeout is not None and not 0 < timeout < math.inf:
        raise ValueError(f"timeout is a number of seconds above 0, not {timeout!r}; leave it out for no limit")
    if timeout is not None and not isinstance(timeout, (int, float)):
        timeout = float(timeout)  # of a Decimal, which cannot be added to the time of a clock
    if additional_properties and input_schema is not None:
        raise ValueError(
            "input_schema says itself whether a call may have additionalProperties; leave the option out"
        )
    around = tuple(_other_frameworks.read_middleware(middleware)) if middleware else ()
    if audit not in (None, "all", "names", "none"):
        raise ValueError(f"audit is 'all', 'names' or 'none', not {audit!r}")
    tool_name = _name_of(fn, name)
    is_open = requires_scopes == () and visible is None
    signature = read_signature(fn, context_type, allow_extra=input_schema is not None)
    published = documented_names(signature, published=input_schema is None)
    docstring = LazyDocstring(fn, published)
    reader = _reader(tool_name, signature, docstring, label, input_schema, additional_properties, schema_refs)
    writer = _writer(signature.returns, label, structured_output, output_schema, schema_refs)
    if signature.unresolved and output_schema is None and structured_output is not False:
        logging.getLogger("enfilade").warning(
            "%s; until then its results have no output schema", signature.unresolved
        )
    hints = read_annotations(annotations)
    if outcomes is not None:
        properties = () if input_schema is None else input_schema.get("properties", {})
        outcomes = _outcome_policy.completed(outcomes, label, signature.parameters, properties, hints)
    outline = wire.Tool(
        name=tool_name,
        title=title or UNSET,
        description=description or UNSET,
        input_schema={},
        annotations=hints,
        icons=read_icons(icons),
        meta=dict(meta) if meta else UNSET,
        execution=UNSET if task is None else wire.ToolExecution(task_support=task.support),
    )
    if description is None and not docstring.is_sendable:
        outline = replace(outline, description=docstring.description)
    check_sendable(_preview(outline, reader, writer, docstring, signature), label)
    secrets = secret_names(requires_secrets)
    auth = () if requires_auth is None else _access.read_requirements(label, requires_auth)
    if auth and getattr(outcomes, "per", None) == "all":
        raise ValueError(
            f'{label}: cache_per="all" would give what is made with the token of one user to all others; a tool '
            'with requires_auth has cache_per="principal"'
        )
    is_plain = (timeout, limits, budget, outcomes) == (None,) * 4 and not (secrets or around or auth)
    is_coroutine_function = is_async(fn)
    return Tool(
        name=tool_name,
        fn=fn,
        is_async=is_coroutine_function,
        origin=origin_of(fn),
        contexts=signature.contexts,
        dependencies=signature.dependencies,
        positional=signature.positional,
        secrets=secrets,
        timeout=timeout,
        middleware=around,
        is_plain=is_plain,
        is_direct=is_plain and is_coroutine_function and not signature.dependencies,
        access=None if is_open else _access.read_access(label, requires_scopes, visible),
        limits=limits,
        budget=budget,
        outcomes=outcomes,
        audit=audit,
        task=task,
        auth=auth,
        _reader=reader,
        _writer=writer,
        _define=cache(
            partial(
                _define,
                outline,
                None if description is not None else docstring,
                reader,
                writer,
                keep_input=schema_refs or input_schema is not None,
                keep_output=schema_refs or output_schema is not None,
            )
        ),
    )


def _name_of(fn: Callable[..., Any], name: str | None) -> str:
    """Return the name to list.

    Raises:
        ValueError: it is not legal for a tool.
    """
    tool_name = raw_name(fn) if name is None else name
    if name is None and tool_name == "<lambda>":
        raise ValueError("a lambda has no name that a tool could have; give it one with name=")
    check_tool_name(tool_name)
    return tool_name


def _preview(
    outline: wire.Tool,
    reader: Reader,
    writer: Writer,
    docstring: LazyDocstring,
    signature: Signature,
) -> wire.Tool:
    """Return the outline with its schemas, or with the texts of a schema that is built later."""
    texts = {
        "parameters": {} if docstring.is_sendable else docstring.parameters,  # so that it need not be read now
        "more": [list(texts_of(parameter)) for parameter in signature.parameters],
    }
    return replace(
        outline,
        input_schema=texts if isinstance(reader, LazyObject) else reader.schema,
        output_schema=UNSET if isinstance(writer, LazyObject) else writer.schema or UNSET,
    )


def _define(
    outline: wire.Tool,
    docstring: LazyDocstring | None,
    reader: Reader,
    writer: Writer,
    *,
    keep_input: bool,
    keep_output: bool,
) -> wire.Tool:
    """Return the definition to list: the outline with its texts and schemas, which are made now if need be.

    The docstring is None if the outline has a description.
    """
    if docstring is not None:
        outline = replace(outline, description=docstring.description or UNSET)
    input_schema, output_schema = reader.schema, writer.schema
    if "$defs" in input_schema and not keep_input:
        input_schema = _references.inline_references(input_schema)
    if output_schema is not None and "$defs" in output_schema and not keep_output:
        output_schema = _references.inline_references(output_schema)
    return replace(outline, input_schema=input_schema, output_schema=output_schema or UNSET)


def _reader(
    name: str,
    signature: Signature,
    docstring: LazyDocstring,
    label: str,
    schema: Mapping[str, Any] | None,
    additional: bool,
    has_refs: bool,
) -> Reader:
    if schema is not None:
        return _explicit_schema.ExplicitSchemaReader(name, signature, dict(schema), label=label)

    def make() -> Reader:
        descriptions = docstring.parameters
        return _arguments.ArgumentReader(
            name,
            signature.parameters,
            descriptions=descriptions,
            label=label,
            extra="ignore" if additional else "forbid",
        )

    if not all(map(is_deferrable_parameter, signature.parameters)):
        return make()

    def make_plain() -> Reader:
        descriptions = docstring.parameters
        return _plain.reader_for(
            signature.parameters, descriptions=descriptions, extra=additional, has_refs=has_refs, full=make
        )

    return cast("Reader", LazyObject(make_plain))


def _writer(
    returns: Any, label: str, structured: bool | None, schema: Mapping[str, Any] | None, has_refs: bool
) -> Writer:
    def make() -> Writer:
        copied_schema = None if schema is None else dict(schema)
        return _structured.writer_for(returns, label=label, structured=structured, schema=copied_schema)

    if structured or schema is not None or not (returns is EMPTY or is_deferrable(returns)):
        return make()
    if structured is False or any(returns is kind for kind in (EMPTY, None, NoneType, Any)):
        return cast("Writer", LazyObject(lambda: _results.UntypedWriter(structured=structured is not False)))
    return cast("Writer", LazyObject(lambda: _plain.writer_for(returns, has_refs=has_refs, full=make)))
