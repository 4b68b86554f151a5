"""A store whose operations are timed, for outlets such as metrics; any other store is used as it is.

Operations are named after the parts of a store: `keys.get`, `log.append`, `bus.publish`, `limits.admit`,
`outcomes.claim`, `results.put`, `tasks.create`.

Easy to get wrong: what else a store has. Attributes that are not timed are those of the store itself.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from enfilade.counters import count, time_of
from enfilade.state.store import Store, StoreError

_OPERATIONS: Final = {
    "keys": ("get", "put", "swap", "delete"),
    "log": ("open", "begin", "append", "append_each", "read", "last", "touch", "drop"),
    "bus": ("publish",),
    "limits": ("admit", "release", "renew"),
    "results": ("put",),
    "outcomes": ("claim", "finish", "release", "renew", "change_version"),
    "tasks": ("create", "read", "write", "take_due", "renew", "page", "delete"),
}


def measured(store: Store) -> Store:
    """Return a store that does what another does, and times it."""
    return cast("Store", _MeasuredStore(store))


class _MeasuredStore:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._later: dict[str, _MeasuredPart] = {}
        self.keys = _MeasuredPart("keys", store.keys)
        self.log = _MeasuredPart("log", store.log)
        self.bus = _MeasuredPart("bus", store.bus)

    @property
    def limits(self) -> Any:
        """What decides about limits of calls, which the store makes when it is first used."""
        return self._made_later("limits")

    @property
    def outcomes(self) -> Any:
        """What decides about outcomes that calls share, which the store makes when it is first used."""
        return self._made_later("outcomes")

    @property
    def results(self) -> Any:
        """What keeps whole results within their room, which the store makes when it is first used."""
        return self._made_later("results")

    @property
    def tasks(self) -> Any:
        """Records of tasks, which the store makes when they are first used."""
        return self._made_later("tasks")

    def _made_later(self, name: str) -> "_MeasuredPart | None":
        if name not in self._later:
            inner = getattr(self._store, name, None)
            if inner is None:
                return None
            self._later[name] = _MeasuredPart(name, inner)
        return self._later[name]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class _MeasuredPart:
    def __init__(self, name: str, part: object) -> None:
        self._part = part
        for operation in _OPERATIONS[name]:
            setattr(self, operation, _timed(f"{name}.{operation}", getattr(part, operation)))

    def of(self, server: str) -> "_MeasuredPart":
        """Return the tasks of another server, timed as well."""
        part: Any = self._part
        return _MeasuredPart("tasks", part.of(server))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)


def _timed(operation: str, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def timed(*args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return await function(*args, **options)
        except StoreError:
            count("store_errors", operation)
            raise
        finally:
            time_of("store_operation", operation, time.perf_counter() - began)

    return timed
