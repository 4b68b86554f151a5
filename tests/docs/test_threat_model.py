"""The threat model claims nothing that no test checks."""

import re

import pytest

from support.docs.pages import ROOT, table

PAGE = ROOT / "docs" / "threat-model.md"


@pytest.mark.parametrize(("heading", "least"), [("stolen", 15), ("hostile", 8)])
def test_every_row_names_tests_that_exist(heading: str, least: int) -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    known = set(re.findall(r"^ *(?:async )?def (test_\w+)", sources, re.MULTILINE))
    rows = table(PAGE, heading)
    assert len(rows) >= least
    for what, *_, named in rows:
        proofs = set(re.findall(r"`(test_\w+)`", named))
        assert proofs, what
        assert proofs <= known, (what, proofs - known)
