"""Modules that are loaded, and objects that are made, when something of them is first used.

Not everybody who imports us needs them.

    if TYPE_CHECKING:
        from enfilade.primitives import prompt
    else:  # with pydantic, which takes longer to load than all that is ours
        prompt = Later("enfilade.primitives.prompt")

Type checkers and the contracts between rooms see the plain import. The easy thing to get wrong is to use such a
module while one's own is loaded (as a base class, a default value, a decorator, an annotation that is evaluated):
then it is loaded at once, and nothing is won.
"""

import importlib
import re
from collections.abc import Callable
from functools import partial
from typing import Any, AnyStr, cast


class Later:
    """A module that is not loaded yet.

    Args:
        name: its dotted name.
    """

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(importlib.import_module(self.__name__), attribute)
        setattr(self, attribute, found)  # so that it is looked up here but once
        return found


def pattern(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return a regular expression that is compiled when it is first used."""
    return cast("re.Pattern[AnyStr]", Made(partial(re.compile, text, flags)))


class Made:
    """An object that is made when something of it is first used.

    Args:
        make: makes it; it may be called more than once, by threads that come at the same time.
    """

    def __init__(self, make: Callable[[], object]) -> None:
        self._make = make
        self._object: object = None

    def __getattr__(self, attribute: str) -> Any:
        if self._object is None:
            self._object = self._make()
        found = getattr(self._object, attribute)
        setattr(self, attribute, found)
        return found
