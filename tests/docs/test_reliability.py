"""The page about reliability claims nothing that no test proves."""

import re

from support.docs.pages import ROOT, table


def test_every_row_is_proven_by_tests_that_exist() -> None:
    """A row without a test is a promise, and a test that was renamed proves nothing."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    tests = r"^(?:async )?def (test_\w+)"
    known = {name for source in sources for name in re.findall(tests, source, re.MULTILINE)}
    rows = table(ROOT / "docs" / "reliability.md", "what happens")
    assert len(rows) > 10
    for what, _, named in rows:
        proofs = set(re.findall(r"`(test_\w+)`", named))
        assert proofs, what
        assert proofs <= known, what
