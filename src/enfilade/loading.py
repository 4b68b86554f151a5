"""Import the file of an app, and find it again from another process.

A new process shares no memory with its parent: it imports the file again and takes the app from a variable there.

Easy to get wrong:
- A file of a package must be imported under its full name. Otherwise its relative imports fail, and modules that
  import it get a second copy.
- A script is imported under another name than `__main__`, so that its `if __name__ == "__main__"` block does not
  run a second time.
- The folder of a server's file comes first on the import path, as when Python runs a script. A file with the name
  of a package that Enfilade, the official SDK or the standard library imports must not shadow that package.
"""

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Final, TypeVar

import msgspec

from enfilade.settings import SettingsError

Imported = TypeVar("Imported")

_INTERNAL_FILES: Final = (str(Path(__file__).parent) + os.sep, "<frozen importlib", str(importlib.__file__))
_MP_MAIN: Final = "__mp_main__"  # the name of the script in processes that multiprocessing starts


#: Packages that Enfilade and its extras import, directly or not. A server's file must not shadow them.
PACKAGES: Final = frozenset(
    (
        *("_cffi_backend", "_pytest", "_yaml", "annotated_types", "anyio", "attr", "attrs"),
        *("certifi", "cffi", "charset_normalizer", "click", "colorama", "cryptography"),
        *("docstring_parser", "dotenv", "enfilade", "google", "h11", "hiredis", "httpcore"),
        *("httpcore2", "httptools", "httpx", "httpx2", "httpx_sse", "idna", "iniconfig", "jinja2"),
        *("joserfc", "jsonschema", "jsonschema_rs", "jsonschema_specifications", "jwt"),
        *("markdown_it", "markupsafe", "mcp", "mcp_types", "mdurl", "msgspec", "multipart"),
        *("opentelemetry", "packaging", "pluggy", "prometheus_client", "py", "pycparser"),
        *("pydantic", "pydantic_core", "pydantic_settings", "pygments", "pytest"),
        *("python_multipart", "pythoncom", "pywintypes", "redis", "referencing", "requests"),
        *("rich", "rpds", "sniffio", "sse_starlette", "starlette", "tomli", "truststore"),
        *("typing_extensions", "typing_inspection", "urllib3", "uvicorn", "uvloop", "websockets"),
        *("win32api", "win32con", "winloop", "wsproto", "yaml"),
    )
)

#: Modules of the standard library that no server needs, so that its file may have their names.
_UNUSED: Final = frozenset(
    ("antigravity", "idlelib", "lib2to3", "test", "this", "tkinter", "turtle", "turtledemo")
)


class LoadError(Exception):
    """No app can be loaded; the text says why and what to do."""


class AppSource(msgspec.Struct, frozen=True):
    """The file and the variable of an object.

    Attributes:
        module: the module's name.
        file: the absolute path of the module's file.
        name: the variable that holds the object.
    """

    module: str
    file: str
    name: str

    def as_argument(self, file: str) -> str:
        """Return the argument by which the command line finds the object, with this path of the file."""
        return file if self.name == "app" else f"{file}:{self.name}"

    def load(self) -> object:
        """Import the file, unless it is imported already, and return the object.

        Raises:
            LoadError: the import fails, or does not create the object.
        """
        module = self._module()
        try:
            value: object = getattr(module, self.name)
        except AttributeError:
            problem = f"{Path(self.file).name!r} makes no {self.name!r} when it is imported"
            raise LoadError(f'{problem}; take it out of the `if __name__ == "__main__"` block') from None
        return value

    def _module(self) -> ModuleType:
        main = sys.modules.get(_MP_MAIN)
        if main is not None and getattr(main, "__file__", None) == self.file:
            return main
        if self._can_be_imported():
            return _importing(Path(self.file), lambda: importlib.import_module(self.module))
        return import_file(Path(self.file))

    def _can_be_imported(self) -> bool:
        """Whether an import of the module's name leads to this file."""
        try:
            spec = importlib.util.find_spec(self.module)
        except Exception:  # its package fails, which is reported when it is imported
            return False
        return spec is not None and spec.origin == self.file


def find_source(app: object) -> AppSource:
    """Return the file and the variable of an app.

    Raises:
        LoadError: another process could not find it.
    """
    for source in sources_of(app):
        return source
    raise LoadError(
        "several workers, and reloading, need new processes, which must find the app in a file again: "
        "make it at the top level of a file, as in `app = MCPApp(...)`, not in a function or at a prompt"
    )


def sources_of(app: object) -> Iterator[AppSource]:
    """Yield all variables that hold an app: in the module that creates it, and in those that import it."""
    for key, module in list(sys.modules.items()):
        names: dict[str, object] = dict(getattr(module, "__dict__", {}))  # sys.modules may hold other objects
        file = names.get("__file__")
        if not isinstance(file, str) or not Path(file).is_file():
            continue
        for name, value in names.items():
            if value is app:
                spec = getattr(module, "__spec__", None)
                yield AppSource(spec.name if key == "__main__" and spec is not None else key, file, name)


def module_of(file: Path) -> tuple[Path, str]:
    """Return the folder that must be on the import path for a file, and the module's name relative to it.

    A file belongs to a package if `__init__.py` is beside it, or if it lies in a folder of `src/`.
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

    The folder of the file, or that of its outermost package, comes first on the import path; it comes last if the
    file would shadow a module that is needed. Modules beside a file of a package are importable as well, unless
    another module has the name.

    Raises:
        LoadError: it is no Python file, or its import fails.
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


def _import_as(name: str, path: Path, submodules: list[str] | None = None) -> ModuleType:
    """Import a file under a name, which replaces any other module of that name; a package has submodules."""
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=submodules)
    if spec is None or spec.loader is None:
        raise LoadError(f"{path.name!r} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader = spec.loader
    _importing(path, lambda: loader.exec_module(module))
    return module


def _import_beside(path: Path, root: Path, name: str) -> ModuleType:
    """Import a file as `served_NAME`, because its own name, or that of its package, is needed for another module.

    Its folder comes last on the import path, so that the modules beside it shadow nothing either.
    """
    last = dict.fromkeys((str(root), str(path.parent)))
    sys.path[:] = [entry for entry in sys.path if str(Path(entry).resolve()) not in last] + list(last)
    top, _, submodule = name.partition(".")
    try:
        return _import_as_served(path, root / top, top, submodule)
    except LoadError as error:
        missing = error.__cause__
        if isinstance(missing, ImportError) and str(missing.name).partition(".")[0] == top:
            raise LoadError(
                f"{error}\n\n{top!r} is also the name of a module that is needed, and means that one here. "
                "Rename yours, or import what is in it relatively, as in `from .tools import add`"
            ) from missing
        raise


def _import_as_served(path: Path, package: Path, top: str, submodule: str) -> ModuleType:
    """Import a file as `served_TOP`, or its package under that name and then its submodule."""
    if not submodule and path.stem != "__init__":
        return _import_as(f"served_{top}", path)
    init = package / "__init__.py"
    if init.is_file():
        module = _import_as(f"served_{top}", init, [str(package)])
    else:
        module = sys.modules[f"served_{top}"] = ModuleType(f"served_{top}")
        module.__path__ = [str(package)]
    if not submodule:
        return module
    return _importing(path, lambda: importlib.import_module(f"served_{top}.{submodule}"))


def import_named(name: str, folder: Path) -> ModuleType:
    """Import a module by its name; the project's folder and its `src/` come first on the import path.

    Raises:
        LoadError: there is no such module, or its import fails.
    """
    folder = folder.resolve()
    folders = [directory for directory in (folder / "src", folder) if directory.is_dir()]
    if is_needed(name.partition(".")[0]):
        for directory in folders:
            stem = directory / name.replace(".", "/")
            for file in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py"):
                if file.is_file():
                    return import_file(file)
    sys.path[:0] = map(str, folders)
    try:
        return _importing(Path(name), lambda: importlib.import_module(name))
    except LoadError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and cause.name and f"{name}.".startswith(f"{cause.name}."):
            searched = " or ".join(repr(str(directory)) for directory in folders)
            raise LoadError(
                f"there is no module {name!r}: {cause.name!r} is not installed, and not in {searched}"
            ) from None
        raise


def what_hides(error: Exception) -> str | None:
    """Return the file that hides a package which is needed, if that is why a name was not found.

    Args:
        error: the `ImportError` or the `AttributeError`.
    """
    owner: object = getattr(error, "obj", None)
    name = owner.__name__ if isinstance(owner, ModuleType) else str(getattr(error, "name", None))
    top = name.partition(".")[0]
    module = sys.modules.get(top)
    file = getattr(module, "__file__", None)
    if file is None or not is_needed(top) or file.startswith((*_library_folders(), *_INTERNAL_FILES)):
        return None
    return f"{file} hides the module {top!r}, which is needed; rename it"


def _is_taken(name: str, root: Path) -> bool:
    """Return whether a package of this name was imported from another folder."""
    top = name.partition(".")[0]
    module = sys.modules.get(top)
    return module is not None and root / top not in [
        Path(folder).resolve() for folder in getattr(module, "__path__", ())
    ]


def _importing(path: Path, work: Callable[[], Imported]) -> Imported:
    try:
        return work()
    except SettingsError:
        raise
    except Exception as error:
        text = f"{path.name!r} failed while it was imported\n\n{_traceback(error)}"
        if isinstance(error, (ImportError, AttributeError)) and (advice := _advice_on_name(error, path)):
            text += f"\n\n{advice}"
        raise LoadError(text) from error


def _advice_on_name(error: ImportError | AttributeError, path: Path) -> str | None:
    """Return what to do about a name that is missing because two modules have one name, if that is why."""
    if hidden := what_hides(error):
        return hidden
    top = str(error.name).partition(".")[0] if isinstance(error, ImportError) else ""
    beside = next((file for file in (path.parent / f"{top}.py", path.parent / top) if file.exists()), None)
    if beside is None or top not in sys.modules or not is_needed(top):
        return None
    return f"{top!r} is the package of that name here, which is needed, and not {beside}; rename yours"


def describe_error(error: Exception, log_level: str) -> str:
    """Return the text of an error; at the level `debug`, with all frames of the exception that a file raised."""
    cause = error.__cause__
    if log_level != "debug" or not isinstance(error, LoadError) or cause is None:
        return str(error)
    return f"{error}\n\nWith all frames:\n\n{''.join(traceback.format_exception(cause)).rstrip()}"


def _traceback(error: Exception) -> str:
    """Return the traceback with the frames of the user's code and of libraries that it calls.

    Frames of Enfilade, and of libraries that it calls, add nothing to the text of the error.
    """
    trace = traceback.TracebackException.from_exception(error)
    _drop_internal_frames(trace)
    return "".join(trace.format()).rstrip()


def _library_folders() -> tuple[str, ...]:
    """Return the prefixes of file names that are not the user's; generated code has a name in angle brackets."""
    import sysconfig  # its import takes longer than that of most servers

    return ("<", *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")))


def _drop_internal_frames(trace: traceback.TracebackException, below_ours: bool = False) -> None:
    """Drop our frames from a traceback, and chained errors that were raised and caught within them.

    Args:
        trace: the traceback; changed in place.
        below_ours: whether its first frame was called by us, or by a library that we called.
    """
    libraries = _library_folders()
    user_frames, has_ours = [], below_ours
    for frame in trace.stack:
        if frame.filename.startswith(_INTERNAL_FILES):
            below_ours = not frame.filename.startswith("<")
            has_ours |= below_ours
        elif not below_ours or not frame.filename.startswith(libraries):
            user_frames.append(frame)
            below_ours = False
    trace.stack = traceback.StackSummary.from_list(user_frames)
    for attribute in ("__cause__", "__context__"):
        chained = getattr(trace, attribute)
        if chained is not None:
            _drop_internal_frames(chained, has_ours)
            if not chained.stack and not isinstance(chained, SyntaxError):
                setattr(trace, attribute, None)
    for inner in trace.exceptions or ():
        _drop_internal_frames(inner, has_ours)


def is_needed(name: str) -> bool:
    """Return whether a server imports a top-level module of this name, directly or not."""
    return name in PACKAGES or (name in sys.stdlib_module_names and name not in _UNUSED)


def project_folder(file: Path) -> Path:
    """Return the folder of a file's project: the nearest one with a `pyproject.toml`, or else the file's own."""
    for folder in file.resolve().parents:
        if (folder / "pyproject.toml").is_file():
            return folder
    return file.resolve().parent
