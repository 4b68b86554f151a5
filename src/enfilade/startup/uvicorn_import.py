"""Importing uvicorn without its command line, which a server in this process does not need.

`import uvicorn` also imports its command with click, and its process supervisors with `multiprocessing`: that is
an eighth of the processor time between the start of `enfilade run` and its first response. So the package is
created with `Config` and `Server` only, and its own `__init__.py` is run when any other attribute is read or set.
From then on it is an ordinary module with the content that `import uvicorn` gives it. This can be deleted once
uvicorn's own package imports its command lazily.

Likewise, the modules of Python that uvicorn needs for a configuration of the log alone are run when somebody
reads an attribute of them.

Easy to get wrong: other code in the process imports uvicorn too, also in other threads. So the import system does
the import, under its locks, and only `type(uvicorn)` shows the difference.
"""

import contextlib
import importlib
import sys
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from enfilade.startup.lazy import first_finder

if TYPE_CHECKING:
    from importlib.abc import Loader, MetaPathFinder
else:  # whose module imports archives and compression; nothing needs these base classes
    Loader = MetaPathFinder = object

#: The submodule that is slow to import. The package's own file replaces it by the command of the same name.
_COMMAND_LINE = "main"

#: What `uvicorn.config` imports and a server without a configuration of the log does not need.
_SELDOM_NEEDED: Final = ("logging.config", "configparser")


class _Package(ModuleType):
    """uvicorn's package until its own file has been run."""

    # The innermost lock: whatever is imported while it is held has been imported before, so it never waits for a
    # thread that holds a lock of the import system.
    _lock = threading.RLock()
    _is_running = False

    def __getattribute__(self, name: str) -> Any:
        if name in {"__dict__", "__class__"}:  # as `vars()`, `dir()` and `isinstance()` read
            _load(self)
        return ModuleType.__getattribute__(self, name)  # `_load` may have changed the class

    def __getattr__(self, name: str) -> Any:
        _load(self)
        return ModuleType.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        is_submodule = value is sys.modules.get(f"{self.__name__}.{name}")  # set by the import system
        if is_submodule and name == _COMMAND_LINE:
            _run(self, _Package)  # which sets that name to the command
            return
        if not is_submodule:
            _load(self)  # first, or the file would overwrite the value later
        ModuleType.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        _load(self)
        ModuleType.__delattr__(self, name)


def _load(package: ModuleType) -> None:
    """Import what the package's own file imports, and run that file."""
    if not _Package._is_running:
        with contextlib.suppress(ImportError):  # running the file raises the error
            importlib.import_module(f"{package.__name__}.{_COMMAND_LINE}")
    _run(package, _Package)


def _run(module: ModuleType, kind: "type[_Package | _Deferred]") -> None:
    """Run the file of a module that is of a kind which waits for it, once."""
    with kind._lock:
        if type(module) is not kind or kind._is_running:
            return
        kind._is_running = True
        try:
            assert module.__spec__ is not None
            assert module.__spec__.loader is not None
            module.__spec__.loader.exec_module(module)
            object.__setattr__(module, "__class__", ModuleType)
        finally:
            kind._is_running = False


class _Loader(Loader):
    """Creates the package without running its file, if `Config` and `Server` are where they are expected."""

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
        except (ImportError, AttributeError):  # another version of uvicorn: import it as usual
            self._loader.exec_module(module)
        else:
            module.__dict__.update(Config=config, Server=server)
            module.__class__ = _Package


class _Finder(MetaPathFinder):
    """Finds uvicorn by the other finders, and wraps its loader in `_Loader`."""

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


class _Deferred(ModuleType):
    """A module whose file is run when an attribute is read that it does not have yet, or all of them."""

    # One for all of them. What their files import needs none of them, so no thread waits for another in a circle.
    _lock = threading.RLock()
    _is_running = False

    def __getattribute__(self, name: str) -> Any:
        if name in {"__dict__", "__class__"}:  # as `vars()`, `dir()` and `isinstance()` read
            _run(self, _Deferred)
        return ModuleType.__getattribute__(self, name)

    def __getattr__(self, name: str) -> Any:
        _run(self, _Deferred)
        return ModuleType.__getattribute__(self, name)


def _defer(name: str) -> None:
    """Put a module into the list of those that are imported, without running its file."""
    spec = None if name in sys.modules else find_spec(name)
    if spec is None:
        return
    module = module_from_spec(spec)
    module.__class__ = _Deferred
    package, _, child = name.rpartition(".")
    if package:
        setattr(sys.modules[package], child, module)
    sys.modules[name] = module


def import_uvicorn() -> None:
    """Import uvicorn without its command line, unless it is imported already."""
    if "uvicorn" in sys.modules:
        return
    for name in _SELDOM_NEEDED:
        _defer(name)
    with (
        first_finder(_Finder()),
        contextlib.suppress(ImportError),
    ):  # not installed: the caller's own import raises
        importlib.import_module("uvicorn")
