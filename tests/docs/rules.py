"""The page `docs/rules.md`, made from `docs/rules.toml`, the code and the tests: `python tests/docs/rules.py`.

A rule is cited by its id, in a comment or docstring beside the code that keeps it and in the tests that show it.
Easy to get wrong: the id of a rule must look like no other word, or the page lists places that do not cite it.
"""

import ast
import re
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
TABLE: Final = ROOT / "docs" / "rules.toml"
PAGE: Final = ROOT / "docs" / "rules.md"
#: How an id is written: `X-AUTH-4`, `X-TASK-10`, `R-351`, `R-2C7`, `E-14`, `C-03`, `S16`, `D5b`, `P7`, `B13`.
ID: Final = re.compile(
    r"(?:(?<!\w)(?:R-\d[\dA-Z]{2}|[EC]-\d\d|X-(?:AUTH|EXT|TASK|APP|SKILL|CARD|REG)-\d{1,2})"
    r"|(?<![\w-])[BSDP]\d{1,2}b?)(?![\w-])"
)
#: The same in the name of a test.
_IN_NAME: Final = re.compile(r"(?<=_)(?:(r)(\d[\da-z]{2})|([ec])(\d\d)|([sdp])(\d{1,2}b?))(?=[_(])")
#: What has ids as examples: this file and its test.
_EXAMPLES: Final = frozenset({"docs/rules.py", "docs/test_rules.py"})
#: More places than these are counted and not named.
MOST_NAMED: Final = 3

HEAD = """# Rules

Every rule of the protocol that the code keeps, by the id under which code and tests cite it: what it says, where
it comes from, which function keeps it, and which tests show that. The rows of the last two sections, and of the
second one about authorization, describe the whole server: many name tests only. *Silent* before a source means
that the specification leaves the matter open there, and that the sentence is the choice of this project. Files
are those below `src/enfilade/` and `tests/`; one without the name of a function cites the rule for several of
them. In brackets after a test is the id of a case. The words are explained in the [glossary](glossary.md).

<!-- Written by tests/docs/rules.py from docs/rules.toml: change that table, or the places that cite a rule. -->
"""
TITLES: Final = {
    "eras": "Both kinds of revisions on one endpoint",
    "stateless-http": "2026-07-28 over HTTP",
    "sessions": "Sessions over HTTP, up to 2025-11-25",
    "stdio": "stdio",
    "features": "Tools, resources, prompts and questions",
    "security": "Security",
    "authorization": "Authorization: the endpoint as a resource server",
    "authorization-server": "Authorization: the server as its own authorization server",
    "acceptance": "Authorization: what this server promises beyond that",
    "extensions": "Extensions: the contract",
    "tasks": "Tasks, in both dialects",
    "apps": "Apps",
    "skills": "Skills",
    "discovery": "Discovery documents and the registry",
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
_REPOSITORIES = "https://github.com/modelcontextprotocol"
#: Specifications that are in repositories of their own: what they are called, and where they are.
_EXTENSIONS = {
    "ext-tasks": ("tasks", "ext-tasks/blob/main/specification/2026-07-28/tasks.md"),
    "ext-apps": ("apps", "ext-apps/blob/main/specification/2026-01-26/apps.mdx"),
    "ext-skills": ("skills", "ext-skills/blob/main/specification/stable/skills.mdx"),
    "server-card": ("server cards", "experimental-ext-server-card/blob/main/docs/discovery.md"),
    "registry": ("registry", "registry/blob/main/docs/reference/server-json/generic-server-json.md"),
    "registry-packages": (
        "registry, packages",
        "registry/blob/main/docs/modelcontextprotocol-io/package-types.mdx",
    ),
    "registry-rules": (
        "registry",
        "registry/blob/main/docs/reference/server-json/official-registry-requirements.md",
    ),
}
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
    name: str  # of the function, class or constant, dotted, or of the case of a test; empty for a whole file

    def __str__(self) -> str:
        return f"`{self.file}:{self.name}`" if self.name else f"`{self.file}`"

    @property
    def is_test(self) -> bool:
        """Whether it is a test, a class of tests or a case of one, and not what helps a test."""
        return any(part.startswith(("test_", "Test")) for part in self.name.partition("[")[0].split("."))


def table() -> dict[str, dict[str, tuple[str, str]]]:
    """Return the rules by section: the id, its source and its sentence."""
    sections = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return {
        name: {id: (source, text) for id, (source, text) in sections[name].items()}
        for name in TITLES
        if name in sections
    }


@cache
def cited(folder: Path) -> dict[str, list[Place]]:
    """Return where each id is cited below a folder, in the order of files and lines."""
    places: dict[str, list[Place]] = {}
    for file in sorted(folder.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if file.relative_to(folder).as_posix() in _EXAMPLES or not (ID.search(text) or _IN_NAME.search(text)):
            continue
        lines = text.splitlines()
        tree = ast.parse(text)
        spans, cases = list(_spans(tree, lines)), _cases(tree)
        for number, line in enumerate(lines, 1):
            for id in [*_ids_in_name(line), *ID.findall(line)]:
                inner = [name for first, last, name in spans if first <= number <= last]
                names = cases.get((number, id)) or inner[-1:] or [""]
                found = [Place(file.relative_to(folder).as_posix(), name) for name in names]
                known = places.setdefault(id, [])
                known += [place for place in found if place not in known]
    return places


def _ids_in_name(line: str) -> list[str]:
    """Return the ids in the name of the test that a line defines: `test_legal_names_r511`, `test_d5_a_number`."""
    if not re.match(r"\s*(?:async )?def test_", line):
        return []
    parts = [[part for part in groups if part] for groups in _IN_NAME.findall(line)]
    return [
        f"{letter.upper()}-{number.upper()}" if letter in "rec" else f"{letter.upper()}{number}"
        for letter, number in parts
    ]


def _cases(tree: ast.Module) -> dict[tuple[int, str], list[str]]:
    """Return the cases in tables of tests that cite a rule, by line and rule: `test_decision[E-05 empty header]`.

    A table is a constant of the module by which a test is parametrized.
    """
    tables: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            named = [inner for each in node.decorator_list for inner in ast.walk(each)]
            for inner in named:
                if isinstance(inner, ast.Name):
                    tables.setdefault(inner.id, node.name)
    for statement in reversed(tree.body):  # tables that are part of another
        for inner in ast.walk(statement) if isinstance(statement, ast.Assign | ast.AnnAssign) else ():
            whole = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
            if isinstance(inner, ast.Name) and isinstance(whole, ast.Name) and whole.id in tables:
                tables.setdefault(inner.id, tables[whole.id])
    cases: dict[tuple[int, str], list[str]] = {}
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        for test in [tables[each.id] for each in targets if isinstance(each, ast.Name) and each.id in tables]:
            for line, id in _texts(statement):
                for match in ID.finditer(id):
                    cases.setdefault((line, match[0]), []).append(f"{test}[{id}]")
    return cases


def _texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each string; of one with fields what comes before the first of them."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
            yield node.lineno, f"{node.values[0].value}…"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        else:
            yield from _texts(node)


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
    if page in _EXTENSIONS:
        title, path = _EXTENSIONS[page]
        label = f"{title}, {section}" if section else title
        return f"{prefix}[{label}]({_REPOSITORIES}/{path}{f'#{anchor(section)}' if section else ''})"
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
            cells = [
                id,
                text,
                link(source),
                shown(code.get(id, [])),
                shown([place for place in tests.get(id, []) if place.is_test]),
            ]
            lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
