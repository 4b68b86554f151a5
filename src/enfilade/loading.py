"""Where an app is written: importing its file, and finding it again from another process.

A process that is started afresh shares no memory with the one that started it: it must import the file again
and take the app from a variable there. The easy thing to get wrong is a file that belongs to a package. It must
be imported under its full name, or its relative imports fail and modules that import it back get a second copy.
The other is a script's `__main__`: it is imported under another name, so that its
`if __name__ == "__main__"` block does not run a second time. And a file that is called like a package that is
needed hides it from nobody.
"""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Final, TypeVar

import msgspec

from enfilade.needed_names import is_needed
from enfilade.settings import SettingsError

Imported = TypeVar("Imported")

_NOT_THEIRS: Final = (str(Path(__file__).parent), "<frozen importlib", str(importlib.__file__))
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

    def typed(self, file: str) -> str:
        """Return it as the command line takes it, with its file spelled in some way."""
        return file if self.name == "app" else f"{file}:{self.name}"

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
        except Exception:  # of the package that it is in, which says so when it is imported
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


def module_of(file: Path) -> tuple[Path, str]:
    """Return the folder that must be on the import path for a file, and the module's name from there.

    A file belongs to a package if `__init__.py` is beside it, or if it lies in a folder of `src/`.

    Args:
        file: absolute.
    """
    root, names = file.parent, [file.stem]
    while (root / "__init__.py").is_file() and root.name.isidentifier():
        names.insert(0, root.name)
        root = root.parent
    if len(names) == 1 and root.parent.name == "src" and root.name.isidentifier():
        root, names = root.parent, [root.name, file.stem]
    if names[-1] == "__init__" and len(names) > 1:
        names.pop()
    return (file.parent, file.stem) if "." in file.stem else (root, ".".join(names))


def import_file(path: Path) -> ModuleType:
    """Import a Python file by its path, under its full name if it belongs to a package.

    The folder of the file, or that of its outermost package, comes first on the import path; last, if it would
    hide something that is needed. What lies beside a file of a package is found as well, if nothing else has that
    name.

    Raises:
        LoadError: it is no Python file, or fails.
    """
    path = path.resolve()
    root, name = module_of(path)
    if is_needed(name.partition(".")[0]):
        return _import_beside(path, root, name)
    if root != path.parent and not _is_taken(name, root):
        sys.path.insert(0, str(root))
        sys.path.append(str(path.parent))
        return _importing(path, lambda: importlib.import_module(name))
    sys.path.insert(0, str(path.parent))
    return _import_as(path.stem, path)


def _import_as(name: str, path: Path, within: list[str] | None = None) -> ModuleType:
    """Import a file under a name, whatever else has it.

    Args:
        name: the module's name.
        path: the file.
        within: where the modules of it are, if it is a package.
    """
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=within)
    if spec is None or spec.loader is None:
        raise LoadError(f"{path.name!r} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader = spec.loader
    _importing(path, lambda: loader.exec_module(module))
    return module


def _import_beside(path: Path, root: Path, name: str) -> ModuleType:
    """Import a file whose name, or that of its package, is needed for something else: as `served_NAME`.

    What lies beside it comes last on the import path, so that it hides nothing either.

    Args:
        path: the file.
        root: the folder that it, or its package, is in.
        name: the module's name from there.
    """
    last = dict.fromkeys((str(root), str(path.parent)))
    sys.path[:] = [each for each in sys.path if str(Path(each).resolve()) not in last] + list(last)
    top, _, rest = name.partition(".")
    try:
        return _import_as_served(path, root / top, top, rest)
    except LoadError as error:
        missing = error.__cause__
        if isinstance(missing, ImportError) and str(missing.name).partition(".")[0] == top:
            raise LoadError(
                f"{error}\n\n{top!r} is also the name of a module that is needed, and means that one here. "
                "Rename yours, or import what is in it relatively, as in `from .tools import add`"
            ) from missing
        raise


def _import_as_served(path: Path, package: Path, top: str, rest: str) -> ModuleType:
    """Import a file, or its whole package first, as `served_TOP`."""
    if not rest and path.stem != "__init__":
        return _import_as(f"served_{top}", path)
    init = package / "__init__.py"
    if init.is_file():
        whole = _import_as(f"served_{top}", init, [str(package)])
    else:
        whole = sys.modules[f"served_{top}"] = ModuleType(f"served_{top}")
        whole.__path__ = [str(package)]
    return whole if not rest else _importing(path, lambda: importlib.import_module(f"served_{top}.{rest}"))


def import_named(name: str, folder: Path) -> ModuleType:
    """Import a module by its name; a project's folder and its `src/` come first on the import path.

    Raises:
        LoadError: there is no such module, or it fails.
    """
    folder = folder.resolve()
    places = [place for place in (folder / "src", folder) if place.is_dir()]
    if is_needed(name.partition(".")[0]):
        for place in places:
            for file in (place / f"{name.replace('.', '/')}.py", place / name.replace(".", "/") / "__init__.py"):
                if file.is_file():
                    return import_file(file)
    sys.path[:0] = map(str, places)
    try:
        return _importing(Path(name), lambda: importlib.import_module(name))
    except LoadError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and cause.name and f"{name}.".startswith(f"{cause.name}."):
            looked = " or ".join(repr(str(place)) for place in places)
            raise LoadError(
                f"there is no module {name!r}: {cause.name!r} is not installed, and not in {looked}"
            ) from None
        raise


def _is_taken(name: str, root: Path) -> bool:
    """Whether a package of this name has been imported from somewhere else."""
    top = name.partition(".")[0]
    there = sys.modules.get(top)
    return there is not None and root / top not in [
        Path(each).resolve() for each in getattr(there, "__path__", ())
    ]


def _importing(path: Path, work: Callable[[], Imported]) -> Imported:
    try:
        return work()
    except SettingsError:
        raise
    except Exception as error:
        raise LoadError(f"{path.name!r} failed while it was imported\n\n{_traceback(error)}") from error


def described(error: Exception, log_level: str) -> str:
    """Return what an error says; at the level `debug`, with every frame of what a file has raised."""
    cause = error.__cause__
    if log_level != "debug" or not isinstance(error, LoadError) or cause is None:
        return str(error)
    return f"{error}\n\nWith all frames:\n\n{''.join(traceback.format_exception(cause)).rstrip()}"


def _traceback(error: Exception) -> str:
    """Return the traceback with the frames of the user's code, and of libraries that it calls.

    Frames of ours say nothing that the text of the error does not, and nor do those of what we call.
    """
    shown = traceback.TracebackException.from_exception(error)
    _keep_theirs(shown)
    return "".join(shown.format()).rstrip()


def _library_folders() -> tuple[str, ...]:
    """Return how the names of files begin that are no user's; code that was generated has no file."""
    import sysconfig  # which takes longer to import than most files of users

    return ("<", *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")))


def _keep_theirs(shown: traceback.TracebackException, below_ours: bool = False) -> None:
    """Drop our frames from a traceback, and errors behind it that were raised and caught among these.

    Args:
        shown: the traceback; changed in place.
        below_ours: whether it begins where we, or a library for us, had called something.
    """
    libraries = _library_folders()
    theirs, has_ours = [], below_ours
    for frame in shown.stack:
        if frame.filename.startswith(_NOT_THEIRS):
            below_ours = not frame.filename.startswith("<")
            has_ours |= below_ours
        elif not below_ours or not frame.filename.startswith(libraries):
            theirs.append(frame)
            below_ours = False
    shown.stack = traceback.StackSummary.from_list(theirs)
    for attribute in ("__cause__", "__context__"):
        behind = getattr(shown, attribute)
        if behind is not None:
            _keep_theirs(behind, has_ours)
            if not behind.stack and not isinstance(behind, SyntaxError):
                setattr(shown, attribute, None)
    for inner in shown.exceptions or ():
        _keep_theirs(inner, has_ours)
