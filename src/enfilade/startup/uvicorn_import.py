"""uvicorn as a library: imported without its command line, which a server in this process does not need.

`import uvicorn` also imports its command, with click, and its process supervisors, with `multiprocessing`. That
is an eighth of the processor time between the start of `enfilade run` and its first answer. So the package is
imported with `Config` and `Server` alone, and its own file is run when anybody asks it for more. From then on it
is an ordinary module, with what `import uvicorn` puts there.

Easy to get wrong: other code in the process imports uvicorn as well, in other threads too. So the import system
does the import, under its locks; and of the ways to look at the package, only `type(uvicorn)` tells the
difference.
"""

import contextlib
import importlib
import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

#: The submodule whose import is what takes long. The package's own file replaces it by the command of that name.
_COMMAND_LINE = "main"


#: Held while the list of finders is replaced. It is never changed in place: another thread may be in the middle
#: of it, and would pass over a finder when the list becomes shorter, so that a module that exists is not found.
_finders_lock = threading.Lock()


class _Package(ModuleType):
    """uvicorn's package as long as its own file has not been run."""

    # Innermost: under it nothing is imported that is not imported already, so no thread that holds a lock of the
    # import system is ever waited for.
    _lock = threading.RLock()
    _is_running = False

    def __getattribute__(self, name: str) -> Any:
        if name in {"__dict__", "__class__"}:  # `vars()`, `dir()` and `isinstance()` ask for these
            _load(self)
        return ModuleType.__getattribute__(self, name)  # by now it may be no `_Package`

    def __getattr__(self, name: str) -> Any:
        _load(self)
        return ModuleType.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        is_submodule = value is sys.modules.get(f"{self.__name__}.{name}")  # bound by the import system
        if is_submodule and name == _COMMAND_LINE:
            _run(self)  # which binds that name to the command
            return
        if not is_submodule:
            _load(self)  # later, the file would undo it
        ModuleType.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        _load(self)
        ModuleType.__delattr__(self, name)


def _load(package: ModuleType) -> None:
    """Import what the package's own file imports, and run that file."""
    if not _Package._is_running:
        with contextlib.suppress(ImportError):  # in which case the file says what is wrong
            importlib.import_module(f"{package.__name__}.{_COMMAND_LINE}")
    _run(package)


def _run(package: ModuleType) -> None:
    """Run the package's own file, once."""
    with _Package._lock:
        if type(package) is not _Package or _Package._is_running:
            return
        _Package._is_running = True
        try:
            assert package.__spec__ is not None
            assert package.__spec__.loader is not None
            package.__spec__.loader.exec_module(package)
            object.__setattr__(package, "__class__", ModuleType)
        finally:
            _Package._is_running = False


class _Loader(Loader):
    """Makes the package without running its file, if `Config` and `Server` are where they are expected."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        try:
            config = importlib.import_module(f"{module.__name__}.config").Config
            server = importlib.import_module(f"{module.__name__}.server").Server
        except (ImportError, AttributeError):  # it is made otherwise
            self._loader.exec_module(module)
        else:
            module.__dict__.update(Config=config, Server=server)
            module.__class__ = _Package


class _Finder(MetaPathFinder):
    """Finds uvicorn as the others do, and puts `_Loader` in front of its loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "uvicorn":
            return None
        for finder in sys.meta_path:
            spec = None if isinstance(finder, _Finder) else finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


def enter() -> None:
    """Import uvicorn without its command line, unless it is imported already."""
    if "uvicorn" in sys.modules:
        return
    finder = _Finder()
    with _finders_lock:
        sys.meta_path = [finder, *sys.meta_path]
    try:
        with contextlib.suppress(ImportError):  # there is none; whoever needs it says so
            importlib.import_module("uvicorn")
    finally:
        with _finders_lock:
            sys.meta_path = [each for each in sys.meta_path if each is not finder]
