"""From pydantic's validation errors to sentences that a model can act on.

`"b" is missing (expected integer); "c" is not an argument of this tool (it takes: a, b)`

The expected type is read from the published schema if it is there, because pydantic's own messages show Python's
spelling of values and name types that the caller does not know.

Each error first becomes a `Fault`: a place in the JSON that came, and a kind.

Easy to get wrong:

- The values that a sentence is about. A string of JSON may have been read as an object; then the faults are
  within that object, and the string is none of them.
- The path of an error (`loc`). Beside the steps into the JSON it has the names of union members and tags, which
  are no place in what the caller sent, and `[key]`, which says that the name of a member is wrong and not its
  value.
- A union reports the errors of each of its members. Only those of the member that was meant are of use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

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

_MOST: Final = 10
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
_BY_AUTHOR: Final = ("value_error", "assertion_error")
_FOLLOWS_A_NAME: Final = re.compile(r"(?:should|must|is|has|does|cannot|needs) ")
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
    error: ValidationError, arguments: Any, schema: Mapping[str, Any], kind: str = "tool"
) -> list[str]:
    """Return one sentence for each position that is wrong.

    Args:
        error: what pydantic reported.
        arguments: the parsed arguments that it was reported of.
        schema: the input schema that was published.
        kind: what the arguments are for; those of a prompt are strings, of JSON where need be (R-530).
    """
    faults = meant_faults(faults_in(error.errors(include_url=False, include_input=False), arguments))
    sentences = _Sentences(arguments, schema, kind).for_faults(faults)
    if len(sentences) > _MOST:
        return [*sentences[:_MOST], f"and {len(sentences) - _MOST} more"]
    return sentences


class _Sentences:
    """Words the faults of some arguments."""

    def __init__(self, arguments: Any, schema: Mapping[str, Any], kind: str) -> None:
        self._arguments = arguments
        self._schema = schema
        self._kind = kind

    def for_faults(self, faults: Iterable[Fault | Alternatives]) -> list[str]:
        """Return a sentence for each position, in order."""
        groups: dict[Any, list[Fault] | Alternatives] = {}
        for index, fault in enumerate(faults):
            if isinstance(fault, Alternatives):
                groups[index] = fault
            else:
                cast(list[Fault], groups.setdefault((fault.path, fault.in_key), [])).append(fault)
        return [
            self._of_alternatives(group)
            if isinstance(group, Alternatives)
            else self._of_position(group[0].path, group)
            for group in groups.values()
        ]

    def _of_alternatives(self, value: Alternatives) -> str:
        members = [" and ".join(self.for_faults(faults)[:_MOST_ALTERNATIVES]) for faults in value.faults]
        alternatives = ", or ".join(members[:_MOST_ALTERNATIVES])
        more = "" if len(members) <= _MOST_ALTERNATIVES else ", or more"
        alternatives = shortened(alternatives + more, LONGEST)
        return f"{format_path(value.path)} fits none of its alternatives: either {alternatives}"

    def _of_position(self, path: tuple[Step, ...], faults: Sequence[Fault]) -> str:
        kinds = {fault.kind for fault in faults}
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
            # The type is right, so the schema's type would contradict the value.
            faults = [fault for fault in faults if not fault.kind.endswith(_WRONG_TYPE)] or faults
        return f"{format_path(path)} {one_of(_phrase(fault, value) for fault in faults)}{got}"

    def _of_root(self, fault: Fault) -> str:
        if fault.kind in _BY_AUTHOR:
            return f"together they {_phrase(fault, self._arguments).replace('is', 'are', 1)}"
        got = f"they should be an object, got {describe_value(self._arguments)}"
        return fault.message.replace("Input should be an object", got)

    def _expected(self, path: tuple[Step, ...]) -> str:
        """Return what the schema expects at a place; nothing where it does not say."""
        subschema = descend(self._schema, path, self._schema)
        expected = expectation(subschema, self._schema) if subschema is not None else ""
        if self._kind == "prompt" and len(path) == 1 and {"array", "object"} & types_of(subschema, self._schema):
            return f"{expected or 'a value'} as JSON"
        return expected

    def _of_key(self, path: tuple[Step, ...], faults: Sequence[Fault]) -> str:
        """Describe a wrong name of a member, if the names themselves have a type."""
        subject = f"the key {format_path(path[-1:])}" + (f" of {format_path(path[:-1])}" if path[:-1] else "")
        owner = descend(self._schema, path[:-1], self._schema) or {}
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
        owner = descend(self._schema, path[:-1], self._schema) or {}
        names = list(_properties(owner, self._schema))
        role = f"an argument of this {self._kind}" if len(path) == 1 else f"a member of {format_path(path[:-1])}"
        present = value_at(self._arguments, path[:-1])
        return f"{format_path(path)} {unknown_member(str(path[-1]), role, names, present)}"


def message_of(error: ErrorDetails) -> str:
    """Return one of pydantic's errors as a phrase that follows the name of the position."""
    fault = Fault((), error["type"], False, error.get("ctx", {}), error["msg"], ())
    return _phrase(fault, error.get("input"))


def _phrase(fault: Fault, value: Any) -> str:
    """Return the phrase for a fault that the schema does not describe."""
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


def _properties(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterable[str]:
    branches = (*schema.get("anyOf", ()), *schema.get("oneOf", ()))
    names = [*schema.get("properties", {})]
    for branch in branches:
        names += _properties(descend(branch, (), root) or {}, root)
    return dict.fromkeys(names)


def _any_secret(path: tuple[Step, ...], schema: Mapping[str, Any]) -> bool:
    return any(is_secret(descend(schema, path[:end], schema), schema) for end in range(1, len(path) + 1))


# -- from errors to faults -------------------------------------------------------------------------------------
_KEY: Final = "[key]"
_KINDS: Final = {
    "missing_argument": "missing",
    "missing_keyword_only_argument": "missing",
    "missing_positional_only_argument": "missing",
    "unexpected_keyword_argument": "extra_forbidden",
    "member_error": "value_error",  # of a class of attrs, about one of its fields
}
#: Faults that show which member of a union was not meant, the surest first.
_SIGNS: Final = (("literal_error", "enum"), ("missing", "literal_error", "enum"), ("extra_forbidden",))


class Fault(NamedTuple):
    """One thing that is wrong.

    Attributes:
        path: the place; for something that is missing, where it should be.
        kind: pydantic's type of error.
        in_key: it is the name of the last step that is wrong, and not the value there.
        context: what the error says beside its message.
        message: pydantic's message.
        members: the members of unions that were tried, each with the number of steps before it.
    """

    path: tuple[Step, ...]
    kind: str
    in_key: bool
    context: Mapping[str, Any]
    message: str
    members: tuple[tuple[int, Step], ...]


class Alternatives(NamedTuple):
    """A value that matches no member of a union, and the faults of each member.

    Attributes:
        path: the place of the value.
        faults: of each member that may have been meant; two at least.
    """

    path: tuple[Step, ...]
    faults: tuple[tuple[Fault | Alternatives, ...], ...]


def faults_in(errors: Iterable[ErrorDetails], arguments: Any) -> list[Fault]:
    """Return the faults of arguments, one for each of pydantic's errors.

    Args:
        errors: with their contexts.
        arguments: the parsed arguments in which the places are looked for.
    """
    return [_fault(error, arguments) for error in errors]


def _fault(error: ErrorDetails, arguments: Any) -> Fault:
    kind = _KINDS.get(error["type"], error["type"])
    context = error.get("ctx", {})
    loc, in_key = tuple(error["loc"]), False
    if _KEY in loc[1:] and not _is_there(arguments, loc):
        end = len(loc) - 1 - loc[::-1].index(_KEY)
        loc, in_key = loc[:end], True
    is_missing = kind == "missing"
    path, members = _followed(arguments, loc[:-1] if is_missing else loc)
    if is_missing:
        path = (*path, loc[-1])
    if error["type"] == "member_error":
        path = (*path, context["member"])
    if kind in ("union_tag_invalid", "union_tag_not_found") and (tag := _discriminator(context)):
        kind = "literal_error" if kind == "union_tag_invalid" else "missing"
        path = (*path, tag)
    return Fault(path, kind, in_key, context, error["msg"], members)


def _discriminator(context: Mapping[str, Any]) -> str | None:
    """Return the name of the member that says which member of a union is meant; None if a function says it."""
    match = re.fullmatch(r"'([^']*)'", str(context.get("discriminator", "")))
    return match[1] if match else None


def _is_there(arguments: Any, loc: tuple[Step, ...]) -> bool:
    return _followed(arguments, loc)[0][-1:] == (_KEY,)


def _followed(arguments: Any, loc: tuple[Step, ...]) -> tuple[tuple[Step, ...], tuple[tuple[int, Step], ...]]:
    """Return the steps that lead somewhere in the arguments, and those that name members of unions.

    A member may be called like something in the value (a tag `image` beside a field `image`). So where the last
    step leads nowhere, each other one is tried as the name of a member.
    """
    first = _walked(arguments, loc, None)
    if len(first[0]) == len(loc) or not loc or first[0][-1:] == loc[-1:]:
        return first
    for index, step in enumerate(loc[:-1]):
        if isinstance(step, str):
            attempt = _walked(arguments, loc, index)
            if attempt[0] and attempt[0][-1] == loc[-1] and len(attempt[0]) >= len(first[0]):
                return attempt
    return first


def _walked(
    arguments: Any, loc: tuple[Step, ...], passed: int | None
) -> tuple[tuple[Step, ...], tuple[tuple[int, Step], ...]]:
    path: list[Step] = []
    members: list[tuple[int, Step]] = []
    value = arguments
    for index, step in enumerate(loc):
        if index != passed and isinstance(value, dict) and step in value:
            value = value[str(step)]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            members.append((len(path), step))
            continue
        path.append(step)
    return tuple(path), tuple(members)


def meant_faults(faults: Iterable[Fault], depth: int = 0) -> list[Fault | Alternatives]:
    """Return faults without those of union members that were not meant.

    Args:
        faults: all of them, in order.
        depth: how many members of unions all of them have gone through.
    """
    groups: dict[tuple[Step, ...] | int, Any] = {}
    for index, fault in enumerate(faults):
        if len(fault.members) <= depth:
            groups[-1 - index] = fault
        else:
            length, member = fault.members[depth]
            groups.setdefault(fault.path[:length], {}).setdefault(member, []).append(fault)
    result: list[Fault | Alternatives] = []
    for position, entry in groups.items():
        if isinstance(entry, Fault):
            result.append(entry)
        elif isinstance(position, tuple):
            result += _of_union(position, list(entry.values()), depth)
    return result


def _of_union(path: tuple[Step, ...], members: list[list[Fault]], depth: int) -> list[Fault | Alternatives]:
    """Return the faults of the member that was meant; of all of them, if the value itself fits none."""
    inside = [
        meant_faults(faults, depth + 1) for faults in members if all(_is_inside(fault, path) for fault in faults)
    ]
    if not inside:
        return [fault for faults in members for fault in faults if not _is_inside(fault, path)]
    for kinds in _SIGNS:
        meant = [faults for faults in inside if not any(_kind(fault) in kinds for fault in faults)]
        inside = meant or inside
        # A fault of all members, most often of a tag, is one whichever was meant.
        shared = set.intersection(
            *({fault.path for fault in faults if _kind(fault) in kinds} for faults in inside)
        )
        if shared and len(inside) > 1:
            return [
                fault for faults in inside for fault in faults if fault.path in shared and _kind(fault) in kinds
            ]
    return inside[0] if len(inside) == 1 else [Alternatives(path, tuple(map(tuple, inside)))]


def _kind(fault: Fault | Alternatives) -> str:
    return fault.kind if isinstance(fault, Fault) else ""


def _is_inside(fault: Fault, path: tuple[Step, ...]) -> bool:
    """Return whether a fault is inside the value at a path, and not about the value itself."""
    return len(fault.path) > len(path)
