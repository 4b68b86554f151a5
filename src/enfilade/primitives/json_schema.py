"""Checks parsed JSON against a JSON Schema (2020-12), for the schemas that an author writes by hand.

Where a schema comes from Python types, pydantic validates and this file has nothing to do. It covers the
vocabularies *core*, *applicator* (but `unevaluated…` and `$dynamicRef`) and *validation*; `format` stays an
annotation, as the specification has it. References lead to places within the schema and never to the network
(R-562).

Easy to get wrong: in JSON, `true` is not 1, while 1.0 is an integer. In Python it is the other way round.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import islice
from typing import Any, Final, NamedTuple

from enfilade.primitives.phrases import Step, at_pointer, came, expectation, is_secret, json_type, one_of, place

_DIALECTS: Final = ("https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema")
_DEPTH: Final = 120
_MOST: Final = 10
# Members of a schema whose values are data or names and not schemas.
_NOT_SCHEMAS: Final = frozenset({"const", "enum", "default", "examples", "required", "dependentRequired"})


class Problem(NamedTuple):
    """One thing that is wrong: where, and a phrase that follows the name of the place."""

    path: tuple[Step, ...]
    phrase: str

    def __str__(self) -> str:
        return f"{place(self.path)} {self.phrase}" if self.path else f"the value {self.phrase}"


Problems = Iterator[Problem]
Path = tuple[Step, ...]


def _is_multiple(value: float, step: float) -> bool:
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    return (Decimal(str(value)) % Decimal(str(step))) == 0


_NUMBER: Final = (int, float)
# For each limit: what it applies to, what is measured, the comparison, and how a complaint puts it.
_LIMITS: Final[
    dict[str, tuple[type | tuple[type, ...], Callable[[Any], Any], Callable[[Any, Any], bool], str]]
] = {
    "minimum": (_NUMBER, lambda value: value, operator.ge, "be at least"),
    "maximum": (_NUMBER, lambda value: value, operator.le, "be at most"),
    "exclusiveMinimum": (_NUMBER, lambda value: value, operator.gt, "be more than"),
    "exclusiveMaximum": (_NUMBER, lambda value: value, operator.lt, "be less than"),
    "multipleOf": (
        _NUMBER,
        lambda value: value,
        _is_multiple,
        "be a multiple of",
    ),
    "minLength": (str, len, operator.ge, "have a length of at least"),
    "maxLength": (str, len, operator.le, "have a length of at most"),
    "minItems": (list, len, operator.ge, "have a number of items of at least"),
    "maxItems": (list, len, operator.le, "have a number of items of at most"),
    "minProperties": (dict, len, operator.ge, "have a number of members of at least"),
    "maxProperties": (dict, len, operator.le, "have a number of members of at most"),
}


class SchemaChecker:
    """A schema, ready to check values.

    Raises:
        ValueError: the schema declares a dialect that is not known here, or refers to something outside of
        itself.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        dialect = schema.get("$schema")
        if dialect is not None and str(dialect).rstrip("#") not in _DIALECTS:
            raise ValueError(f"$schema says {dialect!r}; known dialects are {one_of(_DIALECTS)}")
        _check_references(schema, schema)

    def problems(self, value: Any) -> list[Problem]:
        """Return what is wrong with a parsed value (the first few things); an empty list if nothing is."""
        return list(islice(self._check(self._schema, value, (), 0), _MOST))

    def _check(self, schema: Any, value: Any, path: Path, depth: int) -> Problems:
        if depth > _DEPTH:
            yield Problem(path, "is nested too deeply")
        elif schema is False:
            yield Problem(path, "is not allowed here")
        elif isinstance(schema, Mapping):
            for keywords, check in _CHECKS:
                if not keywords.isdisjoint(schema):
                    yield from check(self, schema, value, path, depth + 1)

    def _matches(self, schema: Any, value: Any, depth: int) -> bool:
        return next(self._check(schema, value, (), depth), None) is None

    def _got(self, schema: Mapping[str, Any], value: Any) -> str:
        return f"got {came(value, secret=is_secret(schema, self._schema))}"

    def _type(self, schema: Mapping[str, Any], value: Any, path: Path, depth: int) -> Problems:
        wanted = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        kind = json_type(value)
        if kind not in wanted and not (kind == "integer" and "number" in wanted):
            yield Problem(path, f"should be {one_of(wanted)}, {self._got(schema, value)}")

    def _const(self, schema: Mapping[str, Any], value: Any, path: Path, depth: int) -> Problems:
        if _comparable(schema["const"]) != _comparable(value):
            yield Problem(path, f"should be {expectation(schema, self._schema)}, {self._got(schema, value)}")

    def _enum(self, schema: Mapping[str, Any], value: Any, path: Path, depth: int) -> Problems:
        if _comparable(value) not in map(_comparable, schema["enum"]):
            yield Problem(
                path, f"should be {expectation({'enum': schema['enum']}, {})}, {self._got(schema, value)}"
            )

    def _reference(self, schema: Mapping[str, Any], value: Any, path: Path, depth: int) -> Problems:
        yield from self._check(at_pointer(schema["$ref"], self._schema), value, path, depth)

    def _size(self, schema: Mapping[str, Any], value: Any, path: Path, depth: int) -> Problems:
        for keyword, (kind, measure, fits, words) in _LIMITS.items():
            if keyword in schema and isinstance(value, kind) and not isinstance(value, bool):
                limit = schema[keyword]
                if not fits(measure(value), limit):
                    yield Problem(path, f"should {words} {limit}, {self._got(schema, value)}")

    def _pattern(self, schema: Mapping[str, Any], value: Any, path: Path, depth: int) -> Problems:
        if isinstance(value, str) and not re.search(schema["pattern"], value):
            yield Problem(path, f"should match {schema['pattern']}, {self._got(schema, value)}")

    def _unique(self, schema: Mapping[str, Any], value: Any, path: Path, depth: int) -> Problems:
        if schema["uniqueItems"] and isinstance(value, list) and len(set(map(_comparable, value))) < len(value):
            yield Problem(path, "should not hold the same item twice")

    def _object(self, schema: Mapping[str, Any], value: Any, path: Path, depth: int) -> Problems:
        if not isinstance(value, dict):
            return
        known = schema.get("properties", {})
        patterns = schema.get("patternProperties", {})
        for name, member in value.items():
            parts = [part for pattern, part in patterns.items() if re.search(pattern, name)]
            if name in known:
                parts.append(known[name])
            if not parts and "additionalProperties" in schema:
                if schema["additionalProperties"] is False:
                    yield Problem((*path, name), f"is not known here (known: {', '.join(known) or 'none'})")
                    continue
                parts.append(schema["additionalProperties"])
            for part in parts:
                yield from self._check(part, member, (*path, name), depth)
            if "propertyNames" in schema:
                yield from self._check(schema["propertyNames"], name, (*path, name), depth)

    def _required(self, schema: Mapping[str, Any], value: Any, path: Path, depth: int) -> Problems:
        if not isinstance(value, dict):
            return
        names = list(schema.get("required", ()))
        for name, others in schema.get("dependentRequired", {}).items():
            names += others if name in value else ()
        for name in dict.fromkeys(names):
            if name not in value:
                expected = expectation(schema.get("properties", {}).get(name, {}), self._schema)
                yield Problem((*path, name), "is missing" + (f" (expected {expected})" if expected else ""))

    def _array(self, schema: Mapping[str, Any], value: Any, path: Path, depth: int) -> Problems:
        if not isinstance(value, list):
            return
        prefix = schema.get("prefixItems", ())
        for index, item in enumerate(value):
            part = prefix[index] if index < len(prefix) else schema.get("items", True)
            yield from self._check(part, item, (*path, index), depth)

    def _contains(self, schema: Mapping[str, Any], value: Any, path: Path, depth: int) -> Problems:
        if not isinstance(value, list):
            return
        count = sum(self._matches(schema["contains"], item, depth) for item in value)
        if not schema.get("minContains", 1) <= count <= schema.get("maxContains", math.inf):
            yield Problem(path, f"holds {count} of the items it is looked at for")

    def _all_of(self, schema: Mapping[str, Any], value: Any, path: Path, depth: int) -> Problems:
        for part in schema["allOf"]:
            yield from self._check(part, value, path, depth)

    def _any_of(self, schema: Mapping[str, Any], value: Any, path: Path, depth: int) -> Problems:
        tried = [list(self._check(part, value, path, depth)) for part in schema["anyOf"]]
        if all(tried):
            yield from self._none_fits(schema, schema["anyOf"], tried, value, path)

    def _one_of(self, schema: Mapping[str, Any], value: Any, path: Path, depth: int) -> Problems:
        tried = [list(self._check(part, value, path, depth)) for part in schema["oneOf"]]
        if all(tried):
            yield from self._none_fits(schema, schema["oneOf"], tried, value, path)
        elif sum(not problems for problems in tried) > 1:
            yield Problem(path, f"fits more than one of its alternatives, {self._got(schema, value)}")

    def _none_fits(
        self, schema: Mapping[str, Any], parts: list[Any], tried: list[list[Problem]], value: Any, path: Path
    ) -> Problems:
        """Complain as the only alternative of the value's kind does, or about all if it is not the only one."""
        inside = [problems for problems in tried if all(len(each.path) > len(path) for each in problems)]
        if len(inside) == 1:
            yield from inside[0]
            return
        expected = expectation({"anyOf": parts}, self._schema) or "one of its alternatives"
        yield Problem(path, f"should be {expected}, {self._got(schema, value)}")

    def _not(self, schema: Mapping[str, Any], value: Any, path: Path, depth: int) -> Problems:
        if self._matches(schema["not"], value, depth):
            yield Problem(path, f"is of the kind that is excluded, {self._got(schema, value)}")

    def _if(self, schema: Mapping[str, Any], value: Any, path: Path, depth: int) -> Problems:
        branch = "then" if self._matches(schema["if"], value, depth) else "else"
        yield from self._check(schema.get(branch, True), value, path, depth)

    def _dependent(self, schema: Mapping[str, Any], value: Any, path: Path, depth: int) -> Problems:
        for name, part in schema["dependentSchemas"].items():
            if isinstance(value, dict) and name in value:
                yield from self._check(part, value, path, depth)


_Check = Callable[[SchemaChecker, Mapping[str, Any], Any, Path, int], Problems]

# A check runs where the schema has one of its keywords.
_CHECKS: Final[tuple[tuple[frozenset[str], _Check], ...]] = tuple(
    (frozenset(keywords.split()), check)
    for keywords, check in (
        ("type", SchemaChecker._type),
        ("const", SchemaChecker._const),
        ("enum", SchemaChecker._enum),
        ("$ref", SchemaChecker._reference),
        (" ".join(_LIMITS), SchemaChecker._size),
        ("pattern", SchemaChecker._pattern),
        ("uniqueItems", SchemaChecker._unique),
        ("required dependentRequired", SchemaChecker._required),
        ("properties patternProperties additionalProperties propertyNames", SchemaChecker._object),
        ("items prefixItems", SchemaChecker._array),
        ("contains", SchemaChecker._contains),
        ("allOf", SchemaChecker._all_of),
        ("anyOf", SchemaChecker._any_of),
        ("oneOf", SchemaChecker._one_of),
        ("not", SchemaChecker._not),
        ("if", SchemaChecker._if),
        ("dependentSchemas", SchemaChecker._dependent),
    )
)


def _check_references(part: Any, root: Mapping[str, Any]) -> None:
    """Refuse references that lead out of the schema, or to nothing, before anybody relies on them (R-562)."""
    if isinstance(part, list):
        for each in part:
            _check_references(each, root)
    if not isinstance(part, Mapping):
        return
    reference = part.get("$ref")
    if isinstance(reference, str) and not isinstance(at_pointer(reference, root), (Mapping, bool)):
        raise ValueError(
            f"$ref {reference!r} leads nowhere within the schema; define it under $defs as #/$defs/Name"
        )
    for keyword, inner in part.items():
        if keyword not in _NOT_SCHEMAS:
            _check_references(inner, root)


def _comparable(value: Any) -> Any:
    """Return what is hashable, and equal for equal JSON in the sense of JSON Schema: 1 is 1.0, true is not 1."""
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, list):
        return tuple(_comparable(item) for item in value)
    if isinstance(value, dict):
        return frozenset((name, _comparable(member)) for name, member in value.items())
    return value
