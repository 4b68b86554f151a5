"""The page about reliability claims nothing that no test proves."""

import re

from support.docs.pages import ROOT, prose, table

PAGE = ROOT / "docs" / "reliability.md"


def test_every_row_is_proven_by_tests_that_exist() -> None:
    """A row without a test is a promise, and a test that was renamed proves nothing."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    tests = r"^(?:async )?def (test_\w+)"
    known = {name for source in sources for name in re.findall(tests, source, re.MULTILINE)}
    rows = table(PAGE, "what happens")
    assert len(rows) > 10
    for what, _, named in rows:
        proofs = set(re.findall(r"`(test_\w+)`", named))
        assert proofs, what
        assert proofs <= known, what


def test_every_test_and_file_that_the_page_names_exists() -> None:
    """A file by its path or by its name alone, a function and a class by their names."""
    sources = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")}
    known = set(re.findall(r"^ *(?:async def|def|class) (\w+)", "\n".join(sources.values()), re.MULTILINE))
    named = set(re.findall(r"`([\w/]+\.py|test_\w+|Test\w+)`", prose(PAGE)))
    files = {name for name in named if name.endswith(".py")}
    assert len(files) > 5
    assert {name for name in files if "/" in name and not (ROOT / name).is_file()} == set()
    assert {name for name in files if "/" not in name} - {path.name for path in sources} == set()
    assert named - files - known == set()
