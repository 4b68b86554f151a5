"""From pydantic's validation errors to sentences that a model can act on.

`"b" is missing (expected integer); "c" is not an argument of this tool (it takes: a, b)`

The expected type is read from the published schema if it is there, because pydantic's own messages show Python's
spelling of values and name types that the caller does not know.

Each error first becomes a `Fault` (`faults.py`).

Easy to get wrong: the values that a sentence is about. A string of JSON may have been read as an object; then the
faults are within that object, and the string is none of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, cast

from pydantic_core import ErrorDetails, ValidationError

from enfilade.primitives.schema.core_nodes import COMPARISONS, DIGITS
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
from enfilade.primitives.schema.references import (
    MISSING,
    SchemasByPath,
    Step,
    branches_of,
    descend,
    follow,
    is_marked_secret,
    types_of,
    value_at,
)
from enfilade.primitives.values.faults import (
    DEFAULT,
    NO_NAMES,
    Alternatives,
    Fault,
    PublishedNames,
    fault_of,
    faults_in,
    meant_faults,
    property_names,
    with_defaults,
)

_MOST: Final = 10
_MOST_READ: Final = 1000
_MOST_ALTERNATIVES: Final = 4
# Errors whose expected type the schema describes better than pydantic.
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
# Phrases for errors whose message by pydantic does not follow the name of a position.
_PHRASES: Final = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "union_tag_invalid": "fits none of its alternatives",
    "union_tag_not_found": "fits none of its alternatives",
    "int_parsing_size": "should be an integer with fewer digits",
    "date_from_datetime_inexact": "should be a date without a time",
    "json_invalid": "should be valid JSON",
}
# JSON types, by pydantic's type of error.
_WORDS: Final = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "integer"),
    **dict.fromkeys(("float_type", "float_parsing"), "number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "boolean"),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "array"),
    **dict.fromkeys(("dict_type", "model_type", "dataclass_type", "model_attributes_type"), "object"),
    "string_type": "string",
    "none_required": "null",
}
# Of the classes of what functions return.
_RETURNED: Final[Mapping[type | tuple[type, ...], str]] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    Mapping: "object",
    (list, tuple, set, frozenset): "array",
}
_BY_AUTHOR: Final = ("value_error", "assertion_error")
_FOLLOWS_A_NAME: Final = re.compile(r"(?:should|must|is|has|does|cannot|needs) ")
_OF_TEXTS: Final = {"minItems": "minLength", "maxItems": "maxLength"}
_OF_OBJECTS: Final = {"minItems": "minProperties", "maxItems": "maxProperties"}
#: The expected type of a key, by the prefix of its type of error; schemas cannot describe most of them.
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


def error_sentences(
    error: ValidationError,
    arguments: Any,
    schema: Mapping[str, Any],
    kind: str = "tool",
    names: PublishedNames = NO_NAMES,
) -> list[str]:
    """Return one sentence for each position that is wrong.

    Args:
        error: what pydantic reported.
        arguments: the parsed arguments that it was reported of.
        schema: the input schema that was published.
        kind: what the arguments are for; those of a prompt are strings, of JSON where need be (R-530).
        names: of members that may also be read from a path.
    """
    errors = error.errors(include_url=False, include_input=False)[:_MOST_READ]
    faults = meant_faults(with_defaults(faults_in(errors, arguments, names), arguments, schema))
    sentences, more = _Sentences(arguments, schema, kind).for_faults(faults, _MOST)
    return [*sentences, f"and {more} more"] if more else sentences


class _Sentences:
    """Words the faults of some arguments."""

    def __init__(self, arguments: Any, schema: Mapping[str, Any], kind: str) -> None:
        self._arguments = arguments
        self._schema = schema
        self._schemas = SchemasByPath(schema)
        self._kind = kind

    def for_faults(self, faults: Iterable[Fault | Alternatives], most: int) -> tuple[list[str], int]:
        """Return a sentence for each of the first positions, in order, and how many more positions there are.

        The others are not described, because a caller may send any number of them.
        """
        groups: dict[Any, list[Fault] | Alternatives] = {}
        for index, fault in enumerate(faults):
            if isinstance(fault, Alternatives):
                groups[index] = fault
            else:
                cast(list[Fault], groups.setdefault((fault.path, fault.in_key), [])).append(fault)
        sentences = [
            self._of_alternatives(group)
            if isinstance(group, Alternatives)
            else self._of_position(group[0].path, group)
            for group in islice(groups.values(), most)
        ]
        return sentences, len(groups) - len(sentences)

    def _of_alternatives(self, value: Alternatives) -> str:
        members = [
            " and ".join(self.for_faults(faults, _MOST_ALTERNATIVES)[0])
            for faults in value.faults[:_MOST_ALTERNATIVES]
        ]
        alternatives = ", or ".join(members)
        more = "" if len(value.faults) <= _MOST_ALTERNATIVES else ", or more"
        alternatives = shortened(alternatives + more, LONGEST)
        return f"{format_path(value.path)} fits none of its alternatives: either {alternatives}"

    def _of_position(self, path: tuple[Step, ...], faults: Sequence[Fault]) -> str:
        kinds = {fault.kind for fault in faults}
        if not path:
            return self._of_root(faults[0])
        if faults[0].in_key:
            return self.of_key(path, faults)
        if kinds == {"extra_forbidden"}:
            return self._of_unknown(path)
        expected = self._expected(path)
        if kinds == {"missing"}:
            expected = self._expected_of_tagged(path) or expected
            return f"{format_path(path)} is missing" + (f" (expected {expected})" if expected else "")
        if kinds == {DEFAULT}:
            reason = f" (expected {expected})" if expected else ""
            return f"{format_path(path)} has a default that is not accepted{reason}; give it a value"
        value = value_at(self._arguments, path)
        secret = self._is_secret(path)
        got = f", got {describe_value(value, secret=secret)}" if value is not MISSING else ""
        phrase = self._of_type(path, value, expected, faults) or one_of(_phrase(fault, value) for fault in faults)
        return f"{format_path(path)} {phrase}{got}"

    def _of_type(self, path: tuple[Step, ...], value: Any, expected: str, faults: Sequence[Fault]) -> str:
        """Return the phrase that says which type was expected; empty if the value has it."""
        wrong_type = [fault for fault in faults if fault.kind.endswith(_WRONG_TYPE)]
        if not expected or (len(faults) == 1 and not wrong_type):
            return ""
        kinds = types_of(self._schemas.at(path), self._schema)
        if json_type(value) not in _ALTERNATIVE.split(expected) or json_type(value) not in kinds:
            return f"should be {expected}"
        # The type is right, so the schema's type would contradict the value.
        if others := [fault for fault in faults if fault not in wrong_type]:
            return one_of(_phrase(fault, value) for fault in others)
        word = _WORDS.get(faults[0].kind, "") if len(faults) == 1 else ""
        if word and word != json_type(value):
            # Of one member of a union; else a validator checks a part of the value.
            within = word not in kinds and json_type(value) in ("array", "object")
            return f"is not accepted: a value within it should be {word}" if within else f"should be {word}"
        if len(faults) > 1 and isinstance(value, float) and value.is_integer():
            return f"should be {expected}, and an integer has no point or exponent"
        return ""

    def _is_secret(self, path: tuple[Step, ...]) -> bool:
        """Return whether the value at a path, one that it is in, or one that could be in it, is secret."""
        around = (self._schemas.at(path[:end]) for end in range(1, len(path)))
        return is_secret(self._schemas.at(path), self._schema) or any(
            schema is None or is_marked_secret(schema) or any(map(is_marked_secret, self._branches(schema)))
            for schema in around
        )

    def _branches(self, schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        return (follow(branch, self._schema) for branch in branches_of(schema))

    def _of_root(self, fault: Fault) -> str:
        if fault.kind in _BY_AUTHOR:
            return f"together they {_phrase(fault, self._arguments).replace('is', 'are', 1)}"
        came = describe_value(self._arguments, secret=is_secret(self._schema, self._schema))
        got = f"they should be an object, got {came}"
        return fault.message.replace("Input should be an object", got)

    def _expected(self, path: tuple[Step, ...]) -> str:
        """Return what the schema expects at a place; nothing where it does not say."""
        subschema = self._schemas.at(path)
        expected = expectation(subschema, self._schema) if subschema is not None else ""
        if self._kind == "prompt" and len(path) == 1 and {"array", "object"} & types_of(subschema, self._schema):
            return f"{expected or 'a value'} as JSON"
        return expected

    def _expected_of_tagged(self, path: tuple[Step, ...]) -> str:
        """Return what is expected at a place by the members of a union whose tags the value has."""
        owner, value = self._schemas.at(path[:-1]), value_at(self._arguments, path[:-1])
        branches = [follow(branch, self._schema) for branch in branches_of(owner or {})]
        meant = [branch for branch in branches if _has_tags(branch, value, self._schema)]
        if not 0 < len(meant) < len(branches):
            return ""
        return expectation(descend({"anyOf": meant}, path[-1:], self._schema), self._schema)

    def of_key(self, path: tuple[Step, ...], faults: Sequence[Fault]) -> str:
        """Describe a wrong name of a member, if the names themselves have a type."""
        subject = f"the key {format_path(path[-1:])}" + (f" of {format_path(path[:-1])}" if path[:-1] else "")
        owner = self._schemas.at(path[:-1]) or {}
        names = owner.get("propertyNames")
        if names and (expected := expectation({"type": "string", **names}, self._schema)) != "string":
            return f"{subject} should be {expected}"
        expected_types = [
            next((word for start, word in _KEYS.items() if fault.kind.startswith(start + "_")), "")
            for fault in faults
        ]
        if all(expected_types):
            return f"{subject} should be {one_of(expected_types)}"
        return f"{subject} {one_of(_phrase(fault, '') for fault in faults)}"

    def _of_unknown(self, path: tuple[Step, ...]) -> str:
        """Describe an unknown argument, with the likely name or all names."""
        owner = self._schemas.at(path[:-1]) or {}
        names = list(property_names(owner, self._schema))
        role = f"an argument of this {self._kind}" if len(path) == 1 else f"a member of {format_path(path[:-1])}"
        present = value_at(self._arguments, path[:-1])
        return f"{format_path(path)} {unknown_member(str(path[-1]), role, names, present)}"


def returned_sentences(
    error: ValidationError, values: tuple[Any], start: tuple[Step, ...], schema: Mapping[str, Any]
) -> list[str]:
    """Return one sentence for each position that is wrong in what a function returned; none shows the value.

    Args:
        error: what pydantic reported of the tuple.
        values: the returned value in a tuple, as it was validated.
        start: the steps that stand before each path.
        schema: the output schema that was published.
    """
    groups: dict[tuple[Step, ...], list[ErrorDetails]] = {}
    keys: dict[tuple[Step, ...], list[Fault]] = {}
    for details in error.errors(include_url=False):
        fault = fault_of(details, values, NO_NAMES)
        if fault.in_key:
            keys.setdefault((*start, *fault.path[1:]), []).append(fault)
            continue
        # Where no member of a union takes a value, each member has an error of it, with its name after the path.
        is_union = bool(fault.members) and fault.members[-1][0] == len(fault.path)
        groups.setdefault(fault.path if is_union else details["loc"], []).append(details)
    sentences = []
    for loc, errors in list(groups.items())[:_MOST]:
        path = (*start, *loc[1:])
        actual = "" if errors[0]["type"] == "missing" else f", got {_kind_of(errors[0]['input'])}"
        sentences.append(f"{format_path(path) if path else 'it'} {_joined(map(_message_of, errors))}{actual}")
    words = _Sentences(values[0], schema, "tool")
    return [*sentences, *(words.of_key(path, faults) for path, faults in keys.items())][:_MOST]


def _kind_of(value: Any) -> str:
    """Return what a returned value is: its type in JSON, or the class of what JSON does not have."""
    for kind, word in _RETURNED.items():
        if isinstance(value, kind):
            return word
    return f"a value of the class {type(value).__name__}"


def _message_of(error: ErrorDetails) -> str:
    """Return one of pydantic's errors as a phrase that follows the name of the position."""
    if word := _WORDS.get(error["type"]):
        return f"should be {word}"
    fault = Fault((), error["type"], False, error.get("ctx", {}), error["msg"], ())
    value = error.get("input")
    return _phrase(fault, None if isinstance(value, float) else value)  # in Python, 1.0 is simply no integer


def _joined(phrases: Iterable[str]) -> str:
    """Return phrases as one: `should be integer or boolean`."""
    several, start = list(phrases), "should be "
    if len(several) == 1 or not all(phrase.startswith(start) for phrase in several):
        return one_of(several)
    return start + one_of(phrase.removeprefix(start).partition(", ")[0] for phrase in several)


def _phrase(fault: Fault, value: Any) -> str:
    """Return the phrase for a fault that the schema does not describe."""
    if fault.kind.startswith("int_") and isinstance(value, float) and value.is_integer():
        return "should be an integer, written without a point or an exponent"
    if fault.kind in _PHRASES:
        tags = fault.context.get("expected_tags")  # of a discriminator that is a function
        return _PHRASES[fault.kind] + (f" (the discriminator knows {tags})" if tags else "").replace("'", '"')
    if limit := _LIMITS.get(fault.kind):
        keyword, name = limit
        if isinstance(value, Mapping):
            keyword = _OF_OBJECTS.get(keyword, keyword)
        elif isinstance(value, str):
            keyword = _OF_TEXTS.get(keyword, keyword)
        return f"should {limit_phrase(keyword, fault.context.get(name))}"
    if fault.kind == "limit":
        return _limit_of_type(fault.context["name"], fault.context["limit"])
    message = _SUBJECT.sub("", fault.message, count=1)
    if fault.kind in ("enum", "literal_error"):
        message = _MEMBER_OF_ENUM.sub(r"\1", message).replace("'", '"')
    if fault.kind in _BY_AUTHOR or not _FOLLOWS_A_NAME.match(message):
        return f"is not accepted: {message}" if message.strip() else "is not accepted"
    return message


def _has_tags(schema: Mapping[str, Any], value: Any, root: Mapping[str, Any]) -> bool:
    """Return whether an object has one of the tags of a schema, and no other in its place."""
    tags = {
        name: tag.get("enum", [tag.get("const")])
        for name, member in schema.get("properties", {}).items()
        if {"const", "enum"} & (tag := follow(member, root)).keys()
    }
    present = tags.keys() & value if isinstance(value, dict) else ()
    return bool(present) and all(value[name] in tags[name] for name in present)


def _limit_of_type(name: str, limit: Any) -> str:
    """Return the phrase for a value that has nothing to which a limit applies, such as the length of a number."""
    if name in COMPARISONS:
        kind = "a number" if isinstance(limit, (int, float)) else "a value that can be compared"
        return f"should be {kind}, and {limit_phrase(COMPARISONS[name], limit)}"
    if name in ("min_length", "max_length"):
        phrase = limit_phrase("minLength" if name == "min_length" else "maxLength", limit)
        return f"should be text, an array or an object, and {phrase} or item{'' if limit == 1 else 's'}"
    if name in DIGITS:
        return f"should be a number, and have at most {limit} {'digits' if name == 'max_digits' else 'decimals'}"
    return f"should be text, and {limit_phrase(name, limit)}" if name == "pattern" else "should be text"
