"""Modules that are imported, and objects that are created, when one of their attributes is first read.

    if TYPE_CHECKING:
        from enfilade.primitives import prompt
    else:  # it imports pydantic, which takes longer to load than all of this library
        prompt = LazyModule("enfilade.primitives.prompt")

Some modules are left out altogether: `import_without`.

Type checkers and the import contracts see the plain import. Easy to get wrong: whatever is evaluated while the
importing module loads (a base class, a default value, a decorator, an evaluated annotation) imports the module at
once, and nothing is saved.
"""

import contextlib
import importlib
import re
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, AnyStr, Final, cast

#: Held while the list of finders is replaced. The list is never changed in place: another thread may be iterating
#: over it, and would skip a finder when the list becomes shorter, so that it does not find an existing module.
FINDERS_LOCK: Final = threading.Lock()


@contextlib.contextmanager
def first_finder(finder: Any) -> Iterator[None]:
    """Let a finder be asked before all others, for the length of a `with` block."""
    with FINDERS_LOCK:
        sys.meta_path = [finder, *sys.meta_path]
    try:
        yield
    finally:
        with FINDERS_LOCK:
            sys.meta_path = [other for other in sys.meta_path if other is not finder]


class _Refusal:
    """Finds no module of one name, for imports of the thread that has made it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread = threading.get_ident()

    def find_spec(self, name: str, *_args: object) -> None:
        if name == self._name and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{name!r} is left out here", name=name)


def import_without(name: str, optional: str) -> None:
    """Import a module without another one that it can do without, unless one of them is imported already.

    Whoever imports the other one afterwards, or in another thread, gets it.

    Args:
        name: the module.
        optional: what it imports if it is installed.
    """
    if not {name, optional} & sys.modules.keys():
        with first_finder(_Refusal(optional)), contextlib.suppress(ImportError):  # an import of it raises
            importlib.import_module(name)


class LazyModule:
    """A module that is imported when one of its attributes is first read."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self.__name__), attribute)
        setattr(self, attribute, value)  # so that the next read does not come here
        return value


class LazyObject:
    """An object that is created when one of its attributes is first read.

    Args:
        create: returns it; may be called more than once, by threads that read at the same time.
    """

    def __init__(self, create: Callable[[], object]) -> None:
        self._create = create
        self._object: object = None

    def __getattr__(self, attribute: str) -> Any:
        if self._object is None:
            self._object = self._create()
        value = getattr(self._object, attribute)
        setattr(self, attribute, value)
        return value


def lazy_pattern(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return a regular expression that is compiled when it is first used."""
    return cast("re.Pattern[AnyStr]", LazyObject(partial(re.compile, text, flags)))
