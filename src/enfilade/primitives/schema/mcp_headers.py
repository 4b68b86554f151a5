"""`x-mcp-header` in the input schema of a tool: written out where clients look for it, and checked.

Easy to get wrong: clients drop a tool with an `x-mcp-header` anywhere but on a plain property that is reached
through `properties` alone (R-253). A nested model is behind a `$ref`, so a model with such a header is written
out in place; what is still wrong then is refused when the tool is registered.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

from enfilade.primitives.schema.references import definition_uses, reachable, with_definitions

#: The annotation by which an argument is also sent as a header of the HTTP request.
HEADER: Final = "x-mcp-header"

# Two copies of a definition with a header are refused anyway, so more are not made: they would double
# with each model that holds another one twice.
_MAX_COPIES: Final = 2
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_TYPES: Final = ("string", "integer", "boolean")


def write_out_headers(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with each property written out that refers to a definition with `x-mcp-header`."""
    definitions = schema.get("$defs", {})
    carrying = _carrying_headers(definitions)
    if not carrying:
        return schema
    times: Counter[str] = Counter()

    def written_out(subschema: Mapping[str, Any], open_names: tuple[str, ...]) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        for key, inner in subschema.get("properties", {}).items():
            name = str(inner.get("$ref", "")).removeprefix("#/$defs/")
            if name in carrying and name not in open_names and times[name] < _MAX_COPIES:
                times[name] += 1
                # A copy: the definition itself stays for other references, and is another place with a header.
                siblings = {keyword: value for keyword, value in inner.items() if keyword != "$ref"}
                inner = {**deepcopy(definitions[name]), **siblings}
                inner = written_out(inner, (*open_names, name))
            properties[key] = inner
        return {**subschema, "properties": properties} if properties else dict(subschema)

    result = written_out(schema, ())
    return with_definitions({key: value for key, value in result.items() if key != "$defs"}, definitions)


def check_headers(schema: Mapping[str, Any]) -> None:
    """Check the `x-mcp-header`s of an input schema: clients drop a tool with a wrong one (R-250 to R-253).

    Raises:
        ValueError: names the header, where it is and what is wrong with it.
    """
    allowed: set[int] = set()
    seen: dict[str, str] = {}
    for path, subschema in _plain_properties(schema, ""):
        if HEADER not in subschema:
            continue
        allowed.add(id(subschema))
        _check_header(subschema, path)
        header = subschema[HEADER]
        if first_path := seen.get(header.lower()):
            raise ValueError(
                f'{HEADER} "{header}" is on "{first_path}" and on "{path}"; each name may be used once (R-251)'
            )
        seen[header.lower()] = path
    for subschema in _annotated(schema):
        if id(subschema) not in allowed:
            raise ValueError(
                f"{HEADER} {subschema[HEADER]!r} is not on a plain property of the arguments, but on an item of "
                f"an array, a member of a union or the like; clients would drop the tool (R-253)"
            )


def _check_header(schema: Mapping[str, Any], path: str) -> None:
    header = schema[HEADER]
    if not isinstance(header, str) or not _TOKEN.fullmatch(header):
        raise ValueError(
            f'{HEADER} {header!r} on "{path}" is no header name; letters, digits and "-" are safe (R-251)'
        )
    if schema.get("type") not in _HEADER_TYPES:
        kind = schema.get("type") or "a union"
        raise ValueError(
            f'{HEADER} "{header}" is on "{path}", which is {kind} and not string, integer or boolean (R-252)'
        )


def _plain_properties(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    properties = schema.get("properties")
    for name, property_schema in properties.items() if isinstance(properties, Mapping) else ():
        if isinstance(property_schema, Mapping):
            property_path = f"{path}.{name}" if path else str(name)
            yield property_path, property_schema
            yield from _plain_properties(property_schema, property_path)


def _annotated(node: Any, *, names: bool = False) -> Iterator[Mapping[str, Any]]:
    """Yield every schema with a header annotation; with `names`, the keys here are names, not keywords."""
    if isinstance(node, Mapping):
        if HEADER in node and not names:
            yield node
        for key, child in node.items():
            if names or key not in ("default", "const", "enum", "examples"):
                yield from _annotated(
                    child, names=not names and key in ("properties", "patternProperties", "$defs")
                )
    elif isinstance(node, list):
        for child in node:
            yield from _annotated(child)


def _carrying_headers(definitions: Mapping[str, Any]) -> set[str]:
    """Return the names of the definitions with a header, in them or in what they refer to."""
    direct = {name for name in definitions if next(_annotated(definitions[name]), None) is not None}
    if not direct:
        return direct
    uses = definition_uses(definitions)
    return {name for name in definitions if reachable({name}, uses) & direct}
