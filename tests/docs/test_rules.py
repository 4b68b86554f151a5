"""Every rule that code or tests cite is in `docs/rules.md`, and every rule there is kept and tested."""

from pathlib import Path

from docs import rules
from docs.rules import ROOT

TABLE = {id: rule for section in rules.table().values() for id, rule in section.items()}
#: Sections of rules about what the whole server does, which no single function keeps.
OF_THE_WHOLE = {id for section in ("acceptance", "contradictions", "reference") for id in rules.table()[section]}


def in_code() -> dict[str, list[rules.Place]]:
    """Return where the code cites each rule. It takes seconds, so not when tests are collected."""
    return rules.cited(ROOT / "src" / "enfilade")


def in_tests() -> dict[str, list[rules.Place]]:
    """Return where the tests cite each rule."""
    return rules.cited(ROOT / "tests")


def test_every_id_that_is_cited_has_its_row() -> None:
    assert {*in_code(), *in_tests()} - TABLE.keys() == set()


def test_every_rule_is_kept_by_code_that_cites_it() -> None:
    assert TABLE.keys() - in_code().keys() - OF_THE_WHOLE == set()


def test_every_rule_has_a_test_that_cites_it() -> None:
    """A helper or a whole file that cites a rule tests nothing by itself."""
    tested = {id for id, places in in_tests().items() if any(place.is_test for place in places)}
    assert TABLE.keys() - tested == set()


def test_the_page_is_the_one_that_is_made() -> None:
    assert rules.PAGE.read_text(encoding="utf-8") == rules.page(), "run `python tests/docs/rules.py`"


def test_a_place_is_named_by_its_function(tmp_path: Path) -> None:
    source = (
        "# R-101\n\n#: Two. R-36A\nLIMIT: int = 2\n\nclass One:\n"
        "    def two(self):\n        '''E-14'''\n        return 2  # D5b, and R-2C7\n"
    )
    (tmp_path / "a.py").write_text(source, encoding="utf-8")
    places = {id: str(*places) for id, places in rules.cited(tmp_path).items()}
    assert places == {
        "R-101": "`a.py`",
        "R-36A": "`a.py:LIMIT`",
        "E-14": "`a.py:One.two`",
        "D5b": "`a.py:One.two`",
        "R-2C7": "`a.py:One.two`",
    }
    assert rules.ID.findall("UTF-8 ISO-8601 S3Client XR-101 R-1011 E-1 P256K a-D9") == []
    assert rules.ID.findall("extensions-C-15") == ["C-15"]


def test_a_case_of_a_test_is_named_by_its_id(tmp_path: Path) -> None:
    source = (
        "ONE = ['E-05 no header', f'E-11 {id}']\nROWS = [*ONE, 'E-14']\nOTHER = 'R-101'\n\n"
        "@parametrize('row', ROWS)\ndef test_row(row): ...\n\ndef test_ids_r2c7_d5b_c15(): ...\n"
    )
    (tmp_path / "test_a.py").write_text(source, encoding="utf-8")
    places = rules.cited(tmp_path)
    assert {id: str(*cited) for id, cited in places.items()} == {
        "E-05": "`test_a.py:test_row[E-05 no header]`",
        "E-11": "`test_a.py:test_row[E-11 …]`",
        "E-14": "`test_a.py:test_row[E-14]`",
        "R-101": "`test_a.py`",
        **dict.fromkeys(("R-2C7", "D5b", "C-15"), "`test_a.py:test_ids_r2c7_d5b_c15`"),
    }
    assert [id for id, (place,) in places.items() if not place.is_test] == ["R-101"]


def test_sources_are_links() -> None:
    assert rules.link("http@0728#Security & Endpoint").endswith(
        "(https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#security-endpoint)"
    )
    assert rules.link("silent:cancellation@1125#Error Handling") == (
        "*silent:* [2025-11-25 cancellation, Error Handling]"
        "(https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/cancellation#error-handling)"
    )
    assert rules.link("rfc9110#15.5.6") == (
        "[RFC 9110 §15.5.6](https://www.rfc-editor.org/rfc/rfc9110#section-15.5.6)"
    )
    assert all(rules.link(source).count("](https://") == 1 for source, _ in TABLE.values())
