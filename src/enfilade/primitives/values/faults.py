"""From pydantic's validation errors to faults: a place in the JSON that came, and a kind.

Easy to get wrong: the path of an error (`loc`). Beside the steps into the JSON it has the names of union members
and tags, which are no place in what the caller sent, and `[key]`, which says that the name of a member is wrong
and not its value. And a union reports the errors of each of its members, of which only those of the member that
was meant are of use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from pydantic_core import ErrorDetails

from enfilade.primitives.schema.references import SchemasByPath, Step, branches_of, descend, value_at

#: The names under which members are published that are first read from a path (`AliasPath`), by this path.
PublishedNames = Mapping[tuple[Step, ...], str]
NO_NAMES: Final[PublishedNames] = {}
NULL: Final = {"type": "null"}
DEFAULT: Final = "default"  # the kind of a fault of a value that the caller left out
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


def faults_in(errors: Iterable[ErrorDetails], arguments: Any, names: PublishedNames = NO_NAMES) -> list[Fault]:
    """Return the faults of arguments, one for each of pydantic's errors.

    Args:
        errors: with their contexts.
        arguments: the parsed arguments in which the places are looked for.
        names: of members that may also be read from a path.
    """
    return [fault_of(error, arguments, names) for error in errors]


def fault_of(error: ErrorDetails, arguments: Any, names: PublishedNames) -> Fault:
    kind = _KINDS.get(error["type"], error["type"])
    context = error.get("ctx", {})
    loc, in_key = tuple(error["loc"]), False
    if _KEY in loc[1:] and not _is_there(arguments, loc):
        end = len(loc) - 1 - loc[::-1].index(_KEY)
        loc, in_key = loc[:end], True
    is_missing = kind == "missing"
    if is_missing and names:
        loc = _published(loc, names)
    path, members = _followed(arguments, loc[:-1] if is_missing else loc)
    if is_missing:
        path = (*path, loc[-1])
    if error["type"] == "member_error":
        path = (*path, context["member"])
    if kind in ("union_tag_invalid", "union_tag_not_found") and (tag := discriminator_of(context)):
        kind = "literal_error" if kind == "union_tag_invalid" else "missing"
        path = (*path, tag)
    return Fault(path, kind, in_key, context, error["msg"], members)


def with_defaults(faults: list[Fault], arguments: Any, schema: Mapping[str, Any]) -> list[Fault]:
    """Return faults in which those of defaults, which the arguments do not have, have the place of the member.

    The last step of such an error looks like the name of a member of a union.
    """
    schemas = SchemasByPath(schema)
    result = []
    for fault in faults:
        here = [step for length, step in fault.members if length == len(fault.path)]
        if here and isinstance(value_at(arguments, fault.path), dict):
            place = (*fault.path, here[-1])
            owner = schemas.at(fault.path) or {}
            is_union = len([branch for branch in branches_of(owner) if branch != NULL]) > 1
            if not fault.in_key and len(here) > is_union and _is_property(owner, here[-1], schema):
                fault = fault._replace(path=place, kind=DEFAULT, members=fault.members[:-1])
        result.append(fault)
    return result


def _is_property(schema: Mapping[str, Any], step: Step, root: Mapping[str, Any]) -> bool:
    return isinstance(step, str) and step in property_names(schema, root)


def _published(loc: tuple[Step, ...], names: PublishedNames) -> tuple[Step, ...]:
    """Return the place of what is missing, with the published name of the member in place of the path to it."""
    for end in range(len(loc) - 1):
        if name := names.get(loc[end:]):
            return (*loc[:end], name)
    return loc


def discriminator_of(context: Mapping[str, Any]) -> str | None:
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
        is_member = index != passed and isinstance(value, dict) and step in value
        is_item = isinstance(value, (list, tuple)) and isinstance(step, int) and step < len(value)
        if is_member or is_item:
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
        meant = [faults for faults in inside if not any(kind_of(fault) in kinds for fault in faults)]
        inside = meant or inside
        # A fault of all members, most often of a tag, is one whichever was meant.
        shared = set.intersection(
            *({fault.path for fault in faults if kind_of(fault) in kinds} for faults in inside)
        )
        if shared and len(inside) > 1:
            return [
                fault for faults in inside for fault in faults if fault.path in shared and kind_of(fault) in kinds
            ]
    return inside[0] if len(inside) == 1 else [Alternatives(path, tuple(map(tuple, inside)))]


def kind_of(fault: Fault | Alternatives) -> str:
    return fault.kind if isinstance(fault, Fault) else ""


def _is_inside(fault: Fault, path: tuple[Step, ...]) -> bool:
    """Return whether a fault is inside the value at a path, and not about the value itself."""
    return len(fault.path) > len(path)


def property_names(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterable[str]:
    branches = (*schema.get("anyOf", ()), *schema.get("oneOf", ()))
    names = [*schema.get("properties", {})]
    for branch in branches:
        names += property_names(descend(branch, (), root) or {}, root)
    return dict.fromkeys(names)
