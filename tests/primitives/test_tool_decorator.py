"""`tool_decorator.py`: `@tool`, and finding the marked functions of any module (P1, P5)."""

import functools
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from enfilade.primitives.tool_decorator import options_of, tool, tools_in_module

PACKAGE = {
    "shop/__init__.py": "from enfilade.primitives.tool_decorator import tool\nfrom .b import second\n",
    "shop/b.py": (
        "from enfilade.primitives.tool_decorator import tool\n"
        "@tool\ndef second(): ...\n@tool(name='one')\ndef first(): ...\ndef none(): ...\nalias = second\n"
        "class Thing:\n    @tool\n    def method(self): ...\nthing = Thing()\n"
    ),
    "shop/a.py": "from .b import first\nfrom .deep.c import third as renamed\n",
    "shop/deep/__init__.py": "",
    "shop/deep/c.py": "from enfilade.primitives.tool_decorator import tool\n@tool\nasync def third(): ...\n",
    "shop/__main__.py": "raise SystemExit('must not run')\n",
    "single.py": (
        "from enfilade.primitives.tool_decorator import tool\n@tool\ndef z(): ...\n@tool\ndef a(): ...\n"
    ),
    "broken/__init__.py": "",
    "broken/bad.py": "1 / 0\n",
    "needs.py": "import surely_not_installed_anywhere\n",
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in PACKAGE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    others = _taken_out()  # modules of other tests, which have the same names
    yield
    _taken_out()
    sys.modules.update(others)


def _taken_out() -> dict[str, ModuleType]:
    """Take all modules with the names of these files out of `sys.modules`."""
    names = [name for name in sys.modules if name.partition(".")[0] in {"shop", "single", "broken", "needs"}]
    return {name: sys.modules.pop(name) for name in names}


@pytest.mark.usefixtures("files")
def test_a_plain_module_that_nobody_installed_p1() -> None:
    assert [fn.__name__ for fn in tools_in_module("single")] == ["z", "a"]


@pytest.mark.usefixtures("files")
def test_a_package_with_all_below_it_each_function_once_p1_p5() -> None:
    for _ in range(2):
        assert [fn.__name__ for fn in tools_in_module("shop")] == ["second", "first", "third"]
    assert [fn.__name__ for fn in tools_in_module(importlib.import_module("shop"))] == [
        "second",
        "first",
        "third",
    ]
    assert [fn.__name__ for fn in tools_in_module("shop.deep")] == ["third"]


def test_a_module_made_by_hand() -> None:
    module = ModuleType("by_hand")

    @tool(title="T")
    def fn() -> None: ...

    module.fn = fn  # type: ignore[attr-defined]
    module.partial = functools.partial(print)  # type: ignore[attr-defined]
    assert tools_in_module(module) == [fn]


@pytest.mark.usefixtures("files")
def test_what_cannot_be_imported_is_named() -> None:
    with pytest.raises(
        ModuleNotFoundError, match=r"there is no module 'nowhere_at_all\.x'; give its dotted name"
    ):
        tools_in_module("nowhere_at_all.x")
    with pytest.raises(ImportError, match=r"broken\.bad cannot be imported: ZeroDivisionError"):
        tools_in_module("broken")
    with pytest.raises(ModuleNotFoundError, match="surely_not_installed_anywhere"):
        tools_in_module("needs")


def test_the_function_stays_as_it_is() -> None:
    @tool
    def bare() -> int:
        return 1

    @tool(
        name="n",
        structured_output=False,
        additional_properties=True,
        requires_secrets=["K"],
        timeout=5,
        colour="red",
    )
    def with_options() -> int:
        return 2

    assert (bare(), with_options()) == (1, 2)
    assert options_of(with_options) == {
        "name": "n",
        "structured_output": False,
        "additional_properties": True,
        "requires_secrets": ["K"],
        "timeout": 5,
        "colour": "red",
    }
    assert options_of(print) is None


@pytest.mark.parametrize(
    ("wrong", "message"), [(3, "options are given by name"), (len, "cannot be marked|cannot mark")]
)
def test_what_cannot_be_marked(wrong: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        tool(wrong)
