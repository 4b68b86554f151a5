"""Modules that are imported, and objects that are created, when one of their attributes is first read.

    if TYPE_CHECKING:
        from enfilade.primitives import prompt
    else:  # it imports pydantic, which takes longer to load than all of this library
        prompt = LazyModule("enfilade.primitives.prompt")

Type checkers and the import contracts see the plain import. Easy to get wrong: whatever is evaluated while the
importing module loads (a base class, a default value, a decorator, an evaluated annotation) imports the module at
once, and nothing is saved.
"""

import importlib
import re
from collections.abc import Callable
from functools import partial
from typing import Any, AnyStr, cast


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
