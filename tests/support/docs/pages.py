"""The pages of the documentation as data: their blocks of code, their links and their headings.

A block says how it is tested by its language, or by a comment in the line before it: `<!-- test: serve -->`. The
easy thing to get wrong is a block that nobody runs: one whose language and comment mean nothing together is a
failure, and so is a comment that stands before no block.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

#: How a block is tested: by (directive, language).
KNOWN = {
    ("", "python"),  # runs in the page's own namespace
    ("client", "python"),  # likewise, against the server that the page has started
    ("file", "python"),  # is written to a file, and imported
    ("theirs", "python"),  # is for another library: parsed, and not executed
    (
        "theirs",
        "sh",
    ),  # is for programs that are not here: its syntax is checked, and the names of our files in it
    ("pytest", "python"),  # is written to a file, and run by pytest
    # Starts a server, which is then called by the official client in both eras; `serve=protected` refuses it for
    # want of a token, and `serve=beside` starts another program beside it, on port 9000.
    ("serve", "sh"),
    ("stdio", "sh"),  # is started by the official client
    ("run", "sh"),  # is run to its end
    ("fails", "sh"),  # likewise; it fails with status 2, and says so on standard error
    ("screen", "text"),  # is typed at a terminal of so many columns, and compared with what is seen
    ("example", "sh"),  # is understood by the command line, and not run
    ("install", "sh"),  # is compared with pyproject.toml
    ("make", "sh"),  # is compared with the Makefile
    ("greeting", "sh"),  # is what the running server prints
    ("greeting", "json"),
    ("greeting", "text"),
    ("", "json"),  # is parsed
    ("", "dotenv"),  # is loaded as settings
    ("", "yaml"),  # is parsed
    ("", "toml"),
    ("", "ini"),
    ("same", "yaml"),  # stands like this in a file of the project
    ("same", "nginx"),
    ("", "nginx"),  # is read; `test_proxies.py` does what it says
    ("same", "dockerfile"),
    ("figure", "text"),  # is a drawing
}

_FENCE = re.compile(r"^```(\S*)\s*$")
_DIRECTIVE = re.compile(r"^<!-- test: (\w+)(?:=(\S+))? -->$")
_EXPECTED = re.compile(r"# → (.*)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """One block of code.

    Attributes:
        page: the file it stands in.
        line: number of its first line of code.
        directive: the word of the comment before it; empty without one.
        argument: what follows the word after `=`.
    """

    page: Path
    line: int
    language: str
    directive: str
    argument: str
    code: str

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def kind(self) -> tuple[str, str]:
        return self.directive, self.language

    @property
    def expected(self) -> list[str]:
        """The output that the block promises in comments."""
        return _EXPECTED.findall(self.code)


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page, in order.

    Raises:
        ValueError: a block does not end, or a comment about testing stands before no block.
    """
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    directive, argument = "", ""
    for number, line in lines:
        if found := _DIRECTIVE.match(line):
            directive, argument = found[1], found[2] or ""
        elif fence := _FENCE.match(line):
            code = "\n".join(_until_fence(lines, page, number))
            yield Block(page, number + 1, fence[1], directive, argument, code)
            directive, argument = "", ""
        elif "<!-- test" in line or directive:
            raise ValueError(f"{page.name}:{number}: a test comment stands directly before a block")


def _until_fence(lines: Iterator[tuple[int, str]], page: Path, start: int) -> Iterator[str]:
    for _, line in lines:
        if line == "```":
            return
        yield line
    raise ValueError(f"{page.name}:{start}: the block does not end")


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def links(page: Path) -> list[str]:
    """Return the targets of a page's links."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def table(page: Path, heading: str) -> list[list[str]]:
    """Return the rows of the table whose first heading is `heading`, without heading and rule."""
    lines = iter(prose(page).splitlines())
    for line in lines:
        if line.startswith(f"| {heading} |"):
            next(lines)
            break
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows
