"""What an author states about outcomes that are used again: the cache of a tool, or its idempotency.

Easy to get wrong: a cache for a tool that does something. A call that is answered from a cache does nothing, so a
cache is for tools whose annotations say that they only read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final, get_args

import msgspec
from msgspec import UNSET

from enfilade.primitives.limits.call_limits import read_duration
from enfilade.primitives.options import CachePer, OnInterrupted
from enfilade.primitives.schema.signature import Parameter
from enfilade.wire.tools import ToolAnnotations

#: Most seconds for which a result is cached, and for which the outcome under a key is kept; and the latter if the
#: author does not say.
LONGEST_CACHE: Final = 7 * 86_400.0
LONGEST_RETENTION: Final = 30 * 86_400.0
RETENTION: Final = 86_400.0

_READ_ONLY: Final = '{"read_only_hint": True}'


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The cache of a tool.

    Attributes:
        seconds: for which a result is used again.
        per: who shares it.
        defaults: of parameters, as JSON: an argument with such a value counts as left out.
    """

    seconds: float
    per: CachePer = "principal"
    defaults: Mapping[str, bytes] = {}


class IdempotencyPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The idempotency of a tool.

    Attributes:
        argument: whose value is the key; None if only `_meta` has it.
        ttl: seconds for which the first outcome is kept.
        on_interrupted: what a call does whose first run was stopped in its middle.
        defaults: as those of `CachePolicy`.
    """

    argument: str | None = None
    ttl: float = RETENTION
    on_interrupted: OnInterrupted = "run"
    defaults: Mapping[str, bytes] = {}


OutcomePolicy = CachePolicy | IdempotencyPolicy


def read_outcome_policy(label: str, options: Mapping[str, Any]) -> OutcomePolicy | None:
    """Return what options state about outcomes; None if they state nothing.

    Args:
        label: what errors call the tool.
        options: those that were given.

    Raises:
        TypeError: an option is of another type.
        ValueError: an option has a value that it cannot have, or no effect.
    """
    given = {name: value for name, value in options.items() if value is not None}
    cache, idempotent = given.pop("cache", None), given.pop("idempotent", None)
    if not isinstance(idempotent, bool | None):
        raise TypeError(f"{label}: idempotent is True or False, not {idempotent!r}")
    per = given.pop("cache_per", None)
    if per is not None and per not in get_args(CachePer):
        raise ValueError(f"{label}: cache_per is 'principal' or 'all', not {per!r}")
    if per is not None and cache is None:
        raise ValueError(f"{label}: cache_per without a cache: give cache= as well")
    if given.get("idempotency_key") is not None and idempotent is None:
        idempotent = True
    if given and not idempotent:
        names = " and ".join(given)
        raise ValueError(f"{label}: {names} without effect: give idempotent=True as well")
    if cache is not None and idempotent:
        raise ValueError(
            f"{label}: cache= is for tools that only read, and idempotent=True for those that do something; "
            "leave one of them out"
        )
    if cache is not None:
        return CachePolicy(seconds=read_duration(label, "cache", cache, LONGEST_CACHE), per=per or "principal")
    return _idempotency(label, given) if idempotent else None


def _idempotency(label: str, given: Mapping[str, Any]) -> IdempotencyPolicy:
    argument, action = given.get("idempotency_key"), given.get("on_interrupted", "run")
    if not isinstance(argument, str | None):
        raise TypeError(f"{label}: idempotency_key is the name of a parameter, not {argument!r}")
    if action not in get_args(OnInterrupted):
        raise ValueError(f"{label}: on_interrupted is 'run' or 'refuse', not {action!r}")
    ttl = given.get("idempotency_ttl", RETENTION)
    return IdempotencyPolicy(
        argument=argument,
        ttl=read_duration(label, "idempotency_ttl", ttl, LONGEST_RETENTION),
        on_interrupted=action,
    )


def completed(
    policy: OutcomePolicy,
    label: str,
    parameters: Iterable[Parameter],
    properties: Iterable[str],
    hints: ToolAnnotations | msgspec.UnsetType,
) -> OutcomePolicy:
    """Return a policy with what the function says, checked against it.

    Args:
        policy: as the options state it.
        label: what errors call the tool.
        parameters: that callers fill.
        properties: the names of further arguments, of a hand-made schema.
        hints: the annotations of the tool.

    Raises:
        ValueError: the tool does not only read, or has no such parameter.
    """
    parameters = list(parameters)
    if isinstance(policy, CachePolicy):
        if hints is UNSET or hints.read_only_hint is not True:
            raise ValueError(
                f"{label}: cache= is for tools that only read: say so with annotations={_READ_ONLY}, or leave "
                "cache= out; for a tool that does something there is idempotent=True"
            )
    elif policy.argument is not None:
        names = dict.fromkeys([*(parameter.name for parameter in parameters), *properties])
        if policy.argument not in names:
            raise ValueError(
                f"{label}: idempotency_key={policy.argument!r} names no parameter; its parameters are: "
                f"{', '.join(names) or 'none'}"
            )
    return msgspec.structs.replace(policy, defaults=_defaults(parameters))


def _defaults(parameters: Iterable[Parameter]) -> dict[str, bytes]:
    """Return the defaults that have one meaning as JSON: those of plain types, and of Enums with such values."""
    defaults: dict[str, bytes] = {}
    for parameter in parameters:
        value = parameter.default
        if isinstance(value, Enum):
            value = value.value
        if value is None or type(value) in (bool, int, float, str):
            try:
                defaults[parameter.name] = msgspec.json.encode(value)
            except (ValueError, OverflowError):
                continue
    return defaults
