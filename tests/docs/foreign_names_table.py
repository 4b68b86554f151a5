"""The last table of `docs/from-fastmcp.md`: `python tests/docs/foreign_names_table.py` writes it from the code.

It has every name of another framework that is refused, with the advice that the error gives.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from enfilade.primitives import foreign_names

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "from-fastmcp.md"
_HEAD: Final = ["| refused | what to write |", "| --- | --- |"]
#: What an option of each kind is given to.
_TAKES: Final = {
    "tool": "@app.tool({}=…)",
    "resource": "@app.resource(uri, {}=…)",
    "view": "@app.view(uri, {}=…)",
    "prompt": "@app.prompt({}=…)",
    "result": "ToolResult({}=…)",
    "question": "ctx.elicit(message, {}=…)",
    "middleware": "app.add_middleware(fn, {}=…)",
    "sample": "ctx.sample(messages, {}=…)",
    "completion": "@app.completion(name, argument, {}=…)",
    "run": "app.run({}=…)",
    "server": "MCPApp({}=…)",
    "resource server": "ResourceServer({}=…)",
}


def _refused() -> Iterator[tuple[str, str]]:
    """Yield each refused name as it is written, and the advice."""
    attributes = {
        "app.{}": foreign_names.APP_ATTRIBUTES,
        "ctx.{}": foreign_names.CONTEXT_ATTRIBUTES,
        "ctx.log.{}": foreign_names.LOG_ATTRIBUTES,
        "(await ctx.sample(…)).{}": foreign_names.SAMPLE_ATTRIBUTES,
    }
    arguments = {f"{call}({{}}=…)": names for call, names in foreign_names.ARGUMENTS.items()}
    options = {_TAKES[kind]: names for kind, names in foreign_names.OPTIONS.items()}
    classes = {"{}": foreign_names.TYPES, "raise {}": foreign_names.EXCEPTIONS}
    for form, names in [*attributes.items(), *options.items(), *arguments.items(), *classes.items()]:
        yield from ((form.format(name), advice) for name, advice in names.items())
    for name, advice in foreign_names.NAMES.items():
        if foreign_names.TYPES.get(name) != advice:
            yield f"import enfilade.{name}" if "." in name else f"from enfilade import {name}", advice


def rows() -> list[list[str]]:
    """Return the rows: names with one advice are in one row, in the order of the code."""
    by_advice: dict[str, list[str]] = {}
    for name, advice in _refused():
        by_advice.setdefault(advice, []).append(f"`{name}`")
    return [[", ".join(names), advice.replace("|", "\\|")] for advice, names in by_advice.items()]


def write() -> None:
    """Put the table in the place of the one that the page has."""
    lines = [*PAGE.read_text(encoding="utf-8").splitlines(), ""]
    begin = lines.index(_HEAD[0])
    end = next(place for place in range(begin, len(lines)) if not lines[place].startswith("|"))
    lines[begin:end] = [*_HEAD, *(f"| {' | '.join(row)} |" for row in rows())]
    PAGE.write_text("\n".join(lines).rstrip("\n") + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
