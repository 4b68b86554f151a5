"""Arguments for a tool whose author wrote the input schema by hand (`input_schema=`).

The schema is published unchanged, to clients of every revision (R-513), and every call is checked against it.
Then the function gets what its parameters ask for:

- parameters by name, each converted to its type as in any other tool (an unannotated one gets the JSON
  value);
- everything else in `**kwargs`, if it has them;
- or all arguments at once as one `dict`, if it has a single parameter that is not a property of the schema and is
  annotated as a dict (or not at all).

Easy to get wrong: schema and function can disagree. A property without a parameter, or a parameter without a
default that the schema does not require, is refused at registration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_origin

from pydantic_core import from_json, to_json

from enfilade.primitives.errors import ArgumentsError
from enfilade.primitives.schema.json_schema import SchemaChecker
from enfilade.primitives.schema.mcp_headers import check_headers
from enfilade.primitives.schema.signature import Signature
from enfilade.primitives.schema.type_aliases import strip
from enfilade.primitives.values.arguments import (
    LARGE_ARGUMENTS,
    ArgumentReader,
    RawArguments,
    check_is_object,
    unreadable_json,
    without_values,
)
from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    from enfilade.primitives.values import repairs as _repairs
else:  # not before something is wrong
    _repairs = LazyModule("enfilade.primitives.values.repairs")


class ExplicitSchemaReader:
    """Reads the arguments of one tool by a hand-made schema, and then by the types of its parameters.

    Raises:
        TypeError: schema and function disagree.
        ValueError: a tool cannot have this schema.
    """

    def __init__(self, tool_name: str, signature: Signature, schema: dict[str, Any], *, label: str) -> None:
        if schema.get("type") != "object":
            raise ValueError(f'{label}: input_schema needs "type": "object" at its root (R-512)')
        check_headers(schema)
        self.schema = schema
        self._tool_name = tool_name
        self._checker = SchemaChecker(schema, member="an argument of this tool")
        # Without one of these keywords, what is no property is unknown.
        is_closed = schema.get("additionalProperties") is False and not schema.get("patternProperties")
        self._names: Mapping[str, Any] | None = schema.get("properties", {}) if is_closed else None
        self._dict_parameter = _dict_parameter(signature, schema)
        parameters = () if self._dict_parameter else signature.parameters
        self._typed = ArgumentReader(
            tool_name,
            parameters,
            descriptions={},
            label=label,
            extra="allow" if self._dict_parameter or signature.extra else "forbid",
        )
        if self._dict_parameter is None:
            _check_agreement(self._typed.schema, schema, label, any_property=bool(signature.extra))

    def read(self, arguments: RawArguments) -> dict[str, Any]:
        """Return the values by parameter name.

        Raises:
            ArgumentsError: lists every fault.
        """
        raw = b"{}" if arguments is None else bytes(arguments)
        if len(raw) > LARGE_ARGUMENTS and self._names is not None:
            raw = without_values(raw, self._names) or raw  # unknown names are refused without their values
        values = self._parsed(raw)
        problems = self._checker.problems(values)
        for _ in _repairs.rounds(len(raw)) if problems else ():
            repaired = _repairs.repaired(values, (problem.path for problem in problems), self.schema)
            if repaired is None:
                break
            values, problems = repaired, self._checker.problems(repaired)
            if not problems:
                break
        if problems:
            raise self._error("; ".join(map(str, problems)))
        converted = self._typed.read(to_json(values))
        return {self._dict_parameter: converted} if self._dict_parameter else converted

    def _parsed(self, arguments: bytes) -> Any:
        try:  # at most 200 levels of nesting
            values = from_json(arguments, allow_inf_nan=False)
        except ValueError as error:
            raise self._error(unreadable_json(error)) from None
        if values is None:
            return {}
        check_is_object(values, "tool", self._tool_name, self.schema)
        return values

    def _error(self, text: str) -> ArgumentsError:
        return ArgumentsError(f'Invalid arguments for tool "{self._tool_name}": {text}')


def _dict_parameter(signature: Signature, schema: Mapping[str, Any]) -> str | None:
    """Return the name of the parameter that takes all arguments as one dict, if there is one."""
    if len(signature.parameters) != 1 or signature.extra:
        return None
    only = signature.parameters[0]
    bare = strip(only.annotation)
    takes_dict = bare is Any or (get_origin(bare) or bare) in (dict, Mapping)
    return only.name if takes_dict and only.name not in schema.get("properties", {}) else None


def _check_agreement(
    derived: Mapping[str, Any], explicit: Mapping[str, Any], label: str, *, any_property: bool
) -> None:
    """Compare the schema that is derived from the parameters with the explicit one."""
    for name in explicit.get("properties", {}):
        if name not in derived["properties"] and not any_property:
            raise TypeError(
                f'{label} has no parameter for "{name}" of its input_schema; add it, or take **kwargs'
            )
    for name in derived.get("required", ()):
        if name not in explicit.get("required", ()):
            raise TypeError(
                f'{label}: its parameter "{name}" has no default, and input_schema does not require it; '
                f"give it a default, or add it to the schema's required"
            )
