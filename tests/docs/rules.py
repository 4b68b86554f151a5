"""The page `docs/rules.md`, made from `docs/rules.toml`, the code and the tests: `python tests/docs/rules.py`.

A rule is cited by its id, in a comment or docstring beside the code that keeps it and in the tests that show it.
Easy to get wrong: the id of a rule must look like no other word, or the page lists places that do not cite it.
"""

import ast
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
TABLE: Final = ROOT / "docs" / "rules.toml"
PAGE: Final = ROOT / "docs" / "rules.md"
#: How an id is written: `R-351`, `R-2C7`, `R-36A`, `E-14`, `C-03`, `S16`, `D5b`, `P7`.
ID: Final = re.compile(r"(?<![\w-])(?:R-\d[\dA-Z]{2}|[EC]-\d\d|[SDP]\d{1,2}b?)(?![\w-])")
#: What has ids as examples: this file and its test.
_EXAMPLES: Final = frozenset({"docs/rules.py", "docs/test_rules.py"})
#: More places than these are counted and not named.
MOST_NAMED: Final = 3

HEAD = """# Rules

Every rule of the protocol that the code keeps, by the id under which code and tests cite it: what it says, where
it comes from, which function keeps it, and which tests show that. *Silent* before a source means that the
specification leaves the matter open there, and that the sentence is the choice of this project. Files are those
below `src/enfilade/` and `tests/`; one without the name of a function cites the rule for several of them. The
words are explained in the [glossary](glossary.md).

<!-- Written by tests/docs/rules.py from docs/rules.toml: change that table, or the places that cite a rule. -->
"""
TITLES: Final = {
    "eras": "Both kinds of revisions on one endpoint",
    "stateless-http": "2026-07-28 over HTTP",
    "sessions": "Sessions over HTTP, up to 2025-11-25",
    "stdio": "stdio",
    "features": "Tools, resources, prompts and questions",
    "security": "Security",
    "cases": "Cases: what answers a request, by what it says of itself",
    "contradictions": "Where pages of the specification disagree",
    "reference": "The reference system: behaviour that is kept, and faults that are not",
}
_REVISIONS = {
    "2024": "2024-11-05",
    "0326": "2025-03-26",
    "0618": "2025-06-18",
    "1125": "2025-11-25",
    "0728": "2026-07-28",
}
_SITE = "https://modelcontextprotocol.io"
#: Where a page is, for revisions that keep it elsewhere than the newest one does.
_PAGES = {
    "http": "basic/transports/streamable-http",
    "stdio": "basic/transports/stdio",
    "basic": "basic",
    "versioning": "basic/versioning",
    "mrtr": "basic/patterns/mrtr",
    "transports": "basic/transports",
    "subscriptions": "basic/patterns/subscriptions",
    "lifecycle": "basic/lifecycle",
    "auth": "basic/authorization",
    "discover": "server/discover",
    "tools": "server/tools",
    "resources": "server/resources",
    "prompts": "server/prompts",
    "schema": "schema",
    "elicitation": "client/elicitation",
    "sampling": "client/sampling",
    "roots": "client/roots",
    "changelog": "changelog",
    "ping": "basic/utilities/ping",
    "tasks": "basic/utilities/tasks",
    **{name: f"server/utilities/{name}" for name in ("caching", "completion", "logging", "pagination")},
}
_MOVED = {
    "cancellation": ("basic/patterns", "basic/utilities"),
    "progress": ("basic/patterns", "basic/utilities"),
}
_NAMES = {"http": "Streamable HTTP", "mrtr": "multi round-trip requests", "auth": "authorization"}


class Place(NamedTuple):
    """Where a rule is cited."""

    file: str
    name: str  # of the function, class or constant, dotted; empty for a whole file

    def __str__(self) -> str:
        return f"`{self.file}:{self.name}`" if self.name else f"`{self.file}`"


def table() -> dict[str, dict[str, tuple[str, str]]]:
    """Return the rules by section: the id, its source and its sentence."""
    sections = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return {name: {id: (source, text) for id, (source, text) in sections[name].items()} for name in TITLES}


def cited(folder: Path) -> dict[str, list[Place]]:
    """Return where each id is cited below a folder, in the order of files and lines."""
    places: dict[str, list[Place]] = {}
    for file in sorted(folder.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if file.relative_to(folder).as_posix() in _EXAMPLES or not ID.search(text):
            continue
        lines = text.splitlines()
        spans = list(_spans(ast.parse(text), lines))
        for number, line in enumerate(lines, 1):
            for match in ID.finditer(line):
                inner = [name for first, last, name in spans if first <= number <= last]
                place = Place(file.relative_to(folder).as_posix(), inner[-1] if inner else "")
                known = places.setdefault(match[0], [])
                if place not in known:
                    known.append(place)
    return places


def _spans(tree: ast.AST, lines: Sequence[str], within: str = "") -> Iterator[tuple[int, int, str]]:
    """Yield the first line, the last line and the dotted name of each function, class and constant.

    Outer ones come before inner ones. The comment above a constant is part of it.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{within}.{node.name}".lstrip(".")
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            yield first, node.end_lineno or node.lineno, name
            yield from _spans(node, lines, name)
        elif (
            isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(tree, ast.Module)
        ):
            first = node.lineno
            while first > 1 and lines[first - 2].startswith("#"):
                first -= 1
            yield first, node.end_lineno or node.lineno, node.target.id
        else:
            yield from _spans(node, lines, within)


def link(source: str) -> str:
    """Return a source as a link of Markdown."""
    silent, _, named = source.rpartition("silent:")
    prefix = "*silent:* " if _ or silent else ""
    page, _, section = named.partition("#")
    if page == "reference":
        return "[reference system](https://github.com/ArcadeAI/arcade-mcp)"
    if page == "jsonrpc":
        return f"{prefix}[JSON-RPC 2.0](https://www.jsonrpc.org/specification#{section})"
    if page == "sse":
        return "[HTML, event streams](https://html.spec.whatwg.org/multipage/server-sent-events.html)"
    if page.startswith("rfc"):
        return f"{prefix}[RFC {page[3:]} §{section}](https://www.rfc-editor.org/rfc/{page}#section-{section})"
    if page.startswith("sep"):
        return f"{prefix}[SEP-{page[3:]}]({_SITE}/seps/{page[3:]})"
    name, _, revision = page.partition("@")
    date = _REVISIONS[revision]
    label = f"{date} {_NAMES.get(name, name)}, {section.replace('`', '')}"
    return f"{prefix}[{label}]({url(name, date)}#{anchor(section)})"


def url(page: str, date: str) -> str:
    """Return the address of a page of the specification."""
    if page == "security":
        return f"{_SITE}/docs/{date}/tutorials/security/security_best_practices"
    if page in _MOVED:
        newest, before = _MOVED[page]
        return f"{_SITE}/specification/{date}/{newest if date >= '2026' else before}/{page}"
    return f"{_SITE}/specification/{date}/{_PAGES[page]}"


def anchor(section: str) -> str:
    """Return the anchor that a heading has on the site of the specification."""
    return re.sub(r"[^\w-]+", "-", section.lower().replace("&", "")).strip("-")


def shown(places: list[Place]) -> str:
    """Return places for a cell: the first ones by name, and how many more there are."""
    named = ", ".join(map(str, places[:MOST_NAMED]))
    more = len(places) - MOST_NAMED
    return f"{named} and {more} more" if more > 0 else named


def page() -> str:
    """Return the page."""
    code, tests = cited(ROOT / "src" / "enfilade"), cited(ROOT / "tests")
    lines = [HEAD]
    for section, rules in table().items():
        lines += [
            f"## {TITLES[section]}",
            "",
            "| id | rule | source | kept by | tests |",
            "| --- | --- | --- | --- | --- |",
        ]
        for id, (source, text) in rules.items():
            cells = [id, text, link(source), shown(code.get(id, [])), shown(tests.get(id, []))]
            lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
