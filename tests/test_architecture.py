"""The shape of the code: no import circles, folders of a limited size, parameters with telling names."""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
FILES = {
    ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((SRC / "enfilade").rglob("*.py"))
}
#: Most files side by side in a folder. `wire` has one file for each family of messages, as the specification has.
MOST_FILES, UNBOUNDED = 22, {"wire"}
#: Words that say nothing of what a value is: participles, pronouns and adverbs.
VAGUE = {
    *(
        "each",
        "found",
        "given",
        "kept",
        "known",
        "left",
        "of",
        "part",
        "place",
        "rest",
        "said",
    ),
    *("told", "wanted", "what", "who", "whole", "words", "manner", "seat", "it", "them", "thing"),
}


def imports(name: str, path: Path) -> set[str]:
    """Return the modules of ours that a module imports anywhere in it, for type checkers as well."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            modules.update(inner & FILES.keys() or {node.module})
    return (modules & FILES.keys()) - {name, "enfilade"}


@cache
def graph_of_modules() -> dict[str, set[str]]:
    """Return what each module imports. It takes seconds, so not when tests are collected."""
    return {name: imports(name, path) for name, path in FILES.items() if name != "enfilade"}


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the strongly connected components of more than one module (Tarjan)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    components: list[set[str]] = []

    def visit(node: str) -> None:
        index[node] = lowest[node] = len(index)
        stack.append(node)
        for successor in graph[node]:
            if successor not in index:
                visit(successor)
                lowest[node] = min(lowest[node], lowest[successor])
            elif successor in stack:
                lowest[node] = min(lowest[node], index[successor])
        if lowest[node] == index[node]:
            start = stack.index(node)
            if len(stack) - start > 1:
                components.append(set(stack[start:]))
            del stack[start:]

    sys.setrecursionlimit(max(sys.getrecursionlimit(), 5_000))
    for node in graph:
        if node not in index:
            visit(node)
    return components


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(graph_of_modules()) == []


def test_a_circle_would_be_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a", "e"}}
    assert circles(graph) == [{"b", "c"}]
    assert len(graph_of_modules()["enfilade.app"]) > 5


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES.values()}), ids=lambda path: path.name)
def test_folders_can_be_overlooked(folder: Path) -> None:
    if folder.name not in UNBOUNDED:
        assert len(list(folder.glob("*.py"))) <= MOST_FILES


def test_there_are_few_files() -> None:
    assert len(FILES) <= 490


#: Files in docstrings that are examples.
EXAMPLES = {"file.py", "queue.py", "src/NAME/server.py", "src/json/server.py", "src/notes/server.py"}
PYTHON_FILES = [
    path for folder in ("src", "tests", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")
]


def named_files(path: Path) -> set[str]:
    """Return the Python files that the docstrings of a file name, without patterns such as `test_*.py`."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, documented)]
    return {name for text in docstrings for name in re.findall(r"(?<![\w/*.])[\w/]+\.py\b", text)}


def test_files_that_docstrings_name_exist() -> None:
    known = [f"/{path.relative_to(ROOT).as_posix()}" for path in PYTHON_FILES]
    gone = {
        f"{path.relative_to(ROOT).as_posix()}: {name}"
        for path in PYTHON_FILES
        if path.is_relative_to(SRC) or path.is_relative_to(ROOT / "tests")
        for name in named_files(path) - EXAMPLES
        if not any(file.endswith(f"/{name}") for file in known)
    }
    assert gone == set()


def parameters(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the public functions and methods of a file, each with the name of each parameter."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for owner in (tree, *classes):
        for node in owner.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if not node.name.startswith("_") or node.name == "__init__":
                arguments = node.args
                for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
                    yield node.name, argument.arg


@pytest.mark.parametrize("module", sorted(FILES))
def test_public_parameters_say_what_they_hold(module: str) -> None:
    vague = Counter((name, parameter) for name, parameter in parameters(FILES[module]) if parameter in VAGUE)
    assert not vague
