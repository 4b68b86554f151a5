"""`ctx.state`: values that a server keeps for its caller, from one call to the next.

Until the next release `ctx.state` is also the dict of data of middleware, which is `ctx.request_data` now:
reading and writing its members works with a warning. `get`, `keys` and `update` have new meanings.
"""

import copy
import inspect
import json
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from enfilade.serving.awaitables import to_await
from enfilade.serving.callers.state_records import StateStore
from enfilade.serving.callers.state_values import StoredValue, Values, check_key, stored_value
from enfilade.serving.request import Request

_MOVED: Final = "data of middleware is ctx.request_data"
#: Methods of the dict that have no other meaning here.
_DICT_METHODS: Final = frozenset(("copy", "items", "pop", "popitem", "setdefault", "values"))


class State:
    """A small key-value store for the caller of a handler.

    Values belong to the authenticated user, whatever session or client they come by; without a user, to the
    session. A call that has neither raises `StateError`.

    Values are JSON, at most 64 KiB each; a caller has at most 1,024 of them and 1 MiB. They are encrypted in
    the store, and bound to their caller. Keys are texts of 1 to 256 characters.
    """

    __slots__ = ("_request", "_store")

    def __init__(self, request: Request, store: Callable[[], StateStore]) -> None:
        self._request = request
        self._store = store

    @to_await("ctx.state.get", usage=_MOVED)
    async def get(self, key: str, default: Any = None) -> Any:
        """Return a value, or the default if there is none or it has expired.

        Raises:
            StateError: there is neither a user nor a session.
            StoreError: the store does not answer, or the values cannot be decrypted.
        """
        name = check_key(key)
        value = (await self._store().read(self._request)).get(name)
        return default if value is None else json.loads(value.content)

    @to_await("ctx.state.set", usage=_MOVED)
    async def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Keep a value, in place of an earlier one.

        Args:
            key: a text of 1 to 256 characters.
            value: JSON: dicts with texts as keys, lists, texts, numbers, true, false and None. A tuple comes
                back as a list.
            ttl: seconds for which it is kept from now on; 30 days by default.

        Raises:
            TypeError: the value is no JSON; the text names the place.
            ValueError: the key or `ttl` cannot be.
            StateError: there is neither a user nor a session, or too much is kept.
            StoreError: the store does not answer, or the values cannot be decrypted.
        """
        entry = check_key(key), stored_value(value, ttl)
        await self._store().change(self._request, lambda values: values.update([entry]))

    @to_await("ctx.state.delete", usage=_MOVED)
    async def delete(self, key: str) -> None:
        """Delete a value, if there is one.

        The errors are those of `get`.
        """
        name = check_key(key)
        await self._store().change(self._request, lambda values: values.pop(name, None))

    @to_await("ctx.state.update", usage=_MOVED)
    async def update(
        self, key: str, fn: Callable[[Any], Any], default: Any = None, ttl: float | None = None
    ) -> Any:
        """Replace a value by what a function makes of it, so that concurrent updates lose nothing.

        Args:
            key: a text of 1 to 256 characters.
            fn: gets the present value and returns the new one. It is called again if another worker was faster,
                so it should do nothing else; it cannot be `async def`.
            default: what it gets if there is no value.
            ttl: seconds for which the new value is kept from now on; 30 days by default.

        Returns:
            The new value.

        Raises:
            TypeError: `fn` is `async def`, or returns what is no JSON.

        The other errors are those of `set`, and those of `fn`.
        """
        name = check_key(key)
        if not callable(fn):
            raise TypeError(f"ctx.state.update takes a function: update(key, fn), not {type(fn).__name__}")

        def edit(values: Values) -> StoredValue:
            present = values.get(name)
            value = fn(copy.deepcopy(default) if present is None else json.loads(present.content))
            if inspect.isawaitable(value):
                if inspect.iscoroutine(value):
                    value.close()
                raise TypeError(f"the function of ctx.state.update must be a plain `def`, and {fn!r} is not")
            values[name] = stored_value(value, ttl)
            return values[name]

        return json.loads((await self._store().change(self._request, edit)).content)

    @to_await("ctx.state.keys", usage=_MOVED)
    async def keys(self) -> list[str]:
        """Return the keys of all values, sorted.

        The errors are those of `get`.
        """
        return sorted(await self._store().read(self._request))

    @to_await("ctx.state.clear", usage=_MOVED)
    async def clear(self) -> None:
        """Delete all values of the caller, also those that cannot be decrypted any more.

        Raises:
            StateError: there is neither a user nor a session.
            StoreError: the store does not answer.
        """
        await self._store().clear(self._request)

    # -- the dict of earlier releases ----------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        return self._request_data()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._request_data()[key] = value

    def __delitem__(self, key: str) -> None:
        del self._request_data()[key]

    def __contains__(self, key: object) -> bool:
        return key in self._request_data()

    def __iter__(self) -> Iterator[str]:
        return iter(self._request_data())

    def __len__(self) -> int:
        return len(self._request_data())

    if not TYPE_CHECKING:  # for type checkers they are gone

        def __getattr__(self, name: str) -> Any:
            if name in _DICT_METHODS:
                return getattr(self._request_data(), name)
            raise AttributeError(f"ctx.state has no {name!r}", name=name, obj=self)

    def _request_data(self) -> dict[str, Any]:
        warnings.warn(
            f"{_MOVED}; ctx.state keeps values from one call to the next (see docs/state.md)",
            DeprecationWarning,
            stacklevel=3,
        )
        return self._request.state
