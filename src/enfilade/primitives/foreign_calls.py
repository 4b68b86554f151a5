"""Refusing functions that use what only means something in a request of another framework.

`get_access_token()` of FastMCP returns None outside its own requests, and `get_http_headers()` returns {}: a
check that is written with them may let everybody in. Classes of its answers match none of ours. So such a
function is refused when it is registered, with what to write. It is found by the names in its code.

Easy to get wrong: a check in a decorator or in a helper of the same project. Those are looked into as well.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, NoReturn

from enfilade.primitives.foreign_names import FOREIGN_MODULES, IN_BODIES, PAGE

_MOST: Final = 500  # functions that are looked into for one that is registered


def refuse_foreign_calls(functions: Iterable[Callable[..., Any]], label: str) -> None:
    """Refuse a function whose code uses functions and classes of another framework that do not work here.

    Args:
        functions: what is registered: the function as it is called, and the one within its decorators.
        label: its name in errors.

    Raises:
        TypeError: it uses one; says what to write.
    """
    pending: list[Any] = list(functions)
    seen: set[int] = set()
    while pending and len(seen) < _MOST:
        function = pending.pop()
        function = getattr(
            function, "__func__", getattr(function, "func", function)
        )  # of a method, or of partial
        if not isinstance(function, FunctionType) or id(function) in seen:
            continue
        where = label if f"{function.__name__}()" in label else f"{label}, in {function.__name__}()"
        seen.add(id(function))
        for code in _codes(function.__code__):
            values = _values(function, code)
            for name in (*code.co_names, *code.co_freevars):
                if _is_foreign(name, code, values):
                    _refuse(name, values, where)
            pending += [value for value in values.values() if _is_of_same_project(value, function)]
        pending.append(getattr(function, "__wrapped__", None))


def _refuse(name: str, values: Mapping[str, object], where: str) -> NoReturn:
    called = _own_name(values.get(name)) or name
    raise TypeError(
        f"{where}: {called} of another framework does not work here: {IN_BODIES[called]} (see {PAGE})"
    )


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a code and those of the functions and comprehensions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _values(function: FunctionType, code: CodeType) -> dict[str, object]:
    """Return the globals and the variables of outer functions that a code names, as far as they have values."""
    values = {name: function.__globals__[name] for name in code.co_names if name in function.__globals__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        with contextlib.suppress(ValueError):  # it has no value yet
            values[name] = cell.cell_contents
    return values


def _is_foreign(name: str, code: CodeType, values: Mapping[str, object]) -> bool:
    """Return whether a name in a code is that of a function or a class of another framework in `IN_BODIES`."""
    if name in values:
        return bool(_own_name(values[name]))
    if name not in IN_BODIES:
        return False
    modules = [value.__name__ for value in values.values() if isinstance(value, ModuleType)]
    return any(
        f"{module}.".startswith(FOREIGN_MODULES) for module in (*modules, *code.co_names)
    )  # or imported in it


def _own_name(value: object) -> str:
    """Return the name of a function or a class of another framework in `IN_BODIES`; empty for any other value."""
    if not isinstance(value, type | FunctionType) or not value.__module__.startswith(FOREIGN_MODULES):
        return ""
    name = value.__name__.partition("[")[0]  # a generic model with its arguments is another class
    return name if name in IN_BODIES else ""


def _is_of_same_project(value: object, function: FunctionType) -> bool:
    """Return whether a value is a function from the folder of another one, or from below it."""
    if not isinstance(value, FunctionType):
        return False
    file = value.__code__.co_filename
    folder = os.path.dirname(function.__code__.co_filename)
    return value.__globals__ is function.__globals__ or (
        file.startswith(folder + os.sep) and "site-packages" not in file
    )
