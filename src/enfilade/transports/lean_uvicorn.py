"""uvicorn as a library: loaded without its command line, which takes half as long again.

`import uvicorn` loads its command with click, and its process supervisors with `multiprocessing`, none of which
a server in this process needs. Here the package is entered without that; whoever then asks it for more than
`Config` and `Server`, such as `uvicorn.run`, makes it load the rest and finds everything as ever.

Easy to get wrong: other code in the process imports uvicorn as well. So the package stays the real one, with its
own spec and path, and one that is loaded already is left alone.
"""

import importlib.util
import sys
import threading
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """uvicorn's package, whose own file is run when something is asked for that is not there yet."""

    _lock = threading.RLock()
    _is_run = False

    def __getattr__(self, name: str) -> Any:
        with _Package._lock:
            spec = self.__spec__
            if not self._is_run and spec is not None and spec.loader is not None:
                self._is_run = True
                spec.loader.exec_module(self)
        if name in self.__dict__:
            return self.__dict__[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def enter() -> None:
    """Make `import uvicorn` cheap, unless it has happened already or uvicorn is not made as it was."""
    if "uvicorn" in sys.modules or (spec := importlib.util.find_spec("uvicorn")) is None:
        return
    package = importlib.util.module_from_spec(spec)
    package.__class__ = _Package
    sys.modules["uvicorn"] = package
    try:
        from uvicorn.config import Config
        from uvicorn.server import Server
    except ImportError:
        for name in [each for each in sys.modules if each.partition(".")[0] == "uvicorn"]:
            del sys.modules[name]
    else:
        package.__dict__.update(Config=Config, Server=Server)
