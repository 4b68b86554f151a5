"""`enfilade new`: what it says, what it asks and where, and that a mistake ends in one sentence and status 2.

What it makes is looked at in `tests/scaffold/`.
"""

import sys
from pathlib import Path

import pytest

from support.cli.runner import CommandLine, at_terminal, spawned
from support.cli.terminal import needs_terminal
from support.servers.processes import ROOT


def test_it_says_what_it_made_and_what_comes_next(tmp_path: Path) -> None:
    completed = spawned("new", "The simple server name", cwd=tmp_path)
    assert (completed.status, completed.err) == (0, "")
    assert completed.out == (
        "Enfilade came from a folder: building a wheel of it.\n"
        "Made The simple server name in the-simple-server-name.\n"
        "It gets Enfilade from the wheel in vendor/: commit it with the project.\n"
        "\nNext:\n\n"
        "  cd the-simple-server-name\n"
        '  pip install --find-links vendor -e ".[dev]"\n'
        "  pytest                          # its tests pass\n"
        "  enfilade call . greet name=Ada  # calls a tool\n"
        "  enfilade run                    # serves it over http, and says how to connect\n"
        "  enfilade configure --list       # shows which clients it can tell\n"
        "  enfilade check                  # finds what hosts and models trip over\n"
        "  enfilade docker                 # adds files for containers\n"
    )
    server = tmp_path / "the-simple-server-name/src/the_simple_server_name/server.py"
    assert 'transport="http"' in server.read_text(encoding="utf-8")


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "some where").mkdir()
    arguments = ["new", "tea", "--transport", "stdio", "--full", "--docker", "--directory", "some where", "--yes"]
    arguments += ["--enfilade", "enfilade>=0.1"]
    completed = spawned(*arguments, cwd=tmp_path, FORCE_COLOR="1")
    assert completed.status == 0, completed.err
    made = tmp_path / "some where" / "tea"
    assert "\x1b[32mMade tea in some where/tea.\x1b[0m" in completed.out  # in colour, when that is asked for
    assert "  cd 'some where/tea'\n" in completed.out
    assert "It gets Enfilade from a package index: enfilade>=0.1.\n" in completed.out
    assert 'transport="stdio"' in (made / "src/tea/server.py").read_text(encoding="utf-8")
    assert (made / "Dockerfile").is_file()
    assert (made / "src/tea/prompts.py").is_file()


MISTAKES = {
    "no name": ([], 'what is the server called? Give a name, as in `enfilade new "Tea shop"`'),
    "a bad name": (["email"], "'email' is the name of a module of Python's own; call it \"email-server\""),
    "something is there": (["taken"], "'taken' exists already; give another name, or another --directory"),
    "nowhere": (["tea", "--directory", "nowhere"], "there is no folder 'nowhere'; make it first"),
    "no such origin": (["tea", "--enfilade", "nowhere"], "'nowhere' is no requirement such as 'enfilade>="),
    "no such transport": (["tea", "-t", "carrier"], "'carrier' is not one of 'http', 'stdio'"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_explained(case: str, tmp_path: Path) -> None:
    arguments, expected = MISTAKES[case]
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    completed = spawned("new", *arguments, cwd=tmp_path, NO_COLOR="1", COLUMNS="200")
    assert (completed.status, completed.out) == (2, "")
    assert expected in completed.err
    assert "Traceback" not in completed.err
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("arguments", [["new", "tea", "--enfilade", str(ROOT)], ["new", "tea"]], ids=len)
def test_without_jinja2_nothing_is_begun(
    arguments: list[str], run_cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No wheel is built, or said to be."""
    from enfilade.scaffold import render

    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.chdir(tmp_path)
    render._environment.cache_clear()
    refused = run_cli(*arguments)
    assert (refused.status, refused.out) == (2, "")
    assert refused.err.startswith('enfilade: this needs more packages: pip install "enfilade[dev]"')
    assert list(tmp_path.iterdir()) == []


@needs_terminal
def test_at_a_terminal_it_asks(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    replies = [
        ("What is the server called?: ", "class"),
        ('call it "class-server", for instance\r\nWhat is the server called?: ', "taken"),
        ("exists already; give another name, or another --directory\r\nWhat is the server called?: ", "Tea shop"),
        ("What should `enfilade run` serve, http or stdio? [http]: ", "carrier"),
        ("'carrier' is not one of them\r\nWhat should `enfilade run` serve, http or stdio? [http]: ", "stdio"),
        ("Include an example of everything? [y/N]: ", "n"),
        ("Add files for containers? [y/N]: ", "y"),
    ]
    result = at_terminal(["new"], replies, cwd=tmp_path, piped=False)
    assert result.status == 0, result.err
    assert "Made Tea shop in tea-shop." in result.err
    assert (tmp_path / "tea-shop/compose.yaml").is_file()
    assert not (tmp_path / "tea-shop/src/tea_shop/prompts.py").exists()
    assert 'transport="stdio"' in (tmp_path / "tea-shop/src/tea_shop/server.py").read_text(encoding="utf-8")


@needs_terminal
@pytest.mark.parametrize(
    ("arguments", "replies"),
    [
        (["tea", "--yes"], []),
        (["tea", "-t", "http", "--minimal"], [("Add files for containers? [y/N]: ", "")]),
    ],
    ids=["yes", "what was said"],
)
def test_at_a_terminal_it_asks_no_more_than_it_must(
    arguments: list[str], replies: list[tuple[str, str]], tmp_path: Path
) -> None:
    result = at_terminal(["new", *arguments], replies, cwd=tmp_path, piped=False)
    assert result.status == 0, result.err
    assert result.err.count("?") == len(replies)
    assert (tmp_path / "tea/pyproject.toml").is_file()


@needs_terminal
def test_at_a_terminal_errors_are_wrapped_between_words(tmp_path: Path) -> None:
    result = at_terminal(["new", "3d printer", "--yes"], [], cwd=tmp_path, piped=False)
    lines = result.err.splitlines()
    assert len(lines) > 1, "a longer text is needed"
    assert max(map(len, lines)) <= 80
    assert " ".join(result.err.split()) == " ".join(
        spawned("new", "3d printer", "--yes", cwd=tmp_path).err.split()
    )
