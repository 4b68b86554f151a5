"""What an author states about tasks: whether a call of a tool runs as one, and whether it survives its worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

import msgspec

from enfilade.primitives.limits.call_limits import read_duration
from enfilade.primitives.options import TaskSupport

#: Most seconds after which a call becomes a task.
_LONGEST_WAIT: Final = 3600.0


class TaskPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How calls of a tool run as tasks.

    Attributes:
        support: `optional` or `required`.
        durable: whether its journal is kept, so that another worker goes on with it.
        after: seconds after which a call becomes a task; 0.0 for at once.
    """

    support: Literal["optional", "required"] = "optional"
    durable: bool = False
    after: float = 0.0


def read_task_policy(label: str, options: Mapping[str, Any], *, is_async: bool) -> TaskPolicy | None:
    """Return what options state about tasks; None if calls never become tasks.

    Args:
        label: what errors call the tool.
        options: those that were given.
        is_async: whether the tool is a coroutine function.

    Raises:
        TypeError: an option is of another type.
        ValueError: an option has a value that it cannot have, or no effect.
    """
    support, durable, after = options.get("task"), options.get("durable") or False, options.get("task_after")
    if support is True:
        support = "optional"
    if support is None and after is not None:
        support = "optional"
    if support not in (None, False, *get_args(TaskSupport)):
        raise ValueError(f"{label}: task is 'optional', 'required' or 'never', not {support!r}")
    if not isinstance(durable, bool):
        raise TypeError(f"{label}: durable is True or False, not {durable!r}")
    if support in (None, False, "never"):
        if durable or after is not None:
            name = "durable" if durable else "task_after"
            raise ValueError(f'{label}: {name} is for tasks; give task="optional" as well, or leave it out')
        return None
    seconds = 0.0 if after is None else read_duration(label, "task_after", after, _LONGEST_WAIT)
    if after is not None and support == "required":
        raise ValueError(f'{label}: a call with task="required" is a task from the start; leave task_after out')
    if durable and seconds:
        raise ValueError(f"{label}: a durable task begins as one; leave task_after out")
    if durable and not is_async:
        raise ValueError(
            f"{label}: a durable task runs again from the top and stops where it waits, so it is `async def`"
        )
    return TaskPolicy(support="required" if support == "required" else "optional", durable=durable, after=seconds)
