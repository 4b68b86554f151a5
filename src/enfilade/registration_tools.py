"""What a server offers to call: tools, from functions, methods and whole modules.

Tools are listed as their author named them, or under qualified names; either way the qualified name finds them.
The easy thing to get wrong is a clash: two tools of one name are refused when the second comes, with both places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from enfilade.primitives.habits import advised, understood
from enfilade.primitives.names import qualified_name
from enfilade.primitives.registry import Registry
from enfilade.primitives.schema.signature import describe, raw_name
from enfilade.registration_resources import Offer, with_name
from enfilade.serving.changes import TOOLS
from enfilade.serving.context import Context
from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    from types import ModuleType

    from enfilade.primitives import tool as _tool, tool_decorator as modules
    from enfilade.primitives.tool import Tool
    from enfilade.wire.content import Icon
    from enfilade.wire.tools import ToolAnnotations
else:  # with pydantic, which takes long to load
    modules = LazyModule("enfilade.primitives.tool_decorator")
    _tool = LazyModule("enfilade.primitives.tool")

F = TypeVar("F", bound=Callable[..., Any])


class ToolOffer(Offer):
    """Tools, and all that an `Offer` has.

    Args:
        name: the server's name, which qualifies the tools' names.
        qualified: list the tools under their qualified names.
        schema_refs: leave the references in derived schemas.

    Attributes:
        tools: the tools, by listed name, in listed order.
    """

    def __init__(self, name: str, *, qualified: bool, schema_refs: bool = False) -> None:
        super().__init__()
        self.name = name
        self._qualify = qualified
        self._schema_refs = schema_refs
        self.tools: Registry[Tool] = Registry("tool", alias=None if qualified else self._qualified)
        self.tools.on_change(lambda: self.changes.announce(TOOLS))

    def offered_names(self) -> list[str]:
        """Return the names of all that is offered."""
        return [*self.tools.names(), *super().offered_names()]

    @overload
    def tool(self, fn: F, /) -> F: ...

    @overload
    def tool(
        self,
        fn: str | None = None,
        /,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        desc: str | None = None,
        annotations: ToolAnnotations | Mapping[str, Any] | None = None,
        icons: Sequence[Icon] | None = None,
        meta: Mapping[str, Any] | None = None,
        input_schema: Mapping[str, Any] | None = None,
        additional_properties: bool = False,
        output_schema: Mapping[str, Any] | None = None,
        structured_output: bool | None = None,
        requires_secrets: Iterable[str] = (),
        timeout: float | None = None,
    ) -> Callable[[F], F]: ...

    def tool(self, fn: Any = None, /, **options: Any) -> Any:
        """Offer a function as a tool: `@app.tool`, `@app.tool(title=…)` or `@app.tool("name")`.

        The function stays as it is, callable and typed. Options are those of `add_tool`; `desc` is `description`.
        """
        if isinstance(fn, str):
            fn, options = None, with_name(fn, options)
        if fn is not None:
            self.add_tool(fn, **options)
            return fn

        def register(function: F) -> F:
            self.add_tool(function, **options)
            return function

        return register

    @advised("tool")
    def add_tool(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        annotations: ToolAnnotations | Mapping[str, Any] | None = None,
        icons: Sequence[Icon] | None = None,
        meta: Mapping[str, Any] | None = None,
        input_schema: Mapping[str, Any] | None = None,
        additional_properties: bool = False,
        output_schema: Mapping[str, Any] | None = None,
        structured_output: bool | None = None,
        requires_secrets: Iterable[str] = (),
        timeout: float | None = None,
    ) -> Tool:
        """Offer a function, method or callable object as a tool.

        Args:
            fn: sync or async; a parameter annotated `Context` gets the call's context.
            name: the tool's name; by default the function's.
            title: its name for people.
            description: what it does, for the model; by default the docstring's text.
            annotations: hints such as `readOnlyHint`.
            icons: pictures, https or data URIs.
            meta: members of the definition's `_meta`.
            input_schema: a hand-made JSON Schema to publish in place of the derived one.
            additional_properties: take arguments that have no parameter, and leave them out; they are refused by
                default.
            output_schema: likewise for structured results.
            structured_output: False to send no structured content.
            requires_secrets: names of the secrets that `ctx.secret` gives it.
            timeout: seconds that a call of it may take.

        Returns:
            The tool.

        Raises:
            ValueError: the name is not allowed or taken, or the signature cannot be a tool's.
        """
        tool = _tool.tool_from_function(
            fn,
            context_type=Context,
            name=self._listed_name(fn, name),
            title=title,
            description=description,
            annotations=annotations,
            icons=icons,
            meta=meta,
            input_schema=input_schema,
            additional_properties=additional_properties,
            output_schema=output_schema,
            structured_output=structured_output,
            requires_secrets=requires_secrets,
            timeout=timeout,
            schema_refs=self._schema_refs,
        )
        self.tools.add(tool)
        return tool

    def _listed_name(self, fn: Callable[..., Any], name: str | None) -> str | None:
        if not self._qualify:
            return name
        return qualified_name(self.name, name or raw_name(fn))

    def _qualified(self, tool: Tool) -> str:
        return qualified_name(self.name, tool.name)

    def add_tools_from_module(self, module: str | ModuleType) -> list[Tool]:
        """Offer every function marked with `@enfilade.tool` in a module or package, installed or not.

        Args:
            module: the module, or its dotted name.

        Returns:
            The tools, in the order of their definitions.

        Raises:
            ValueError: it marks no function.
            ImportError: it cannot be imported.
        """
        functions = modules.tools_in_module(module)
        if not functions:
            name = module if isinstance(module, str) else module.__name__
            raise ValueError(f"{name} has no tools: mark functions with `from enfilade import tool` and `@tool`")
        return [self.add_tool(fn, **_options(fn)) for fn in functions]

    def remove_tool(self, name: str) -> None:
        """Stop offering a tool.

        Raises:
            KeyError: there is no such tool.
        """
        self.tools.remove(name)


def _options(fn: Callable[..., Any]) -> dict[str, Any]:
    """Return what `@tool` said about a function, as arguments of `add_tool`."""
    marks = modules.options_of(fn)
    if marks is None:
        return {}
    given = {name: getattr(marks, name) for name in marks.__slots__ if name != "more"}
    if not marks.more:
        return given
    try:
        return given | understood("tool", dict(marks.more), [*given])
    except TypeError as error:
        raise TypeError(f"@tool of {describe(fn)}: {error}") from None
