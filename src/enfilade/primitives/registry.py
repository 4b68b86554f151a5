"""An ordered registry that notifies listeners on change.

Items may be added and removed from any thread while others read. A look-up takes no lock. Iterations use a copy,
made when it is first needed after a change. So an iteration does not see later changes, and each of many items
costs the same to add.

Easy to get wrong: an alias never hides a name. If two items have the same alias, it finds neither of them,
because a call must not reach the wrong tool.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from enfilade.primitives.tool import Tool

T = TypeVar("T")


class Registry(Generic[T]):
    """Items by name, in the order of registration, which is that of their list (R-2A5).

    Args:
        kind: what the items are, for error messages: `"tool"`.
        key: gives an item's name; its attribute `name` by default.
        alias: gives a second name by which `get` finds an item, such as the qualified one; None for none.
    """

    def __init__(
        self, kind: str, *, key: Callable[[T], str] | None = None, alias: Callable[[T], str | None] | None = None
    ) -> None:
        self._kind = kind
        self._key: Callable[[T], str] = key or _name
        self._alias = alias
        self._lock = threading.Lock()  # held during every change of the fields below
        self._items: dict[str, T] = {}
        self._aliases: dict[str, tuple[T, ...]] = {}  # every item of an alias
        self._copy: tuple[T, ...] | None = ()
        self._version = 0
        self._callbacks: tuple[Callable[[tuple[T, ...]], object], ...] = ()

    @property
    def version(self) -> int:
        """A number that grows with every change, for caches of values derived from the items."""
        return self._version

    def add(self, *items: T) -> None:
        """Add items at the end; all of them or, after an error, none. Listeners are notified once.

        Raises:
            ValueError: a name is taken; says where both items were written.
        """
        with self._lock:
            new: dict[str, T] = {}
            for item in items:
                key = self._key(item)
                clashing = self._items.get(key)
                if (clashing := new.get(key) if clashing is None else clashing) is not None:
                    raise ValueError(
                        f'two {self._kind}s are called "{key}": {_origin(clashing)} and {_origin(item)}; '
                        f"rename one of them"
                    )
                new[key] = item
            aliases = [self._alias_of(item) for item in items]
            self._items.update(new)
            for item, alias in zip(items, aliases, strict=True):
                self._add_alias(alias, item)
            self._changed()
        self._notify(items)

    def update(self, item: T) -> None:
        """Replace the item of the same name, or add the item at the end."""
        with self._lock:
            key, alias = self._key(item), self._alias_of(item)
            changed: tuple[T, ...] = (item,)
            if key in self._items:
                changed = (self._items[key], item)
                self._remove_alias(self._items[key])
            self._items[key] = item
            self._add_alias(alias, item)
            self._changed()
        self._notify(changed)

    def remove(self, name: str) -> T:
        """Remove an item by its name and return it.

        Raises:
            KeyError: there is none of this name.
        """
        with self._lock:
            try:
                removed = self._items.pop(name)
            except KeyError:
                raise KeyError(f'there is no {self._kind} called "{name}"') from None
            self._remove_alias(removed)
            self._changed()
        self._notify((removed,))
        return removed

    def get(self, name: str) -> T | None:
        """Return the item of this name or, failing that, alias; None if there is none."""
        item = self._items.get(name)
        if item is None and len(candidates := self._aliases.get(name, ())) == 1:
            return candidates[0]
        return item

    def __getitem__(self, name: str) -> T:
        """Return the item of this name or, failing that, alias.

        Raises:
            KeyError: there is none.
        """
        item = self.get(name)
        if item is None:
            raise KeyError(f'there is no {self._kind} called "{name}"')
        return item

    def on_change(self, callback: Callable[[tuple[T, ...]], object]) -> Callable[[], None]:
        """Call `callback` after each change, in the thread that made it; returns a function that ends this.

        Args:
            callback: gets the items that were added, removed or replaced, and what replaced them.
        """
        with self._lock:
            self._callbacks = (*self._callbacks, callback)

        def stop() -> None:
            with self._lock:
                self._callbacks = tuple(other for other in self._callbacks if other is not callback)

        return stop

    def names(self) -> list[str]:
        """Return the names, in order."""
        return [self._key(item) for item in self.items()]

    def items(self) -> tuple[T, ...]:
        """Return the items, in order, as they are now."""
        items = self._copy
        if items is None:
            with self._lock:
                items = self._copy = tuple(self._items.values())
        return items

    def __iter__(self) -> Iterator[T]:
        return iter(self.items())

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def _changed(self) -> None:
        """Record a change of the items. The caller holds the lock, as for all methods below."""
        self._copy = None
        self._version += 1

    def _alias_of(self, item: T) -> str | None:
        return self._alias(item) if self._alias else None

    def _add_alias(self, alias: str | None, item: T) -> None:
        if alias is not None:
            self._aliases[alias] = (*self._aliases.get(alias, ()), item)

    def _remove_alias(self, item: T) -> None:
        alias = self._alias_of(item)
        if alias is None:
            return
        remaining = tuple(other for other in self._aliases.get(alias, ()) if other is not item)
        if remaining:
            self._aliases[alias] = remaining
        else:
            self._aliases.pop(alias, None)

    def _notify(self, items: tuple[T, ...]) -> None:
        for callback in self._callbacks:
            callback(items)


class ToolRegistry(Registry["Tool"]):
    """Tools by name.

    Args:
        invalidate: forgets the results of a tool, or of its calls with some arguments.
        alias: as that of `Registry`.
    """

    def __init__(
        self,
        invalidate: Callable[[Tool, Mapping[str, Any] | None], Awaitable[None]],
        *,
        alias: Callable[[Tool], str | None] | None = None,
    ) -> None:
        super().__init__("tool", alias=alias)
        self._invalidate = invalidate

    async def invalidate(self, name: str, arguments: Mapping[str, Any] | None = None) -> None:
        """Let all workers forget the cached results of a tool, for all callers.

        A run that has begun before is cached no more; its own caller gets its result.

        Args:
            name: listed or qualified.
            arguments: forget the results of calls with these arguments alone.

        Raises:
            KeyError: there is no such tool.
            ValueError: it has no cache, or the arguments are no JSON.
            StoreError: the store does not answer, so other workers may still have them.
        """
        await self._invalidate(self[name], arguments)


def _name(item: object) -> str:
    name = getattr(item, "name", None)
    if not isinstance(name, str):
        raise TypeError(f"a {type(item).__name__} has no name; give the registry a key=")
    return name


def _origin(item: object) -> str:
    return str(getattr(item, "origin", None) or "an unknown place")
