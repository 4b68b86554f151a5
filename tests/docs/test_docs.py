"""The documentation is true: its code runs, its links lead somewhere, its tables say what the code says."""

import logging
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_origin

import pytest

import enfilade
from clients.drivers import DRIVERS, STATELESS
from docs import foreign_names_table, settings_table
from enfilade import Settings
from enfilade.serving.chaining import ToolCalls
from enfilade.serving.notifications import ClientLog, Progress
from enfilade.setting_sources import secret_settings
from enfilade.wire import revisions
from support.docs.pages import KNOWN, PAGES, ROOT, anchors, blocks, links, prose, table
from support.docs.reader import Reader

RUNNING = ROOT / "docs" / "running.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
MODES = {None: "sessions", "legacy": "sessions", "auto": "automatic", STATELESS: f"pinned to {STATELESS}"}

#: Variables that are read when a release is built, and by no server.
OF_THE_BUILD = {"REPOSITORY"}

MOST_COLUMNS = 130

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    log = logging.getLogger("enfilade")
    level = log.level
    with Reader(tmp_path, monkeypatch) as reader:
        yield reader
    log.setLevel(level)


@each_page
def test_code_does_what_the_page_says(page: Path, reader: Reader) -> None:
    """Blocks of a page build on each other, so one test follows the whole page."""
    for block in blocks(page):
        reader.follow(block)


@each_page
def test_every_block_is_tested(page: Path, reader: Reader) -> None:
    assert reader.kinds == KNOWN
    assert [block.place for block in blocks(page) if block.kind not in KNOWN] == []


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


#: Pages about the code may use the code's own words; the glossary defines them.
OF_THE_CODE = {"architecture", "glossary"}
USER_PAGES = [page for page in PAGES if page.stem not in OF_THE_CODE]


@pytest.mark.parametrize("page", USER_PAGES, ids=lambda page: page.stem)
def test_prose_has_the_words_of_the_specification(page: Path) -> None:
    """Revisions are session-based or stateless, and what a client carries is its `requestState`."""
    words = re.sub(r"`[^`]*`", "", prose(page))
    assert re.findall(r"\b(?:eras?|journals?|seals|sealed)\b", words) == []


@pytest.mark.parametrize(
    "page", [*USER_PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"], ids=lambda page: page.stem
)
def test_lines_of_prose_are_not_too_long(page: Path) -> None:
    lines = [line for line in prose(page).splitlines() if not line.startswith("|")]
    assert [line for line in lines if len(line) > MOST_COLUMNS] == []


def test_links_of_the_security_policy_lead_somewhere() -> None:
    policy = ROOT / "SECURITY.md"
    local = [link for link in links(policy) if not link.startswith("https://")]
    assert len(local) >= 4
    for link in local:
        name, _, anchor = link.partition("#")
        assert anchor in anchors(policy.parent / name), link


def test_the_landing_page_leads_into_every_section_for_users() -> None:
    """The navigation has every page (`test_site.py`); the landing page links into all but the last."""
    navigation = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    linked = {link.partition("#")[0] for link in links(ROOT / "docs" / "index.md")}
    for section in navigation[1:-1]:
        ((title, pages),) = section.items()
        assert linked & set(pages), title


def test_the_readme_links_every_page() -> None:
    linked = {link for link in links(ROOT / "README.md") if link.startswith("docs/")}
    assert linked >= {f"docs/{page.name}" for page in PAGES} - {"docs/README.md", "docs/index.md"}


def test_the_settings_table_is_complete() -> None:
    """Every setting with its variable, its default and its meaning, in the order of the code."""
    assert table(RUNNING, "variable") == settings_table.rows(), "run `python tests/docs/settings_table.py`"


def test_every_refused_name_is_in_the_page_about_fastmcp() -> None:
    rows = table(foreign_names_table.PAGE, "refused")
    assert rows == foreign_names_table.rows(), "run `python tests/docs/foreign_names_table.py`"


def test_settings_named_in_prose_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"ENFILADE_([A-Z_]+)", page.read_text(encoding="utf-8")):
            setting = name.lower().removesuffix("_file")
            in_a_file = name.endswith("_FILE") and setting in secret_settings()
            of_provider = re.fullmatch(r"AUTH_[A-Z]+_CLIENT_(ID|SECRET)|AUTH_", name)
            known = name in OF_THE_BUILD or in_a_file or of_provider or name.lower() in Settings.__struct_fields__
            assert known, f"{page.name}: {name}"


def test_the_revisions_table_is_what_is_served() -> None:
    over_http = {*revisions.HANDSHAKE, *revisions.STATELESS}
    rows = {
        row[0]: (row[1] == "`initialize`", row[2] == "yes", row[3])
        for row in table(ROOT / "README.md", "revision")
    }
    assert rows == {
        revision: (revision in revisions.HANDSHAKE, revision in over_http, "yes") for revision in revisions.ALL
    }


def test_the_clients_table_is_what_is_tested() -> None:
    tested: dict[str, list[str]] = {}
    for driver in DRIVERS:
        language, version = driver.name.split("-")[:2]
        name = {"python": "Python", "typescript": "TypeScript"}[language] + f" {version.removeprefix('v')}.x"
        tested.setdefault(name, []).append(MODES[driver.mode])
    rows = {row[0]: row[1].split(", ") for row in table(ROOT / "README.md", "official client")}
    assert rows == tested


def test_the_architecture_names_every_package() -> None:
    packages = {
        f"{path.parent.relative_to(ROOT / 'src/enfilade').as_posix()}/"
        for path in (ROOT / "src" / "enfilade").rglob("__init__.py")
        if path.parent.name != "enfilade"
    }
    assert packages - set(re.findall(r"`([\w/]+/)`", prose(ARCHITECTURE))) == set()


def test_the_architecture_names_nothing_that_is_gone() -> None:
    """`Post._enter`, `wire/headers.read`: every word of such a name is in the source, or is a file."""
    sources = list((ROOT / "src" / "enfilade").rglob("*.py"))
    words = {path.stem for path in sources} | {path.parent.name for path in sources}
    for path in sources:
        words.update(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    named = re.findall(r"`([A-Za-z_][\w./]*\.\w+)`", prose(ARCHITECTURE))
    assert len(named) > 20
    for name in named:
        if "/" in name:
            assert (ROOT / name).exists() or (ROOT / "src" / "enfilade" / name).exists(), name
        else:
            assert set(re.split(r"[./]", name.removesuffix(".py"))) <= words, name


EXPORTED = {name: getattr(enfilade, name) for name in enfilade.__all__ if not name.startswith("__")}
#: But for names of types that are made of others, which cannot say anything.
FACE = {name: exported for name, exported in EXPORTED.items() if get_origin(exported) is None}
#: What a tool reaches through its context.
WITHIN = {"Context.log": ClientLog, "Context.progress": Progress, "Context.tools": ToolCalls}


@pytest.mark.parametrize(("name", "exported"), {**FACE, **WITHIN}.items(), ids={**FACE, **WITHIN})
def test_every_exported_name_says_what_it_is(name: str, exported: Any) -> None:
    """It has a docstring of its own, and so has every public method and property of it."""
    assert (exported.__doc__ or "").strip()
    for key, member in vars(exported).items() if isinstance(exported, type) else ():
        if not key.startswith("_") and (callable(member) or isinstance(member, property)):
            assert member.__doc__, f"{name}.{key}"
