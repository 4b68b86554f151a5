"""What the pages, the examples and the public face say to type checkers: mypy --strict and pyright take it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from docs.checked_types import write_python
from support.docs.pages import PAGES, ROOT

#: What is stated about the types of the public face.
FACE = ROOT / "tests" / "docs" / "public_types.py"
PACKAGE = "pages"
#: Later blocks of a page may say it in another way. What is asked of the source beyond `--strict` is not of them.
OF_PAGES = f"""
[[tool.mypy.overrides]]
module = ["{PACKAGE}.*", "{FACE.stem}"]
disable_error_code = ["no-redef", "ignore-without-code", "redundant-expr", "possibly-undefined"]
"""
#: Seconds for a checker that has nothing in its cache, on a busy machine.
PATIENCE = 280

pytestmark = pytest.mark.timeout(PATIENCE + 20)


@pytest.fixture(scope="module")
def python_of_pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the Python of all pages, and with what is stated about the public face."""
    folder = tmp_path_factory.mktemp("types")
    for page in PAGES:
        write_python(page, folder / PACKAGE / page.stem.lower().replace("-", "_"))
    (folder / FACE.name).write_text(FACE.read_text(encoding="utf-8"), encoding="utf-8")
    return folder


def checked(module: str, *words: str, cwd: Path, **env: str) -> list[str]:
    """Run a type checker, and return its complaints."""
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if ": error" in line or " - error" in line]


def mypy(folder: Path, *names: str) -> list[str]:
    """Check files by `mypy --strict`.

    Of everything else the settings are those of `make lint`, whose cache then saves most of the work.
    """
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (settings,) = re.findall(r"^\[tool\.mypy\].*?(?=^\[tool\.)", text, re.MULTILINE | re.DOTALL)
    overrides = re.findall(r"^\[\[tool\.mypy\..*?(?=^\[)", text, re.MULTILINE | re.DOTALL)
    config = folder / "mypy.toml"
    config.write_text("".join([settings, *overrides, OF_PAGES]), encoding="utf-8")
    paths = [str(folder / name) for name in names]
    options = ["--no-error-summary", "--config-file", str(config)]
    return checked("mypy", *options, *paths, cwd=ROOT, MYPYPATH=str(folder))


def pyright(folder: Path, names: Sequence[str]) -> list[str]:
    """Check files by pyright, as its users have it: in its standard mode."""
    settings = {"include": list(names), "pythonVersion": "3.11", "reportRedeclaration": False}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    return checked("pyright", "--pythonpath", sys.executable, "-p", str(folder), cwd=folder)


def test_mypy_takes_pages_and_the_public_face(python_of_pages: Path) -> None:
    """The examples are checked with the source, by `make lint`."""
    assert mypy(python_of_pages, PACKAGE, FACE.name) == []


def test_pyright_takes_pages_examples_and_the_public_face(python_of_pages: Path) -> None:
    assert pyright(python_of_pages, [PACKAGE, FACE.name, str(ROOT / "examples")]) == []


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_checker_notices(checker: str, tmp_path: Path) -> None:
    """What an author can get wrong: names, options, no await, a type that was not asked for, a truth value."""
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n```python\n{WRONG}\n```\n", encoding="utf-8")
    write_python(page, tmp_path / PACKAGE / "page")
    found = mypy(tmp_path, PACKAGE) if checker == "mypy" else pyright(tmp_path, [PACKAGE])
    lines = {int(line.split(".py:")[1].split(":")[0]) for line in found}
    expected = {number for number, line in enumerate(page.read_text().splitlines(), 1) if "# wrong" in line}
    assert lines == {number for number in expected if checker == "pyright" or "truth" not in at(page, number)}


def test_a_file_that_a_page_writes_twice_is_refused(tmp_path: Path) -> None:
    """One of its versions would go unchecked."""
    page = tmp_path / "page.md"
    page.write_text("<!-- test: file=server.py -->\n```python\n1\n```\n\n" * 2, encoding="utf-8")
    with pytest.raises(ValueError, match=r"page\.md:8: server\.py is written twice"):
        write_python(page, tmp_path / PACKAGE)


def at(page: Path, number: int) -> str:
    """Return a line of a page."""
    return page.read_text(encoding="utf-8").splitlines()[number - 1]


WRONG = """
import enfilade
from enfilade import Context
from enfilade import Contxt  # wrong
from enfilade.testing import accpet  # wrong

enfilade.MCPAp()  # wrong
app = enfilade.MCPApp()
app.tool(tittle="x")  # wrong
app.tool(timeout="soon")  # wrong
app.add_tool(print, tags=["a"])  # wrong
app.prompt("name", output_schema={})  # wrong
app.resource("a://b", ttl="long")  # wrong
app.add_resource(print, "a://b", mime="text/plain")  # wrong
app.add_text_resource("a://b", "text", size=4)  # wrong
app.add_file_resource("a://b", "c", max_size="big")  # wrong
app.add_directory("a://", "c", mime_type="text/plain")  # wrong
enfilade.tool(tags=["a"])  # wrong

async def tool(ctx: Context[str]) -> None:
    ctx.elicit("Really?")  # wrong
    answer = await ctx.elicit("How many?", int)
    text: str = answer.data  # wrong
    name = await ctx.once("key", lambda: "one")
    number: int = name  # wrong
    other: int = ctx.lifespan  # wrong
    other = ctx.roots()  # wrong
    if answer:  # wrong: it has no truth value, which mypy takes for the end of the function
        pass
""".strip()
