"""The record of the request that the running code belongs to.

It is in a module of its own, which imports nothing, because the log reads it where nobody observes requests.
"""

from contextvars import ContextVar
from typing import Any, Final

#: A `RequestRecord`, or None outside of requests and where nobody observes them. Tasks and threads inherit it.
current_record: Final[ContextVar[Any]] = ContextVar("enfilade_record", default=None)
