"""Behind the transports no code asks for the revision: tables of `wire` and the request's asker decide."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from enfilade.wire.revisions import ALL
from support.servers.processes import ROOT

FOLDERS = ("serving", "primitives")
FILES = sorted(file for folder in FOLDERS for file in (ROOT / "src/enfilade" / folder).rglob("*.py"))
#: Names of `wire.revisions` that stand for one kind of revisions.
ERAS = {"STATELESS", "HANDSHAKE", "LATEST_STATELESS", "LATEST_HANDSHAKE"}


def comparisons(tree: ast.AST) -> Iterator[str]:
    """Yield what is compared with revisions, or with a kind of them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for operand in (node.left, *node.comparators):
                for inner in ast.walk(operand):
                    named = isinstance(inner, ast.Name) and inner.id in ERAS
                    literal = isinstance(inner, ast.Constant) and inner.value in ALL
                    if named or literal:
                        yield ast.unparse(node)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT / "src/enfilade")))
def test_nothing_is_decided_by_the_revision(file: Path) -> None:
    assert list(comparisons(ast.parse(file.read_text(encoding="utf-8")))) == []


def test_a_decision_would_be_seen() -> None:
    code = "if request.peer.revision in STATELESS: pass\nif '2025-11-25' == revision: pass\nx = STATELESS[-1]"
    assert list(comparisons(ast.parse(code))) == [
        "request.peer.revision in STATELESS",
        "'2025-11-25' == revision",
    ]
