"""A server for the files below one directory: to list, read, search and write them, and no others."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from enfilade import Context, MCPApp, ToolError

ROOT = Path(os.environ.get("FILES_ROOT", ".")).resolve()
LARGEST = 1_000_000  # bytes of a file that is read
MOST = 200  # lines that a search returns

app = MCPApp(
    name="local_filesystem",
    version="1.0.0",
    instructions="Paths are relative to the one directory that this server is for.",
)
app.add_directory("files:///", ROOT, name="files", description="The same files, as resources.")

RelativePath = Annotated[str, Field(description="A path below the directory, such as notes/plan.md")]


def inside(path: str) -> Path:
    """Return where a path leads, links and dots included; it must not lead out of the directory."""
    try:
        found = (ROOT / path).resolve()
    except (OSError, ValueError):  # a loop of links, or a character that no file's name has
        raise ToolError(f"{path!r} is no path.") from None
    if not found.is_relative_to(ROOT):
        raise ToolError(f"{path!r} is outside of the directory that this server is for.")
    return found


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str:
    if not path.is_file():
        raise ToolError(f"There is no file {named(path)!r}. Call list_directory to see what there is.")
    if path.stat().st_size > LARGEST:
        raise ToolError(f"{named(path)!r} is larger than {LARGEST:,} bytes.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ToolError(f"{named(path)!r} is no text.") from None


@app.tool(annotations={"read_only_hint": True})
def list_directory(path: RelativePath = ".") -> list[str]:
    """List a directory; names of directories end in a slash."""
    found = inside(path)
    if not found.is_dir():
        raise ToolError(f"There is no directory {path!r}.")
    return sorted(each.name + "/" * each.is_dir() for each in found.iterdir() if not each.name.startswith("."))


@app.tool(annotations={"read_only_hint": True})
def read_file(path: RelativePath) -> str:
    """Read a text."""
    return text_of(inside(path))


@app.tool(annotations={"read_only_hint": True})
def search(word: Annotated[str, Field(min_length=1)], ctx: Context) -> list[str]:
    """Find the lines in which a word stands, as FILE:LINE: TEXT."""
    return [line for _, line in zip(range(MOST), lines_with(word, ctx), strict=False)]


def lines_with(word: str, ctx: Context) -> Iterator[str]:
    for number, path in enumerate(sorted(ROOT.rglob("*")), start=1):
        ctx.progress.report(number, message=path.name)
        if not path.is_file() or any(part.startswith(".") for part in path.relative_to(ROOT).parts):
            continue
        try:
            text = text_of(inside(named(path)))
        except ToolError:
            continue  # too large, no text, or a link that leads out
        for line, content in enumerate(text.splitlines(), start=1):
            if word in content:
                yield f"{named(path)}:{line}: {content.strip()}"


@app.tool(annotations={"destructive_hint": True, "idempotent_hint": True})
async def write_file(path: RelativePath, text: str, ctx: Context) -> str:
    """Write a text; the user is asked before another one is replaced."""
    found = inside(path)
    if found.is_dir():
        raise ToolError(f"{path!r} is a directory.")
    if found.exists():
        answer = await ctx.elicit(f"Replace {path}?", bool)
        if not (answer.accepted and answer.data):
            return f"{path} was left as it was."
    found.parent.mkdir(parents=True, exist_ok=True)
    found.write_text(text, encoding="utf-8")
    app.notify_resource_updated(f"files:///{named(found)}")
    return f"{path} was written."


if __name__ == "__main__":
    app.run()
