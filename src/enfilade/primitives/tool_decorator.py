"""The free `@tool` decorator, and finding what it has marked in a module or package (P1).

A module with tools needs no server to be imported: `@tool` only leaves a mark, and `tools_in_module` collects
the marked functions for whichever server asks. Any module that can be imported will do, installed or not.

Easy to get wrong: a function can be reached through several modules (a package's `__init__` imports it from
where it was written). It counts once, where it is met first; and the order never depends on anything but the
modules themselves.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, TypeVar, Unpack, overload

from enfilade.primitives.options import ToolOptions

MARK: Final = "__enfilade_tool__"

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Mark:
    """What `@tool(...)` said about a function.

    Attributes:
        options: as they were written; whoever registers the function refuses those that it does not know.
    """

    options: Mapping[str, Any]


@overload
def tool(fn: _F, /) -> _F: ...


@overload
def tool(fn: str | None = None, /, **options: Unpack[ToolOptions]) -> Callable[[_F], _F]: ...


def tool(fn: Any = None, /, *surplus: object, **options: Any) -> Any:
    """Mark a function as a tool, for `add_tools_from_module`; the function itself stays as it is.

    Use it bare or with the options of `MCPApp.add_tool`; one that the application does not know is refused there.

    Raises:
        TypeError: it has two names, or more than a name by position.
    """
    if surplus:
        raise TypeError("@tool takes one argument by position, the name; write description=... and the like")
    if isinstance(fn, str):
        if options.setdefault("name", fn) != fn:
            raise TypeError(f"the tool has two names: {fn!r} and {options['name']!r}")
    elif fn is not None:
        return _marked(fn, Mark({}))
    return lambda function: _marked(function, Mark(options))


def options_of(fn: Any) -> Mapping[str, Any] | None:
    """Return what `@tool` said about a function; None if it was not marked."""
    mark = getattr(fn, MARK, None)
    return mark.options if isinstance(mark, Mark) else None


def tools_in_module(module: ModuleType | str) -> list[Callable[..., Any]]:
    """Return the marked functions of a module, or of a package and all modules below it, in a stable order.

    Args:
        module: the module, or its dotted name.

    Raises:
        ImportError: the module, or one below it, cannot be imported; says which.
    """
    root = _imported(module) if isinstance(module, str) else module
    functions: dict[int, Callable[..., Any]] = {}
    for submodule in _with_submodules(root):
        for value in list(vars(submodule).values()):
            # An attribute may be inherited, or made by `__getattr__`; only a mark of the object itself counts.
            if callable(value) and options_of(value) is not None and MARK in getattr(value, "__dict__", {}):
                functions.setdefault(id(value), value)
    return list(functions.values())


def _marked(fn: Any, mark: Mark) -> Any:
    if not callable(fn):
        raise TypeError(
            f"@tool takes a function, not {type(fn).__name__}; options are given by name: @tool(name=...)"
        )
    try:
        setattr(fn, MARK, mark)
    except AttributeError:
        raise TypeError(f"@tool cannot mark {type(fn).__name__} objects; wrap it in a function") from None
    return fn


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ModuleNotFoundError(
            f"there is no module {name!r}; give its dotted name, and start where Python finds it "
            f"(the directory that holds it, or with it installed)",
            name=name,
        ) from error


def _with_submodules(root: ModuleType) -> Iterator[ModuleType]:
    yield root
    for info in sorted(
        pkgutil.iter_modules(getattr(root, "__path__", ()), f"{root.__name__}."), key=lambda m: m.name
    ):
        if info.name.endswith(".__main__"):  # importing it would run the program
            continue
        try:
            module = importlib.import_module(info.name)
        except Exception as error:
            raise ImportError(
                f"{info.name} cannot be imported: {type(error).__name__}: {error}", name=info.name
            ) from error
        yield from _with_submodules(module)
