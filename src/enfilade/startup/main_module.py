"""Register the running script under the name by which other modules import it.

Python knows a script as `__main__`. A module with tools that does `from server import app` would run the file a
second time, under its own name, and add its tools to a second app that is never served. So the name is entered in
`sys.modules` as soon as an app is constructed in the script.

Easy to get wrong: a name that belongs to another module. Only names under which an import would find this very
file are registered, and none that is registered already.
"""

from __future__ import annotations

import os
import sys
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Names of the script's module; the second one is used by multiprocessing in the processes that it starts.
_MAIN: Final = ("__main__", "__mp_main__")


def name_main_module(frame: FrameType | None) -> None:
    """Let imports of the script's name find the running module, if the frame constructs an app there."""
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "enfilade":
        frame = frame.f_back
    module = None if frame is None else sys.modules.get(str(frame.f_globals.get("__name__")))
    if module is None or frame is None or vars(module) is not frame.f_globals or module.__name__ not in _MAIN:
        return
    for name in _names_of(module):
        sys.modules.setdefault(name, module)


def copy_of(app: object, kind: type) -> tuple[str, Any] | None:
    """Return a second app that the same variable of the same file holds, because the file was run twice.

    It comes with the name under which the file was imported besides the script; None if there is none.
    """
    for main in map(sys.modules.get, _MAIN):
        names = {} if main is None else vars(main)
        variable = next((name for name, value in names.items() if value is app), None)
        if main is None or variable is None:
            continue
        for name, module in list(sys.modules.items()):
            if module is main or name in _MAIN or not _same_file(main, module):
                continue
            other = getattr(module, variable, None)
            if isinstance(other, kind) and other is not app:
                return name, other
    return None


def _names_of(main: ModuleType) -> Iterator[str]:
    """Yield the names under which an import finds a script."""
    spec = getattr(main, "__spec__", None)
    if spec is not None:  # `python -m package.module`
        yield spec.name
        return
    file = getattr(main, "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py"):
        return
    folder, name = os.path.split(os.path.abspath(file)[: -len(".py")])
    searched = {os.path.abspath(folder) for folder in sys.path}
    while True:
        if folder in searched and all(word.isidentifier() for word in name.split(".")):
            yield name
        if not os.path.isfile(os.path.join(folder, "__init__.py")):
            return
        folder, package = os.path.split(folder)
        name = f"{package}.{name}"


def _same_file(module: ModuleType, other: object) -> bool:
    files = getattr(module, "__file__", None), getattr(other, "__file__", None)
    if not all(isinstance(file, str) for file in files):
        return False
    return os.path.realpath(str(files[0])) == os.path.realpath(str(files[1]))
