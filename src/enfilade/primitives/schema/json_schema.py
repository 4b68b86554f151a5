"""Checks parsed JSON against a JSON Schema that an author wrote by hand, and words what is wrong with it.

Where a schema comes from Python types, pydantic validates; its errors are worded with the functions below, too.
`jsonschema-rs` does the checking (loaded when the first such schema is met). What is ours is the wording, which
must help a model and give no secret away, and the rule that a reference never leads to the network (R-562).

Easy to get wrong: what a caller sent may be a secret, or a megabyte. A value is shown as its JSON type with a
short excerpt, and as its type alone where the schema marks it as secret (`writeOnly`, `format: password`) or is
not known. The library's own messages quote the value, so none of them leaves this file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from enfilade.primitives.schema.references import (
    MISSING,
    Step,
    descend,
    follow,
    has_secret,
    is_marked_secret,
    value_at,
)

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError, Validator

_MAX_PROBLEMS: Final = 10
_DEFAULT_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_DIALECTS: Final = {
    _DEFAULT_DIALECT: "Draft202012Validator",
    "https://json-schema.org/draft/2019-09/schema": "Draft201909Validator",
    "http://json-schema.org/draft-07/schema": "Draft7Validator",
}

# Phrases that need no more than the keyword.
_PHRASES: Final = {
    "uniqueItems": "should not hold the same item twice",
    "contains": "does not hold the items it should hold",
    "not": "is of the kind that is excluded",
    "propertyNames": "has a member with a name that is not allowed",
    "dependentRequired": "lacks a member that another one asks for",
    "unevaluatedItems": "holds more items than are known here",
}


# Errors that show that an alternative was not meant, the surest first.
_MISMATCH_SIGNS: Final = (("const", "enum"), ("required", "const", "enum"), ("additionalProperties",))
_MAX_ALTERNATIVES: Final = 4

#: Keywords whose schemas are about the same value as the schema that has them.
_SAME_VALUE: Final = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")


class Problem(NamedTuple):
    """One fault of a value: its path, and a phrase that follows the path in a sentence."""

    path: tuple[Step, ...]
    phrase: str

    def __str__(self) -> str:
        return f"{format_path(self.path)} {self.phrase}" if self.path else f"the value {self.phrase}"


class SchemaChecker:
    """Checks values against one schema.

    Args:
        schema: the schema.
        derived: it was made from Python types, so it is known to be valid and rarely needed: it is compiled when
            the first value has to be checked.
        member: what error messages say that an unknown member of the value itself is not.
        only_readable: patterns that only ECMA-262 knows are refused too; else they are left to the client.

    Raises:
        ValueError: it is no JSON Schema, declares a dialect that is not known here, or refers to something
            outside of itself.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        *,
        derived: bool = False,
        member: str = "known here",
        only_readable: bool = False,
    ) -> None:
        self._schema = schema
        self._only_readable = only_readable
        self._member = member
        if not derived:
            _ = self._validator

    @cached_property
    def _validator(self) -> Validator:
        return _compiled(self._schema, self._only_readable)

    def problems(self, value: Any) -> list[Problem]:
        """Return the first few faults of a parsed value; an empty list if it is valid."""
        try:
            validator = self._validator
        except ValueError as error:
            return [Problem((), f"cannot be checked, since its schema is wrong: {error}")]
        try:
            errors = list(islice(validator.iter_errors(value), _MAX_PROBLEMS))
        except ValueError:  # nested deeper than the library goes, or text that is not Unicode
            return [Problem((), "is nested too deeply or holds text that is not valid Unicode")]
        return [problem for error in errors for problem in self._problems(error)][:_MAX_PROBLEMS]

    def _problems(self, error: ValidationError) -> Iterator[Problem]:
        """Yield the problems of one error; an object with several unknown members has one for each."""
        path = tuple(error.instance_path)
        keyword = error.kind.name
        schema = self._at(error.schema_path[:-1])
        kind: Any = error.kind
        if keyword == "required":
            expected = expectation((schema.get("properties") or {}).get(kind.property, {}), self._schema)
            missing = "is missing" + (f" (expected {expected})" if expected else "")
            yield Problem((*path, kind.property), missing)
        elif keyword in ("additionalProperties", "unevaluatedProperties") and hasattr(kind, "unexpected"):
            owner = f"a member of {format_path(path)}" if path else self._member
            for name in kind.unexpected:
                phrase = unknown_member(name, owner, schema.get("properties") or (), error.instance)
                yield Problem((*path, name), phrase)
        elif keyword in ("anyOf", "oneOf") and hasattr(kind, "context"):
            yield from self._no_alternative(path, kind.context, schema, error.instance, self._is_secret(error))
        else:
            yield Problem(path, self._phrase(keyword, schema, error.instance, self._is_secret(error)))

    def _is_secret(self, error: ValidationError) -> bool:
        """Return whether the value of an error must not be shown, by its schema and those around that."""
        steps = list(error.schema_path[:-1])
        while steps and (steps[-1] in _SAME_VALUE or (len(steps) > 1 and steps[-2] in _SAME_VALUE)):
            del steps[-1]
        around = (self._at(steps[:end]) for end in range(len(steps)))
        return is_secret(self._at(steps), self._schema) or any(map(is_marked_secret, around))

    def _phrase(self, keyword: str, schema: Mapping[str, Any], value: Any, secret: bool) -> str:
        got = f"got {describe_value(value, secret=secret)}"
        if keyword in LIMITS:
            return f"should {limit_phrase(keyword, schema.get(keyword))}, {got}"
        if keyword in _PHRASES:
            return _PHRASES[keyword]
        if keyword in ("type", "enum", "const"):
            return f"should be {expectation({keyword: schema.get(keyword)}, self._schema)}, {got}"
        return f"is not allowed here, {got}"

    def _no_alternative(
        self, path: tuple[Step, ...], context: Any, schema: Mapping[str, Any], value: Any, secret: bool
    ) -> Iterator[Problem]:
        """Yield the problems of the only alternative of the value's kind, or one that sums up all of them."""
        if any(not errors for errors in context):
            yield Problem(
                path, f"fits more than one of its alternatives, got {describe_value(value, secret=True)}"
            )
            return
        inside = [errors for errors in context if all(_goes_deeper(error, path) for error in errors)]
        for kinds in _MISMATCH_SIGNS if len(inside) > 1 else ():
            inside = [errors for errors in inside if not _paths(errors, kinds)] or inside
            if len(inside) > 1 and (shared := set.intersection(*(_paths(errors, kinds) for errors in inside))):
                yield from (self._shared_problem(path, inner, schema, value) for inner in sorted(shared, key=str))
                return
        if len(inside) == 1:
            for error in inside[0]:
                yield from self._problems(error)
            return
        if inside:
            sentences = (" and ".join(islice(self._sentences(errors), _MAX_ALTERNATIVES)) for errors in inside)
            reasons = shortened(", or ".join(islice(sentences, _MAX_ALTERNATIVES)), LONGEST)
            yield Problem(path, f"fits none of its alternatives: either {reasons}")
            return
        branches = schema.get("anyOf") or schema.get("oneOf") or []
        expected = expectation({"anyOf": branches}, self._schema) or "one of its alternatives"
        yield Problem(path, f"should be {expected}, got {describe_value(value, secret=secret)}")

    def _sentences(self, errors: list[ValidationError]) -> Iterator[str]:
        return (str(problem) for error in errors for problem in self._problems(error))

    def _shared_problem(
        self, path: tuple[Step, ...], inner: tuple[Step, ...], schema: Any, value: Any
    ) -> Problem:
        """Return a problem that all alternatives share: a tag that none has, or that is missing."""
        expected_schema = descend(schema, inner[len(path) :], self._schema)
        expected = expectation(expected_schema, self._schema)
        actual = value_at(value, inner[len(path) :])
        if actual is MISSING:
            return Problem(inner, "is missing" + (f" (expected {expected})" if expected else ""))
        got = describe_value(actual, secret=is_secret(expected_schema, self._schema))
        return Problem(inner, f"should be {expected or 'another value'}, got {got}")

    def _at(self, steps: list[str | int]) -> Mapping[str, Any]:
        """Return the schema at a path of keywords, through references; an empty one if there is none."""
        target: Any = self._schema
        for step in steps:
            if isinstance(target, Mapping):
                target = target.get(str(step), follow(target, self._schema).get(str(step)))
            elif isinstance(target, list) and isinstance(step, int) and step < len(target):
                target = target[step]
            else:
                return {}
        return target if isinstance(target, Mapping) else {}


def _goes_deeper(error: ValidationError, path: tuple[Step, ...]) -> bool:
    """Return whether an alternative fits the value itself and only fails within it."""
    return len(error.instance_path) > len(path) or error.kind.name == "required"


def _paths(errors: list[ValidationError], kinds: tuple[str, ...]) -> set[tuple[Step, ...]]:
    """Return the paths of the errors of certain kinds."""
    paths: set[tuple[Step, ...]] = set()
    for error in errors:
        if error.kind.name in kinds:
            kind: Any = error.kind
            paths.add((*error.instance_path, *((kind.property,) if kind.name == "required" else ())))
    return paths


def _compiled(schema: Mapping[str, Any], only_readable: bool) -> Validator:
    import jsonschema_rs

    dialect = str(schema.get("$schema", _DEFAULT_DIALECT)).rstrip("#")  # as declared
    if dialect not in _DIALECTS:
        raise ValueError(f"$schema says {dialect!r}; known dialects are {one_of(_DIALECTS)}")
    make: Callable[..., Validator] = getattr(jsonschema_rs, _DIALECTS[dialect])
    try:
        return make(dict(schema), retriever=refuse_elsewhere, validate_formats=False)
    except jsonschema_rs.ValidationError as error:
        readable = without_unreadable_pattern(schema, error)
        if readable is not None and not only_readable:
            return _compiled(readable, only_readable)
        if error.kind.name == "$ref":
            raise ValueError(
                f"a $ref leads nowhere within the schema; define what it means under $defs ({error.message})"
            ) from None
        where = "/".join(map(str, error.instance_path)) or "its root"
        if readable is not None:
            raise ValueError(
                f"Python has no such pattern, at {where}: {error.message}; "
                f"clients in Python would refuse each result"
            ) from None
        raise ValueError(f"this is no JSON Schema, at {where}: {error.message}") from None


def without_unreadable_pattern(schema: Mapping[str, Any], error: ValidationError) -> Mapping[str, Any] | None:
    """Return a schema without the pattern of which an error says that the library cannot read it.

    Whatever the pattern could refuse is allowed then; that the client alone checks.

    Returns:
        None if the error is another one, or ECMA-262 does not know the pattern either.
    """
    from enfilade.primitives.schema.regex_dialect import is_portable

    kind: Any = error.kind
    pattern = error.instance
    if kind.name != "format" or kind.format != "regex" or not is_portable(str(pattern)):
        return None
    steps = error.instance_path
    for index, step in enumerate(steps):
        if step in _REFUSES_WHAT_FITS and (index == 0 or steps[index - 1] not in _NAMES):
            return cast(Mapping[str, Any], _without(schema, steps[: index + 1]))
    readable = _without(schema, steps)
    if steps[-2:] == ["patternProperties", pattern]:  # the names that it is for would be unknown
        for keyword in ("additionalProperties", "unevaluatedProperties"):
            readable = _without(readable, [*steps[:-2], keyword])
    return cast(Mapping[str, Any], readable)


def _without(schema: Any, steps: list[str | int]) -> Any:
    """Return a copy of a schema without what is at a path."""
    if isinstance(schema, Mapping):
        first = str(steps[0])
        if len(steps) > 1:
            return {**schema, first: _without(schema[first], steps[1:])}
        return {key: value for key, value in schema.items() if key != first}
    return [_without(item, steps[1:]) if index == steps[0] else item for index, item in enumerate(schema)]


def refuse_elsewhere(uri: str) -> Any:
    """Refuse to fetch a schema (R-562), as nothing that somebody names is fetched (R-709): the `retriever`.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{uri} is outside of the schema, and not fetched")


# -- wording ---------------------------------------------------------------------------------------------------

#: Most characters of the text about the alternatives of one value.
LONGEST: Final = 600

_MAX_EXCERPT: Final = 24
_EXACT: Final = 2**53  # below it, floats are exact for integers
_MAX_NAME: Final = 60
_MAX_CHOICES: Final = 8
_MAX_DEPTH: Final = 3
# The phrase of each limit, and the noun that it counts.
_LIMITS: Final = {
    "minimum": ("be at least", ""),
    "maximum": ("be at most", ""),
    "exclusiveMinimum": ("be more than", ""),
    "exclusiveMaximum": ("be less than", ""),
    "multipleOf": ("be a multiple of", ""),
    "minLength": ("have at least", "character"),
    "maxLength": ("have at most", "character"),
    "minItems": ("have at least", "item"),
    "maxItems": ("have at most", "item"),
    "minProperties": ("have at least", "member"),
    "maxProperties": ("have at most", "member"),
    "pattern": ("match", ""),
}
LIMITS: Final = frozenset(_LIMITS)
# Keywords by which a value may be refused because it fits a schema, and those whose members have names.
_REFUSES_WHAT_FITS: Final = frozenset({"not", "oneOf", "if"})
_NAMES: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_KINDS: Final[dict[type, str]] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def json_type(value: Any) -> str:
    """Return the JSON type of a parsed value; a number without a fraction is an integer."""
    if type(value) is float and value.is_integer():
        return "integer"
    return _KINDS.get(type(value), "value")


def format_path(path: Iterable[Step]) -> str:
    """Return a path in quotes, as authors write it: `"items[2].name"`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return json.dumps(shortened(text, _MAX_NAME), ensure_ascii=False)


def describe_value(value: Any, *, secret: bool = False) -> str:
    """Return a received value for an error: `string "2O24-01-…"`, or `string` alone for a secret."""
    kind = json_type(value)
    if secret or isinstance(value, (list, dict)) or value is None:
        return kind
    if isinstance(value, str):
        return f"{kind} {json.dumps(shortened(value, _MAX_EXCERPT), ensure_ascii=False)}"
    if isinstance(value, int) and abs(value) >= 10**_MAX_EXCERPT:
        return f"{kind} of more than {_MAX_EXCERPT} digits"
    return f"{kind} {json.dumps(value)}"


def one_of(choices: Iterable[str]) -> str:
    """Return choices as prose: `a, b or c`; long lists are cut."""
    every = list(dict.fromkeys(choices))
    if len(every) > _MAX_CHOICES:
        return ", ".join(every[:_MAX_CHOICES]) + f" or {len(every) - _MAX_CHOICES} more"
    return " or ".join(filter(None, [", ".join(every[:-1]), every[-1] if every else ""]))


def expectation(schema: Any, root: Mapping[str, Any], depth: int = 0, within: tuple[str, ...] = ()) -> str:
    """Return what a schema expects in a few words, such as `array of string`; empty if it takes anything."""
    if isinstance(schema, Mapping) and (reference := schema.get("$ref")):
        # A type that holds itself is described once.
        schema, within = ({} if reference in within else schema), (*within, reference)
    schema = follow(schema, root)
    if depth > _MAX_DEPTH:
        return str(schema.get("type", "value"))
    if "const" in schema or "enum" in schema:
        return one_of(_literal(value) for value in schema.get("enum", [schema.get("const")]))
    if branches := schema.get("anyOf") or schema.get("oneOf"):
        expectations = [expectation(branch, root, depth + 1, within) for branch in branches]
        return one_of(expectations) if all(expectations) else ""
    kind = schema.get("type", "")
    if kind == "array" and (item := expectation(schema.get("items", {}), root, depth + 1, within)):
        return f"array of {item}"
    if kind == "string" and (form := schema.get("format")):
        return f"string ({form})"
    return one_of(kind) if isinstance(kind, list) else str(kind)


def unknown_member(name: str, role: str, names: Iterable[str], present: Any) -> str:
    """Return the phrase for an unknown member: the name that was probably meant, or the names that there are.

    Args:
        name: the name of the unknown member.
        role: what the name is not: `an argument of this tool`.
        names: the names of the members that there are.
        present: the object that has the unknown member.
    """
    import difflib  # loaded for errors only

    choices = list(names)
    free = [choice for choice in choices if not (isinstance(present, Mapping) and choice in present)]
    if near := difflib.get_close_matches(name[:64], free, n=1, cutoff=0.7):
        return f'is not {role} (did you mean "{near[0]}"?)'
    takes = f"it takes: {', '.join(choices)}" if choices else "it takes none"
    return f"is not {role} ({takes})"


def limit_phrase(keyword: str, limit: object) -> str:
    """Return the phrase for a keyword of JSON Schema that limits a value: `be at most 50`."""
    start, noun = _LIMITS[keyword]
    if isinstance(limit, float) and limit.is_integer() and abs(limit) < _EXACT:
        limit = int(limit)  # as the author wrote it; pydantic converts it to a float
    return f"{start} {limit}" + (f" {noun}{'' if limit == 1 else 's'}" if noun else "")


def is_secret(schema: Mapping[str, Any] | None, root: Mapping[str, Any]) -> bool:
    """Return whether values of this schema must not be shown; an unknown schema counts as secret.

    So does one of an object or array with a secret in it, since that secret is in what came in its place, such as
    a text.
    """
    return schema is None or has_secret(schema, root)


def _literal(value: Any) -> str:
    return shortened(json.dumps(value, ensure_ascii=False, default=str), _MAX_NAME)


def shortened(text: str, length: int) -> str:
    """Return a text that is cut if it is longer than this."""
    return text if len(text) <= length else text[: length - 1] + "…"
