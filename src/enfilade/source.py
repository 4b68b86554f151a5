"""Where an app is written, so that another process can find it again.

A process that is started afresh shares no memory with the one that started it: it must import the file again
and take the app from a variable there. The easy thing to get wrong is a script's `__main__`: it must be
imported under another name, so that its `if __name__ == "__main__"` block does not run a second time.
"""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Final, TypeVar

import msgspec

from enfilade.settings import SettingsError

Imported = TypeVar("Imported")

_MAIN_AGAIN: Final = "__mp_main__"  # what multiprocessing calls the script in the processes that it starts


class LoadError(Exception):
    """There is nothing to serve; the text says why and what to do."""


class Source(msgspec.Struct, frozen=True):
    """Where an object is to be found.

    Attributes:
        module: the module's name.
        file: the module's file, absolute.
        name: the variable in it.
    """

    module: str
    file: str
    name: str

    def load(self) -> object:
        """Import the file, unless that has happened, and return the object.

        Raises:
            LoadError: the file fails, or does not make the object when it is imported.
        """
        module = self._module()
        try:
            found: object = getattr(module, self.name)
        except AttributeError:
            said = f"{Path(self.file).name!r} makes no {self.name!r} when it is imported"
            raise LoadError(f'{said}; take it out of the `if __name__ == "__main__"` block') from None
        return found

    def _module(self) -> ModuleType:
        again = sys.modules.get(_MAIN_AGAIN)
        if again is not None and getattr(again, "__file__", None) == self.file:
            return again
        if self._can_be_imported():
            return _importing(Path(self.file), lambda: importlib.import_module(self.module))
        return import_file(Path(self.file))

    def _can_be_imported(self) -> bool:
        """Whether an import of the module's name leads to this file."""
        try:
            spec = importlib.util.find_spec(self.module)
        except (ImportError, ValueError):
            return False
        return spec is not None and spec.origin == self.file


def find_source(app: object) -> Source:
    """Return where an app is written.

    Raises:
        LoadError: no other process could find it.
    """
    for source in sources_of(app):
        return source
    raise LoadError(
        "several workers, and reloading, need new processes, which must find the app in a file again: "
        "make it at the top level of a file, as in `app = MCPApp(...)`, not in a function or at a prompt"
    )


def sources_of(app: object) -> Iterator[Source]:
    """Yield all variables of modules that hold an app: where it is made, and wherever it was imported to."""
    for key, module in list(sys.modules.items()):
        names: dict[str, object] = dict(getattr(module, "__dict__", {}))  # not everything there is a module
        file = names.get("__file__")
        if not isinstance(file, str) or not Path(file).is_file():
            continue
        for name, value in names.items():
            if value is app:
                spec = getattr(module, "__spec__", None)
                yield Source(spec.name if key == "__main__" and spec is not None else key, file, name)


def import_file(path: Path) -> ModuleType:
    """Import a Python file by its path; its directory comes first on the import path.

    Raises:
        LoadError: it is no Python file, or fails.
    """
    path = path.resolve()
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise LoadError(f"{path.name!r} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    loader = spec.loader
    _importing(path, lambda: loader.exec_module(module))
    return module


def _importing(path: Path, work: Callable[[], Imported]) -> Imported:
    try:
        return work()
    except SettingsError:
        raise
    except Exception as error:
        raise LoadError(f"{path.name!r} failed while it was imported\n\n{_traceback(error, path)}") from error


def _traceback(error: Exception, path: Path) -> str:
    """Return the traceback from the user's file on: what leads there is ours and helps nobody."""
    place: TracebackType | None = error.__traceback__
    while place is not None and place.tb_frame.f_code.co_filename != str(path):
        place = place.tb_next
    return "".join(traceback.format_exception(error.with_traceback(place))).rstrip()
