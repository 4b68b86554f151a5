"""What pydantic reports about arguments, put in terms of the JSON that came: which place, and what kind of fault.

Easy to get wrong: the path of an error (`loc`). Beside the steps into the JSON it has the names of union members
and tags, which are no place in what the caller sent, and `[key]`, which says that the name of a member is wrong
and not its value. And a union reports the errors of each of its members, of which only those are of use that
belong to the member that was meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from pydantic_core import ErrorDetails

from enfilade.primitives.schema.references import Step

_KEY: Final = "[key]"
_KINDS: Final = {
    "missing_argument": "missing",
    "missing_keyword_only_argument": "missing",
    "missing_positional_only_argument": "missing",
    "unexpected_keyword_argument": "extra_forbidden",
    "member_error": "value_error",  # of a class of attrs, about one of its fields
}
#: Faults by which a member of a union shows that it was not meant, the surest first.
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
    """A value that fits no member of a union, and what each member has against it.

    Attributes:
        path: the place of the value.
        faults: of each member that may have been meant; two at least.
    """

    path: tuple[Step, ...]
    faults: tuple[tuple[Fault | Alternatives, ...], ...]


def faults_in(errors: Iterable[ErrorDetails], arguments: Any) -> list[Fault]:
    """Return what is wrong with arguments, an entry for each of pydantic's errors.

    Args:
        errors: with their contexts.
        arguments: the parsed arguments in which the places are looked for.
    """
    return [_fault(each, arguments) for each in errors]


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
    found = re.fullmatch(r"'([^']*)'", str(context.get("discriminator", "")))
    return found[1] if found else None


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
            other = _walked(arguments, loc, index)
            if other[0] and other[0][-1] == loc[-1] and len(other[0]) >= len(first[0]):
                return other
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


def sorted_out(faults: Iterable[Fault], depth: int = 0) -> list[Fault | Alternatives]:
    """Return faults with those left out that members of unions have which were not meant.

    Args:
        faults: all of them, in order.
        depth: how many members of unions all of them have gone through.
    """
    found: dict[tuple[Step, ...] | int, Any] = {}
    for index, each in enumerate(faults):
        if len(each.members) <= depth:
            found[-1 - index] = each
        else:
            length, member = each.members[depth]
            found.setdefault(each.path[:length], {}).setdefault(member, []).append(each)
    result: list[Fault | Alternatives] = []
    for place, entry in found.items():
        if isinstance(entry, Fault):
            result.append(entry)
        elif isinstance(place, tuple):
            result += _of_union(place, list(entry.values()), depth)
    return result


def _of_union(path: tuple[Step, ...], members: list[list[Fault]], depth: int) -> list[Fault | Alternatives]:
    """Return the faults of the member that was meant; of all of them, if the value itself fits none."""
    inside = [
        sorted_out(faults, depth + 1) for faults in members if all(_is_inside(each, path) for each in faults)
    ]
    if not inside:
        return [each for faults in members for each in faults if not _is_inside(each, path)]
    for kinds in _SIGNS:
        meant = [faults for faults in inside if not any(_kind(each) in kinds for each in faults)]
        inside = meant or inside
        # What each member asks for is wrong whichever was meant, and says which: a tag, most often.
        shared = set.intersection(*({each.path for each in faults if _kind(each) in kinds} for faults in inside))
        if shared and len(inside) > 1:
            return [each for faults in inside for each in faults if each.path in shared and _kind(each) in kinds]
    return inside[0] if len(inside) == 1 else [Alternatives(path, tuple(map(tuple, inside)))]


def _kind(fault: Fault | Alternatives) -> str:
    return fault.kind if isinstance(fault, Fault) else ""


def _is_inside(fault: Fault, path: tuple[Step, ...]) -> bool:
    """Whether a fault is within the value of this place, and not with the value as a whole."""
    return len(fault.path) > len(path)
