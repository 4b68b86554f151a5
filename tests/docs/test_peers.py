"""The tables beside other frameworks: figures are those of the benchmark, features of Enfilade are there."""

import re
from typing import Final

import pytest

import enfilade
from docs.peers import LANDING_PAGE, README, ROWS, figures
from enfilade.client_config.entry import CLIENTS
from enfilade.wire import revisions
from support.docs.pages import ROOT, table

_NOTE: Final = re.compile(r" [¹²³⁴⁵]")
_LINK: Final = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")


def test_the_figures_are_those_of_the_last_run() -> None:
    rows = {row[0]: tuple(row[1:]) for row in table(README, "measured")}
    assert set(rows) == set(ROWS)
    assert rows == figures(), "run `python tests/docs/peers.py`"


def test_the_landing_page_has_figures_of_the_last_run() -> None:
    rows = {row[0]: tuple(row[1:]) for row in table(LANDING_PAGE, "measured")}
    assert len(rows) >= 5
    assert rows.items() <= figures().items(), "run `python tests/docs/peers.py`"


def test_the_landing_page_says_of_features_what_the_readme_says() -> None:
    def text(row: list[str]) -> list[str]:
        return [_NOTE.sub("", _LINK.sub(r"\1", cell)) for cell in row]

    full = [text(row) for row in table(README, "feature")]
    short = [text(row) for row in table(LANDING_PAGE, "feature")]
    assert len(short) >= 10
    assert [row for row in short if row not in full] == []


def test_a_feature_of_enfilade_has_a_page() -> None:
    """Each cell of Enfilade is a link to a page, whose code is executed, or says no; but for the licence."""
    for name, ours, *_ in table(README, "feature"):
        if name != "licence":
            assert ours.startswith("no") or _LINK.search(ours), name


def test_counts_in_the_features_are_right() -> None:
    rows = {row[0]: _LINK.sub(r"\1", row[1]) for row in table(README, "feature")}
    assert rows["protocol revisions"] == {5: "all five"}[len(revisions.ALL)]
    assert rows["command that registers the server with clients"] == f"{len(CLIENTS) - 1} clients"  # and mcp.json


@pytest.mark.parametrize(
    ("feature", "names"),
    [
        ("import of an OpenAPI description", ("from_openapi", "from_fastapi")),
        ("proxying and mounting of other MCP servers", ("mount", "proxy", "as_proxy")),
    ],
)
def test_what_enfilade_does_not_have_is_still_missing(feature: str, names: tuple[str, ...]) -> None:
    """Fails when one of them is built, so that the table is changed with it."""
    rows = {row[0]: row[1] for row in table(README, "feature")}
    assert rows[feature] == "no"
    assert [name for name in names if hasattr(enfilade.MCPApp, name)] == []


def test_the_versions_are_those_of_the_other_frameworks_in_the_benchmark() -> None:
    versions = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for page in (README, LANDING_PAGE):
        sdk, fastmcp = re.findall(r"for mcp ([\d.]+), FastMCP ([\d.]+) and", page.read_text(encoding="utf-8"))[0]
        assert f"- sdk: mcp {sdk}, " in versions
        assert f"fastmcp {fastmcp}, " in versions
