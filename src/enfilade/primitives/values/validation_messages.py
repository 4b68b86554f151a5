"""From pydantic's validation errors to sentences that a model can act on.

`"b" is missing (expected integer); "c" is not an argument of this tool (it takes: a, b)`

What is expected is read from the published schema wherever that says it: pydantic's own messages show Python's
spelling of values, and speak of types that the caller does not know.

Easy to get wrong: which values the sentences speak of. A string of JSON may have been read in the place of an
object; then the faults are within that object, and the string is none of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from pydantic_core import ErrorDetails, ValidationError

from enfilade.primitives.schema.json_schema import (
    LONGEST,
    describe_value,
    expectation,
    format_path,
    is_secret,
    json_type,
    limit_phrase,
    one_of,
    shortened,
    unknown_member,
)
from enfilade.primitives.schema.references import MISSING, Step, descend, types_of, value_at
from enfilade.primitives.values.validation_faults import Alternatives, Fault, faults_in, sorted_out

_MOST: Final = 10
_MOST_ALTERNATIVES: Final = 4
# Errors for which the schema says better than pydantic what was expected.
_WRONG_TYPE: Final = ("_type", "_parsing", "enum", "literal_error", "_from_float")
_SUBJECT: Final = re.compile(r"(?:[A-Z][A-Za-z]*(?: input)? (?=should )|Input |Value error, |Assertion failed, )")
_ALTERNATIVE: Final = re.compile(", | or ")
_MEMBER_OF_ENUM: Final = re.compile(r"<[\w.]+: (.+?)>")
# The keyword of JSON Schema for each of pydantic's limits, and the name under which its errors give the limit.
_LIMITS: Final = {
    "greater_than_equal": ("minimum", "ge"),
    "less_than_equal": ("maximum", "le"),
    "greater_than": ("exclusiveMinimum", "gt"),
    "less_than": ("exclusiveMaximum", "lt"),
    "multiple_of": ("multipleOf", "multiple_of"),
    "string_too_short": ("minLength", "min_length"),
    "string_too_long": ("maxLength", "max_length"),
    "string_pattern_mismatch": ("pattern", "pattern"),
    "too_short": ("minItems", "min_length"),
    "too_long": ("maxItems", "max_length"),
}
# What follows the name of a place, where pydantic's own message does not.
_PHRASES: Final = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "union_tag_invalid": "fits none of its alternatives",
    "union_tag_not_found": "fits none of its alternatives",
    "int_parsing_size": "should be an integer with fewer digits",
    "date_from_datetime_inexact": "should be a date without a time",
    "json_invalid": "should be valid JSON",
}
_BY_AUTHOR: Final = ("value_error", "assertion_error")
_FOLLOWS_A_NAME: Final = re.compile(r"(?:should|must|is|has|does|cannot|needs) ")
_OF_OBJECTS: Final = {"minItems": "minProperties", "maxItems": "maxProperties"}
#: What a key should be, by the beginning of the type of its error; schemas have no words for most of them.
_KEYS: Final = {
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "decimal": "number",
    "uuid": "string (uuid)",
    "datetime": "string (date-time)",
    "date": "string (date)",
    "time_delta": "string (duration)",
    "time": "string (time)",
    "url": "string (uri)",
}


def complaints(
    error: ValidationError, arguments: Any, schema: Mapping[str, Any], kind: str = "tool"
) -> list[str]:
    """Return one sentence for each place that is wrong.

    Args:
        error: what pydantic reported.
        arguments: the parsed arguments that it was reported of.
        schema: the input schema that was published.
        kind: what the arguments are for; those of a prompt are strings, of JSON where need be (R-530).
    """
    told = sorted_out(faults_in(error.errors(include_url=False, include_input=False), arguments))
    sentences = _Sentences(arguments, schema, kind).of(told)
    if len(sentences) > _MOST:
        return [*sentences[:_MOST], f"and {len(sentences) - _MOST} more"]
    return sentences


class _Sentences:
    """Puts what is wrong with some arguments into words."""

    def __init__(self, arguments: Any, schema: Mapping[str, Any], kind: str) -> None:
        self._arguments = arguments
        self._schema = schema
        self._kind = kind

    def of(self, faults: Iterable[Fault | Alternatives]) -> list[str]:
        """Return a sentence for each place, in order."""
        sentences: dict[Any, list[Fault] | Alternatives] = {}
        for index, each in enumerate(faults):
            if isinstance(each, Alternatives):
                sentences[index] = each
            else:
                cast(list[Fault], sentences.setdefault((each.path, each.in_key), [])).append(each)
        return [
            self._of_alternatives(each) if isinstance(each, Alternatives) else self._of_place(each[0].path, each)
            for each in sentences.values()
        ]

    def _of_alternatives(self, value: Alternatives) -> str:
        members = [" and ".join(self.of(faults)[:_MOST_ALTERNATIVES]) for faults in value.faults]
        shown = ", or ".join(members[:_MOST_ALTERNATIVES])
        more = "" if len(members) <= _MOST_ALTERNATIVES else ", or more"
        alternatives = shortened(shown + more, LONGEST)
        return f"{format_path(value.path)} fits none of its alternatives: either {alternatives}"

    def _of_place(self, path: tuple[Step, ...], faults: Sequence[Fault]) -> str:
        kinds = {each.kind for each in faults}
        if not path:
            return self._of_root(faults[0])
        if faults[0].in_key:
            return self._of_key(path, faults)
        if kinds == {"extra_forbidden"}:
            return self._of_unknown(path)
        expected = self._expected(path)
        if kinds == {"missing"}:
            return f"{format_path(path)} is missing" + (f" (expected {expected})" if expected else "")
        value = value_at(self._arguments, path)
        secret = _any_secret(path, self._schema)
        got = f", got {describe_value(value, secret=secret)}" if value is not MISSING else ""
        if expected and (len(faults) > 1 or faults[0].kind.endswith(_WRONG_TYPE)):
            if json_type(value) not in _ALTERNATIVE.split(expected):
                return f"{format_path(path)} should be {expected}{got}"
            # The type is right, so what the schema expects would contradict what came.
            faults = [each for each in faults if not each.kind.endswith(_WRONG_TYPE)] or faults
        return f"{format_path(path)} {one_of(_phrase(each, value) for each in faults)}{got}"

    def _of_root(self, fault: Fault) -> str:
        if fault.kind in _BY_AUTHOR:
            return f"together they {_phrase(fault, self._arguments).replace('is', 'are', 1)}"
        got = f"they should be an object, got {describe_value(self._arguments)}"
        return fault.message.replace("Input should be an object", got)

    def _expected(self, path: tuple[Step, ...]) -> str:
        """Return what the schema expects at a place; nothing where it does not say."""
        part = descend(self._schema, path, self._schema)
        expected = expectation(part, self._schema) if part is not None else ""
        if self._kind == "prompt" and len(path) == 1 and {"array", "object"} & types_of(part, self._schema):
            return f"{expected or 'a value'} as JSON"
        return expected

    def _of_key(self, path: tuple[Step, ...], faults: Sequence[Fault]) -> str:
        """Complain of the name of a member, where the names themselves have a type."""
        what = f"the key {format_path(path[-1:])}" + (f" of {format_path(path[:-1])}" if path[:-1] else "")
        owner = descend(self._schema, path[:-1], self._schema) or {}
        names = owner.get("propertyNames")
        if names and (expected := expectation({"type": "string", **names}, self._schema)) != "string":
            return f"{what} should be {expected}"
        found = [
            next((word for start, word in _KEYS.items() if each.kind.startswith(start + "_")), "")
            for each in faults
        ]
        if all(found):
            return f"{what} should be {one_of(found)}"
        return f"{what} {one_of(_phrase(each, '') for each in faults)}"

    def _of_unknown(self, path: tuple[Step, ...]) -> str:
        """Say that there is no such argument, and which one may have been meant or which there are."""
        owner = descend(self._schema, path[:-1], self._schema) or {}
        names = list(_properties(owner, self._schema))
        what = f"an argument of this {self._kind}" if len(path) == 1 else f"a member of {format_path(path[:-1])}"
        present = value_at(self._arguments, path[:-1])
        return f"{format_path(path)} {unknown_member(str(path[-1]), what, names, present)}"


def message_of(error: ErrorDetails) -> str:
    """Return what one of pydantic's errors says, as a phrase that follows the name of the place."""
    fault = Fault((), error["type"], False, error.get("ctx", {}), error["msg"], ())
    return _phrase(fault, error.get("input"))


def _phrase(fault: Fault, value: Any) -> str:
    """Return what is wrong with a value, for what the schema does not say."""
    if fault.kind.startswith("int_") and isinstance(value, float) and value.is_integer():
        return "should be an integer, written without a point or an exponent"
    if fault.kind in _PHRASES:
        tags = fault.context.get("expected_tags")  # of a discriminator that is a function
        return _PHRASES[fault.kind] + (f" (the discriminator knows {tags})" if tags else "")
    if limit := _LIMITS.get(fault.kind):
        keyword, name = limit
        if isinstance(value, Mapping):
            keyword = _OF_OBJECTS.get(keyword, keyword)
        return f"should {limit_phrase(keyword, fault.context.get(name))}"
    message = _SUBJECT.sub("", fault.message, count=1)
    if fault.kind in ("enum", "literal_error"):
        message = _MEMBER_OF_ENUM.sub(r"\1", message).replace("'", '"')
    if fault.kind in _BY_AUTHOR or not _FOLLOWS_A_NAME.match(message):
        return f"is not accepted: {message}" if message.strip() else "is not accepted"
    return message


def _properties(part: Mapping[str, Any], root: Mapping[str, Any]) -> Iterable[str]:
    branches = (*part.get("anyOf", ()), *part.get("oneOf", ()))
    found = [*part.get("properties", {})]
    for each in branches:
        found += _properties(descend(each, (), root) or {}, root)
    return dict.fromkeys(found)


def _any_secret(path: tuple[Step, ...], schema: Mapping[str, Any]) -> bool:
    return any(is_secret(descend(schema, path[:end], schema), schema) for end in range(1, len(path) + 1))
