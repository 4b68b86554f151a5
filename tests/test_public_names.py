"""The names of the public face: those that there are, and those that people know from other frameworks."""

import ast
import importlib
import inspect
import pkgutil
import re
from types import ModuleType
from typing import TypeGuard

import pytest

import enfilade
import enfilade.exceptions
import enfilade.testing
from enfilade.primitives.foreign_names import MODULES


@pytest.mark.parametrize(
    "name",
    [
        *("FastMCP", "Client", "Middleware", "CurrentContext", "get_http_headers", "get_context", "Progress"),
        *("AcceptedElicitation", "TextResource", "ResourceResult", "MCPError", "dependencies", "server"),
    ],
)
def test_a_name_that_is_imported_says_what_to_write(name: str) -> None:
    with pytest.raises(
        ImportError, match=rf"cannot import name '{name}' from 'enfilade': .*\(see docs/from-fast"
    ):
        exec(f"from enfilade import {name}")
    with pytest.raises(
        AttributeError, match=rf"module 'enfilade' has no attribute '{name}': .*\(see docs/from-f"
    ):
        getattr(enfilade, name)
    assert not hasattr(enfilade, name)


def test_any_other_name_is_refused_as_by_any_module() -> None:
    with pytest.raises(ImportError, match=r"^cannot import name 'Contxt' from 'enfilade' \("):
        exec("from enfilade import Contxt")
    with pytest.raises(AttributeError, match=r"^module 'enfilade' has no attribute 'Contxt'$"):
        getattr(enfilade, "Contxt")
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'enfilade\.absent'$"):
        importlib.import_module("enfilade.absent")


@pytest.mark.parametrize("module", ["server.middleware", *sorted(MODULES)])
def test_a_module_that_is_imported_says_what_to_write(module: str) -> None:
    root = module if module in MODULES else module.partition(".")[0]
    with pytest.raises(
        ModuleNotFoundError, match=rf"^No module named 'enfilade\.{re.escape(root)}': .*\(see docs/from-fastm"
    ):
        importlib.import_module(f"enfilade.{module}")


@pytest.mark.parametrize("package", [enfilade, enfilade.exceptions, enfilade.testing])
def test_type_checkers_and_python_know_the_same_names(package: ModuleType) -> None:
    (block,) = [each for each in ast.parse(inspect.getsource(package)).body if is_for_checkers(each)]
    imports = {
        name.asname: each.module for each in block.body if isinstance(each, ast.ImportFrom) for name in each.names
    }
    assert imports == {name: home for name, home in package._LAZY_EXPORTS.items() if name != "__version__"}
    assert package.__all__ == sorted(package._LAZY_EXPORTS) == dir(package)
    assert all(hasattr(package, name) for name in package.__all__)


def test_every_exception_for_handlers_is_public() -> None:
    for module in pkgutil.walk_packages(enfilade.__path__, "enfilade."):
        if module.name.startswith(
            tuple(f"enfilade.{name}" for name in ("auth", "primitives", "serving", "state"))
        ):
            importlib.import_module(module.name)
    classes = [enfilade.EnfiladeError]
    for exception in classes:
        if exception.__module__.startswith("enfilade."):
            assert getattr(enfilade.exceptions, exception.__name__, None) is exception
            classes += exception.__subclasses__()
    assert len(classes) > 10
    assert all(issubclass(getattr(enfilade.exceptions, name), Exception) for name in dir(enfilade.exceptions))


def is_for_checkers(statement: ast.stmt) -> TypeGuard[ast.If]:
    """Whether a statement is `if TYPE_CHECKING:`."""
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"
