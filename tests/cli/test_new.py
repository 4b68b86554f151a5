"""`enfilade new`: what it says, what it asks and where, and that a mistake ends in one sentence and status 2.

What it makes is looked at in `tests/scaffold/`.
"""

import os
from pathlib import Path

import pytest

from cli.typed import at_terminal, typed

needs_terminal = pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals there")


def test_it_says_what_it_made_and_what_comes_next(tmp_path: Path) -> None:
    done = typed(tmp_path, "new", "The simple server name")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "Made The simple server name in the-simple-server-name.\n"
        "\nNext:\n\n"
        "  cd the-simple-server-name\n"
        '  pip install -e ".[dev]"  # best in a virtual environment\n'
        "  pytest                   # its tests pass\n"
        "  enfilade run             # serves it over http, and says how to connect\n"
    )
    server = tmp_path / "the-simple-server-name/src/the_simple_server_name/server.py"
    assert 'transport="http"' in server.read_text(encoding="utf-8")


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "some where").mkdir()
    words = ["new", "tea", "--transport", "stdio", "--full", "--docker", "--directory", "some where", "--yes"]
    done = typed(tmp_path, *words, FORCE_COLOR="1")
    assert done.returncode == 0, done.stderr
    made = tmp_path / "some where" / "tea"
    assert "\x1b[32mMade tea in some where/tea.\x1b[0m" in done.stdout  # in colour, when that is asked for
    assert "  cd 'some where/tea'\n" in done.stdout
    assert 'transport="stdio"' in (made / "src/tea/server.py").read_text(encoding="utf-8")
    assert (made / "Dockerfile").is_file()
    assert (made / "evals/eval_tools.py").is_file()


MISTAKES = {
    "no name": ([], 'what is the server called? Give a name, as in `enfilade new "Tea shop"`'),
    "a bad name": (["email"], "'email' is the name of a module of Python's own; call it \"email-server\""),
    "something is there": (["taken"], "'taken' exists already; give another name, or another --directory"),
    "nowhere": (["tea", "--directory", "nowhere"], "there is no folder 'nowhere'; make it first"),
    "no such transport": (["tea", "-t", "carrier"], "'carrier' is not one of 'http', 'stdio'"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_explained(case: str, tmp_path: Path) -> None:
    words, said = MISTAKES[case]
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    done = typed(tmp_path, "new", *words, NO_COLOR="1", COLUMNS="200")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@needs_terminal
def test_at_a_terminal_it_asks(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    answers = {
        "What is the server called?: ": "class",
        'call it "class-server", for instance\nWhat is the server called?: '.replace("\n", "\r\n"): "taken",
        "exists already; give another name, or another --directory\r\nWhat is the server called?: ": "Tea shop",
        "What should `enfilade run` serve, http or stdio? [http]: ": "carrier",
        "'carrier' is not one of them\r\nWhat should `enfilade run` serve, http or stdio? [http]: ": "stdio",
        "Show everything there is? [y/N]: ": "n",
        "Add files for containers? [y/N]: ": "y",
    }
    status, seen = at_terminal(tmp_path, "new", answers=answers)
    assert status == 0, seen
    assert "Made Tea shop in tea-shop." in seen
    assert (tmp_path / "tea-shop/compose.yaml").is_file()
    assert not (tmp_path / "tea-shop/evals").exists()
    assert 'transport="stdio"' in (tmp_path / "tea-shop/src/tea_shop/server.py").read_text(encoding="utf-8")


@needs_terminal
@pytest.mark.parametrize(
    ("words", "answers"),
    [
        (["tea", "--yes"], {}),
        (["tea", "-t", "http", "--minimal"], {"Add files for containers? [y/N]: ": ""}),
    ],
    ids=["yes", "what was said"],
)
def test_at_a_terminal_it_asks_no_more_than_it_must(
    words: list[str], answers: dict[str, str], tmp_path: Path
) -> None:
    status, seen = at_terminal(tmp_path, "new", *words, answers=answers)
    assert status == 0, seen
    assert seen.count("?") == len(answers)
    assert (tmp_path / "tea/pyproject.toml").is_file()


@pytest.mark.parametrize("verb", ["new", "docker", "run"])
def test_help_has_an_example(verb: str, tmp_path: Path) -> None:
    done = typed(tmp_path, verb, "--help", NO_COLOR="1", COLUMNS="80")
    assert done.returncode == 0
    assert f"Example: enfilade {verb}" in done.stdout
    assert "[[" not in done.stdout
    assert "tool.enfilade" in done.stdout or verb != "run"  # square brackets would be taken for colours
    assert max(map(len, done.stdout.splitlines())) <= 80
