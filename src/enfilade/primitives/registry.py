"""An ordered collection of what a server offers, with a voice: it tells when it has changed.

Items may be added and removed from any thread while others read. Readers take no lock: every change puts a
new dict in the place of the old one, so an iteration that has begun goes on over what it began with.

Easy to get wrong: an alias is a second way to find an item and never hides a name. Where two items have the
same alias, it finds neither of them, because a call must not reach a tool that was not meant.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(Generic[T]):
    """Items by name, in the order in which they came.

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
        self._lock = threading.Lock()
        self._items: dict[str, T] = {}
        self._aliases: dict[str, T] = {}
        self._version = 0
        self._callbacks: tuple[Callable[[], object], ...] = ()

    @property
    def version(self) -> int:
        """A number that grows with every change: what was made of the items is good as long as it stays."""
        return self._version

    def add(self, *items: T) -> None:
        """Add items at the end; all of them or, after an error, none. Listeners hear of it once.

        Raises:
            ValueError: a name is taken; says where both items were written.
        """
        with self._lock:
            changed = dict(self._items)
            for item in items:
                key = self._key(item)
                if (taken := changed.get(key)) is not None:
                    raise ValueError(
                        f'two {self._kind}s are called "{key}": {_origin(taken)} and {_origin(item)}; '
                        f"rename one of them"
                    )
                changed[key] = item
            self._replace(changed)
        self._tell()

    def update(self, item: T) -> None:
        """Put an item in the place of the one with the same name, or at the end if there is none."""
        with self._lock:
            self._replace({**self._items, self._key(item): item})
        self._tell()

    def remove(self, name: str) -> T:
        """Remove an item by its name and return it.

        Raises:
            KeyError: there is none of this name.
        """
        with self._lock:
            changed = dict(self._items)
            try:
                removed = changed.pop(name)
            except KeyError:
                raise KeyError(f'there is no {self._kind} called "{name}"') from None
            self._replace(changed)
        self._tell()
        return removed

    def get(self, name: str) -> T | None:
        """Return the item of this name or, failing that, alias; None if there is none."""
        found = self._items.get(name)
        return self._aliases.get(name) if found is None else found

    def on_change(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` after each change, in the thread that made it; returns a function that ends this."""
        with self._lock:
            self._callbacks = (*self._callbacks, callback)

        def stop() -> None:
            with self._lock:
                self._callbacks = tuple(each for each in self._callbacks if each is not callback)

        return stop

    def names(self) -> list[str]:
        """Return the names, in order."""
        return list(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def _replace(self, items: dict[str, T]) -> None:
        """Let readers see the new items. The caller holds the lock."""
        self._items = items
        self._aliases = self._aliases_of(items.values())
        self._version += 1

    def _aliases_of(self, items: Iterable[T]) -> dict[str, T]:
        found: dict[str, T] = {}
        twice: set[str] = set()
        for item in items:
            alias = self._alias(item) if self._alias else None
            if alias is None:
                continue
            if alias in found:
                twice.add(alias)
            found[alias] = item
        return {alias: item for alias, item in found.items() if alias not in twice}

    def _tell(self) -> None:
        for callback in self._callbacks:
            callback()


def _name(item: object) -> str:
    name = getattr(item, "name", None)
    if not isinstance(name, str):
        raise TypeError(f"a {type(item).__name__} has no name; give the registry a key=")
    return name


def _origin(item: object) -> str:
    return str(getattr(item, "origin", None) or "an unknown place")
